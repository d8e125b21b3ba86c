"""A training that was interrupted in the middle of an epoch ends with the bits of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from xai_core.registry import create
from xai_trainers_lightning._state import load_state, save_state

CLASSES = torch.tensor([0, 1] * 9)
AGES = torch.linspace(55, 90, 18)


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def stopping(blobs: Any, targets: torch.Tensor, after: int | None) -> Any:
    """Scans of which the ``after``-th reading fails; the targets are known without reading."""

    class Failing(blobs):  # type: ignore[misc]
        reads = 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            if self.reads == after:
                raise StoppedError
            return super().__getitem__(index)

    items = Failing(targets, 1, noise=0.5)
    items.targets = targets
    return items


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "average": {"ema_decay": 0.9, "accumulate": 2, "gradient_clip": 1.0},
    "plateau": {"scheduler": "plateau", "scheduler_epochs": 1, "optimizer": "sgd", "min_delta": 0.01,
                "early_stopping": 4},
    "one-cycle": {"scheduler": "one-cycle", "optimizer": "adamw", "precision": "bf16-mixed"},
    "layers": {"freeze": ["0", "1"], "unfreeze_at_epoch": 3, "scheduler": "cosine", "warmup_epochs": 2},
    "phases": {"head_epochs": 2, "learning_rate": "auto", "sample_weights": ["target"], "monitor": "val_auc"},
}  # fmt: skip


class Known(torch.utils.data.Dataset[Any]):
    """Adds the covariates that sample weights need."""

    def __init__(self, items: Any) -> None:
        self.items, self.targets = items, items.targets
        self.covariates = [{"target": int(target)} for target in items.targets]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("validated", [True, False])
def test_interrupted_is_as_uninterrupted(
    blobs: Any, network: Any, context: Any, tmp_path: Path, case: str, validated: bool
) -> None:
    """18 scans an epoch: reading 62 is in the fourth epoch (the range test reads 1800, the head one before)."""
    params = {"epochs": 5, "batch_size": 6, "learning_rate": 0.02, **CASES[case]}
    if not validated:
        params = {**params, "monitor": "val_loss", "early_stopping": None, "min_delta": 0}
    val = blobs(CLASSES, 2, strength=-0.2) if validated else None
    outcomes = []
    for after in (None, 62):
        model = network(2, dropout=0.3)
        made = create("trainer", "lightning", **params)
        scratch = tmp_path / f"{case}-{after}"
        train = Known(stopping(blobs, CLASSES, None))
        if after is not None:
            early = Known(stopping(blobs, CLASSES, after + _reads_before(params)))
            with pytest.raises(StoppedError):
                made.train(network(2, dropout=0.3), early, val, context(scratch=scratch))
            assert (scratch / "state.pt").is_file()
        torch.rand(7)  # what ran before must not matter
        lines: list[str] = []
        result = made.train(model, train, val, context(scratch=scratch, log=lines.append))
        assert any("going on after epoch 3 of 5" in line for line in lines) == (after is not None)
        outcomes.append((model.state_dict(), list(result.history), result.best_epoch, result.info))
    (weights, *rest), (resumed, *others) = outcomes
    assert rest == others
    for name, value in weights.items():
        assert torch.equal(value, resumed[name]), name


def _reads_before(params: dict[str, Any]) -> int:
    return (100 * 6 if params["learning_rate"] == "auto" else 0) + bool(params.get("head_epochs"))


def test_a_finished_training_is_not_gone_on_with(blobs: Any, network: Any, context: Any, tmp_path: Path) -> None:
    """Killed after the last epoch, or after a hook or patience had stopped it: nothing is left to train."""
    made = create("trainer", "lightning", epochs=4, batch_size=6)
    first, second = network(2), network(2)
    ctx = context(scratch=tmp_path / "scratch", on_epoch=lambda epoch, _scalars: epoch < 1)
    one = made.train(first, blobs(CLASSES, 1), blobs(CLASSES, 2), ctx)
    again = made.train(second, blobs(CLASSES, 1), blobs(CLASSES, 2), context(scratch=tmp_path / "scratch"))
    assert list(one.history) == list(again.history)
    assert len(again.history) == 2
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("validated", [True, False])
def test_a_finished_average_is_kept(blobs: Any, network: Any, context: Any, tmp_path: Path, validated: bool) -> None:
    """Without validation people the average itself is kept, which then nothing has brought back."""
    made = create("trainer", "lightning", epochs=2, batch_size=6, ema_decay=0.9)
    models = network(2), network(2)
    for model in models:
        val = blobs(CLASSES, 2) if validated else None
        made.train(model, blobs(CLASSES, 1), val, context(scratch=tmp_path / "scratch"))
    one, again = (model.state_dict() for model in models)
    assert all(torch.equal(value, again[name]) for name, value in one.items())


def test_tensorboard_has_all_epochs_after_a_resume(blobs: Any, network: Any, context: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = create("trainer", "lightning", epochs=4, batch_size=6)
    with pytest.raises(StoppedError):
        made.train(network(2), stopping(blobs, CLASSES, 50), None, context(scratch=tmp_path / "s"))
    ctx = context(scratch=tmp_path / "s")
    result = made.train(network(2), blobs(CLASSES, 1, noise=0.5), None, ctx)
    events = EventAccumulator(str(ctx.folder / "tensorboard")).Reload().Scalars("train_loss")
    assert [event.step for event in events] == [0, 1, 2, 3]
    assert [event.value for event in events] == pytest.approx([row["train_loss"] for row in result.history])


def test_a_broken_state_begins_anew(blobs: Any, network: Any, context: Any, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "state.pt").write_bytes(b"")
    lines: list[str] = []
    made = create("trainer", "lightning", epochs=1)
    made.train(network(2), blobs(CLASSES, 1), None, context(scratch=tmp_path / "s", log=lines.append))
    assert "cannot be read (EOFError); training starts anew" in lines[0]


def test_the_state_is_replaced_whole(context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(scratch=tmp_path / "s")
    save_state(ctx, {"history": [1]})

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_state(ctx, {"history": [1, 2]})
    assert load_state(ctx) == {"history": [1]}
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["state.pt"]


_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from torch import nn
from xai_core import RunContext
from xai_core.registry import create

class Scans(torch.utils.data.Dataset):
    targets, reads = torch.tensor([0, 1] * 9), 0
    def __len__(self):
        return 18
    def __getitem__(self, index):
        Scans.reads += 1
        if Scans.reads == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.randn(1, 4, 4, 4) + self.targets[index], self.targets[index]

folder = Path(sys.argv[1])
(folder / "out").mkdir(exist_ok=True)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.Flatten(), nn.Dropout(), nn.Linear(16, 2))
context = RunContext(folder=folder / "out", device=torch.device("cpu"), seed=3, task="classification",
                     classes=("CN", "AD"), scratch=folder / "scratch", log=print)
create("trainer", "lightning", epochs=4, batch_size=6, ema_decay=0.9).train(model, Scans(), None, context)
torch.save(model.state_dict(), folder / "weights.pt")
"""


def test_killed_is_as_not_killed(tmp_path: Path) -> None:
    """SIGKILL in the middle of epoch 3 (reading 45 of 72): the files have the same bytes."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(_KILLED))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(folder: Path, killed_at: int) -> subprocess.CompletedProcess[str]:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, str(script), str(folder), str(killed_at)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    killed = run(tmp_path / "killed", 45)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed" / "weights.pt").exists()
    resumed = run(tmp_path / "killed", -1)
    assert "going on after epoch 2 of 4" in resumed.stdout, resumed.stderr
    assert run(tmp_path / "whole", -1).returncode == 0
    contents = [(tmp_path / name / "weights.pt").read_bytes() for name in ("killed", "whole")]
    assert contents[0] == contents[1]
