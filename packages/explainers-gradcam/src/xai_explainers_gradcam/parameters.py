"""Parameters that several explainers share, as parts of their JSON Schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["BASELINE", "BASELINES", "BASELINE_FILE", "LAYER", "MAX_BATCH", "MAX_POINTS", "SIGMA", "START"]

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

MAX_POINTS: Mapping[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "default": 800,
    "description": "Most points for a volume whose relevance misses more than 10 % of output - baseline output with "
    "fewer; one that misses more even then is refused.",
}

START: Mapping[str, Any] = {
    "enum": ["logit", "one", "probability"],
    "default": "one",
    "description": "What the way back through the network begins with at the explained output: one (the gradient), "
    "logit (the output itself) or probability (its softmax; networks with several classes).",
}
