"""Is the behaviour linearly readable, and does the reading survive a sceptic?"""

from probesteer.detection.design import Design
from probesteer.detection.estimate import Detection, Estimate
from probesteer.detection.heldout import evaluate
from probesteer.detection.selection import select

__all__ = ["Design", "Detection", "Estimate", "evaluate", "select"]
