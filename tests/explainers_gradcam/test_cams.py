"""Grad-CAM++ and Layer-CAM against the plain formulas and MONAI."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import InputError, registry
from xai_core.engine.torchvision_shim import ensure_torchvision
from xai_explainers_gradcam.plugin_cam import GradCAM, GradCAMPlusPlus, LayerCAM


class Net(nn.Module):
    """The ReLU that is explained is followed by a ReLU and a pooling that see places differently."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv3d(1, 4, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv3d(4, 6, 3, padding=1)
        self.last = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.last(self.conv2(self.relu(self.conv1(x))))
        return 3 * self.head(F.max_pool3d(x, 2, ceil_mode=True).mean((2, 3, 4)))


@pytest.fixture
def net() -> Net:
    return Net().eval()


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(2, 1, 9, 13, 11, generator=torch.Generator().manual_seed(1))


def parts(model: Net, layer: str, volume: Tensor, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Feature maps and gradients [K, d, h, w] of one volume, from the network written out."""
    with torch.no_grad():
        a = model.conv1(volume)
        a = a if layer == "conv1" else a.clamp(min=0)
        for step in ("conv2", "last") if layer in ("conv2", "last") else ():
            a = model.conv2(a) if step == "conv2" else a.clamp(min=0) if layer == "last" else a
    a = a.clone().requires_grad_()
    x = a
    if layer in ("conv1", "relu"):
        x = model.conv2(x.clamp(min=0))
    x = F.max_pool3d(x.clamp(min=0), 2, ceil_mode=True).mean((2, 3, 4))
    (3 * model.head(x))[0, target].backward()
    assert a.grad is not None
    return a.detach()[0].double().numpy(), a.grad[0].double().numpy()


def plus_plus(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Chattopadhay's equations 19, 11 and 2 with Y = exp(S), voxel by voxel, without the common factor exp(S)."""
    total = np.zeros(a.shape[1:])
    for k in range(len(a)):
        weight = 0.0
        for place in np.ndindex(a.shape[1:]):
            second, third = g[k][place] ** 2, g[k][place] ** 3
            if second:
                weight += second / (2 * second + a[k].clip(min=0).sum() * third) * max(g[k][place], 0)
        total += weight * a[k]
    return total.clip(min=0)


def layer_cam(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    return (g.clip(min=0) * a).sum(axis=0).clip(min=0)


@pytest.mark.parametrize("layer", ["conv1", "relu", "conv2", "last"])
@pytest.mark.parametrize(("explainer", "formula"), [(GradCAMPlusPlus, plus_plus), (LayerCAM, layer_cam)])
def test_equals_the_plain_formula(net: Net, volumes: Tensor, layer: str, explainer: type, formula: object) -> None:
    result = explainer(layer=layer, max_batch=1).explain(net, volumes, torch.tensor([2, 0]))
    for index, target in enumerate([2, 0]):
        coarse = formula(*parts(net, layer, volumes[index : index + 1], target))  # type: ignore[operator]
        expected = F.interpolate(torch.from_numpy(coarse)[None, None], size=volumes.shape[2:], mode="trilinear")[0, 0]
        assert expected.max() > 0
        torch.testing.assert_close(result.relevance[index, 0].double(), expected, rtol=1e-4, atol=1e-6)
        assert result.details is not None
        assert dict(result.details[index]) == {"layer": layer, "grid": [5, 7, 6]}


def test_hand_worked_maps() -> None:
    """Two voxels, A1 = x and A2 = -x, output = mean(3 A1 - 5 A2): g1 = 3/2 and g2 = -5/2 in both voxels."""
    model = nn.Sequential(nn.Conv3d(1, 2, 1, bias=False), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1))
        model[3].weight.copy_(torch.tensor([[3.0, -5.0]]))
    volume = torch.tensor([2.0, 6.0]).reshape(1, 1, 2, 1, 1)
    found = LayerCAM().explain(model, volume, None)
    assert found.relevance.flatten().tolist() == [1.5 * 2, 1.5 * 6]
    found = GradCAMPlusPlus().explain(model, volume, None)
    weight = 2 * 1.5 / (2 + 1.5 * (2 + 6))
    torch.testing.assert_close(found.relevance.flatten(), weight * torch.tensor([2.0, 6.0]))


def test_layer_cam_keeps_the_place_that_grad_cam_pools_away() -> None:
    """Only the first half of the feature map matters for the output, but both halves are active."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(1, 1, 1, bias=False)
            nn.init.ones_(self.conv.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)[:, :, :4].mean((2, 3, 4))

    volume = torch.rand(1, 1, 8, 3, 5) + 0.5
    fine = LayerCAM().explain(Half().eval(), volume, None).relevance[0, 0]
    coarse = GradCAM().explain(Half().eval(), volume, None).relevance[0, 0]
    assert not fine[4:].any()
    assert bool((fine[:4] > 0).all())
    assert bool((coarse > 0).all())


@pytest.mark.parametrize(("explainer", "name"), [(GradCAM, "GradCAM"), (GradCAMPlusPlus, "GradCAMpp")])
def test_equals_monai(net: Net, volumes: Tensor, explainer: type, name: str) -> None:
    """On a layer with A >= 0 that is averaged: there MONAI's sum(A g^3) is the paper's g^3 sum(A).

    The output is scaled up, because MONAI adds 1e-7 to the denominator, which is about g^2.
    """
    ensure_torchvision()
    visualize = pytest.importorskip("monai.visualize")

    class Averaged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            x = net.last(net.conv2(net.relu(net.conv1(x))))
            return 100 * net.head(x.mean((2, 3, 4)))

    model = Averaged().double().eval()
    method = getattr(visualize, name)(
        model, "net.last", upsampler=lambda size: nn.Upsample(size, mode="trilinear"), postprocessing=lambda x: x
    )
    found = explainer(layer="net.last").explain(model, volumes, torch.tensor([1, 1])).relevance
    for index in range(2):  # MONAI's Grad-CAM++ takes one volume only
        ours = found[index : index + 1].double()
        theirs = method(volumes[index : index + 1].double(), class_idx=1).detach()
        assert float(ours.max()) > 0
        # Grad-CAM++'s common factor exp(output) is left out.
        torch.testing.assert_close(ours / ours.max(), theirs / theirs.max(), rtol=1e-3, atol=1e-5)


class Smooth(nn.Module):
    """Has another activation than ReLU, and an operation without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.norm = nn.InstanceNorm3d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.silu(self.norm(self.conv(x))).mean((2, 3, 4)))


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("gradcam", {"layer": "conv9"}, "no layer 'conv9'"),
        ("layer-cam", {"layer": "head"}, "feature map"),
        ("guided-gradcam", {"layer": "conv9"}, "no layer 'conv9'"),
        ("guided-backpropagation", {}, "for ReLU only"),
        ("deconvolution", {}, "for ReLU only"),
        ("deeplift", {}, "no rule for"),
        ("occlusion", {"window": 12}, "larger than the volume"),
    ],
)
def test_what_cannot_be_explained_is_refused_before_training(
    volumes: Tensor, name: str, params: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        registry.create("explainer", name, **params).check_model(Smooth().eval(), volumes[:1])


@pytest.mark.parametrize("name", ["gradcam", "layer-cam", "guided-gradcam", "guided-backpropagation", "deeplift"])
def test_what_can_be_explained_is_not_refused(net: Net, volumes: Tensor, name: str) -> None:
    registry.create("explainer", name).check_model(net, volumes[:1])
