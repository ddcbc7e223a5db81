"""The figures of the report, each from its tables."""

from collections.abc import Callable, Mapping

import pandas as pd

from probesteer.compare.foretold import points
from probesteer.report.figures import comparing, reading, steering
from probesteer.report.figures.style import Drawn, save
from probesteer.study.experiment import Study

__all__ = ["draw", "save"]

Tables = Mapping[str, pd.DataFrame]
FIGURES: dict[str, Callable[[Study, Tables], Drawn]] = {
    "auroc_by_layer": lambda study, of: reading.auroc_by_layer(of["detection"], of["council"], study.criteria.auroc),
    "random_baseline": lambda _, of: reading.random_baseline(of["council"]),
    "lexical_ablation": lambda _, of: reading.lexical_ablation(of["council"], of["details"]),
    "cross_model_layers": lambda _, of: reading.cross_model_layers(of["detection"], of["council"]),
    "dose_response": lambda study, of: steering.dose_response(of["arms"], of["dose_response"], study.alpha_unit),
    "baseline_behaviour": lambda _, of: steering.baseline_behaviour(of["dose_response"]),
    "resistance_by_scenario": lambda _, of: steering.resistance_by_scenario(of["scenario_trends"], of["steering"]),
    "steering_by_layer": lambda _, of: steering.steering_by_layer(of["trends"], of["specificity"]),
    "agreement": lambda study, of: comparing.agreement(of["agreement"], sorted(model.name for model in study.models)),
    "transfer": lambda _, of: comparing.transfer(of["transfer"]),
    "causes": lambda _, of: comparing.causes(of["causes"]),
    "behavioural_correlation": lambda _, of: steering.behavioural_correlation(of["correlation"]),
    "foretold": lambda _, of: comparing.foretold(points(of["trends"], of["forecast"], of["detection"], of["doses"])),
}


def draw(study: Study, tables: Tables) -> dict[str, Drawn]:
    """Every figure that a study has, by its name."""
    return {name: FIGURES[name](study, tables) for name in study.figures}
