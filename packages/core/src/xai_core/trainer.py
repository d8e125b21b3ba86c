"""The interface of trainers; see ``interfaces`` for those of the other kinds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .component import Component
from .types import RunContext, Task, TrainingResult

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn
    from torch.utils.data import Dataset as TorchDataset

__all__ = ["Trainer"]


class Trainer(Component):
    """Fits a network to a study.

    Attributes:
        scoring_params: Names of parameters that only ``metrics``, ``tables`` and ``calibrate`` read. Changing one
            scores anew, but does not train anew.
        trains: Whether ``train`` changes weights. Where it does not, a model with random weights is refused.
    """

    scoring_params: ClassVar[frozenset[str]] = frozenset()
    trains: ClassVar[bool] = True

    def covariates(self) -> Sequence[str]:
        """Return the columns of the study's table that ``train`` reads, from ``train.covariates``. Default: none.

        Another value there trains anew; columns that are not named here are not in ``train.covariates``.
        """
        return ()

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
        """Refuse a study that the parameters do not fit; called before anything is trained. Default: nothing.

        Args:
            table: One row for each scan: ``scan_id``, ``subject_id``, ``target`` and the covariates.
            task: ``"classification"`` or ``"regression"``.
            classes: Class names, the positive class of a binary study last; None for a regression.

        Raises:
            InputError: It does not fit; the message names the parameter.
        """
        return

    @abstractmethod
    def train(
        self,
        model: nn.Module,
        train: TorchDataset[tuple[Tensor, Tensor]],
        validation: TorchDataset[tuple[Tensor, Tensor]] | None,
        context: RunContext,
    ) -> TrainingResult:
        """Train ``model`` in place and leave it with its best weights.

        Args:
            model: The network, freshly built, on the CPU.
            train: Sized; items are (volume float32 [C, D, H, W], target: int64 class index or float32 value, 0-d).
            validation: The same for the validation part, or None.
            context: Folder, device, seed, task and class names.
        """

    def metrics(
        self, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int
    ) -> dict[str, Any]:
        """Return the scores of the test people. This default gives accuracy or mean absolute error only.

        Args:
            predictions: One row for each test scan: ``fold``, ``subject_id``, ``target``, ``prediction``, for a
                classification ``probability_<class>`` for each class, and the scan's covariates.
            task: ``"classification"`` or ``"regression"``.
            classes: Class names, the positive class of a binary study last; None for a regression.
            seed: Seed of resampling.

        Returns:
            JSON-serialisable. A score with an interval is ``{"value": v, "low": l, "high": h}``.
        """
        if task == "classification":
            return {"accuracy": {"value": float((predictions["target"] == predictions["prediction"]).mean())}}
        return {"mae": {"value": float((predictions["target"] - predictions["prediction"]).abs().mean())}}

    def tables(
        self, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int
    ) -> Mapping[str, pd.DataFrame]:
        """Return tables for the files ``<name>.tsv`` beside ``metrics.tsv``: curves, scores by group. Default: none.

        Args:
            predictions: As for ``metrics``, of all test people; ``fold`` is lacking where the folds' mean is scored.
            task: ``"classification"`` or ``"regression"``.
            classes: Class names, the positive class of a binary study last; None for a regression.
            seed: Seed of resampling.
        """
        return {}

    def validation_needed(self, task: Task) -> int:
        """Return how many validation scans ``calibrate`` needs in each fold; with fewer the study is refused early.

        Default: 0.
        """
        return 0

    def calibrate(
        self, validation: pd.DataFrame, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None
    ) -> pd.DataFrame:
        """Return one fold's predictions with further columns, such as calibrated probabilities. Default: none.

        Whatever is learnt for them is learnt from the fold's validation people, never from ``predictions``: these are
        its test people, or those of the held-out cohort.

        Args:
            validation: As for ``metrics``, of the fold's validation scans; no rows where there are none.
            predictions: As for ``metrics``, of the scans whose rows become wider. Its rows and columns stay as they
                are and where they are.
            task: ``"classification"`` or ``"regression"``.
            classes: Class names, the positive class of a binary study last; None for a regression.
        """
        return predictions
