"""The networks against Keras, a plain functional implementation and published numbers."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from xai_core import registry
from xai_models_brainage._layers import Concatenate, Sum, same_average_pool, same_conv, same_max_pool

KERAS = json.loads(Path(__file__).with_name("data").joinpath("keras.json").read_text(encoding="utf-8"))

# Trainable parameters and running statistics. For singh2023-alexnet and -resnet counted in the files of the authors
# (VisualAiD, Results/all_experiments); for dyrba2021 printed in the notebook 2_Train_3D_CNN_ADNI2_xVal of
# DeepLearningInteractiveVis; for the others counted by Keras 2.14 in the authors' definitions at the published size.
# sfcn: the weights of Peng et al. (2021), "3 million", layer by layer in the test below.
COUNTS: list[tuple[str, dict[str, Any], tuple[int, int, int], int, int, int]] = [
    ("singh2023-alexnet", {}, (179, 169, 208), 2, 121_652, 30),
    ("singh2023-vgg", {}, (179, 169, 208), 2, 750_282, 64),
    ("singh2023-resnet", {}, (179, 169, 208), 2, 20_602, 40),
    ("singh2023-densenet", {}, (179, 169, 208), 2, 144_941, 422),
    ("dyrba2021", {}, (100, 100, 120), 2, 694_940, 30),
    ("mrinet", {}, (198, 198, 198), 1, 781_265, 0),
    ("mrinet", {"batch_norm": True}, (198, 198, 198), 1, 781_587, 322),
    ("mrinet", {}, (91, 109, 91), 1, 152_529, 0),
    ("sfcn", {}, (160, 192, 160), 40, 2_952_936, 1_600),
    ("sfcn", {}, (160, 192, 160), 1, 2_950_401, 1_600),
]
SMALL: list[tuple[str, dict[str, Any]]] = [
    ("singh2023-alexnet", {}),
    ("singh2023-vgg", {}),
    ("singh2023-resnet", {}),
    ("singh2023-densenet", {}),
    ("dyrba2021", {}),
    ("mrinet", {}),
    ("mrinet", {"activation": "leaky-relu"}),
    ("mrinet", {"batch_norm": True}),
    ("sfcn", {"filters": [2, 3, 4, 5, 4, 3]}),
]


def built(name: str, params: dict[str, Any], shape: tuple[int, ...], outputs: int) -> nn.Module:
    network: nn.Module = registry.create("model", name, **params).build(shape, outputs)
    return network


@pytest.mark.parametrize(("name", "params", "sides", "outputs", "trainable", "statistics"), COUNTS)
def test_number_of_parameters_is_the_published_one(
    name: str, params: dict[str, Any], sides: tuple[int, int, int], outputs: int, trainable: int, statistics: int
) -> None:
    with torch.device("meta"):
        network = built(name, params, (1, *sides), outputs)
    assert sum(value.numel() for value in network.parameters()) == trainable
    buffers = [value for key, value in network.named_buffers() if not key.endswith("num_batches_tracked")]
    assert sum(value.numel() for value in buffers) == statistics


@pytest.mark.parametrize("case", KERAS, ids=lambda case: f"{case['name']}-{case['seed']}")
def test_logits_are_those_of_keras(
    case: dict[str, Any], draw: Any, fill: Any, keras_shapes: Any, flattened: Any
) -> None:
    shape = (1, *case["sides"])
    network = built(case["name"], case["params"], shape, case["outputs"])
    *arrays, volume = draw([*keras_shapes(network), ("volume", (2, *case["sides"], 1))], case["seed"])
    assert sum(array.size for array in arrays) == case["stored"]
    fill(network, arrays, flattened(network, shape))
    logits = network(torch.from_numpy(volume).permute(0, 4, 1, 2, 3))
    expected = torch.tensor(case["logits"])
    largest = float((logits - expected).detach().abs().max())
    assert largest <= 2e-5 * max(1.0, float(expected.abs().max()))


def padded_as_tensorflow(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """Pad [N, C, D, H, W] by TensorFlow's rule, written out."""
    pads: list[int] = []
    for side in reversed(x.shape[2:]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


@pytest.mark.parametrize("sides", [(1, 2, 3), (4, 5, 6), (7, 8, 9), (12, 11, 10), (13, 13, 13)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (2, 2), (3, 2), (4, 2), (3, 3), (5, 3), (2, 3), (7, 2), (7, 4)])
def test_same_padding_is_tensorflows(sides: tuple[int, int, int], kernel: int, stride: int) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 3, *sides) - 1  # maxima below zero: zero padding would show
    layers = nn.Sequential(*same_conv(3, 4, kernel, stride, sides))
    last: Any = layers[-1]
    expected = F.conv3d(padded_as_tensorflow(x, kernel, stride, 0.0), last.weight, last.bias, stride)
    torch.testing.assert_close(layers(x), expected)
    expected = F.max_pool3d(padded_as_tensorflow(x, kernel, stride, -torch.inf), kernel, stride)
    assert torch.equal(same_max_pool(kernel, stride, sides)(x), expected)
    if min(sides) < kernel:
        return  # PyTorch's average pooling takes no side shorter than its window
    total = F.avg_pool3d(padded_as_tensorflow(x, kernel, stride, 0.0), kernel, stride)
    share = F.avg_pool3d(padded_as_tensorflow(torch.ones_like(x), kernel, stride, 0.0), kernel, stride)
    torch.testing.assert_close(same_average_pool(kernel, stride, sides)(x), total / share)


