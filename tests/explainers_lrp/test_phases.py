"""The transpose by phases is autograd's gradient of the convolution's input."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from xai_explainers_lrp._phases import transpose_by_phases


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((17, 19, 22), (7, 7, 7), (2, 2, 2), (3, 3, 3)),
        ((16, 15, 9), (3, 5, 4), (2, 3, 4), (0, 1, 3)),
        ((9, 8, 7), (1, 2, 3), (3, 2, 2), (0, 0, 1)),
        ((12, 13, 11), (2, 2, 2), (5, 3, 4), (1, 1, 0)),
        ((21,), (7,), (2,), (3,)),
        ((14, 9), (3, 3), (2, 1), (1, 1)),
    ],
)
def test_it_is_the_gradient_of_the_input(
    channels: int, size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, channels, *kernel, generator=generator, dtype=torch.float64)
    output = (F.conv1d, F.conv2d, F.conv3d)[len(size) - 1](x, weight, stride=stride, padding=padding)
    s = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad(output, x, s)
    torch.testing.assert_close(transpose_by_phases(s, weight, size, stride, padding), expected, rtol=1e-12, atol=1e-12)
