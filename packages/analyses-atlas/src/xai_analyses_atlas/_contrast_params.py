"""The parameters of ``group-contrasts``. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._atlas_params import ATLAS
from ._params import CONVENTION, EXPLAINERS, MINIMAL_SIZE, RESAMPLE, SPACE, SPACING, TEMPLATE

__all__ = ["PROPERTIES"]

_TEXT_OR_NULL: dict[str, Any] = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}]}
_NAME: dict[str, Any] = {"anyOf": [{"type": ["string", "number", "boolean"]}, {"type": "null"}]}
_VALUE: dict[str, Any] = {"type": ["string", "number", "boolean"]}

_CONTRAST: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "kind": {
            "enum": ["groups", "zero", "covariate", "explainers", "folds"],
            "default": "groups",
            "description": "groups: first - second of a column. zero: one group's mean against zero. covariate: slope "
            "on a number. explainers: first - second, each person with itself. folds: the people whom one fold's "
            "network explains against those of the others (descriptive).",
        },
        "by": {
            **_TEXT_OR_NULL,
            "default": None,
            "description": "Column of the predictions or the subjects, such as target, prediction, correct, sex, site "
            "or age. Null (zero only): everybody.",
        },
        "first": {
            **_NAME,
            "default": None,
            "description": "Group, explainer or fold. Null: each pair of groups (the later minus the earlier) or "
            "explainers, each group (zero), each fold.",
        },
        "second": {
            **_NAME,
            "default": None,
            "description": "What is subtracted. Null: everybody else who has a value; of folds the others.",
        },
        "paired": {
            "type": "boolean",
            "default": False,
            "description": "Compare people who are on both sides (two visits, two folds) with themselves; the rest is "
            "left out on record. Otherwise those on both sides are left out on record.",
        },
        "among": {
            "type": "object",
            "additionalProperties": {"anyOf": [_VALUE, {"type": "array", "items": _VALUE, "minItems": 1}]},
            "default": {},
            "description": "Only scans with these values, by column, such as {target: AD}.",
        },
        "id": {**_TEXT_OR_NULL, "default": None, "description": "Name of the files; null: made of the groups."},
    },
}

PROPERTIES: Mapping[str, Any] = {
    "contrasts": {
        "anyOf": [{"type": "array", "items": _CONTRAST, "minItems": 1}, {"type": "null"}],
        "default": None,
        "description": "What is compared; null: each pair of classes, or the slope on a regression's target.",
    },
    "explainers": EXPLAINERS,
    "normalise": {
        "enum": ["none", "sum", "maximum", "output"],
        "default": "sum",
        "description": "What each map is divided by: nothing, its sum of absolute relevance, its largest "
        "absolute relevance, or the absolute value of the explained output.",
    },
    "covariates": {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "uniqueItems": True,
        "default": [],
        "description": "Columns that are regressed out, such as age, sex or site.",
    },
    "visits": {
        "enum": ["mean", "first"],
        "default": "mean",
        "description": "Whether the maps of a person's scans are averaged, or the first session's counts.",
    },
    "variance": {
        "enum": ["auto", "equal", "unequal"],
        "default": "auto",
        "description": "Of two groups: equal (Student), unequal (Welch, without covariates only), or auto: "
        "unequal without covariates, equal with them.",
    },
    "two_sided": {
        "type": "boolean",
        "default": True,
        "description": "Whether both directions are tested, or only first > second.",
    },
    "inference": {
        "enum": ["max-t", "tfce", "none"],
        "default": "max-t",
        "description": "What is compared in the permutation test: the largest t, or threshold-free cluster "
        "enhancement (much slower).",
    },
    "permutations": {
        "type": "integer",
        "minimum": 19,
        "maximum": 1000000,
        "default": 1000,
        "description": "At most this many at random; where fewer are possible, all of them.",
    },
    "threshold": {
        "enum": ["fwe", "fdr", "p", "t", "top"],
        "default": "fwe",
        "description": "What makes a voxel count: p corrected for family-wise error (permutations) or false "
        "discovery rate, uncorrected p, |t|, or the top percent of |t|.",
    },
    "level": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 100,
        "default": 0.05,
        "description": "Where the threshold lies: a p value, a t value, or a percent.",
    },
    "minimal_size": MINIMAL_SIZE,
    "connectivity": {
        "enum": [6, 18, 26],
        "default": 6,
        "description": "Neighbours of a voxel in clusters and TFCE: by faces, edges too, or corners too.",
    },
    "atlas": {
        **ATLAS,
        "type": ["string", "object", "null"],
        "default": None,
        "description": "Names the regions of clusters: a built-in atlas ('xai atlases' lists them), or image, "
        "table and space of files. Null: no names.",
    },
    "within": {
        "enum": ["brain", "everywhere"],
        "default": "brain",
        "description": "Voxels that are tested: the MNI brain, or everywhere.",
    },
    "mask": {
        "type": ["string", "null"],
        "format": "path",
        "default": None,
        "description": "An image whose voxels above one half are tested, instead of within.",
    },
    "space": SPACE,
    "template": TEMPLATE,
    "resample": RESAMPLE,
    "spacing": SPACING,
    "convention": CONVENTION,
    "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "Of random permutations."},
}
