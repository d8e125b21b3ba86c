"""Integrated gradients and gradient SHAP against Captum and against sums."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import ConfigError
from xai_core.engine.seeding import seeded
from xai_explainers_gradcam.plugin_paths import GradientSHAP, IntegratedGradients

TARGET = torch.tensor([2, 0])


def network() -> nn.Module:
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3), nn.MaxPool3d(2), nn.Tanh(),
        nn.Flatten(), nn.Linear(4 * 2 * 1 * 2, 3),
    ).eval()  # fmt: skip


@pytest.fixture
def volumes() -> Tensor:
    return 3 * torch.rand(2, 2, 6, 5, 7, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("max_batch", [1, 3, 64])
def test_integrated_gradients_are_captums(volumes: Tensor, max_batch: int) -> None:
    model = network()
    found = IntegratedGradients(steps=20, baseline=0.5, max_batch=max_batch).explain(model, volumes, TARGET)
    expected, delta = captum.attr.IntegratedGradients(model).attribute(
        volumes, baselines=0.5, target=TARGET, n_steps=20, method="gausslegendre", return_convergence_delta=True
    )
    torch.testing.assert_close(found.relevance, expected.float(), rtol=1e-4, atol=1e-6)
    assert found.details is not None
    assert [row["convergence_delta"] for row in found.details] == pytest.approx(delta.tolist(), abs=1e-4)


def test_gradient_shap_estimates_the_mean_of_integrated_gradients(volumes: Tensor) -> None:
    """Also what Captum's random points converge to, from far more of them."""
    model = network()
    with seeded(0):
        found = GradientSHAP(samples=200, baselines=["zero", "minimum"], max_batch=40).explain(model, volumes, TARGET)
    exact = [IntegratedGradients(steps=100, baseline=b, max_batch=50) for b in ("zero", "minimum")]
    means = torch.stack([explainer.explain(model, volumes, TARGET).relevance for explainer in exact]).mean(0)
    scale = float(means.abs().max())
    assert float((found.relevance - means).abs().max()) < 0.02 * scale
    np.random.seed(0)  # Captum's points are drawn from NumPy's generator
    least = volumes[:1].amin((2, 3, 4), keepdim=True).expand(1, *volumes.shape[1:])
    captums = captum.attr.GradientShap(model).attribute(
        volumes[:1], baselines=torch.cat([torch.zeros_like(least), least]), target=2, n_samples=1500, stdevs=0.0
    )
    assert float((captums - found.relevance[:1]).abs().max()) < 0.05 * scale


def test_points_are_spread_over_the_line_of_each_baseline(volumes: Tensor) -> None:
    """Each section of each line has one point, and the sum is what the plain mean over them gives."""
    seen: list[Tensor] = []

    class Recorder(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                seen.append(x.detach())
            return x.flatten(1).sum(1, keepdim=True)

    volume = torch.ones(1, 1, 3, 4, 2)
    with seeded(1):
        found = GradientSHAP(samples=7, baselines=[0.0, -1.0], max_batch=2).explain(Recorder(), volume, None)
    points = torch.cat(seen[-4:])[:, 0, 0, 0, 0]
    from_zero, from_below = points[0::2], (points[1::2] + 1) / 2
    assert (from_zero * 4).floor().tolist() == [0, 1, 2, 3]
    assert (from_below * 3).floor().tolist() == [0, 1, 2]
    # 1 for the one baseline and 2 for the other, each with half of the weight whatever their numbers of samples.
    torch.testing.assert_close(found.relevance, torch.full_like(volume, 1.5))


def test_completeness_of_gradient_shap(volumes: Tensor) -> None:
    model = network()
    with seeded(0):
        result = GradientSHAP(samples=200, max_batch=50).explain(model, volumes, TARGET)
    assert result.details is not None
    for index, row in enumerate(result.details):
        total = float(result.relevance[index].double().sum())
        difference = float(result.output[index]) - row["baseline_output"]
        assert row["convergence_delta"] == pytest.approx(total - difference, abs=1e-5)
        assert abs(total / difference - 1) < 0.01


def test_noise_moves_the_volume(volumes: Tensor) -> None:
    """On the quadratic f = sum x^2 from 0, a sample with x + e gives 2 a (x + e)^2."""

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x**2).flatten(1).sum(1, keepdim=True)

    volume = volumes[:1]
    explainer = GradientSHAP(samples=600, baselines=["zero"], noise=0.5, max_batch=600)
    with seeded(0):
        found = explainer.explain(Square(), volume, None).relevance
    spread = 0.5 * (volume.amax((2, 3, 4), keepdim=True) - volume.amin((2, 3, 4), keepdim=True))
    expected = volume**2 + spread**2
    assert float((found / expected - 1).mean().abs()) < 0.02
    assert float((found / volume**2 - 1).mean()) > 0.3  # without noise this would be 0


def test_seed_decides_and_batch_does_not(volumes: Tensor) -> None:
    model, explainer = network(), GradientSHAP(samples=150, noise=0.05, max_batch=150)
    maps = []
    for seed, batch in ((0, volumes), (0, volumes[1:]), (1, volumes)):
        with seeded(seed):
            maps.append(explainer.explain(model, batch, TARGET[-len(batch) :]).relevance[-1])
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(maps[0], maps[2], rtol=1e-2)


def test_too_few_samples(volumes: Tensor) -> None:
    with pytest.raises(ConfigError, match="1 samples are too few for 2 baselines"):
        GradientSHAP(samples=1).explain(network(), volumes, None)
