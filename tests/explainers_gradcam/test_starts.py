"""What the way back begins with: cases worked by hand, and guided backpropagation as iNNvestigate has it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import ConfigError, Explainer, InputError, registry
from xai_explainers_gradcam.plugin_gradients import Gradient, InputXGradient, Saliency
from xai_explainers_gradcam.plugin_guided import Deconvolution, GuidedBackpropagation

TARGET = torch.tensor([1, 0])
KINDS: list[type[Any]] = [Gradient, Saliency, InputXGradient, GuidedBackpropagation, Deconvolution]


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(2, 1, 3, 2, 5, generator=torch.Generator().manual_seed(5))


def linear(outputs: int = 3) -> nn.Sequential:
    torch.manual_seed(4)
    return nn.Sequential(nn.Flatten(), nn.Linear(30, outputs)).eval()


@pytest.mark.parametrize("start", ["one", "logit", "probability"])
def test_on_a_linear_network(volumes: Tensor, start: Any) -> None:
    """With f_k = w_k x + b_k the gradient is w_k, times 1, f_k or exp(f_k) / sum exp(f)."""
    model = linear()
    outputs = model(volumes).detach().double()
    chosen = outputs[[0, 1], TARGET]
    begun = {"one": torch.ones(2), "logit": chosen, "probability": chosen.exp() / outputs.exp().sum(1)}[start]
    weights = model[1].weight.detach()[TARGET].reshape(volumes.shape)
    expected = weights * begun.float().reshape(2, 1, 1, 1, 1)
    assert bool((begun < 0).any()) == (start == "logit")  # a negative one turns the sign
    gradient = Gradient(start=start).explain(model, volumes, TARGET)
    torch.testing.assert_close(gradient.relevance, expected)
    torch.testing.assert_close(gradient.output, chosen.float())
    torch.testing.assert_close(Saliency(start=start).explain(model, volumes, TARGET).relevance, expected.abs())
    signed = Saliency(start=start, absolute=False, max_batch=1).explain(model, volumes, TARGET)
    torch.testing.assert_close(signed.relevance, expected)
    product = InputXGradient(start=start, max_batch=1).explain(model, volumes, TARGET)
    torch.testing.assert_close(product.relevance, volumes * expected)
    told = [row.get("start_value") for row in gradient.details or ({}, {})]
    assert told == ([None, None] if start == "one" else pytest.approx(begun.tolist(), rel=1e-5))


def test_input_x_gradient_of_homogeneous_network_sums_to_the_square_of_the_output(volumes: Tensor) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv3d(1, 4, 2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2, bias=False)).eval()
    found = InputXGradient(start="logit").explain(model, volumes, TARGET)
    torch.testing.assert_close(found.relevance.flatten(1).sum(1), found.output**2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_probability_of_one_output_is_refused(volumes: Tensor, kind: type[Any]) -> None:
    with pytest.raises(InputError, match=r"start: probability is for networks with several classes; this one has one"):
        kind(start="probability").explain(linear(1), volumes, None)


@pytest.mark.parametrize("name", ["gradient", "saliency", "input-x-gradient", "guided-backpropagation"])
def test_an_unknown_start_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="two"):
        registry.create("explainer", name, start="two")


def test_the_rules_by_hand() -> None:
    """f = sum_k v_k relu(w_k x) on two voxels that are 1.5 and on two that are -1.5: f is -9 and -12.

    From the output on, v f goes back to the ReLUs, where what is negative ends.
    """
    weight, weight_out = torch.tensor([2.0, -3.0, 5.0, -7.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    model = nn.Sequential(nn.Conv3d(1, 4, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(weight.reshape(4, 1, 1, 1, 1))
        model[3].weight.copy_(weight_out.repeat_interleave(2)[None])
    volume = torch.tensor([1.5, -1.5]).reshape(2, 1, 1, 1, 1).expand(2, 1, 2, 1, 1)
    guided = GuidedBackpropagation(start="logit").explain(model, volume, None)
    assert guided.output.tolist() == [-9, -12]
    assert guided.relevance.flatten().tolist() == [9 * 5] * 2 + [12 * -7] * 2
    assert [dict(row) for row in guided.details or ()] == [
        {"relus": 1, "start_value": -9},
        {"relus": 1, "start_value": -12},
    ]
    assert Deconvolution(start="logit").explain(model, volume, None).relevance.flatten().tolist() == [
        *[9 * 5 + 9 * -7] * 2,
        *[12 * 5 + 12 * -7] * 2,
    ]


class GuidedReLU(torch.autograd.Function):
    """R <- max(R, 0), then the true derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (x > 0)


