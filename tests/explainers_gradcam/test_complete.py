"""Path methods whose sum is far from what it must be are refused: cases worked by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_core.engine.seeding import seeded
from xai_explainers_gradcam._complete import standard_error
from xai_explainers_gradcam.plugin_paths import GradientSHAP, IntegratedGradients


class Of(nn.Module):
    """f = function of the mean of all voxels, [N, 1]."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.flatten(1).mean(1, keepdim=True))


def above(bend: float) -> Of:
    """relu(s - bend): from 0 to a volume of ones the difference is 1 - bend, and the gradient is 0 up to the bend."""
    return Of(lambda s: torch.relu(s - bend))


def step() -> Of:
    """Rises by 1 between 0.5 and 0.501, where hardly any point lies."""
    return Of(lambda s: 1000 * (torch.relu(s - 0.5) - torch.relu(s - 0.501)) + 1e-3 * s)


ONES = torch.ones(1, 1, 3, 4, 2)


@pytest.mark.parametrize(("bend", "misses"), [(0.08, None), (0.15, "17.6"), (0.3, "42.9")])
def test_integrated_gradients_refuse_what_misses_more_than_a_tenth(bend: float, misses: str | None) -> None:
    """One point in the middle, where the gradient is 1: the sum is 1 and should be 1 - bend."""
    explainer = IntegratedGradients(steps=1, max_steps=1, baseline="zero")
    if misses is None:
        found = explainer.explain(above(bend), ONES, None)
        assert found.details is not None
        assert found.details[0]["convergence_delta"] == pytest.approx(bend)
        return
    expected = re.escape(
        f"Integrated gradients of volumes[0] sum to 1, not to output - baseline output ({1 - bend:.4g} - 0 = "
        f"{1 - bend:.4g}): they miss {misses} % with 1 steps: "
    )
    with pytest.raises(InputError, match=rf"^{expected}.*Raise max_steps \(to 4, say\)"):
        explainer.explain(above(bend), ONES, None)


def test_more_steps_are_accepted_and_the_worst_volume_is_named() -> None:
    both = torch.cat([ONES, 0.5 * ONES])  # 0.5: the middle lies before the bend, so that the sum is 0
    with pytest.raises(InputError, match=r"of volumes\[1\] sum to 0, .* they miss 100 %"):
        IntegratedGradients(steps=1, max_steps=1, baseline="zero").explain(above(0.3), both, None)
    found = IntegratedGradients(steps=100, baseline="zero").explain(above(0.3), both, None)
    torch.testing.assert_close(found.relevance.flatten(1).sum(1), torch.tensor([0.7, 0.2]), atol=0.01, rtol=0)


@pytest.mark.parametrize("most", [1, 4, 10, 400])
def test_points_are_raised_where_the_sum_asks_for_it(most: int) -> None:
    """With 1 and 4 points 43 and 18 % are missed; the volume that is right with one keeps it."""
    both = torch.cat([ONES, 0.2 * ONES])  # 0.2: before the bend, from 0 to 0
    explainer = IntegratedGradients(steps=1, max_steps=most, baseline="zero")
    if most < 10:
        with pytest.raises(InputError, match=rf"with {most} steps"):
            explainer.explain(above(0.3), both, None)
        return
    found = explainer.explain(above(0.3), both, None)
    assert found.details is not None
    steps = [row["steps"] for row in found.details]
    assert steps[1] == 1
    assert 4 < steps[0] <= most
    alone = IntegratedGradients(steps=steps[0], baseline="zero").explain(above(0.3), ONES, None)
    assert torch.equal(found.relevance[:1], alone.relevance)


