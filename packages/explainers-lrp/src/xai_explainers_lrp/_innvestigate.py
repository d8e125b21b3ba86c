"""The rules of iNNvestigate 2.1.2 as it really computes them, mistakes included, to give published maps back.

Source of every formula: its files ``analyzer/relevance_based/relevance_rule.py``, ``relevance_analyzer.py`` and
``backend/graph.py`` (Alber et al. 2019, JMLR 20(93)). What differs from the rules as they are published:

* In alpha-beta the whole bias, of either sign, is in both denominators; nothing but an exact zero is kept away from.
* Batch normalisation is replaced by ``k x + c`` with ``t = sqrt(var^2 + eps)``, ``k = gamma / t`` and
  ``c = beta - mean / t``: the variance is squared and the mean not multiplied by gamma. The presets A and B give it
  ``2 x+ k+ R / (k+ x+ + c+) - x+ k- R / (k- x+ + c-)``, so negative inputs get nothing.
* What has no rule there passes the gradient: batch normalisation aside, every normalisation and difference.
* A product passes it to both factors. The canonical form sees a gate in one of them, whose branch gets no rules; such
  networks are refused.

Relevance is not conserved, and what is lost is not accounted for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_core.canonical import Canonical, Part
from xai_core.canonical.operations import Affine

from ._ledger import Entry
from ._maps import LinearMap, in_slabs
from ._propagate import PassOn, Propagation
from ._rules import Rule, signed_terms
from ._settings import ORIGINAL, Settings

__all__ = ["OriginalPropagation", "original_rules"]

_ZERO = 1e-7  # in place of a denominator that is exactly zero
_ACTIVATION = "Activation"  # a Keras layer's class: relevance passes unchanged
_GRADIENT = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU)  # activations that are layers of their own in Keras


def _divided(relevance: Tensor, z: Tensor) -> Tensor:
    """Return relevance / z, in the memory of ``z``."""
    return torch.div(relevance, z.masked_fill_(z == 0, _ZERO), out=z)


@dataclass(frozen=True)
class Z(Rule):
    """``x W^T R / z`` with the layer's own output, bias included, as z."""

    _name: ClassVar[str] = "innvestigate-z"
    uses_output: ClassVar[bool] = True

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        assert output is not None
        return layer.transpose(_divided(relevance, output.clone()), x, layer.weight).mul_(x)


@dataclass(frozen=True)
class Epsilon(Rule):
    """The same with ``z + epsilon`` where z is at least 0, and ``z - epsilon`` elsewhere."""

    _name: ClassVar[str] = "innvestigate-epsilon"
    uses_output: ClassVar[bool] = True
    epsilon: float

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        assert output is not None
        z = output + torch.where(output >= 0, self.epsilon, -self.epsilon).to(output.dtype)
        return layer.transpose(torch.div(relevance, z, out=z), x, layer.weight).mul_(x)


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """Contributions of either sign apart, each with the whole bias in the denominator."""

    _name: ClassVar[str] = "innvestigate-alpha-beta"
    alpha: float
    beta: float

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        result = self._share(layer, x, relevance, positive=True)
        if self.beta == 0:
            return result  # alpha is 1
        return result.mul_(self.alpha).sub_(self._share(layer, x, relevance, positive=False), alpha=self.beta)

    def _share(self, layer: LinearMap, x: Tensor, relevance: Tensor, positive: bool) -> Tensor:
        terms = signed_terms(x, layer.weight, positive)
        z = layer.apply_all(terms)
        if layer.bias is not None:
            z.add_(layer.bias)
        return layer.weigh_all(_divided(relevance, z), terms)


@dataclass(frozen=True)
class Surrogate(Rule):
    """Another rule on what stands in for batch normalisation."""

    rule: Rule

    @property
    def name(self) -> str:
        """See ``Rule``."""
        return f"{self.rule.name}, surrogate of batch normalisation"

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        z = layer.apply(x, layer.weight)
        if layer.bias is not None:
            z.add_(layer.bias)
        return self.rule.divide(layer, x, z, relevance, entry)


