"""Where a model is steered: the block of each site, and its probe with what alpha 1 is there."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from probesteer.directions.probe import Probe, load_probe
from probesteer.errors import InputError
from probesteer.files.tables import read_table
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import AUTO, Site

FORECAST_COLUMNS = {"layer": "number", "chosen": "bool"}
DOSE_COLUMNS = {"unit": "text", "push": "number"}


def block_of(study: Study, model: Model, site: Site) -> int:
    """The block of a site; that of `auto` is what the model's forecast chose. Raises InputError."""
    if site != AUTO:
        return int(site)
    path = study.paths.forecast(model.name)
    chosen = [row["layer"] for row in read_table(path, needs=FORECAST_COLUMNS).to_pylist() if row["chosen"]]
    if len(chosen) != 1:
        raise InputError(f"{path}: one chosen block is expected, there are {len(chosen)}")
    return int(chosen[0])


def read_doses(path: Path) -> dict[str, float]:
    """The push that is alpha 1, by unit, from the table that `probesteer dose` wrote. Raises InputError."""
    return {row["unit"]: row["push"] for row in read_table(path, needs=DOSE_COLUMNS).to_pylist()}


def dose_files(study: Study, model: Model, site: Site) -> list[Path]:
    """The table of a site's doses, where the study needs one."""
    return [study.paths.dose(model.name, site)] if study.dosed else []


def load_site(study: Study, model: Model, site: Site) -> Probe:
    """The probe of a site, with the doses that its study needs. Raises InputError where a file is missing or broken."""
    probe = load_probe(study.paths.probe(model.name, site), site)
    doses = [read_doses(path) for path in dose_files(study, model, site)]
    return replace(probe, doses=doses[0]) if doses else probe


def load_sites(study: Study, model: Model) -> Mapping[Site, Probe]:
    """The probes of all sites of a model. Raises InputError."""
    return {site: load_site(study, model, site) for site in study.steering_layers_of(model)}
