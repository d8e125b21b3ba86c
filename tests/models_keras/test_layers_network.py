"""What is read is an ordinary network of torch layers: it trains, copies, saves, traces and explains."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, fx, nn

from xai_core import registry
from xai_models_keras import read
from xai_models_keras.command import command

# One of each kind: every operation that is no plain layer, sharing, nesting, several inputs, all norms, PReLU.
KINDS = ("like_densenet.h5", "like_unet.h5", "nested_shared.h5", "nested_frozen.h5", "nested_deep.keras",
         "squeeze_excite.h5", "averagepool_same_mixed.h5", "maxpool_same_k2_s1.h5", "flatten_prelu.h5",
         "permute_reshape_mix.h5", "shared_layer.h5", "groupnorm.h5", "normalization_stored.h5", "awkward_names.h5",
         "several_inputs_other_order.h5", "merge_of_three.h5", "concatenate_axis_2.h5", "instancenorm_addons.h5",
         "conv3d_transpose_same_mixed.h5", "relu_all.h5", "flatten_shared_dense.h5", "numbered_names.keras",
         "multiply_first_of_lower_rank.h5", "upsampling_3d.h5", "flatten_concatenate.h5")  # fmt: skip
EXPLAINED = ("like_densenet.h5", "like_unet.h5", "sequential.h5", "squeeze_excite.h5", "end_softmax_fused.h5")
EXPLAINERS = ("lrp", "gradient", "input-x-gradient", "occlusion")
PARAMS: dict[str, dict[str, Any]] = {"occlusion": {"window": 3, "stride": 2}}
# A bias that is added twice and subtracted from itself has no gradient, whatever the implementation.
CANCELS = {
    "flatten_shared_dense": ["dense.bias"],
    "nested_shared": ["tower_batch_normalization.bias", "tower_dense.bias"],
}

every_kind = pytest.mark.stored_if(lambda name: name.startswith("keras2/") and name[7:] in KINDS)


def channels_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(array, -1, 1))


def predict(network: nn.Module, inputs: list[Tensor]) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(*inputs)
    return found


def test_every_kind_is_there(stored_model: Callable[[str], Any]) -> None:
    for name in (*KINDS, *EXPLAINED):
        assert stored_model(f"keras2/{name}").path.is_file(), name


@every_kind
def test_consists_of_torch_layers(stored: Any) -> None:
    network = read(stored.path)
    modules = [module for name, module in network.named_modules() if name and not list(module.children())]
    assert modules
    assert all(type(module).__module__.startswith("torch.nn.modules") for module in modules)
    for node in network.graph.nodes:
        if node.op == "call_function":
            assert node.target.__module__ in {"_operator", "torch", "torch._C._nn", "torch.nn.functional", None} or (
                str(getattr(node.target, "__module__", "")).startswith("torch")
            ), node.target


@every_kind
def test_copies_traces_and_saves(stored: Any, tmp_path: Path) -> None:
    network, inputs = read(stored.path), stored.inputs()
    right = predict(network, inputs)
    assert torch.equal(predict(copy.deepcopy(network), inputs), right)
    assert torch.equal(predict(fx.symbolic_trace(network), inputs), right)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other = read(stored.path)
    with torch.no_grad():
        for value in other.parameters():
            value.zero_()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True), strict=True)
    assert torch.equal(predict(other, inputs), right)


@every_kind
def test_one_step_of_training_changes_every_parameter(stored: Any) -> None:
    network = read(stored.path)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    torch.manual_seed(0)
    found = network(*stored.inputs())
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-2)
    (found * torch.randn_like(found)).sum().backward()
    optimizer.step()
    same = [name for name, value in network.named_parameters() if torch.equal(value, before[name])]
    assert before
    assert same == CANCELS.get(stored.name, [])
    assert torch.isfinite(predict(network, stored.inputs())).all()


def test_training_moves_the_statistics_as_keras_does(stored_model: Callable[[str], Any]) -> None:
    """Keras keeps ``momentum`` (0.7 here) of the old mean and adds the rest of the batch's."""
    stored = stored_model("keras2/batchnorm.h5")
    network, (x,) = read(stored.path), stored.inputs()
    (norm,) = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    assert norm.running_mean is not None
    old = norm.running_mean.clone()
    network.train()(x)
    torch.testing.assert_close(norm.running_mean, 0.7 * old + 0.3 * x.mean(dim=(0, 2, 3, 4)))


