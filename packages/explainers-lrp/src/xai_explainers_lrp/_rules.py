"""Which of Zennit's rules each part of a network gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_core.engine.torchvision_shim import ensure_torchvision

from ._canonize import Canonical
from ._operations import Part

ensure_torchvision()

from zennit.core import Composite, Hook, stabilize  # noqa: E402
from zennit.rules import AlphaBeta, Epsilon, Flat, Gamma, Norm, Pass, ZBox, ZPlus  # noqa: E402

__all__ = ["Settings", "SplitInProportion", "composite_of"]

# Against division by zero in the rules that have no epsilon of their own. Zennit's default, 1e-6, takes a
# measurable part of the relevance of a deep network.
STABILIZER = 1e-9


@dataclass(frozen=True)
class Settings:
    """The parameters of ``plugin.LRP``."""

    composite: str
    epsilon: float
    gamma: float
    low: float | None
    high: float | None
    ignore_bias: bool


class SplitInProportion(Hook):  # type: ignore[misc]
    """Gives each summand its share of the sum's relevance, ``R_i = x_i / (x_1 + x_2) R``.

    This is the epsilon rule of a layer that adds, and what Zennit's ``Norm`` does to a stacked tensor;
    without it the gradient hands the whole relevance to both summands.
    """

    def forward(self, _module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        """Keep the summands."""
        self.stored_tensors["input"] = inputs

    def backward(
        self, _module: nn.Module, _grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Return the relevance of each summand."""
        summands = self.stored_tensors["input"]
        factor = grad_output[0] / stabilize(sum(summands), STABILIZER)
        return tuple(summand * factor for summand in summands)


def composite_of(canonical: Canonical, volumes: Tensor, settings: Settings) -> Composite:
    """Return Zennit's composite for a network and the volumes that are to be explained.

    Raises:
        InputError: The box rule does not apply to this network or these volumes.
    """
    rules = _rules(settings)
    if settings.composite == "epsilon-gamma-box" and not canonical.fed_by_input:
        raise InputError(
            "LRP: the box rule of epsilon-gamma-box needs a first layer that takes the volume itself; here "
            "something stands between. Choose another composite."
        )
    if settings.composite == "epsilon-plus-flat" and not canonical.fed_by_voxels:
        raise InputError(
            "LRP: the flat rule of epsilon-plus-flat needs a first layer that sees voxels; here an average, a "
            "sum or a batch normalisation stands before it. Choose another composite."
        )
    first = _first_rule(volumes, settings)

    def rule_of(_context: dict[str, Any], name: str, _module: nn.Module) -> Hook | None:
        if first is not None and name in canonical.first:
            return first
        part = canonical.parts.get(name)
        return rules.get(part) if part is not None else None

    return Composite(module_map=rule_of)


def _rules(settings: Settings) -> dict[Part, Hook]:
    zeroed = ["bias"] if settings.ignore_bias else None
    epsilon = Epsilon(epsilon=settings.epsilon)
    convolution: dict[str, Callable[[], Hook]] = {
        "epsilon": lambda: epsilon,
        "epsilon-plus": lambda: ZPlus(stabilizer=STABILIZER, zero_params=zeroed),
        "epsilon-plus-flat": lambda: ZPlus(stabilizer=STABILIZER, zero_params=zeroed),
        "epsilon-alpha2-beta1": lambda: AlphaBeta(alpha=2, beta=1, stabilizer=STABILIZER, zero_params=zeroed),
        "epsilon-gamma-box": lambda: Gamma(gamma=settings.gamma, stabilizer=STABILIZER),
    }
    return {
        Part.CONVOLUTION: convolution[settings.composite](),
        Part.DENSE: epsilon,
        Part.SUM: SplitInProportion(),
        Part.AVERAGE: Norm(stabilizer=STABILIZER),
        Part.ACTIVATION: Pass(),
        Part.BATCH_NORM: epsilon,
    }


def _first_rule(volumes: Tensor, settings: Settings) -> Hook | None:
    if settings.composite == "epsilon-plus-flat":
        return Flat(stabilizer=STABILIZER)
    if settings.composite == "epsilon-gamma-box":
        low, high = _box(volumes, settings)
        return ZBox(low=low, high=high, stabilizer=STABILIZER)
    return None


def _box(volumes: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the bounds of the box, [N, C, 1, 1, 1]."""
    space = tuple(range(2, volumes.ndim))
    lowest, highest = volumes.amin(space, keepdim=True), volumes.amax(space, keepdim=True)
    low = lowest if settings.low is None else torch.full_like(lowest, settings.low)
    high = highest if settings.high is None else torch.full_like(highest, settings.high)
    if bool((lowest < low).any()) or bool((highest > high).any()):
        raise InputError(
            f"LRP: voxels from {float(lowest.min()):g} to {float(highest.max()):g} leave the box of low "
            f"{float(low.min()):g} and high {float(high.max()):g}. Give bounds that hold for every voxel, or "
            "null."
        )
    return low, high
