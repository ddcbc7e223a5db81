"""The verbs. A verb's modules are imported when the verb runs, so that help and errors come at once."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from probesteer.errors import InputError
from probesteer.study import DEFAULT, PAIRS_FILE, Cell, Sampling, load_study, steered_cells, unsteered_cells

# Tiny matrices: more threads than cores cost time, and one thread gives the same bits everywhere.
THREAD_VARIABLES = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def comma_list(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """A parser of comma-separated values; write --option=-1,2 where the first one is negative."""

    def parse(text: str) -> list[Any]:
        try:
            return [kind(part.strip()) for part in text.split(",")]
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: comma-separated {kind.__name__} values are expected") from error

    return parse


def names(text: str) -> list[str]:
    """Comma-separated names; an empty text names none."""
    return [part.strip() for part in text.split(",") if part.strip()]


def finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(text)
    return value


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def json_object(text: str) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: a JSON object is expected") from error


def generator(text: str) -> Any:
    from probesteer.pair_writing import Generator

    return Generator.parse(text)


def check(args: argparse.Namespace) -> None:
    from probesteer.concepts import check_study

    study = load_study(DEFAULT, *args.configfile)
    check_study(study)
    cells = sum(len(list(study.all_cells(model))) for model in study.models)
    unknown = 0
    if not args.static:
        from probesteer.lm.preflight import PROBLEM, UNKNOWN, preflight

        found = preflight(study, args.models)
        width = max(len(finding.model) for finding in found)
        for finding in found:
            print(f"{finding.model:{width}}  {finding.what:13}  {finding.status:7}  {finding.detail}")
        problems = [f"{finding.model}: {finding.what}: {finding.detail}" for finding in found if finding.status == PROBLEM]
        if problems:
            raise InputError("\n".join(problems))
        unknown = sum(finding.status == UNKNOWN for finding in found)
    print(f"study {study.study}: {len(study.models)} models, {cells} steering cells, concept {study.concept}; no problem found")
    if unknown:
        print(f"{unknown} of the lines above could not be checked from here")


def plan(args: argparse.Namespace) -> None:
    from probesteer.concepts import check_study
    from probesteer.plan import plan_study, render_plan

    study = load_study(DEFAULT, *args.configfile)
    check_study(study)
    print(render_plan(study, plan_study(study), args.gpus))


def fetch(args: argparse.Namespace) -> None:
    from probesteer.lm.fetch import fetch
    from probesteer.tables import write_card

    write_card(args.output, fetch(args.source, args.revision, args.trust_remote_code, args.folder))


def model(args: argparse.Namespace) -> None:
    from probesteer.lm.load import model_card
    from probesteer.tables import read_receipt, write_card

    revision = read_receipt(args.receipt)["revision"] if args.receipt else args.revision
    card = model_card(
        args.name,
        args.source,
        revision,
        args.dtype,
        not args.no_chat_template,
        args.trust_remote_code,
        args.blocks,
        args.folder,
    )
    write_card(args.output, card)


def activations(args: argparse.Namespace) -> None:
    from probesteer.activations import cache_inputs, cache_rows, write_activations
    from probesteer.concepts import WORDS_FILE, data_digest, load_concept
    from probesteer.pairs import load_pairs
    from probesteer.tables import is_fresh, only_writer, read_card
    from probesteer.wordlists import load_words

    source = args.pairs or args.concept / PAIRS_FILE
    pairs, concept = load_pairs(source, args.columns), load_concept(args.concept)
    rows = cache_rows(pairs, load_words(args.concept / WORDS_FILE), args.ablations)
    data = data_digest(args.concept, args.pooling, args.ablations, source, args.columns)
    card = read_card(args.card)
    with only_writer(args.output.with_suffix(".lock")):
        if is_fresh(args.output, cache_inputs(card, data, args.pooling)):
            print(f"{args.output} is up to date", file=sys.stderr)
        else:
            write_activations(card, rows, concept, data, args.pooling, args.output)


def probe(args: argparse.Namespace) -> None:
    from probesteer.activations import read_layer
    from probesteer.directions import METHODS, Probe, control_directions, load_planted, save_probe

    layer = read_layer(args.activations, args.layer)
    direction, separation = METHODS[args.method](*layer.training_sides())
    training = layer.activations[layer.train], layer.labels[layer.train], layer.groups[layer.train]
    away_from = [direction, *([load_planted(args.planted)] if args.planted else [])]
    controls = control_directions(away_from, *training, args.controls, args.seed)
    metadata = {**{key: str(value) for key, value in layer.inputs.items()}, "method": args.method}
    norm = float(layer.norms[layer.train].mean())
    save_probe(Probe(args.layer, direction, separation, norm, metadata, controls), args.output)


def detect(args: argparse.Namespace) -> None:
    import pyarrow as pa

    from probesteer.detection_table import DETECTION_SCHEMA, detection_inputs, detection_rows
    from probesteer.directions import load_planted
    from probesteer.tables import read_inputs, write_table
    from probesteer.wordlists import load_words

    words = load_words(args.words) if args.words else []
    planted = load_planted(args.planted) if args.planted else None
    rows = detection_rows(args.activations, args.layer, args.seed, words, planted, args.control_activations)
    control = read_inputs(args.control_activations) if args.control_activations else None
    inputs = detection_inputs(read_inputs(args.activations), args.layer, args.seed, words, control)
    write_table(pa.Table.from_pylist(rows, DETECTION_SCHEMA), args.output, inputs)


def _sweep(args: argparse.Namespace) -> Any:
    from probesteer.concepts import load_scenarios
    from probesteer.steering import Sweep

    concept = load_scenarios(args.concept, args.scenarios)
    sampling = Sampling(temperature=args.temperature, top_p=args.top_p, top_k=args.top_k, max_new_tokens=args.max_new_tokens)
    return Sweep(concept, sampling, args.samples, args.seed, args.alpha_unit, args.positions, args.engine)


def _fill(args: argparse.Namespace, cells: list[Cell], probe: Any) -> None:
    from probesteer.steering import compute_cells, stale_cells
    from probesteer.tables import only_writer, read_card

    card, sweep = read_card(args.card), _sweep(args)
    job = "baseline" if probe is None else f"layer={args.layer}"
    with only_writer(args.cells / "locks" / f"model={args.model}" / job):
        todo = stale_cells(cells, args.cells, sweep, card, probe)
        print(f"{len(cells) - len(todo)} of {len(cells)} cells are up to date, {len(todo)} to compute", file=sys.stderr)
        if todo:
            compute_cells(todo, args.cells, sweep, card, probe, args.batch_rows)


def baseline(args: argparse.Namespace) -> None:
    _fill(args, unsteered_cells(args.model, args.scenarios), None)


def steer(args: argparse.Namespace) -> None:
    from probesteer.directions import load_probe

    cells = steered_cells(args.model, args.layer, args.scenarios, args.alphas, args.controls, args.control_limit)
    _fill(args, cells, load_probe(args.probe, args.layer))


def texts(args: argparse.Namespace) -> None:
    from probesteer.steering import gather_texts
    from probesteer.tables import write_table

    cells = unsteered_cells(args.model, args.scenarios)
    for layer in args.layers:
        cells += steered_cells(args.model, layer, args.scenarios, args.alphas, args.controls, args.control_limit)
    write_table(gather_texts(cells, args.cells, args.layers, args.concept.name), args.output)


def score(args: argparse.Namespace) -> None:
    import pyarrow as pa

    from probesteer.concepts import load_concept
    from probesteer.scoring import TEXT_COLUMNS, score
    from probesteer.tables import read_table, write_table

    table = read_table(args.texts, needs=TEXT_COLUMNS).to_pandas()
    concept = load_concept(args.concept) if args.concept else None
    prompts = {name: scenario.user_prompt() for name, scenario in concept.scenarios.items()} if concept else {}
    evidence = None
    if args.scorer == "rubric":
        from probesteer.judging import endpoint_rater, local_rater, rubric_evidence
        from probesteer.tables import read_card

        if concept is None or (args.judge is None) == (args.endpoint is None) or bool(args.endpoint) != bool(args.judge_name):
            raise InputError("scorer rubric needs --concept and either --judge CARD or --endpoint URL with --judge-name NAME")
        rater = local_rater(read_card(args.judge)) if args.judge else endpoint_rater(args.endpoint, args.judge_name)
        evidence = rubric_evidence(table, concept, rater)
    write_table(pa.Table.from_pandas(score(table, args.scorer, prompts, evidence), preserve_index=False), args.output)


def agreement(args: argparse.Namespace) -> None:
    import pandas as pd

    from probesteer.judging import AXES, agreement
    from probesteer.tables import read_table

    scores = read_table(args.scores, needs={**dict.fromkeys(["model", "scenario"], "text"), "evidence": "number"}).to_pandas()
    try:
        ratings = pd.read_csv(args.ratings)
    except (ValueError, OSError) as error:
        raise InputError(f"{args.ratings}: not a readable CSV file") from error
    if missing := [column for column in [*AXES, "rating"] if column not in ratings]:
        raise InputError(f"{args.ratings}: column {missing[0]} is missing; it needs {', '.join([*AXES, 'rating'])}")
    if not ratings["rating"].isin([0, 1, 2]).all():
        row = int((~ratings["rating"].isin([0, 1, 2])).to_numpy().argmax())
        raise InputError(f"{args.ratings}: row {row + 1}: rating {ratings['rating'][row]} is not 0, 1 or 2")
    found = agreement(scores, ratings)
    print(f"kappa {found['kappa']:.3f} [{found['lower']:.3f}, {found['upper']:.3f}] on {found['texts']} texts")


def effects(args: argparse.Namespace) -> None:
    from probesteer.effects import SCORE_COLUMNS, of_arm, success_rates
    from probesteer.tables import atomic, read_table

    scores = read_table(args.scores, needs=SCORE_COLUMNS).to_pandas()
    table = success_rates(of_arm(scores), args.rule)
    with atomic(args.output) as beside:
        table.to_csv(beside, index=False)


def aggregate(args: argparse.Namespace) -> None:
    from probesteer.report import build_report

    verdicts = build_report(load_study(args.study), args.output)
    for name, verdict in verdicts.items():
        print(f"{verdict:6} {name}")


def download(args: argparse.Namespace) -> None:
    from probesteer.pairs import download

    download(args.url, args.sha256, args.output)


def write_pairs(args: argparse.Namespace) -> None:
    from probesteer.concepts import load_concept
    from probesteer.pair_writing import assemble, requests, to_jsonl, write_responses
    from probesteer.tables import write_text

    concept = load_concept(args.concept)
    asked = requests(concept, args.generator, args.pairs)
    write_responses(asked, args.responses)
    pairs = assemble(concept, asked, args.responses)
    write_text(args.output, to_jsonl(pairs))
    print(f"{len(pairs)} of {args.pairs} pairs are balanced, {sum(pair.split == 'test' for pair in pairs)} of them held out")


def new_concept(args: argparse.Namespace) -> None:
    from probesteer.concepts import write_skeleton

    print(f"wrote {write_skeleton(args.name)}: fill it in, then `probesteer check --static --configfile STUDY`")


def organism(args: argparse.Namespace) -> None:
    from probesteer.lm.train import ORGANISMS, save_organism

    if args.name not in ORGANISMS:
        raise InputError(f"organism {args.name!r}: choose one of {', '.join(ORGANISMS)}")
    save_organism(ORGANISMS[args.name], args.output)


def grammar(args: argparse.Namespace) -> None:
    from probesteer.grammar import write_concept

    write_concept(args.output)


def schema(args: argparse.Namespace) -> None:
    from probesteer.options import write_schema

    write_schema(args.output)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="probesteer", description="Find a behaviour as a direction in language models, test it, steer with it."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)

    def verb(run: Callable[[argparse.Namespace], None], summary: str) -> Callable[..., None]:
        sub = verbs.add_parser(run.__name__.replace("_", "-"), help=summary, description=summary)
        sub.set_defaults(run=run)
        return sub.add_argument  # type: ignore[return-value]

    add = verb(check, "check a study, its concept and, with the hub, disk and GPU, its models")
    add("--configfile", type=Path, nargs="*", default=[], help=f"study files, layered over {DEFAULT}")
    add("--models", type=names, default=[], help="only these models; all where none is named")
    add("--static", action="store_true", help="only what the files say: no hub, disk or GPU is asked")

    add = verb(plan, "what a study takes: jobs, hours, disk, cost")
    add("--configfile", type=Path, nargs="*", default=[], help=f"study files, layered over {DEFAULT}")
    add("--gpus", type=positive_int, default=1, help="GPUs that work at the same time, for the wall time")

    add = verb(fetch, "download a hub model into the cache, and verify it")
    add("--source", required=True, help="hub id")
    add("--revision", required=True)
    add("--trust-remote-code", action="store_true")
    add("--folder", type=Path, help="where to; the hub's cache otherwise")
    add("--output", type=Path, required=True, help="receipt: commit, sizes, SHA-256")

    add = verb(model, "write a model's card: digest, architecture, size")
    add("--name", required=True)
    add("--source", required=True, help="local folder or hub id")
    add("--revision")
    add("--folder", type=Path, help="where a hub model was fetched to, if not into the cache")
    add("--receipt", type=Path, help="of `probesteer fetch`: its commit is the revision")
    add("--blocks", type=positive_int, required=True, help="number of decoder blocks that the study expects")
    add("--dtype", default="auto")
    add("--no-chat-template", action="store_true")
    add("--trust-remote-code", action="store_true")
    add("--output", type=Path, required=True)

    add = verb(activations, "capture pooled activations of a concept's pairs at every block")
    add("--card", type=Path, required=True, help="model card")
    add("--concept", type=Path, required=True, help="concept folder")
    add("--pairs", type=Path, help="pairs of your own: JSONL, CSV or Parquet")
    add("--columns", type=json_object, help="JSON object: which column of them holds what")
    add("--pooling", default="mean")
    add("--ablations", type=int, default=0, help="draws of the lexical ablation, where the concept has a word list")
    add("--output", type=Path, required=True)

    add = verb(probe, "fit a direction, and control directions, on the training pairs")
    add("activations", type=Path, metavar="ACTIVATIONS.parquet")
    add("--layer", type=int, required=True, help="0-based block; -1 is the embeddings")
    add("--method", default="mean_difference", choices=["mean_difference", "logistic", "lda", "pca_differences"])
    add("--controls", type=names, default=[], help="control arms, such as random-1,shuffled-1")
    add("--planted", type=Path, help="an organism's planted direction: control arms are made orthogonal to it too")
    add("--seed", type=int, default=0)
    add("--output", type=Path, required=True)

    add = verb(detect, "measure directions on held-out pairs, against every control")
    add("activations", type=Path, metavar="ACTIVATIONS.parquet")
    add("--layer", type=comma_list(int), required=True, help="0-based blocks, --layer=-1,0,3; -1 is the embeddings")
    add("--seed", type=int, default=0)
    add("--words", type=Path, help="the concept's word list, for the keyword count")
    add("--planted", type=Path, help="safetensors file of a model organism's planted direction")
    add("--control-activations", type=Path, help="activations of another concept, whose direction is tried on this one")
    add("--output", type=Path, required=True)

    for run, summary in ((baseline, "generate unsteered and prompted cells"), (steer, "generate the cells of a layer")):
        add = verb(run, summary)
        add("--card", type=Path, required=True, help="model card")
        add("--model", required=True, help="name of the model in the cells' paths")
        add("--concept", type=Path, required=True, help="concept folder")
        add("--scenarios", type=comma_list(str), required=True)
        add("--samples", type=positive_int, default=5)
        add("--seed", type=int, default=0)
        add("--temperature", type=finite, default=0.7)
        add("--top-p", type=finite, default=1.0)
        add("--top-k", type=int, default=0)
        add("--max-new-tokens", type=positive_int, default=200)
        add("--batch-rows", type=positive_int, default=512)
        add("--positions", default="all", choices=["all", "response"])
        add("--engine", default="hf", choices=["hf"])
        add("--alpha-unit", default="absolute", choices=["absolute", "separation", "residual"])
        add("--cells", type=Path, required=True, help="root folder of the cells")
    add("--probe", type=Path, required=True)
    add("--layer", type=int, required=True)
    add("--alphas", type=comma_list(finite), required=True, help="--alphas=-5,0,5")
    add("--controls", type=names, default=[], help="control arms")
    add("--control-limit", type=float, default=float("inf"), help="largest |alpha| of the control arms")

    add = verb(texts, "gather a model's cells into one table of texts")
    add("--cells", type=Path, required=True, help="root folder of the cells")
    add("--model", required=True)
    add("--concept", type=Path, required=True)
    add("--layers", type=comma_list(int), required=True)
    add("--scenarios", type=comma_list(str), required=True)
    add("--alphas", type=comma_list(finite), required=True)
    add("--controls", type=names, default=[], help="control arms")
    add("--control-limit", type=float, default=float("inf"), help="largest |alpha| of the control arms")
    add("--output", type=Path, required=True)

    add = verb(score, "score texts: columns model, layer, scenario, alpha, sample, text")
    add("texts", type=Path, metavar="TEXTS.parquet")
    add("--scorer", required=True, help="published, lexical, grammar or rubric")
    add("--concept", type=Path, help="concept folder: echoes of its prompts are removed, and rubric asks by its rubrics")
    add("--judge", type=Path, help="card of the model that rates by the rubric")
    add("--endpoint", help="base URL of an OpenAI-compatible endpoint that rates; its key is read from PROBESTEER_JUDGE_KEY")
    add("--judge-name", help="the model that the endpoint is asked for")
    add("--output", type=Path, required=True)

    add = verb(agreement, "Cohen's kappa of scores with human ratings")
    add("scores", type=Path, metavar="SCORES.parquet")
    add("ratings", type=Path, metavar="RATINGS.csv", help="columns model, layer, scenario, alpha, sample, rating (0, 1 or 2)")

    add = verb(effects, "success rate per model, layer and scenario")
    add("scores", type=Path, metavar="SCORES.parquet")
    add("--rule", required=True, help="published or strict")
    add("--output", type=Path, required=True)

    add = verb(aggregate, "verify a study's results and write the council report")
    add("--study", type=Path, required=True)
    add("--output", type=Path, required=True, help="folder of the report")

    add = verb(new_concept, "write the skeleton of a concept of your own into resources/concepts")
    add("name")

    add = verb(download, "download a file of pairs whose SHA-256 is known")
    add("url")
    add("--sha256", required=True)
    add("--output", type=Path, required=True)

    add = verb(write_pairs, "let language models behind an API write a concept's pairs")
    add("--concept", type=Path, required=True, help="concept folder: its system prompts and scenarios are what is asked")
    several = "openai:MODEL or anthropic:MODEL, @URL for another endpoint; several take turns"
    add("--generator", type=generator, nargs="+", required=True, help=several)
    add("--pairs", type=positive_int, default=50)
    add("--responses", type=Path, required=True, help="folder that keeps every response; what it holds is not asked for again")
    add("--output", type=Path, required=True, help="JSON lines")

    add = verb(organism, "train a model organism")
    add("name")
    add("--output", type=Path, required=True)

    add = verb(grammar, "write the organisms' concept: scenarios and fresh pairs")
    add("--output", type=Path, required=True)

    add = verb(schema, "write the config schema and the option table")
    add("--output", type=Path, required=True, help="root of the repository")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code: 0, or 2 after one line about what the user gave."""
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
    except InputError as error:
        if args.debug:
            raise
        print(f"probesteer {args.verb}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if args.debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"probesteer {args.verb}: error: {place}{error.strerror or error}", file=sys.stderr)
        return 2
    return 0
