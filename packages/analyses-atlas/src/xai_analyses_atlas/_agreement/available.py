"""Which comparisons a run allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from xai_core import InputError

from .index import Index

if TYPE_CHECKING:
    from ..agreement import Agreement

__all__ = ["require_available", "unavailable"]


def unavailable(index: Index) -> dict[str, str]:
    """Return why comparisons cannot be made, by their name."""
    slots = [each.slot for maps in index.people.values() for each in maps if each.slot.run == index.main]
    reasons = {}
    if len(index.explainers) < 2:
        reasons["explainers"] = f"there is one explainer, {index.explainers[0]}; two are needed"
    if not any(slot.network for slot in slots):
        reasons["folds"] = "one network explains each scan; a repeated cross-validation has several"
    if len(index.runs) < 2:
        reasons["runs"] = "no other runs are given (runs)"
    if not any(slot.visit for slot in slots):
        reasons["visits"] = "no tested person has two scans"
    sites = index.table["site"].dropna().nunique() if "site" in index.table else 0
    if sites < 2:
        reasons["sites"] = f"the tested people come from {sites} known sites; two are needed"
    return reasons


def require_available(reasons: Mapping[str, str], options: Agreement) -> None:
    """Refuse a comparison that the user asked for by name and that cannot be made.

    Raises:
        InputError: All of them are told.
    """
    asked = [f"{name}: {why}" for name, why in reasons.items() if name in (options.compare or ())]
    if asked:
        raise InputError("compare: " + "; ".join(asked) + ". Take them out of 'compare'.")
