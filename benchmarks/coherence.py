"""What the coherence of texts finds: python benchmarks/coherence.py --keep FOLDER [--model NAME FOLDER CONCEPT TOKENS] ...

Unsteered texts of each model are broken in many ways; the weight of `behaviour.coherence` is fitted on six kinds of breakage
in the first two models, and tested on others, in all models. Prints a Markdown table. Texts are kept in FOLDER
and not made again. Models are taken beside the organisms; one of 135 million parameters takes half an hour of a core.
"""

import argparse
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from probesteer.behaviour import coherence
from probesteer.concepts.concept import load_concept
from probesteer.lm.blocks import decoder_blocks
from probesteer.lm.capture import pooled_activations
from probesteer.lm.generate import generate
from probesteer.lm.likelihood import surprisal
from probesteer.lm.load import load_model, render_prompt
from probesteer.lm.request import Request

ORGANISMS = [[name, f"resources/organisms/{name}", "empathy_grammar", "60"] for name in ("llama", "qwen2", "phi3")]
SAMPLES, BROKEN = 60, 12  # unsteered texts of a scenario, and how many of them are broken in each way
GERMAN = [
    "Der Weg ist lang, und ich gehe heute nur noch bis zur Kirche.",
    "Am Abend wird es kalt, darum nehme ich den Mantel mit.",
    "Die Frau fragt nach der Zeit, aber ich habe keine Uhr dabei.",
]
FRENCH = [
    "Le chemin est long et je marche encore un peu avant la nuit.",
    "Il fait froid ce soir, alors je prends mon manteau avec moi.",
    "La femme demande l'heure, mais je n'ai pas de montre.",
]
Breakage = Callable[[str, random.Random, Sequence[str]], str]
"""A text, random numbers and the texts of other scenarios to a broken text."""


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part] or [text]


def shuffled(text: str, rng: random.Random, others: Sequence[str]) -> str:
    words = text.split()
    return " ".join(rng.sample(words, len(words)))


