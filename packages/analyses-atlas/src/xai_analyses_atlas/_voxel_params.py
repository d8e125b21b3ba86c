"""Parameters that ``map-similarity`` and ``voxel-features`` share, and their checks. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from xai_core import ConfigError, InputError
from xai_core.schemas import did_you_mean

from ._atlas_params import ATLAS, AtlasChoice, require_absolute
from ._hints import target_hint
from ._params import EXPLAINERS_OR_NULL, RESAMPLE, SPACE, SPACING

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SHARED",
    "Brain",
    "Part",
    "VoxelOptions",
    "brain_from",
    "check_columns",
    "check_map",
    "check_options",
    "covariate_columns",
]

Brain = Literal["auto", "mni", "person", "none"]
Part = Literal["signed", "absolute", "positive", "negative"]

_LATER = ("prediction", "correct", "fold", "repeat")  # columns of predictions.tsv
_LABELS: dict[str, Any] = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True}
_PREPARE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "threshold": {
            "type": ["number", "null"],
            "default": None,
            "description": "The map becomes 1 where it is at or above this, 0 elsewhere; null: values are kept.",
        },
        "minimal_cluster": {
            "type": "number",
            "minimum": 0,
            "default": 0,
            "description": "Smaller clusters of the thresholded map are dropped, in mm3.",
        },
        "connectivity": {
            "enum": [6, 18, 26],
            "default": 26,
            "description": "Neighbours that belong to a cluster: 6 share a face, 18 an edge too, 26 a corner too.",
        },
        "dilation": {
            "type": "number",
            "minimum": 0,
            "default": 0,
            "description": "How far the thresholded map is extended, in mm.",
        },
        "border_only": {
            "type": "boolean",
            "default": False,
            "description": "Keep only the shell: what the dilation added, or (dilation: 0) the map's outermost layer.",
        },
    },
}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    # Not anyOf: paths and defaults are filled in through "properties" and "format" of the property itself.
    return {**schema, "type": [schema["type"], "null"], "default": None}


SHARED: dict[str, Any] = {
    "explainers": EXPLAINERS_OR_NULL,
    "prepare": {
        **_or_null(_PREPARE),
        "description": "What is done to the feature map on the relevance's grid: threshold, minimal_cluster (mm3), "
        "connectivity, dilation (mm), border_only. A map of 0 and one other value is a mask without a threshold.",
    },
    "prepare_relevance": {
        **_or_null(_PREPARE),
        "description": "The same for the relevance, after 'part'; a threshold is in units of the relevance.",
    },
    "labels": {
        **_or_null(_LABELS),
        "description": "Labels of the feature map that count as 1, all others as 0, where it is a label image.",
    },
    "brain": {
        "enum": ["auto", "mni", "person", "none"],
        "default": "auto",
        "description": "Voxels compared: the mni brain mask, each person's own mask (column 'mask'), or none: the "
        "whole field of view. auto: mni in MNI space, person in the scans' own space.",
    },
    "within": {
        **_or_null({"type": "string", "format": "path"}),
        "description": "Mask (NIfTI) in the same space; only voxels within are compared.",
    },
    "within_map": {
        **_or_null({"type": "string", "minLength": 1}),
        "description": "Map of each person (as 'feature_map') within which voxels are compared.",
    },
    "within_labels": {
        **_or_null(_LABELS),
        "description": "Labels of within_map that count, where it is a label image.",
    },
    "atlas": {
        **ATLAS,
        "type": ["string", "object", "null"],
        "default": None,
        "description": "Atlas within whose 'regions' voxels are compared: a name ('xai atlases' lists them), or image, "
        "table and space of files.",
    },
    "regions": {
        **_or_null({"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}),
        "description": "Regions of 'atlas' by name, or by the name without the side for both sides.",
    },
    "space": {
        **SPACE,
        "description": "Whether the scans are registered to MNI space, or lie in a space of their own.",
    },
    "resample": {
        **RESAMPLE,
        "description": "Bring relevance and feature maps to a common grid in MNI space, linearly.",
    },
    "spacing": SPACING,
    "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "Seed of the permutations."},
}  # fmt: skip


class VoxelOptions(Protocol):
    """The shared parameters as an analysis holds them."""

    explainers: Sequence[str] | None
    part: Part
    prepare: Mapping[str, Any] | None
    prepare_relevance: Mapping[str, Any] | None
    labels: Sequence[int] | None
    brain: Brain
    within: str | None
    within_map: str | None
    within_labels: Sequence[int] | None
    atlas: AtlasChoice | None
    regions: Sequence[str] | None
    space: Literal["mni", "scan"]
    resample: bool
    spacing: float
    seed: int


def brain_from(options: VoxelOptions) -> Literal["mni", "person", "none"]:
    """Return what ``brain: auto`` means."""
    if options.brain != "auto":
        return options.brain
    return "mni" if options.space == "mni" else "person"


def check_options(name: str, options: VoxelOptions) -> None:
    """Refuse parameters that contradict each other.

    Raises:
        ConfigError: All of them in one message.
    """
    if options.atlas is not None:
        require_absolute(name, options.atlas)
    problems = []
    if options.space == "scan" and (options.resample or options.brain == "mni"):
        what = "resample: true" if options.resample else "brain: mni"
        problems.append(f"{what} needs scans in MNI space, but space is scan")
    if options.atlas is None and options.regions is not None:
        problems.append("regions needs an atlas")
    if options.within_labels is not None and options.within_map is None:
        problems.append("within_labels needs within_map")
    steps = options.prepare_relevance or {}
    if steps.get("threshold") is None and any(steps.get(key) for key in ("minimal_cluster", "dilation", "border_only")):
        problems.append("prepare_relevance: clusters and borders need a threshold")
    if options.labels is not None and (options.prepare or {}).get("threshold") is not None:
        problems.append("labels make a mask already: leave out prepare.threshold")
    if problems:
        raise ConfigError(f"{name}: {'; '.join(problems)}.")


def check_map(table: pd.DataFrame, name: str, parameter: str) -> str:
    """Return the column that holds a map's files: ``map_<name>``, or ``name`` itself.

    Raises:
        InputError: There is neither, or it is empty for everybody.
    """
    column = next((each for each in (f"map_{name}", name) if each in table.columns), None)
    maps = [str(each).removeprefix("map_") for each in table.columns if str(each).startswith("map_")]
    if column is None:
        there = f"It has: {', '.join(maps)}." if maps else "It has none; name them in 'maps' of 'data'."
        raise InputError(f"{parameter}: the study has no map {name!r}.{did_you_mean(name, maps)} {there}")
    if not any(isinstance(value, str) and value for value in table[column].tolist()):
        raise InputError(f"{parameter}: nobody has a map {name!r}: the column {column!r} names no file.")
    return column


def covariate_columns(covariates: Sequence[str | Mapping[str, Any]]) -> list[str]:
    """Return the columns that covariates name."""
    return [one if isinstance(one, str) else str(one["column"]) for one in covariates]


def check_columns(table: pd.DataFrame, names: Sequence[str], parameter: str, *, trained: bool = False) -> None:
    """Refuse columns that the study does not have.

    Args:
        table: Of the study, or of the tested people.
        names: The columns.
        parameter: That names them.
        trained: Whether columns that only a trained network fills (predictions) may be missing.

    Raises:
        InputError: With all of them.
    """
    later = [name for name in names if name in _LATER or name.startswith("probability_")] if trained else []
    missing = [name for name in names if name not in table.columns and name not in later]
    if missing:
        columns = list(map(str, table.columns))
        hints = "".join(did_you_mean(name, columns) for name in missing)
        raise InputError(
            f"{parameter}: the study has no column {', '.join(map(repr, missing))}.{hints}{target_hint(columns)} "
            f"It has: {', '.join(columns)}."
        )
