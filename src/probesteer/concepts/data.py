"""The texts of a study: which pairs, which words of theirs are ablated, and the digests of what activations depend on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from probesteer.concepts.concept import CONCEPT_FILE, WORDS_FILE, Concept, load_concept, load_scenarios, require_filled
from probesteer.concepts.pairs import Pair, load_pairs
from probesteer.concepts.words import load_words, word_pattern
from probesteer.errors import InputError
from probesteer.files.digests import digest, file_digest
from probesteer.study.experiment import Study
from probesteer.study.model import Model
from probesteer.study.paths import CONCEPTS, PAIRS_FILE
from probesteer.study.sections import PairsSource, levels


class PairSet(NamedTuple):
    """The pairs of a concept in a study, and what is captured of them."""

    concept: str
    files: Mapping[Path, str | None]
    """The split of all pairs of each file, None where a column says it."""
    columns: Mapping[str, str] | None
    """Which column of a user's file holds what; none for the concept's own pairs."""
    sha256: tuple[str, ...]
    """Of each file."""
    words: tuple[str, ...]
    """What tells the sides apart by itself; none leaves the ablation out."""
    ablations: int
    """Draws of the lexical ablation."""
    factors: Mapping[str, Sequence[str]]
    """The two levels of each factor that the pairs are crossed with."""
    prompts: Mapping[str, str] | None
    """Where a text is read as the answer to its scenario: the system prompt under "system", user prompts by scenario."""

    @property
    def key(self) -> str:
        """Names the pairs in paths that studies share."""
        splits = [split for split in self.files.values() if split]
        return digest([*self.sha256, *splits, self.columns, *([self.factors] if self.factors else [])])[:12]

    def digest(self) -> str:
        """SHA-256 of all that activations depend on beside the model and the pooling."""
        return digest([self.key, self.words if self.ablations else [], self.ablations, self.prompts])

    def load(self) -> list[Pair]:
        """Read the pairs. Raises InputError, also where the file is another than the one that is named by its SHA-256."""
        for path, sha256 in zip(self.files, self.sha256, strict=True):
            if path.is_file() and (found := file_digest(path)) != sha256:
                raise InputError(f"{path}: its SHA-256 is {found}, pairs.sha256 says {sha256}; correct one of them")
        return load_pairs(self.files, self.columns, self.factors)


def pair_set(study: Study, concept: str | None = None) -> PairSet:
    """The pairs of the study's concept, or of its control concept, which are not ablated. Raises InputError."""
    name = concept or study.concept
    folder, own = CONCEPTS / name, name == study.concept
    given = study.pairs if own else None
    sources = given.sources if given else [PairsSource(file=str(folder / PAIRS_FILE))]
    words = given.words if given else load_words(folder / WORDS_FILE) if own else []
    require_filled(folder / WORDS_FILE, "words", words)
    try:
        sha256 = tuple(source.sha256 or file_digest(Path(source.file)) for source in sources)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from error
    files = {Path(source.file): source.split for source in sources}
    columns = {str(field): column for field, column in given.columns.items()} if given else None
    loaded = load_concept(folder)
    factors = levels(given.factors if given else loaded.factors)
    prompts = {"system": loaded.system_prompts.neutral, **loaded.prompts()} if study.pooling == "response" else None
    return PairSet(name, files, columns, sha256, tuple(words), study.ablations if words else 0, factors, prompts)


def pair_sets(study: Study) -> dict[str, PairSet]:
    """The pairs of the study's concept and, where it has one, of its control concept, by concept. Raises InputError."""
    return {name: pair_set(study, name) for name in (study.concept, study.control_concept) if name}


def activations_path(study: Study, model: Model, pairs: PairSet) -> Path:
    """The cache of a model on pairs: the key names model, texts, cut and pooling: studies can share it and never mix two."""
    key = digest([model.key, pairs.digest(), study.pooling, study.max_text_tokens])[:12]
    return study.paths.activations(model.name, pairs.concept, key)


