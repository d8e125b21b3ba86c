"""Atlases: found by name or file, named, and laid on the grid of a map."""

from __future__ import annotations

from .atlas import Atlas, LeftOut, Region
from .loading import load_atlas
from .placing import Placed

__all__ = ["Atlas", "LeftOut", "Placed", "Region", "load_atlas"]
