# The study and its concept, checked before anything is planned: one clear line and exit code 2 where they are wrong.

import json
import re
import shlex
import subprocess
import sys
import tempfile
from itertools import chain
from pathlib import Path

from snakemake.exceptions import WorkflowError

from probesteer import concepts, seal
from probesteer import study as studies
from probesteer.errors import InputError

try:
    # Snakemake lists the default after the files of the command line, which win over it.
    STUDY = studies.parse_study(config, sorted(map(Path, workflow.configfiles), key=lambda path: path != studies.DEFAULT))
    TEXTS_DIGEST = concepts.check_study(STUDY)
    CONTROL_DIGEST = concepts.control_digest(STUDY) if STUDY.control_concept else None
except InputError as error:
    print(f"probesteer: error: {error}", file=sys.stderr)
    sys.exit(2)

ROOT = STUDY.root
REPORT = ROOT / "council"
TEXTS = {STUDY.concept: concepts.data_files(STUDY.concept_folder, STUDY.pooling, STUDY.pairs_path)}
if STUDY.control_concept:
    FOLDER = studies.CONCEPTS / STUDY.control_concept
    TEXTS[STUDY.control_concept] = concepts.data_files(FOLDER, STUDY.pooling, FOLDER / studies.PAIRS_FILE)
TEMP_WEIGHTS = STUDY.resources.temp_weights
STEERED = [model for model in STUDY.models if STUDY.steering_layers_of(model)]
FIGURES = ["auroc_by_layer"] + (["dose_response"] if STEERED else [])

WORDS = [STUDY.concept_folder / concepts.WORDS_FILE] if (STUDY.concept_folder / concepts.WORDS_FILE).exists() else []
PAIRS = f"--pairs {shlex.quote(str(STUDY.pairs_path))}" if STUDY.pairs else ""
PAIRS += f" --columns {shlex.quote(json.dumps(STUDY.pairs_columns))}" if STUDY.pairs else ""
ARMS = ",".join(STUDY.controls.arms())
CONTROLS = f"--controls={ARMS} --control-limit {STUDY.criteria.trend_alpha}"

# What all steering jobs of the study share.
SWEEP = (
    f"--concept {STUDY.concept_folder} --scenarios {','.join(STUDY.scenarios)} --samples {STUDY.samples} --seed {STUDY.seed}"
    f" --temperature {STUDY.sampling.temperature} --top-p {STUDY.sampling.top_p} --top-k {STUDY.sampling.top_k}"
    f" --positions {STUDY.positions} --engine {STUDY.engine}"
    f" --batch-rows {STUDY.resources.batch_rows} --cells {STUDY.cells_root}"
)


# The model that rates by the rubric, where the study has one on this machine.
JUDGES = {f"judge.{STUDY.judge.model.name}": STUDY.judge.model} if STUDY.judge and STUDY.judge.model else {}
JUDGE_CARDS = [studies.card_path(name, model) for name, model in JUDGES.items()]


wildcard_constraints:
    model="|".join(re.escape(name) for name in [*(model.name for model in STUDY.models), *JUDGES]),
    concept="|".join(map(re.escape, TEXTS)),
    layer=r"-?\d+",
    scorer="|".join(map(re.escape, STUDY.scorers)),
    key="[0-9a-f]{12}",


def unfinished(wildcards):
    """One missing cell of every job that has some, which plans the job; and what Snakemake does not look at is made again.

    That is what is damaged; tables and probes that are missing though the report is there; and, where Snakemake's records are
    lost and the study is not the last one reported, all of its results: jobs then find by fingerprint what is up to date.
    """
    jobs = [[cell.path(STUDY.cells_root) for cell in cells] for model in STEERED for cells in STUDY.jobs_cells(model)]
    results = list(STUDY.results(TEXTS_DIGEST, CONTROL_DIGEST))
    states = {path: seal.state(path) for path in chain(results, *jobs)}
    blind = not any(Path(".snakemake/metadata").glob("*")) and not STUDY.is_saved(REPORT / "study.json")
    again = [path for path, state in states.items() if state == seal.DAMAGED]
    again += [path for path in results if states[path] == seal.MISSING and path.is_relative_to(ROOT)]
    again += [path for path, state in states.items() if blind and state == seal.WHOLE and path.is_relative_to(ROOT)]
    workflow.dag.forcefiles.update(map(str, again))
    missing = [[path for path in cells if states[path] == seal.MISSING] for cells in jobs]
    return [paths[0] for paths in missing if paths]


def check_new_models():
    """Stop before any job where a model without a card cannot be had or run."""
    models = {model.name: model for model in STUDY.models} | JUDGES
    new = [model.name for name, model in models.items() if not studies.card_path(name, model).exists()]
    if new:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            STUDY.save(file.name)
            done = subprocess.run(["probesteer", "check", "--configfile", file.name, "--models", ",".join(new)])
        if done.returncode:
            raise WorkflowError("no job was started; see the lines above")


