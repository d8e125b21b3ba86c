"""The trainer ``as-stored``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from xai_core import Trainer, TrainingResult

from .scoring import SCORING

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn
    from torch.utils.data import Dataset as TorchDataset

    from xai_core import RunContext
    from xai_core.types import Task

__all__ = ["AsStored"]


class AsStored(Trainer):
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
    scoring_params: ClassVar[frozenset[str]] = frozenset(SCORING)
    trains: ClassVar[bool] = False

    def __init__(self, *, bootstrap: int = 1000, pairwise: Mapping[str, Any] | None = None) -> None:
        self.bootstrap = bootstrap
        self.pairwise = pairwise

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:  # noqa: ARG002
        """Refuse a study that ``pairwise`` does not fit; see ``Trainer.check_study``."""
        if self.pairwise is not None:
            from ._pairwise import finer_pairs

            finer_pairs(table, classes, **self.pairwise)

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

    def metrics(
        self, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int
    ) -> dict[str, Any]:
        """Return the scores that ``lightning`` gives, for the same arguments."""
        from ._metrics import scores

        return scores(predictions, task, classes, seed, self.bootstrap, self.pairwise)