def test_sfcn_equals_a_functional_implementation() -> None:
    torch.manual_seed(2)
    network = built("sfcn", {"filters": [2, 3, 4, 5, 4, 3]}, (2, 70, 64, 97), 5).double().eval()
    state: dict[str, Any] = network.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if key.endswith("running_var") else value.add_(torch.randn_like(value) * 0.3)
    x = torch.randn(2, 2, 70, 64, 97, dtype=torch.float64)
    y = x
    for index in range(6):
        name = f"feature_extractor.conv_{index}"
        y = F.conv3d(y, state[f"{name}.0.weight"], state[f"{name}.0.bias"], padding=1 if index < 5 else 0)
        mean, var = state[f"{name}.1.running_mean"], state[f"{name}.1.running_var"]
        scale = state[f"{name}.1.weight"] / torch.sqrt(var + 1e-5)
        y = (y - mean[:, None, None, None]) * scale[:, None, None, None] + state[f"{name}.1.bias"][:, None, None, None]
        y = F.relu(F.max_pool3d(y, 2) if index < 5 else y)
    assert y.shape[2:] == (2, 2, 3)
    last = state["classifier.conv_6.weight"][:, :, 0, 0, 0]
    expected = y.mean((2, 3, 4)) @ last.T + state["classifier.conv_6.bias"]
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-11)


def test_sfcn_has_the_keys_of_the_published_file_and_averages_its_window() -> None:
    with torch.device("meta"):
        network = built("sfcn", {}, (1, 160, 192, 160), 40).eval()
        shapes: list[tuple[int, ...]] = []
        pool = network.get_submodule("classifier.average_pool")
        pool.register_forward_pre_hook(lambda _module, args: shapes.append(tuple(args[0].shape)))
        network(torch.empty(1, 1, 160, 192, 160))
    assert shapes == [(1, 64, 5, 6, 5)]
    wide = (1, 32, 64, 128, 256, 256, 64)
    expected: dict[str, tuple[int, ...]] = {}
    for index, (inside, outside) in enumerate(pairwise(wide)):
        size = 3 if index < 5 else 1
        name = f"feature_extractor.conv_{index}"
        expected[f"{name}.0.weight"] = (outside, inside, size, size, size)
        vectors = ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
        expected.update({f"{name}.{key}": (outside,) for key in vectors})
        expected[f"{name}.1.num_batches_tracked"] = ()
    expected.update({"classifier.conv_6.weight": (40, 64, 1, 1, 1), "classifier.conv_6.bias": (40,)})
    assert {key: tuple(value.shape) for key, value in network.state_dict().items()} == expected


