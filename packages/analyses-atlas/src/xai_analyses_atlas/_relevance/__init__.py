"""Relevance by region: for every map of a run, what lies in each region of an atlas."""

from __future__ import annotations

from .asymmetry import asymmetry_table
from .cohort import Measured, measured_run
from .measures import OUTSIDE, REGION_COLUMNS
from .table import region_table

__all__ = ["OUTSIDE", "REGION_COLUMNS", "Measured", "asymmetry_table", "measured_run", "region_table"]
