"""Where the scalars of each epoch go besides ``history.csv``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from xai_core import RunContext

    from .plugin import LightningTrainer

__all__ = ["Logger", "open_loggers"]


class Logger(Protocol):
    """Takes the scalars of each epoch."""

    def write(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Take the scalars of an epoch, counted from 0."""

    def close(self) -> None:
        """Finish writing."""


def open_loggers(params: LightningTrainer, context: RunContext) -> list[Logger]:
    """Return the loggers that ``params.loggers`` names."""
    kinds: dict[str, Callable[[LightningTrainer, RunContext], Logger]] = {
        "tensorboard": _TensorBoard,
        "mlflow": _MLflow,
    }
    return [kinds[name](params, context) for name in params.loggers]


class _TensorBoard:
    def __init__(self, _params: LightningTrainer, context: RunContext) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(context.folder / "tensorboard"))

    def write(self, epoch: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    """One MLflow run for each fold; by the client alone, since the module-wide active run may be the user's."""

    def __init__(self, params: LightningTrainer, context: RunContext) -> None:
        # MLflow 3 opens plain files only on request; they need no server and no database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient  # type: ignore[import-not-found, unused-ignore]

        files = (context.folder.resolve() / "mlruns").as_uri()
        uri = params.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or files
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "xai")
        self._client = MlflowClient(tracking_uri=uri)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known is not None else self._client.create_experiment(name)
        tags: dict[str, Any] = {"mlflow.runName": f"fold-{context.fold}"}
        self._run = self._client.create_run(experiment, tags=tags).info.run_id
        for key, value in {**vars(params), "seed": context.seed, "fold": context.fold}.items():
            self._client.log_param(self._run, key, str(value)[:500])

    def write(self, epoch: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._client.log_metric(self._run, name, value, step=epoch)

    def close(self) -> None:
        self._client.set_terminated(self._run)
