"""Folds of one run with configurations of their own: each outer fold of a sweep has chosen its own parameters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from .study import Study

__all__ = ["fold_config", "fold_study"]


def fold_config(config: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    """Return the configuration that holds for a fold: ``per_fold`` may replace model, training and transforms.

    Args:
        config: The resolved configuration of the run.
        index: Index of the fold.

    Raises:
        InputError: ``per_fold`` has fewer entries than the study has folds.
    """
    entries = config.get("per_fold")
    if not entries:
        return config
    if index >= len(entries):
        raise InputError(
            f"per_fold has {len(entries)} entries, but there is a fold {index}. Give one entry for each fold ({{}} for "
            "a fold without changes)."
        )
    entry = entries[index]
    changed = {key: entry[key] for key in ("model", "training") if key in entry}
    return {**config, **changed, "data": {**config["data"], **entry.get("data", {})}}


def fold_study(study: Study, index: int) -> Study:
    """Return the study with the configuration that holds for a fold; the same study where there is one for all."""
    if not study.config.get("per_fold"):
        return study
    found = copy.copy(study)
    found.config = fold_config(study.config, index)
    found.__dict__.pop("identities", None)  # other transforms may read other covariates
    return found
