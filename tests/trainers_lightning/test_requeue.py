"""In a job of SLURM the signal before its end puts the job into the queue again; the next process goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from xai_core.registry import create
from xai_trainers_lightning._cluster import environment, in_slurm
from xai_trainers_lightning._shards import Share

CLASSES = torch.tensor([0, 1] * 9)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job of two tasks on two nodes, and an ``scontrol`` that writes down what it is asked for."""
    asked = tmp_path / "asked.txt"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    (tmp_path / "bin" / "srun").symlink_to(scontrol)
    monkeypatch.setenv("PATH", f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}")
    variables = {"JOB_ID": "4711", "JOB_NAME": "study", "NTASKS": "2", "PROCID": "1", "LOCALID": "1", "NODEID": "1",
                 "NNODES": "2", "NTASKS_PER_NODE": "1"}  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return asked


def test_the_signal_requeues_and_the_next_process_goes_on(
    blobs: Any, network: Any, context: Any, slurm: Path, tmp_path: Path
) -> None:
    made = create("trainer", "lightning", epochs=4, batch_size=6)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}

    class Signalled(blobs):  # type: ignore[misc]
        """SLURM's two signals in the middle of the third epoch: the warning, then the end."""

        targets, reads = CLASSES, 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            if self.reads == 44:
                os.kill(os.getpid(), signal.SIGUSR1)
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__getitem__(index)

    ctx = context(scratch=tmp_path / "scratch")
    with pytest.raises(SystemExit):
        made.train(network(2), Signalled(CLASSES, 1), None, ctx)
    assert slurm.read_text() == "requeue 4711\n"
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert not list(ctx.folder.glob("*.ckpt"))
    lines: list[str] = []
    resumed, whole = network(2), network(2)
    again = made.train(resumed, blobs(CLASSES, 1), None, context(scratch=tmp_path / "scratch", log=lines.append))
    # The signals were heard in the third epoch; it ends with the batch, or as a whole.
    assert "going on after epoch" in lines[0]
    straight = made.train(whole, blobs(CLASSES, 1), None, context())
    assert list(again.history) == list(straight.history)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())


def test_an_array_is_requeued_by_its_task(
    blobs: Any, network: Any, context: Any, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "99")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")

    def signal_once(epoch: int, _scalars: Any) -> bool:
        if epoch == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
        return True

    made = create("trainer", "lightning", epochs=2)
    result = made.train(network(2), blobs(CLASSES, 1), None, context(on_epoch=signal_once))
    assert slurm.read_text() == "requeue 99_3\n"
    assert len(result.history) == 2, "what is not ended goes on"


def test_tasks_of_a_job_are_not_processes_of_a_training(slurm: Path) -> None:
    found = environment(Share())
    assert in_slurm()
    assert (found.world_size(), found.global_rank(), found.local_rank(), found.node_rank()) == (1, 0, 0, 0)
    found = environment(Share(1, 2))
    assert (found.world_size(), found.global_rank(), found.local_rank()) == (2, 1, 1)


def test_interactive_jobs_are_not_requeued(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert not in_slurm()
