"""Makes ``keras.json``: what Keras computes with small networks of the publications' definitions.

Run by hand with Keras 2.14 on TensorFlow 2.14: ``python make_keras.py``. The networks are written from the layer lists
of the publications, independently of the package. Weights and volumes follow from a seed by ``draw``, which the tests
use too, so that only the results are stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# name, parameters of the component, sides of the volume, outputs
CASES: list[tuple[str, dict[str, Any], tuple[int, int, int], int]] = [
    ("singh2023-alexnet", {}, (17, 18, 24), 2),
    ("singh2023-alexnet", {"filters": 3}, (8, 9, 15), 3),
    ("singh2023-vgg", {}, (16, 19, 33), 2),
    ("singh2023-resnet", {}, (18, 16, 35), 2),
    ("singh2023-densenet", {}, (9, 12, 19), 2),
    ("singh2023-densenet", {"initial_filters": 7, "growth": 5, "blocks": [2, 1]}, (16, 17, 10), 3),
    ("dyrba2021", {}, (9, 8, 15), 2),
    ("mrinet", {}, (5, 6, 9), 1),
    ("mrinet", {}, (1, 2, 3), 3),
    ("mrinet", {"activation": "leaky-relu"}, (8, 7, 12), 1),
    ("mrinet", {"batch_norm": True}, (7, 8, 6), 2),
    ("mrinet", {"activation": "leaky-relu", "batch_norm": True}, (9, 10, 11), 1),
]


def draw(shapes: Sequence[tuple[str, tuple[int, ...]]], seed: int) -> list[np.ndarray]:
    """Return arrays for (kind, shape) in Keras' layout; kinds are kernel, bias, gamma, beta, mean, variance, volume."""
    random = np.random.RandomState(seed)
    arrays = []
    for kind, shape in shapes:
        if kind == "kernel":
            array = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
        elif kind in ("gamma", "variance"):
            array = random.uniform(0.5, 1.5, shape)
        elif kind == "volume":
            array = random.uniform(0, 1, shape)
        else:
            array = random.standard_normal(shape) * 0.2
        arrays.append(array.astype(np.float32))
    return arrays


def _alexnet(x: Any, k: Any, outputs: int, filters: int = 5) -> Any:
    for _ in range(3):
        x = k.BatchNormalization()(k.Conv3D(filters, 3, padding="same")(x))
        x = k.Activation("relu")(k.MaxPooling3D(2)(x))
    return k.Dense(outputs)(k.Flatten()(x))


def _head(x: Any, k: Any, outputs: int) -> Any:
    for units in (64, 32):
        x = k.Dense(units, activation="relu")(x)
    return k.Dense(outputs)(x)


def _vgg(x: Any, k: Any, outputs: int) -> Any:
    for count in (2, 2, 3, 3):
        for _ in range(count):
            x = k.Conv3D(8, 3, padding="same", activation="relu")(x)
        x = k.BatchNormalization()(k.MaxPooling3D(2)(x))
    return _head(k.Flatten()(x), k, outputs)


def _dyrba(x: Any, k: Any, outputs: int) -> Any:
    for _ in range(3):
        x = k.Conv3D(5, 3, padding="same", activation="relu")(x)
        x = k.BatchNormalization()(k.MaxPooling3D(2)(x))
    return _head(k.Flatten()(x), k, outputs)


def _resnet(x: Any, k: Any, outputs: int) -> Any:
    for count in (2, 3):
        skip = k.MaxPooling3D(2)(x)
        for stage in range(2):
            for _ in range(count):
                x = k.Conv3D(5, 3, padding="same")(x)
            x = k.BatchNormalization()(x)
            if stage == 0:
                x = k.Activation("relu")(k.MaxPooling3D(2)(x))
        x = k.Activation("relu")(k.MaxPooling3D(2)(k.Add()([x, skip])))
    return k.Dense(outputs)(k.Flatten()(x))


def _densenet(
    x: Any, k: Any, outputs: int, initial_filters: int = 10, growth: int = 8, blocks: Sequence[int] = (3, 3)
) -> Any:
    def unit(y: Any, filters: int, kernel: int) -> Any:
        return k.Conv3D(filters, kernel, padding="same")(k.ReLU()(k.BatchNormalization()(y)))

    x = k.MaxPooling3D(3, strides=2, padding="same")(k.Conv3D(initial_filters, 7, strides=2, padding="same")(x))
    for block, count in enumerate(blocks):
        if block:
            x = k.AveragePooling3D(2, strides=2, padding="same")(unit(x, x.shape[-1] // 2, 1))
        for _ in range(count):
            x = k.Concatenate()([unit(unit(x, growth, 1), growth, 3), x])
    return k.Dense(outputs)(k.Flatten()(k.Activation("relu")(k.MaxPooling3D(2)(x))))


def _mrinet(x: Any, k: Any, outputs: int, activation: str = "relu", batch_norm: bool = False) -> Any:
    leaky = activation == "leaky-relu"
    fused = None if leaky and not batch_norm else "relu"

    def then(y: Any) -> Any:
        return k.LeakyReLU(alpha=0.2)(y) if leaky else y

    for filters, kernel in ((16, 3), (16, 3), (32, 3), (64, 3), (32, 1)):
        x = k.BatchNormalization()(x) if batch_norm else x
        x = then(k.Conv3D(filters, kernel, padding="same", activation=fused)(x))
        x = k.MaxPooling3D(3, strides=2, padding="same")(x)
    x = k.BatchNormalization()(x) if batch_norm else x
    x = then(k.Dense(64, activation=fused)(k.Flatten()(x)))
    return k.Dense(outputs, use_bias=outputs == 1)(x)


MAKERS = {
    "singh2023-alexnet": _alexnet,
    "singh2023-vgg": _vgg,
    "singh2023-resnet": _resnet,
    "singh2023-densenet": _densenet,
    "dyrba2021": _dyrba,
    "mrinet": _mrinet,
}
KINDS = {
    "kernel": "kernel", "bias": "bias", "gamma": "gamma", "beta": "beta", "moving_mean": "mean",
    "moving_variance": "variance",
}  # fmt: skip


def main() -> None:
    """Compute every case and write the file beside this one."""
    from tensorflow import keras

    results = []
    for seed, (name, params, sides, outputs) in enumerate(CASES):
        keras.backend.clear_session()
        start = keras.layers.Input((*sides, 1))
        model = keras.Model(start, MAKERS[name](start, keras.layers, outputs, **params))
        weights = [weight for layer in model.layers for weight in layer.weights]
        shapes = [(KINDS[weight.name.split("/")[-1].split(":")[0]], tuple(weight.shape)) for weight in weights]
        *arrays, volume = draw([*shapes, ("volume", (2, *sides, 1))], seed)
        for weight, array in zip(weights, arrays, strict=True):
            weight.assign(array)
        logits = model(volume, training=False).numpy()
        results.append(
            {"name": name, "params": params, "sides": sides, "outputs": outputs, "seed": seed,
             "stored": model.count_params(), "logits": [[round(float(v), 7) for v in row] for row in logits]}
        )  # fmt: skip
    Path(__file__).with_name("keras.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