@pytest.mark.parametrize(("name", "kind"), [("dropout", nn.Dropout), ("spatialdropout3d", nn.Dropout3d)])
def test_dropout_drops_in_training(name: str, kind: type[nn.Module], stored_model: Callable[[str], Any]) -> None:
    network = read(stored_model(f"keras2/{name}.h5").path).train()
    (layer,) = [module for module in network.modules() if isinstance(module, kind)]
    assert layer.p == 0.4
    torch.manual_seed(0)
    ones = layer(torch.ones(1, 50, 4, 4, 4))
    assert 0.2 < float((ones == 0).float().mean()) < 0.6
    by_channel = (ones == 0).flatten(2).float().mean(2)
    assert bool(((by_channel == 0) | (by_channel == 1)).all()) == (kind is nn.Dropout3d)


@pytest.mark.parametrize("explainer", EXPLAINERS)
@pytest.mark.parametrize("name", EXPLAINED)
def test_is_explained(name: str, explainer: str, stored_model: Callable[[str], Any]) -> None:
    stored = stored_model(f"keras2/{name}")
    network, (x,) = read(stored.path), stored.inputs()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    method = registry.create("explainer", explainer, **PARAMS.get(explainer, {}))
    found = method.explain(network, x[:1], torch.tensor([1])).relevance
    assert found.shape[2:] == x.shape[2:]
    assert torch.isfinite(found).all()
    assert float(found.abs().max()) > 0
    keras = channels_first(stored.arrays["gradient"])[:1] * (x[:1] if explainer == "input-x-gradient" else 1)
    if "gradient" in explainer:
        assert float((found - keras).abs().max()) < 1e-5 * float(keras.abs().max())
    assert not network.training
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


@pytest.fixture(scope="session")
def imported(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with each kind, imported by ``xai import-keras``, and its predictions made without h5py."""
    folder = tmp_path_factory.mktemp("imported")
    for name in KINDS:
        done = CliRunner().invoke(command, [str(fixtures / "keras2" / name), "--output", str(folder / name)])
        assert done.exit_code == 0, done.output
    code = f"""
import sys
sys.modules["h5py"] = None
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import numpy as np, torch
from xai_models_keras import read
from conftest import channels_first
folder = Path({str(folder)!r})
for name in {KINDS!r}:
    with np.load(Path({str(fixtures)!r}) / "keras2" / (name.partition(".")[0] + ".npz")) as file:
        inputs = [channels_first(file[key]) for key in sorted(file) if key.startswith("input")]
    with torch.no_grad():
        torch.save(read(folder / name)(*inputs), folder / (name + ".pt"))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return folder


@every_kind
def test_import_reads_the_same_without_h5py(stored: Any, imported: Path) -> None:
    name = f"{stored.name}.{stored.suffix}"
    found = torch.load(imported / f"{name}.pt", weights_only=True)
    assert torch.equal(found, predict(read(stored.path), stored.inputs()))
    state = torch.load(imported / name / "weights.pt", weights_only=True)
    again, direct = read(imported / name), read(stored.path)
    assert set(state) == set(direct.state_dict())
    assert again.code == direct.code
    assert json.loads((imported / name / "model.json").read_text(encoding="utf-8"))["keras"] == "2.14.0"


@every_kind
def test_a_note_says_that_the_original_does_not_look_into_nested_models(stored: Any) -> None:
    from xai_models_keras._read import network

    noted = any("has a model as a layer" in note for note in network(stored.path).description["notes"])
    assert noted == (stored.path.name in ("nested_shared.h5", "nested_frozen.h5", "nested_deep.keras"))
