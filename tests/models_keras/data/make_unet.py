"""Write ``unet.tar.xz``: small U-Nets of Keras 2.14 that give volumes, and what they predict.

``fold0.h5``, ``fold1.h5`` and ``two.h5`` (two channels) have the layers of the SHIVA-PVS network (Boutinaud et al.
2021; ported in ANTsX/ANTsTorch): convolutions without bias, batch normalisation, swish, spatial dropout, a pooling
after the last level too, nearest upsampling, concatenation and a sigmoid; sides that do not divide evenly are padded
after the upsampling. ``open.h5`` leaves its sides open and ends in a softmax of two channels after transposed
convolutions. Run by hand in an environment with TensorFlow 2.14 and Keras 2.14, CPU::

    TF_ENABLE_ONEDNN_OPTS=0 CUDA_VISIBLE_DEVICES= python tests/models_keras/data/make_unet.py
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
from writing import drawn, randomise

HERE = Path(__file__).parent
SIDES = (12, 14, 10)
FILTERS = (2, 3, 4)


def block(x: Any, filters: int) -> Any:
    x = keras.layers.Conv3D(filters, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.Activation("swish")(x)


def shiva(channels: int) -> Any:
    layers = keras.layers
    x = inputs = keras.Input((*SIDES, channels))
    skips = []
    for filters in FILTERS:
        x = block(block(x, filters), filters)
        skips.append(x)
        x = layers.SpatialDropout3D(0.5)(layers.MaxPooling3D(2)(x))
    for skip, filters in zip(reversed(skips), reversed(FILTERS), strict=True):
        x = layers.UpSampling3D(2)(x)
        missing = [(0, wanted - found) for wanted, found in zip(skip.shape[1:4], x.shape[1:4], strict=True)]
        x = layers.ZeroPadding3D(missing)(x) if any(after for _, after in missing) else x
        x = layers.Concatenate()([x, skip])
        x = layers.SpatialDropout3D(0.5)(block(block(x, x.shape[-1]), filters))
    return keras.Model(inputs, layers.Conv3D(1, 1, activation="sigmoid")(block(x, 2)))


def open_sides() -> Any:
    layers = keras.layers
    x = inputs = keras.Input((None, None, None, 1))
    skips = []
    for filters in FILTERS:
        x = layers.Conv3D(filters, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = layers.Dropout(0.2)(layers.MaxPooling3D(2)(x))
    for skip, filters in zip(reversed(skips), reversed(FILTERS), strict=True):
        x = layers.Concatenate()([layers.Conv3DTranspose(filters, 2, strides=2, padding="same")(x), skip])
        x = layers.Conv3D(filters, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, layers.Conv3D(2, 1, activation="softmax")(x))


def spread(model: Any, x: np.ndarray) -> None:
    """Scale the last layer so that probabilities reach from near 0 to near 1."""
    kernel, bias = model.layers[-1].get_weights()
    logits = np.log(np.clip(model(x, training=False).numpy(), 1e-7, 1 - 1e-7)).reshape(-1, len(bias))
    logits -= np.log1p(-np.exp(logits)) if len(bias) == 1 else 0
    gain = np.float32(np.round(2 / logits.std()))
    model.layers[-1].set_weights([kernel * gain, gain * (bias - logits.mean(0, dtype=np.float32))])


def main() -> None:
    networks = {"fold0": shiva(1), "fold1": shiva(1), "two": shiva(2), "open": open_sides()}
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for key, model in networks.items():
            randomise(f"unet/{key}", model)
            sides = (8, 16, 8) if key == "open" else SIDES
            x = np.clip(np.abs(drawn("unet/input", (1, *sides, model.input_shape[-1]), 0.4)), 0, 1)
            spread(model, x)
            found[f"{key}_input"], found[f"{key}_output"] = x, model(x, training=False).numpy()
            model.save(Path(name) / f"{key}.h5", include_optimizer=False)
        np.savez(Path(name) / "arrays.npz", **found)
        with tarfile.open(HERE / "unet.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted(Path(name).iterdir()):
                entry = tarfile.TarInfo(path.name)
                entry.size = path.stat().st_size
                archive.addfile(entry, io.BytesIO(path.read_bytes()))
    for key, value in found.items():
        print(key, value.shape, value.min(), value.max(), value.std())


main()
