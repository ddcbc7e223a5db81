"""The report's tables of what models have in common."""

from collections.abc import Mapping

import pandas as pd

from probesteer.compare.agreement import AGREEMENT, agreement
from probesteer.compare.emergence import emergence
from probesteer.compare.readings import read_readings
from probesteer.study.experiment import Study


def comparisons(study: Study, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of `compare`, given those of the models, the detection and the council."""
    blocks = tables["models"].set_index("name")["blocks"].to_dict()
    names = sorted(model.name for model in study.models)
    agreed = pd.DataFrame(columns=AGREEMENT)
    if study.compared:
        readings = {name: read_readings(study.paths.compared(name, "readings")) for name in names}
        agreed = agreement(readings, blocks, tables["council"].set_index("model")["layer"].to_dict())
    return {"agreement": agreed, "emergence": emergence(tables["detection"], tables["details"], blocks)}
