"""Parameters of the trainer ``lightning``. Light: texts and numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .scoring import SCORING

__all__ = ["PROPERTIES"]

PROPERTIES: Mapping[str, Any] = {
    "epochs": {"type": "integer", "minimum": 1, "default": 30, "description": "Most epochs to train for."},
    "batch_size": {
        "type": "integer",
        "minimum": 1,
        "default": 4,
        "description": "Scans in a batch. A last training batch of one scan is left out of its epoch: batch "
        "normalisation has no statistics of one.",
    },
    "learning_rate": {
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 1e-4,
        "description": "Step size of the optimizer; the peak where a scheduler varies it.",
    },
    "weight_decay": {
        "type": "number",
        "minimum": 0,
        "default": 0,
        "description": "L2 penalty (adamw: decoupled).",
    },
    "optimizer": {
        "enum": ["adam", "adamw", "sgd"],
        "default": "adam",
        "description": "Optimizer; sgd has Nesterov momentum 0.9.",
    },
    "scheduler": {
        "enum": ["none", "cosine", "one-cycle"],
        "default": "none",
        "description": "Learning rate over time: constant, cosine to zero at the last epoch, or one cycle "
        "with warm-up.",
    },
    "loss": {
        "enum": ["mse", "mae", "huber"],
        "default": "mse",
        "description": "Loss of a regression; a classification uses cross entropy.",
    },
    "class_weights": {
        "enum": ["balanced", "none"],
        "default": "balanced",
        "description": "balanced: cross entropy weights each class by n / (classes * n of the class) of the "
        "training part.",
    },
    "target_scaling": {
        "enum": ["standardise", "none"],
        "default": "standardise",
        "description": "Regression. standardise: train on z-scores of the training targets and fold their "
        "mean and standard deviation into the last layer afterwards, so that the network itself gives the "
        "target's units. none: train in these units, as for fine-tuning a network that gives them already.",
    },
    "monitor": {
        "enum": ["val_loss", "val_balanced_accuracy", "val_auc", "val_mae", "val_r", "train_loss"],
        "default": "val_loss",
        "description": "What the best epoch is chosen by; a tie goes to the lower val_loss, then to the earlier epoch. "
        "train_loss needs no validation part and does not notice overfitting; some earlier studies used it.",
    },
    "early_stopping": {
        "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
        "default": None,
        "description": "Stop after this many epochs without a better monitor; null: train for all epochs.",
    },
    "min_delta": {
        "type": "number",
        "minimum": 0,
        "default": 0,
        "description": "Early stopping: only a monitor that is better by more than this counts as better. The best "
        "weights are kept whatever the difference.",
    },
    "accumulate": {
        "type": "integer",
        "minimum": 1,
        "default": 1,
        "description": "Batches whose gradients are added up before each step of the optimizer.",
    },
    "gradient_clip": {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
        "default": None,
        "description": "Largest norm of the gradient; null: no clipping.",
    },
    "workers": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "Processes that load scans; 0: the main process. Results do not depend on it.",
    },
    "precision": {
        "enum": ["32-true", "bf16-mixed", "16-mixed"],
        "default": "32-true",
        "description": "Floating-point precision of training. The weights are float32 in all three.",
    },
    **SCORING,
}
