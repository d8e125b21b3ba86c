"""Which layers are trained in which epoch."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch import nn

from xai_core import InputError

from ._pl import pl
from .checks import unfreezing_epochs

if TYPE_CHECKING:
    from .plugin import LightningTrainer

__all__ = ["Freezing", "matched"]


def matched(model: nn.Module, pattern: str) -> set[str]:
    """Return the names of the modules that a pattern means, with all below them, and of single parameters.

    Raises:
        InputError: It means none; the layers that there are are listed.
    """
    modules = [name for name, _ in model.named_modules() if name]
    parameters = [name for name, _ in model.named_parameters()]
    hit = {name for name in (*modules, *parameters) if fnmatchcase(name, pattern)}
    below = {name for name in (*modules, *parameters) if any(name.startswith(f"{top}.") for top in hit)}
    if not hit:
        listed = [name for name, module in model.named_modules() if name and any(True for _ in module.parameters())]
        shown = ", ".join(listed[:40]) + (f" and {len(listed) - 40} below them" if len(listed) > 40 else "")
        raise InputError(
            f"training.params.freeze: the network has no layer {pattern}. It has {shown}. Take one of these, or a "
            "pattern such as layer*."
        )
    return hit | below


class Freezing(pl.Callback):
    """Takes layers out of the training for some epochs: no gradient, no weight decay, stored batch statistics.

    Args:
        params: The trainer.
        model: The network; parameters that it has frozen itself stay so.
        head: Name of its last layer, trained alone in the first ``head_epochs``.
        distributed: Whether several devices share the batches: DistributedDataParallel must see a gradient of
            every parameter, so that those of frozen ones are computed and thrown away.

    Raises:
        InputError: A pattern fits no layer, or nothing is left to train.
    """

    def __init__(self, params: LightningTrainer, model: nn.Module, head: str | None, *, distributed: bool) -> None:
        self.model, self.distributed = model, distributed
        self.head, self.head_epochs = head, params.head_epochs
        self.groups = [
            (matched(model, pattern), epoch)
            for pattern, epoch in zip(params.freeze, unfreezing_epochs(params), strict=True)
        ]
        self.trainable = [name for name, weight in model.named_parameters() if weight.requires_grad]
        for epoch in {0, self.head_epochs}:
            if not set(self.trainable) - self.frozen(epoch):
                raise InputError(
                    f"training.params.freeze ({', '.join(params.freeze)}) leaves nothing of the network to train in "
                    f"epoch {epoch}. Leave its last layer out, such as {self.trainable[-1].rpartition('.')[0]}."
                )

    def frozen(self, epoch: int) -> set[str]:
        """Return the names of the modules and parameters that are not trained in an epoch."""
        if epoch < self.head_epochs and self.head is not None:
            names = [name for name, _ in (*self.model.named_modules(), *self.model.named_parameters())]
            return {n for n in names if n and n != self.head and not n.startswith(f"{self.head}.")}
        return {name for names, until in self.groups if until is None or epoch < until for name in names}

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.apply(trainer.current_epoch)

    def apply(self, epoch: int) -> None:
        """Take out of the training what is frozen in an epoch."""
        frozen = self.frozen(epoch)
        if not self.distributed:
            self._mark(frozen)
        for name, module in self.model.named_modules():
            if hasattr(module, "running_mean") and hasattr(module, "track_running_stats"):
                module.train(name not in frozen)

    def _mark(self, frozen: set[str]) -> None:
        weights: Mapping[str, nn.Parameter] = dict(self.model.named_parameters())
        for name in self.trainable:
            weights[name].requires_grad_(name not in frozen)

    def on_before_optimizer_step(self, trainer: pl.Trainer, *_: Any) -> None:
        frozen = self.frozen(trainer.current_epoch)
        for name, weight in self.model.named_parameters():
            if name in frozen:
                weight.grad = None  # before clipping: it is not part of the gradient's norm either

    def thaw(self) -> None:
        """Leave the parameters as the network was built."""
        self._mark(set())
