"""The council report: reads what the study's jobs wrote, verifies it, and writes tables, figures and pages."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt

from probesteer import figures
from probesteer.activations import cache_inputs
from probesteer.concepts import WORDS_FILE, Concept, control_digest, load_scenarios, study_digest
from probesteer.council import Evidence, deliberate, judge_trends, select_layers
from probesteer.data_card import data_card
from probesteer.detection_table import detection_inputs
from probesteer.directions import Probe, load_probe
from probesteer.effects import CELL, RULES, control_trends, dose_response, mean_success, of_arm, success_rates, trends
from probesteer.errors import InputError
from probesteer.history import HISTORY, reassess
from probesteer.pairs import load_pairs
from probesteer.published import replication
from probesteer.steering import Sweep, stale_cells
from probesteer.study import PROMPTED_ARMS, TABLES, Cell, Model, Study, digest
from probesteer.tables import atomic, is_fresh, read_card, read_cost, read_table, write_text
from probesteer.wordlists import load_words

Probes = Mapping[tuple[str, int], Probe]  # by (model, layer)

EXAMPLE_CHARS = 400
FOREIGN = "missing, broken, or made from other inputs than the study's"


def build_report(study: Study, output: Path) -> dict[str, str]:
    """Verify the study's results, write `output`/{tables,figures,report.md,report.html}; returns model: verdict.

    Raises InputError where a result is missing, broken, or was made from other inputs than the study's.
    """
    concept = load_scenarios(study.concept_folder, study.scenarios)
    cards = {model.name: read_card(study.card_path(model)) for model in study.models}
    texts_digest = study_digest(study)
    words = load_words(study.concept_folder / WORDS_FILE)
    probes = {
        (model.name, layer): load_probe(study.probe_path(model, layer), layer)
        for model in study.models
        for layer in study.steering_layers_of(model)
    }
    tables: dict[str, pd.DataFrame] = {
        "models": models_table(cards),
        "data": data_card(load_pairs(study.pairs_path, study.pairs_columns)),
        **detection_tables(study, cards, texts_digest, words),
        "cells": cells_table(study, concept, cards, probes),
        "cost": cost_table(study, texts_digest),
    }
    tables["council"] = select_layers(tables["detection"], tables["selection"], study.criteria)
    tables |= steering_tables(study, probes)
    evidence = Evidence(
        criteria=study.criteria,
        council=tables["council"],
        detection=tables["detection"],
        details=tables["details"],
        trends=tables["trends"],
        controls=tables["controls"],
        rates=tables["dose_response"],
        success=tables["steering"].query("scorer == @study.scorers[0]") if len(tables["steering"]) else tables["steering"],
        cells=tables["cells"],
        cost=tables["cost"],
        models=tables["models"],
    )
    tables["checks"], tables["verdict"] = deliberate(evidence)
    tables["published"] = replication(study.models, tables["detection"], tables["steering"])
    tables["reassessment"] = reassess(study, tables["verdict"], output.parent / HISTORY)
    for name in TABLES:
        with atomic(output / "tables" / f"{name}.csv") as beside:
            tables[name].to_csv(beside, index=False, float_format="%.6g")
    draw_figures(study, tables, output / "figures")
    markdown = render(study, concept, tables)
    write_text(output / "report.md", markdown)
    write_text(output / "report.html", to_html(markdown, output, f"{study.study}: council report"))
    return dict(zip(tables["verdict"]["model"], tables["verdict"]["verdict"], strict=True))


def models_table(cards: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row per model, from its card."""
    return pd.DataFrame(list(cards.values())).drop(columns=["trust_remote_code", "vocabulary", "folder"])


