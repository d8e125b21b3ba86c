"""Whether a network's gradient is the derivative of what it computes."""

from __future__ import annotations

import weakref
from copy import deepcopy

import torch
from torch import Tensor, nn

from ..errors import InputError

__all__ = ["check_gradient"]

_TOLERANCE = 0.05  # of the derivative along a line
# Of the intensities' spread; a larger step crosses more of the corners of ReLUs, a smaller one loses digits.
_STEPS = (1e-7, 1e-8, 1e-6, 1e-5)

_checked: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def check_gradient(model: nn.Module, volumes: Tensor) -> None:
    """Refuse a network whose gradient misses a part of what the output depends on; once for each network.

    ``forward`` may cut the gradient (``detach``, ``.data``, ``no_grad``): every map made of gradients then looks right
    and is not. The derivative along a random line is compared with a difference quotient, in double precision, on a
    copy, at a volume with noise: where voxels are equal, as in the background, maximum pooling has no derivative.

    Args:
        model: Maps [N, C, D, H, W] to [N, outputs], in evaluation mode. One that cannot be copied is not checked.
        volumes: [N, C, D, H, W]; the first one is used.

    Raises:
        InputError: The two differ by more than 5 % at four step sizes.
    """
    if model in _checked:
        return
    try:
        copy = deepcopy(model).double().eval().requires_grad_(False)
    except Exception:  # whatever the user's classes raise
        return
    try:
        found = _mismatch(copy, volumes[:1].detach().double())
    except RuntimeError:  # it does not compute in double precision
        return
    if found is not None:
        slope, quotient = found
        raise InputError(
            "The gradient of this network is not the derivative of its output: along a line of volumes the output "
            f"changes by {quotient:.3g} per unit, and by {slope:.3g} if its gradient were right. Its forward cuts the "
            "gradient somewhere (.data, detach, no_grad), as MONAI's ResNet does with shortcut_type A. Take that out, "
            "or use an explainer that needs no gradient of the network itself (lrp, occlusion)."
        )
    _checked.add(model)


def _mismatch(model: nn.Module, volume: Tensor) -> tuple[float, float] | None:
    """Return the derivative along a line by the gradient and by differences where they differ, else None."""
    generator = torch.Generator().manual_seed(0)
    spread = float(volume.std(correction=0)) or 1.0
    noise, line = (
        torch.randn(volume.shape, generator=generator, dtype=torch.float64).to(volume.device) for _ in range(2)
    )
    start = volume + 0.1 * spread * noise
    weights: Tensor | None = None

    def value(x: Tensor) -> Tensor:
        nonlocal weights
        output: Tensor = model(x)
        if weights is None:
            weights = torch.linspace(1, 2, output.shape[1], dtype=torch.float64, device=output.device)
        return (output * weights).sum()

    leaf = start.clone().requires_grad_()
    output = value(leaf.clone())
    if not output.requires_grad:
        return None  # whoever asks for the gradient is told
    (gradient,) = torch.autograd.grad(output, leaf, allow_unused=True)
    if gradient is None:
        return None
    slope = float((gradient * line).sum())
    quotients = []
    with torch.no_grad():
        for step in _STEPS:
            h = step * spread
            quotient = float(value(start + h * line) - value(start - h * line)) / (2 * h)
            rounding = 1e-14 * abs(float(output.detach())) / h
            if abs(quotient - slope) <= _TOLERANCE * max(abs(quotient), abs(slope)) + rounding:
                return None
            quotients.append(quotient)
    return slope, quotients[0]
