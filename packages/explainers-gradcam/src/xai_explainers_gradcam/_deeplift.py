"""DeepLIFT with the Rescale rule, on the canonical form of the network.

Captum's DeepLift raises where a ReLU module is used twice, sees no functional activation, and its contributions do not
sum up at max pooling behind an activation or with overlapping windows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from xai_core import Attribution, InputError
from xai_core.canonical import Canonical
from xai_core.engine.batching import run_batched
from xai_core.engine.requests import as_attribution, differentiating, explaining, unwrapped

from ._complete import unexplained
from ._gradients import INPUT
from ._operations import Sort, canonical_copy, named, sort_of
from ._paths import Source, outputs_at

__all__ = ["check_rules", "deeplift"]

_COMPLETE = 0.01
# Below this share of the values themselves their difference has few digits. In max pooling the quotient is 1 then.
_TINY = 1e-5
# Values that differ by less than this share of the other volume's count as tied in max pooling.
_TIE = 1e-4
_RAMP = 1e-6


def deeplift(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, source: Source, max_batch: int
) -> Attribution:
    """Return the contributions of DeepLIFT's Rescale rule; see ``plugin_paths.DeepLIFT``."""
    with explaining(model, volumes, target, gradients=False) as explained, differentiating(INPUT):
        (start,) = source.volumes(explained.volumes.detach())
        network = unwrapped(model)
        inputs = explained.volumes.detach()
        pieces = run_batched(
            lambda at: _contributions(network, inputs[at], start[at], explained.target[at]),
            torch.arange(len(inputs), device=inputs.device),
            max_batch,
        )
        relevance = torch.cat(pieces)
        baseline = outputs_at(explained, [start], max_batch)[0]
        _check_complete(relevance, explained.output.double(), baseline)
        delta = relevance.double().flatten(1).sum(1) - (explained.output.double() - baseline)
        details = [
            {"baseline_output": float(baseline[i]), "convergence_delta": float(delta[i])} for i in range(len(relevance))
        ]
        return as_attribution(explained, relevance, details)


def check_rules(model: nn.Module, volumes: Tensor) -> None:
    """Refuse a network with an operation that has no rule; how exact the sum is depends on the trained weights.

    Raises:
        InputError: It names the operation.
    """
    with explaining(model, volumes, None, gradients=False) as explained, differentiating(INPUT):
        inputs = explained.volumes.detach()
        _contributions(unwrapped(model), inputs, torch.zeros_like(inputs), explained.target)


def _check_complete(relevance: Tensor, output: Tensor, baseline_output: Tensor) -> None:
    missed = unexplained(relevance, output, baseline_output)
    if not bool((missed <= _COMPLETE).all()):
        worst = int(missed.nan_to_num(torch.inf).argmax())
        raise InputError(
            f"DeepLIFT's contributions for volumes[{worst}] do not sum up to the difference between output "
            f"({float(output[worst]):.4g}) and baseline output ({float(baseline_output[worst]):.4g}), as they must: "
            f"they miss {100 * float(missed[worst]):.3g} %. The network does something that depends on the data and "
            "is not seen, or its numbers cancel beyond the precision: try model.double(), or use integrated-gradients."
        )


