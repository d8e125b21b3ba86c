"""The networks with the weights of models that the original stack saved: the same logits as Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xai_core import registry

MODELS: list[tuple[str, str, dict[str, Any]]] = [
    ("alex", "singh2023-alexnet", {}),
    ("vgg", "singh2023-vgg", {}),
    ("resnet", "singh2023-resnet", {}),
    ("densenet", "singh2023-densenet", {}),
    ("dyrba2021", "dyrba2021", {}),
    ("mrinet", "mrinet", {}),
]


def stored_arrays(path: Path) -> list[np.ndarray]:
    """Return the arrays of a legacy HDF5 file of Keras, in the order of its layers."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path) as file:
        group = file["model_weights"]
        text = [name.decode() if isinstance(name, bytes) else name for name in group.attrs["layer_names"]]
        names = [(layer, name) for layer in text for name in group[layer].attrs["weight_names"]]
        return [group[layer][name.decode() if isinstance(name, bytes) else name][...] for layer, name in names]


def folders(reference: Path, size: str, start: str) -> list[Path]:
    return sorted(path for path in (reference / size).glob(f"{start}*") if path.is_dir())


def small_params(folder: Path) -> dict[str, Any]:
    name = json.loads((folder / "build.json").read_text(encoding="utf-8"))["model"]
    params: dict[str, Any] = {"batch_norm": True} if "bn" in name else {}
    return params | ({"activation": "leaky-relu"} if "leaky" in name or "lrelu" in name else {})


def logits_of(outputs: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([float(value) for value in outputs["logits"]])


@pytest.mark.parametrize(("start", "component", "params"), MODELS, ids=[row[0] for row in MODELS])
def test_small_models_give_the_logits_of_keras(
    reference: Path, start: str, component: str, params: dict[str, Any], fill: Any, flattened: Any
) -> None:
    found = folders(reference, "small", start)
    if not found:
        pytest.skip(f"no {start}* among the small reference models")
    for folder in found:
        expected = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))["outputs"]
        volumes = np.load(folder / "inputs.npz")
        sides = np.squeeze(volumes["x0"]).shape
        own = params | (small_params(folder) if component == "mrinet" else {})
        count = len(expected["x0"]["logits"])
        network = registry.create("model", component, **own).build((1, *sides), count)
        fill(network, stored_arrays(folder / "model.h5"), flattened(network, (1, *sides)))
        for key in ("x0", "x1"):
            # In double precision: the bound is about two float32 steps of a predicted age.
            volume = torch.from_numpy(np.squeeze(volumes[key]).astype(np.float64))[None, None]
            logits = network.double()(volume)[0].detach()
            assert float((logits - logits_of(expected[key])).abs().max()) <= 2e-5, f"{folder.name} {key}"


@pytest.mark.parametrize(
    ("start", "component", "trainable", "stored"),
    [("alexnet", "singh2023-alexnet", 121_652, 121_682), ("resnet", "singh2023-resnet", 20_602, 20_642)],
)
def test_full_models_give_the_logits_of_keras(
    reference: Path, start: str, component: str, trainable: int, stored: int, fill: Any, flattened: Any
) -> None:
    found = folders(reference, "full", start)
    if not found:
        pytest.skip(f"no {start}* among the full reference models")
    shape = (1, 179, 169, 208)
    network = registry.create("model", component).build(shape, 2)
    arrays = stored_arrays(found[0] / "model.hdf5")
    assert sum(array.size for array in arrays) == stored
    assert sum(value.numel() for value in network.parameters()) == trainable
    fill(network, arrays, flattened(network, shape))
    expected = json.loads((found[0] / "outputs.json").read_text(encoding="utf-8"))["outputs"]
    volume = torch.from_numpy(np.load(reference / "full" / "inputs" / "a.npz")["x"].astype(np.float32))[None, None]
    with torch.no_grad():
        logits = network(volume)[0]
    assert float((logits - logits_of(expected["a"])).abs().max()) <= 1e-4
