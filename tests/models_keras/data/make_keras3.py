"""Write ``keras3.tar.xz``: ``.keras`` archives (and some HDF5 files) of Keras 3 and what it predicts.

Run by hand in an environment with Keras 3 (3.15) and PyTorch, CPU::

    KERAS_BACKEND=torch python tests/models_keras/data/make_keras3.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import recipes_graphs  # noqa: F401 - registers its recipes
import torch
from recipes import RECIPES
from recipes_special import instance_normalizations, of_keras3, refused
from writing import Archive

HERE = Path(__file__).parent
ALSO_HDF5 = ("conv3d_same_k4_s3", "batchnorm", "nested", "nested_frozen", "nested_deep", "shared_layer",
             "several_inputs_other_order", "sequential", "sequential_without_input_layer", "refused_lambda",
             "end_softmax_fused", "groupnorm", "leaky_relu")  # fmt: skip
# TensorFlow code; and a model that Keras 3 itself cannot load again.
NOT_HERE = ("instancenorm_contrib", "instancenorm_contrib_whole", "shared_layer_outside_and_inside")


def all_recipes() -> dict[str, Any]:
    everything = {**RECIPES, **instance_normalizations(keras), **refused(keras), **of_keras3(keras)}
    return {name: recipe for name, recipe in everything.items() if name not in NOT_HERE}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    archive = Archive(HERE / "keras3.tar.xz")
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, recipe in all_recipes().items():
            keras.backend.clear_session()
            try:
                suffixes = (".keras", ".h5") if name in ALSO_HDF5 else (".keras",)
                archive.add_model(keras, name, recipe(keras), suffixes, Path(folder))
            except Exception as error:
                print(f"{name}: left out: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
    archive.file.close()


if __name__ == "__main__":
    main()
