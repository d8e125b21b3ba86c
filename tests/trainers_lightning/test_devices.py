"""Several processes that share each batch give what one gives."""

from __future__ import annotations

import importlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from xai_core import ConfigError, InputError, RunError
from xai_core.registry import create
from xai_trainers_lightning._ranks import _portable
from xai_trainers_lightning._shards import Share, shared

SCANS = 13  # batches of 4, 4, 4 and one that is left out; of 5: 5, 5, 3


def trainer(**params: Any) -> Any:
    return create("trainer", "lightning", **{"epochs": 2, "learning_rate": 0.01, "batch_size": 5, **params})


def scans(seed: int, number: int = SCANS) -> TensorDataset:
    torch.manual_seed(seed)
    targets = torch.arange(number) % 2
    volumes = torch.randn(number, 1, 6, 7, 5) + targets[:, None, None, None, None]
    return TensorDataset(volumes, targets)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, bias=False),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def test_two_processes_train_as_one(context: Any, tmp_path: Path) -> None:
    """Uneven pieces (3 and 2 scans), a last batch of three, accumulation, an average, and hooks and log lines.

    The two go on after the first of three epochs that another process trained, and end as one that trained them all.
    """
    params = {"epochs": 3, "accumulate": 2, "gradient_clip": 0.5, "ema_decay": 0.9}
    alone, together = network(), network()
    lines: list[str] = []
    epochs: list[int] = []
    on_epoch: Any = lambda epoch, _scalars: epochs.append(epoch) or True  # noqa: E731
    result_alone = trainer(**params).train(alone, scans(1), scans(2, 7), context())
    with pytest.raises(ZeroDivisionError):
        trainer(**params).train(
            network(), scans(1), scans(2, 7), context(scratch=tmp_path / "s", on_epoch=lambda epoch, _: 1 / (1 - epoch))
        )
    ctx = context(scratch=tmp_path / "s", log=lines.append, on_epoch=on_epoch)
    result_together = trainer(devices=2, workers=1, **params).train(together, scans(1), scans(2, 7), ctx)
    assert epochs == [1, 2]
    assert lines[0] == "fold 0: going on after epoch 1 of 3"
    assert len(lines) == 3
    assert (ctx.folder / "tensorboard").is_dir()
    for name, weight in alone.state_dict().items():
        assert torch.allclose(weight, together.state_dict()[name], rtol=1e-4, atol=1e-6), name
        assert not torch.allclose(network().state_dict()[name], weight, rtol=1e-3), name
    for first, second in zip(result_alone.history, result_together.history, strict=True):
        assert first == pytest.approx(second, rel=1e-4)
    assert result_together.info["devices"] == 2


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("ranks", [2, 3])
def test_pieces_cover_each_batch_once(size: int, ranks: int) -> None:
    batch = list(range(size))
    pieces = [Share(rank, ranks).piece(batch) for rank in range(ranks)]
    assert [scan for piece in pieces for scan in piece] == batch
    assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("number", [6, 7, 8, 9])
def test_a_share_counts_its_batches(number: int, training: bool) -> None:
    from xai_trainers_lightning._data import LoaderOptions, loader

    for rank in range(3):
        options = LoaderOptions(batch_size=3, workers=0, seed=1)
        mine = shared(loader(scans(1, number), options, training=training), Share(rank, 3), training=training)
        assert len(mine) == len(list(mine))


# In a module of its own: the processes find it by its name, and the tests have none that they could import.
DEADLY = """
import os, signal
from torch.utils.data import TensorDataset

class Deadly(TensorDataset):
    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.targets, self.home = tensors[1], os.getpid()

    def __getitem__(self, index):
        if os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)
"""


def test_a_process_that_dies_ends_the_training(context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly_scans.py").write_text(DEADLY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    deadly = importlib.import_module("deadly_scans").Deadly(*scans(1).tensors)
    with pytest.raises(RunError, match=r"Process \d of the 2 that train together was killed by signal 9"):
        trainer(devices=2).train(network(), deadly, None, context())


@pytest.mark.parametrize("error", [InputError("wrong"), RunError("failed"), ConfigError(["one", "two"])])
def test_expected_errors_come_through_unchanged(error: Exception) -> None:
    received = pickle.loads(pickle.dumps(_portable(error)))
    assert type(received) is type(error)
    assert str(received) == str(error)


def test_other_errors_keep_their_traceback() -> None:
    try:
        {}["missing"]
    except KeyError as error:
        received = pickle.loads(pickle.dumps(_portable(error)))
    assert isinstance(received, RunError)
    assert "KeyError: 'missing'" in str(received)
    assert "test_devices.py" in str(received)


def test_networks_that_cannot_be_sent_are_refused(context: Any) -> None:
    model = network()
    model.trick = lambda: 0  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"cannot be sent to other processes .* Use devices: 1"):
        trainer(devices=2).train(model, scans(1), None, context())


def test_a_batch_smaller_than_the_devices() -> None:
    with pytest.raises(ConfigError, match=r"batch_size \(2\) .* smaller than devices \(3\)"):
        trainer(batch_size=2, devices=3)


def test_fewer_validation_scans_than_devices(context: Any) -> None:
    with pytest.raises(InputError, match=r"devices: 2, but fold 0 has 1 validation scan only"):
        trainer(devices=2).train(network(), scans(1), scans(2, 1), context())


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_devices_that_are_not_there(context: Any) -> None:
    with pytest.raises(InputError, match=r"devices: 2, but this machine has 0 GPUs"):
        trainer(devices=2).train(network(), scans(1), None, context(device=torch.device("cuda")))