@dataclass(frozen=True)
class PositiveInputs(Rule):
    """``2 x+ k+ R / (k+ x+ + c+) - x+ k- R / (k- x+ + c-)``."""

    _name: ClassVar[str] = "innvestigate-alpha-beta-x2m100"

    def divide(self, layer: LinearMap, x: Tensor, output: Tensor | None, relevance: Tensor, entry: Entry) -> Tensor:
        """See ``Rule``."""
        weight = cast(Tensor, layer.weight)
        # A channel's k is of one sign, so one of the two terms is zero.
        up = weight > 0
        bias = torch.zeros_like(weight) if layer.bias is None else layer.bias
        bias = torch.where(up, bias.clamp(min=0), bias.clamp(max=0))
        factor = torch.where(up, 2, -1)
        result = torch.empty_like(x)
        for out, part, given in in_slabs(result, x, relevance):
            share = part.clamp(min=0).mul_(weight)
            # Both parts of z are of its sign: where it is zero so is the contribution.
            share.div_(share + bias).nan_to_num_(0)
            torch.mul(share.mul_(given), factor, out=out)
        return result


class _Norm(LinearMap):
    """What stands in for batch normalisation: ``k x + c`` by channel."""

    def __init__(self, norm: nn.BatchNorm3d, dimensions: int) -> None:
        mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        t = (var.square() + norm.eps).sqrt()
        gamma = torch.ones_like(mean) if norm.weight is None else norm.weight.detach()
        beta = torch.zeros_like(mean) if norm.bias is None else norm.bias.detach()
        shape = (1, -1, *(1,) * (dimensions - 2))
        self.weight, self.bias = (gamma / t).reshape(shape), (beta - mean / t).reshape(shape)

    def apply(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return x * cast(Tensor, weight)

    def transpose(self, s: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
        return s * cast(Tensor, weight)


def original_rules(canonical: Canonical, settings: Settings) -> dict[str, Rule]:
    """Return the rule of each layer that divides relevance, by name; its network has its batch normalisations.

    Raises:
        InputError: The network has gates.
    """
    if Part.GATED in canonical.parts.values():
        raise InputError(
            f"LRP: {settings.composite} cannot be reproduced: the network multiplies a signal by a gate, such as a "
            "sigmoid, and iNNvestigate hands relevance through the gate's own layers too. Choose a composite whose "
            "name does not begin with innvestigate."
        )
    epsilon, own = Epsilon(settings.epsilon), settings.composite.removeprefix(ORIGINAL)
    convolution, dense, norm = {
        "sequential-preset-a": (AlphaBeta(1, 0), epsilon, PositiveInputs()),
        "sequential-preset-b": (AlphaBeta(2, 1), epsilon, PositiveInputs()),
        "epsilon": (epsilon, epsilon, Surrogate(epsilon)),
        "z": (Z(), Z(), Surrogate(Z())),
        "alpha1-beta0": (AlphaBeta(1, 0), AlphaBeta(1, 0), AlphaBeta(1, 0)),
    }[own]
    by_part: Mapping[Part, Rule] = {
        Part.CONVOLUTION: convolution, Part.DENSE: dense, Part.AFFINE: norm, Part.AVERAGE: Z()
    }  # fmt: skip
    return {
        name: by_part[part]
        for name, part in canonical.parts.items()
        if part in by_part and not isinstance(canonical.network.get_submodule(name), Affine)
    }


class _Add(torch.autograd.Function):
    """A sum of two: ``x_i R / z``, summed over what was broadcast."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        return first + second

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, Tensor]:
        first, second = ctx.saved_tensors
        quotient = _divided(relevance, first + second)
        return quotient.sum_to_size(first.shape) * first, quotient.sum_to_size(second.shape) * second


class OriginalPropagation(Propagation):
    """A network, its batch normalisations apart, whose backward pass follows the original's rules."""

    def map_of(self, layer: nn.Module, part: Part, dimensions: int) -> LinearMap:
        """See ``Propagation``."""
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return _Norm(cast(nn.BatchNorm3d, layer), dimensions)
        return super().map_of(layer, part, dimensions)

    def call_other(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """See ``Propagation``."""
        part, layer = self._canonical.parts.get(target), self.fetch_attr(target)
        if part is Part.SUM and layer.factors == (1, 1):
            return _Add.apply(*args)  # type: ignore[no-untyped-call]
        if part in (Part.ACTIVATION, Part.PASSED) and _passes(layer):
            return PassOn.apply(args[0], layer, ())  # type: ignore[no-untyped-call]
        return layer(*args, **kwargs)


def _passes(layer: nn.Module) -> bool:
    """Whether an activation was none of Keras' layers ReLU, LeakyReLU ... but an ``Activation``, or part of a layer."""
    of_keras = getattr(layer, "keras_class", None)
    if of_keras is None:
        return not isinstance(layer, _GRADIENT) and not any(True for _ in layer.parameters())
    return bool(of_keras == _ACTIVATION)