def test_rounding_of_an_output_that_equals_the_baselines_is_no_reason() -> None:
    """Weights of both signs that cancel: the difference is 0, or what rounding leaves of it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 1)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(12, generator=torch.Generator().manual_seed(1)).repeat(2) * 100)
        model[1].weight[0, 12:] *= -1
    volume = (torch.rand(12, generator=torch.Generator().manual_seed(2)) + 1).repeat(2).reshape(ONES.shape)
    for explainer in (IntegratedGradients(steps=3, baseline="zero"), GradientSHAP(samples=3, baselines=["zero"])):
        assert float(explainer.explain(model, volume, None).relevance.abs().sum()) > 100


def test_gradient_shap_refuses_and_names_samples_that_do() -> None:
    """One sample: the sum is 0 or 1 and should be 0.7; the advice that is given is enough."""
    model = above(0.3)
    with seeded(0), pytest.raises(InputError, match=r"^Gradient SHAP of volumes\[0\] sum to [01], not to") as raised:
        GradientSHAP(samples=1, max_samples=1, baselines=["zero"]).explain(model, ONES, None)
    advised = re.search(r"Raise max_samples to about (\d+), or use integrated-gradients", str(raised.value))
    assert advised is not None
    for seed in range(20):
        with seeded(seed):
            found = GradientSHAP(samples=int(advised[1]), baselines=["zero"]).explain(model, ONES, None)
        assert abs(float(found.relevance.sum()) - 0.7) <= 0.07 + 1e-6


def test_gradient_shap_returns_no_sum_that_misses_more_than_a_tenth() -> None:
    """Whatever the seed; some are refused and some are not."""
    model, explainer = above(0.37), GradientSHAP(samples=6, max_samples=6, baselines=["zero"])
    states = []
    for seed in range(40):
        with seeded(seed):
            try:
                total = float(explainer.explain(model, ONES, None).relevance.sum())
            except InputError:
                states.append("refused")
                continue
        states.append("returned")
        assert abs(total - 0.63) <= 0.063 + 1e-6
    assert set(states) == {"refused", "returned"}


def test_gradient_shap_tells_what_is_no_chance() -> None:
    with seeded(0), pytest.raises(InputError, match=r"they miss 99\.\d %.*more than chance explains \(standard error "):
        GradientSHAP(samples=20, max_samples=20, baselines=["zero"]).explain(step(), ONES, None)


def test_with_noise_the_sum_is_that_of_the_noisy_volumes() -> None:
    """f = sum x^2: noise of standard deviation 0.5 times the range adds its variance, which is no error."""
    model = Of(lambda s: s)
    model.forward = lambda x: (x**2).flatten(1).sum(1, keepdim=True)  # type: ignore[method-assign]
    volume = torch.rand(1, 1, 6, 5, 4, generator=torch.Generator().manual_seed(1))
    with seeded(0):
        found = GradientSHAP(samples=200, noise=0.5, baselines=["zero"], max_batch=200).explain(model, volume, None)
    assert found.details is not None
    assert float(found.details[0]["convergence_delta"]) > 0.5 * float(found.output)


def test_standard_error_of_independent_samples() -> None:
    parts = torch.randn(20000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert standard_error(3 * parts, 1) == pytest.approx(3 * math.sqrt(20000), rel=0.03)
    assert standard_error(3 * parts + 7, 4) == pytest.approx(3 * math.sqrt(20000), rel=0.03)
    assert standard_error(torch.arange(100, dtype=torch.float64), 2) == pytest.approx(0)
    assert math.isnan(standard_error(torch.ones(5, dtype=torch.float64), 3))


def test_standard_error_is_that_of_the_stratified_sum() -> None:
    """On f = s^3 sample k adds 3 t^2 / n with t uniform in section k: its variance is known."""
    n = 20
    edges = np.linspace(0, 1, n + 1)
    mean = n * np.diff(edges**3)  # of 3 t^2 in a section
    variance = n * np.diff(9 * edges**5 / 5) - mean**2
    expected = math.sqrt(variance.sum()) / n
    t = torch.rand(2000, n, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    points = (torch.arange(n) + t) / n
    found = [standard_error(row, 1) for row in 3 * points**2 / n]
    assert float(np.mean(np.square(found)) ** 0.5) == pytest.approx(expected, rel=0.15)
    assert float((3 * points**2 / n).sum(1).std()) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    "explainer",
    [IntegratedGradients(steps=5, max_steps=5), GradientSHAP(samples=10, max_samples=10, baselines=["zero"])],
)
def test_self_check_of_a_refused_network_is_refused(explainer: Any) -> None:
    explainer.baselines = ("zero",)
    with seeded(0), pytest.raises(InputError, match=r"do not sum|not to output - baseline output"):
        explainer.self_check(step(), ONES)


def test_self_check_of_a_network_on_which_it_converges_slowly_is_refused() -> None:
    """16 points around a bend miss a few percent, and the map says so."""
    with pytest.raises(InputError, match=r"misses [2-9][.\d]* % of .* with steps 16, as its details say"):
        IntegratedGradients(steps=1, max_steps=1, baseline="zero").self_check(above(0.37), ONES)


def test_self_check_finds_a_map_that_tells_the_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    explain = IntegratedGradients.explain

    def silent(self: Any, *args: Any) -> Any:
        found = explain(self, *args)
        for row in found.details or ():
            row["convergence_delta"] = 0.0  # type: ignore[index]
        return found

    monkeypatch.setattr(IntegratedGradients, "explain", silent)
    with pytest.raises(AssertionError, match=r"relevance misses"):
        IntegratedGradients(steps=1, max_steps=1, baseline="zero").self_check(above(0.08), ONES)
