"""Computes the relevance of a batch of volumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xai_core import Attribution, InputError

from ._canonize import Canonical, canonize
from ._rules import Settings, composite_of
from ._trace import isolated_copy

__all__ = ["attribute"]

_AGREEMENT = 1e-4  # of the canonised network's outputs with the original's, relative to the largest


def attribute(model: nn.Module, volumes: Tensor, target: Tensor | None, settings: Settings) -> Attribution:
    """Return what ``plugin.LRP.explain`` promises."""
    _check_volumes(volumes)
    while isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        model = model.module
    # A caller's no_grad, inference_mode or autocast must not reach the backward pass.
    device = next(model.parameters(), volumes).device
    with torch.inference_mode(False), torch.enable_grad(), _full_precision(device):
        copy = isolated_copy(model)
        inputs = volumes.detach().to(device, next(copy.parameters(), volumes).dtype).clone()
        outputs = _outputs(copy, inputs)
        canonical = canonize(copy, inputs)
        _check_agreement(canonical, model, inputs, outputs)
        indices = _targets(outputs, target)
        relevance = _relevance(canonical, inputs, indices, settings)
    explained = outputs.gather(1, indices[:, None])[:, 0]
    return Attribution(
        relevance=relevance.to(device=volumes.device, dtype=torch.float32),
        output=explained.to(device=volumes.device, dtype=torch.float32),
        target=indices.to(volumes.device),
        details=[_details(r, float(y)) for r, y in zip(relevance, explained, strict=True)],
    )


def _check_volumes(volumes: Tensor) -> None:
    if volumes.ndim != 5 or volumes.numel() == 0 or not volumes.is_floating_point():
        raise InputError(
            f"LRP: volumes must be a floating-point tensor [N, C, D, H, W], not empty; this is {volumes.dtype} of "
            f"shape {tuple(volumes.shape)}."
        )
    finite = torch.isfinite(volumes).flatten(1).all(1)
    if not bool(finite.all()):
        bad = (~finite).nonzero().flatten().tolist()
        raise InputError(
            f"LRP: volume {bad[0]} of {len(volumes)} holds {int((~torch.isfinite(volumes[bad[0]])).sum())} "
            "voxels that are NaN or infinite. Replace them before explaining."
        )


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Switch off reduced precision: with TF32 the parts of a cancelling sum keep three digits only."""
    with torch.autocast(device.type, enabled=False):
        if device.type == "cuda":
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
                yield
        else:
            yield


def _outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return the network's outputs [N, outputs]."""
    try:
        with torch.no_grad():
            outputs: Any = network(inputs.clone())
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise InputError(
            f"LRP: {type(network).__name__} does not run on volumes of shape {tuple(inputs.shape)} "
            f"({type(error).__name__}: {reason}). Give volumes of the size and with the channels that it takes."
        ) from error
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"LRP: the network must return one tensor [N, outputs]; {type(network).__name__} returns "
            f"{type(outputs).__name__}. Wrap it in a module that returns the logits only."
        )
    if outputs.ndim != 2 or len(outputs) != len(inputs):
        raise InputError(
            f"LRP: the network must return [N, outputs]; {type(network).__name__} returns "
            f"{tuple(outputs.shape)} for {len(inputs)} volumes."
        )
    if not bool(torch.isfinite(outputs).all()):
        raise InputError("LRP: the network's output is NaN or infinite for these volumes; check its weights.")
    return outputs


def _targets(outputs: Tensor, target: Tensor | None) -> Tensor:
    """Return the indices of the outputs to explain, int64 [N]."""
    count = outputs.shape[1]
    if target is None:
        return outputs.argmax(1)
    if target.shape != outputs.shape[:1] or target.is_floating_point() or target.dtype == torch.bool:
        raise InputError(
            f"LRP: target must be int64 [{len(outputs)}], one index for each volume; this is {target.dtype} "
            f"of shape {tuple(target.shape)}."
        )
    wrong = [int(t) for t in target if not 0 <= int(t) < count]
    if wrong:
        raise InputError(f"LRP: target {wrong[0]} does not exist; the network has the outputs 0 to {count - 1}.")
    return target.to(device=outputs.device, dtype=torch.int64)


def _check_agreement(canonical: Canonical, model: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    """Refuse a network whose canonised form computes something else.

    Raises:
        InputError: The outputs differ by more than rounding.
    """
    with torch.no_grad():
        difference = _difference(canonical.network(inputs), outputs)
        if difference > _AGREEMENT and inputs.dtype != torch.float64:
            # A logit that is a small difference of large numbers: rounding may be larger than the tolerance.
            exact = isolated_copy(model).double()
            double = inputs.double()
            expected = exact(double)  # before it is canonised, which changes its modules and drops its hooks
            difference = _difference(canonize(exact, double).network(double), expected)
    if difference > _AGREEMENT:
        raise InputError(
            "LRP: the network in the form that LRP needs gives other outputs than the network itself "
            f"(relative difference {difference:.1e}). Something in its forward is not seen by torch.fx: a "
            "hook that changes values, or a branch on the data. Remove it, or use an explainer that needs "
            "gradients only."
        )


def _difference(found: Tensor, expected: Tensor) -> float:
    scale = max(float(expected.abs().max()), torch.finfo(expected.dtype).tiny)
    return float((found - expected).abs().max()) / scale


def _relevance(canonical: Canonical, inputs: Tensor, indices: Tensor, settings: Settings) -> Tensor:
    leaf = inputs.clone().requires_grad_()
    composite = composite_of(canonical, inputs, settings)
    with composite.context(canonical.network) as network:
        outputs = network(leaf)
        start = torch.zeros_like(outputs).scatter(1, indices[:, None], outputs.detach().gather(1, indices[:, None]))
        (relevance,) = torch.autograd.grad(outputs, leaf, grad_outputs=start)
    if not bool(torch.isfinite(relevance).all()):
        raise InputError(
            "LRP: the relevance overflows: a denominator is too near to zero. Raise epsilon, or choose the "
            "composite epsilon-plus."
        )
    return relevance.detach()


def _details(relevance: Tensor, output: float) -> dict[str, float | None]:
    total = float(relevance.double().sum())
    return {
        "sum_of_relevance": total,
        "output": output,
        "conservation": total / output if output != 0 else None,
    }
