"""TensorFlow's padding, window by window in plain Python, against the torch layers that stand for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import torch

from xai_core import InputError
from xai_models_keras._build import build
from xai_models_keras._convolution import convolution, transposed
from xai_models_keras._emit import Emitter
from xai_models_keras._layer import File, Layer, Stored
from xai_models_keras._pooling import pooling

FILE = File("model.h5", (2, 14), "2.14.0")
SIZES = range(1, 10)


def computed(layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return what the torch layers make of [length, channels]."""
    emit = Emitter()
    value = emit.input(Layer(FILE, ("x",), "InputLayer", {}), x.shape)
    handler = {"C": convolution, "M": pooling, "A": pooling}[layer.kind[0]]
    handler = transposed if layer.kind.endswith("Transpose") else handler
    end = handler(emit, layer, [value])
    emit.ends(end)
    description = {
        "inputs": [{"name": value.node, "shape": [x.shape[1], x.shape[0]]}],
        "modules": emit.modules, "buffers": emit.buffers, "nodes": emit.nodes, "outputs": [{"node": end.node}],
    }  # fmt: skip
    network = build("model.h5", description, {key: torch.from_numpy(each) for key, each in emit.state.items()})
    with torch.no_grad():
        found: np.ndarray = network(torch.from_numpy(x.T[None])).numpy()[0].T
    return found


def windows(n: int, k: int, s: int, d: int = 1) -> Iterator[list[tuple[int, int]]]:
    """Yield (place in the kernel, place in the input) for each output of 'same' padding, as TensorFlow defines it."""
    count = -(-n // s)
    left = max((count - 1) * s + d * (k - 1) + 1 - n, 0) // 2
    for index in range(count):
        places = [(j, index * s - left + j * d) for j in range(k)]
        yield [(j, place) for j, place in places if 0 <= place < n]


def signal(n: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, channels)).astype(np.float32)


@pytest.mark.parametrize(("k", "s"), list(product(range(1, 6), range(1, 5))))
def test_pooling_neither_takes_nor_counts_padding(k: int, s: int) -> None:
    config = {"pool_size": [k], "strides": [s], "padding": "same"}
    for n in SIZES:
        x = signal(n)
        inside = [x[[place for _, place in window]] for window in windows(n, k, s)]
        largest = computed(Layer(FILE, ("pool",), "MaxPooling1D", config), x - 9)
        np.testing.assert_array_equal(largest, np.stack([(part - 9).max(0) for part in inside]))
        mean = computed(Layer(FILE, ("pool",), "AveragePooling1D", config), x)
        np.testing.assert_allclose(mean, np.stack([part.mean(0) for part in inside]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("k", "s", "d"), [(k, s, d) for k, s, d in product(range(1, 6), range(1, 4), (1, 2)) if d == 1 or s == 1]
)
def test_convolution_pads_the_odd_voxel_behind(k: int, s: int, d: int) -> None:
    kernel = np.random.default_rng(k).standard_normal((k, 2, 3)).astype(np.float32)
    config = {
        "filters": 3,
        "kernel_size": [k],
        "strides": [s],
        "dilation_rate": [d],
        "padding": "same",
        "use_bias": False,
    }
    for n in SIZES:
        x = signal(n)
        expected = [sum((x[p] @ kernel[j] for j, p in window), np.zeros(3)) for window in windows(n, k, s, d)]
        layer = Layer(FILE, ("conv",), "Conv1D", config, [Stored("kernel", kernel)])
        np.testing.assert_allclose(computed(layer, x), np.stack(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("k", "s", "padding"), list(product(range(1, 6), range(1, 4), ("same", "valid"))))
def test_transposed_convolution_is_the_gradient(k: int, s: int, padding: str) -> None:
    kernel = np.random.default_rng(k).standard_normal((k, 3, 2)).astype(np.float32)
    config = {"filters": 3, "kernel_size": [k], "strides": [s], "padding": padding}
    stored = [Stored("kernel", kernel), Stored("bias", np.array([1, 2, 3], np.float32))]
    for n in SIZES:
        x, size = signal(n), n * s + (max(k - s, 0) if padding == "valid" else 0)
        expected = np.tile([1.0, 2.0, 3.0], (size, 1))
        forward = windows(size, k, s) if padding == "same" else ([(j, i * s + j) for j in range(k)] for i in range(n))
        for index, window in zip(range(n), forward, strict=True):
            for j, place in window:
                expected[place] += kernel[j] @ x[index]
        found = computed(Layer(FILE, ("up",), "Conv1DTranspose", config, stored), x)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_window_larger_than_the_input_is_refused_without_padding() -> None:
    layer = Layer(FILE, ("pool",), "MaxPooling1D", {"pool_size": [4]})
    with pytest.raises(InputError, match=r"model\.h5: layer 'pool' \(MaxPooling1D\): its output would have the shape"):
        computed(layer, signal(3))
