"""The network as Lightning trains it: loss, validation scores, optimizer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from xai_core import InputError, RunError

from ._pl import pl
from ._scaling import TargetScale
from ._scores import validation_scores

if TYPE_CHECKING:
    from torch import Tensor

    from xai_core import RunContext

    from .plugin import LightningTrainer

__all__ = ["Supervised"]

_LOSSES = {"mse": nn.MSELoss, "mae": nn.L1Loss, "huber": nn.HuberLoss}


class Supervised(pl.LightningModule):
    """Cross entropy on class indices or a regression loss on standardised values.

    Losses in the history are those of all scans of the epoch at once, not means over batches, which would
    depend on the size of the last batch and on the classes in each.
    """

    def __init__(
        self,
        params: LightningTrainer,
        model: nn.Module,
        context: RunContext,
        class_weights: Tensor | None,
        scale: TargetScale,
    ) -> None:
        super().__init__()
        self.params, self.model, self.context, self.scale = params, model, context, scale
        self.criterion = (
            nn.CrossEntropyLoss(class_weights) if context.task == "classification" else _LOSSES[params.loss]()
        )
        self._seen: dict[str, list[tuple[Tensor, Tensor]]] = {"train": [], "val": []}

    def _step(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        volumes, targets = batch
        outputs = self.model(volumes)
        self._check_shape(outputs, len(targets))
        outputs, targets = self._comparable(outputs, targets)
        loss = self._batch_loss(outputs, targets)
        if not torch.isfinite(loss):
            raise RunError(self._not_finite(volumes, float(loss.detach()), part))
        self._seen[part].append((outputs.detach(), targets))
        return loss

    def _comparable(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 logits [N, K] and class indices [N], or standardised outputs and targets [N]."""
        if self.context.task == "classification":
            return outputs.float(), targets.long()
        return outputs.float()[:, 0], self.scale.to_z(targets.float())

    def _batch_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over scans, class weights included.

        torch divides a weighted cross entropy by the sum of the weights in the batch, which takes away their
        effect in small batches (entirely so in a batch of one).
        """
        if isinstance(self.criterion, nn.CrossEntropyLoss):
            return F.cross_entropy(outputs, targets, self.criterion.weight, reduction="none").mean()
        loss: Tensor = self.criterion(outputs, targets)
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        self._step(batch, "val")

    def close_epoch(self) -> dict[str, float]:
        """Return the scalars of the epoch that has just ended and forget its outputs."""
        scalars: dict[str, float] = {}
        for part, seen in self._seen.items():
            if not seen:
                continue
            outputs, targets = (torch.cat(column) for column in zip(*seen, strict=True))
            scalars[f"{part}_loss"] = float(self.criterion(outputs, targets))
            if part == "val":
                scalars.update(self._validation_scores(outputs.cpu(), targets.cpu()))
            seen.clear()
        return scalars

    def _validation_scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        if self.context.task == "regression":
            outputs, targets = self.scale.to_units(outputs), self.scale.to_units(targets)
        return validation_scores(outputs.numpy(), targets.numpy(), self.context.task)

    def configure_optimizers(self) -> Any:
        p = self.params
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        optimizer: torch.optim.Optimizer
        if p.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                weights, p.learning_rate, momentum=0.9, nesterov=True, weight_decay=p.weight_decay
            )
        else:
            kind = torch.optim.AdamW if p.optimizer == "adamw" else torch.optim.Adam
            optimizer = kind(weights, p.learning_rate, weight_decay=p.weight_decay)
        if p.scheduler == "cosine":
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=p.epochs)]
        if p.scheduler == "one-cycle":
            steps = int(self.trainer.estimated_stepping_batches)
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, p.learning_rate, total_steps=steps)
            return [optimizer], [{"scheduler": cycle, "interval": "step"}]
        return optimizer

    def _check_shape(self, outputs: Tensor, batch: int) -> None:
        classes = self.context.classes
        expected = (batch, len(classes) if classes is not None else 1)
        if tuple(outputs.shape) != expected:
            study = f"classes {', '.join(classes)}" if classes is not None else "one value to predict"
            raise InputError(
                f"The model gives outputs of shape {list(outputs.shape)} for {batch} scans, but the study "
                f"has {study}: {list(expected)} is needed. Choose a model or weights that fit."
            )

    def _not_finite(self, volumes: Tensor, loss: float, part: str) -> str:
        voxels = volumes.detach().float()
        low, high = float(voxels.min()), float(voxels.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            cause = "This batch holds voxels that are not finite: look for the scan and its preprocessing."
        else:
            cause = (
                f"This batch's intensities go from {low:.4g} to {high:.4g}: if they are not of the order of "
                "one, add a transform that normalises them; otherwise lower training.params.learning_rate "
                f"({self.params.learning_rate:g}) or set training.params.gradient_clip."
            )
        name = "training" if part == "train" else "validation"
        return (
            f"Training of fold {self.context.fold} failed: the {name} loss became {loss} in epoch "
            f"{self.current_epoch + 1} of {self.params.epochs}. {cause}"
        )