def detection_tables(
    study: Study, cards: Mapping[str, Mapping[str, Any]], texts_digest: str, words: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """What `detection_table.detection_rows` found, of all models.

    detection: a row per (model, layer), every metric of `detection.evaluate` with its interval. selection: a row per model.
    details: the metrics that come several times, long. Raises InputError for a result made from other inputs than the study's.
    """
    tables = []
    for model in study.models:
        cache = cache_inputs(cards[model.name], texts_digest, study.pooling)
        path = study.detection_path(model)
        other = cache_inputs(cards[model.name], control_digest(study), study.pooling) if study.control_concept else None
        if not is_fresh(path, detection_inputs(cache, study.layers_of(model), study.seed, words, other)):
            raise InputError(f"{path}: {FOREIGN}; delete it and run again")
        tables.append(read_table(path).to_pandas().assign(model=model.name))
    long = pd.concat(tables, ignore_index=True)
    single = long[long["of"] == ""]
    columns = ["model", "layer", "metric", "of", "estimate", "lower", "upper"]
    return {
        "detection": wide(single[single["layer"].notna()].astype({"layer": int}), ["model", "layer"]),
        "selection": wide(single[single["layer"].isna()], ["model"]),
        "details": long.loc[long["of"] != "", columns].astype({"layer": "Int64"}).reset_index(drop=True),
    }


def wide(long: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    """One row per `index`, and per metric a column with its estimate and, where they are known, its bounds."""
    rows = []
    for key, own in long.groupby(index, sort=False):
        row: dict[str, Any] = dict(zip(index, key, strict=True))
        for metric in own.itertuples():
            row[metric.metric] = metric.estimate
            if pd.notna(metric.lower):
                row[f"{metric.metric}_lower"], row[f"{metric.metric}_upper"] = metric.lower, metric.upper
        rows.append(row)
    return pd.DataFrame(rows)


def cells_table(study: Study, concept: Concept, cards: Mapping[str, Mapping[str, Any]], probes: Probes) -> pd.DataFrame:
    """Per model: how many cells were found and verified against the fingerprints that the study implies.

    Raises InputError at the first model with a missing or foreign cell: a report on a mixture would be wrong.
    """
    rows = []
    for model in study.models:
        sweep = study_sweep(study, concept, model)
        layers = study.steering_layers_of(model)
        groups: list[tuple[list[Cell], Probe | None]] = [(study.unsteered_cells(model), None)] if layers else []
        groups += [(study.cells(model, layer), probes[model.name, layer]) for layer in layers]
        card, root = cards[model.name], study.cells_root
        stale = [cell for cells, probe in groups for cell in stale_cells(cells, root, sweep, card, probe)]
        if stale:
            raise InputError(
                f"{stale[0].path(root)}: {FOREIGN} ({len(stale)} such cells of {model.name}); delete it and run again"
            )
        rows.append({"model": model.name, "verified_cells": sum(len(cells) for cells, _ in groups)})
    return pd.DataFrame(rows)


def study_sweep(study: Study, concept: Concept, model: Model) -> Sweep:
    """The steering settings of a model in a study."""
    sampling = study.sampling.model_copy(update={"max_new_tokens": study.max_new_tokens_of(model)})
    return Sweep(concept, sampling, study.samples, study.seed, study.alpha_unit, study.positions, study.engine)


def steering_tables(study: Study, probes: Probes) -> dict[str, pd.DataFrame]:
    """Dose-response, trends, prompted rates and examples from the first scorer; success by every scorer and rule."""
    steered = [model for model in study.models if study.steering_layers_of(model)]
    if not steered:
        names = ("dose_response", "steering", "success", "trends", "controls", "prompting", "examples")
        return {name: pd.DataFrame() for name in names}
    scores = {
        scorer: pd.concat([read_table(study.scores_path(model, scorer)).to_pandas() for model in steered])
        for scorer in study.scorers
    }
    sweeps = {scorer: of_arm(table) for scorer, table in scores.items()}
    first = sweeps[study.scorers[0]]
    rates = with_doses(dose_response(first), probes, study.alpha_unit)
    success = [success_rates(sweep, rule).assign(scorer=scorer) for scorer, sweep in sweeps.items() for rule in RULES]
    steering = pd.concat(success).sort_values([*CELL, "rule", "scorer"], ignore_index=True)
    limit, arms = study.criteria.trend_alpha, study.controls.arms()
    return {
        "dose_response": rates,
        "steering": steering,
        "success": mean_success(steering),
        "trends": judge_trends(trends(first, limit, study.seed), rates, study.criteria),
        "controls": control_trends(scores[study.scorers[0]], arms, limit, study.seed),
        "prompting": prompting_table(scores[study.scorers[0]]),
        "examples": examples_table(first, limit),
    }


def with_doses(rates: pd.DataFrame, probes: Probes, unit: str) -> pd.DataFrame:
    """Add the dose in all three units: the length of the push, in class separations, and in mean residual norms."""
    at = [probes[cell] for cell in zip(rates["model"], rates["layer"], strict=True)]
    push = [probe.push(alpha, unit) for probe, alpha in zip(at, rates["alpha"], strict=True)]
    return rates.assign(
        dose_absolute=push,
        dose_separation=[length / probe.separation for length, probe in zip(push, at, strict=True)],
        dose_residual=[length / probe.residual_norm for length, probe in zip(push, at, strict=True)],
    )


def shown_success(success: pd.DataFrame, scorers: Sequence[str]) -> pd.DataFrame:
    """The rows of the report: the strict rule by the first scorer, the published one by its own scorer where it ran."""
    published = "published" if "published" in scorers else scorers[0]
    wanted = {("strict", scorers[0]), ("published", published)}
    return success[[pair in wanted for pair in zip(success["rule"], success["scorer"], strict=True)]]


def selected_details(details: pd.DataFrame, council: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model's selected block."""
    return details.merge(council[["model", "layer"]], on=["model", "layer"])


def spread_details(details: pd.DataFrame, metrics: Sequence[str], by: Sequence[str] = ("model", "of")) -> pd.DataFrame:
    """The metrics by model and what each row is of, or by the latter alone, one column a metric, with the bounds."""
    rows = [
        {"model": row.model, "of": row.of, row.metric: row.estimate}
        | ({f"{row.metric}_lower": row.lower, f"{row.metric}_upper": row.upper} if pd.notna(row.lower) else {})
        for row in details[details["metric"].isin(metrics)].itertuples()
    ]
    return (
        pd.DataFrame(rows).drop(columns={"model", "of"} - {*by}).groupby([*by], sort=False).first().reset_index()
        if rows
        else pd.DataFrame()
    )


def sceptic_table(council: pd.DataFrame, details: pd.DataFrame) -> pd.DataFrame:
    """Each model's AUROC beside what is left of it without the words, the form or a scenario, and the best surface baseline."""
    kept = [
        f"{name}{bound}"
        for name in ("auroc", "ablated_auroc", "residualised_auroc")
        for bound in ("", "_lower", "_upper")
        if f"{name}{bound}" in council
    ]
    table = council[["model", "layer", *kept]].copy()
    surface = details[details["metric"] == "surface_auroc"].groupby("model")["estimate"].max()
    scenario = selected_details(details, council).query("metric == 'without_scenario'").groupby("model")["estimate"].min()
    return table.assign(best_surface=table["model"].map(surface), worst_scenario=table["model"].map(scenario))


def prompting_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Rates of unsteered texts under the system prompts that ask for the behaviour or its opposite."""
    prompted = scores[scores["arm"].isin(list(PROMPTED_ARMS))]
    rates = prompted.groupby(["model", "arm"])[["positive", "negative", "coherent"]].mean()
    return rates.reset_index()


def examples_table(scores: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Sample 0 of the first scenario at the lowest and highest alpha of the trend range, at 0, and at the extremes."""
    rows = []
    for (_model, _layer), own in scores.groupby(["model", "layer"]):
        first = own[(own["sample"] == 0) & (own["scenario"] == own["scenario"].min())]
        within = first.loc[first["alpha"].abs() <= limit, "alpha"]
        wanted = {first["alpha"].min(), within.min(), 0.0, within.max(), first["alpha"].max()}
        rows.append(first[first["alpha"].isin(wanted)].sort_values("alpha"))
    columns = ["model", "layer", "scenario", "alpha", "sample", "positive", "coherent", "nll", "text"]
    return pd.concat(rows)[columns].reset_index(drop=True)


def cost_table(study: Study, texts_digest: str) -> pd.DataFrame:
    """Seconds and peak memory per model and phase: from the footers of activations and cells, else from benchmark files."""
    rows = []
    for model in study.models:
        costs = {
            "activations": [read_cost(study.activations_path(model.name, study.activations_key(model, texts_digest)))],
            "steering": [read_cost(cell.path(study.cells_root)) for cell in study.all_cells(model)],
        }
        for phase, parts in costs.items():
            parts = [part for part in parts if part]
            if parts:
                seconds = sum(part["seconds"] + part["load_seconds"] for part in parts)
                peak = max(part["peak_memory_mb"] for part in parts)
                rows.append({"model": model.name, "phase": phase, "seconds": seconds, "peak_memory_mb": peak})
        benchmarks = [path for path in study.benchmark_paths(model) if path.exists()]
        if benchmarks:
            timed = pd.concat([pd.read_csv(path, sep="\t", na_values="-") for path in benchmarks])
            rows.append(
                {
                    "model": model.name,
                    "phase": "probe, detect, score",
                    "seconds": timed["s"].sum(),
                    "peak_memory_mb": timed["max_rss"].max(),
                }
            )
    table = pd.DataFrame(rows)
    if study.resources.price_per_gpu_hour is not None and study.resources.gpus:
        on_gpu = table["phase"].isin(["activations", "steering"])
        hours = table["seconds"] / 3600 * study.resources.gpus
        table["cost"] = (hours * study.resources.price_per_gpu_hour).where(on_gpu, 0.0)
    return table


def draw_figures(study: Study, tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Write the figures; a study without steering has no dose-response."""
    council = tables["council"]
    figures.save(figures.auroc_by_layer(tables["detection"], council, study.criteria.auroc), folder / "auroc_by_layer")
    if not tables["dose_response"].empty:
        figures.save(figures.dose_response(tables["dose_response"], study.alpha_unit), folder / "dose_response")


def plain(value: Any) -> str:
    """A value as it stands in a table: three decimals (three digits below 0.1), an empty string for a missing one."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value is pd.NaT or (isinstance(value, float) and pd.isna(value)):
        return ""
    if isinstance(value, float) and abs(value) >= 0.1:
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def escape_markdown(text: str) -> str:
    """Untrusted text as inert Markdown in one line: no markup, HTML, links, formulas or table cells."""
    printable = "".join(char if char.isprintable() or char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in text)
    inert = re.sub(r"\s+", " ", printable).replace("&", "&amp;").replace("<", "&lt;").replace("://", ":&#47;&#47;")
    return re.sub(r"([\\`*_\[\]!|~$])", r"\\\1", inert)


def with_interval(row: Mapping[str, Any], column: str) -> str:
    """A value of a row, followed by its interval where the row has one."""
    lower, upper = (plain(row.get(f"{column}_{bound}")) for bound in ("lower", "upper"))
    return plain(row[column]) + (f" [{lower}, {upper}]" if lower and upper else "")


def markdown_table(table: pd.DataFrame, columns: Sequence[str] | None = None) -> str:
    """The columns of a data frame that exist as a Markdown table, every cell escaped."""
    if table.empty:
        return "*(no rows)*"
    bounds = {f"{column}_{bound}" for column in table for bound in ("lower", "upper")}  # stand in their column's cells
    shown = [column for column in (columns or table.columns) if column in table and column not in bounds]
    lines = [[column.replace("_", " ") for column in shown], ["---"] * len(shown)]
    for row in table.astype(object).to_dict("records"):
        cells = {column: escape_markdown(with_interval(row, column)) for column in shown}
        if cells.get("table") in TABLES:
            cells["table"] = f"[{cells['table']}](tables/{cells['table']}.csv)"
        lines.append(list(cells.values()))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cut_texts(table: pd.DataFrame, chars: int) -> pd.DataFrame:
    """The table with its texts cut to a length that fits a page."""
    return table.assign(text=table["text"].str.slice(0, chars))


def render(study: Study, concept: Concept, tables: Mapping[str, pd.DataFrame]) -> str:
    """The report as Markdown, from the template."""
    environment = Environment(
        loader=PackageLoader("probesteer"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters |= {
        "table": markdown_table,
        "md": lambda value: escape_markdown(plain(value)),
        "cut": cut_texts,
        "shown": shown_success,
        "sceptic": sceptic_table,
        "selected": selected_details,
        "spread": spread_details,
    }
    criteria = study.criteria.model_dump()
    return environment.get_template("report.md.j2").render(
        study=study,
        concept=concept,
        tables=tables,
        criteria=criteria,
        criteria_digest=digest(criteria)[:12],
        study_digest=study.digest()[:12],
        example_chars=EXAMPLE_CHARS,
    )


def to_html(markdown: str, folder: Path, title: str) -> str:
    """The Markdown as one self-contained page: raw HTML off, figures embedded."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for token in (child for block in tokens for child in block.children or [] if child.type == "image"):
        image = (folder / str(token.attrs["src"])).read_bytes()
        token.attrs["src"] = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    body = parser.renderer.render(tokens, parser.options, {})
    environment = Environment(loader=PackageLoader("probesteer"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html.j2").render(title=title, body=body)
