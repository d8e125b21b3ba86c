"""Parameters that several explainers share, as parts of their JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["BASELINE", "BASELINES", "BASELINE_FILE", "LAYER", "MAX_BATCH", "SIGMA"]

BASELINES = ("background", "minimum", "zero", "blurred", "controls")

BASELINE: Mapping[str, Any] = {
    "anyOf": [{"enum": list(BASELINES)}, {"type": "number"}],
    "default": "background",
    "description": "What a volume is compared with: background (the value around the head), minimum (the least "
    "intensity), zero, blurred (the volume smoothed by a Gaussian), controls (the mean of the healthy controls in "
    "the training part), or an intensity.",
}

BASELINE_FILE: Mapping[str, Any] = {
    "type": ["string", "null"],
    "format": "path",
    "default": None,
    "description": "NIfTI or .npy file taken as the baseline instead, preprocessed and on the network's grid "
    "[D, H, W]; null: as baseline says.",
}

SIGMA: Mapping[str, Any] = {
    "type": "number",
    "exclusiveMinimum": 0,
    "default": 4.0,
    "description": "Standard deviation of the Gaussian of the baseline blurred, in voxels.",
}

LAYER: Mapping[str, Any] = {
    "type": ["string", "null"],
    "minLength": 1,
    "default": None,
    "description": "Layer whose feature maps are used, by its dotted name (layer4, layer4.1.conv2); null: the last "
    "convolution.",
}

MAX_BATCH: Mapping[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "default": 4,
    "description": "How many volumes (or points, or noisy copies) are computed at once; halved when memory runs out.",
}