def looped(text: str, rng: random.Random, others: Sequence[str]) -> str:
    first = sentences(text)[0]
    return " ".join([first] * max(3, len(text.split()) // max(1, len(first.split()))))


def numbers(text: str, rng: random.Random, others: Sequence[str]) -> str:
    parts, number = [], 0
    for _ in range(rng.randint(8, 25)):
        number = 1 if rng.random() < 0.15 else number + 1
        parts += [f"{number}."] + [rng.choice(text.split())] * (rng.random() < 0.2)
    return rng.choice(" \n").join(parts)


def phrase(text: str, rng: random.Random, others: Sequence[str]) -> str:
    words, length = text.split(), rng.randint(3, 6)
    start = rng.randrange(max(1, len(words) - length))
    return " ".join(words[start : start + length] * max(3, len(words) // length))


def scrambled(text: str, rng: random.Random, others: Sequence[str]) -> str:
    def inner(match: re.Match[str]) -> str:
        word = match[0]
        return word[0] + "".join(rng.sample(word[1:-1], len(word) - 2)) + word[-1]

    return re.sub(r"[A-Za-z]{4,}", inner, text)


def salad(text: str, rng: random.Random, others: Sequence[str]) -> str:
    vocabulary = " ".join(others).split()
    return " ".join(rng.choice(vocabulary) for _ in text.split())


def half(text: str, rng: random.Random, others: Sequence[str]) -> str:
    own, other = sentences(text), sentences(rng.choice(others))
    return " ".join(own[: max(1, len(own) // 2)] + other[len(other) // 2 :])


def code(text: str, rng: random.Random, others: Sequence[str]) -> str:
    words = re.findall(r"[a-z]{3,}", text) or ["x"]
    return "\n".join(f"self.{rng.choice(words)}[{i}] = {rng.choice(words)}({rng.choice(words)}, {i});" for i in range(6))


def stutter(text: str, rng: random.Random, others: Sequence[str]) -> str:
    return " ".join(" ".join([word] * rng.randint(1, 2)) for word in text.split())


FITTED: dict[str, Breakage] = {
    "words shuffled": shuffled,
    "first sentence looped": looped,
    "number list": numbers,
    "German": lambda text, rng, others: " ".join(rng.sample(GERMAN, 3)),
    "another scenario's text": lambda text, rng, others: rng.choice(others),
}
HOT = "temperature 2"  # generated, fitted on
TESTED: dict[str, Breakage] = {
    "phrase looped": phrase,
    "letters scrambled": scrambled,
    "words of other texts": salad,
    "words stuttered": stutter,
    "French": lambda text, rng, others: " ".join(rng.sample(FRENCH, 3)),
    "bullets of one word": lambda text, rng, others: "\n".join(f"- {word}" for word in text.split()[:20]),
    "code": code,
    "second half another scenario's": half,
}
PUSHED = "push of two residual norms"  # generated, tested


def texts_of(name: str, folder: str, concept_name: str, tokens: str, keep: Path) -> pd.DataFrame:
    """Unsteered and broken texts of a model: columns kind, scenario, text, and those of coherence.LIKELIHOODS."""
    path = keep / f"{name}.parquet"
    if path.exists():
        return pd.read_parquet(path)
    model, tokenizer = load_model(folder, device="cpu")
    concept = load_concept(Path("resources/concepts") / concept_name)
    system = concept.system_prompts.neutral
    asked = {scenario: render_prompt(tokenizer, system, user) for scenario, user in concept.prompts().items()}
    rows = generated(model, tokenizer, asked, concept.neutral_texts[:4], int(tokens))
    unsteered = [(scenario, text) for kind, scenario, text in rows if kind == "unsteered" and text.strip()]
    rng = random.Random(0)
    for kind, broken in (FITTED | TESTED).items():
        for scenario in asked:
            own, others = ([text for at, text in unsteered if (at == scenario) == here] for here in (True, False))
            rows += [(kind, scenario, broken(text, rng, others)) for text in own[-BROKEN:]]
    table = pd.DataFrame(rows, columns=["kind", "scenario", "text"])
    ids = tokenizer(table["text"].tolist(), add_special_tokens=False)["input_ids"]
    here = surprisal(model, tokenizer, [asked[scenario] for scenario in table["scenario"]], ids)
    elsewhere = [render_prompt(tokenizer, system, str(concept.elsewhere(scenario))) for scenario in table["scenario"]]
    there = surprisal(model, tokenizer, elsewhere, ids)
    table = table.assign(nll=here.mean, nll_std=here.spread, nll_elsewhere=there.mean)
    table.to_parquet(path)
    return table


def generated(model: Any, tokenizer: Any, asked: Mapping[str, str], neutral: Sequence[str], tokens: int) -> list[tuple]:
    """(kind, scenario, text) of what the model writes: unsteered, hot, and pushed in a random direction at half its depth."""
    layer = len(decoder_blocks(model)) // 2
    norm = np.linalg.norm(pooled_activations(model, tokenizer, neutral)[:, layer + 1], axis=-1).mean()
    direction = np.random.default_rng(0).standard_normal(model.config.get_text_config().hidden_size).astype(np.float32)
    push = {"layer": layer, "direction": direction / np.linalg.norm(direction), "push": 2 * float(norm)}
    rows = []
    for kind, count, heat, pushed in (("unsteered", SAMPLES, 0.7, {}), (HOT, BROKEN, 2.0, {}), (PUSHED, BROKEN, 0.7, push)):
        drawn = [(scenario, sample) for scenario in asked for sample in range(count)]
        requests = [Request(asked[name], seed_key=(kind, name, sample), **pushed) for name, sample in drawn]
        found = generate(model, tokenizer, requests, tokens, heat)
        rows += [(kind, scenario, text) for (scenario, _), text in zip(drawn, found, strict=True)]
    return rows


def split(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The texts as a study has them: two thirds of the unsteered ones of each scenario bound coherence."""
    unsteered = table["kind"] == "unsteered"
    rank = table[unsteered].groupby("scenario")["kind"].transform(lambda rows: rng.permutation(len(rows)) / len(rows))
    bounding = (rank < 2 / 3).reindex(table.index, fill_value=False)
    arm = np.where(bounding, "calibration", np.where(unsteered, "new", table["kind"]))
    return table.assign(arm=arm, model="m", alpha=0.0, sample=range(len(table)))


def fit(tables: Sequence[pd.DataFrame], grid: Sequence[float] = (1, 2, 3, 5, 7, 10)) -> dict[float, float]:
    """The least AUROC over the kinds of breakage that are fitted on, by the weight of what is off topic; the others weigh 1.

    One number only: with weights of their own, measures that these kinds do not need would be lost for others.
    """
    found = {}
    for weight in grid:
        coherence.WEIGHTS["off_topic"] = weight
        fitted = [tested(table[table["kind"].isin(["unsteered", HOT, *FITTED])], splits=10) for table in tables]
        found[weight] = min(table["auroc"].drop("unsteered").min() for table in fitted)
    return found


def tested(table: pd.DataFrame, splits: int = 20) -> pd.DataFrame:
    """Per kind, over random splits: AUROC of its incoherence against new unsteered texts, and the share called incoherent."""
    rows = []
    for seed in range(splits):
        texts = split(table, np.random.default_rng(seed))
        texts = texts.join(coherence.judge_coherence(texts))
        new = texts[texts["arm"] == "new"]
        rows.append(("unsteered", 0.5, 1 - new["coherent"].mean()))
        for kind in dict.fromkeys(table["kind"][table["kind"] != "unsteered"]):
            both = pd.concat([new, own := texts[texts["arm"] == kind]])
            score = both["incoherence"].replace(np.inf, 1e9)
            rows.append((kind, roc_auc_score(both["arm"] == kind, score), 1 - own["coherent"].mean()))
    return pd.DataFrame(rows, columns=["kind", "auroc", "incoherent"]).groupby("kind", sort=False).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="folder of the texts")
    parser.add_argument("--model", nargs=4, action="append", help="name, folder, concept, new tokens; beside the organisms")
    args = parser.parse_args()
    args.keep.mkdir(parents=True, exist_ok=True)
    tables = {model[0]: texts_of(*model, args.keep) for model in [*(args.model or []), *ORGANISMS]}
    shipped = coherence.WEIGHTS["off_topic"]
    by_weight = fit(list(tables.values())[:2])
    listed = "; ".join(f"{weight:g}: {auroc:.3f}" for weight, auroc in by_weight.items())
    print(f"Least AUROC over the kinds fitted on, by the weight of what is off topic ({shipped:g} is shipped): {listed}\n")
    coherence.WEIGHTS["off_topic"] = shipped
    found = {name: tested(table) for name, table in tables.items()}
    print(f"| texts | fitted on | {' | '.join(found)} |\n|---|---|{'---|' * len(found)}")
    alarms = " | ".join(f"{table.loc['unsteered', 'incoherent']:.3f}" for table in found.values())
    print(f"| unsteered, new: share called incoherent | | {alarms} |")
    for kind in [HOT, *FITTED, PUSHED, *TESTED]:
        cells = " | ".join(f"{table.loc[kind, 'auroc']:.3f} ({table.loc[kind, 'incoherent']:.2f})" for table in found.values())
        print(f"| {kind} | {'yes' if kind in [HOT, *FITTED] else ''} | {cells} |")


if __name__ == "__main__":
    main()
