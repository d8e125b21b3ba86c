"""The parameters of ``lrp``: their schema, and what must hold between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CONFIG_SCHEMA", "check_row"]

# What each rule takes in a row of ``rules``.
_TAKEN = {
    "epsilon": ("epsilon",),
    "gamma": ("gamma",),
    "z-plus": ("ignore_bias",),
    "alpha-beta": ("alpha", "beta", "ignore_bias"),
    "z-box": ("low", "high"),
}


def check_row(row: Mapping[str, Any]) -> None:
    rule, where = row["rule"], f"rules: {row['rule']} of {row['layers']!r}"
    stray = [key for key in row if key not in ("layers", "rule", *_TAKEN.get(rule, ()))]
    if stray:
        raise ValueError(f"{where} takes {' and '.join(_TAKEN.get(rule, ())) or 'no parameters'}, not {stray[0]}.")
    alpha, beta = row.get("alpha", 2), row.get("beta", 1)
    if rule == "alpha-beta" and abs(alpha - beta - 1) > 1e-9:
        raise ValueError(
            f"{where} has alpha {alpha} and beta {beta}: alpha - beta must be 1, or the sum of relevance changes."
        )
    if rule == "z-box" and "low" in row and "high" in row and row["low"] >= row["high"]:
        raise ValueError(f"{where}: low is {row['low']}, which is not below high, {row['high']}.")


CONFIG_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "composite": {
            "type": "string",
            "enum": [
                "epsilon",
                "epsilon-plus",
                "epsilon-plus-flat",
                "epsilon-alpha2-beta1",
                "epsilon-alpha2-beta1-flat",
                "epsilon-gamma",
                "epsilon-gamma-box",
                "sequential-preset-a",
                "sequential-preset-b",
                "innvestigate-sequential-preset-a",
                "innvestigate-sequential-preset-b",
                "innvestigate-epsilon",
                "innvestigate-z",
                "innvestigate-alpha1-beta0",
            ],
            "default": "epsilon-plus",
            "description": "Which rule each kind of layer gets. innvestigate-...: as iNNvestigate 2.1.2 computes it, "
            "mistakes included, to give published maps back; sequential-preset-...: the same done right.",
        },
        "epsilon": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 1e-6,
            "description": "Added to the magnitude of the denominators of the epsilon rule.",
        },
        "gamma": {
            "type": "number",
            "minimum": 0,
            "default": 0.25,
            "description": "How much more positive than negative weights count in the gamma rule.",
        },
        "low": {
            "type": ["number", "null"],
            "default": None,
            "description": "Lowest value that a voxel can have, for the box rule; null: the minimum of "
            "each volume and channel.",
        },
        "high": {
            "type": ["number", "null"],
            "default": None,
            "description": "Highest value that a voxel can have, for the box rule; null: the maximum of "
            "each volume and channel.",
        },
        "ignore_bias": {
            "type": "boolean",
            "default": False,
            "description": "Whether biases of convolutions are left out of the denominators, so that "
            "they take no relevance; for the composites with plus or alpha2-beta1.",
        },
        "rules": {
            "type": ["array", "null"],
            "default": None,
            "description": "Other rules for some layers; the last entry that fits a layer counts.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["layers", "rule"],
                "properties": {
                    "layers": {
                        "type": "string",
                        "minLength": 1,
                        "description": "Pattern of module names, such as conv1 or layer4.*",
                    },
                    "rule": {
                        "enum": [
                            "epsilon",
                            "gamma",
                            "z-plus",
                            "alpha-beta",
                            "flat",
                            "w-square",
                            "z-box",
                            "pass",
                        ],
                        "description": "The rule of these layers.",
                    },
                    "epsilon": {"type": "number", "exclusiveMinimum": 0, "description": "Of the epsilon rule."},
                    "gamma": {"type": "number", "minimum": 0, "description": "Of the gamma rule."},
                    "alpha": {"type": "number", "minimum": 1, "description": "Of alpha-beta; default: 2."},
                    "beta": {"type": "number", "minimum": 0, "description": "Of alpha-beta; default: 1."},
                    "low": {"type": "number", "description": "Lower bound of z-box."},
                    "high": {"type": "number", "description": "Upper bound of z-box."},
                    "ignore_bias": {"type": "boolean", "description": "Of z-plus and alpha-beta."},
                },
            },
        },
        "start": {
            "enum": ["logit", "one", "probability"],
            "default": "logit",
            "description": "What relevance begins with: the output, 1, or the softmax of the outputs.",
        },
        "contrast": {
            "anyOf": [{"type": "integer", "minimum": 0}, {"const": "rest"}, {"type": "null"}],
            "default": None,
            "description": "Output that is subtracted from the explained one, or rest: the mean of all others.",
        },
        "reference": {
            "type": ["number", "null"],
            "default": None,
            "description": "For a regression: relevance begins with output - reference.",
        },
        "layer_sums": {
            "type": "boolean",
            "default": False,
            "description": "Whether the sidecar holds the sum of relevance of every layer, with its rule.",
        },
    },
}
