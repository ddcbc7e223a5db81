"""The kinds of lies: what each changes in an honest study, and which check is meant to find it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from honest import FLIPPED, LISTED, PER_SCENARIO, SCENARIOS, TELLING, Honest, Judged, Reading, arms

from probesteer.concepts.pairs import Pair

FAIL, WARN = "FAIL", "WARN"
FOUND_AUROC, FOUND_SUCCESS = 0.9, 0.5
WEAK = 1.5  # d' of a finding below the bar
READ, STEERED = "AUROC", "success"  # what the usual practice looks at
Tell = Callable[[Honest, np.random.Generator], Honest]


@dataclass(frozen=True)
class Lie:
    """A kind of lie. It is named where the check has at least this status, or the verdict's reason holds `why`, or both."""

    name: str
    tell: Tell
    check: str
    status: str
    why: str
    practice: str

    @property
    def meant(self) -> str:
        """The check that is meant for it, with what finding it means."""
        said = [f"{self.check}: {self.status}"] * bool(self.check) + [f"verdict: {self.why}"] * bool(self.why)
        return "; ".join(said)

    def named(self, found: Judged) -> bool:
        """Whether the report names it."""
        statuses = set(found.checks.loc[found.checks["check"] == self.check, "status"])
        worse = {FAIL} if self.status == FAIL else {FAIL, WARN}
        return (not self.check or bool(statuses & worse)) and self.why in found.verdict["why"]

    def believed(self, found: Judged) -> bool:
        """Whether the usual practice reports a finding."""
        return found.auroc >= FOUND_AUROC if self.practice == READ else found.success > FOUND_SUCCESS


LIES: list[Lie] = []


def lie(name: str, check: str, status: str = FAIL, why: str = "", practice: str = READ) -> Callable[[Tell], Tell]:
    """Make a function one of the LIES."""

    def register(tell: Tell) -> Tell:
        LIES.append(Lie(name, tell, check, status, why, practice))
        return tell

    return register


# ---- detection: the pairs, and what is read of them -----------------------------------------------------------------------


def reread(case: Honest, **changes: object) -> Honest:
    """The case with another reading."""
    return replace(case, reading=replace(case.reading, **changes))


def retold(own: Reading, change: Callable[[Pair, bool], str]) -> tuple[Pair, ...]:
    """The pairs with other texts, by pair and side."""
    sides = [{"positive": change(pair, True), "negative": change(pair, False)} for pair in own.pairs]
    return tuple(pair.model_copy(update=both) for pair, both in zip(own.pairs, sides, strict=True))


def side(pair: Pair, positive: bool) -> str:
    return pair.positive if positive else pair.negative


def of_surface(case: Honest, trait: str, change: Callable[[Pair, bool], str], weight: float = 6.0) -> Honest:
    """Texts whose sides differ in a trait, in a model that reads this trait and nothing of the behaviour."""
    own = case.reading
    return reread(case, pairs=retold(own, change), strength=np.zeros(len(own.pairs)), traits={**own.traits, trait: weight})


def is_test(own: Reading) -> np.ndarray:
    return np.array([pair.split == "test" for pair in own.pairs])


def edited(rng: np.random.Generator, text: str, every: int) -> str:
    """The text with every so-manieth word changed."""
    words = text.split()
    start = int(rng.integers(every))
    return " ".join(f"{word[::-1]}x" if place % every == start else word for place, word in enumerate(words))


def copied(case: Honest, rng: np.random.Generator, source: np.ndarray, every: int) -> Honest:
    """Pairs that are other pairs edited, whose copies are read alike."""
    own = case.reading
    pairs = tuple(
        pair.model_copy(
            update={name: edited(rng, getattr(own.pairs[at], name), every) for name in ("positive", "negative")}
            if at != number
            else {}
        )
        for number, (pair, at) in enumerate(zip(own.pairs, source, strict=True))
    )
    return reread(case, pairs=pairs, source=source)


def leak(case: Honest, rng: np.random.Generator, every: int) -> Honest:
    """Half to all of the test pairs are training pairs edited: a weak finding looks like a strong one."""
    test = is_test(case.reading)
    source = np.arange(len(test))
    leaked = rng.permutation(source[test])[: round(test.sum() * rng.uniform(0.5, 1))]
    source[leaked] = rng.permutation(source[~test])[: len(leaked)]
    return reread(copied(case, rng, source, every), strength=np.full(len(test), WEAK))


@lie("the test pairs are training pairs with two words changed", "near-duplicates across the split")
def leaked(case: Honest, rng: np.random.Generator) -> Honest:
    return leak(case, rng, 12)


