"""Runs a canonical network so that its backward pass propagates relevance in place of gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from xai_core.canonical import Canonical, Part
from xai_core.progress import report

from ._ledger import Entry, Ledger
from ._maps import LinearMap, map_of
from ._rules import STABILIZER, Rule

__all__ = ["PassOn", "Propagation"]

# The layer as a linear map, from the number of dimensions of its input; made in the backward pass, and then let go.
Maps = Callable[[int], LinearMap]


class _Passed:
    """Tells how many layers are done, on the way there and back."""

    def __init__(self, layers: int) -> None:
        self._done, self._all = 0, 2 * layers

    def one(self) -> None:
        self._done += 1
        report(self._done, self._all, "layers")


class _Divide(torch.autograd.Function):
    """A layer with a rule."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: nn.Module, maps: Maps, rule: Rule, entry: Entry, sums: bool, passed: _Passed
    ) -> Tensor:
        ctx.maps, ctx.rule, ctx.entry, ctx.sums, ctx.passed = maps, rule, entry, sums, passed
        result: Tensor = layer(x)
        rule.check(x, result, entry.name)
        ctx.save_for_backward(x, result if rule.uses_output else None)
        passed.one()
        return result

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None, None, None, None, None]:
        x, output = ctx.saved_tensors
        divided = ctx.rule.divide(ctx.maps(x.ndim), x, output, relevance, ctx.entry)
        if ctx.sums:
            ctx.entry.output, ctx.entry.input = relevance.sum(), divided.sum()
        ctx.passed.one()
        return divided, None, None, None, None, None, None


class _Split(torch.autograd.Function):
    """A sum of two tensors: each gets its share, ``R_i = x_i / (x_1 + x_2) R``, the epsilon rule of a layer that adds.

    The gradient would hand the whole relevance to both.
    """

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, factors: tuple[float, float]) -> Tensor:
        ctx.save_for_backward(first, second)
        ctx.factors = factors
        return factors[0] * first + factors[1] * second if factors != (1, 1) else first + second

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, Tensor, None]:
        a, b = (tensor if factor == 1 else factor * tensor
                for tensor, factor in zip(ctx.saved_tensors, ctx.factors, strict=True))  # fmt: skip
        total = a + b
        total.add_(torch.copysign(total.new_tensor(STABILIZER), total))
        quotient = torch.div(relevance, total, out=total)
        return (a * quotient).sum_to_size(a.shape), (b * quotient).sum_to_size(b.shape), None


class PassOn(torch.autograd.Function):
    """An activation, a scaling or a gated signal: the relevance passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: nn.Module, others: tuple[Tensor, ...]) -> Tensor:
        ctx.shape = x.shape
        result: Tensor = layer(x, *others)
        return result

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None]:
        return relevance.sum_to_size(ctx.shape), None, None


class Propagation(fx.Interpreter):
    """A canonical network whose backward pass follows rules.

    Args:
        canonical: Is not changed.
        rules: By name, for the modules that have contributions to divide.
        ledger: Gets an account for each of them.
    """

    def __init__(self, canonical: Canonical, rules: Mapping[str, Rule], ledger: Ledger) -> None:
        super().__init__(canonical.network)
        self._canonical = canonical
        self._rules = rules
        self._ledger = ledger
        self._passed = _Passed(sum(target in rules for target in canonical.parts))

    def run(self, *args: Any, **options: Any) -> Any:
        """Return the output for volumes."""
        try:
            return super().run(*args, **options)
        finally:
            # The output leads to the layers' backward passes, and these to this object: a circle through autograd, in
            # which Python's garbage collector does not see it, would keep a copy of the weights for each volume.
            self.env = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one module with its rule."""
        if target not in self._rules:
            return self.call_other(target, args, kwargs)
        rule = self._rules[target]
        entry = self._ledger.open(self._canonical.names[target], rule.name)
        layer = self.fetch_attr(target)
        maps = partial(self.map_of, layer, self._canonical.parts[target])
        sums = self._ledger.layers
        return _Divide.apply(args[0], layer, maps, rule, entry, sums, self._passed)  # type: ignore[no-untyped-call]

    def map_of(self, layer: nn.Module, part: Part, dimensions: int) -> LinearMap:
        """Return a layer with a rule as a linear map; see ``map_of``."""
        return map_of(layer, part, dimensions)

    def call_other(self, target: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a module without a rule of its own."""
        part, layer = self._canonical.parts.get(target), self.fetch_attr(target)
        if part is Part.SUM:
            return _Split.apply(*args, layer.factors)  # type: ignore[no-untyped-call]
        if part in (Part.ACTIVATION, Part.SCALE, Part.GATED, Part.PASSED):
            others = tuple(other.detach() for other in args[1:])
            return PassOn.apply(args[0], layer, others)  # type: ignore[no-untyped-call]
        return super().call_module(target, args, kwargs)
