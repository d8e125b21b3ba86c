"""Lightning, without its side effects: no files, no notes, no swallowed interrupt."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ._batchnorm import share_batch_norms
from ._cluster import MeanBuffers, environment
from ._data import LoaderOptions, loader
from ._ema import MovingAverage
from ._freezing import Freezing
from ._loggers import open_loggers
from ._module import Supervised
from ._pl import DDPStrategy, TQDMProgressBar, pl
from ._schedule import RateSchedule
from ._shards import Share, shared
from ._watch import Outcome, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sized

    from torch import nn

    from xai_core import RunContext

    from ._data import TensorData
    from ._loss import Objective
    from ._scaling import TargetScale
    from .plugin import LightningTrainer

__all__ = ["Job", "train"]


@dataclass
class Job:
    """A fold's training with everything settled; it can be sent to other processes.

    Attributes:
        params: The trainer.
        model: The network, on the CPU; trained in place where this process trains it.
        head: Name of its last layer; None where nothing asks for it.
        objective: The loss.
        scale: Of the targets of a regression.
        train: Training scans, with their weights where there are any.
        validation: Validation scans, or None.
        rate: Full learning rate.
        state: Where an interrupted training was; None: this one begins.
    """

    params: LightningTrainer
    model: nn.Module
    head: str | None
    objective: Objective
    scale: TargetScale
    train: TensorData
    validation: TensorData | None
    rate: float
    state: Mapping[str, Any] | None


def train(job: Job, context: RunContext, share: Share) -> Outcome:
    """Carry out a training, or this device's share of it.

    Raises:
        KeyboardInterrupt: The user stopped the run.
    """
    params, scans = job.params, len(_sized(job.train))
    if share.ranks > 1 and context.device.type == "cpu":
        share_batch_norms(job.model)
    options = LoaderOptions(params.batch_size, params.workers, context.seed, pin=context.device.type == "cuda")
    train_loader = shared(loader(job.train, options, training=True), share, training=True)
    val_loader = None
    if job.validation is not None:
        val_loader = shared(loader(job.validation, options, training=False), share, training=False)
    module = Supervised(params, job.model.train(), context, job.objective, job.scale, share, scans)
    schedule = RateSchedule(params, job.rate, len(train_loader))
    average = None if params.ema_decay is None else MovingAverage(job.model, params.ema_decay)
    freezing = Freezing(params, job.model, job.head, distributed=share.ranks > 1)
    loggers = open_loggers(params, context) if share.rank == 0 else []
    watch = Watch(module, context, schedule, average, loggers)
    callbacks = [schedule, freezing, *([average] if average is not None else []), *_buffers(share), watch]
    try:
        with _quiet(), _deterministic_cudnn(), _interrupt_kept(watch):
            trainer = _lightning(params, context, callbacks, share)
            if job.state is not None:
                watch.resume(trainer, job.state)
                # Loading processes fetch the first batches before Lightning tells the epoch.
                train_loader.batch_sampler.sampler.set_epoch(trainer.current_epoch)  # type: ignore[union-attr]
            if not watch.is_over:
                trainer.fit(module, train_loader, val_loader)
    finally:
        for logger in loggers:
            logger.close()
    freezing.thaw()
    return watch.outcome()


def _sized(items: Any) -> Sized:
    return items  # type: ignore[no-any-return]


def _buffers(share: Share) -> list[pl.Callback]:
    return [MeanBuffers()] if share.ranks > 1 else []


class _Trainer(pl.Trainer):
    """Lightning's trainer for states that are on disk already."""

    def save_checkpoint(self, *_: Any, **__: Any) -> None:
        """Do nothing: before it requeues a SLURM job, Lightning would save the middle of an epoch.

        ``Watch`` has saved the end of the last one, from which a training goes on to the same bytes.
        """


def _lightning(params: LightningTrainer, context: RunContext, callbacks: list[pl.Callback], share: Share) -> pl.Trainer:
    return _Trainer(
        accelerator="gpu" if context.device.type == "cuda" else context.device.type,
        **_devices(context, share),
        plugins=[environment(share)],
        precision=params.precision,
        max_epochs=params.epochs,
        accumulate_grad_batches=params.accumulate,
        gradient_clip_val=params.gradient_clip,
        callbacks=[*callbacks, *([TQDMProgressBar()] if context.progress and share.rank == 0 else [])],
        default_root_dir=context.folder,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=context.progress and share.rank == 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _devices(context: RunContext, share: Share) -> dict[str, Any]:
    is_gpu = context.device.type == "cuda"
    if share.ranks == 1:
        return {"devices": [context.device.index or 0] if is_gpu else 1}
    # Buffers are brought together before each validation instead: on a device with fewer batches to validate, nobody
    # would wait for them.
    strategy = DDPStrategy(process_group_backend="nccl" if is_gpu else "gloo", broadcast_buffers=False)
    return {"devices": share.ranks, "strategy": strategy, "sync_batchnorm": is_gpu}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's notes on devices and workers; they concern nothing that a user set."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for package in ("pytorch_lightning", "lightning_fabric", "lightning_utilities"):
                warnings.filterwarnings("ignore", module=rf"{package}(\..*)?$")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _deterministic_cudnn() -> Iterator[None]:
    """Choose cuDNN's deterministic kernels. Some other CUDA kernels (3D pooling) have no such variant."""
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


@contextmanager
def _interrupt_kept(watch: Watch) -> Iterator[None]:
    """Raise KeyboardInterrupt where Lightning has swallowed it, and give Ctrl-C its handler back."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit_:
        if watch.interrupted:
            raise KeyboardInterrupt from exit_
        raise
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)
