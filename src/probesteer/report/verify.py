"""Is a finished study still what its report was made from? Every digest compared, and all recomputed that needs no model.

A changed file is found by its digest in the manifest. One who writes that anew, too, is found by the recomputation: of a table
from the results, of these from the cells. A value that is changed in one file alone cannot agree with both.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from probesteer.concepts.data import with_scenarios
from probesteer.errors import InputError
from probesteer.files.digests import file_digest
from probesteer.files.seal import is_whole
from probesteer.report.about import read_about
from probesteer.report.differences import differences, first_few, text_differences
from probesteer.report.history import HISTORY
from probesteer.report.manifest import ACTIVATIONS, environment, marks, read_manifest
from probesteer.report.recompute import recompute, replica, stand_in
from probesteer.study.experiment import Study
from probesteer.study.load import load_study, parse_study
from probesteer.study.paths import MANIFEST, RESULTS, SAVED

# what is made after these are pages
STAGES = ("pairs", "probes", "texts", "scores", "effects", "correlation", "transcripts", "deeds", "tables", "figures")
MOST = 20  # files that are told of which do not follow from what they were made from
ELSEWHERE = RESULTS / "-" / "council"  # where a report is made again that is not in its study's folder
Places = dict[Path, list[str]]
"""What is wrong with files, by path: each a place, in words."""


class Verified(NamedTuple):
    """What was looked at, and what was found."""

    files: int
    recomputed: int
    findings: list[str]
    """A line each: a file, and what is wrong with it."""
    notes: list[str]
    """What could not be compared, and why."""


def verify_report(place: Path) -> Verified:
    """Verify a report, or a folder results/<study> with one. Raises InputError where there is none."""
    report = (place if (place / MANIFEST).exists() else place / "council").absolute()
    manifest = read_manifest(report)
    root = report.parents[2] if report.parents[1].name == RESULTS.name else Path.cwd()
    changed, notes = changed_files(manifest, root, report)
    if not (exact := manifest["made"] == environment()):
        notes.append(f"pages and figures, but by digest: {made_by(manifest['made'])}")
    with replica(root, manifest["results"]):
        stand_in(manifest["costs"])
        again = report.relative_to(root) if report.is_relative_to(root) else ELSEWHERE
        try:
            problems = recompute(study_of(manifest, report), again, report.parent / HISTORY, read_about(report))
        except InputError as error:
            problems = [str(error)]
        read = [path for path in map(Path, manifest["results"]) if path.is_relative_to(RESULTS)]
        made = {path: root / path for path in read if path.is_file() and not path.is_symlink()}
        made |= {again / name: report / name for name in manifest["report"] if (again / name).is_file()}
        wrong = {
            stored: first_few(differences(stored, path, exact))
            for path, stored in sorted(made.items(), key=lambda pair: stage_of(pair[0]))
            if stored.is_file() and stored.read_bytes() != path.read_bytes()
        }
    findings = [line.replace(f"{root}/", "") for line in told(changed, wrong, problems)]
    return Verified(len(manifest["report"]) + len(manifest["results"]) + 1, len(made), findings, notes)


def changed_files(manifest: Mapping[str, Any], root: Path, report: Path) -> tuple[Places, list[str]]:
    """The files that are not as recorded, each with the places that the manifest can name; and what is only noted."""
    changed, notes = Places(), []
    if not is_whole(report / MANIFEST):
        changed[report / MANIFEST] = ["its seal is broken: it is not what was written"]
    places = [(report / name, name, digest) for name, digest in manifest["report"].items()]
    places += [(root / name, name, digest) for name, digest in manifest["results"].items()]
    for path, name, digest in places:
        if not path.is_file() and Path(name).is_relative_to(ACTIVATIONS):
            notes.append(f"{name} was deleted; probes were not fitted again")
        elif not path.is_file():
            changed[path] = ["missing"]
        elif (found := list(recorded_differences(path, name, manifest))) or file_digest(path) != digest:
            changed[path] = found
    saved = root / RESULTS / report.parent.name / SAVED
    if saved.is_file() and (report / SAVED).is_file() and saved.read_bytes() != (report / SAVED).read_bytes():
        theirs = text_differences(saved.read_bytes(), (report / SAVED).read_text(encoding="utf-8", errors="replace"))
        changed.setdefault(saved, []).extend(f"{place} by {report / SAVED}" for place in theirs)
    return changed, notes


def recorded_differences(path: Path, name: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    """The places at which a file is not what the manifest keeps of it."""
    if name in manifest["kept"] and path.read_bytes() != manifest["kept"][name].encode():
        yield from text_differences(path.read_bytes(), manifest["kept"][name])
    if name in manifest["marks"]:
        try:
            new, old = marks(path), {"rows": [], "columns": {}} | manifest["marks"][name]
        except (InputError, TypeError):
            yield "not readable"
            return
        rows = [i for i, (a, b) in enumerate(zip(new["rows"], old["rows"], strict=False), 1) if a != b]
        columns = [column for column, mark in new["columns"].items() if old["columns"].get(column) != mark]
        if rows or columns:
            yield f"row {', '.join(map(str, rows))}: {', '.join(columns)} is not what was recorded"


def study_of(manifest: Mapping[str, Any], report: Path) -> Study:
    """The study as the manifest keeps it, or as it stands in the report. Raises InputError."""
    kept = manifest["kept"].get((RESULTS / report.parent.name / SAVED).as_posix())
    return with_scenarios(parse_study(json.loads(kept), []) if kept else load_study(report / SAVED))


def stage_of(path: Path) -> int:
    """Where in the DAG a file is made."""
    return next((i for i, stage in enumerate(STAGES) if stage in path.parts), len(STAGES))


def told(changed: Places, wrong: Places, problems: list[str]) -> Iterator[str]:
    """A line per finding: what was changed, what cannot be made again, what does not follow, as far as the first stage."""
    for path, recorded in changed.items():
        for place in wrong.get(path) or recorded or ["its bytes are not those that were recorded"]:
            yield f"{path}: {place}"
    yield from problems
    others = {path: places for path, places in wrong.items() if path not in changed and places}
    first = min(map(stage_of, others), default=0)
    for path in [path for path in others if stage_of(path) == first][:MOST]:
        for place in others[path]:
            yield f"{path}: does not follow from what it was made from: {place}"


def made_by(made: Mapping[str, str]) -> str:
    """Which versions are others here than where a report was made."""
    here = environment()
    other = [f"made with {name} {made.get(name)}, here is {here[name]}" for name in here if made.get(name) != here[name]]
    return ", ".join(other)