def pairs_files(pairs: PairSet, study: Study) -> list[Path]:
    """The files that activations depend on beside the pairs: ablated words, and prompts where a text is a response."""
    folder = CONCEPTS / pairs.concept
    words = [folder / WORDS_FILE] if pairs.ablations and not (study.pairs and pairs.concept == study.concept) else []
    return words + [folder / CONCEPT_FILE] * (pairs.prompts is not None)


def study_concept(study: Study) -> Concept:
    """The study's concept; pairs of the user's own bring their own title and description. Raises InputError."""
    concept = load_scenarios(study.concept_folder, study.scenario_names())
    if study.pairs is None:
        return concept
    title = study.pairs.title or f"pairs of {', '.join(map(str, study.pairs_paths))}"
    own = {"title": title, "description": study.pairs.description or "", "factors": study.pairs.factors}
    return concept.model_copy(update=own)


def with_scenarios(study: Study) -> Study:
    """The study with all scenarios of its concept where it names none. Raises InputError."""
    if study.scenarios is not None:
        return study
    return study.model_copy(update={"scenarios": list(load_concept(study.concept_folder).scenarios)})


def check_study(study: Study) -> Study:
    """Check what a study says against its concepts; returns it with its scenarios filled in. Raises InputError.

    Pairs of the user's own may have other scenarios than the concept, unless they are read as answers to them.
    """
    study = with_scenarios(study)
    concept = load_scenarios(study.concept_folder, study.scenario_names())
    for scorer in study.scorers if study.steered else []:
        if not concept.scored_by(scorer):
            able = [name for name in ("lexical", "published", "grammar", "rubric") if concept.scored_by(name)]
            raise InputError(f"scorer {scorer}: cannot score {study.concept}; {', '.join(able)} can (lexical needs word lists)")
        if scorer == "lexical":
            check_words(concept, study.scenario_names())
    if lost := [path for path in study.ratings if not Path(path).is_file()]:
        raise InputError(f"ratings: {lost[0]}: no such file; `probesteer ratings` writes a sheet to fill in")
    concepts = {study.concept: concept}
    if study.control_concept:
        concepts[study.control_concept] = load_concept(CONCEPTS / study.control_concept)
    for name, pairs in pair_sets(study).items():
        given = study.pairs if name == study.concept else None
        if given and given.missing:
            continue  # checked when they are there
        loaded = pairs.load()
        if given is None or study.pooling == "response":
            check_pairs(next(iter(pairs.files)), loaded, concepts[name])
    return study


def strange_scenarios(study: Study) -> list[str]:
    """Scenarios of a user's pairs that the concept does not have though it has others of theirs: slips of the pen, mostly."""
    if study.pairs is None or study.pairs.missing:
        return []
    own = load_concept(study.concept_folder).scenarios
    named = {pair.scenario for pair in pair_set(study).load()}
    return sorted(named - set(own)) if named & set(own) else []


def check_words(concept: Concept, scenarios: Sequence[str]) -> None:
    """Raise InputError for a scenario whose prompt holds all words of a side, none of which would count."""
    for name in scenarios:
        prompt = concept.scenarios[name].user_prompt().lower()
        for side in (concept.positive_words, concept.negative_words):
            if all(word_pattern(word).search(prompt) for word in side):
                words = ", ".join(side)
                raise InputError(f"scenario {name}: its prompt holds every word of {words}, and what it holds does not count")


def check_pairs(path: Path, pairs: Sequence[Pair], concept: Concept) -> None:
    """Raise InputError for a pair that is still the skeleton's, or whose scenario the concept does not have."""
    for pair in pairs:
        require_filled(path, f"pair {pair.id}", pair.model_dump())
    if foreign := [pair for pair in pairs if pair.scenario not in concept.scenarios]:
        raise InputError(f"{path}: pair {foreign[0].id}: scenario {foreign[0].scenario} is not in concept.yaml")
