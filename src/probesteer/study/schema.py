"""What is generated from the typed study: the config schema and the table of options."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from probesteer.files.whole import write_text
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.sections import Compare, Controls, Criteria, Games, Judge, PairsFile, Resources, Sampling, Writing

SCHEMA, OPTIONS = Path("workflow/schemas/config.schema.json"), Path("config/README.md")
SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("Study", Study),
    ("models: a list of", Model),
    ("pairs:", PairsFile),
    ("writing:", Writing),
    ("sampling:", Sampling),
    ("controls:", Controls),
    ("judge:", Judge),
    ("compare:", Compare),
    ("games:", Games),
    ("criteria:", Criteria),
    ("resources:", Resources),
]
HEADER = """# Options

Generated from `src/probesteer/study/` by `make docs`; change it there.

A study is one file, and stands alone: what it leaves out has the default given here. Run it with
`snakemake --configfile config/studies/NAME.yaml`; `--config key=value` sets an option for one run. Of several files after
`--configfile` the later ones are layered over the first: mappings merge, lists and values replace. `config/config.yaml` is
the demo, which runs where no file is named.
A null value under `models` falls back to the study's option of the same name. Editors complete and check a study whose first
line names the schema: `# yaml-language-server: $schema=../../workflow/schemas/config.schema.json`.
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
            meaning = " ".join(field["description"].split()).replace("|", r"\|")  # a line of the table
            parts.append(f"| `{name}` | {kind(field)} | {default} | {meaning} |\n")
    return "".join(parts)


def write_schema(root: Path) -> None:
    """Write both files below the root of the repository."""
    write_text(root / SCHEMA, schema_text())
    write_text(root / OPTIONS, options_text())
