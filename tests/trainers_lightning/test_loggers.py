"""Loggers besides history.csv."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from xai_core import ConfigError
from xai_core.registry import create

CLASSES = torch.tensor([0, 1] * 9)


def test_no_logger_writes_no_file(blobs: Any, network: Any, context: Any) -> None:
    ctx = context()
    create("trainer", "lightning", epochs=1, loggers=[]).train(network(2), blobs(CLASSES, 1), None, ctx)
    assert [path.name for path in ctx.folder.iterdir()] == ["curves.png"]


def test_mlflow_gets_parameters_and_every_epoch(
    blobs: Any, network: Any, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a stand-in for the client, which is the part of MLflow that is used."""
    calls: list[tuple[Any, ...]] = []

    class Client:
        def __init__(self, tracking_uri: str) -> None:
            calls.append(("open", tracking_uri))

        def __getattr__(self, name: str) -> Any:
            answers = {
                "get_experiment_by_name": None, "create_experiment": "7",
                "create_run": SimpleNamespace(info=SimpleNamespace(run_id="r")),
            }  # fmt: skip
            return lambda *args, **named: calls.append((name, *args, *named.values())) or answers.get(name)

    module = types.ModuleType("mlflow")
    module.MlflowClient = Client  # type: ignore[attr-defined]
    module.__spec__ = SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ctx = context(fold=2)
    made = create("trainer", "lightning", epochs=2, loggers=["tensorboard", "mlflow"])
    result = made.train(network(2), blobs(CLASSES, 1), blobs(CLASSES, 2), ctx)
    assert calls[0] == ("open", (ctx.folder / "mlruns").as_uri())
    assert ("create_run", "7", {"mlflow.runName": "fold-2"}) in calls
    assert ("log_param", "r", "epochs", "2") in calls
    losses = [call[3] for call in calls if call[:3] == ("log_metric", "r", "val_loss")]
    assert losses == [row["val_loss"] for row in result.history]
    assert calls[-1] == ("set_terminated", "r")
    assert (ctx.folder / "tensorboard").is_dir()


def test_mlflow_itself(blobs: Any, network: Any, context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ctx = context()
    made = create("trainer", "lightning", epochs=2, loggers=["mlflow"])
    result = made.train(network(2), blobs(CLASSES, 1), None, ctx)
    client = mlflow.MlflowClient(tracking_uri=(ctx.folder / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("xai")
    (run,) = client.search_runs([experiment.experiment_id])
    found = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train_loss")]
    assert found == [(row["epoch"], row["train_loss"]) for row in result.history]
    assert run.info.status == "FINISHED"


def test_mlflow_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(
        ConfigError, match=r"mlflow is not installed. Run: pip install 'xai-trainers-lightning\[mlflow\]'"
    ):
        create("trainer", "lightning", loggers=["mlflow"])


def test_an_address_without_its_logger() -> None:
    with pytest.raises(ConfigError, match="mlflow_uri belongs to the logger mlflow"):
        create("trainer", "lightning", mlflow_uri="http://localhost:5000")
