"""The networks of the reference folder predict what Keras recorded; skipped where the folder is not at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx

import xai_models_keras

ROOT = Path(os.environ.get("XAI_REFERENCE_KERAS", Path(__file__).parents[3] / "shared" / "reference-keras"))
SMALL = sorted(path for path in ROOT.glob("small/*/model.*") if path.suffix in (".h5", ".keras"))
FULL = sorted(ROOT.glob("full/*/model.hdf5"))

pytestmark = pytest.mark.skipif(not SMALL, reason=f"the reference results are not at {ROOT} (XAI_REFERENCE_KERAS)")


def reference(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path.parent / "outputs.json").read_text(encoding="utf-8"))
    return found


def expected(record: dict[str, Any]) -> Tensor:
    """The logits, or the value of a regression, which has no logits."""
    values = record.get("logits") or record["output"]
    return torch.tensor([[float(value) for value in np.atleast_1d(values)]])


def volume(array: np.ndarray) -> Tensor:
    """One channels-last volume, with or without batch and channel, as [1, 1, D, H, W]."""
    return torch.from_numpy(np.squeeze(array).astype(np.float32))[None, None]


@pytest.mark.parametrize("path", SMALL, ids=lambda path: f"{path.parent.name}{path.suffix}")
def test_small_networks_predict_the_same(path: Path) -> None:
    network, record = xai_models_keras.read(path), reference(path)
    with np.load(path.parent / "inputs.npz") as inputs:
        for key in inputs.files:
            with torch.no_grad():
                found = network(volume(inputs[key]))
            assert (found - expected(record["outputs"][key])).abs().max() <= 2e-5


@pytest.mark.parametrize("path", SMALL, ids=lambda path: f"{path.parent.name}{path.suffix}")
def test_what_ends_in_softmax_gives_logits(path: Path) -> None:
    ends = reference(path)["final_activation"]
    network, record = xai_models_keras.read(path), reference(path)
    with np.load(path.parent / "inputs.npz") as inputs, torch.no_grad():
        found = network(volume(inputs["x0"]))
    output = torch.tensor([[float(value) for value in np.atleast_1d(record["outputs"]["x0"]["output"])]])
    torch.testing.assert_close(found.softmax(1) if ends == "softmax" else found, output, rtol=0, atol=2e-5)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: f"{path.parent.name}{path.suffix}")
def test_every_layer_computes_what_it_did(path: Path) -> None:
    """Mean, deviation and extremes of each Keras layer's output, recorded by name."""
    network, record = xai_models_keras.read(path), reference(path)
    with np.load(path.parent / "inputs.npz") as inputs, torch.no_grad():
        outputs = intermediate(network, volume(inputs["x0"]))
    compared = 0
    for layer in record["outputs"]["x0"]["layers"]:
        value = outputs.get(f"{layer['layer']}_activation", outputs.get(layer["layer"]))
        if value is None or layer["layer"] == record["outputs"]["x0"]["layers"][-1]["layer"]:
            continue  # the last one's activation is left out
        scale = max(abs(float(layer["min"])), abs(float(layer["max"])), 1e-6)
        found = (value.mean(), value.std(correction=0), value.min(), value.max())
        for name, number in zip(("mean", "std", "min", "max"), found, strict=True):
            assert abs(float(number) - float(layer[name])) <= 2e-5 * scale, (layer["layer"], name)
        compared += 1
    assert compared >= 0.9 * (len(record["outputs"]["x0"]["layers"]) - 1)


def intermediate(network: fx.GraphModule, x: Tensor) -> dict[str, Tensor]:
    """Return what each node gives, by name."""
    interpreter = fx.Interpreter(network, garbage_collect_values=False)
    interpreter.run(x)
    return {node.name: value for node, value in interpreter.env.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("path", FULL, ids=lambda path: path.parent.name)
def test_full_size_networks_predict_the_same(path: Path) -> None:
    network, record = xai_models_keras.read(path), reference(path)
    for key in ("a", "b"):
        with np.load(path.parents[1] / "inputs" / f"{key}.npz") as file, torch.no_grad():
            found = network(volume(file["x"]))
        assert (found - expected(record["outputs"][key])).abs().max() <= 1e-4
