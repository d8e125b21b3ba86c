"""p values corrected for the search over voxels, by shuffling people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .._stack import Stack
from .models import Estimates, Model
from .shuffles import Plan
from .tfce import STEPS, enhanced

__all__ = ["Inference", "Method", "estimate", "family_wise"]

Array = npt.NDArray[np.float64]
Method = Literal["max-t", "tfce"]

_BYTES = 64 * 2**20  # of the t maps of a batch of shuffles
_BATCH = 64  # shuffles of a chunk of voxels at a time


@dataclass(frozen=True)
class Inference:
    """The outcome of a permutation test.

    Attributes:
        statistic: [V], what is compared: t, or its TFCE value.
        p: [V], corrected for the search over all voxels; 1 where nothing is tested.
        largest: [P], the largest statistic of each shuffle; the first is that of the people as they are.
    """

    statistic: Array
    p: Array
    largest: Array


def estimate(model: Model, stack: Stack, *, two_sided: bool) -> Estimates:
    """Return what a model finds in a stack, some voxels at a time."""
    parts = [model.observed(y, two_sided=two_sided) for _, y in stack.chunks()]
    return Estimates(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Estimates.__dataclass_fields__)
    )


def family_wise(
    model: Model, stack: Stack, found: Estimates, plan: Plan, method: Method, *, connectivity: int, two_sided: bool
) -> Inference:
    """Return p values under which one false voxel anywhere is as rare as they say.

    The p of a voxel is the share of shuffles, the people as they are among them, whose largest statistic in all voxels
    is at least the voxel's own (Westfall and Young 1993; Nichols and Holmes 2002).

    Args:
        model: The test.
        stack: Maps of N people.
        found: Of the model and the stack.
        plan: Shuffles of N people.
        method: Whether the statistic is t or its TFCE value.
        connectivity: Of TFCE.
        two_sided: Whether t and -t count alike.
    """
    highest = float(np.abs(found.t).max(initial=0.0)) if two_sided else float(found.t.max(initial=0.0))
    step = highest / STEPS

    def statistic(t: Array) -> Array:
        if method == "max-t":
            return t
        volume = stack.volume(t)
        box = _extent(stack.mask)
        volume[box] = enhanced(volume[box], step, connectivity=connectivity, two_sided=two_sided)
        return volume[stack.mask]

    if highest <= 0:  # also: nothing is tested
        nothing = np.zeros(found.t.shape)
        return Inference(nothing, np.ones(found.t.shape), np.zeros(len(plan)))
    observed = statistic(found.t)
    largest = np.empty(len(plan))
    largest[0] = _largest(observed, two_sided=two_sided)
    if method == "max-t":
        largest[1:] = _largest_t(model, stack, found.tested, plan, two_sided=two_sided)[1:]
    else:
        for part, maps in _shuffled(model, stack, found.tested, plan):
            largest[part] = [_largest(statistic(t), two_sided=two_sided) for t in maps]
    return Inference(observed, _corrected(observed, largest, found.tested, two_sided=two_sided), largest)


def _largest_t(
    model: Model, stack: Stack, tested: npt.NDArray[np.bool_], plan: Plan, *, two_sided: bool
) -> npt.NDArray[np.float64]:
    """Return the largest t [P] of each shuffle; voxels are the outer loop, so that each is read and prepared once."""
    largest = np.full(len(plan), -np.inf if tested.all() else 0.0)
    for where, y in stack.chunks():
        if not tested[where].any():
            continue
        prepared = model.prepared(y[:, tested[where]])
        for part, shuffles in plan.batches(_BATCH):
            t = model.shuffled(prepared, shuffles)
            np.maximum(largest[part], (np.abs(t) if two_sided else t).max(axis=1), out=largest[part])
    return largest


def _shuffled(
    model: Model, stack: Stack, tested: npt.NDArray[np.bool_], plan: Plan
) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Yield t maps [batch, V] of all shuffles but the first, and their places."""
    voxels = len(tested)
    for part, shuffles in plan.batches(max(1, _BYTES // (8 * max(voxels, 1)))):
        maps = np.empty((len(shuffles.table), voxels))
        for where, y in stack.chunks():
            maps[:, where] = np.where(tested[where], model.shuffled(model.prepared(y), shuffles), 0.0)
        yield part, maps


def _largest(statistic: Array, *, two_sided: bool) -> float:
    return float(np.abs(statistic).max()) if two_sided else float(statistic.max())


def _corrected(
    statistic: Array, largest: Array, tested: npt.NDArray[np.bool_], *, two_sided: bool
) -> npt.NDArray[np.float64]:
    ordered = np.sort(largest)
    # A shuffle that is the same as the observed one but for rounding must not count as smaller.
    own = (np.abs(statistic) if two_sided else statistic) - 1e-7 * np.abs(statistic)
    reached = len(ordered) - np.searchsorted(ordered, own, side="left")
    p: Any = np.where(tested, reached / len(ordered), 1.0)
    return np.asarray(p, dtype=np.float64)


def _extent(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    from scipy import ndimage

    box: tuple[slice, ...] = ndimage.find_objects(mask.view(np.uint8))[0]
    return box
