"""Gradient, input x gradient and guided backpropagation against what iNNvestigate gives for Keras networks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import registry
from xai_explainers_gradcam.plugin_guided import GuidedBackpropagation

FOLDER = Path(os.environ.get("XAI_REFERENCE_KERAS") or Path(__file__).parents[3] / "shared" / "reference-keras")
MODELS = sorted(path.parent for path in FOLDER.glob("small/*/model.h5"))
# Ours, theirs, the parameters that give theirs, largest difference over the map's largest value.
METHODS = [
    pytest.param("gradient", "gradient", {}, 1e-5, id="gradient"),
    pytest.param("input-x-gradient", "input_t_gradient", {}, 1e-5, id="input-x-gradient"),
    pytest.param("guided-backpropagation", "guided_backprop", {"start": "logit"}, 1e-4, id="guided-backpropagation"),
]


def difference(found: Tensor, expected: np.ndarray[Any, Any]) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


def explained(name: str, params: dict[str, Any], network: nn.Module, volumes: Tensor, target: Tensor) -> Tensor:
    found: Tensor = registry.create("explainer", name, **params).explain(network, volumes, target).relevance
    return found


@pytest.mark.skipif(not MODELS, reason=f"no reference results in {FOLDER} (or set XAI_REFERENCE_KERAS)")
@pytest.mark.parametrize(("name", "theirs", "params", "bound"), METHODS)
@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_reference_models(folder: Path, name: str, theirs: str, params: dict[str, Any], bound: float) -> None:
    keras = pytest.importorskip("xai_models_keras")
    stored = folder / f"rel_{theirs}.npz"
    if not stored.is_file():
        if theirs != "input_t_gradient":
            raise AssertionError(f"{stored} is missing")
        pytest.skip("stored for some models only")
    network = keras.read(folder / "model.h5")
    maps, inputs = np.load(stored), np.load(folder / "inputs.npz")
    outputs = json.loads((folder / "outputs.json").read_text())
    several = len(outputs["outputs"]["x0"]["logits"]) > 1
    target = torch.tensor([outputs["neuron"] if several else 0])
    for key in ("x0", "x1"):
        volume = torch.from_numpy(inputs[key])[None, None]
        assert difference(explained(name, params, network, volume, target)[0, 0], maps[key]) <= bound
        if name == "guided-backpropagation":  # what a forgotten start would give
            other = explained(name, {"other_activations": "differentiate"}, network, volume, target)[0, 0]
            assert difference(other, maps[key]) > 0.01


class Leaky(nn.Sequential):
    """The network of ``data/make_innvestigate_leaky.py``."""

    def __init__(self, stored: Any) -> None:
        keras_relu = nn.LeakyReLU(0.1)
        keras_relu.keras_class = "ReLU"  # type: ignore[assignment]
        super().__init__(
            nn.Conv3d(1, 4, 3), nn.LeakyReLU(0.2), nn.Conv3d(4, 4, 2), nn.ReLU(), nn.Conv3d(4, 4, 1, 2), keras_relu,
            nn.Conv3d(4, 3, 1), nn.ELU(), nn.Flatten(), nn.Linear(12, 6), nn.LeakyReLU(0.3), nn.Linear(6, 2),
        )  # fmt: skip
        layers = [layer for layer in self if isinstance(layer, nn.Conv3d | nn.Linear)]
        with torch.no_grad():
            for index, layer in enumerate(layers):
                kernel = torch.from_numpy(stored[f"weights_{2 * index}"])
                if kernel.shape == (12, 6):  # behind Flatten: Keras has the channels last
                    kernel = kernel.reshape(1, 2, 2, 3, 6).permute(3, 0, 1, 2, 4).reshape(12, 6)
                layer.weight.copy_(kernel.permute(4, 3, 0, 1, 2) if kernel.ndim == 5 else kernel.T)
                layer.bias.copy_(torch.from_numpy(stored[f"weights_{2 * index + 1}"]))


@pytest.mark.parametrize(("name", "theirs", "params", "bound"), METHODS)
def test_other_activations_as_innvestigate_with_its_checks_off(
    name: str, theirs: str, params: dict[str, Any], bound: float
) -> None:
    """It clips at the ReLU and at Keras' layer ReLU with a slope, and takes the derivative of LeakyReLU and ELU."""
    stored = np.load(Path(__file__).parent / "data" / "innvestigate_leaky.npz")
    network, volumes = Leaky(stored).eval(), torch.from_numpy(stored["x"][..., 0])[:, None]
    with torch.no_grad():
        np.testing.assert_allclose(network(volumes), stored["logits"], rtol=1e-5, atol=1e-6)
    target = torch.tensor([0, 1])
    for index in (0, 1):
        found = explained(name, params, network, volumes, target)[index, 0]
        assert difference(found, stored[theirs][index, ..., 0]) <= bound
    if name == "guided-backpropagation":
        assert "off by" in GuidedBackpropagation(start="logit").self_check(network, volumes)
        network[5].keras_class = "LeakyReLU"  # type: ignore[assignment]
        found = explained(name, params, network, volumes, target)[1, 0]
        assert difference(found, stored[theirs][1, ..., 0]) > 0.01
