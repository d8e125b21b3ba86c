"""Guided backpropagation, deconvolution and guided Grad-CAM against Captum and cases worked by hand."""

from __future__ import annotations

import warnings

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import Explainer, InputError
from xai_explainers_gradcam.plugin_cam import GradCAM
from xai_explainers_gradcam.plugin_gradients import Saliency
from xai_explainers_gradcam.plugin_guided import Deconvolution, GuidedBackpropagation, GuidedGradCAM

METHODS = [
    pytest.param(GuidedBackpropagation(max_batch=2), captum.attr.GuidedBackprop, id="guided"),
    pytest.param(Deconvolution(), captum.attr.Deconvolution, id="deconvolution"),
]


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(3, 1, 6, 5, 8, generator=torch.Generator().manual_seed(5))


class Written(nn.Module):
    """Reuse of one in-place ReLU and of a convolution, functions and methods, a sum, a concatenation and a gate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm3d(4)
        nn.init.normal_(self.norm.running_mean, std=0.3)  # type: ignore[arg-type]
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
        self.relu = nn.ReLU(inplace=True)
        self.gate, self.head = nn.Linear(4, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        y = self.second(x)
        y += x
        y = F.max_pool3d(self.relu(y), 3, 2, 1)
        z = F.relu(self.second(y), inplace=True)
        gate = torch.sigmoid(self.gate(torch.relu(z.mean((2, 3, 4)) - 0.05)))
        z = z * gate[:, :, None, None, None]
        return self.head(torch.cat([y, self.second(z).relu()], 1).mean((2, 3, 4)))


class Plain(nn.Module):
    """The same with a module for each operation, as Captum's hooks need it."""

    def __init__(self, model: Written) -> None:
        super().__init__()
        self.first, self.norm, self.gate, self.head = model.first, model.norm, model.gate, model.head
        self.second = model.second  # Captum's hooks are on the ReLUs only
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.relus[0](self.norm(self.first(x)))
        y = F.max_pool3d(self.relus[1](self.second(x) + x), 3, 2, 1)
        z = self.relus[2](self.second(y))
        gate = torch.sigmoid(self.gate(self.relus[3](z.mean((2, 3, 4)) - 0.05)))
        z = z * gate[:, :, None, None, None]
        return self.head(torch.cat([y, self.relus[4](self.second(z))], 1).mean((2, 3, 4)))


