"""Lightning, without its side effects: no files, no notes, no swallowed interrupt."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ._data import LoaderOptions, loader
from ._module import Supervised
from ._pl import LightningEnvironment, TQDMProgressBar, pl
from ._watch import Watch

if TYPE_CHECKING:
    from xai_core import RunContext

    from ._data import TensorData
    from .plugin import LightningTrainer

__all__ = ["run"]


def run(module: Supervised, train: TensorData, validation: TensorData | None, context: RunContext) -> Watch:
    """Fit ``module`` to ``train`` and return what was seen after each epoch.

    Raises:
        KeyboardInterrupt: The user stopped the run.
    """
    from torch.utils.tensorboard import SummaryWriter

    params = module.params
    options = LoaderOptions(params.batch_size, params.workers, context.seed, pin=context.device.type == "cuda")
    train_loader = loader(train, options, training=True)
    val_loader = None if validation is None else loader(validation, options, training=False)
    writer = SummaryWriter(str(context.folder / "tensorboard"))
    watch = Watch(params, context, writer)
    try:
        with _quiet(), _deterministic_cudnn(), _interrupt_kept(watch):
            _lightning(params, context, watch).fit(module, train_loader, val_loader)
    finally:
        writer.close()
    return watch


def _lightning(params: LightningTrainer, context: RunContext, watch: Watch) -> pl.Trainer:
    kind, index = context.device.type, context.device.index or 0
    return pl.Trainer(
        accelerator="gpu" if kind == "cuda" else kind,
        devices=[index] if kind == "cuda" else 1,
        # A batch system's variables must not turn one fold into a part of a distributed training.
        plugins=[LightningEnvironment()],
        precision=params.precision,
        max_epochs=params.epochs,
        accumulate_grad_batches=params.accumulate,
        gradient_clip_val=params.gradient_clip,
        callbacks=[watch, *([TQDMProgressBar()] if context.progress else [])],
        default_root_dir=context.folder,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=context.progress,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


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
