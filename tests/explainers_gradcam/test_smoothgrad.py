"""SmoothGrad and its variants on networks whose gradient is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xai_core import ConfigError
from xai_core.engine.seeding import seeded
from xai_explainers_gradcam.plugin_gradients import InputXGradient, Saliency, SmoothGrad

SHAPE = (2, 2, 5, 4, 3)


class Square(nn.Module):
    """f = sum w x^2: its gradient is 2 w x."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, *SHAPE[1:], generator=torch.Generator().manual_seed(4)))

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x**2).flatten(1).sum(1, keepdim=True)


@pytest.fixture
def volumes() -> Tensor:
    volumes = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    volumes[:, 1] *= 10  # each channel has a range of its own
    return volumes


def explain(volumes: Tensor, **params: object) -> Tensor:
    with seeded(0):
        return SmoothGrad(**params).explain(Square(), volumes, None).relevance  # type: ignore[arg-type]


def test_statistics_of_the_gradient_are_those_of_the_noise(volumes: Tensor) -> None:
    weight = Square().weight.detach()
    spread = 0.2 * (volumes.amax((2, 3, 4), keepdim=True) - volumes.amin((2, 3, 4), keepdim=True))
    params = {"noise": 0.2, "samples": 2000, "max_batch": 500}
    mean = explain(volumes, of="gradient", **params)
    noise = (mean - 2 * weight * volumes) / (2 * weight * spread)  # the mean of 2000 standard normal numbers
    assert float(noise.std()) == pytest.approx(2000**-0.5, rel=0.2)
    assert float(noise.mean().abs()) < 0.01
    variance = explain(volumes, statistic="variance", **params)
    ratio = variance / (2 * weight * spread) ** 2
    assert float((ratio - 1).abs().max()) < 0.2
    square = explain(volumes, statistic="mean-square", **params)
    torch.testing.assert_close(square, mean**2 + variance, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(explain(volumes, **params), mean.abs())  # the sign goes after the mean


def test_input_x_gradient_takes_the_noisy_intensity(volumes: Tensor) -> None:
    """(x + e) * 2 w (x + e) has the mean 2 w (x^2 + s^2)."""
    weight = Square().weight.detach()
    spread = 0.3 * (volumes.amax((2, 3, 4), keepdim=True) - volumes.amin((2, 3, 4), keepdim=True))
    found = explain(volumes, of="input-x-gradient", noise=0.3, samples=3000, max_batch=500)
    ratio = found / (2 * weight * (volumes**2 + spread**2))
    assert float((ratio - 1).abs().max()) < 0.2
    assert float((ratio - 1).mean().abs()) < 0.01


def test_without_noise_it_is_the_plain_method(volumes: Tensor) -> None:
    for of, plain in (
        ("saliency", Saliency()),
        ("gradient", Saliency(absolute=False)),
        ("input-x-gradient", InputXGradient()),
    ):
        expected = plain.explain(Square(), volumes, None).relevance
        torch.testing.assert_close(explain(volumes, of=of, noise=0.0, samples=2), expected)
    assert not explain(volumes, statistic="variance", noise=0.0, samples=3).any()


@pytest.mark.parametrize("max_batch", [1, 3, 100])
def test_noise_depends_on_the_seed_only(volumes: Tensor, max_batch: int) -> None:
    """Not on the batch, nor on how it is cut."""
    together = explain(volumes, samples=5)
    for index in range(2):
        alone = explain(volumes[index : index + 1], samples=5, max_batch=max_batch)
        torch.testing.assert_close(together[index], alone[0])
    with seeded(1):
        other = SmoothGrad(samples=5).explain(Square(), volumes, None).relevance
    assert not torch.allclose(other, together, rtol=1e-2)


def test_consecutive_maps_have_other_noise(volumes: Tensor) -> None:
    with seeded(0):
        first, second = (SmoothGrad(samples=2).explain(Square(), volumes, None).relevance for _ in range(2))
    assert not torch.allclose(first, second, rtol=1e-2)


def test_details_and_refusal(volumes: Tensor) -> None:
    result = SmoothGrad(samples=2, noise=0.5).explain(Square(), volumes, None)
    assert result.details is not None
    width = float(volumes[1, 1].max() - volumes[1, 1].min())
    assert result.details[1]["samples"] == 2
    assert result.details[1]["noise_std"][1] == pytest.approx(0.5 * width)
    with pytest.raises(ConfigError, match="variance needs at least 2 samples"):
        SmoothGrad(samples=1, statistic="variance").explain(Square(), volumes, None)
