"""Explainable deep learning on 3D brain MRI: the frame that components plug into.

Importing this package is light. ``Pipeline``, ``load`` and everything below ``xai_core.engine`` load torch on use.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, InputError, NotApplicable, PluginError, RunError, XaiError
from .hookspecs import hookimpl
from .interfaces import (
    Analysis,
    Component,
    Dataset,
    Evaluator,
    Executor,
    Explainer,
    Model,
    Report,
    Splitter,
    Trainer,
    Transform,
)
from .types import Attribution, Fold, RunContext, Task, TrainingResult

if TYPE_CHECKING:
    from .engine.loaded import Run, load
    from .engine.pipeline import Pipeline

# PyTorch gives large tensors back to Linux after each operation and gets them anew, page by page of 4 KiB: with a
# feature map of 100 MB that takes longer than the convolution. It then asks for huge pages. Read at its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__version__ = "0.1.0"

__all__ = [
    "Analysis", "Component", "Dataset", "Evaluator", "Executor", "Explainer", "Model", "Report", "Splitter", "Trainer",
    "Transform", "Attribution", "Fold", "RunContext", "Task", "TrainingResult", "ConfigError", "InputError",
    "NotApplicable", "PluginError", "RunError", "XaiError", "Pipeline", "Run", "hookimpl", "load",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "Pipeline":
        from .engine.pipeline import Pipeline

        return Pipeline
    if name in ("Run", "load"):
        from .engine import loaded

        return getattr(loaded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
