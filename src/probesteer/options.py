"""What is generated from the typed study: the config schema and the table of options."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from probesteer.study import Controls, Criteria, Judge, Model, Resources, Sampling, Study
from probesteer.tables import write_text

SCHEMA, OPTIONS = Path("workflow/schemas/config.schema.json"), Path("config/README.md")
SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("Study", Study),
    ("models: a list of", Model),
    ("sampling:", Sampling),
    ("controls:", Controls),
    ("judge:", Judge),
    ("criteria:", Criteria),
    ("resources:", Resources),
]
HEADER = """# Options

Generated from `src/probesteer/study.py` by `make docs`; change it there.

`config/config.yaml` is the embedded default. A study is a file in `config/studies/` that is layered over it: mappings merge,
lists and values replace. Run one with `snakemake --configfile config/studies/NAME.yaml`.
A null value under `models` falls back to the study's option of the same name.
"""


def schema_text() -> str:
    """The JSON schema of a study."""
    return json.dumps(Study.model_json_schema(), indent=1) + "\n"


def kind(schema: dict[str, Any]) -> str:
    """A property's type, as a reader would say it."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return "mapping"
    if schema["type"] == "array":
        return f"list of {kind(schema['items'])}"
    return str(schema["type"])


def options_text() -> str:
    """The table of options as Markdown."""
    parts = [HEADER]
    for title, section in SECTIONS:
        schema = section.model_json_schema()
        parts.append(f"\n## {title}\n\n| option | type | default | meaning |\n|---|---|---|---|\n")
        for name, field in schema["properties"].items():
            default = f"`{json.dumps(field['default'])}`" if "default" in field else "required"
            default = "see below" if "$ref" in field else default
            meaning = field["description"].replace("|", r"\|")
            parts.append(f"| `{name}` | {kind(field)} | {default} | {meaning} |\n")
    return "".join(parts)


def write_schema(root: Path) -> None:
    """Write both files below the root of the repository."""
    write_text(root / SCHEMA, schema_text())
    write_text(root / OPTIONS, options_text())
