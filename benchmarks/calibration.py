"""How often the council is wrong: python benchmarks/calibration.py [TASK ...]   prints Markdown tables.

Every data set goes through the code of a study: selection, evaluation, trends and verdicts, and is then counted.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
from agreement import agreements, anti_shares
from attacks import attacks, change_intervals, published
from factors import factors
from played import deeds
from scipy.stats import beta, binom, norm
from transfers import carried, twins

from probesteer.detection.design import Design
from probesteer.detection.heldout import dprime, measure, separation
from probesteer.detection.selection import PERMUTATIONS, select
from probesteer.directions.methods import mean_difference
from probesteer.report.council import deliberate, select_layers
from probesteer.report.evidence import Evidence
from probesteer.stats import auroc_difference, auroc_interval, jackknife_interval, mean_auroc_interval, share_interval
from probesteer.study.sections import Criteria

LAYERS, SCENARIOS = 4, 5
LEVELS = (0.01, 0.05, 0.1)


def pairs(
    clusters: int,
    copies: int,
    hidden: int,
    effect: float,
    rng: np.random.Generator,
    scenarios: int = SCENARIOS,
    private: bool = False,
) -> tuple[dict[int, np.ndarray], Design]:
    """Activations by layer, and the design, of pairs that come in `copies` near-duplicates.

    The class means differ by `effect` standard deviations along one axis of every layer, or, if `private`, along a random
    direction of each scenario's own; a pair shares a context, and the copies of a pair share nine tenths of their variance.
    """
    cluster = np.repeat(np.arange(clusters), 2 * copies)
    labels = np.tile([True, False], clusters * copies)
    base = cluster * 2 + ~labels  # copies of one side
    scenario, layers = (cluster // 2) % scenarios, {}
    for layer in range(LAYERS):
        context = rng.standard_normal((clusters, hidden))[cluster]
        shared = rng.standard_normal((2 * clusters, hidden))[base]
        noise = rng.standard_normal((len(labels), hidden))
        own = np.sqrt(0.9) * shared + np.sqrt(0.1) * noise if copies > 1 else noise
        layers[layer] = np.sqrt(0.5) * (context + own)
        if private:
            axes = rng.standard_normal((scenarios, hidden))
            layers[layer] += effect * labels[:, None] * (axes / np.linalg.norm(axes, axis=1, keepdims=True))[scenario]
        else:
            layers[layer][:, 0] += effect * labels
    return layers, Design(labels, cluster, cluster % 2 == 0, scenario)


def judged(
    seed: int,
    clusters: int,
    copies: int,
    hidden: int,
    effect: float,
    scenarios: int = SCENARIOS,
    private: bool = False,
) -> dict[str, float]:
    """One data set through selection, evaluation and the council."""
    rng = np.random.default_rng([seed, clusters, copies, hidden, int(100 * effect)])
    layers, design = pairs(clusters, copies, hidden, effect, rng, scenarios, private)
    chosen = select(layers, design, seed)
    result = measure(layers[chosen.layer], design, chosen.by_layer[chosen.layer], seed)
    row = {"model": "m", "layer": chosen.layer}
    for metric in result.rows():
        row |= {metric["metric"]: metric["estimate"]}
        row |= {f"{metric['metric']}_{bound}": metric[bound] for bound in ("lower", "upper")}
    selection = {"model": "m", "selected_layer": chosen.layer, "selection_p": chosen.p, "nested_auroc": chosen.nested_auroc}
    detection = pd.DataFrame([row])
    council = select_layers(detection, pd.DataFrame([selection]), Criteria())
    detected = bool(council["detected"].iloc[0])  # without which nothing is GREEN
    green = detected and deliberate(Evidence(Criteria(), council, detection))[1]["verdict"].iloc[0] == "GREEN"
    direction, _ = mean_difference(*design.sides(layers[chosen.layer]))
    return {
        "p": chosen.p,
        "detected": detected,
        "green": green,
        "auroc": row["auroc"],
        "left_out": row["out_of_scenario_auroc"],
        "cosine": float(direction[0]),
    }


def noise(sets: int) -> Iterator[str]:
    """Pure noise: "detected" and GREEN, and whether p is uniform."""
    yield "| clusters | copies | hidden | data sets | detected | GREEN | P(p <= .01) | P(p <= .05) | P(p <= .10) | mean AUROC |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    grid = list(itertools.product((8, 12, 30, 60), (1, 3), (16, 256)))
    each = -(-sets // len(grid))
    everything: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    for clusters, copies, hidden in grid:
        found = run(partial(judged, clusters=clusters, copies=copies, hidden=hidden, effect=0.0), each)
        everything[clusters >= 12] += found
        yield noise_row(f"{clusters} | {copies} | {hidden}", found)
    yield noise_row("12 and more | all | all", everything[True])
    yield noise_row("fewer | all | all", everything[False])
    yield "\nBinomial 95 % ranges of P(p <= a) at the sizes of the last two rows: " + "; ".join(
        f"{len(found)} sets: " + ", ".join(f"{a:.2f} in {binomial_range(len(found), a)}" for a in LEVELS)
        for found in everything.values()
    )


def noise_row(name: str, found: list[dict[str, float]]) -> str:
    shares = [f"{np.mean([one['p'] <= level for one in found]):.3f}" for level in LEVELS]
    detected, green, area = (np.mean([one[key] for one in found]) for key in ("detected", "green", "auroc"))
    return f"| {name} | {len(found)} | {detected:.3f} | {green:.3f} | {' | '.join(shares)} | {area:.3f} |"


def binomial_range(count: int, share: float) -> str:
    low, high = binom.ppf([0.025, 0.975], count, share) / count
    return f"[{low:.3f}, {high:.3f}]"


def planted(sets: int) -> Iterator[str]:
    """A planted direction: power of the verdict, and the probe's cosine with it."""
    yield "| d' | pairs (half train) | hidden | data sets | detected | GREEN | p <= .05 | mean AUROC | mean cosine |"
    yield "|---|---|---|---|---|---|---|---|---|"
    grid = list(itertools.product((1.0, 2.0, 3.0, 4.0), (30, 70, 140), (64, 512)))
    for effect, count, hidden in grid:
        found = run(partial(judged, clusters=count, copies=1, hidden=hidden, effect=effect), -(-sets // len(grid)))
        detected, green, significant, area, cosine = (
            np.mean([one["p"] <= 0.05 if key == "p" else one[key] for one in found])
            for key in ("detected", "green", "p", "auroc", "cosine")
        )
        shares = f"{detected:.2f} | {green:.2f} | {significant:.2f} | {area:.3f} | {cosine:.2f}"
        yield f"| {effect:g} | {count} | {hidden} | {len(found)} | {shares} |"


def private(sets: int) -> Iterator[str]:
    """60 pairs, half of them for training, each scenario with a random direction of its own: nothing holds in another one."""
    yield "| scenarios | hidden | d' | data sets | AUROC | out of scenario | detected | at most | GREEN |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for scenarios, hidden, effect in itertools.product((2, 3, 5), (64,), (4.0, 6.0, 9.0)):
        own = partial(judged, clusters=60, copies=1, hidden=hidden, effect=effect, scenarios=scenarios, private=True)
        found = pd.DataFrame(run(own, sets))
        means = " | ".join(f"{found[key].mean():.3f}" for key in ("auroc", "left_out", "detected"))
        most = binomial_upper(int(found["detected"].sum()), sets)
        yield f"| {scenarios} | {hidden} | {effect:g} | {sets} | {means} | {most:.3f} | {found['green'].mean():.3f} |"


def binomial_upper(hits: int, count: int) -> float:
    """The upper end of the 95 % interval of a share, one-sided (Clopper and Pearson)."""
    return 1.0 if hits == count else float(beta.ppf(0.95, hits + 1, count - hits))


KINDS = ("independent", "pairs", "copies", "unequal")
SHARED = {"independent": (0.0, 0.0), "pairs": (0.5, 0.0), "copies": (0.4, 0.5), "unequal": (0.4, 0.5)}  # by a pair, its side
TRUE = {
    "auroc": (0.7, 0.9, 0.97),
    "mean auroc": (0.8, 0.95),
    "auroc less .8": (0.0, 0.15),
    "dprime": (1.5, 3.0),
    "separation": (2.0,),
    "accuracy": (0.8, 0.9),
}


def clustered(kind: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two independent scores of variance 1 (2, texts), labels and clusters (texts,) of `count` pairs or clusters of pairs.

    independent: no text says anything of another; pairs: texts of a pair share half of their variance; copies: three
    near-duplicates of each pair share nine tenths; unequal: one to eight such copies, most clusters having one or two.
    """
    sizes = np.ones(count, dtype=int) if kind in KINDS[:2] else np.full(count, 3)
    sizes = np.minimum(rng.geometric(0.4, count), 8) if kind == "unequal" else sizes
    cluster = np.repeat(np.arange(count), 2 * sizes)
    labels = np.arange(len(cluster)) % 2 == 0
    share = SHARED[kind]
    weights = np.sqrt([*share, 1 - sum(share)])

    def drawn() -> np.ndarray:
        sides = rng.standard_normal((count, 2))[cluster, labels.astype(int)]
        return weights @ np.stack([rng.standard_normal(count)[cluster], sides, rng.standard_normal(len(cluster))])

    return np.stack([drawn(), drawn()]), labels, cluster


def apart(metric: str, truth: float) -> float:
    """How far the sides are apart, in standard deviations, where a metric has this true value."""
    area = truth + 0.8 if metric == "auroc less .8" else truth
    return truth if metric in ("dprime", "separation") else {"accuracy": 2}.get(metric, np.sqrt(2)) * norm.ppf(area)


def expected(metric: str, truth: float, kind: str, groups: np.ndarray) -> float:
    """What a metric is expected to be in clusters (texts,) of a kind, where texts of different clusters make it `truth`.

    Texts of a cluster share a context, which drops out of their comparison: it is won more often than others, and weighs
    most where a scenario holds few clusters.
    """

    def area(effect: float, parts: int) -> float:
        sizes = [np.bincount(groups[groups % parts == part]) for part in range(parts)]
        within = np.mean([(part**2).sum() / part.sum() ** 2 for part in sizes])  # the share of such comparisons
        easier, other = norm.cdf(effect / np.sqrt([2 - 2 * SHARED[kind][0], 2]))
        return float(within * easier + (1 - within) * other)

    if metric == "mean auroc":
        return area(apart(metric, truth), SCENARIOS)
    return area(apart(metric, truth), 1) - area(apart("auroc", 0.8), 1) if metric == "auroc less .8" else truth


def interval(
    metric: str, effect: float, noise: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> tuple[float, float, float]:
    """A metric with its interval, as a detection has it, where the sides of `noise` (2, texts) are moved apart by `effect`."""
    scores = noise[0] + effect * labels
    if metric == "auroc":
        return auroc_interval(scores, labels, groups)
    if metric == "mean auroc":  # of scenarios, each with a level of its own
        parts = [groups % SCENARIOS == scenario for scenario in range(SCENARIOS)]
        return mean_auroc_interval([(scores[part], labels[part], groups[part]) for part in parts])
    if metric == "auroc less .8":
        return auroc_difference(scores, np.sqrt(0.5) * noise.sum(0) + apart("auroc", 0.8) * labels, labels, groups)
    if metric == "accuracy":
        return share_interval((scores > effect / 2) == labels, groups)
    of = {"separation": separation, "dprime": dprime}[metric]
    return jackknife_interval(lambda kept: of(scores[kept], labels[kept]), groups)


def covered(seed: int, kind: str, count: int) -> dict[str, float]:
    """Whether each interval of one data set holds the truth, by metric and truth."""
    found = {}
    for metric, truths in TRUE.items():
        for truth in truths:
            rng = np.random.default_rng([seed, count, KINDS.index(kind), int(1000 * truth)])
            data = clustered(kind, count, rng)
            _, lower, upper = interval(metric, apart(metric, truth), *data)
            found[f"{metric} {truth:g}"] = float(lower <= expected(metric, truth, kind, data[2]) <= upper)
    return found


def coverage(sets: int) -> Iterator[str]:
    """Scores from a fixed direction: how often the 95 % interval of every metric holds the truth."""
    names = [f"{metric} {truth:g}" for metric, truths in TRUE.items() for truth in truths]
    yield f"| clusters | count | data sets | {' | '.join(names)} | least | most |"
    yield "|---" * (len(names) + 5) + "|"
    for kind, count in itertools.product(KINDS, (10, 15, 30, 100)):
        shares = pd.DataFrame(run(partial(covered, kind=kind, count=count), sets)).mean()
        cells = [f"{share:.3f}" for share in (*shares[names], shares.min(), shares.max())]
        yield f"| {kind} | {count} | {sets} | {' | '.join(cells)} |"


def run(one: partial, sets: int) -> list:
    """One call per seed, on all cores."""
    with ProcessPoolExecutor() as pool:
        return list(pool.map(one, range(sets), chunksize=max(1, sets // 20)))


def speed(_sets: int) -> Iterator[str]:
    """Nested selection with refitting permutations on 32 layers of 100 texts of 4,096 dimensions."""
    rng = np.random.default_rng(0)
    _layers, design = pairs(50, 1, 8, 0.0, rng)
    layers = {layer: rng.standard_normal((100, 4096)).astype(np.float32) for layer in range(32)}
    started = time.perf_counter()
    select(layers, design)
    yield f"{PERMUTATIONS} permutations, 32 layers, 100 texts, 4096 dimensions: {time.perf_counter() - started:.1f} seconds"


TASKS = {
    "speed": speed,
    "detection": noise,
    "coverage": coverage,
    "planted": planted,
    "private": private,
    "factors": partial(factors, run),
    "attacks": partial(attacks, run),
    "changes": partial(change_intervals, run),
    "success": partial(published, run),
    "carried": partial(carried, run),
    "twins": partial(twins, run),
    "agreement": partial(agreements, run),
    "anti": partial(anti_shares, run),
    "deeds": partial(deeds, run),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS, nargs="*", default=list(TASKS))
    parser.add_argument("--sets", type=int, default=1000, help="of detection and planted in all, of the others each")
    args = parser.parse_args()
    for task in args.task:
        print(f"### {task}\n")
        for line in TASKS[task](args.sets):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
