"""The rules: how a layer's relevance is divided among its inputs.

Every rule divides in proportion to contributions ``x_i w_ij``, changed in some way, and takes the products of the
relevance with whole layers instead of single contributions: ``R_i = x_i sum_j w_ij R_j / z_j``. Where an input has no
negative values, as behind a ReLU, the half of a rule that treats these is not computed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xai_core import InputError

from ._ledger import Entry
from ._maps import Half, LinearMap, Terms, whole

__all__ = ["AlphaBeta", "Epsilon", "Flat", "Gamma", "Pass", "Proportion", "Rule", "WSquare", "ZBox", "signed_terms"]

# Against division by zero in the rules that have no epsilon of their own; larger ones take a measurable part of the
# relevance of a deep network.
STABILIZER = 1e-9


class Rule(ABC):
    """How relevance passes one layer.

    Attributes:
        uses_output: Whether ``divide`` is given the layer's output. Its own, to the last bit: where contributions
            cancel, one that is summed in another order would be off by much of itself.
    """

    _name: ClassVar[str]
    uses_output: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """As in the parameter ``rules``."""
        return self._name

    @abstractmethod
    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """Return the relevance of ``x`` from that of the layer's output, and enter what stayed in the layer."""

    def check(self, x: Tensor, output: Tensor, name: str) -> None:
        """Refuse a layer, called ``name``, that the rule does not fit; called on the way to the output.

        Raises:
            InputError: Why it does not.
        """
        return


def _stable(z: Tensor, epsilon: float, sign: int) -> Tensor:
    """Move ``z`` away from zero by epsilon, in place; ``sign`` is that of all values, or 0 where they differ."""
    return z.add_(sign * epsilon if sign else torch.copysign(z.new_tensor(epsilon), z))


def _share(
    layer: LinearMap,
    terms: Terms,
    bias: Tensor | None,
    relevance: Tensor,
    entry: Entry,
    epsilon: float = STABILIZER,
    factor: float = 1,
    output: Tensor | None = None,
    sign: int = 0,
) -> Tensor:
    """Divide relevance in proportion to the contributions of all terms and the bias, times ``factor``.

    ``output`` is their sum, where it is known already; ``sign`` that of all contributions, where they have one.
    """
    z = _sum_of(layer, terms, bias) if output is None else output.clone()
    if sign and entry.sums:
        entry.add("lost", factor * relevance.where(z.abs() <= STABILIZER, relevance.new_zeros(())).sum())
    if epsilon > STABILIZER:
        signs = torch.copysign(torch.ones_like(z), z)  # of 0 too, where epsilon keeps all
        quotient = torch.div(relevance, _stable(z, epsilon, sign), out=z)
        entry.add("epsilon", factor * epsilon * (quotient * signs).sum())
    else:
        quotient = torch.div(relevance, _stable(z, epsilon, sign), out=z)
    if bias is not None:
        entry.add("bias", factor * _weighted_sum(quotient, bias))
    result = layer.weigh_all(quotient, terms)
    return result if factor == 1 else result.mul_(factor)


def _sum_of(layer: LinearMap, terms: Terms, bias: Tensor | None) -> Tensor:
    z = layer.apply_all(terms)
    return z if bias is None else z.add_(bias)


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    """Return the sum of products with weights that broadcast, summing first what shares a weight."""
    return (values.sum_to_size(weights.shape) * weights).sum()


def signed_terms(x: Tensor, weight: Tensor | None, positive: bool) -> Terms:
    """Return the terms whose contributions are all positive, or all negative."""
    up = None if weight is None else weight.clamp(min=0)
    down = None if weight is None else weight.clamp(max=0)
    same, other = (up, down) if positive else (down, up)
    if not bool(x.amin() < 0):
        return [(x, same)]
    return [(Half(x, positive=True), same), (Half(x, positive=False), other)]


@dataclass(frozen=True)
class Epsilon(Rule):
    """In proportion to ``z_ij``; epsilon is added to the magnitude of the sum (Bach et al. 2015)."""

    _name: ClassVar[str] = "epsilon"
    uses_output: ClassVar[bool] = True
    epsilon: float

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        return _share(layer, [(x, layer.weight)], layer.bias, relevance, entry, self.epsilon, output=output)


