"""Small networks with random weights that pass on what they see, to try explainers on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from ..interfaces import Model
from .attribution import fingerprint
from .seeding import seeded

__all__ = ["GRIDS", "OUTPUTS", "Sample", "make_sample", "make_volumes", "network_state", "randomise"]

# Odd and unequal, because an even side hides what a stride leaves over and a cube hides a confusion of axes.
GRIDS = ((17, 19, 21), (33, 37, 35), (35, 37, 67), (49, 51, 53), (65, 67, 69), (97, 99, 101))
OUTPUTS = 2
_PEOPLE = 16  # fewer make batch normalisations whose statistics are chance where one or two voxels are left
_SHOWN = 4
_LEAST_VARIANCE = 0.5  # of the layer's mean: a channel that is off in nearly all volumes would be blown up
_SPREAD = 0.5  # of a layer's outputs within a channel; with 1 gates that multiply feature maps make them run away
_COHERENCE = 0.5  # mean of a layer's weights, in standard deviations of their sum


@dataclass(frozen=True)
class Sample:
    """A network to try explainers on.

    Attributes:
        network: Maps [N, 1, D, H, W] to [N, 2]; in evaluation mode, random weights.
        other: The same architecture with other weights.
        volumes: float32 [4, 1, D, H, W], see ``make_volumes``.
    """

    network: nn.Module
    other: nn.Module
    volumes: Tensor

    @property
    def grid(self) -> tuple[int, ...]:
        """(D, H, W)."""
        return tuple(self.volumes.shape[2:])

    @property
    def parameters(self) -> int:
        """How many parameters the network has."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def state(self) -> tuple[Any, ...]:
        """Return what no explainer may change, for comparison by ``==``."""
        networks = (self.network, self.other)
        return (self.volumes._version, *((fingerprint(each), network_state(each, self.volumes)) for each in networks))


def network_state(network: nn.Module, volumes: Tensor) -> tuple[Any, ...]:
    """Return what ``fingerprint`` does not see, for comparison by ``==``: gradients, changes by ``tensor.data``."""
    flags = [(each.requires_grad, each.grad is None) for each in network.parameters()]
    outputs = None  # a batch normalisation in training would change its statistics by being looked at
    if not any(module.training for module in network.modules()):
        with torch.no_grad():
            outputs = network(volumes.clone()).tolist()
    return flags, outputs


def make_sample(model: Model) -> Sample:
    """Build a model for the smallest of ``GRIDS`` that it takes, twice, with weights of two seeds.

    A grid on which a convolution is left with a single voxel is passed over where a larger one does better: a class
    activation map of one voxel says nothing.

    Raises:
        InputError: It takes none of them; the message is that of the largest.
        Exception: Whatever else it raised for the largest.
    """
    smallest: Sample | None = None
    failure: Exception | None = None
    for grid in GRIDS:
        try:
            sample = _made(model, make_volumes(grid))
        except Exception as error:  # too small is said in many ways
            failure = error
            continue
        if not _ends_in_one_voxel(sample):
            return sample
        smallest = smallest or sample
    if smallest is None:
        assert failure is not None
        raise failure
    return smallest


def _made(model: Model, volumes: Tensor) -> Sample:
    networks = []
    for seed in (0, 1):
        with seeded(seed):
            networks.append(randomise(model.build((1, *volumes.shape[2:]), OUTPUTS), volumes, seed))
    for network in networks:
        with torch.no_grad():
            _check_outputs(network(volumes[:_SHOWN].clone()))
    return Sample(networks[0], networks[1], volumes[:_SHOWN].clone())


def _check_outputs(outputs: Any) -> None:
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != (_SHOWN, OUTPUTS):
        what = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"the network returns {what} for {_SHOWN} volumes, not one tensor [{_SHOWN}, {OUTPUTS}].")
    if not bool(torch.isfinite(outputs).all()):
        raise InputError("the network's outputs are not finite with random weights.")