class Mixed(nn.Module):
    """Has a LeakyReLU, a ReLU and a PReLU; ``plain`` takes the rule of guided backpropagation by autograd."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.third = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 2), nn.Conv3d(4, 3, 1)
        self.leaky, self.relu, self.prelu = nn.LeakyReLU(0.2), nn.ReLU(), nn.PReLU(3)
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.parts(x, self.relu)

    def parts(self, x: Tensor, relu: Any) -> Tensor:
        x = relu(self.second(self.leaky(self.first(x))))
        return self.head(torch.flatten(self.prelu(self.third(x)), 1))


def plain_guided(model: Mixed, volumes: Tensor, logit: bool = True) -> Tensor:
    leaf = volumes.clone().requires_grad_()
    explained = model.parts(leaf, GuidedReLU.apply).gather(1, TARGET[:, None]).sum(1)
    start = explained.detach() if logit else torch.ones(2)
    (found,) = torch.autograd.grad(explained, leaf, start)
    return found


@pytest.fixture
def odd() -> Tensor:
    return torch.randn(2, 1, 3, 3, 3, generator=torch.Generator().manual_seed(2))


def test_guided_backpropagation_of_the_original_takes_the_derivative_of_other_activations(odd: Tensor) -> None:
    model = Mixed().eval()
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([2.0, -2.0]))  # one output of each sign
    expected = plain_guided(model, odd)
    found = GuidedBackpropagation(start="logit").explain(model, odd, TARGET)
    assert sorted(float(value) > 0 for value in found.output) == [False, True]
    torch.testing.assert_close(found.relevance, expected)
    details = dict((found.details or ({},))[0])
    assert (details["relus"], details["differentiated"]) == (1, ["leaky (LeakyReLU)", "prelu (PReLU)"])
    gradient = Gradient(start="logit").explain(model, odd, TARGET).relevance
    assert float((gradient - expected).norm() / expected.norm()) > 0.05
    allowed = GuidedBackpropagation(other_activations="differentiate").explain(model, odd, TARGET)
    torch.testing.assert_close(allowed.relevance, plain_guided(model, odd, logit=False))


@pytest.mark.parametrize("params", [{}, {"start": "probability"}, {"start": "logit", "other_activations": "refuse"}])
@pytest.mark.parametrize("kind", [GuidedBackpropagation, Deconvolution])
def test_other_activations_are_refused_unless_asked_for(odd: Tensor, kind: type[Any], params: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"defined for ReLU only, .*: leaky \(LeakyReLU\), prelu \(PReLU\)\. Use"):
        kind(**params).explain(Mixed().eval(), odd, TARGET)


def test_without_any_relu_it_is_the_gradient_and_says_so(odd: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv3d(1, 3, 2), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(24, 2)).eval()
    with caplog.at_level(logging.WARNING):
        found = GuidedBackpropagation(start="logit").explain(model, odd, TARGET)
    assert "The network has no ReLU" in caplog.text
    torch.testing.assert_close(found.relevance, Gradient(start="logit").explain(model, odd, TARGET).relevance)


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_keras_relu_with_a_slope_or_a_bound_has_the_rule(odd: Tensor, slope: float) -> None:
    """iNNvestigate clips at every layer of the class ReLU, whatever its parameters."""
    torch.manual_seed(1)
    activation: nn.Module = nn.LeakyReLU(slope) if slope else nn.ReLU6()
    activation.keras_class = "ReLU"  # type: ignore[assignment]
    model = nn.Sequential(nn.Conv3d(1, 3, 2), activation, nn.Flatten(), nn.Linear(24, 2)).eval()
    with torch.no_grad():
        model[0].weight.mul_(9)
    leaf = odd.clone().requires_grad_()
    features = model[1](model[0](leaf))
    explained = model[3](model[2](features)).gather(1, TARGET[:, None]).sum(1)
    (above,) = torch.autograd.grad(explained, features, explained.detach(), retain_graph=True)
    (expected,) = torch.autograd.grad(features, leaf, above.clamp(min=0))
    found = GuidedBackpropagation(start="logit").explain(model, odd, TARGET)
    torch.testing.assert_close(found.relevance, expected)
    assert dict((found.details or ({},))[0])["relus"] == 1
    assert GuidedBackpropagation(start="logit").self_check(model, odd)
    with pytest.raises(InputError, match="defined for ReLU only"):
        GuidedBackpropagation().explain(model, odd, TARGET)


@pytest.mark.parametrize("start", ["logit", "probability"])
@pytest.mark.parametrize("kind", KINDS)
def test_self_check_takes_the_start_into_account(
    odd: Tensor, kind: type[Any], start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv3d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)).eval()
    explainer: Explainer = kind(start=start)
    assert "off by" in str(explainer.self_check(model, odd))
    explain = kind.explain

    def forgets(self: Any, *args: Any) -> Any:
        return explain(kind(**{**vars(self), "start": "one"}), *args)

    monkeypatch.setattr(kind, "explain", forgets)
    with pytest.raises(AssertionError, match="differs from"):
        explainer.self_check(model, odd)
