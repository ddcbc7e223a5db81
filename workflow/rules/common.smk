# The study and its concept, checked before anything is planned: one clear line and exit code 2 where they are wrong.

import csv
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from probesteer import concepts, jobs
from probesteer import study as studies
from probesteer.study.paths import CORPUS_TABLES, CORRELATION, EFFECTS, GAME_TABLES, READINGS
from probesteer.concepts.data import activations_path, pairs_files
from probesteer.errors import InputError

try:
    # In the order of the command line; without files, what --config says alone stands beside the demo.
    STUDY = concepts.check_study(studies.parse_study(config, list(map(Path, workflow.configfiles))))
    PAIR_SETS = concepts.pair_sets(STUDY)
except InputError as error:
    print(f"probesteer: error: {error}", file=sys.stderr)
    sys.exit(2)

PATHS = STUDY.paths
RESOURCES = STUDY.resources
TEMP_WEIGHTS = RESOURCES.temp_weights
MODELS = {model.name: model for model in STUDY.models} | STUDY.judges


def one_of(names):
    """A pattern of these names and no others."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    model=one_of(MODELS),
    concept=one_of(PAIR_SETS),
    layer=r"-?\d+|auto",
    scorer=one_of(STUDY.scorers),
    key="[0-9a-f]{12}",


def ask(verb, option, *more, **streams):
    """Run a verb on the study, as jobs would read it."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        STUDY.save(Path(file.name))
        return subprocess.run(["probesteer", verb, option, file.name, *more], text=True, **streams)


def foreign_results():
    """Results that are not what the study implies, where this folder has not seen them before: copied, or records are lost.

    The others are up to date from now on, whatever their times are.
    """
    dated, found = jobs.date_sources(STUDY), jobs.snapshot(STUDY)
    seen = not dated and SEEN.exists() and SEEN.read_text() == found
    if not workflow.is_main_process or not found or seen:
        return []
    done = ask("adopt", "--study", stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)
    foreign = [Path(line) for line in done.stdout.splitlines()]
    remember_results(foreign)
    return foreign


def remember_results(foreign):
    """Know the results as this folder's own, unless some that are not what the study implies may still be among them."""
    if not foreign:
        SEEN.parent.mkdir(parents=True, exist_ok=True)
        SEEN.write_text(jobs.snapshot(STUDY))


SEEN = Path(".snakemake/probesteer") / STUDY.study
FOREIGN = foreign_results()


def go_on():
    """Let a run go on after an interrupted one: cells are written whole, and known by their fingerprints."""
    workflow.dag_settings.force_incomplete = True  # --rerun-incomplete
    if workflow.execution_settings:
        workflow.execution_settings.keep_incomplete = True  # --keep-incomplete


def unfinished_jobs(wildcards):
    """One missing cell of every job that has some; what must be made again though Snakemake sees it is forced."""
    go_on()
    missing, again = jobs.unfinished(STUDY, FOREIGN)
    workflow.dag.forcefiles.update(map(str, again))
    return missing


def check_new_models():
    """Stop before any job where a model without a card cannot be had or run."""
    new = [model.name for name, model in MODELS.items() if not PATHS.card(name, model.key).exists()]
    if new:
        done = ask("check", "--configfile", "--models", ",".join(new), stdout=subprocess.PIPE)
        print(*(line for line in done.stdout.splitlines() if not (BRIEF and "  ok  " in line)), sep="\n", file=sys.stderr)
        if done.returncode:
            raise WorkflowError("no job was started; see the lines above")


def briefly(record):
    """Of what Snakemake says while jobs run, a line for every twentieth part (a filter of its logger)."""
    event = getattr(record, "event", None)
    if event == LogEvent.PROGRESS:
        part = 20 * record.done // record.total
        if part > 20 * (record.done - 1) // record.total:
            print(f"{5 * part:3}% of {record.total} jobs", file=sys.stderr)
    told = (LogEvent.PROGRESS, LogEvent.JOB_FINISHED, LogEvent.RESOURCES_INFO, LogEvent.RUN_INFO)
    return event not in told and not str(record.msg).startswith(("Select jobs", "Execute "))


# A profile may ask for few lines: `quiet: rules` leaves out what is said of a job, and then little else is of use.
BRIEF = workflow.output_settings.quiet is not None and Quietness.RULES in workflow.output_settings.quiet
BRIEF = BRIEF and workflow.is_main_process and not workflow.output_settings.dryrun
if BRIEF:
    logger.addFilter(briefly)


