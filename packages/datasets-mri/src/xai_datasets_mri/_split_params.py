"""Parameters that several splitters share. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["FOLDS", "MATCH", "STRATIFY", "TEST_ONLY", "VALIDATION"]

FOLDS: Mapping[str, Any] = {"type": "integer", "minimum": 2, "default": 5, "description": "Number of folds."}

VALIDATION: Mapping[str, Any] = {
    "type": "number",
    "minimum": 0,
    "exclusiveMaximum": 1,
    "default": 0.15,
    "description": "Fraction of a fold's training part for the choice of the best weights; 0: none.",
}

STRATIFY: Mapping[str, Any] = {
    "type": ["array", "null"],
    "items": {"type": "string", "minLength": 1},
    "uniqueItems": True,
    "default": None,
    "description": "Columns that are dealt out evenly besides the target, the most important one first, such as "
    "[sex, site, age]; combinations that are too rare are joined. Null: the target alone.",
}

TEST_ONLY: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "column": {"type": "string", "minLength": 1, "description": "Column of the study's table."},
        "values": {
            "type": "array",
            "items": {"type": ["string", "integer"]},
            "minItems": 1,
            "uniqueItems": True,
            "description": "Values that mark a held-out scan.",
        },
    },
    "required": ["column", "values"],
    "default": None,
    "description": "Cohort that is only ever tested, such as {column: cohort, values: [ADNI3]}: its people are in no "
    "part of any fold, every fold's network predicts them, and they are scored apart (held-out/).",
}

MATCH: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "columns": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "exact"}]},
            "description": "For each column the largest difference of a pair (its caliper), or exact.",
        },
        "controls": {
            "type": ["string", "null"],
            "minLength": 1,
            "default": None,
            "description": "Class of the controls; everybody else is a patient. Null: the one that is called CN, HC, "
            "control or the like.",
        },
        "parts": {
            "type": "array",
            "items": {"enum": ["train", "val", "test", "held_out"]},
            "minItems": 1,
            "uniqueItems": True,
            "default": ["train", "val", "test"],
            "description": "Parts of each fold in which controls are matched; each part by itself.",
        },
        "ratio": {"type": "integer", "minimum": 1, "default": 1, "description": "Controls for each patient at most."},
        "method": {
            "enum": ["optimal", "nearest"],
            "default": "optimal",
            "description": "optimal: as many pairs as can be, with the smallest sum of distances; nearest: one patient "
            "after the other, in random order, takes the nearest control that is left.",
        },
    },
    "required": ["columns"],
    "default": None,
    "description": "Match controls to patients, such as {columns: {age: 5, sex: exact}}: whoever has no partner is "
    "left out of the part; the log says who, and how alike the groups are before and after.",
}
