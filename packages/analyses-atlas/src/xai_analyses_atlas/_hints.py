"""What is told with a column that a study does not have."""

from __future__ import annotations

from collections.abc import Container

__all__ = ["target_hint"]


def target_hint(known: Container[str]) -> str:
    """Return what stands in a study's table for the column that is predicted: ``age`` or ``diagnosis`` is not there."""
    return " What the network predicts is the column 'target'." if "target" in known else ""
