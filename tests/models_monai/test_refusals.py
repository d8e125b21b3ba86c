"""What is refused before any training, and what the messages say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import ConfigError, InputError, registry
from xai_models_monai._sizes import require_room


def runs(component: Any, side: int) -> bool:
    """Say whether MONAI's network runs on a real cube; nothing is refused beforehand."""
    try:
        with torch.no_grad():
            component.network((1, side, side, side), 2).eval()(torch.zeros(1, 1, side, side, side))
    except (RuntimeError, ValueError):
        return False
    return True


# The least side, found from the layers by hand.
SMALLEST = [
    # 7 x 7 with stride 2 and a pool with stride 2 round up; three average pools need two voxels: 8, 15, 29.
    ("monai-densenet", {"blocks": [1, 1, 1, 1], "growth_rate": 2}, 29),
    ("monai-densenet", {"blocks": [1, 1], "growth_rate": 2}, 5),
    # 1 voxel after the first stride; a window of 3 with ceil_mode needs at least 2 of its voxels: 2, 3.
    ("monai-senet", {"layers": [1, 1, 1, 1]}, 3),
    ("monai-vit", {"patch_size": [4, 6, 5], "edges": "cut", "num_layers": 1, "hidden_size": 12}, 6),
    # Instance normalisation needs two voxels after each stride of 2, the last one too: 2, 3, 5, 9.
    ("monai-classifier", {"channels": [2, 2, 2, 2], "strides": [2, 2, 1, 2]}, 9),
]


@pytest.mark.parametrize(("name", "params", "side"), SMALLEST)
def test_the_smallest_volume_is_named(name: str, params: dict[str, Any], side: int) -> None:
    component = registry.create("model", name, **params)
    with pytest.raises(
        InputError, match=rf"{name}: .* {side - 1} x {side - 1} x {side - 1} .*{side} x {side} x {side}"
    ):
        component.build((1, side - 1, side - 1, side - 1), 2)
    assert component.build((1, side, side, side), 2) is not None
    assert not runs(component, side - 1)
    assert runs(component, side)


def test_the_smallest_volume_of_efficientnet_is_that_of_the_network() -> None:
    component = registry.create("model", "monai-efficientnet")
    working = [side for side in range(30, 35) if runs(component, side)]
    assert working == list(range(working[0], 35))
    assert working[0] > 30
    with pytest.raises(InputError, match=f"takes is {working[0]} x {working[0]} x {working[0]}"):
        component.build((1, 40, 40, 11), 2)


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_resnets_take_a_single_voxel(shortcut: str) -> None:
    component = registry.create("model", "monai-resnet", depth=10, widen_factor=0.125, shortcut=shortcut)
    assert component.build((1, 1, 1, 1), 2).eval()(torch.randn(1, 1, 1, 1, 1)).shape == (1, 2)


def test_a_network_that_takes_no_volume_is_not_called_too_small() -> None:
    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("this cannot work.\nmore")

    with pytest.raises(InputError, match=r"cannot take volumes of 2 x 3 x 4 voxels: this cannot work\.$"):
        require_room("name", lambda _: Never(), (1, 2, 3, 4))


def test_a_defect_is_not_taken_for_a_small_volume() -> None:
    class Defect(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise TypeError("a defect")

    with pytest.raises(TypeError, match="a defect"):
        require_room("name", lambda _: Defect(), (1, 2, 3, 4))


def test_outputs_that_nothing_tells_are_an_error(component: Any) -> None:
    with pytest.raises(InputError, match=f"{component.label}: .*come without weights"):
        component.build((1, 40, 40, 40), None)
    with pytest.raises(InputError, match="outputs is 0"):
        component.build((1, 40, 40, 40), 0)


@pytest.mark.parametrize("shape", [(1, 40, 40), (0, 40, 40, 40), (1, 40, 40, 0), (1, 1, 40, 40, 40)])
def test_wrong_shapes_are_refused(component: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="channels, depth, height, width"):
        component.build(shape, 2)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("monai-resnet", {"depth": 20}, "depth"),
        ("monai-resnet", {"conv1_stride": [1, 2]}, "conv1_stride"),
        ("monai-resnet", {"conv1_kernel": 0}, "conv1_kernel"),
        ("monai-resnet", {"widen_factor": 0.01}, "widen_factor"),
        ("monai-resnet", {"shortcut": "C"}, "shortcut"),
        ("monai-densenet", {"blocks": []}, "blocks"),
        ("monai-densenet", {"dropout": 1.0}, "dropout"),
        ("monai-senet", {"layers": [1, 2, 3]}, "layers"),
        ("monai-senet", {"variant": "se_resnet50"}, "variant"),
        ("monai-efficientnet", {"version": "b9"}, "version"),
        ("monai-vit", {"patch_size": [8, 8]}, "patch_size"),
        ("monai-vit", {"hidden_size": 770}, r"hidden_size \(770\) must be a multiple of num_heads \(12\)"),
        ("monai-vit", {"hidden_size": 64, "num_heads": 4, "position": "sincos"}, "multiple of 6"),
        ("monai-classifier", {"kernel_size": 4}, "kernel_size"),
        ("monai-classifier", {"channels": [4, 8]}, "channels has 2 numbers and strides 4"),
        ("monai-regressor", {"strides": [2]}, "monai-regressor: channels has 4 numbers and strides 1"),
    ],
)
def test_wrong_parameters_are_refused(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry.create("model", name, **params)
