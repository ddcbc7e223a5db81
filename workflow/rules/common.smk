# The study and its concept, checked before anything is planned: one clear line and exit code 2 where they are wrong.

import re
import shlex
import sys
from pathlib import Path

from probesteer import concepts
from probesteer import study as studies
from probesteer.errors import InputError

try:
    STUDY = studies.parse_study(config, ", ".join(map(str, workflow.configfiles)))
    CONCEPT = concepts.load_concept(STUDY.concept_folder)
    concepts.check_scenarios(CONCEPT, STUDY.scenarios, STUDY.concept_folder)
    PAIRS = STUDY.concept_folder / concepts.PAIRS_FILE
    concepts.load_pairs(PAIRS)
    PAIRS_DIGEST = concepts.data_digest(STUDY.concept_folder)
except InputError as error:
    print(f"probesteer: error: {error}", file=sys.stderr)
    sys.exit(2)

ROOT = STUDY.root
REPORT = ROOT / "council"
STEERED = [model for model in STUDY.models if STUDY.steering_layers_of(model)]


wildcard_constraints:
    model="|".join(re.escape(model.name) for model in STUDY.models),
    layer=r"-?\d+",
    scorer="|".join(map(re.escape, STUDY.scorers)),


def comma(values):
    """Values as the CLI takes them."""
    return ",".join(map(str, values))


def model_memory(wildcards, attempt):
    """Host memory in MB of a job that loads the model: 4 bytes a parameter, half as much again, and the study's base."""
    weights = 6_000 * (STUDY[wildcards.model].parameters_b or 0)
    return int((STUDY.resources.mem_mb + weights) * attempt)


def minutes(wildcards, attempt):
    return STUDY.resources.runtime * attempt


MODEL_JOB = {"mem_mb": model_memory, "runtime": minutes} | ({"gpu": STUDY.resources.gpus} if STUDY.resources.gpus else {})
LIGHT_JOB = {"mem_mb": STUDY.resources.mem_mb, "runtime": minutes}
