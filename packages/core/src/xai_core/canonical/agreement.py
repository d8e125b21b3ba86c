"""Compares a network's canonical form with the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..engine.batching import is_out_of_memory
from ..errors import InputError
from .canonize import Canonical, canonize
from .isolation import isolated_copy

__all__ = ["check_gradient", "check_outputs"]

_AGREEMENT = 1e-4  # of the canonical form's outputs with the network's, relative to the largest
_GRADIENT = 1e-6  # the same of gradients in double precision
_NOISE = 0.01  # of the volumes' spread: enough for no two voxels to be equal


def check_outputs(
    canonical: Canonical, model: nn.Module, inputs: Tensor, outputs: Tensor, passed: Sequence[str]
) -> None:
    """Refuse a network whose canonical form computes something else.

    Raises:
        InputError: The outputs differ by more than rounding, or the form does not run.
    """
    difference = _difference(_output(canonical, inputs), outputs)
    if not difference <= _AGREEMENT and inputs.dtype != torch.float64:
        # A logit that is a small difference of large numbers: rounding may be larger than the tolerance.
        exact = isolated_copy(model).double()
        double = inputs.double()
        expected = exact(double)  # before it is canonised, which changes its modules and drops its hooks
        difference = _difference(_output(canonize(exact, double, passed), double), expected)
    if not difference <= _AGREEMENT:  # NaN too
        raise InputError(
            "The network in the form that this explainer needs gives other outputs than the network itself "
            f"(relative difference {difference:.1e}). Something in its forward is not seen: a hook that changes "
            "values, or a branch on the data. Remove it, or use an explainer that needs gradients only "
            "(input-x-gradient, integrated-gradients)."
        )


def check_gradient(model: nn.Module, inputs: Tensor, passed: Sequence[str]) -> None:
    """Refuse a network from whose form a path is missing that its outputs for the same volumes do not show.

    A form that holds for some volumes only cannot be tried on others, and a value that it takes for a constant is the
    right one for these. So another form is made in double precision, for volumes with some noise, and its gradient
    compared with the network's. Nothing is said where the network has no gradient, or does not run on these volumes.

    Raises:
        InputError: The gradients differ.
    """
    exact = isolated_copy(model).double()
    generator = torch.Generator().manual_seed(0)
    double = inputs.double()
    noise = torch.randn(inputs.shape, generator=generator, dtype=torch.float64).to(double.device)
    double = double + _NOISE * double.std(correction=0) * noise
    try:
        expected = _gradient(exact, double)
        found = _gradient(canonize(exact, double, passed).network, double)
    except Exception as error:  # whatever a network raises that wants other values, or for a gradient
        if is_out_of_memory(error):
            raise
        return
    difference = _difference(found, expected)
    if not difference <= _GRADIENT:
        raise InputError(
            "The network in the form that this explainer needs has another gradient than the network itself (relative "
            f"difference {difference:.1e}), and its forward depends on the data. A part of it may not be seen, or it "
            "cuts the gradient (detach, no_grad). Write it without branches on values, or use an explainer that needs "
            "gradients only (input-x-gradient, integrated-gradients)."
        )


def _gradient(network: nn.Module, volumes: Tensor) -> Tensor:
    leaf = volumes.clone().requires_grad_()
    with torch.enable_grad():
        output = network(leaf.clone())
        weights = torch.arange(1, output.shape[1] + 1, dtype=output.dtype, device=output.device)
        return torch.autograd.grad((output * weights).sum(), leaf)[0]


def _output(canonical: Canonical, inputs: Tensor) -> Tensor:
    try:
        output: Tensor = canonical.network(inputs)
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().split("\n", 1)[0]
        raise InputError(
            "The network in the form that this explainer needs does not run on volumes of shape "
            f"{list(inputs.shape)} ({reason}). Use an explainer that needs gradients only (input-x-gradient, "
            "integrated-gradients)."
        ) from error
    return output


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
    return float((found - expected).abs().max()) / scale
