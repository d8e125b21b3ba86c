"""Write ``innvestigate_leaky.npz``: maps of iNNvestigate for a network with other activations than ReLU.

Run by hand in an environment with TensorFlow 2.14, Keras 2.14 and iNNvestigate 2.1.2. iNNvestigate's checks, which
refuse such a network, are off. The maps are those of output 0 for the first volume and output 1 for the second.
"""

from __future__ import annotations

from pathlib import Path

import innvestigate
import numpy as np
import tensorflow as tf
from tensorflow import keras

tf.compat.v1.disable_eager_execution()
keras.utils.set_random_seed(7)
layers = keras.layers
network = keras.Sequential(
    [
        layers.InputLayer((5, 7, 6, 1)),
        layers.Conv3D(4, 3),
        layers.LeakyReLU(alpha=0.2),
        layers.Conv3D(4, 2, activation="relu"),
        layers.Conv3D(4, 1, strides=2),
        layers.ReLU(negative_slope=0.1),
        layers.Conv3D(3, 1),
        layers.ELU(),
        layers.Flatten(),
        layers.Dense(6, activation=layers.LeakyReLU(0.3)),
        layers.Dense(2),
    ]
)
random = np.random.RandomState(1)
network.set_weights(
    [3 * each if each.ndim > 1 else 0.3 * random.normal(size=each.shape) for each in network.get_weights()]
)
volumes = random.rand(2, 5, 7, 6, 1).astype(np.float32)
found = {"x": volumes, "logits": network.predict(volumes, verbose=0)}
for name in ("gradient", "input_t_gradient", "guided_backprop"):
    analyzer = innvestigate.create_analyzer(name, network, neuron_selection_mode="index", disable_model_checks=True)
    found[name] = np.concatenate([analyzer.analyze(volumes[k : k + 1], k) for k in (0, 1)])
found |= {f"weights_{index}": each for index, each in enumerate(network.get_weights())}
np.savez_compressed(Path(__file__).parent / "innvestigate_leaky.npz", **found)
