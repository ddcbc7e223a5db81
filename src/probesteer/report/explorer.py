"""The explorer: one page, beside the report, in which every text can be read beside its likes, every table sorted and filtered.

All data are in the page, compressed, a block of it for each (model, layer), for a model's games and for each table; the browser
opens a block when it is looked at. What a model wrote reaches the page as data alone, never as markup.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from probesteer.files.tables import read_table
from probesteer.report.glossary import glossary
from probesteer.study.cells import BASELINE_ARM, PROBE_ARM
from probesteer.study.experiment import Study
from probesteer.study.model import Model

MOST_BYTES = 15_000_000  # of texts in the page: they take about half in it, compressed and as base64
MOST_ROWS = 20_000  # of a table in the page
AXES = ["arm", "scenario", "alpha", "sample"]
NUMBERS = ["evidence", "nll", "kl", "perplexity", "incoherence", "distinct_2"]
FLAGS = ["positive", "negative", "coherent", "ended"]
TURN = ["arm", "layer", "game", "alpha", "variant", "seed", "turn", "observation", "answer", "outcome", "action", "reason"]
TURN += ["reward", "score", "reached", "needed", "task", "log_odds"]
EPISODE = ["arm", "layer", "game", "alpha", "variant", "seed"]


def explorer(study: Study, tables: Mapping[str, pd.DataFrame]) -> str:
    """The page, from the scores of the study's texts, its games where it has some, and the tables of its report."""
    texts = {model.name: texts_of(study, model) for model in study.steered}
    games = {model.name: turns for model in study.models if len(turns := turns_of(study, model))}
    most = samples_that_fit([*texts.values()])
    about = {
        "study": study.study,
        "samples": {"shown": min(most, study.samples), "all": study.samples},
        "unit": study.alpha_unit,
        "probe": PROBE_ARM,
        "baseline": BASELINE_ARM,
        "limit": study.criteria.trend_alpha,
        "rows": {name: len(table) for name, table in tables.items()},
        "glossary": glossary(),
    }
    texts = {name: own[own["sample"] < most] for name, own in texts.items()}
    return page(about, parts_of(texts, games, tables))


def parts_of(
    texts: Mapping[str, pd.DataFrame], games: Mapping[str, pd.DataFrame], tables: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """The blocks of the page by name: texts/<model>/<layer>, games/<model>, tables/<table>."""
    parts: dict[str, Any] = {}
    for name, own in texts.items():
        for layer, block in own.groupby("layer", sort=True):
            parts[f"texts/{name}/{layer}"] = columns(block.drop(columns="layer"))
    parts |= {f"games/{name}": columns(first_episodes(own, MOST_BYTES // 3 // len(games))) for name, own in games.items()}
    return parts | {f"tables/{name}": columns(table.head(MOST_ROWS)) for name, table in tables.items() if len(table)}


def texts_of(study: Study, model: Model) -> pd.DataFrame:
    """The scored texts of a model, those without a layer at each layer; the other scorers' evidence beside the first one's."""
    path = study.paths.scores(model.name, study.scorers[0])
    scored = read_table(path).to_pandas()
    others = study.scorers[1:]
    for scorer in others:  # of the same texts, in the same order
        evidence = read_table(study.paths.scores(model.name, scorer), columns=["evidence"])["evidence"]
        scored[f"evidence_{scorer}"] = evidence.to_pandas()
    kept = [*AXES, "layer", *NUMBERS, *(f"evidence_{scorer}" for scorer in others), *FLAGS, "text"]
    scored = scored[[name for name in kept if name in scored]]
    layers = scored["layer"].dropna().unique()
    everywhere = [scored[scored["layer"].isna()].assign(layer=layer) for layer in layers]
    return pd.concat([scored.dropna(subset="layer"), *everywhere], ignore_index=True).astype({"layer": int})


def turns_of(study: Study, model: Model) -> pd.DataFrame:
    """Every turn of a model's games; none where the study plays none."""
    path = study.paths.root / "transcripts" / f"model={model.name}" / "transcripts.parquet"
    turns = read_table(path).to_pandas() if path.exists() else pd.DataFrame()
    return turns[[name for name in TURN if name in turns]]


def samples_that_fit(texts: Sequence[pd.DataFrame]) -> int:
    """How many samples of each cell the page has room for, one at least."""
    sizes = [own.groupby("sample")["text"].agg(lambda column: column.str.encode("utf-8").str.len().sum()) for own in texts]
    if not sizes:
        return 0
    total = pd.concat(sizes).groupby(level=0).sum().cumsum()
    return max(1, int((total <= MOST_BYTES).sum()))


def first_episodes(turns: pd.DataFrame, room: int) -> pd.DataFrame:
    """The turns of the first seeds of every game and variant, as many as there is room for (bytes), one at least."""
    seeds = turns["seed"].rank(method="dense")
    sizes = turns["observation"].str.len() + turns["answer"].str.len()
    total = sizes.groupby(seeds).sum().cumsum()
    return turns[seeds <= max(1, (total <= room).sum())].sort_values([*EPISODE, "turn"])


def columns(table: pd.DataFrame) -> dict[str, list]:
    """A table as columns of JSON values: numbers with six digits, null for what is missing."""
    return {str(name): [value_of(value) for value in table[name].astype(object)] for name in table}


def value_of(value: Any) -> Any:
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    if isinstance(value, str):
        return value
    number = value.item() if hasattr(value, "item") else value
    return float(f"{number:.6g}") if isinstance(number, float) else number


def packed(value: Any) -> str:
    """A value as JSON, compressed, in base64; the same value gives the same text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()


def page(about: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """The page: its script is allowed by its digest, and nothing may be loaded."""
    environment = Environment(loader=PackageLoader("probesteer.report"), autoescape=True, undefined=StrictUndefined)
    script, style = (template(f"explorer.{suffix}") for suffix in ("js", "css"))
    allowed = base64.b64encode(sha256(script.encode()).digest()).decode()
    blocks = dict(named(parts))
    return environment.get_template("explorer_page.html.j2").render(
        study=about["study"],
        about=packed({**about, "parts": [*parts]}),
        blocks=blocks,
        script=script,
        style=style,
        allowed=allowed,
    )


def named(parts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The blocks by their number, compressed."""
    for number, value in enumerate(parts.values()):
        yield f"part-{number}", packed(value)


def template(name: str) -> str:
    return (files("probesteer.report") / "templates" / name).read_text(encoding="utf-8")
