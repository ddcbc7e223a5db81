"""The jobs that say what a model is: its weights fetched or dequantised, its card written."""

from probesteer.files.cards import read_receipt, write_card
from probesteer.lm.card import model_card
from probesteer.lm.fetch import fetch
from probesteer.lm.gguf import convert
from probesteer.lm.verify import quietly
from probesteer.study.experiment import Study
from probesteer.study.model import Model


def fetch_model(study: Study, model: Model, name: str) -> None:
    """Fetch a hub model and write its receipt; `name` is the model's in paths, another one for a judge. Raises InputError."""
    receipt = fetch(model.source, str(model.revision), model.trust_remote_code, study.weights(name))
    write_card(study.paths.receipt(name, model.key), receipt)


def convert_model(study: Study, model: Model, name: str) -> None:
    """Dequantise a GGUF model into the folder that jobs load it from. Raises InputError."""
    if model.gguf and (folder := study.weights(name)):
        with quietly():
            convert(model, model.gguf, folder)


def write_model_card(study: Study, model: Model, name: str) -> None:
    """Write the card of a model; a hub model is the commit that its receipt names. Raises InputError."""
    fetched = None if model.local else read_receipt(study.paths.receipt(name, model.key))
    card = model_card(model, name, fetched["revision"] if fetched else model.revision, study.weights(name))
    write_card(study.paths.card(name, model.key), card)
