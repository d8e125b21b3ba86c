"""The trainer ``as-stored``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from xai_core import TrainingResult

from .scoring import SCORING, BiasCorrection, Calibration, ScoredTrainer

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import Dataset as TorchDataset

    from xai_core import RunContext

__all__ = ["AsStored"]


class AsStored(ScoredTrainer):
    """No training: the weights that the model has loaded, to test and explain a network trained elsewhere.

    For a model with stored weights (``keras``, or any with a parameter ``weights`` and its own output layer). Every
    fold has the same network, so a cross-validation only serves to test everybody. Nobody here can know whom the
    network was trained on: scores of people from its training mean nothing.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": SCORING,
    }
    trains: ClassVar[bool] = False

    def __init__(
        self,
        *,
        bootstrap: int = 1000,
        pairwise: Mapping[str, Any] | None = None,
        by: Sequence[str] | None = None,
        permutations: int = 1000,
        calibration: Calibration = "none",
        bias_correction: BiasCorrection = "none",
    ) -> None:
        self.bootstrap = bootstrap
        self.pairwise = pairwise
        self.by = by
        self.permutations = permutations
        self.calibration = calibration
        self.bias_correction = bias_correction

    def train(
        self,
        model: nn.Module,
        train: TorchDataset[tuple[Tensor, Tensor]],  # noqa: ARG002 - the interface's
        validation: TorchDataset[tuple[Tensor, Tensor]] | None,  # noqa: ARG002
        context: RunContext,  # noqa: ARG002
    ) -> TrainingResult:
        """Leave the model as it is, in evaluation mode; the data are not read."""
        model.eval()
        return TrainingResult(history=[{"epoch": 0}], best_epoch=0)