@pytest.mark.parametrize(("name", "params"), [row for row in SMALL if row[0] != "sfcn"], ids=str)
def test_initial_weights_are_glorots(name: str, params: dict[str, Any]) -> None:
    torch.manual_seed(4)
    network = built(name, params, (1, 17, 18, 19), 2)
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear):
            field = math.prod(module.weight.shape[2:])
            limit = math.sqrt(6 / ((module.weight.shape[0] + module.weight.shape[1]) * field))
            largest = float(module.weight.detach().abs().max())
            assert largest <= limit * (1 + 1e-6)
            assert largest > 0.9 * limit or module.weight.numel() < 100
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.BatchNorm3d):
            assert (module.eps, module.momentum) == (1e-3, 0.01)


class _Shallow(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Sum | Concatenate) or super().is_leaf_module(m, module_qualified_name)


@pytest.mark.parametrize(("name", "params"), SMALL, ids=str)
def test_hooks_see_every_operation_once(name: str, params: dict[str, Any]) -> None:
    network = built(name, params, (1, 36, 33, 34), 2)
    nodes = [node for node in _Shallow().trace(network).nodes if node.op not in ("placeholder", "output")]
    assert {node.op for node in nodes} == {"call_module"}
    targets = [node.target for node in nodes]
    assert len(targets) == len(set(targets))
    assert not any(getattr(module, "inplace", False) for module in network.modules())


@pytest.mark.parametrize(("name", "params"), SMALL, ids=str)
def test_dropout_acts_in_training_only(name: str, params: dict[str, Any]) -> None:
    torch.manual_seed(5)
    network = built(name, params, (1, 36, 33, 34), 2).eval()
    x = torch.rand(3, 1, 36, 33, 34)
    assert torch.equal(network(x), network(x))
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout3d):
            module.train()
    assert not torch.equal(network(x), network(x))


def rates(name: str, **params: Any) -> list[float]:
    network = built(name, params, (1, 33, 33, 33), 2)
    return [module.p for module in network.modules() if isinstance(module, nn.Dropout | nn.Dropout3d)]


def test_rates_of_dropout_are_the_published_ones() -> None:
    assert rates("singh2023-alexnet") == [0.3]
    assert rates("singh2023-vgg") == [0.5, 0.1, 0.1, 0.1]
    assert rates("singh2023-resnet") == [0.3]
    assert rates("singh2023-densenet") == [0.4]
    assert rates("dyrba2021") == [0.1, 0.1, 0.1]
    assert rates("mrinet") == [0.5]
    assert rates("sfcn", filters=[1] * 6) == [0.5]
    assert rates("singh2023-vgg", spatial_dropout=0.2, dropout=0.0) == [0.2, 0.0, 0.0, 0.0]


def test_mrinet_starts_at_the_given_bias() -> None:
    network = built("mrinet", {"output_bias": 58.5}, (1, 9, 9, 9), 1).eval()
    assert network.get_parameter("fc2.bias").tolist() == [58.5]
    assert network(torch.zeros(1, 1, 9, 9, 9)).item() == 58.5


def test_only_the_regression_of_mrinet_has_a_last_bias() -> None:
    assert "fc2.bias" in built("mrinet", {}, (1, 9, 9, 9), 1).state_dict()
    assert "fc2.bias" not in built("mrinet", {}, (1, 9, 9, 9), 2).state_dict()


def test_resnet_takes_as_many_channels_as_filters() -> None:
    network = built("singh2023-resnet", {"filters": 3}, (3, 17, 18, 19), 2).eval()
    assert network(torch.rand(2, 3, 17, 18, 19)).shape == (2, 2)
