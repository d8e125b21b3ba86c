"""Save a Keras network again without Lambda layers, and prove that it predicts the same.

A Lambda layer holds Python code, which 'xai segment' never runs. Here, where you trust the file and have the TensorFlow
that can load it (SHIVA-PVS v0 and v1: TensorFlow 2.7 with Python 3.7), each Lambda is replaced by a layer of Keras that
gives the same for random input: an activation, or zeros added to or voxels cut from the ends of the axes. Nothing is
saved where one is left over, or where the network as a whole predicts anything else.

    python without_lambdas.py fold_0_model.h5 fold_0_plain.h5
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np  # noqa: TID253 - a program of its own
import tensorflow as tf

ACTIVATIONS = ("linear", "swish", "relu", "elu", "selu", "sigmoid", "tanh", "softplus")
CLOSE = 1e-5


def random_input(shape):  # type: ignore[no-untyped-def]
    return np.random.default_rng(0).normal(size=(1, *shape[1:])).astype("float32")


def candidates(name, before, after):  # type: ignore[no-untyped-def]
    """Return layers that could stand for a Lambda that turns one shape into another."""
    layers = tf.keras.layers
    if before == after:
        return [layers.Activation(each, name=name) for each in ACTIVATIONS]
    if len(before) != 5 or len(after) != 5 or before[-1] != after[-1]:
        return []
    change = [end - start for start, end in zip(before[1:4], after[1:4])]  # noqa: B905 - Python 3.7 has no strict
    places = itertools.product(*([(low, abs(n) - low) for low in range(abs(n) + 1)] for n in change))
    if all(n >= 0 for n in change):
        return [layers.ZeroPadding3D(ends, name=name) for ends in places]
    return [layers.Cropping3D(ends, name=name) for ends in places] if all(n <= 0 for n in change) else []


def replacement(layer):  # type: ignore[no-untyped-def]
    """Return what stands for a layer in the copy of the network: for a Lambda, the plain layer that gives the same."""
    if not isinstance(layer, tf.keras.layers.Lambda):
        return layer.__class__.from_config(layer.get_config())
    before, after = layer.input_shape, layer.output_shape
    if not isinstance(before, list):
        x = 10 * random_input(before)  # far enough to tell activations apart that are alike near 0
        wanted = layer(x).numpy()
        for each in candidates(layer.name, before, after):
            if np.abs(each(x).numpy() - wanted).max() <= CLOSE:
                print("{}: {} {}".format(layer.name, type(each).__name__, each.get_config()))  # noqa: UP032
                return each
    raise SystemExit("{}: no plain layer turns {} into {} as it does.".format(layer.name, before, after))  # noqa: UP032


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("output", help="A .h5 file.")
    options = parser.parse_args()
    model = tf.keras.models.load_model(options.model, compile=False, custom_objects={"tf": tf})
    plain = tf.keras.models.clone_model(model, clone_function=replacement)
    plain.set_weights(model.get_weights())
    x = random_input(model.input_shape)
    difference = float(np.abs(plain(x, training=False).numpy() - model(x, training=False).numpy()).max())
    if not difference <= CLOSE:
        raise SystemExit("The copy predicts something else: largest difference {:.3g}.".format(difference))  # noqa: UP032
    plain.save(options.output, include_optimizer=False)
    print("{}: largest difference {:.3g}".format(options.output, difference))  # noqa: UP032


if __name__ == "__main__":
    main()
