"""What is generated under a push: texts as cells."""

from probesteer.steering.cells import compute_cells
from probesteer.steering.sweep import Sweep, stale_cells
from probesteer.steering.texts import gather_texts, read_cells

__all__ = ["Sweep", "compute_cells", "gather_texts", "read_cells", "stale_cells"]
