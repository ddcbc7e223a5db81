"""The probe of a (model, layer): fitted on the training pairs of an activation cache, with its control directions."""

from collections.abc import Mapping
from typing import Any

from probesteer.concepts.data import activations_path, pair_set
from probesteer.detection.activations import read_layer
from probesteer.directions import METHODS, Probe, control_directions, load_planted, save_probe
from probesteer.directions.sites import block_of
from probesteer.files.digests import file_digest
from probesteer.jobs import probe_settings
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.options import Site

NUMERICS = 2  # bump by hand when the same inputs give other directions


def probe_inputs(study: Study, model: Model, layer: int, cache: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that determines a probe, given what determines its activations; its digest is the probe's fingerprint."""
    planted = [file_digest(path) for path in model.planted()]
    return {"numerics": NUMERICS, "cache": dict(cache), "layer": layer, "planted": planted, **probe_settings(study, model)}


def fit_probe(study: Study, model: Model, site: Site) -> None:
    """Fit and write the probe of a site. Raises InputError."""
    layer = block_of(study, model, site)
    cache = read_layer(activations_path(study, model, pair_set(study)), layer)
    direction, separation = METHODS[study.method](*cache.training_sides())
    away_from = [direction, *map(load_planted, model.planted())]
    train = cache.design.train
    training = cache.activations[train], cache.design.labels[train], cache.design.groups[train]
    controls = control_directions(away_from, *training, study.controls.arms(), study.seed, study.method)
    metadata = {**{key: str(value) for key, value in cache.inputs.items()}, "method": study.method}
    probe = Probe(layer, direction, separation, float(cache.norms[train].mean()), metadata, controls)
    save_probe(probe, study.paths.probe(model.name, site), probe_inputs(study, model, layer, cache.inputs))
