"""Where a training runs: alone, as one of several processes, in a job of SLURM."""

from __future__ import annotations

import os
from typing import Any

import torch

from ._pl import ClusterEnvironment, LightningEnvironment, SLURMEnvironment, pl
from ._shards import Share

__all__ = ["MeanBuffers", "environment", "in_slurm"]


def in_slurm() -> bool:
    """Whether this is a batch job of SLURM; interactive ones are not requeued."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "SLURM_JOB_ID" in os.environ and not interactive


def environment(share: Share) -> ClusterEnvironment:
    """Return what tells Lightning which process this is.

    A batch system's variables must not turn one fold into a part of a distributed training.
    """
    if in_slurm():
        return _Requeued(share)
    return LightningEnvironment() if share.ranks == 1 else _Rank(share)


class _Rank(ClusterEnvironment):
    """One of the processes that ``_ranks`` has started."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return 0  # the processes have met already, by a file

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self.share.ranks

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self.share.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self.share.rank

    def node_rank(self) -> int:
        return 0


class _Requeued(_Rank, SLURMEnvironment):
    """The same in a job of SLURM: on SIGUSR1, Lightning asks ``scontrol`` to put the job into the queue again."""

    def __init__(self, share: Share) -> None:
        SLURMEnvironment.__init__(self, auto_requeue=True)
        self.share = share

    @staticmethod
    def _validate_srun_used() -> None:
        pass  # the job's tasks are not the processes of a training

    @staticmethod
    def _validate_srun_variables() -> None:
        pass

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        pass


class MeanBuffers(pl.Callback):
    """Brings the devices' buffers (statistics of batch normalisation) to their mean where they are used or kept."""

    def on_validation_start(self, _trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _average_buffers(pl_module)

    def on_train_epoch_end(self, _trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _average_buffers(pl_module)


@torch.no_grad()
def _average_buffers(module: Any) -> None:
    for buffer in module.model.buffers():
        if buffer.dtype.is_floating_point:
            torch.distributed.all_reduce(buffer)
            buffer.div_(torch.distributed.get_world_size())