@dataclass(frozen=True)
class Proportion(Rule):
    """In proportion to ``z_ij``, for averages."""

    _name: ClassVar[str] = "proportion"
    uses_output: ClassVar[bool] = True

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        return _share(layer, [(x, layer.weight)], layer.bias, relevance, entry, output=output)


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """Positive and negative contributions apart: alpha times one share less beta times the other (Bach et al. 2015).

    With 1 and 0 this is z+ (Montavon et al. 2017).
    """

    _name: ClassVar[str] = "alpha-beta"
    alpha: float = 1
    beta: float = 0
    ignore_bias: bool = False

    @property
    def name(self) -> str:
        """See ``Rule``."""
        return "z-plus" if (self.alpha, self.beta) == (1, 0) else self._name

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        bias = None if self.ignore_bias else layer.bias
        up = None if bias is None else bias.clamp(min=0)
        positive = signed_terms(x, layer.weight, positive=True)
        result = _share(layer, positive, up, relevance, entry, factor=self.alpha, sign=1)
        if self.beta == 0:
            return result
        down = None if bias is None else bias.clamp(max=0)
        negative = signed_terms(x, layer.weight, positive=False)
        return result.add_(_share(layer, negative, down, relevance, entry, factor=-self.beta, sign=-1))


@dataclass(frozen=True)
class Gamma(Rule):
    """Contributions of the output's sign count 1 + gamma times (Montavon et al. 2019)."""

    _name: ClassVar[str] = "gamma"
    uses_output: ClassVar[bool] = True
    gamma: float

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        assert output is not None
        up = output > 0
        result: Tensor | None = None
        for positive, chosen in ((True, up), (False, ~up)):
            # Behind a ReLU no relevance arrives at negative outputs.
            part = relevance.where(chosen, relevance.new_zeros(()))
            if bool(part.any()):
                share = self._side(layer, x, part, entry, positive)
                result = share if result is None else result.add_(share)
        return torch.zeros_like(x) if result is None else result

    def _side(self, layer: LinearMap, x: Tensor, relevance: Tensor, entry: Entry, positive: bool) -> Tensor:
        bias = layer.bias
        if bias is not None:
            bias = bias + self.gamma * (bias.clamp(min=0) if positive else bias.clamp(max=0))
        terms = signed_terms(x, layer.weight, positive)
        if len(terms) == 1 and layer.weight is not None and terms[0][1] is not None:
            terms = [(x, layer.weight + self.gamma * terms[0][1])]
        else:
            terms = [(x, layer.weight), *((self.gamma * whole(part), weight) for part, weight in terms)]
        return _share(layer, terms, bias, relevance, entry)


@dataclass(frozen=True)
class Flat(Rule):
    """The same for every input of an output, whatever it contributes (Lapuschkin et al. 2019)."""

    _name: ClassVar[str] = "flat"

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        weight = None if layer.weight is None else torch.ones_like(layer.weight)
        return _share(layer, [(torch.ones_like(x), weight)], None, relevance, entry)


@dataclass(frozen=True)
class WSquare(Rule):
    """In proportion to squared weights, for inputs without bounds (Montavon et al. 2017)."""

    _name: ClassVar[str] = "w-square"

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        weight = None if layer.weight is None else layer.weight.square()
        return _share(layer, [(torch.ones_like(x), weight)], None, relevance, entry)


@dataclass(frozen=True)
class ZBox(Rule):
    """In proportion to ``x w - low w+ - high w-``, for inputs between bounds (Montavon et al. 2017).

    Attributes:
        low: Lower bound; None: the minimum of each volume and channel.
        high: Upper bound; None: the maximum.
    """

    _name: ClassVar[str] = "z-box"
    low: float | None = None
    high: float | None = None

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        assert layer.weight is not None
        low, high = self._bounds(x)
        terms: Terms = [
            (x, layer.weight),
            (-low.expand_as(x).contiguous(), layer.weight.clamp(min=0)),
            (-high.expand_as(x).contiguous(), layer.weight.clamp(max=0)),
        ]
        return _share(layer, terms, None, relevance, entry)

    def check(self, x: Tensor, output: Tensor, name: str) -> None:
        """See ``Rule``."""
        self._bounds(x)

    def _bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        space = tuple(range(2, x.ndim)) or (1,)
        lowest, highest = x.amin(space, keepdim=True), x.amax(space, keepdim=True)
        low = lowest if self.low is None else torch.full_like(lowest, self.low)
        high = highest if self.high is None else torch.full_like(highest, self.high)
        if bool((lowest < low).any()) or bool((highest > high).any()):
            raise InputError(
                f"LRP: voxels from {float(lowest.min()):g} to {float(highest.max()):g} leave the box of low "
                f"{float(low.min()):g} and high {float(high.max()):g}. Give bounds that hold for every voxel, or null."
            )
        return low, high


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance passes unchanged, for layers whose output has the shape of their input."""

    _name: ClassVar[str] = "pass"

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        return relevance.clone()

    def check(self, x: Tensor, output: Tensor, name: str) -> None:
        """See ``Rule``."""
        if x.shape != output.shape:
            raise InputError(
                f"LRP: the rule pass needs a layer whose output has the shape of its input; {name} makes "
                f"{list(output.shape[1:])} of {list(x.shape[1:])}."
            )
