# The study and its concept, checked before anything is planned: one clear line and exit code 2 where they are wrong.

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError

from probesteer import concepts, jobs
from probesteer import study as studies
from probesteer.study.paths import EFFECTS
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


wildcard_constraints:
    model="|".join(re.escape(name) for name in [*(model.name for model in STUDY.models), *STUDY.judges]),
    concept="|".join(map(re.escape, PAIR_SETS)),
    layer=r"-?\d+",
    scorer="|".join(map(re.escape, STUDY.scorers)) or "none",
    key="[0-9a-f]{12}",


def unfinished_jobs(wildcards):
    """One missing cell of every job that has some; what must be made again though Snakemake sees it is forced."""
    missing, again = jobs.unfinished(STUDY, blind=not any(Path(".snakemake/metadata").glob("*")))
    workflow.dag.forcefiles.update(map(str, again))
    return missing


def check_new_models():
    """Stop before any job where a model without a card cannot be had or run."""
    models = {model.name: model for model in STUDY.models} | STUDY.judges
    new = [model.name for name, model in models.items() if not PATHS.card(name, model.key).exists()]
    if new:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            STUDY.save(Path(file.name))
            done = subprocess.run(["probesteer", "check", "--configfile", file.name, "--models", ",".join(new)])
        if done.returncode:
            raise WorkflowError("no job was started; see the lines above")


def settings(rule):
    """The parameter of a rule that changes with the settings that determine its job, and with no others."""
    return lambda wildcards: jobs.settings_digest(STUDY, rule, wildcards.model)


def card_of(wildcards):
    """The model's card."""
    return PATHS.card(wildcards.model, STUDY[wildcards.model].key)


def weights_of(wildcards):
    """The fetched weights that a job reads, where they are not in the hub's cache for good."""
    model = STUDY.loaded(wildcards.model)
    return PATHS.weights(wildcards.model, model.key) if TEMP_WEIGHTS and not model.local else []


def receipt_of(wildcards):
    """The receipt of a hub model; a local folder has none."""
    model = STUDY.loaded(wildcards.model)
    return [] if model.local else PATHS.receipt(wildcards.model, model.key)


def activations_of(wildcards):
    """The caches that hold the model's activations on the pairs of the study's concepts, its own first."""
    return [activations_path(STUDY, STUDY[wildcards.model], pairs) for pairs in PAIR_SETS.values()]


def billions(models):
    """Parameters of models that a job loads, in billions."""
    return sum(model.parameters_b or 0 for model in models)


def loading(models_of):
    """What a job asks for that loads the models of its wildcards: a retry gets more memory and time."""

    def memory(wildcards, attempt):
        return int(
            (RESOURCES.mem_mb + 6_000 * billions(models_of(wildcards))) * attempt
        )  # 4 bytes each, and half as much again

    def runtime(wildcards, attempt):
        return int(RESOURCES.runtime * max(1, billions(models_of(wildcards)) / 8) * attempt)

    def cpus(wildcards):
        return 1 + int(billions(models_of(wildcards)) / 8)

    return {"mem_mb": memory, "runtime": runtime, "cpus_per_task": cpus}


def minutes(wildcards, attempt):
    return RESOURCES.runtime * attempt


GPU = {"gpu": RESOURCES.gpus} if RESOURCES.gpus else {}
MODEL_JOB = loading(lambda wildcards: [STUDY[wildcards.model]]) | GPU
JUDGE_JOB = loading(lambda wildcards: STUDY.judges.values()) | (GPU if STUDY.judges else {})
LIGHT_JOB = {"mem_mb": RESOURCES.mem_mb, "runtime": minutes}
