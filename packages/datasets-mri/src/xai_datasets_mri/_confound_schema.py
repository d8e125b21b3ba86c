"""Parameters that the transforms against confounds share. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xai_core import ConfigError

__all__ = ["check_names", "fit_on_column", "fit_on_schema", "names"]

# What a subject holds besides covariates.
_RESERVED = {"image", "ground_truth", "target", "subject_id", "session_id", "scan_id"}


def names(description: str, *, minimum: int = 0, **default: object) -> dict[str, Any]:
    """Return the schema of a list of columns."""
    item = {"type": "string", "minLength": 1}
    return {"type": "array", "items": item, "minItems": minimum, "uniqueItems": True, **default,
            "description": description}  # fmt: skip


def fit_on_schema(default: str) -> dict[str, Any]:
    """Return the schema of whom a transform is fitted to."""
    chosen: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "column": {"type": "string", "minLength": 1, "description": "A covariate, or target."},
            "values": {
                "type": "array",
                "items": {"type": ["string", "number"]},
                "minItems": 1,
                "description": "Its values of the people who count.",
            },
        },
        "required": ["column", "values"],
        "additionalProperties": False,
    }
    return {
        "anyOf": [{"enum": ["controls", "all"]}, chosen],
        "default": default,
        "description": "People of the training part who are fitted to: controls (those of the target that has a "
        "usual name of controls, such as CN or HC), all, or {column: diagnosis, values: [CN]}.",
    }


def fit_on_column(fit_on: str | Mapping[str, Any]) -> list[str]:
    """Return the column that ``fit_on`` names, if it names one."""
    return [] if isinstance(fit_on, str) else [str(fit_on["column"])]


def check_names(step: str, covariates: Sequence[str], categorical: Sequence[str]) -> None:
    """Refuse names that are no covariates.

    Raises:
        ConfigError: A covariate is the target or an id, or a category is no covariate.
    """
    reserved = sorted(_RESERVED & set(covariates))
    if reserved:
        raise ConfigError(f"{step}: {reserved[0]} is no covariate; what is to be predicted must not be removed by it.")
    foreign = sorted(set(categorical) - set(covariates))
    if foreign:
        raise ConfigError(f"{step}: categorical names {foreign[0]}, which is not among its covariates.")
