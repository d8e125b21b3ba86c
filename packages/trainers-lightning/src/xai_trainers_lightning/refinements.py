"""Parameters of the trainer ``lightning`` beyond the plain training. Light: texts and numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["REFINEMENTS"]

_EPOCH = {"type": "integer", "minimum": 1}

REFINEMENTS: Mapping[str, Any] = {
    "ema_decay": {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, {"type": "null"}],
        "default": None,
        "description": "Validate and keep an exponential moving average of the weights (and of the statistics of batch "
        "normalisation) over the steps of the optimizer, such as 0.999. The first steps n average over fewer: "
        "min(decay, (1 + n) / (10 + n)). null: the weights themselves.",
    },
    "freeze": {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "uniqueItems": True,
        "default": [],
        "description": "Layers that are not trained: names such as layer1, with all below, or of a single parameter; "
        "*, ? and [] as in file names. Their batch normalisation uses its stored statistics.",
    },
    "unfreeze_at_epoch": {
        "anyOf": [_EPOCH, {"type": "array", "items": _EPOCH, "minItems": 1}, {"type": "null"}],
        "default": None,
        "description": "Epoch, counted from 0, from which the frozen layers are trained, too; a list gives one for "
        "each entry of freeze, for gradual unfreezing (Howard & Ruder 2018); null: never.",
    },
    "initial_weights": {
        "type": ["string", "null"],
        "format": "path",
        "default": None,
        "description": "Weights to begin with: a checkpoint (.pt, .pth, .ckpt, .safetensors) or the folder of a fold "
        "of another run. Tensors that agree in name and shape are taken; what was not is in training.json.",
    },
    "initial_head": {
        "enum": ["new", "keep"],
        "default": "new",
        "description": "The last layer with initial_weights. new: begins anew, for another question. keep: the "
        "stored one, to go on with the same question (a regression's in the target's units).",
    },
    "head_epochs": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "First epochs in which only the last layer is trained (the first of two phases); then "
        "warm-up, scheduler and freeze begin, and epochs of the scheduler are counted.",
    },
    "head_learning_rate": {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
        "default": None,
        "description": "Learning rate of the head_epochs; null: learning_rate.",
    },
    "devices": {
        "type": "integer",
        "minimum": 1,
        "default": 1,
        "description": "GPUs of this machine (or, on a CPU, processes) that share each batch "
        "(DistributedDataParallel). Batch normalisation takes the statistics of the whole batch, so that results are "
        "those of one device.",
    },
    "loggers": {
        "type": "array",
        "items": {"enum": ["tensorboard", "mlflow"]},
        "uniqueItems": True,
        "default": ["tensorboard"],
        "description": "Where losses and scores of each epoch go besides history.csv, which is always written: "
        "tensorboard/ in the fold's folder, an MLflow store (pip install 'xai-trainers-lightning[mlflow]').",
    },
    "mlflow_uri": {
        "type": ["string", "null"],
        "default": None,
        "description": "Tracking URI of MLflow, such as http://localhost:5000; null: the environment variable "
        "MLFLOW_TRACKING_URI, else files in mlruns/ of the fold's folder. The experiment is MLFLOW_EXPERIMENT_NAME, "
        "else xai.",
    },
}