def make_volumes(grid: tuple[int, int, int]) -> Tensor:
    """Return invented heads, float32 [16, 1, D, H, W]: 0 outside, of either sign inside, in four contrasts.

    Inside, mean and standard deviation are both 1.1, 1.05, 1 or 0.95.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((_PEOPLE, 1, 4, 5, 6), generator=generator)
    tissue = F.interpolate(coarse, size=grid, mode="trilinear", align_corners=True)
    tissue = tissue + 0.5 * torch.randn((_PEOPLE, 1, *grid), generator=generator)
    axes = [torch.linspace(-1, 1, side).square() for side in grid]
    inside = axes[0][:, None, None] + axes[1][:, None] + axes[2] < 0.85
    values = tissue[..., inside]
    values = (values - values.mean(-1, keepdim=True)) / values.std(-1, keepdim=True)
    volumes = torch.zeros_like(tissue)
    volumes[..., inside] = (values + 1) * torch.tensor([1.1, 1.05, 1.0, 0.95]).repeat(_PEOPLE // 4)[:, None, None]
    return volumes


def randomise(network: nn.Module, volumes: Tensor, seed: int) -> nn.Module:
    """Give a network random weights under which its outputs depend on what it sees; it ends in evaluation mode.

    Every parameter is drawn anew. Then, in one pass, the outputs of each convolution and linear layer are scaled to a
    standard deviation of 0.5 within their channels and, where there is a bias, centred on a random value (Salimans &
    Kingma, Weight normalization, NeurIPS 2016, section 3, with one scale for the whole layer), and each batch
    normalisation takes the statistics of what reaches it. With usual starting values a deep network's outputs hardly
    depend on the volume, and a wrong map could not be told from a right one.

    Args:
        network: Changed in place.
        volumes: float32 [N, C, D, H, W], at least 2.
        seed: Of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    network.eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.requires_grad:  # others are constants of the architecture, such as waves for positions
                _draw(name, value, generator)
        _calibrate(network, volumes)
    return network


def _draw(name: str, value: Tensor, generator: torch.Generator) -> None:
    if value.ndim < 2 and name.endswith("weight"):
        value.uniform_(0.5, 1.5, generator=generator)
    elif name.endswith("weight"):
        value.normal_(generator=generator).add_(_COHERENCE * value[0].numel() ** -0.5)
    else:
        value.normal_(std=0.2, generator=generator)


def _calibrate(network: nn.Module, volumes: Tensor) -> None:
    scaled: set[nn.Module] = set()

    def standardise(layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
        channel = output.ndim - 1 if isinstance(layer, nn.Linear) else 1
        mean = output.mean([axis for axis in range(output.ndim) if axis != channel], keepdim=True)
        scale = float((output - mean).square().mean().sqrt()) / _SPREAD
        if layer in scaled or weight is None or not 1e-8 < scale < 1e8:
            return output
        scaled.add(layer)  # a layer that is run twice is scaled once
        weight.div_(scale)
        if bias is None:
            return output / scale
        fresh = bias.clone()
        bias.sub_(mean.flatten()).div_(scale).add_(fresh)
        return (output - mean) / scale + fresh.view(mean.shape)

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        variance, mean = torch.var_mean(inputs[0], axes, correction=0)
        norm.running_mean.copy_(mean)  # type: ignore[operator]
        norm.running_var.copy_(variance.clamp(min=_LEAST_VARIANCE * float(variance.mean())))  # type: ignore[operator]

    hooks = []
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            hooks.append(module.register_forward_hook(standardise))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            hooks.append(module.register_forward_pre_hook(measure))
    try:
        network(volumes.clone())
    finally:
        for hook in hooks:
            hook.remove()


def _ends_in_one_voxel(sample: Sample) -> bool:
    """Whether a convolution wider than one voxel has one voxel left to give."""
    single: list[nn.Module] = []

    def look(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output[0, 0].numel() == 1:
            single.append(layer)

    wide = [m for m in sample.network.modules() if isinstance(m, nn.Conv3d) and max(m.kernel_size) > 1]
    hooks = [layer.register_forward_hook(look) for layer in wide]
    try:
        with torch.no_grad():
            sample.network(sample.volumes[:1].clone())
    finally:
        for hook in hooks:
            hook.remove()
    return bool(single)
