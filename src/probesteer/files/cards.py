"""JSON files about models: sealed cards, and receipts of what was fetched."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from probesteer.errors import InputError
from probesteer.files.seal import BLANK, SEAL, sealed


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a model card or a receipt: sealed JSON."""
    with sealed(path) as beside:
        beside.write_text(json.dumps({**card, SEAL: BLANK}, indent=1) + "\n", encoding="utf-8")


def read_card(path: Path) -> dict[str, Any]:
    """Read the model card that `probesteer model` wrote. Raises InputError."""
    return _read_json(path, ["digest", "source"], "a model card; write one with `probesteer model`")


def read_receipt(path: Path) -> dict[str, Any]:
    """Read the receipt that `probesteer fetch` wrote. Raises InputError."""
    return _read_json(path, ["revision", "files"], "a receipt; write one with `probesteer fetch`")


def _read_json(path: Path, needs: Iterable[str], what: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        value.pop(SEAL, None)
        return {**value, **{key: value[key] for key in needs}}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file, and so not {what}; those of a study are in results/models/NAME") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not {what}") from error