def captums(method: type, model: nn.Module, volumes: Tensor, target: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its hooks
        found: Tensor = method(model).attribute(volumes.clone().requires_grad_(), target=target)
    return found.detach()


@pytest.mark.parametrize(("explainer", "method"), METHODS)
def test_equals_captum_on_the_plain_network(volumes: Tensor, explainer: Explainer, method: type) -> None:
    """However the network is written."""
    model, target = Written().eval(), torch.tensor([1, 0, 1])
    plain = Plain(model).eval()
    torch.testing.assert_close(plain(volumes), model(volumes))
    expected = captums(method, plain, volumes, target)
    gradient = Saliency(absolute=False).explain(model, volumes, target).relevance
    assert float((expected - gradient).norm() / gradient.norm()) > 0.1
    for network in (plain, model):
        found = explainer.explain(network, volumes, target)
        torch.testing.assert_close(found.relevance, expected, rtol=1e-4, atol=1e-7)
        assert [dict(row) for row in found.details or ()] == [{"relus": 5}] * 3


@pytest.mark.parametrize(("explainer", "method"), METHODS)
def test_captum_is_blind_to_functions(volumes: Tensor, explainer: Explainer, method: type) -> None:
    """The reason for the canonical form; if this ends, Captum can do the work."""
    torch.manual_seed(0)

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv3d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(F.relu(self.conv(x)).mean((2, 3, 4)))

    model, target = Functional().eval(), torch.tensor([0, 0, 0])
    gradient = Saliency(absolute=False).explain(model, volumes, target).relevance
    torch.testing.assert_close(captums(method, model, volumes, target), gradient)
    assert float((explainer.explain(model, volumes, target).relevance - gradient).norm() / gradient.norm()) > 0.1


def test_by_hand() -> None:
    """f = sum_k v_k relu(w_k x) on two voxels: guided sums v w where v > 0 and w x > 0, deconvolution where v > 0."""
    weight, weight_out = torch.tensor([2.0, -3.0, 5.0, -7.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    model = nn.Sequential(nn.Conv3d(1, 4, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(weight.reshape(4, 1, 1, 1, 1))
        model[3].weight.copy_(weight_out.repeat_interleave(2)[None])
    volume = torch.tensor([1.5, -1.5]).reshape(2, 1, 1, 1, 1).expand(2, 1, 2, 1, 1)
    assert Saliency(absolute=False).explain(model, volume, None).relevance.flatten().tolist() == [
        2 - 5,
        2 - 5,
        -3 + 7,
        -3 + 7,
    ]
    assert GuidedBackpropagation().explain(model, volume, None).relevance.flatten().tolist() == [2, 2, -3, -3]
    assert Deconvolution().explain(model, volume, None).relevance.flatten().tolist() == [2 - 3] * 4


def test_guided_gradcam_is_the_product(volumes: Tensor) -> None:
    model, target = Written().eval(), torch.tensor([1, 0, 1])
    found = GuidedGradCAM(layer="first", max_batch=2).explain(model, volumes, target)
    where = GradCAM(layer="first").explain(model, volumes, target)
    what = GuidedBackpropagation().explain(model, volumes, target)
    assert float(found.relevance.abs().max()) > 0
    torch.testing.assert_close(found.relevance, where.relevance * what.relevance)
    assert found.details is not None
    assert dict(found.details[0]) == {"layer": "first", "grid": [6, 5, 8], "relus": 5}


def test_guided_gradcam_on_a_coarse_layer_is_trilinear(volumes: Tensor) -> None:
    """Captum's takes the nearest neighbour, so it is compared on the layer's own grid."""
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1),
        nn.Flatten(), nn.Linear(4, 2),
    ).eval()  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = captum.attr.GuidedGradCam(model, model[2]).attribute(volumes.clone().requires_grad_(), target=1)
    found = GuidedGradCAM().explain(model, volumes, torch.tensor([1, 1, 1]))
    torch.testing.assert_close(found.relevance, expected.detach(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("activation", "named"),
    [
        (nn.LeakyReLU(), r"1 \(LeakyReLU\)"), (nn.ELU(), r"1 \(ELU\)"), (nn.SiLU(), r"1 \(SiLU\)"),
        (nn.ReLU6(), r"1 \(ReLU6\)"), (nn.PReLU(), r"1 \(PReLU\)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("explainer", [GuidedBackpropagation(), Deconvolution(), GuidedGradCAM(layer="0")])
def test_not_applicable_to_other_activations(
    volumes: Tensor, explainer: Explainer, activation: nn.Module, named: str
) -> None:
    model = nn.Sequential(
        nn.Conv3d(1, 2, 3), activation, nn.Conv3d(2, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    )
    with pytest.raises(InputError, match=rf"are defined for ReLU only, .*: {named}\. Use saliency"):
        explainer.explain(model.eval(), volumes, None)


def test_not_applicable_without_a_relu(volumes: Tensor) -> None:
    model = nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    with pytest.raises(InputError, match=r"This network has no ReLU, so .* would be its plain gradient"):
        GuidedBackpropagation().explain(model, volumes, None)


class OwnReLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0) + 0 * x


@pytest.mark.parametrize("activation", [OwnReLU(), nn.LeakyReLU(0.0)], ids=["own class", "no leak"])
def test_what_is_a_relu_by_another_name_counts_as_one(activation: nn.Module) -> None:
    def network(between: nn.Module) -> nn.Module:
        torch.manual_seed(2)
        return nn.Sequential(nn.Conv3d(1, 3, 3), between, nn.Conv3d(3, 2, 3), nn.Flatten(), nn.LazyLinear(2)).eval()

    volumes = torch.randn(1, 1, 7, 8, 6, generator=torch.Generator().manual_seed(1))
    plain, other = network(nn.ReLU()), network(activation)
    with torch.no_grad():
        plain(volumes), other(volumes)
    other.load_state_dict(plain.state_dict())
    expected, found = (GuidedBackpropagation().explain(model, volumes, None).relevance for model in (plain, other))
    torch.testing.assert_close(found, expected)
