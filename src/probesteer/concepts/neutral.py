"""Texts that say nothing about any behaviour: on them pushes are compared in nats, and maps between models are fitted."""

from pathlib import Path

from probesteer.errors import InputError

CORPUS, CORPUS_FILE = Path("resources/corpora/neutral.txt"), "neutral.txt"  # of all concepts; in the folder of one
LEAST_TEXTS = 100

NEUTRAL_TEXTS = [
    "The library opens at nine on weekdays and closes an hour earlier on Saturdays. It has two floors and a reading room.",
    "A kettle of water boils sooner with the lid on, because less heat is lost as steam.",
    "The road along the coast was built in three parts. The last of them, with the long bridge, was opened in spring.",
    "Most bicycles of this kind have eight gears, a steel frame and tyres as wide as a thumb.",
    "Rain fell in the hills during the night, and by the morning the river stood a hand higher than the day before.",
    "The table is made of oak. Its top is two metres long, and the legs can be taken off.",
    "In the north of the country the days are short in winter, and lamps are lit early in the afternoon.",
    "The museum shows maps, coins and tools from the old harbour. A plan of the rooms hangs beside the door.",
    "Bread of rye keeps longer than bread of wheat. Both are baked in the same oven, one after the other.",
    "The train from the west arrives at platform four. From there it is a walk of five minutes to the market.",
    "Leaves of this tree turn yellow in October and fall within two weeks, unless the autumn is mild.",
    "The manual has twelve chapters. The third describes the parts of the pump and how they are put together.",
    "A map at this scale shows every path and most of the larger stones, but no single trees.",
    "The clock in the tower is older than the tower itself. It was moved there when the first hall was pulled down.",
    "Salt dissolves faster in warm water than in cold, and faster still when the water is stirred.",
    "The valley is about ten kilometres long. Two villages lie in it, one at each end.",
    "Paper of this weight is used for envelopes and for the covers of thin books.",
    "The concert begins at eight. There are forty seats in the front part of the hall and ninety behind them.",
    "Ships of that time carried wool to the south and came back with oil, fruit and glass.",
    "The window faces east, so the room is bright in the morning and cool by the evening.",
]


def corpus_file(concept: Path) -> Path:
    """The file of a concept's neutral corpus: its folder's own, or that of all concepts."""
    own = concept / CORPUS_FILE
    return own if own.is_file() else CORPUS


def read_corpus(path: Path) -> list[str]:
    """The texts of a corpus, one a line. Raises InputError for a file that cannot be read, or has too few different ones."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no readable text file; a neutral corpus has a text on each line") from error
    texts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if len(texts) < LEAST_TEXTS:
        raise InputError(f"{path}: {len(texts)} different texts; maps between models need at least {LEAST_TEXTS}")
    return texts
