"""A behaviour: prompts, scenarios, pairs and words. What is handed on here is light: the Snakefile imports it."""

from probesteer.concepts.concept import Concept, Scenario, load_concept, load_scenarios
from probesteer.concepts.data import PairSet, check_study, pair_set, pair_sets
from probesteer.concepts.neutral import corpus_file
from probesteer.concepts.pairs import Pair, load_pairs

__all__ = [
    "Concept",
    "Pair",
    "PairSet",
    "Scenario",
    "check_study",
    "corpus_file",
    "load_concept",
    "load_pairs",
    "load_scenarios",
    "pair_set",
    "pair_sets",
]
