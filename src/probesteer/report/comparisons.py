"""The report's tables of what models have in common."""

from collections.abc import Mapping
from functools import partial

import pandas as pd

from probesteer.compare.agreement import AGREEMENT, agreement
from probesteer.compare.emergence import emergence
from probesteer.compare.foretold import foretold, points
from probesteer.compare.independence import spill_over
from probesteer.compare.readings import read_readings
from probesteer.compare.scale import scale, scaling
from probesteer.compare.verdicts import judged
from probesteer.report.evidence import parts_of, together
from probesteer.study.experiment import Study


def comparisons(study: Study, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of `compare`, given those of the models, the detection, the correlation and the council."""
    blocks = tables["models"].set_index("name")["blocks"].to_dict()
    names = sorted(model.name for model in study.models)
    agreed = pd.DataFrame(columns=AGREEMENT)
    if study.compared:
        readings = {name: read_readings(study.paths.compared(name, "readings")) for name in names}
        agreed = agreement(readings, blocks, tables["council"].set_index("model")["layer"].to_dict())
    council, carried = tables["council"], pd.DataFrame()
    if study.compare.transfer:
        carried = tables_of(study, "transfer").drop(columns=["model", "made_from"])
        carried = carried.sort_values(["source", "target"], kind="stable").reset_index(drop=True)
        carried = judged(carried, set(council.loc[council["detected"], "model"]))
    independent = tables_of(study, "independence") if study.control_concept else pd.DataFrame()
    if study.control_concept and len(tables["points"]):
        moved = spill_over(tables["points"], study.concept, study.control_concept)
        independent = independent.merge(moved, on=["model", "layer", "what"], how="left")
    control = independent[independent["what"] == study.control_concept] if len(independent) else None
    sizes = scale(tables["models"], council, tables["trends"], tables["doses"], tables["forecast"], study.alpha_unit)
    return {
        "agreement": agreed,
        "scale": sizes,
        "scaling": scaling(sizes),
        "emergence": emergence(tables["detection"], tables["details"], blocks, control),
        "foretold": foretold(points(*(tables[name] for name in ("trends", "forecast", "detection", "doses")))),
        "independence": independent,
        "causes": tables_of(study, "causes") if study.compare.causes else pd.DataFrame(),
        "transfer": carried,
    }


def tables_of(study: Study, table: str) -> pd.DataFrame:
    """A table of all models together, in order of their names."""
    return together(parts_of(study.models, partial(study.paths.compared, table=table)))
