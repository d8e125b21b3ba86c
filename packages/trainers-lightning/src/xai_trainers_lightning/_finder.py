"""The learning-rate range test."""

from __future__ import annotations

import copy
import csv
import math
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xai_core import InputError

from ._data import LoaderOptions, loader, seed_generators
from ._freezing import Freezing
from ._module import Supervised
from ._optimizer import make_optimizer

if TYPE_CHECKING:
    from xai_core import RunContext

    from ._data import Loader
    from ._lightning import Job

__all__ = ["find_rate", "suggestion"]

LOWEST, HIGHEST, STEPS = 1e-7, 1.0, 100
_MEMORY = 0.9  # of the smoothed loss, for each step
_DIVERGED = 4.0  # times the best smoothed loss
_FALL = 0.1  # of the first loss, below which a fall may be the chance of the batches


def find_rate(job: Job, context: RunContext) -> float:
    """Return a learning rate for a training; a copy of the network is trained for it, and thrown away.

    Range test of Smith (2017, WACV): the rate grows exponentially from 1e-7 to 1 over 100 batches of the training part.
    Returned is the one at which the smoothed loss falls most steeply. The curve is written to ``lr_finder.csv`` and
    ``lr_finder.png`` in the context's folder.

    Raises:
        InputError: The loss does not fall.
    """
    rates = np.geomspace(LOWEST, HIGHEST, STEPS).tolist()
    losses = list(_losses(job, context, rates))
    smooth = _smoothed(losses)
    rate = suggestion(rates[: len(smooth)], smooth)
    rows = list(zip(rates, losses, smooth, strict=False))
    _write(rows, rate, context.folder)
    if rate is None:
        raise InputError(
            f"training.params.learning_rate: auto found no rate at which the loss of fold {context.fold} falls "
            f"(lowest {min(losses):.4g}, at the beginning {losses[0]:.4g}). Give a number, such as 1e-4, and look at "
            "the intensities and targets."
        )
    context.log(f"fold {context.fold}: learning rate {rate:.2e} found by the range test")
    return rate


def _losses(job: Job, context: RunContext, rates: Sequence[float]) -> Iterator[float]:
    params = job.params
    seed_generators(context.seed)
    module = Supervised(params, copy.deepcopy(job.model), context, copy.deepcopy(job.objective), job.scale)
    module.to(context.device).train()
    # The rate is that of the epochs after ``head_epochs``, so it is looked for with what is frozen then.
    Freezing(params, module.model, None, distributed=False).apply(params.head_epochs)
    optimizer = make_optimizer(params, [w for w in module.model.parameters() if w.requires_grad], LOWEST)
    options = LoaderOptions(params.batch_size, params.workers, context.seed, pin=context.device.type == "cuda")
    best = math.inf
    smoothed: list[float] = []
    history: list[float] = []
    for rate, batch in zip(rates, islice(_batches(loader(job.train, options, training=True)), len(rates)), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        on_device: Any = [part.to(context.device) for part in batch]
        with _precision(params.precision, context.device):
            loss = module.loss_of(on_device)
        value = float(loss.detach())
        history.append(value)
        smoothed = _smoothed(history)
        best = min(best, smoothed[-1])
        if not math.isfinite(value) or smoothed[-1] > _DIVERGED * best:
            return
        yield value
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _precision(precision: str, device: torch.device) -> torch.autocast:
    kind = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype=kind, enabled=precision != "32-true")


def _batches(batches: Loader) -> Iterator[Any]:
    for epoch in count():
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from batches


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Exponential moving average without the bias of its start."""
    average, found = 0.0, []
    for step, loss in enumerate(losses, 1):
        average = _MEMORY * average + (1 - _MEMORY) * loss
        found.append(average / (1 - _MEMORY**step))
    return found


def suggestion(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return the rate at which the smoothed loss falls most steeply over the logarithm of the rate, before its minimum.

    None: it does not fall by a tenth, which may be chance, or there are fewer than 10 points.
    """
    if len(losses) < 10 or min(losses) > (1 - _FALL) * losses[0]:
        return None
    lowest = int(np.argmin(losses))
    slope = np.gradient(np.asarray(losses), np.log(np.asarray(rates)))
    return float(rates[int(np.argmin(slope[: lowest + 1]))])


def _write(rows: Sequence[tuple[float, float, float]], rate: float | None, folder: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with (folder / "lr_finder.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["learning_rate", "loss", "smoothed_loss"])
        writer.writerows(rows)
    figure = Figure(figsize=(5, 3.6), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([row[0] for row in rows], [row[1] for row in rows], color="0.75", label="loss of a batch")
    axes.plot([row[0] for row in rows], [row[2] for row in rows], label="smoothed")
    if rate is not None:
        axes.axvline(rate, color="0.6", linestyle=":", label=f"taken: {rate:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.legend(fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "lr_finder.png", metadata={"Software": None})