def comma(values):
    """Values as the CLI takes them."""
    return ",".join(map(str, values))


def model_of(wildcards):
    """The stanza of a model, or of the judge."""
    return JUDGES.get(wildcards.model) or STUDY[wildcards.model]


def hub_options(wildcards):
    """What names the model on the hub."""
    model = model_of(wildcards)
    code = " --trust-remote-code" if model.trust_remote_code else ""
    folder = f" --folder {weights_folder(wildcards.model, wildcards.key)}" if TEMP_WEIGHTS else ""
    return f"--source {shlex.quote(model.source)} --revision {shlex.quote(model.revision)}{code}{folder}"


def weights_folder(model, key):
    """Where weights are that are deleted after use."""
    return f"results/weights/{model}/{key}"


def weights_of(wildcards):
    """The fetched weights that a job reads, where they are not in the hub's cache for good."""
    model = model_of(wildcards)
    return [] if not TEMP_WEIGHTS or Path(model.source).is_dir() else weights_folder(wildcards.model, model.key)


def judge_weights(wildcards):
    """The same of the judge."""
    hub = [(name, model) for name, model in JUDGES.items() if not Path(model.source).is_dir()]
    return [weights_folder(name, model.key) for name, model in hub] if TEMP_WEIGHTS else []


def card_options(wildcards, input):
    """What names the model and its weights."""
    model = model_of(wildcards)
    options = [f"--source {shlex.quote(model.source)} --blocks {model.block_count()} --dtype {model.dtype}"]
    options += [f"--receipt {shlex.quote(str(input.receipt))}"] if input.receipt else []
    options += [f"--folder {shlex.quote(str(input.weights))}"] if input.weights else []
    options += [] if model.chat_template else ["--no-chat-template"]
    options += ["--trust-remote-code"] if model.trust_remote_code else []
    return " ".join(options)


def receipt_of(wildcards):
    """The receipt of a hub model; a local folder has none."""
    return [] if Path(model_of(wildcards).source).is_dir() else "results/models/{model}/{key}.fetched.json"


def card_of(wildcards):
    """The model's card."""
    return STUDY.card_path(STUDY[wildcards.model])


def activations_of(wildcards):
    """The cache that holds the model's activations on the study's pairs."""
    return STUDY.activations_path(wildcards.model, STUDY.activations_key(STUDY[wildcards.model], TEXTS_DIGEST))


def control_activations_of(wildcards):
    """The same on the pairs of the control concept, where the study has one."""
    if CONTROL_DIGEST is None:
        return []
    key = STUDY.activations_key(STUDY[wildcards.model], CONTROL_DIGEST)
    return STUDY.activations_path(wildcards.model, key, STUDY.control_concept)


def data_options(wildcards):
    """Which texts are captured: the study's pairs and their ablations, or the control concept's pairs."""
    own = f"--ablations {STUDY.ablations} {PAIRS}" if wildcards.concept == STUDY.concept else "--ablations 0"
    return f"--concept {studies.CONCEPTS / wildcards.concept} --pooling {STUDY.pooling} {own}"


def control_option(wildcards, input):
    return f"--control-activations {shlex.quote(str(input.control))}" if input.control else ""


def planted_option(wildcards, input):
    return f"--planted {shlex.quote(str(input.planted))}" if input.planted else ""


def token_limit(wildcards):
    return STUDY.max_new_tokens_of(STUDY[wildcards.model])


def billions(models):
    """Parameters of models that a job loads, in billions."""
    return sum(model.parameters_b or 0 for model in models)


def loading(models_of):
    """What a job asks for that loads the models of its wildcards: a retry gets more memory and time."""
    base = STUDY.resources

    def memory(wildcards, attempt):
        return int((base.mem_mb + 6_000 * billions(models_of(wildcards))) * attempt)  # 4 bytes each, and half as much again

    def runtime(wildcards, attempt):
        return int(base.runtime * max(1, billions(models_of(wildcards)) / 8) * attempt)

    def cpus(wildcards):
        return 1 + int(billions(models_of(wildcards)) / 8)

    return {"mem_mb": memory, "runtime": runtime, "cpus_per_task": cpus}


def judge_options(wildcards, input):
    """How the judge is named to `probesteer score`."""
    if input.card:
        return f"--judge {shlex.quote(str(input.card))}"
    return f"--endpoint {shlex.quote(STUDY.judge.endpoint)} --judge-name {shlex.quote(STUDY.judge.name)}"


def minutes(wildcards, attempt):
    return STUDY.resources.runtime * attempt


GPU = {"gpu": STUDY.resources.gpus} if STUDY.resources.gpus else {}
MODEL_JOB = loading(lambda wildcards: [STUDY[wildcards.model]]) | GPU
JUDGE_JOB = loading(lambda wildcards: JUDGES.values()) | (GPU if JUDGES else {})
LIGHT_JOB = {"mem_mb": STUDY.resources.mem_mb, "runtime": minutes}
