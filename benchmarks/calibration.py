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
from scipy.stats import binom, norm

from probesteer.behaviour.effects import dose_response, success_rates
from probesteer.behaviour.trends import trends
from probesteer.detection.design import Design
from probesteer.detection.heldout import measure
from probesteer.detection.selection import PERMUTATIONS, select
from probesteer.directions.methods import mean_difference
from probesteer.report.council import deliberate, judge_trends, select_layers
from probesteer.report.evidence import Evidence
from probesteer.stats import auroc_interval
from probesteer.study.sections import Criteria

LAYERS, SCENARIOS = 4, 4
LEVELS = (0.01, 0.05, 0.1)


def pairs(
    clusters: int, copies: int, hidden: int, effect: float, rng: np.random.Generator
) -> tuple[dict[int, np.ndarray], Design]:
    """Activations by layer, and the design, of pairs that come in `copies` near-duplicates.

    The class means differ by `effect` standard deviations along one axis of every layer; a pair shares a context, and the
    copies of a pair share nine tenths of their variance.
    """
    cluster = np.repeat(np.arange(clusters), 2 * copies)
    labels = np.tile([True, False], clusters * copies)
    base = cluster * 2 + ~labels  # copies of one side
    layers = {}
    for layer in range(LAYERS):
        context = rng.standard_normal((clusters, hidden))[cluster]
        shared = rng.standard_normal((2 * clusters, hidden))[base]
        noise = rng.standard_normal((len(labels), hidden))
        own = np.sqrt(0.9) * shared + np.sqrt(0.1) * noise if copies > 1 else noise
        layers[layer] = np.sqrt(0.5) * (context + own)
        layers[layer][:, 0] += effect * labels
    return layers, Design(labels, cluster, cluster % 2 == 0, (cluster // 2) % SCENARIOS)


def judged(seed: int, clusters: int, copies: int, hidden: int, effect: float) -> dict[str, float]:
    """One data set through selection, evaluation and the council."""
    rng = np.random.default_rng([seed, clusters, copies, hidden, int(100 * effect)])
    layers, design = pairs(clusters, copies, hidden, effect, rng)
    chosen = select(layers, design, seed)
    result = measure(layers[chosen.layer], design, chosen.by_layer[chosen.layer], seed)
    row = {"model": "m", "layer": chosen.layer}
    for metric in result.rows():
        row |= {metric["metric"]: metric["estimate"]}
        row |= {f"{metric['metric']}_{bound}": metric[bound] for bound in ("lower", "upper")}
    selection = {"model": "m", "selected_layer": chosen.layer, "selection_p": chosen.p, "nested_auroc": chosen.nested_auroc}
    detection = pd.DataFrame([row])
    council = select_layers(detection, pd.DataFrame([selection]), Criteria())
    verdict = deliberate(Evidence(Criteria(), council, detection))[1].iloc[0]
    direction, _ = mean_difference(*design.sides(layers[chosen.layer]))
    return {"p": chosen.p, "green": verdict["verdict"] == "GREEN", "auroc": row["auroc"], "cosine": float(direction[0])}


def noise(sets: int) -> Iterator[str]:
    """Pure noise: GREEN verdicts, and whether p is uniform."""
    yield "| clusters | copies | hidden | data sets | GREEN | P(p <= .01) | P(p <= .05) | P(p <= .10) | mean AUROC |"
    yield "|---|---|---|---|---|---|---|---|---|"
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
    green, area = (np.mean([one[key] for one in found]) for key in ("green", "auroc"))
    return f"| {name} | {len(found)} | {green:.3f} | {' | '.join(shares)} | {area:.3f} |"


def binomial_range(count: int, share: float) -> str:
    low, high = binom.ppf([0.025, 0.975], count, share) / count
    return f"[{low:.3f}, {high:.3f}]"


def planted(sets: int) -> Iterator[str]:
    """A planted direction: power of the verdict, and the probe's cosine with it."""
    yield "| d' | pairs (half train) | hidden | data sets | GREEN | p <= .05 | mean AUROC | mean cosine |"
    yield "|---|---|---|---|---|---|---|---|"
    grid = list(itertools.product((1.0, 2.0, 3.0, 4.0), (30, 70, 140), (64, 512)))
    for effect, count, hidden in grid:
        found = run(partial(judged, clusters=count, copies=1, hidden=hidden, effect=effect), -(-sets // len(grid)))
        green, significant, area, cosine = (
            np.mean([one["p"] <= 0.05 if key == "p" else one[key] for one in found])
            for key in ("green", "p", "auroc", "cosine")
        )
        shares = f"{green:.2f} | {significant:.2f} | {area:.3f} | {cosine:.2f}"
        yield f"| {effect:g} | {count} | {hidden} | {len(found)} | {shares} |"


def covered(seed: int, count: int, area: float, correlation: float) -> tuple[bool, bool]:
    """Whether the interval of one data set holds the true AUROC, and whether its AUROC is 1."""
    rng = np.random.default_rng([seed, count, int(1000 * area), int(10 * correlation)])
    context = np.repeat(rng.standard_normal(count), 2)
    labels = np.tile([True, False], count)
    scores = np.sqrt(correlation) * context + np.sqrt(1 - correlation) * rng.standard_normal(2 * count)
    scores += np.sqrt(2) * norm.ppf(area) * labels
    estimate, lower, upper = auroc_interval(scores, labels, np.repeat(np.arange(count), 2))
    return lower <= area <= upper, estimate == 1


def intervals(sets: int) -> Iterator[str]:
    """Scores from a fixed direction: coverage of the 95 % interval."""
    yield "| pairs | true AUROC | correlation within pairs | data sets | covered | sets at AUROC 1 |"
    yield "|---|---|---|---|---|---|"
    for count, area, correlation in itertools.product((15, 35, 100), (0.7, 0.9, 0.99), (0.0, 0.5)):
        found = [covered(seed, count, area, correlation) for seed in range(sets)]
        inside, perfect = np.mean(found, axis=0)
        yield f"| {count} | {area} | {correlation} | {sets} | {inside:.3f} | {perfect:.3f} |"


def steered(seed: int, change: float) -> dict[str, float]:
    """Generations of five scenarios, 20 samples that share random numbers over 7 alphas; the rate rises by `change` in all.

    With no change, the outcomes of a (scenario, sample) are shuffled over alpha.
    """
    rng = np.random.default_rng([seed, int(100 * change)])
    alphas = np.array([-5.0, -3, -1, 0, 1, 3, 5])
    rows = []
    for scenario, base in enumerate((0.3, 0.4, 0.5, 0.6, 0.7)):
        rates = np.clip(base + change * (np.arange(7) - 3) / 6, 0.01, 0.99)
        for sample in range(20):
            shared = 0.7 * rng.standard_normal() + np.sqrt(0.51) * rng.standard_normal(7)
            positive = shared < norm.ppf(rates)
            positive = positive if change else rng.permutation(positive)
            rows += [(f"s{scenario}", alpha, sample, hit) for alpha, hit in zip(alphas, positive, strict=True)]
    scores = pd.DataFrame(rows, columns=["scenario", "alpha", "sample", "positive"])
    scores = scores.assign(model="m", layer=0, negative=~scores["positive"], coherent=True, coherent_published=True)
    verdict = judge_trends(trends(scores, 5.0, seed), dose_response(scores), Criteria()).iloc[0]
    rules = {rule: success_rates(scores, rule)["success_rate"].mean() for rule in ("published", "strict")}
    return {"steerable": verdict["steerable"], "p": verdict["p"], **rules}


def steering(sets: int) -> Iterator[str]:
    """Exchangeable generations, and a true dose-response."""
    yield "| change from lowest to highest alpha | data sets | steerable | p <= .05 | published success | strict success |"
    yield "|---|---|---|---|---|---|"
    for change in (0.0, 0.2, 0.4, 0.6):
        found = pd.DataFrame(run(partial(steered, change=change), sets))
        name = f"{change}" if change else "0 (alpha shuffled within scenario and sample)"
        values = found["steerable"].mean(), (found["p"] <= 0.05).mean(), found["published"].mean(), found["strict"].mean()
        yield f"| {name} | {sets} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


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


TASKS = {"speed": speed, "detection": noise, "intervals": intervals, "planted": planted, "steering": steering}


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