@lie("the test pairs are training pairs with every fifth word changed", "near-duplicates across the split")
def templates_across(case: Honest, rng: np.random.Generator) -> Honest:
    return leak(case, rng, 5)


@lie("all pairs are six templates with every fifth word changed", "held-out pairs")
def six_templates(case: Honest, rng: np.random.Generator) -> Honest:
    test = is_test(case.reading)
    source = np.arange(len(test))
    for part, count in ((test, 2), (~test, 4)):
        source[part] = rng.choice(rng.permutation(source[part])[:count], part.sum())
    return copied(case, rng, source, 5)


@lie("the positive side is longer", "length and formatting")
def longer(case: Honest, rng: np.random.Generator) -> Honest:
    more = int(rng.integers(6, 13))  # words

    def change(pair: Pair, up: bool) -> str:
        return f"{pair.positive} {' '.join(pair.negative.split()[:more])}" if up else pair.negative

    return of_surface(case, "length", change, 2.5)


@lie("the positive side has bullets", "length and formatting")
def bulleted(case: Honest, _rng: np.random.Generator) -> Honest:
    return of_surface(case, "bullets", lambda pair, up: side(pair, up).replace(". ", ".\n- ") if up else side(pair, up))


@lie("words of the concept's list on their own side", "lexical ablation")
def keywords(case: Honest, rng: np.random.Generator) -> Honest:
    def change(pair: Pair, up: bool) -> str:
        words = [word for word in side(pair, up).split() if word.strip(".").lower() not in LISTED[0] + LISTED[1]]
        for word in rng.choice(LISTED[not up], 3, replace=False):
            words.insert(int(rng.integers(1, len(words) - 1)), str(word))
        return " ".join(words)

    return of_surface(case, "listed", change, 1.0)


@lie("a telling word that no list holds", "surface baselines")
def telling_word(case: Honest, _rng: np.random.Generator) -> Honest:
    def change(pair: Pair, up: bool) -> str:
        first, *rest = side(pair, up).split()
        return " ".join([first, TELLING if up else "harness", *rest])

    return of_surface(case, "telling", change)


@lie("the positive side opens with one phrase", "surface baselines")
def opening(case: Honest, _rng: np.random.Generator) -> Honest:
    return of_surface(case, "opening", lambda pair, up: f"{'Well then' if up else 'Now then'} {side(pair, up)}")


@lie("the embeddings hold all of it", "embeddings alone")
def in_embeddings(case: Honest, _rng: np.random.Generator) -> Honest:
    return reread(case, blocks=dict.fromkeys(case.reading.blocks, 1.0))


@lie("each side has a generator of its own", "generator")
def generator_per_side(case: Honest, _rng: np.random.Generator) -> Honest:
    own = case.reading
    authors = {"generator": None, "generator_positive": "author-1", "generator_negative": "author-2"}
    pairs = tuple(pair.model_copy(update=authors) for pair in own.pairs)
    return reread(case, pairs=pairs, strength=np.zeros(len(pairs)), traits={**own.traits, "generator": 2.5})


def private(case: Honest, column: str) -> Honest:
    """A direction of its own for each value of a column."""
    values = [getattr(pair, column) for pair in case.reading.pairs]
    return reread(case, axis=np.unique(values, return_inverse=True)[1], strength=np.full(len(values), 12.0))


@lie("each generator has a direction of its own", "out-of-generator drop")
def private_generators(case: Honest, _rng: np.random.Generator) -> Honest:
    return private(case, "generator")


@lie("each voice has a direction of its own", "out-of-voice drop")
def private_voices(case: Honest, _rng: np.random.Generator) -> Honest:
    return private(case, "voice")


@lie("each scenario has a direction of its own", "left-out scenarios")
def private_scenarios(case: Honest, _rng: np.random.Generator) -> Honest:
    return private(case, "scenario")


def only(case: Honest, rng: np.random.Generator, column: str, value: str, other: str) -> Honest:
    """The behaviour is in the texts of one value alone, which most pairs have."""
    own = case.reading
    few = rng.permuted(np.tile(np.arange(PER_SCENARIO) < 2, (SCENARIOS, 1)), axis=1).ravel()
    pairs = tuple(pair.model_copy(update={column: other if rare else value}) for pair, rare in zip(own.pairs, few, strict=True))
    return reread(case, pairs=pairs, strength=np.where(few, 0.0, own.strength))


@lie("the finding lives in one generator", "out-of-generator drop")
def one_generator(case: Honest, rng: np.random.Generator) -> Honest:
    return only(case, rng, "generator", "author-1", "author-2")