def say_verdicts():
    """The last lines of a run: what the report says of each model, and where it is."""
    if not any(job.rule.name == "aggregate" for job in workflow.dag.jobs):
        return
    with (PATHS.report / "tables/verdict.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            print(f"{row['verdict']:7} {row['model']}")
    print(f"council report: {PATHS.report / studies.PAGE}")


def say_failures():
    """The last line that each failed job wrote, and where the others are."""
    failed = [job for one in workflow.scheduler.failed for job in (one.jobs if one.is_group() else [one])]
    for log in (Path(log) for job in failed for log in job.log):
        lines = log.read_text(errors="replace").replace("\r", "\n").split("\n") if log.exists() else []
        last = next((line for line in reversed(lines) if line.strip()), "it left no line in its log")
        print(f"{last}\n    (all of it: {log})", file=sys.stderr)


def settings(rule):
    """The parameter of a rule that changes with the settings that determine its job, and with no others."""
    return lambda wildcards: jobs.settings_digest(STUDY, rule, wildcards.model)


def card_of(wildcards):
    """The model's card."""
    go_on()
    return PATHS.card(wildcards.model, STUDY[wildcards.model].key)


def weights_of(wildcards):
    """The weights that a job reads, where another one made them."""
    return STUDY.weights(wildcards.model) or []


def receipt_of(wildcards):
    """The receipt of a hub model; a local folder has none."""
    model = STUDY.loaded(wildcards.model)
    return [] if model.local else PATHS.receipt(wildcards.model, model.key)


def activations_of(wildcards):
    """The caches that hold the model's activations on the pairs of the study's concepts, its own first."""
    return [activations_path(STUDY, STUDY[wildcards.model], pairs) for pairs in PAIR_SETS.values()]


def billions(models):
    """Parameters of models that a job loads, in billions."""
    return sum(model.parameters() for model in models) / 1e9


def loading(models_of):
    """What a job asks for that loads the models of its wildcards: a retry gets more memory and time."""

    def memory(wildcards, attempt):
        return int(
            (RESOURCES.mem_mb + 6_000 * billions(models_of(wildcards))) * attempt
        )  # 4 bytes each, and half as much again

    def runtime(wildcards, attempt):
        return int(RESOURCES.runtime * max(1, billions(models_of(wildcards)) / 8) * attempt)

    return {"mem_mb": memory, "runtime": runtime}


def threads_of(models_of):
    """Cores of a job that loads the models of its wildcards.

    One for organisms, which are too small for two. Where a GPU computes, enough to feed it. On a CPU the cores that there are,
    shared by the study's models; on a cluster what most nodes have, unless the profile says otherwise (`set-threads`).
    """

    def threads(wildcards):
        models = models_of(wildcards)
        if all(model.organism for model in models):
            return 1
        if workflow.remote_exec:
            return workflow.cores  # what this job was given
        if RESOURCES.gpus:
            return 1 + int(billions(models) / 8)
        if workflow.non_local_exec:
            return CLUSTER_THREADS
        return max(1, workflow.cores // len(STUDY.models))

    return threads


def light_memory(wildcards, attempt):
    return RESOURCES.mem_mb * attempt


def light_minutes(wildcards, attempt):
    return max(5, RESOURCES.runtime // 4) * attempt


CLUSTER_THREADS = 4
GPU = {"gpu": RESOURCES.gpus} if RESOURCES.gpus else {}
MODEL_JOB = loading(lambda wildcards: [STUDY[wildcards.model]]) | GPU
MODEL_THREADS = threads_of(lambda wildcards: [STUDY[wildcards.model]])
JUDGE_JOB = loading(lambda wildcards: STUDY.judges.values()) | (GPU if STUDY.judges else {})
JUDGE_THREADS = threads_of(lambda wildcards: STUDY.judges.values())
# `light` is what a profile limits (`resources: light=1`) so that the jobs of a group take turns: a group then asks for the
# memory of one job, and for the minutes of all.
# `login` likewise, of what runs where Snakemake does: Snakemake starts `local-cores` and five more at once.
LIGHT_JOB = {"mem_mb": light_memory, "runtime": light_minutes, "light": 1}


resource_scopes:
    light="local",


if workflow.remote_exec:
    workflow.global_resources["light"] = 1  # the limit of the profile does not reach the job that runs a group


def listed_table(name):
    """A table as `snakemake --report` lists it."""
    group, title = studies.table_label(name)
    caption = f"../report/tables_{group.lower()}.rst"
    return report(
        PATHS.report / f"tables/{name}.csv", category="Tables", subcategory=group, labels={"table": title}, caption=caption
    )


def listed_figure(name):
    """A figure as `snakemake --report` lists it."""
    group, title = studies.FIGURE_TITLES[name]
    caption = f"../report/figures/{name}.rst"
    return report(
        PATHS.report / f"figures/{name}.svg", category="Figures", subcategory=group, labels={"figure": title}, caption=caption
    )
