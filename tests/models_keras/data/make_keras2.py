"""Write ``keras2.tar.xz``: legacy HDF5 (and some ``.keras``) models of Keras 2.14 and what it predicts.

Run by hand in an environment with TensorFlow 2.14 and Keras 2.14 (NumPy 1.26), CPU::

    TF_ENABLE_ONEDNN_OPTS=0 CUDA_VISIBLE_DEVICES= python tests/models_keras/data/make_keras2.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import recipes_graphs  # noqa: F401 - registers its recipes
import tensorflow as tf
from keras.src.saving.legacy import hdf5_format
from recipes import RECIPES
from recipes_special import instance_normalizations, of_keras2, refused
from writing import Archive, without_ending

HERE = Path(__file__).parent
# Keras 3 is where .keras comes from; of Keras 2's own variant of it these cover containers, nesting and state.
ALSO_KERAS = ("conv3d_valid", "batchnorm", "nested", "nested_frozen", "nested_deep", "nested_shared", "shared_layer",
              "branches_named_backwards", "several_inputs_other_order",
              "nested_several_inputs_outputs", "sequential", "sequential_without_input_layer", "numbered_names",
              "normalization_stored", "like_densenet", "fused_layer", "refused_lambda",
              "refused_custom_layer", "awkward_names", "multiply_two", "groupnorm", "prelu_shared",
              "conv3d_transpose_same_k3_s2", "squeeze_excite")  # fmt: skip
WITH_GRADIENT = ("like_densenet", "like_unet", "sequential", "squeeze_excite", "end_softmax_fused")


def all_recipes() -> dict[str, Any]:
    return {**RECIPES, **instance_normalizations(keras), **of_keras2(keras), **refused(keras)}


def gradient(model: Any, inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Record the gradient of the second logit of each example with respect to the input."""
    x = tf.convert_to_tensor(inputs[0])
    with without_ending(keras, model), tf.GradientTape() as tape:
        tape.watch(x)
        logit = model(x, training=False)[:, 1]
    return {"gradient": tape.gradient(logit, x).numpy()}


def chunked(archive: Archive, folder: Path) -> None:
    """Add a model whose lists of names are split over several attributes, as Keras does above 64 KiB."""
    old = hdf5_format.HDF5_OBJECT_HEADER_LIMIT
    hdf5_format.HDF5_OBJECT_HEADER_LIMIT = 64
    try:
        keras.backend.clear_session()
        archive.add_model(keras, "chunked_names", RECIPES["like_densenet"](keras), (".h5",), folder)
    finally:
        hdf5_format.HDF5_OBJECT_HEADER_LIMIT = old


def trained(archive: Archive, folder: Path) -> None:
    """Add a model saved with its optimiser's state and its training configuration."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = RECIPES["sequential"](keras)
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(tf.zeros((2, 5, 6, 7, 2)), tf.zeros((2, 2)), verbose=0)
    archive.add_model(keras, "with_optimizer", model, (".h5", ".keras"), folder)


def main() -> None:
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    warnings.simplefilter("ignore")
    archive = Archive(HERE / "keras2.tar.xz")
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in all_recipes().items():
            keras.backend.clear_session()
            try:
                suffixes = (".h5", ".keras") if name in ALSO_KERAS else (".h5",)
                more = gradient if name in WITH_GRADIENT else None
                archive.add_model(keras, name, recipe(keras), suffixes, Path(folder), more)
            except Exception as error:
                print(f"{name}: left out: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
        chunked(archive, Path(folder))
        trained(archive, Path(folder))
    archive.file.close()


if __name__ == "__main__":
    main()
