"""The networks against MONAI's own and against published numbers of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import Tensor, fx, nn

from xai_core import registry

SHAPE = (2, 33, 37, 35)
VIT = {"hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 4}
RESIDUAL = {"channels": (4, 8), "strides": (2, 3)}


# Name, parameters, and the same network made by calling MONAI.
PAIRS: list[tuple[str, dict[str, Any], Callable[[], nn.Module]]] = [
    (
        "monai-resnet",
        {"depth": 18, "widen_factor": 0.25, "shortcut": "A"},
        lambda: nets.resnet18(
            spatial_dims=3, n_input_channels=2, num_classes=3, widen_factor=0.25, shortcut_type="A", conv1_t_stride=2
        ),
    ),
    (
        "monai-resnet",
        {"depth": 50, "widen_factor": 0.125, "shortcut": "A", "conv1_stride": [1, 2, 3], "max_pool": False},
        lambda: nets.resnet50(
            spatial_dims=3, n_input_channels=2, num_classes=3, widen_factor=0.125, shortcut_type="A",
            conv1_t_stride=(1, 2, 3), no_max_pool=True,
        ),
    ),
    (
        "monai-resnet",
        {"depth": 10, "widen_factor": 0.25, "bias_downsample": True, "conv1_kernel": 3},
        lambda: nets.resnet10(
            spatial_dims=3, n_input_channels=2, num_classes=3, widen_factor=0.25, conv1_t_size=3, conv1_t_stride=2
        ),
    ),
    (
        "monai-densenet",
        {"depth": 169, "growth_rate": 4, "init_features": 8, "bottleneck": 2},
        lambda: nets.DenseNet169(3, 2, 3, growth_rate=4, init_features=8, bn_size=2),
    ),
    (
        "monai-senet",
        {"variant": "se-resnext50", "layers": [1, 2, 1, 1]},
        lambda: nets.SEResNext50(spatial_dims=3, in_channels=2, num_classes=3, layers=(1, 2, 1, 1)),
    ),
    (
        "monai-efficientnet",
        {"dropout": 0.4},
        lambda: nets.EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=2, num_classes=3),
    ),
    (
        "monai-vit",
        {**VIT, "patch_size": [8, 9, 10], "edges": "cut", "position": "sincos", "qkv_bias": True},
        lambda: nets.ViT(
            2, SHAPE[1:], (8, 9, 10), **VIT, classification=True, num_classes=3, post_activation=None,
            pos_embed_type="sincos", qkv_bias=True,
        ),
    ),
    (
        "monai-classifier",
        {**RESIDUAL, "act": "relu", "dropout": 0.2},
        lambda: nets.Classifier(SHAPE, 3, **RESIDUAL, act="relu", dropout=0.2),
    ),
    (
        "monai-regressor",
        {**RESIDUAL, "num_res_units": 0, "norm": "none", "kernel_size": 5},
        lambda: nets.Regressor(SHAPE, (3,), **RESIDUAL, num_res_units=0, norm=None, kernel_size=5),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params", "make"), PAIRS, ids=[f"{i}-{pair[0]}" for i, pair in enumerate(PAIRS)])
def test_weights_and_outputs_are_those_of_monais_network(
    name: str, params: dict[str, Any], make: Callable[[], nn.Module], randomised: Any
) -> None:
    torch.manual_seed(5)
    ours = registry.create("model", name, **params).build(SHAPE, 3)
    torch.manual_seed(5)
    theirs = make()
    own, given = ours.state_dict(), theirs.state_dict()
    unused = {key for key in given if "cross_attn." in key}
    assert own.keys() == given.keys() - unused
    assert all(torch.equal(value, given[key]) for key, value in own.items())
    x = torch.randn(2, *SHAPE)
    randomised(ours, x)
    theirs.eval().load_state_dict({**{key: given[key] for key in unused}, **ours.state_dict()})
    x = x.double()
    with torch.no_grad():
        output = theirs.double()(x)
        logits = output[0] if isinstance(output, tuple) else output
        assert (logits[0] - logits[1]).abs().max() > 1e-3
        torch.testing.assert_close(ours.double()(x), logits, rtol=1e-9, atol=1e-12)


def in_two_dimensions(name: str, **params: Any) -> int:
    """Count the parameters with squares in place of the cubic kernels, for colour images and 1000 classes."""
    with torch.device("meta"):
        network = registry.create("model", name, **params).network((3, 64, 64, 64), 1000)
    count = sum(parameter.numel() for parameter in network.parameters())
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            count -= module.weight.numel() - module.weight.numel() // module.kernel_size[0]
    return count


# Millions of parameters published for the two-dimensional networks, trained on ImageNet.
PUBLISHED = {
    ("monai-resnet", "depth"): {18: 11.69, 34: 21.80, 50: 25.56, 101: 44.55, 152: 60.19},
    ("monai-densenet", "depth"): {121: 7.98, 169: 14.15, 201: 20.01},
    ("monai-senet", "variant"): {
        "senet154": 115.09, "se-resnet50": 28.09, "se-resnet101": 49.33, "se-resnet152": 66.82,
        "se-resnext50": 27.56, "se-resnext101": 48.96,
    },
    ("monai-efficientnet", "version"): {
        "b0": 5.29, "b3": 12.23, "b4": 19.34, "b7": 66.35
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key", "value", "millions"),
    [(name, key, value, count) for (name, key), counts in PUBLISHED.items() for value, count in counts.items()],
)
def test_number_of_parameters_is_the_published_one(name: str, key: str, value: Any, millions: float) -> None:
    assert round(in_two_dimensions(name, **{key: value}) / 1e6, 2) == millions


# MedicalNet's backbones, as published with the pretrained networks.
@pytest.mark.parametrize(
    ("depth", "shortcut", "millions"), [(10, "B", 14.36), (18, "A", 32.99), (34, "B", 63.47), (50, "B", 46.16)]
)
def test_number_of_parameters_is_medicalnets(depth: int, shortcut: str, millions: float) -> None:
    with torch.device("meta"):
        network = registry.create("model", "monai-resnet", depth=depth, shortcut=shortcut).network((1, 32, 32, 32), 2)
    count = sum(value.numel() for key, value in network.named_parameters() if not key.startswith("fc."))
    assert round(count / 1e6, 2) == millions


def test_vit_has_the_parameters_of_vit_b16() -> None:
    with torch.device("meta"):
        network = registry.create("model", "monai-vit", qkv_bias=True).build((3, 224, 224, 16), 1000)
    weight = network.patch_embedding.patch_embeddings.weight
    flat = sum(parameter.numel() for parameter in network.parameters()) - weight.numel() + weight.numel() // 16
    assert flat == 86_567_656 - 768  # ViT-B/16; MONAI's class token has no position


def test_classifier_has_the_parameters_that_one_counts() -> None:
    network = registry.create("model", "monai-classifier", **RESIDUAL).build((1, 9, 11, 13), 5)
    units = 0
    for inside, outside, activations in ((1, 4, 2), (4, 8, 1)):  # the last convolution has no activation
        convolutions = 27 * (2 * inside * outside + outside * outside) + 3 * outside  # two, and the shortcut's
        units += convolutions + activations  # one slope for each PReLU; instance normalisation has none
    voxels = 2 * 2 * 3  # 9, 11, 13 halved: 5, 6, 7; by a stride of 3: 2, 2, 3
    assert sum(p.numel() for p in network.parameters()) == units + (8 * voxels + 1) * 5


def test_gradient_is_that_of_the_output(component: Any, randomised: Any) -> None:
    torch.manual_seed(2)
    volumes = torch.randn(3, 1, 33, 35, 34)
    network = randomised(component.build((1, 33, 35, 34), 2), volumes).double()
    x = volumes[:1].double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, 1], x)
    # Along the gradient the output changes most; central differences are exact to the second order.
    step = 1e-6 * gradient / gradient.norm()
    with torch.no_grad():
        difference = (network(x + step) - network(x - step))[0, 1] / 2e-6
    torch.testing.assert_close(difference, gradient.norm(), rtol=1e-4, atol=0)


def test_nothing_works_in_place_or_is_made_late(component: Any) -> None:
    network = component.build((1, 33, 35, 34), 2)
    assert not [name for name, module in network.named_modules() if getattr(module, "inplace", False)]
    before = [name for name, _ in network.named_modules()]
    network.eval()(torch.randn(1, 1, 33, 35, 34))
    assert [name for name, _ in network.named_modules()] == before
    assert all(isinstance(value, Tensor) for value in network.state_dict().values())


def test_outputs_are_not_squashed(component: Any, randomised: Any) -> None:
    """A last layer with a large bias must give it back: no softmax, sigmoid or tanh stands behind it."""
    x = torch.randn(2, 1, 33, 35, 34)
    network = randomised(component.build((1, 33, 35, 34), 3), x)
    last = network.get_submodule(component.head)
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([-50.0, 0.0, 70.0]))
        assert network(x).tolist() == [[-50.0, 0.0, 70.0]] * 2


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_resnets_can_be_traced(shortcut: str) -> None:
    network = registry.create("model", "monai-resnet", depth=10, widen_factor=0.125, shortcut=shortcut)
    built = network.build((1, 17, 18, 19), 2).eval()
    x = torch.randn(2, 1, 17, 18, 19)
    assert torch.equal(fx.symbolic_trace(built)(x), built(x))


def test_efficientnet_can_be_traced_and_has_second_derivatives() -> None:
    network = registry.create("model", "monai-efficientnet").build((1, 32, 32, 32), 2).eval()
    traced = fx.symbolic_trace(network)
    x = torch.randn(1, 1, 32, 32, 32, requires_grad=True)
    assert torch.equal(traced(x), network(x))
    (gradient,) = torch.autograd.grad(network(x)[0, 0], x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert second.abs().sum() > 0


def test_dropout_reaches_the_network() -> None:
    cases = {
        "monai-densenet": {"blocks": [2, 2], "dropout": 0.37},
        "monai-senet": {"layers": [1, 1, 1, 1], "dropout": 0.37},
        "monai-efficientnet": {"dropout": 0.37},
        "monai-vit": {**VIT, "dropout": 0.37},
        "monai-classifier": {**RESIDUAL, "dropout": 0.37},
    }
    for name, params in cases.items():
        network = registry.create("model", name, **params).build((1, 33, 33, 33), 2)
        found = {m.p for m in network.modules() if isinstance(m, nn.Dropout | nn.Dropout2d | nn.Dropout3d)}
        assert found == {0.37}, name


def test_vit_sees_every_voxel_with_padding_only() -> None:
    """17 voxels with patches of 8: padded, the corners are seen; cut, the last voxel is not."""

    def seen(edges: str) -> Tensor:
        torch.manual_seed(0)
        network = registry.create("model", "monai-vit", patch_size=8, edges=edges, **VIT).build((1, 17, 17, 17), 1)
        x = torch.randn(1, 1, 17, 17, 17, requires_grad=True)
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        return gradient[0, 0] != 0

    assert bool(seen("pad").all())
    cut = seen("cut")
    assert bool(cut[:16, :16, :16].all())
    assert int(cut.sum()) == 16**3


def test_vit_pads_on_both_sides() -> None:
    torch.manual_seed(0)
    padded = registry.create("model", "monai-vit", patch_size=8, **VIT).build((1, 21, 16, 17), 2)
    whole = registry.create("model", "monai-vit", patch_size=8, edges="cut", **VIT).build((1, 24, 16, 24), 2)
    whole.load_state_dict(padded.state_dict())
    x = torch.randn(2, 1, 21, 16, 17)
    framed = torch.zeros(2, 1, 24, 16, 24)
    framed[:, :, 1:22, :, 3:20] = x  # 3 missing: 1 before, 2 after; 7 missing: 3 before, 4 after
    torch.testing.assert_close(padded(x), whole(framed))