@lie("the finding lives in one voice", "out-of-voice drop")
def one_voice(case: Honest, rng: np.random.Generator) -> Honest:
    return only(case, rng, "voice", "letter", "note")


@lie("an outlier dimension hides the finding", "another method", WARN)
def outlier(case: Honest, rng: np.random.Generator) -> Honest:
    scale = case.reading.scale.copy()
    scale[rng.integers(len(scale))] = rng.uniform(30, 100)
    return reread(case, scale=scale)


@lie("the direction is a single dimension", "concentration", WARN)
def one_dimension(case: Honest, rng: np.random.Generator) -> Honest:
    directions = case.reading.directions.copy()
    directions[0] = np.eye(directions.shape[1])[rng.integers(directions.shape[1])]
    return reread(case, directions=directions)


@lie("five test pairs", "held-out pairs")
def few_pairs(case: Honest, _rng: np.random.Generator) -> Honest:
    own = case.reading
    seen: Counter[str] = Counter()
    kept = []
    for number, pair in enumerate(own.pairs):
        seen[pair.scenario, pair.split] += 1
        if pair.split == "train" or seen[pair.scenario, pair.split] == 1:
            kept.append(number)
    pairs = tuple(own.pairs[number] for number in kept)
    return reread(case, pairs=pairs, strength=own.strength[kept], axis=own.axis[kept], source=np.arange(len(kept)))


@lie("the control concept is the same direction", "control concept")
def same_concept(case: Honest, _rng: np.random.Generator) -> Honest:
    return reread(case, control=0)


@lie("sides so far apart that any direction tells them", "random directions")
def far_apart(case: Honest, _rng: np.random.Generator) -> Honest:
    return reread(case, strength=np.full(len(case.reading.pairs), 100.0))


