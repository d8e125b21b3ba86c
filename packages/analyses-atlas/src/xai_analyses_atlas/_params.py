"""Properties of schemas that several analyses share. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "CONVENTION",
    "EXPLAINERS",
    "EXPLAINERS_OR_NULL",
    "MINIMAL_SIZE",
    "MISMATCH",
    "RESAMPLE",
    "SPACE",
    "SPACING",
    "TEMPLATE",
]

_IDS: Mapping[str, Any] = {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True}
_WHICH: Mapping[str, Any] = {"default": None, "description": "Ids of explainers of the run; null: all."}

EXPLAINERS: Mapping[str, Any] = {"anyOf": [_IDS, {"type": "null"}], **_WHICH}

# The same without anyOf, for schemas in which all that may be null is written so.
EXPLAINERS_OR_NULL: Mapping[str, Any] = {**_IDS, "type": ["array", "null"], **_WHICH}

SPACE: Mapping[str, Any] = {
    "enum": ["mni", "scan"],
    "default": "mni",
    "description": "Whether the scans are registered to MNI space, or share a space of their own.",
}

MISMATCH: Mapping[str, Any] = {
    "enum": ["error", "note"],
    "default": "error",
    "description": "A scan whose head does not lie over the atlas, as if it were not registered: an error, "
    "or a note in the log.",
}

RESAMPLE: Mapping[str, Any] = {
    "type": "boolean",
    "default": False,
    "description": "Bring maps of different grids to a common grid in MNI space, linearly.",
}

SPACING: Mapping[str, Any] = {
    "type": "number",
    "minimum": 0.5,
    "maximum": 10,
    "default": 2,
    "description": "Distance in mm of the voxels of the common grid (resample: true).",
}

TEMPLATE: Mapping[str, Any] = {
    "enum": ["mni", "mean-image"],
    "default": "mni",
    "description": "What the maps are drawn over: the ICBM152 T1 template, or the mean of the scans.",
}

CONVENTION: Mapping[str, Any] = {
    "enum": ["neurological", "radiological"],
    "default": "neurological",
    "description": "Side of the picture on which the patient's left lies: left or right.",
}

MINIMAL_SIZE: Mapping[str, Any] = {
    "type": "number",
    "minimum": 0,
    "default": 0,
    "description": "Clusters smaller than this are left out of the table, in mm3.",
}
