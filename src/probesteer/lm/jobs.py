"""The two jobs that say what a model is: its weights fetched, its card written."""

from probesteer.files.cards import read_receipt, write_card
from probesteer.lm.card import model_card
from probesteer.lm.fetch import fetch
from probesteer.study.experiment import Study
from probesteer.study.model import Model


def fetch_model(study: Study, model: Model, name: str) -> None:
    """Fetch a hub model and write its receipt; `name` is the model's in paths, another one for a judge. Raises InputError."""
    folder = study.paths.weights(name, model.key) if study.resources.temp_weights else None
    receipt = fetch(model.source, str(model.revision), model.trust_remote_code, folder)
    write_card(study.paths.receipt(name, model.key), receipt)


def write_model_card(study: Study, model: Model, name: str) -> None:
    """Write the card of a model; a hub model is the commit that its receipt names. Raises InputError."""
    fetched = None if model.local else read_receipt(study.paths.receipt(name, model.key))
    folder = study.paths.weights(name, model.key) if fetched and study.resources.temp_weights else None
    card = model_card(model, name, fetched["revision"] if fetched else model.revision, folder)
    write_card(study.paths.card(name, model.key), card)
