"""Makes torchvision importable beside a CPU-only torch.

Zennit and torchmetrics import torchvision. The package index serves its CUDA build; beside a CPU-only torch the
compiled part does not load, and the import then fails with "operator torchvision::nms does not exist" because
torchvision attaches a fake implementation to an operator that only the compiled part defines. Declaring the
operators' schemas first lets the import pass; calling them still fails, which nobody here does.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["ensure_torchvision"]

# Keeps the declarations alive: they vanish with the Library object.
_declared: list[Any] = []


def ensure_torchvision() -> None:
    """Import torchvision, declaring its two missing operators where, and only where, it fails for that reason."""
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        _forget_partial_import()
        _declare()
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return  # whoever needs it says so better


def _forget_partial_import() -> None:
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]


def _declare() -> None:
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
