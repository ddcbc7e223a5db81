"""Replication: what the two source works print, the same by their own rules here, and our analysis, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from probesteer.study.model import Model
from probesteer.study.options import EMBEDDINGS

PUBLISHED = Path("resources/published")
# Blocks between the index that the paper prints for a probe and the output that it read: hidden_states[L] is block L - 1's.
SITE_SHIFT = {"phi-3-mini-4k": 0, "qwen2.5-7b": -1, "dolphin-llama-3.1-8b": -1}
THRESHOLD = {"phi-3-mini-4k": "accuracy_test_median"}  # the others: the midpoint of the test class means
SHARES = ["accuracy", "precision", "recall", "f1", "specificity"]  # of Table 2
COEFFICIENTS = {"behaviour_pearson_r": "pearson", "behaviour_spearman_rho": "spearman"}
COLUMNS = ["model", "claim", "at", "printed", "by_published_rule", "ours", "ours_lower", "ours_upper", "why"]
WHY = {
    "auroc": "the printed layer index names the block before for two models; other pairs, pooling and chat template",
    "accuracy": "printed: threshold fitted on the test scores; ours: on the training scores",
    "separation": "other pooling: the printed one includes the first token",
    "best_auroc": "printed: layer chosen on the test set; ours: by cross-validation on the training set",
    "dprime": "printed: on the points that the direction was fitted on, over their total SD; ours: held out, pooled SD",
    "purity": "printed: one seed of k-means; ours: the mean over ten",
    "behaviour": "printed: 12 texts written by hand, 10 for the shares; ours: what the model wrote, held-out threshold",
    "success_rate": "printed rule: a zero effect at a negative alpha is a success; ours: strict, broken texts are none",
}


def replication(
    models: Sequence[Model],
    detection: pd.DataFrame,
    steering: pd.DataFrame,
    correlation: Mapping[str, pd.DataFrame] = MappingProxyType({}),
) -> pd.DataFrame:
    """A row per printed number of every model of the study whose hub id the source works name."""
    names = pd.read_csv(PUBLISHED / "models.csv").set_index("hub_id")["model"].to_dict() if PUBLISHED.exists() else {}
    rows: list[dict[str, Any]] = []
    for model in models:
        if name := names.get(model.source):
            own = detection[detection["model"] == model.name].set_index("layer")
            rows += [{"model": model.name, **row} for row in _table_1(name, own)]
            rows += [{"model": model.name, **row} for row in _round_3(name, own)]
            if len(steering):
                rows += [{"model": model.name, **row} for row in _table_3(name, steering[steering["model"] == model.name])]
            own_texts = {of: of_own_texts(table, model.name) for of, table in correlation.items() if len(table)}
            rows += [{"model": model.name, **row} for row in (_table_2(name, own_texts) if own_texts else [])]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(claim: str, at: str, printed: float, published: float, ours: float, bounds: tuple[float, float]) -> dict[str, Any]:
    values = dict(zip(COLUMNS[1:-1], [claim, at, printed, published, ours, *bounds], strict=True))
    return {**values, "why": WHY.get(claim, WHY["behaviour"])}


def _value(own: pd.DataFrame, layer: int, metric: str) -> float:
    return float(own.at[layer, metric]) if layer in own.index and metric in own else float("nan")


def _bounds(own: pd.DataFrame, layer: int, metric: str) -> tuple[float, float]:
    return _value(own, layer, f"{metric}_lower"), _value(own, layer, f"{metric}_upper")


def _table_1(name: str, own: pd.DataFrame) -> Iterator[dict[str, Any]]:
    table = pd.read_csv(PUBLISHED / "paper_table1_detection.csv")
    for printed in table[table["model"] == name].itertuples():
        site = printed.layer + SITE_SHIFT[name]
        for claim in ("auroc", "accuracy", "separation"):
            rule = THRESHOLD.get(name, "accuracy_test_midpoint") if claim == "accuracy" else claim
            ours, bounds = _value(own, printed.layer, claim), _bounds(own, printed.layer, claim)
            yield _row(claim, f"layer {printed.layer}", getattr(printed, claim), _value(own, site, rule), ours, bounds)


def _round_3(name: str, own: pd.DataFrame) -> Iterator[dict[str, Any]]:
    table = pd.read_csv(PUBLISHED / "council_round3.csv")
    blocks = own[own.index != EMBEDDINGS]
    for printed in table[table["model"] == name].itertuples() if len(blocks) else []:
        best, chosen = int(blocks["auroc"].idxmax()), int(blocks["cv_auroc"].idxmax())
        rules = {"best_auroc": ("auroc", "auroc"), "dprime": ("dprime_published", "dprime"), "purity": ("purity", "purity")}
        for claim, (rule, metric) in rules.items():
            value = getattr(printed, claim.removeprefix("best_"))
            ours, bounds = _value(own, chosen, metric), _bounds(own, chosen, metric)
            yield _row(claim, f"best layer, {best} and {chosen}", value, _value(own, best, rule), ours, bounds)


def _table_3(name: str, steering: pd.DataFrame) -> Iterator[dict[str, Any]]:
    table = pd.read_csv(PUBLISHED / "paper_table3_steering.csv")
    at = ["layer", "scenario"]
    theirs = steering[(steering["rule"] == "published") & (steering["scorer"] == "published")].set_index(at)["success_rate"]
    ours = steering[steering["rule"] == "strict"].drop_duplicates(at).set_index(at)["success_rate"]
    for printed in table[table["model"] == name].itertuples():
        cell = printed.layer, printed.scenario
        place = f"layer {printed.layer}, {printed.scenario}"
        values = theirs.get(cell, float("nan")), ours.get(cell, float("nan"))
        yield _row("success_rate", place, printed.success_rate, *values, (float("nan"), float("nan")))


def of_own_texts(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of a table of correlation on a model's own texts, prompted and unprompted, over all scenarios; not of games."""
    rows = table[(table["model"] == model) & (table["author"] == model) & (table["texts"] == "prompted")]
    rows = rows[rows["against"] == "score"]
    return rows[rows["scope"] == rows["scope"].iloc[0]] if "scope" in rows and len(rows) else rows


def _table_2(name: str, ours: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    """Behavioural correlation; the 12 texts that the published rule reads are not printed, so that it cannot be followed."""
    shares = pd.read_csv(PUBLISHED / "paper_table2_binary.csv").melt(["model", "layer"], SHARES, "of").assign(table="binary")
    claims = pd.read_csv(PUBLISHED / "paper_text_claims.csv").assign(table="correlation")
    claims["of"] = claims["claim"].map(COEFFICIENTS)
    printed = pd.concat([claims.dropna(subset="of"), shares])
    for row in printed[printed["model"] == name].itertuples():
        own = ours[row.table].head(1).to_dict("records") or [{}]
        found, *bounds = (own[0].get(f"{row.of}{bound}", float("nan")) for bound in ("", "_lower", "_upper"))
        yield _row(f"behaviour: {row.of}", f"layer {row.layer:g}", row.value, float("nan"), found, (bounds[0], bounds[1]))