def _contributions(model: nn.Module, volumes: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Return the contributions for volumes and their baselines, all [n, C, D, H, W]."""
    canonical = canonical_copy(model, volumes)
    leaf = volumes.detach().requires_grad_()
    outputs: Tensor = _Rescale(canonical).run(_Pair(leaf, start)).given
    (multiplier,) = torch.autograd.grad(outputs.gather(1, target[:, None]).sum(), leaf)
    return multiplier * (volumes - start)


@dataclass(frozen=True)
class _Pair:
    """What an operation gives for the volume, with multipliers as its derivatives, and for the baseline."""

    given: Any
    reference: Any


class _Rescale(fx.Interpreter):
    """Runs a canonical network on volumes and baselines side by side.

    Each operation has its own value and, as its derivative, DeepLIFT's multiplier: autograd then multiplies and sums
    the multipliers by the chain rule.
    """

    def __init__(self, canonical: Canonical) -> None:
        super().__init__(canonical.network)
        self._canonical = canonical
        self.extra_traceback = False  # it would be added to messages that are meant for the user

    def run_node(self, n: fx.Node) -> Any:
        """Return the pair of values of one operation."""
        if n.op in ("placeholder", "output"):
            return super().run_node(n)
        values = self.fetch_args_kwargs_from_env(n)
        given, reference = _side(values, "given"), _side(values, "reference")

        def call(side: Any) -> Any:
            return getattr(self, n.op)(n.target, *side)

        with torch.no_grad():
            at_reference = call(reference)
        sort = sort_of(self._canonical, n)
        if sort is Sort.AFFINE:
            value = call(given)
        elif sort is Sort.PRODUCT:
            value = _product(given[0], reference[0])
        elif sort is Sort.MAX_POOL:
            value = _max_pool(self._canonical.network.get_submodule(str(n.target)), given[0][0], reference[0][0])
        elif sort in (Sort.RELU, Sort.ELEMENTWISE):
            (x, *settings), named_settings = given
            value = _elementwise(lambda at: call(((at, *settings), named_settings)), x, reference[0][0], at_reference)
        else:
            raise InputError(
                f"DeepLIFT has no rule for {named(self._canonical, n)} in this network. Use "
                "integrated-gradients, which needs gradients only."
            )
        return _Pair(value, at_reference)


def _side(values: Any, name: str) -> Any:
    return fx.node.map_aggregate(values, lambda value: getattr(value, name) if isinstance(value, _Pair) else value)


def _with_multiplier(value: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Return ``value`` with a multiplier as its derivative with respect to each input: (multiplier, input)."""
    result = value.detach()
    for multiplier, source in terms:
        result = result + multiplier.detach() * (source - source.detach())
    return result


def _quotient(above: Tensor, below: Tensor, small: Tensor, slope: Tensor) -> Tensor:
    """Return the quotient of differences, and ``slope`` where the lower one is at most ``small``."""
    tiny = below.abs() <= small
    return torch.where(tiny, slope, above / torch.where(tiny, torch.ones_like(below), below))


def _elementwise(
    function: Callable[[Tensor], Tensor], given: Tensor, reference: Tensor, at_reference: Tensor
) -> Tensor:
    """Rescale rule: the multiplier is the difference of outputs by the difference of inputs (Shrikumar 2017, 3.5.2).

    Rounding takes digits of a small difference. The derivative at the middle is as good as the quotient up to the
    square of the difference; both errors are the same where the difference is the cube root of the precision.
    """
    with torch.enable_grad():
        middle = ((given.detach() + reference) / 2).requires_grad_()
        (slope,) = torch.autograd.grad(function(middle).sum(), middle)
    with torch.no_grad():
        value = function(given)
        small = torch.finfo(given.dtype).eps ** (1 / 3) * torch.maximum(given.abs(), reference.abs())
        multiplier = _quotient(value - at_reference, given - reference, small, slope)
    return _with_multiplier(value, (multiplier, given))


def _product(given: tuple[Tensor, ...], reference: tuple[Tensor, ...]) -> Tensor:
    """Each factor gets its Shapley share of the difference: its own difference times the other factor's mean."""
    (a, b), (a0, b0) = given[:2], reference[:2]
    return _with_multiplier(a * b, ((b + b0) / 2, a), ((a + a0) / 2, b))


def _max_pool(module: nn.Module, given: Tensor, reference: Tensor) -> Tensor:
    """A rise of the maximum goes to where the volume has it, a fall to where the baseline has it.

    There the input itself rises or falls at least as much, so the quotient lies in [0, 1] and their product is the
    difference of the outputs, also where windows overlap. Where several places have the maximum (all of them, in a
    baseline that is the same everywhere), it is the one of them at which the other volume has most; and where both
    tie (behind a ReLU), the outermost places share it, so that no side is preferred.
    """
    with torch.no_grad():
        value, at = _pooled(module, given)
        value0, at0 = _pooled(module, reference)
        above = (value - value0).flatten(2)
        scale = torch.maximum(value.abs(), value0.abs()).flatten(2)
        first = torch.where(above >= 0, at.flatten(2), at0.flatten(2))
    slopes = _slopes(given, reference)
    terms = []
    for slope in slopes:
        with torch.no_grad():
            _, tied = _pooled(module, given + _TIE * reference + slope)
            _, tied0 = _pooled(module, reference + _TIE * given + slope)
            chosen = torch.where(above >= 0, tied.flatten(2), tied0.flatten(2))
            below = _difference(given, reference, chosen)
            # With values that only all but tie it may be a place that rises less than the maximum.
            fits = (below * above >= 0) & (below.abs() >= (1 - _TIE) * above.abs())
            chosen = torch.where(fits, chosen, first)
            below = _difference(given, reference, chosen)
            multiplier = _quotient(above, below, _TINY * scale, torch.ones_like(below))
        terms.append((multiplier / len(slopes), given.flatten(2).gather(2, chosen)))
    return _with_multiplier(value.flatten(2), *terms).reshape(value.shape)


def _difference(given: Tensor, reference: Tensor, at: Tensor) -> Tensor:
    return given.flatten(2).gather(2, at) - reference.flatten(2).gather(2, at)


def _slopes(given: Tensor, reference: Tensor) -> list[Tensor]:
    """Return ramps towards each corner of a feature map, [N, 1, ...], which decide between places that tie."""
    axes = tuple(range(1, given.ndim))
    scale = torch.maximum(given.detach().abs(), reference.abs()).amax(axes, keepdim=True)
    ramps = []
    for signs in itertools.product((-1, 1), repeat=given.ndim - 2):
        steps = [
            sign * torch.arange(size, device=given.device) for sign, size in zip(signs, given.shape[2:], strict=True)
        ]
        ramps.append(_RAMP * scale * sum(torch.meshgrid(*steps, indexing="ij")))
    return ramps


def _pooled(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maxima [N, K, ...] and where they are: indices into each flattened feature map."""
    twin: Any = copy(module)  # the network itself is shared and must not be changed
    twin.return_indices = True
    found: tuple[Tensor, Tensor] = twin(x)
    return found
