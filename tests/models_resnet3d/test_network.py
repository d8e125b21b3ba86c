"""The network against MedicalNet's layout, hand-counted parameters and a plain functional implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from xai_core import InputError
from xai_models_resnet3d._network import PaddedShortcut, ResidualSum
from xai_models_resnet3d.plugin import ResNet3D

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
VARIANTS = [(depth, shortcut) for depth in BLOCKS for shortcut in "AB"]


def randomised(network: nn.Module) -> nn.Module:
    """Give every parameter and statistic a value that no default hides."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def medicalnet_shapes(depth: int, shortcut: str, channels: int = 1) -> dict[str, tuple[int, ...]]:
    """Return the backbone's parameters and statistics as MedicalNet's checkpoints name them, written by hand."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, channels, 7, 7, 7)}

    def norm(name: str, size: int) -> None:
        shapes.update({f"{name}.{key}": (size,) for key in ("weight", "bias", "running_mean", "running_var")})

    norm("bn1", 64)
    inside = 64
    for stage, count in enumerate(BLOCKS[depth], start=1):
        planes = 64 * 2 ** (stage - 1)
        outside = planes * (4 if depth == 50 else 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            if depth == 50:
                kernels = [(planes, inside, 1), (planes, planes, 3), (outside, planes, 1)]
            else:
                kernels = [(planes, inside, 3), (planes, planes, 3)]
            for index, (to, of, size) in enumerate(kernels, start=1):
                shapes[f"{name}.conv{index}.weight"] = (to, of, size, size, size)
                norm(f"{name}.bn{index}", to)
            if block == 0 and shortcut == "B" and inside != outside:
                shapes[f"{name}.downsample.0.weight"] = (outside, inside, 1, 1, 1)
                norm(f"{name}.downsample.1", outside)
            inside = outside
    return shapes


@pytest.mark.parametrize(("depth", "shortcut"), VARIANTS)
def test_keys_and_shapes_are_medicalnets(depth: int, shortcut: str) -> None:
    with torch.device("meta"):
        network = ResNet3D(depth=depth, shortcut=shortcut).build((1, 32, 32, 32), 2)
    state = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    backbone = {key: shape for key, shape in state.items() if not key.endswith("num_batches_tracked")}
    assert backbone.pop("fc.weight") == (2, 2048 if depth == 50 else 512)
    assert backbone.pop("fc.bias") == (2,)
    assert backbone == medicalnet_shapes(depth, shortcut)


# Millions of parameters of the backbones, as published with the pretrained networks.
@pytest.mark.parametrize(
    ("depth", "shortcut", "millions"),
    [(10, "B", 14.36), (18, "A", 32.99), (18, "B", 33.16), (34, "B", 63.47), (50, "B", 46.16)],
)
def test_number_of_parameters_is_the_published_one(depth: int, shortcut: str, millions: float) -> None:
    with torch.device("meta"):
        network = ResNet3D(depth=depth, shortcut=shortcut).build((1, 32, 32, 32), 2)
    count = sum(value.numel() for key, value in network.named_parameters() if not key.startswith("fc."))
    assert round(count / 1e6, 2) == millions


def reference(state: dict[str, Tensor], x: Tensor, options: dict[str, Any]) -> Tensor:
    """Compute the network from its tensors with functions only, after He et al. (2016) and MedicalNet's code."""
    dilated = options.get("dilated", False)

    def norm(y: Tensor, name: str) -> Tensor:
        scale = state[f"{name}.weight"] / torch.sqrt(state[f"{name}.running_var"] + 1e-5)
        shift = state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
        return y * scale[:, None, None, None] + shift[:, None, None, None]

    def shortcut_of(y: Tensor, name: str, stride: int, outside: int) -> Tensor:
        if f"{name}.downsample.0.weight" in state:
            return norm(F.conv3d(y, state[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
        kept = y[:, :, ::stride, ::stride, ::stride]
        zeros = kept.new_zeros(len(kept), outside - kept.shape[1], *kept.shape[2:])
        return torch.cat([kept, zeros], 1)

    x = F.conv3d(x, state["conv1.weight"], stride=options.get("conv1_stride", 2), padding=3)
    x = F.relu(norm(x, "bn1"))
    if options.get("max_pool", True):
        x = F.max_pool3d(x, 3, 2, 1)
    for stage, count in enumerate(BLOCKS[options["depth"]], start=1):
        dilation = {3: 2, 4: 4}.get(stage, 1) if dilated else 1
        for block in range(count):
            name = f"layer{stage}.{block}"
            halves = block == 0 and (stage == 2 or (stage > 2 and not dilated))
            stride = 2 if halves else 1
            last = 3 if f"{name}.conv3.weight" in state else 2
            y = x
            for index in range(1, last + 1):
                weight = state[f"{name}.conv{index}.weight"]
                strided = stride if index == last - 1 else 1
                wide = {"padding": dilation, "dilation": dilation} if weight.shape[-1] == 3 else {}
                y = norm(F.conv3d(y, weight, stride=strided, **wide), f"{name}.bn{index}")
                y = F.relu(y) if index < last else y
            x = F.relu(y + shortcut_of(x, name, stride, y.shape[1]))
    return x.mean((2, 3, 4)) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize(
    "options",
    [
        {"depth": 10},
        {"depth": 18, "conv1_stride": 1},
        {"depth": 34, "max_pool": False},
        {"depth": 50},
        {"depth": 50, "dilated": True},
        {"depth": 18, "dilated": True, "max_pool": False},
    ],
    ids=str,
)
def test_output_equals_a_functional_implementation(shortcut: str, options: dict[str, Any]) -> None:
    torch.manual_seed(3)
    network = randomised(ResNet3D(shortcut=shortcut, width=4, **options).build((2, 17, 19, 22), 3)).double()
    x = torch.randn(2, 2, 17, 19, 22, dtype=torch.float64)
    torch.testing.assert_close(network(x), reference(network.state_dict(), x, options), rtol=1e-9, atol=1e-11)


def test_dropout_acts_in_training_only() -> None:
    network = ResNet3D(depth=10, width=4, dropout=0.5).build((1, 9, 9, 9), 2)
    x = torch.randn(4, 1, 9, 9, 9)
    network.eval()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


@pytest.mark.parametrize("size", [(1, 1, 1), (17, 5, 30), (16, 16, 16)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_any_size_gives_one_row_for_each_volume(size: tuple[int, int, int], outputs: int) -> None:
    network = ResNet3D(depth=10, width=4).build((3, *size), outputs).eval()
    assert network(torch.randn(2, 3, *size)).shape == (2, outputs)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_every_parameter_trains(depth: int, shortcut: str) -> None:
    torch.manual_seed(0)
    network = ResNet3D(depth=depth, width=4, shortcut=shortcut).build((1, 33, 33, 33), 2)
    network(torch.randn(2, 1, 33, 33, 33)).square().sum().backward()
    still = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


class _Shallow(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ResidualSum | PaddedShortcut) or super().is_leaf_module(m, module_qualified_name)


@pytest.mark.parametrize(("depth", "shortcut"), VARIANTS)
def test_hooks_see_every_operation_once(depth: int, shortcut: str) -> None:
    network = ResNet3D(depth=depth, shortcut=shortcut, width=2, dropout=0.1).build((1, 9, 9, 9), 2)
    nodes = [node for node in _Shallow().trace(network).nodes if node.op not in ("placeholder", "output")]
    assert {node.op for node in nodes} == {"call_module"}
    targets = [node.target for node in nodes]
    assert len(targets) == len(set(targets))
    assert not any(getattr(module, "inplace", False) for module in network.modules())
    assert sum(isinstance(module, ResidualSum) for module in network.modules()) == sum(BLOCKS[depth])


@pytest.mark.parametrize("shape", [(1, 8, 8), (0, 8, 8, 8), (1, 8, 8, 0)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="channels, depth, height, width"):
        ResNet3D().build(shape, 2)  # type: ignore[arg-type]
