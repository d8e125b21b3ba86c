"""Saliency, input x gradient and integrated gradients against cases worked by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xai_core import ConfigError, InputError
from xai_explainers_gradcam.plugin_gradients import InputXGradient, Saliency
from xai_explainers_gradcam.plugin_paths import IntegratedGradients

SHAPE = (2, 2, 5, 3, 7)  # odd, non-cubic, two channels


class Linear(nn.Module):
    """outputs_k = sum_i w_ki x_i + b_k, and beyond that the sum of squares in the last output where asked."""

    def __init__(self, outputs: int = 3, square: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.weight = nn.Parameter(torch.randn(outputs, *SHAPE[1:], generator=generator))
        self.bias = nn.Parameter(torch.randn(outputs, generator=generator))
        self.square = square

    def forward(self, x: Tensor) -> Tensor:
        powers = x**2 if self.square else x
        return (powers[:, None] * self.weight).flatten(2).sum(2) + self.bias


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))


TARGET = torch.tensor([2, 0])


def test_saliency_of_a_linear_network_is_its_weights(volumes: Tensor) -> None:
    model = Linear()
    signed = Saliency(absolute=False).explain(model, volumes, TARGET)
    torch.testing.assert_close(signed.relevance, model.weight.detach()[TARGET])
    magnitude = Saliency().explain(model, volumes, TARGET)
    torch.testing.assert_close(magnitude.relevance, model.weight.detach()[TARGET].abs())
    assert float(signed.relevance.min()) < 0


def test_input_x_gradient_of_a_linear_network(volumes: Tensor) -> None:
    model = Linear()
    result = InputXGradient().explain(model, volumes, TARGET)
    torch.testing.assert_close(result.relevance, volumes * model.weight.detach()[TARGET])
    torch.testing.assert_close(result.relevance.flatten(1).sum(1) + model.bias.detach()[TARGET], result.output)


def test_input_x_gradient_of_a_quadratic_network(volumes: Tensor) -> None:
    """d(w x^2)/dx * x = 2 w x^2."""
    model = Linear(square=True)
    result = InputXGradient().explain(model, volumes, TARGET)
    torch.testing.assert_close(result.relevance, 2 * model.weight.detach()[TARGET] * volumes**2)


@pytest.mark.parametrize(("baseline", "start"), [("zero", 0.0), (0.75, 0.75), (-2, -2.0)])
def test_integrated_gradients_are_exact_on_a_quadratic_network(
    volumes: Tensor, baseline: str | float, start: float
) -> None:
    """For f = sum w x^2 + b each voxel gets w (x^2 - s^2), with two points of the quadrature already."""
    model = Linear(square=True)
    explainer = IntegratedGradients(steps=2, baseline=baseline)  # type: ignore[arg-type]
    result = explainer.explain(model, volumes, TARGET)
    expected = model.weight.detach()[TARGET] * (volumes**2 - start**2)
    torch.testing.assert_close(result.relevance, expected, rtol=1e-4, atol=1e-5)
    assert result.details is not None
    for index, row in enumerate(result.details):
        there = model(torch.full_like(volumes, start)).detach()[index, TARGET[index]]
        assert row["baseline_output"] == pytest.approx(float(there), rel=1e-5)
        assert row["convergence_delta"] == pytest.approx(0, abs=1e-4)


def test_minimum_baseline_is_that_of_each_channel_and_volume(volumes: Tensor) -> None:
    model = Linear()
    result = IntegratedGradients(steps=1, baseline="minimum").explain(model, volumes, TARGET)
    least = volumes.flatten(2).min(2).values[:, :, None, None, None]
    torch.testing.assert_close(result.relevance, model.weight.detach()[TARGET] * (volumes - least))
    assert int((result.relevance == 0).sum()) == 4  # one background voxel in each channel of each volume


def test_background_gets_no_relevance_whatever_its_value() -> None:
    """The default baseline is the value around the head: below, between or above the brain's values."""
    for background in (-2.0, 0.0, 5.0):
        volumes = torch.full((1, 1, 7, 6, 5), background)
        volumes[..., 2:5, 2:4, 1:4] = torch.randn(1, 1, 3, 2, 3, generator=torch.Generator().manual_seed(1))
        torch.manual_seed(2)
        model = nn.Sequential(nn.Flatten(), nn.Linear(7 * 6 * 5, 2)).eval()
        result = IntegratedGradients(steps=1).explain(model, volumes, torch.tensor([0]))
        assert torch.equal(result.relevance != 0, volumes != background)


def smooth_network() -> nn.Module:
    torch.manual_seed(6)
    return nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.Softplus(), nn.Conv3d(4, 4, 3), nn.Tanh(),
        nn.Flatten(), nn.Linear(60, 3),
    )  # fmt: skip


def test_completeness_on_a_nonlinear_network(volumes: Tensor) -> None:
    """Sum of relevance = f(volume) - f(baseline), and the reported delta is the error that is left."""
    model, volumes = smooth_network(), 4 * volumes
    zero = model(torch.zeros(1, *SHAPE[1:]))[0].detach()
    errors = {}
    for steps in (4, 20):
        result = IntegratedGradients(steps=steps, baseline="zero").explain(model, volumes, TARGET)
        difference = result.output - zero[TARGET]
        error = result.relevance.flatten(1).sum(1) - difference
        assert result.details is not None
        deltas = torch.tensor([row["convergence_delta"] for row in result.details])
        torch.testing.assert_close(deltas, error, rtol=1e-3, atol=1e-5)
        errors[steps] = float(error.abs().max())
    assert errors[20] < 1e-4
    assert errors[4] > 10 * errors[20]


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_bound_the_forward_passes_and_change_nothing(volumes: Tensor, size: int) -> None:
    model = smooth_network()
    largest: list[int] = []
    relevance = IntegratedGradients(steps=7, max_batch=size).explain(model, volumes, TARGET).relevance
    model.register_forward_pre_hook(lambda _module, inputs: largest.append(len(inputs[0])))
    again = IntegratedGradients(steps=7, max_batch=size).explain(model, volumes, TARGET).relevance
    reference = IntegratedGradients(steps=7, max_batch=2).explain(smooth_network(), volumes, TARGET)
    assert torch.equal(relevance, again)
    torch.testing.assert_close(relevance, reference.relevance, rtol=1e-4, atol=1e-6)
    assert max(largest[1:]) == min(size, 7)  # the first pass is the batch itself


def test_unknown_baseline(volumes: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"'mean' is not one of background, minimum, zero, blurred, controls or"):
        IntegratedGradients(baseline="mean").explain(Linear(), volumes, None)  # type: ignore[arg-type]


def test_output_that_does_not_depend_on_the_volumes(volumes: Tensor) -> None:
    class Detached(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    for explainer in (Saliency(), InputXGradient(), IntegratedGradients(steps=2)):
        with pytest.raises(InputError, match="No gradient leads from the model's output to the volumes"):
            explainer.explain(Detached(), volumes, None)
