"""The network as Lightning trains it: loss, validation scores, optimizer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from xai_core import InputError, RunError

from ._optimizer import make_optimizer
from ._pl import pl
from ._scaling import TargetScale
from ._scores import validation_scores
from ._shards import Share

if TYPE_CHECKING:
    from torch import Tensor

    from xai_core import RunContext

    from ._loss import Objective
    from .plugin import LightningTrainer

    Batch = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]

__all__ = ["Supervised"]


class Supervised(pl.LightningModule):
    """A classification by class indices, or a regression on standardised values.

    Losses in the history are those of all scans of the epoch at once, not means over batches, which would
    depend on the size of the last batch and on the classes in each.

    Args:
        params: The trainer.
        model: The network.
        context: Of the fold.
        objective: The loss.
        scale: Of the targets of a regression.
        share: Which of how many devices this process works for.
        scans: Number of training scans.
    """

    def __init__(
        self,
        params: LightningTrainer,
        model: nn.Module,
        context: RunContext,
        objective: Objective,
        scale: TargetScale,
        share: Share = Share(),  # noqa: B008 - frozen
        scans: int = 0,
    ) -> None:
        super().__init__()
        self.params, self.model, self.context, self.scale = params, model, context, scale
        self.objective, self.share, self.scans = objective, share, scans
        self._seen: dict[str, list[tuple[Tensor, Tensor, Tensor | None]]] = {"train": [], "val": []}

    def _outputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Outputs and targets as the loss compares them, and the scans' weights."""
        volumes, targets, *rest = batch
        outputs = self.model(volumes)
        self._check_shape(outputs, len(targets))
        return (*self._comparable(outputs, targets), rest[0] if rest else None)

    def loss_of(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, 0-d, and remember nothing."""
        return self.objective.of_batch(*self._outputs(batch))

    def _step(self, batch: Batch, part: str) -> Tensor:
        outputs, targets, weights = self._outputs(batch)
        loss = self.objective.of_batch(outputs, targets, weights)
        if not torch.isfinite(loss):
            raise RunError(self._not_finite(batch[0], float(loss.detach()), part))
        seen = (outputs.detach(), targets, weights)
        if self.share.ranks > 1:  # they are sent from process to process
            seen = tuple(None if tensor is None else tensor.cpu() for tensor in seen)  # type: ignore[assignment]
        self._seen[part].append(seen)
        return loss

    def _comparable(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 logits [N, K] and class indices [N], or standardised outputs and targets [N]."""
        if self.context.task == "classification":
            return outputs.float(), targets.long()
        return outputs.float()[:, 0], self.scale.to_z(targets.float())

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self._step(batch, "train")
        if self.share.ranks == 1:
            return loss
        # The devices' gradients are averaged as if their pieces had the same size.
        size = min(self.params.batch_size, self.scans - index * self.params.batch_size)
        return loss * (len(batch[1]) * self.share.ranks / size)

    def validation_step(self, batch: Batch, _index: int) -> None:
        self._step(batch, "val")

    def close_epoch(self) -> dict[str, float]:
        """Return the scalars of the epoch that has just ended, over all devices, and forget its outputs."""
        scalars: dict[str, float] = {}
        for part, seen in self._seen.items():
            everything = self.share.gathered(seen)
            if not everything:
                continue
            outputs, targets, weights = (_joined(column, self.device) for column in zip(*everything, strict=True))
            assert outputs is not None
            assert targets is not None
            scalars[f"{part}_loss"] = float(self.objective.of_part(outputs, targets, weights))
            if part == "val":
                scalars.update(self._validation_scores(outputs.cpu(), targets.cpu()))
            seen.clear()
        return scalars

    def _validation_scores(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        if self.context.task == "regression":
            outputs, targets = self.scale.to_units(outputs), self.scale.to_units(targets)
        return validation_scores(outputs.numpy(), targets.numpy(), self.context.task)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # The rate is set anew before each batch.
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        return make_optimizer(self.params, weights, 1.0)

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
                f"({self.params.learning_rate}) or set training.params.gradient_clip."
            )
        name = "training" if part == "train" else "validation"
        return (
            f"Training of fold {self.context.fold} failed: the {name} loss became {loss} in epoch "
            f"{self.current_epoch + 1} of {self.params.epochs}. {cause}"
        )


def _joined(column: Sequence[Tensor | None], device: torch.device) -> Tensor | None:
    """The batches' tensors one after the other; None where batches come without."""
    tensors = [tensor for tensor in column if tensor is not None]
    return torch.cat(tensors).to(device) if tensors else None
