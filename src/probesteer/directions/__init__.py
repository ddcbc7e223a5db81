"""Directions in activation space: fitted, with their controls, kept."""

from probesteer.directions.controls import control_directions
from probesteer.directions.methods import METHODS, mean_difference
from probesteer.directions.probe import Probe, load_planted, load_probe, save_probe

__all__ = ["METHODS", "Probe", "control_directions", "load_planted", "load_probe", "mean_difference", "save_probe"]
