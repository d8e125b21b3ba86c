"""Layers as Keras computes them, made of plain PyTorch modules.

Explanation methods attach hooks to modules and see one input and one output of each: every activation, sum and
concatenation is a module of its own, used once, and nothing works in place.
"""

from __future__ import annotations

from torch import Tensor, cat, nn

__all__ = [
    "Concatenate", "Sides", "Sum", "batch_norm", "conv", "glorot", "halved", "max_pool", "same_average_pool",
    "same_conv", "same_max_pool", "same_sides",
]  # fmt: skip

Sides = tuple[int, int, int]


class Sum(nn.Module):
    """The sum that closes a residual block; a branch of one channel is added to every channel of the other."""

    def forward(self, main: Tensor, shortcut: Tensor) -> Tensor:
        """Map [N, C, D, H, W] and [N, C or 1, D, H, W] to their sum, [N, C, D, H, W]."""
        return main + shortcut


class Concatenate(nn.Module):
    """The channels of two branches one after the other."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Map [N, A, D, H, W] and [N, B, D, H, W] to [N, A + B, D, H, W]."""
        return cat((first, second), dim=1)


def conv(channels: int, filters: int, kernel: int = 3) -> nn.Conv3d:
    """Return a convolution with stride 1, an odd kernel and 'same' padding, which is then symmetric for any size."""
    return nn.Conv3d(channels, filters, kernel, padding=kernel // 2)


def batch_norm(channels: int) -> nn.BatchNorm3d:
    """Return a normalisation with Keras' settings: epsilon 1e-3; its momentum of 0.99 is 0.01 in PyTorch's terms."""
    return nn.BatchNorm3d(channels, eps=1e-3, momentum=0.01)


def max_pool() -> nn.MaxPool3d:
    """Return pooling of 2 x 2 x 2 with 'valid' padding: a side of odd length loses its last voxel."""
    return nn.MaxPool3d(2)


def halved(sides: Sides) -> Sides:
    """Return the sides after ``max_pool``."""
    return (sides[0] // 2, sides[1] // 2, sides[2] // 2)


def same_sides(sides: Sides, stride: int) -> Sides:
    """Return the sides after a layer with 'same' padding: divided by the stride and rounded up."""
    return (-(-sides[0] // stride), -(-sides[1] // stride), -(-sides[2] // stride))


def same_conv(channels: int, filters: int, kernel: int, stride: int, sides: Sides) -> list[nn.Module]:
    """Return a convolution with TensorFlow's 'same' padding for volumes of these sides.

    TensorFlow pads as little as the output size asks for and, where that is an odd number of voxels, one more behind
    than in front. PyTorch's convolution pads both ends alike, so such a padding becomes a layer of its own.

    Returns:
        The convolution, or a padding layer and the convolution.
    """
    (d0, d1), (h0, h1), (w0, w1) = (_padding(side, kernel, stride) for side in sides)
    if (d0, h0, w0) == (d1, h1, w1):
        return [nn.Conv3d(channels, filters, kernel, stride, padding=(d0, h0, w0))]
    # PyTorch lists the last axis first.
    return [nn.ConstantPad3d((w0, w1, h0, h1, d0, d1), 0.0), nn.Conv3d(channels, filters, kernel, stride)]


def same_max_pool(kernel: int, stride: int, sides: Sides) -> nn.MaxPool3d:
    """Return max pooling with TensorFlow's 'same' padding for volumes of these sides; ``stride`` is at least 2.

    Padding never is the maximum. It is at most one voxel, less than a stride, longer behind than in front: PyTorch pads
    both ends as the front, and ``ceil_mode`` adds the window that reaches beyond.
    """
    return nn.MaxPool3d(kernel, stride, padding=_front(sides, kernel, stride), ceil_mode=True)


def same_average_pool(kernel: int, stride: int, sides: Sides) -> nn.AvgPool3d:
    """Return average pooling with TensorFlow's 'same' padding, which does not count.

    ``stride`` is at least 2, and no side is shorter than ``kernel``, which PyTorch's pooling would refuse.
    """
    return nn.AvgPool3d(kernel, stride, padding=_front(sides, kernel, stride), ceil_mode=True, count_include_pad=False)


def glorot(network: nn.Module) -> nn.Module:
    """Start kernels as Keras does, uniformly after Glorot and Bengio (2010), and biases at zero; return the network."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def _padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how many voxels TensorFlow adds in front of and behind an axis."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _front(sides: Sides, kernel: int, stride: int) -> Sides:
    front, middle, last = (_padding(side, kernel, stride)[0] for side in sides)
    return front, middle, last
