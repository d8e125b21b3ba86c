"""What the tests of this folder share."""

from __future__ import annotations

import os
import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

Shapes = list[tuple[str, tuple[int, ...]]]
DATA = Path(__file__).with_name("data")


def weighted(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers that have weights, in the order in which the network has them."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.Linear | nn.BatchNorm3d):
            yield module


@pytest.fixture
def keras_shapes() -> Callable[[nn.Module], Shapes]:
    """Return a function that lists a network's stored arrays as Keras has them: kind and shape, channels last."""

    def shapes_of(network: nn.Module) -> Shapes:
        shapes: Shapes = []
        for layer in weighted(network):
            if isinstance(layer, nn.BatchNorm3d):
                shapes += [(kind, (layer.num_features,)) for kind in ("gamma", "beta", "mean", "variance")]
                continue
            weight: Any = layer.weight
            shapes.append(("kernel", (*weight.shape[2:], weight.shape[1], weight.shape[0])))
            if layer.bias is not None:
                shapes.append(("bias", (weight.shape[0],)))
        return shapes

    return shapes_of


@pytest.fixture
def fill() -> Callable[[nn.Module, Sequence[np.ndarray], Sequence[int] | None], nn.Module]:
    """Return a function that copies Keras' arrays into a network, in order, and puts it in evaluation mode.

    ``flattened`` is the shape (C, D, H, W) that is flattened: Keras flattens it with the channels last.
    """

    def filled(network: nn.Module, arrays: Sequence[np.ndarray], flattened: Sequence[int] | None) -> nn.Module:
        left = [torch.from_numpy(np.array(array, dtype=np.float32)) for array in arrays]
        for layer in weighted(network):
            for target in _targets(layer):
                value = left.pop(0)
                if target is layer.weight and isinstance(layer, nn.Conv3d):
                    value = value.permute(4, 3, 0, 1, 2)
                if target is layer.weight and isinstance(layer, nn.Linear):
                    value = _channels_first(value.t(), flattened)
                    flattened = None  # only the first linear layer sees the flattened volume
                assert target.shape == value.shape
                with torch.no_grad():
                    target.copy_(value)
        assert not left, f"{len(left)} arrays too many"
        return network.eval()

    return filled


def _targets(layer: Any) -> list[Tensor]:
    if isinstance(layer, nn.BatchNorm3d):
        return [layer.weight, layer.bias, layer.running_mean, layer.running_var]  # type: ignore[list-item]
    return [layer.weight] if layer.bias is None else [layer.weight, layer.bias]


def _channels_first(weight: Tensor, flattened: Sequence[int] | None) -> Tensor:
    if flattened is None:
        return weight
    channels, *sides = flattened
    return weight.reshape(-1, *sides, channels).permute(0, 4, 1, 2, 3).flatten(1)


@pytest.fixture
def flattened() -> Callable[[nn.Module, Sequence[int]], tuple[int, ...]]:
    """Return a function that gives the shape (C, D, H, W) which reaches the flattening."""

    def shape_of(network: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
        seen: list[tuple[int, ...]] = []
        layer = next(module for module in network.modules() if isinstance(module, nn.Flatten))
        handle = layer.register_forward_pre_hook(lambda _module, args: seen.append(tuple(args[0].shape[1:])))
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape))
        handle.remove()
        return seen[0]

    return shape_of


@pytest.fixture(scope="session")
def draw() -> Callable[[Shapes, int], list[np.ndarray]]:
    """Return the function that drew the weights of ``data/keras.json``."""
    found: Callable[[Shapes, int], list[np.ndarray]] = runpy.run_path(str(DATA / "make_keras.py"))["draw"]
    return found


@pytest.fixture(scope="session")
def reference() -> Path:
    """Return the folder with the original stack's models and outputs; skip where there is none."""
    folder = Path(os.environ.get("XAI_REFERENCE_KERAS") or Path(__file__).parents[3] / "shared" / "reference-keras")
    if not folder.is_dir():
        pytest.skip(f"no reference models in {folder} (set XAI_REFERENCE_KERAS)")
    return folder
