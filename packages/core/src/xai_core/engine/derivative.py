"""What says that a folder is a BIDS derivative."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .units import write_text

__all__ = ["describe_derivative"]

# BIDS has no suffix for relevance and its statistics; a name of BIDS' own would say what the maps are not.
_UNKNOWN_TO_BIDS = ("*_relevance.*", "*_statmap.*")


def describe_derivative(folder: Path, description: Mapping[str, Any]) -> None:
    """Write ``dataset_description.json``, and ``.bidsignore`` for the maps, whose suffixes validators do not know.

    Args:
        folder: Of the derivative.
        description: As BIDS asks for: ``Name``, ``BIDSVersion``, ``DatasetType``, ``GeneratedBy``.
    """
    write_text(folder / "dataset_description.json", json.dumps(description, indent=2) + "\n")
    write_text(folder / ".bidsignore", "".join(f"{pattern}\n" for pattern in _UNKNOWN_TO_BIDS))
