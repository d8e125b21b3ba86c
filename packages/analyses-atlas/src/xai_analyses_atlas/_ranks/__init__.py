"""Regions by the relevance that they have on average, with intervals, as table and figures."""

from __future__ import annotations

from .ranking import rank_table, ranked
from .write import write_region_figures

__all__ = ["rank_table", "ranked", "write_region_figures"]
