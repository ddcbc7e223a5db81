"""The jobs of the DAG that compare models, by the table that each writes."""

from collections.abc import Callable

from probesteer.compare.causes import write_causes
from probesteer.compare.corpus import write_corpus
from probesteer.compare.independence import write_independence
from probesteer.compare.readings import write_readings
from probesteer.compare.transfer import write_transfer
from probesteer.errors import InputError
from probesteer.study.experiment import Study
from probesteer.study.model import Model

TABLES: dict[str, Callable[[Study, Model], None]] = {
    "readings": write_readings,
    "independence": write_independence,
    "corpus": write_corpus,
    "transfer": write_transfer,
    "causes": write_causes,
}


def write(table: str, study: Study, model: Model) -> None:
    """Write a table of a model. Raises InputError, also for a name that is none of TABLES."""
    if table not in TABLES:
        raise InputError(f"{table}: choose one of {', '.join(TABLES)}")
    TABLES[table](study, model)
