"""The presets against maps that iNNvestigate 2.1.2 made of Keras models: its own, and those of the reference folder.

``data/innvestigate/make.py`` made the two small networks here; the reference folder is looked for beside the
repository, or where ``XAI_REFERENCE_KERAS`` says.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xai_core import InputError, registry

pytest.importorskip("h5py")
keras = pytest.importorskip("xai_models_keras")

OWN = Path(__file__).parent / "data" / "innvestigate"
REFERENCE = Path(os.environ.get("XAI_REFERENCE_KERAS") or Path(__file__).parents[3] / "shared" / "reference-keras")
SMALL = sorted((REFERENCE / "small").glob("*")) if REFERENCE.is_dir() else []

# Our parameters for each map of the two networks, as make.py called the original.
PRESETS: dict[str, dict[str, Any]] = {
    "z": {"composite": "innvestigate-z"},
    "epsilon": {"composite": "innvestigate-epsilon", "epsilon": 1e-2},
    "alpha1_beta0": {"composite": "innvestigate-alpha1-beta0"},
    "sequential_preset_a": {"composite": "innvestigate-sequential-preset-a", "epsilon": 0.1},
    "sequential_preset_b": {"composite": "innvestigate-sequential-preset-b", "epsilon": 0.1},
}
# The same for the reference folder, as its README and its outputs.json say; and which bound holds.
OF_REFERENCE: dict[str, dict[str, Any]] = {
    "lrp.sequential_preset_a": {"composite": "innvestigate-sequential-preset-a", "epsilon": 1e-10},
    "xai4mri.analyze_model_default": {"composite": "innvestigate-sequential-preset-a", "epsilon": 0.1},
    "lrp.epsilon": {"composite": "innvestigate-epsilon", "epsilon": 1e-6},
    "lrp.z": {"composite": "innvestigate-z"},
    "lrp.alpha_1_beta_0": {"composite": "innvestigate-alpha1-beta0"},
}


def channels_first(array: np.ndarray[Any, Any]) -> Tensor:
    """[N, D, H, W, C] to [N, C, D, H, W]."""
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy()).float()


def worst(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest value, of the worst volume."""
    dims = tuple(range(1, found.ndim))
    return float(((found - expected).abs().amax(dims) / expected.abs().amax(dims)).max())


def explain(model: torch.nn.Module, x: Tensor, target: int | None, **params: Any) -> Tensor:
    chosen = None if target is None else torch.full((len(x),), target)
    result: Tensor = registry.create("explainer", "lrp", **params).explain(model, x, chosen).relevance
    return result


@pytest.mark.parametrize("name", ["plain", "branched"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_gives_the_originals_map(name: str, preset: str) -> None:
    model, stored = keras.read(OWN / f"{name}.h5").eval(), np.load(OWN / f"{name}.npz")
    x = channels_first(stored["x"])
    found = explain(model, x, 1, **PRESETS[preset])
    assert worst(found, channels_first(stored[preset])) < 1e-4


@pytest.mark.parametrize("name", ["plain", "branched"])
@pytest.mark.parametrize("preset", ["sequential_preset_a", "sequential_preset_b"])
def test_the_corrected_rule_is_another_map_and_conserves(name: str, preset: str) -> None:
    model, stored = keras.read(OWN / f"{name}.h5").eval(), np.load(OWN / f"{name}.npz")
    x = channels_first(stored["x"])
    composite = preset.replace("_", "-")
    lrp = registry.create("explainer", "lrp", composite=composite, layer_sums=True)
    right = lrp.explain(model, x, torch.tensor([1, 1]))
    assert worst(right.relevance, channels_first(stored[preset])) > 0.05
    for detail in right.details:
        found = detail["conservation"]
        lost = sum(layer.get("lost", 0.0) for layer in found["layers"])  # by neurons without such a contribution
        assert abs(found["unexplained"] - lost) < 1e-3 * abs(found["start"])
    same = {"a": "epsilon-plus", "b": "epsilon-alpha2-beta1"}[composite[-1]]
    assert torch.equal(right.relevance, explain(model, x, 1, composite=same))


@pytest.mark.parametrize("name", ["plain", "branched"])
def test_a_correct_surrogate_would_be_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from xai_explainers_lrp import _innvestigate, _maps

    monkeypatch.setattr(_innvestigate, "_Norm", _maps._Elementwise)
    model, stored = keras.read(OWN / f"{name}.h5").eval(), np.load(OWN / f"{name}.npz")
    found = explain(model, channels_first(stored["x"]), 1, **PRESETS["sequential_preset_a"])
    assert worst(found, channels_first(stored["sequential_preset_a"])) > 1e-2


class _Gated(torch.nn.Module):
    """A product with a sigmoid, behind which the original goes on with its rules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate = torch.nn.Conv3d(1, 2, 3), torch.nn.Conv3d(2, 2, 1)
        self.dense = torch.nn.Linear(2 * 27, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        found: Tensor = self.dense((x * self.gate(x).sigmoid()).flatten(1))
        return found


@pytest.mark.parametrize("preset", PRESETS)
def test_a_network_with_gates_is_refused(preset: str) -> None:
    model, x = _Gated().eval(), torch.randn(1, 1, 5, 5, 5)
    with pytest.raises(InputError, match="multiplies a signal by a gate"):
        explain(model, x, 1, **PRESETS[preset])
    assert explain(model, x, 1, composite="epsilon-plus").abs().sum() > 0


@pytest.mark.skipif(not SMALL, reason="the reference folder with Keras models is not here")
@pytest.mark.parametrize("folder", SMALL, ids=lambda folder: folder.name)
def test_the_reference_models(folder: Path) -> None:
    model = keras.read(folder / "model.h5").eval()
    inputs, neuron = np.load(folder / "inputs.npz"), json.loads((folder / "outputs.json").read_text())["neuron"]
    compared = 0
    for analyzer, params in OF_REFERENCE.items():
        file = folder / f"rel_{analyzer}.npz"
        if not file.is_file():
            continue
        stored = np.load(file)
        for key in stored.files:
            x, expected = (torch.from_numpy(data[key]).float()[None, None] for data in (inputs, stored))
            is_regression = "reg" in folder.name
            start = {"start": "probability"} if "xai4mri" in analyzer and not is_regression else {}
            found = explain(model, x, None if is_regression else neuron, **params, **start)
            if "preset" in analyzer or "xai4mri" in analyzer:
                assert worst(found, expected) < 1e-4, (analyzer, key)
                assert float((found - expected).abs().sum() / expected.abs().sum()) < 1e-4, (analyzer, key)
            else:  # ill-conditioned: single and double precision alone differ by up to 8e-2
                assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.999, (analyzer, key)
            compared += 1
    assert compared
