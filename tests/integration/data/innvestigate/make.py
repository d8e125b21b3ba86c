"""Makes the reference maps beside this file with the original stack: TensorFlow 2.14.1 and iNNvestigate 2.1.2.

    python make.py          # in an environment with tensorflow==2.14.1 innvestigate==2.1.2 (Python 3.11)

Two small networks with random weights, between them every layer that the presets treat in a way of their own, on odd
sides with 'same' padding, with inputs of both signs and with zeros (ties of max-pooling). ``<name>.h5`` is the trained
model, ``<name>.npz`` holds the inputs ``x`` [2, D, H, W, 1], the logits, and a map for each analyzer, of neuron 1
without the softmax.
"""

from __future__ import annotations

from pathlib import Path

import innvestigate
import numpy as np
import tensorflow as tf
from tensorflow.keras import Model, layers

FOLDER = Path(__file__).parent
SIDES = (7, 9, 8)

ANALYZERS = {
    "gradient": ("gradient", {}),
    "input_x_gradient": ("input_t_gradient", {}),
    "guided_backprop": ("guided_backprop", {}),
    "z": ("lrp.z", {}),
    "epsilon": ("lrp.epsilon", {"epsilon": 1e-2}),
    "alpha1_beta0": ("lrp.alpha_1_beta_0", {}),
    "sequential_preset_a": ("lrp.sequential_preset_a", {"epsilon": 1e-1}),
    "sequential_preset_b": ("lrp.sequential_preset_b", {"epsilon": 1e-1}),
}


def plain() -> Model:
    """Return a chain: fused and separate activations, pooling that overlaps, batch normalisation."""
    x = inputs = layers.Input((*SIDES, 1))
    x = layers.Conv3D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv3D(6, 2, padding="same")(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.MaxPooling3D(3, strides=2, padding="same")(x)
    x = layers.Activation("relu")(x)
    x = layers.AveragePooling3D(2, strides=1, padding="same")(x)
    x = layers.BatchNormalization(center=False)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(8, activation="relu")(x)
    return Model(inputs, layers.Dense(3, activation="softmax")(x))


def branched() -> Model:
    """Return sums that broadcast, concatenation, leaky units, and batch normalisation of the volume itself."""
    inputs = layers.Input((*SIDES, 1))
    x = layers.BatchNormalization()(inputs)
    y = layers.Conv3D(5, 3, padding="same")(x)
    x = layers.Add()([x, y])
    x = layers.LeakyReLU(0.2)(x)
    y = layers.Conv3D(3, (3, 1, 2), dilation_rate=(1, 2, 1), padding="same", activation="tanh")(x)
    x = layers.Concatenate()([x, y])
    x = layers.MaxPooling3D(2)(x)
    x = layers.BatchNormalization()(x)
    y = layers.ReLU()(x)
    y = layers.Conv3D(8, 3, padding="same", use_bias=False)(y)
    x = layers.Add()([x, y])
    x = layers.ELU()(x)
    x = layers.GlobalAveragePooling3D()(x)
    return Model(inputs, layers.Dense(2, activation="softmax")(x))


def randomise(model: Model, rng: np.random.Generator) -> None:
    """Give every weight a random value, and statistics that a mistake in them would show."""
    for layer in model.layers:
        values = []
        for weight in layer.weights:
            name, shape = weight.name.split("/")[-1], weight.shape.as_list()
            if "variance" in name or "gamma" in name:
                values.append(rng.uniform(0.3, 2.5, shape) * (rng.choice([-1, 1], shape) if "gamma" in name else 1))
            elif len(shape) == 1:
                values.append(rng.normal(0, 0.2, shape))
            else:
                values.append(rng.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape))
        layer.set_weights(values)


def main() -> None:
    """Write both networks and their maps."""
    tf.compat.v1.disable_eager_execution()
    rng = np.random.default_rng(2024)
    for name, build in (("plain", plain), ("branched", branched)):
        tf.keras.backend.clear_session()
        model = build()
        randomise(model, rng)
        x = rng.normal(0, 1, (2, *SIDES, 1)).astype(np.float32)
        x[1, :3] = 0
        logits = innvestigate.model_wo_softmax(model)
        found = {"x": x, "logits": logits.predict(x)}
        for key, (analyzer, options) in ANALYZERS.items():
            made = innvestigate.create_analyzer(
                analyzer, logits, neuron_selection_mode="index", disable_model_checks=True, **options
            )
            found[key] = np.concatenate([made.analyze(one[None], 1) for one in x]).astype(np.float32)
        model.save(FOLDER / f"{name}.h5", include_optimizer=False)
        np.savez_compressed(FOLDER / f"{name}.npz", **found)


if __name__ == "__main__":
    main()
