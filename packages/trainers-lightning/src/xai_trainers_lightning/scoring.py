"""Parameters that say how test scores are made. Light: texts and numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["SCORING"]

# How test scores are made; of every trainer of this package.
SCORING: Mapping[str, Any] = {
    "bootstrap": {
        "anyOf": [{"type": "integer", "minimum": 100}, {"const": 0}],
        "default": 1000,
        "description": "Resamples of the people behind each 95 % interval of the test scores; 0: none.",
    },
    "pairwise": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "column": {"type": "string", "minLength": 1, "description": "Covariate with the finer groups."},
            "against": {"type": ["string", "integer"], "description": "The group that the others are compared with."},
        },
        "required": ["column", "against"],
        "default": None,
        "description": "Test scores of two classes also for each finer group against one, such as {column: diagnosis, "
        "against: CN}: those of AD against CN, of MCI against CN.",
    },
}
