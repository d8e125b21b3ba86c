"""Parameters of the trainer ``lightning``. Light: texts and numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .refinements import REFINEMENTS
from .scoring import SCORING

__all__ = ["PROPERTIES"]

PROPERTIES: Mapping[str, Any] = {
    "epochs": {"type": "integer", "minimum": 1, "default": 30, "description": "Most epochs to train for."},
    "batch_size": {
        "type": "integer",
        "minimum": 1,
        "default": 4,
        "description": "Scans in a batch, on all devices together. A last training batch of one scan (or of fewer "
        "scans than devices) is left out of its epoch: batch normalisation has no statistics of one.",
    },
    "learning_rate": {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "auto"}],
        "default": 1e-4,
        "description": "Step size of the optimizer; the peak where a scheduler varies it. auto: found in each fold by "
        "a learning-rate range test on the training part (Smith 2017); its curve is in lr_finder.csv and .png.",
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
        "enum": ["none", "cosine", "one-cycle", "step", "plateau"],
        "default": "none",
        "description": "Learning rate over time: constant; cosine to zero at the last epoch; one cycle with its own "
        "warm-up (Smith & Topin 2018); step: times scheduler_factor every scheduler_epochs; plateau: times "
        "scheduler_factor after scheduler_epochs epochs without a better monitor.",
    },
    "scheduler_epochs": {
        "type": "integer",
        "minimum": 1,
        "default": 10,
        "description": "Scheduler step: epochs between two steps. plateau: epochs without a better monitor, also since "
        "the last step, before each step.",
    },
    "scheduler_factor": {
        "type": "number",
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "default": 0.1,
        "description": "Schedulers step and plateau: what each step multiplies the learning rate by.",
    },
    "warmup_epochs": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "First epochs in which the learning rate grows linearly, from step to step, to its full value "
        "(Goyal et al. 2017); the scheduler begins after them.",
    },
    "loss": {
        "enum": ["auto", "cross-entropy", "focal", "mse", "mae", "huber"],
        "default": "auto",
        "description": "Of a classification: cross-entropy (auto) or focal (Lin et al. 2017). Of a regression: mse "
        "(auto), mae or huber.",
    },
    "focal_gamma": {
        "type": "number",
        "minimum": 0,
        "default": 2.0,
        "description": "Focusing parameter of the focal loss -(1 - p)^gamma log p; 0: cross entropy.",
    },
    "label_smoothing": {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "default": 0,
        "description": "Cross entropy: share of each target that is spread evenly over all classes "
        "(Szegedy et al. 2016).",
    },
    "class_weights": {
        "anyOf": [
            {"enum": ["balanced", "none"]},
            {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}, "minProperties": 1},
        ],
        "default": "balanced",
        "description": "Weights of the classes in the loss. balanced: n / (classes * n of the class) of the training "
        "part (sums of sample_weights in place of counts where these are given). A mapping gives the weight of every "
        "class by name.",
    },
    "sample_weights": {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "uniqueItems": True},
            {"type": "null"},
        ],
        "default": None,
        "description": "Weights of the training scans in the loss. The name of a column of positive numbers (scaled to "
        "a mean of one), or a list of columns, such as [site, target], whose combinations get equal total weights. "
        "val_loss is without them.",
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
    **REFINEMENTS,
    "workers": {
        "type": "integer",
        "minimum": 0,
        "default": 0,
        "description": "Processes that load scans (for each device); 0: the main process. Results do not depend on it.",
    },
    "precision": {
        "enum": ["32-true", "bf16-mixed", "16-mixed"],
        "default": "32-true",
        "description": "Floating-point precision of training. The weights are float32 in all three.",
    },
    **SCORING,
}
