"""Weights of classes and of scans in the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.data import Dataset

from xai_core import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from xai_core import RunContext

    from ._data import TensorData
    from .plugin import LightningTrainer

__all__ = ["Weighted", "absent_classes", "class_weights", "sample_weights"]


class Weighted(Dataset[Any]):
    """Scans with their weights: items are (volume, target, weight float32 0-d)."""

    def __init__(self, items: TensorData, weights: Tensor) -> None:
        self.items, self.weights = items, weights

    def __len__(self) -> int:
        return len(cast(Sized, self.items))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        volume, target = self.items[index]
        return volume, target, self.weights[index]


def absent_classes(targets: Tensor, classes: tuple[str, ...]) -> list[str]:
    """Return the classes that none of the targets [N] is of."""
    counts = torch.bincount(targets.long(), minlength=len(classes))
    return [name for name, count in zip(classes, counts.tolist(), strict=False) if count == 0]


def class_weights(
    params: LightningTrainer, targets: Tensor, scans: Tensor | None, context: RunContext
) -> Tensor | None:
    """Return the weights float32 [K] of the classes, or None where all weigh the same.

    ``balanced`` gives n / (K * n_k) of the training part (King & Zeng 2001). With scan weights, their sums take the
    place of the counts: weights that balance the classes already are not balanced a second time.

    Raises:
        InputError: A class has no training scan.
    """
    if context.classes is None:
        return None
    missing = absent_classes(targets, context.classes)
    if missing:
        raise InputError(
            f"The training part of fold {context.fold} has no scan of class {', '.join(missing)}, so it "
            "cannot be learned. Use fewer folds or a stratified split, or leave the class out of the study."
        )
    if not isinstance(params.class_weights, str):
        return torch.tensor([float(params.class_weights[name]) for name in context.classes])
    if params.class_weights == "none":
        return None
    weights = None if scans is None else scans.double()
    counts = torch.bincount(targets.long(), weights=weights, minlength=len(context.classes))
    total = float(counts.sum()) if scans is not None else len(targets)
    return (total / (len(context.classes) * counts.float())).float()


def sample_weights(params: LightningTrainer, train: TensorData, context: RunContext) -> Tensor | None:
    """Return the weights float32 [N] of the training scans, of mean one, or None.

    Raises:
        InputError: The data come without covariates, lack the column, or a value in it is missing.
    """
    if params.sample_weights is None:
        return None
    rows: Sequence[Mapping[str, Any]] | None = getattr(train, "covariates", None)
    columns = [params.sample_weights] if isinstance(params.sample_weights, str) else list(params.sample_weights)
    lacking = columns if rows is None else [c for c in columns if any(row.get(c) is None for row in rows)]
    if rows is None or lacking:
        raise InputError(
            f"training.params.sample_weights: not every training scan of fold {context.fold} has {', '.join(lacking)}. "
            "Fill the column in, or leave sample_weights out."
        )
    if isinstance(params.sample_weights, str):
        values = [float(row[params.sample_weights]) for row in rows]
    else:
        groups = [tuple(row[column] for column in columns) for row in rows]
        sizes = Counter(groups)
        values = [1 / sizes[group] for group in groups]
    weights = torch.tensor(values, dtype=torch.float64)
    if not bool((torch.isfinite(weights) & (weights > 0)).all()):
        raise InputError(f"training.params.sample_weights: {', '.join(columns)} must hold positive numbers only.")
    return (weights / weights.mean()).float()
