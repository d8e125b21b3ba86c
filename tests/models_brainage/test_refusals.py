"""What is refused before any training, and what the messages say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xai_core import ConfigError, InputError, registry

# The smallest side, from the layers by hand: 2 x 2 x 2 pooling that drops the rest halves three, four or five times;
# the DenseNet rounds up three times and needs two voxels for its last pooling; MRInet always rounds up.
SMALLEST = [
    ("singh2023-alexnet", {}, 2**3),
    ("singh2023-vgg", {}, 2**4),
    ("singh2023-resnet", {}, 2**4),
    ("singh2023-densenet", {}, 2**3 + 1),
    ("dyrba2021", {}, 2**3),
    ("sfcn", {"filters": [2, 2, 2, 2, 2, 2]}, 2**5),
]


@pytest.mark.parametrize(("name", "params", "side"), SMALLEST)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_that_is_too_small_is_refused(name: str, params: dict[str, Any], side: int, axis: int) -> None:
    component = registry.create("model", name, **params)
    sides = [side, side + 2, side + 3]
    sides[axis] = side
    network = component.build((1, *sides), 2).eval()
    assert network(torch.rand(2, 1, *sides)).shape == (2, 2)
    sides[axis] = side - 1
    given = " x ".join(map(str, sides))
    with pytest.raises(InputError, match=f"{name}: volumes of {given} voxels are too small: .* at least {side} voxels"):
        component.build((1, *sides), 2)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("name", "params", "side"), SMALLEST)
def test_nothing_would_be_left_of_a_smaller_volume(name: str, params: dict[str, Any], side: int) -> None:
    component: Any = registry.create("model", name, **params)
    shape = (1, side + 2, side - 1, side + 2)
    with pytest.raises(RuntimeError, match=r"(?i)output size|too small"):
        component.network(shape, 2).eval()(torch.rand(1, *shape))


def test_mrinet_takes_a_single_voxel() -> None:
    network = registry.create("model", "mrinet").build((1, 1, 1, 1), 2).eval()
    assert network(torch.rand(2, 1, 1, 1, 1)).shape == (2, 2)


@pytest.mark.parametrize("name", [*(row[0] for row in SMALLEST), "mrinet"])
def test_wrong_shapes_and_outputs_are_refused(name: str) -> None:
    component = registry.create("model", name)
    for shape in [(1, 40, 40), (0, 40, 40, 40), (1, 40, 40, 0), (1, 1, 40, 40, 40)]:
        with pytest.raises(InputError, match=f"{name}: input_shape is .*channels, depth, height, width"):
            component.build(shape, 2)
    with pytest.raises(InputError, match=f"{name}: the number of outputs is not given"):
        component.build((1, 40, 40, 40), None)
    with pytest.raises(InputError, match=f"{name}: outputs is 0"):
        component.build((1, 40, 40, 40), 0)


def test_channels_that_the_first_shortcut_cannot_add_are_refused() -> None:
    component = registry.create("model", "singh2023-resnet")
    with pytest.raises(InputError, match=r"volumes have 2 channels, and .* 5 channels .* set filters to 2"):
        component.build((2, 40, 40, 40), 2)


def test_an_output_bias_of_a_classification_is_refused() -> None:
    component = registry.create("model", "mrinet", output_bias=58.5)
    with pytest.raises(InputError, match=r"output_bias is 58\.5, but the last layer of a classification \(3 outputs\)"):
        component.build((1, 40, 40, 40), 3)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("singh2023-alexnet", {"filters": 0}, "filters"),
        ("singh2023-vgg", {"spatial_dropout": 1.0}, "spatial_dropout"),
        ("singh2023-resnet", {"activation": "elu"}, "activation"),
        ("singh2023-densenet", {"blocks": [3, 3, 3]}, "blocks"),
        ("dyrba2021", {"dropout": -0.1}, "dropout"),
        ("mrinet", {"activation": "leaky_relu"}, "leaky-relu"),
        ("mrinet", {"output_bias": "mean"}, "output_bias"),
        ("sfcn", {"filters": [32, 64]}, "filters"),
    ],
)
def test_wrong_parameters_are_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("model", name, **params)
