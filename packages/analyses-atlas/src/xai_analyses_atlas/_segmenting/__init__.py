"""Segmentation of a cohort with a trained network: scans in, probabilities and masks on the scans' own grids out."""

from __future__ import annotations

from .cohort import Outcome, Task, segment
from .preparing import Recipe
from .scans import Failure, Scan, find_scans

__all__ = ["Failure", "Outcome", "Recipe", "Scan", "Task", "find_scans", "segment"]
