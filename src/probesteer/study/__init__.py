"""What a user may write, checked, and what follows: models, layers, cells, paths. Light: the Snakefile imports it."""

from probesteer.study.cells import BASELINE_ARM, CALIBRATION_ARM, PROBE_ARM, PROMPTED_ARMS, Cell, steered_cells, unsteered_cells
from probesteer.study.experiment import Study
from probesteer.study.labels import FIGURE_TITLES, table_label
from probesteer.study.load import load_study, parse_study
from probesteer.study.model import Model
from probesteer.study.options import EMBEDDINGS, alpha_label
from probesteer.study.paths import (
    ABOUT,
    CONCEPTS,
    DEMO,
    EVIDENCE,
    EXPLORER,
    MANIFEST,
    PAGE,
    SAVED,
    TABLES,
    Paths,
)
from probesteer.study.sections import Controls, Criteria, Games, Judge, PairsFile, PairsSource, Resources, Sampling, Writing

__all__ = [
    "ABOUT",
    "BASELINE_ARM",
    "CALIBRATION_ARM",
    "CONCEPTS",
    "DEMO",
    "EMBEDDINGS",
    "EVIDENCE",
    "EXPLORER",
    "FIGURE_TITLES",
    "MANIFEST",
    "PAGE",
    "PROBE_ARM",
    "PROMPTED_ARMS",
    "SAVED",
    "TABLES",
    "Cell",
    "Controls",
    "Criteria",
    "Games",
    "Judge",
    "Model",
    "PairsFile",
    "PairsSource",
    "Paths",
    "Resources",
    "Sampling",
    "Study",
    "Writing",
    "alpha_label",
    "load_study",
    "parse_study",
    "steered_cells",
    "table_label",
    "unsteered_cells",
]