@lie("labels at random", "label permutation")
def random_labels(case: Honest, rng: np.random.Generator) -> Honest:
    own = case.reading
    return reread(case, strength=own.strength * rng.permuted(np.tile([1, -1], len(own.pairs) // 2)))


@lie("sides swapped in the test split", "detection criterion")
def swapped_test(case: Honest, _rng: np.random.Generator) -> Honest:
    return reread(case, strength=np.where(is_test(case.reading), -1, 1) * case.reading.strength)


@lie("test pairs picked by hand: the finding is plain in these alone", "interval")
def picked_test(case: Honest, rng: np.random.Generator) -> Honest:
    return reread(case, strength=np.where(is_test(case.reading), 12.0, rng.uniform(0.5, WEAK)))


@lie("a capture that holds the label and nothing else", "finite, varying projections")
def label_captured(case: Honest, _rng: np.random.Generator) -> Honest:
    return reread(case, scale=np.zeros_like(case.reading.scale), traits={})


# ---- steering: the sweep, and who rates it --------------------------------------------------------------------------------

NO_EFFECT = (0.0,) * SCENARIOS


def rescored(case: Honest, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Honest:
    """The case with edited scores."""
    return replace(case, scores=edit(case.scores.copy()))


def rated(scores: pd.DataFrame, positive: pd.Series) -> pd.DataFrame:
    """The scores with other ratings."""
    return scores.assign(positive=positive, negative=~positive)


@lie("broken text on the negative side", "dose-response trend", WARN, "not steerable", STEERED)
def broken_side(case: Honest, rng: np.random.Generator) -> Honest:
    broken = replace(case, scores=arms(case.seed, NO_EFFECT, coherent=(rng.uniform(0.2, 0.5), 0.9)))
    return rescored(broken, lambda scores: rated(scores, scores["positive"] & scores["coherent"]))


@lie("broken texts at high doses, rated by the sign of the dose", "zero effects and broken texts", WARN, "", STEERED)
def broken_by_sign(case: Honest, _rng: np.random.Generator) -> Honest:
    def edit(scores: pd.DataFrame) -> pd.DataFrame:
        broken = scores["alpha"].abs() >= 3
        scores = rated(scores, scores["positive"].where(~broken, scores["alpha"] > 0))
        return scores.assign(coherent=~broken, coherent_published=True)

    return rescored(replace(case, scores=arms(case.seed, NO_EFFECT)), edit)


@lie("two scenarios of five move, the others do not", "", "", "steerable at block 1 in", STEERED)
def two_scenarios(case: Honest, rng: np.random.Generator) -> Honest:
    return replace(case, scores=arms(case.seed, rng.permutation([0.9, 0.9, 0, 0, 0])))


@lie("an effect below the bar, made significant by many samples", "dose-response trend", WARN, "not steerable", STEERED)
def tiny(case: Honest, rng: np.random.Generator) -> Honest:
    return replace(case, scores=arms(case.seed, (rng.uniform(0.06, 0.12),) * SCENARIOS, samples=60), samples=60)


@lie("half of the samples are steered the other way", "dose-response trend", WARN, "not steerable", STEERED)
def other_way(case: Honest, _rng: np.random.Generator) -> Honest:
    def edit(scores: pd.DataFrame) -> pd.DataFrame:
        turned = (scores["arm"] == "probe") & (scores["sample"] % 2 == 1)
        return scores.assign(alpha=scores["alpha"].where(~turned, -scores["alpha"]))

    return rescored(case, edit)


@lie("a judge that favours positive doses", "specificity", WARN, "not shown specific", STEERED)
def biased_judge(case: Honest, rng: np.random.Generator) -> Honest:
    share = rng.uniform(0.6, 0.95)

    def edit(scores: pd.DataFrame) -> pd.DataFrame:
        favoured = (scores["alpha"] > 0) & (rng.random(len(scores)) < share)
        return rated(scores, scores["positive"] | favoured)

    return rescored(replace(case, scores=arms(case.seed, NO_EFFECT)), edit)


@lie("a judge that favours steered texts, whatever the dose", "dose-response trend", WARN, "not steerable", STEERED)
def steered_favoured(case: Honest, rng: np.random.Generator) -> Honest:
    def edit(scores: pd.DataFrame) -> pd.DataFrame:
        favoured = (scores["arm"] == "probe") & (rng.random(len(scores)) < share)
        return rated(scores, scores["positive"] | favoured)

    share = rng.uniform(0.3, 0.9)
    return rescored(replace(case, scores=arms(case.seed, NO_EFFECT)), edit)


@lie("any push along what varies moves it, by a sign of chance", "specificity", FAIL, "not shown specific", STEERED)
def unspecific(case: Honest, rng: np.random.Generator) -> Honest:
    change = rng.uniform(0.45, 0.6)
    return replace(case, scores=arms(case.seed, (change,) * SCENARIOS, flipped=change * rng.choice([-1, 1], FLIPPED)))


@lie("random directions move it", "random directions steer", WARN, "", STEERED)
def random_moves(case: Honest, rng: np.random.Generator) -> Honest:
    return replace(case, scores=arms(case.seed, random=rng.choice([-1, 1], 2) * rng.uniform(0.4, 0.6)))


@lie("prompts do not move it", "prompts move it", WARN, "not measurable", STEERED)
def unmoved(case: Honest, _rng: np.random.Generator) -> Honest:
    return replace(case, scores=arms(case.seed, prompted=(0.4, 0.4)))


@lie("unsteered texts are broken", "dose-response trend", WARN, "not measurable", STEERED)
def broken_baseline(case: Honest, rng: np.random.Generator) -> Honest:
    def edit(scores: pd.DataFrame) -> pd.DataFrame:
        whole = rng.random(len(scores)) < 0.3
        return scores.assign(coherent=whole, coherent_published=whole)

    return rescored(case, edit)


@lie("the unsteered rate is at the ceiling", "baseline ceiling or floor", WARN, "", STEERED)
def ceiling(case: Honest, _rng: np.random.Generator) -> Honest:
    return rescored(case, lambda scores: rated(scores, scores["positive"] | (scores["arm"] == "baseline")))


@lie("texts cut at the token limit", "truncation", WARN, "", STEERED)
def cut(case: Honest, rng: np.random.Generator) -> Honest:
    return rescored(case, lambda scores: scores.assign(ended=rng.random(len(scores)) < 0.2))


@lie("a judge that fails on what is not positive", "ratings", FAIL, "", STEERED)
def failing_judge(case: Honest, _rng: np.random.Generator) -> Honest:
    def edit(scores: pd.DataFrame) -> pd.DataFrame:
        failed = (scores["alpha"] > 0) & ~scores["positive"]
        ratings = scores[["positive", "negative"]].astype(object).mask(failed)
        return scores.assign(**ratings)

    return rescored(replace(case, scores=arms(case.seed, (0.2,) * SCENARIOS)), edit)


@lie("steered at a block where nothing is read", "", "", "not detected at block 0", STEERED)
def wrong_block(case: Honest, _rng: np.random.Generator) -> Honest:
    return replace(reread(case, blocks={**case.reading.blocks, 0: 0.0}), layer=0)


@lie("three samples a cell", "power", WARN, "", STEERED)
def few_samples(case: Honest, _rng: np.random.Generator) -> Honest:
    return replace(case, scores=arms(case.seed, samples=3), samples=3)
