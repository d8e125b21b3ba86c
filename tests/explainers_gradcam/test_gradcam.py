"""Grad-CAM against the plain formula, and the choice of the layer."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_explainers_gradcam.plugin_cam import GradCAM


class Block(nn.Module):
    """A residual block whose shortcut convolution runs after those of its main path."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.downsample = nn.Conv3d(width, width, 1, stride=2)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)  # registered before conv1, run after it
        self.conv1 = nn.Conv3d(width, width, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        main = self.conv2(torch.relu(self.conv1(x)))
        main += self.downsample(x)  # in place: changes what conv2 returned
        return self.relu(main)


class Net(nn.Module):
    def __init__(self, channels: int = 1, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(6, outputs)
        self.block = Block(6)
        self.stem = nn.Conv3d(channels, 6, 3, padding=1)
        self.bn = nn.BatchNorm3d(6)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(self.relu(self.bn(self.stem(x)))).mean((2, 3, 4)))


def plain_gradcam(
    model: nn.Module, layer: str, volume: Tensor, target: int, axes: tuple[int, ...] = (0, 1, 2)
) -> Tensor:
    """Selvaraju's formula for one volume [1, C, D, H, W], written out; gives L on the layer's grid [d, h, w].

    ``axes``: the spatial axes that the gradient is averaged over.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output + 0  # what follows works on a copy, so that an in-place ReLU leaves the kept one alone

    handle = model.get_submodule(layer).register_forward_hook(keep)
    model(volume.clone().requires_grad_())[0, target].backward()
    handle.remove()
    model.zero_grad()
    activation, gradient = kept[0].detach()[0].numpy(), kept[0].grad[0].numpy()  # type: ignore[index]
    weights = gradient.mean(axis=tuple(axis + 1 for axis in axes), keepdims=True)
    return torch.from_numpy(np.maximum((weights * activation).sum(axis=0), 0))


def trilinear(coarse: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Separable linear resampling; voxel centres lie at (i + 0.5) / n, constant beyond the outermost."""
    fine = coarse
    for axis, wanted in enumerate(size):
        present = fine.shape[axis]
        at = np.clip((np.arange(wanted) + 0.5) * present / wanted - 0.5, 0, present - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, present - 1)
        shape = [1, 1, 1]
        shape[axis] = wanted
        share = (at - low).reshape(shape)
        fine = np.take(fine, low, axis) * (1 - share) + np.take(fine, high, axis) * share
    return fine


@pytest.fixture
def net() -> Net:
    return Net().eval()


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(2, 1, 9, 13, 11, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layer", ["stem", "bn", "relu", "block", "block.conv1", "block.conv2", "block.relu"])
def test_equals_the_plain_formula_with_trilinear_resampling(net: Net, volumes: Tensor, layer: str) -> None:
    result = GradCAM(layer=layer).explain(net, volumes, torch.tensor([2, 0]))
    for index, target in enumerate([2, 0]):
        coarse = plain_gradcam(net, layer, volumes[index : index + 1], target)
        expected = trilinear(coarse.numpy(), (9, 13, 11))
        assert expected.max() > 0
        np.testing.assert_allclose(result.relevance[index, 0].numpy(), expected, rtol=1e-4, atol=1e-7)


def test_gradient_is_pooled_over_all_three_axes(net: Net, volumes: Tensor) -> None:
    """Pooling two of the three axes, as 2D code does, gives a clearly different map."""
    result = GradCAM(layer="relu").explain(net, volumes[:1], torch.tensor([2])).relevance[0, 0].flatten()
    three, two = (plain_gradcam(net, "relu", volumes[:1], 2, axes=axes).flatten() for axes in ((0, 1, 2), (0, 1)))
    torch.testing.assert_close(result, three)
    assert float((result - two).norm() / result.norm()) > 0.1


def test_hand_worked_map() -> None:
    """A1 = x and A2 = -x on two voxels, output = mean(3 A1 + 5 A2) + 7: L = ReLU(1.5 x - 2.5 x)."""
    model = nn.Sequential(nn.Conv3d(1, 2, 1, bias=False), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1))
        model[3].weight.copy_(torch.tensor([[3.0, 5.0]]))
        model[3].bias.fill_(7.0)
    result = GradCAM(layer="0").explain(model, torch.tensor([-4.0, 6.0]).reshape(1, 1, 2, 1, 1), None)
    # d output / d A1 = 3 / 2 and d output / d A2 = 5 / 2 in both voxels.
    assert result.relevance.flatten().tolist() == [4.0, 0.0]
    assert result.output.tolist() == [3 * 1 + 5 * -1 + 7]


def test_no_relevance_where_the_layer_speaks_only_against_the_output() -> None:
    model = nn.Sequential(nn.Conv3d(1, 1, 1, bias=False), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    nn.init.constant_(model[0].weight, -1.0)
    result = GradCAM().explain(model, torch.rand(1, 1, 3, 4, 5) + 0.1, None)
    assert result.relevance.tolist() == torch.zeros(1, 1, 3, 4, 5).tolist()


def test_every_channel_gets_the_same_map() -> None:
    volumes = torch.randn(2, 3, 7, 6, 5)
    relevance = GradCAM(layer="stem").explain(Net(channels=3).eval(), volumes, None).relevance
    assert relevance.shape == volumes.shape
    assert float(relevance.max()) > 0
    assert torch.equal(relevance[:, :1].expand_as(relevance), relevance)


def test_regression_explains_its_only_output(volumes: Tensor) -> None:
    model = Net(outputs=1).eval()
    result = GradCAM(layer="stem").explain(model, volumes, None)
    assert result.target.tolist() == [0, 0]
    torch.testing.assert_close(result.output, model(volumes)[:, 0].detach())
    torch.testing.assert_close(
        result.relevance[:1, 0], plain_gradcam(model, "stem", volumes[:1], 0)[None], rtol=1e-4, atol=1e-7
    )


def test_default_is_the_last_convolution_that_runs_not_the_last_registered(net: Net, volumes: Tensor) -> None:
    """Stem and conv1 are registered last, the shortcut runs last but beside conv2."""
    by_default = GradCAM().explain(net, volumes, None)
    assert by_default.details is not None
    assert [dict(row) for row in by_default.details] == [{"layer": "block.conv2", "grid": [5, 7, 6]}] * 2
    named = GradCAM(layer="block.conv2").explain(net, volumes, None)
    assert torch.equal(by_default.relevance, named.relevance)


def test_default_in_a_chain_of_convolutions() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.middle, self.first = (nn.Conv3d(1, 1, 1) for _ in range(3))
            self.auxiliary = nn.Conv3d(1, 1, 1)  # runs last, but nothing is made of it

        def forward(self, x: Tensor) -> Tensor:
            features = self.last(self.middle(self.first(x)))
            self.auxiliary(features)
            return features.mean((2, 3, 4))

    result = GradCAM().explain(Chain(), torch.randn(1, 1, 4, 3, 5), None)
    assert result.details is not None
    assert result.details[0]["layer"] == "last"


def test_frozen_network_has_the_same_map_and_default(net: Net, volumes: Tensor) -> None:
    before = GradCAM().explain(net, volumes, None)
    after = GradCAM().explain(net.requires_grad_(False), volumes, None)
    assert torch.equal(before.relevance, after.relevance)
    assert before.details == after.details


def test_unknown_layer_lists_the_layers_that_can_be_named(net: Net, volumes: Tensor) -> None:
    with pytest.raises(InputError) as caught:
        GradCAM(layer="block.conv3").explain(net, volumes, None)
    message = str(caught.value)
    assert "The model has no layer 'block.conv3'." in message
    assert "Did you mean 'block.conv" in message
    assert (
        "Layers that can be named: stem, bn, relu, block.conv1, block.conv2, block.downsample, "
        "block.relu, block." in message
    )
    assert "fc" not in message


def test_long_list_of_layers_is_shortened() -> None:
    groups = [nn.Sequential(*(nn.Conv3d(1, 1, 1) for _ in range(9))) for _ in range(4)]
    model = nn.Sequential(*groups, nn.AdaptiveAvgPool3d(1), nn.Flatten())
    with pytest.raises(InputError) as caught:
        GradCAM(layer="layer4").explain(model, torch.randn(1, 1, 4, 4, 4), None)
    assert "Layers that can be named: 0, 1, 2, 3, 4 and 36 more, such as 3.8." in str(caught.value)

    flat = nn.Sequential(*(nn.Conv3d(1, 1, 1) for _ in range(30)), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    with pytest.raises(InputError) as caught:
        GradCAM(layer="layer4").explain(flat, torch.randn(1, 1, 4, 4, 4), None)
    assert "Layers that can be named: 11, 12," in str(caught.value)
    assert "29, 30 and 11 more, such as 10." in str(caught.value)


def test_layer_without_feature_map(net: Net, volumes: Tensor) -> None:
    with pytest.raises(InputError, match=r"'fc' returns a tensor \[1, 3\] for one volume\. Layers that can be"):
        GradCAM(layer="fc").explain(net, volumes, None)


def test_layer_that_runs_twice_or_never() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.unused = nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x)).mean((2, 3, 4))

    volume = torch.randn(1, 2, 4, 4, 4)
    for layer in ("conv", None):
        with pytest.raises(InputError, match="'conv' is run 2 times in one forward pass"):
            GradCAM(layer=layer).explain(Shared(), volume, None)
    with pytest.raises(InputError, match="'unused' is not run in the forward pass"):
        GradCAM(layer="unused").explain(Shared(), volume, None)


def test_layer_that_the_output_does_not_depend_on() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.beside = nn.Conv3d(1, 2, 1), nn.Conv3d(1, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.beside(x)
            return self.main(x).mean((2, 3, 4))

    with pytest.raises(InputError, match="No gradient leads from the model's output to the layer 'beside'"):
        GradCAM(layer="beside").explain(Beside(), torch.randn(1, 1, 4, 4, 4), None)


def test_model_without_convolution() -> None:
    model = nn.Sequential(nn.AvgPool3d(2), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(InputError, match=r"no torch\.nn\.Conv3d is run in this model\. Name a layer"):
        GradCAM().explain(model, torch.randn(1, 1, 4, 4, 4), None)
    assert GradCAM(layer="0").explain(model, torch.randn(1, 1, 4, 4, 4), None).relevance.shape[2:] == (
        4,
        4,
        4,
    )


def test_feature_map_of_one_voxel_is_warned_about() -> None:
    model = nn.Sequential(nn.Conv3d(1, 2, 4), nn.Flatten(), nn.Linear(2, 2))
    with pytest.warns(UserWarning, match="'0' is a single voxel"):
        relevance = GradCAM().explain(model, torch.randn(1, 1, 4, 4, 4), None).relevance
    assert math.isclose(float(relevance.std()), 0.0, abs_tol=1e-7)


class Attended(nn.Module):
    """A convolution, then one that makes a gate for each voxel, then a classifier behind the global pooling."""

    def __init__(self, spatial: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.spatial = spatial
        self.first, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
        self.attention, self.squeeze = nn.Conv3d(4, 1, 3, padding=1), nn.Conv3d(4, 4, 1)
        self.classifier = nn.Conv3d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.last(torch.relu(self.first(x))))
        pooled = y.mean((2, 3, 4), keepdim=True)
        y = y * torch.sigmoid(self.attention(y) if self.spatial else self.squeeze(pooled))
        return self.classifier(y.mean((2, 3, 4), keepdim=True)).flatten(1)


@pytest.mark.parametrize("spatial", [True, False])
def test_a_gate_and_a_classifier_are_no_feature_maps(spatial: bool) -> None:
    volumes = torch.rand(1, 1, 7, 9, 8, generator=torch.Generator().manual_seed(1))
    found = GradCAM().explain(Attended(spatial).eval(), volumes, None)
    assert found.details is not None
    assert found.details[0]["layer"] == "last"


def normalised(norm: nn.Module) -> nn.Sequential:
    """The last convolution, then a normalisation, an activation and a pooling by the mean."""
    torch.manual_seed(0)
    first = (nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1))
    return nn.Sequential(*first, norm, nn.LeakyReLU(0.1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


@pytest.mark.parametrize("size", [8, 24])
@pytest.mark.parametrize("norm", [nn.InstanceNorm3d(4, affine=True), nn.GroupNorm(4, 4), nn.LayerNorm((8, 8, 8))])
def test_a_layer_whose_mean_gradients_cancel_is_refused_not_mapped_from_rounding(norm: nn.Module, size: int) -> None:
    if isinstance(norm, nn.LayerNorm):
        norm = nn.LayerNorm((size,) * 3)
    network, volumes = normalised(norm), torch.rand(2, 1, size, size, size)
    for explainer in (GradCAM(), GradCAM(layer="2")):
        with pytest.raises(InputError, match=r"gradient at '2' has the mean zero in .* such as .*\{layer: \"3\"\}"):
            explainer.explain(network, volumes, torch.tensor([0, 1]))
        with pytest.raises(InputError, match="rounding errors"):
            explainer.check_model(network, volumes[:1])
    for name in ("3", "4"):  # the normalisation and the activation behind it have weights of their own
        found = GradCAM(layer=name).explain(network, volumes, torch.tensor([0, 1]))
        exact = GradCAM(layer=name).explain(deepcopy(network).double(), volumes, torch.tensor([0, 1]))
        assert float(exact.relevance.max()) > 0
        torch.testing.assert_close(found.relevance, exact.relevance, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.BatchNorm3d(4), nn.Identity()])
def test_a_normalisation_that_leaves_the_means_a_part_is_explained(norm: nn.Module) -> None:
    found = GradCAM().explain(normalised(norm), torch.rand(1, 1, 8, 8, 8), torch.tensor([0]))
    assert found.details is not None
    assert found.details[0]["layer"] == "2"


def test_a_layer_without_any_gradient_has_the_map_zero() -> None:
    network = normalised(nn.InstanceNorm3d(4))
    nn.init.zeros_(network[-1].weight)
    assert not GradCAM().explain(network, torch.rand(1, 1, 8, 8, 8), torch.tensor([0])).relevance.any()


def test_a_part_in_torchscript_is_no_hindrance_and_leaves_no_hooks() -> None:
    network = normalised(nn.BatchNorm3d(4))
    volumes = torch.rand(1, 1, 8, 8, 8)
    expected = GradCAM().explain(network, volumes, None)
    head = torch.jit.script(nn.Sequential(*list(network)[3:]).eval())
    partly = nn.Sequential(*list(network)[:3], head)
    found = GradCAM().explain(partly, volumes, None)
    torch.testing.assert_close(found.relevance, expected.relevance)
    assert not any(module._forward_hooks for module in network)
    with pytest.raises(InputError, match=r"no torch\.nn\.Conv3d is run"):
        GradCAM().explain(nn.Sequential(torch.jit.script(network)), volumes, None)
