"""The component ``keras`` and ``xai import-keras``, on small files written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import xai_models_keras
from xai_core import InputError, registry
from xai_core.cli import main
from xai_core.testing import ModelConformance
from xai_models_keras.command import command

Write = Callable[..., Path]
SLOPE = {"type": "ndarray", "value": 0.25}  # as Keras 2.2 wrote the numbers of a ReLU


def write_model(
    path: Path, *, end: str = "softmax", units: int = 3, shape: Sequence[int | None] = (8, 9, 7, 1)
) -> Path:
    """Write what Keras 2.14 writes for a convolution, batch normalisation, the mean and a dense layer."""
    shape = list(shape)
    conv = {
        "name": "conv", "batch_input_shape": [None, *shape], "filters": 4, "kernel_size": [3, 3, 3], "padding": "same",
        "strides": {"class_name": "__tuple__", "items": [2, 2, 2]}, "activation": "relu",
    }  # fmt: skip
    layers = [
        {"class_name": "Conv3D", "config": conv},
        {"class_name": "BatchNormalization", "config": {"name": "norm", "axis": [4], "epsilon": 0.001}},
        {
            "class_name": "ReLU",
            "config": {"name": "slope", "max_value": None, "negative_slope": SLOPE, "threshold": 0.0},
        },
        {"class_name": "GlobalAveragePooling3D", "config": {"name": "mean"}},
        {"class_name": "Dense", "config": {"name": "dense", "units": units, "activation": end}},
    ]
    weights: Mapping[str, Mapping[str, tuple[int, ...]]] = {
        "conv": {"kernel:0": (3, 3, 3, shape[-1] or 1, 4), "bias:0": (4,)},
        "norm": {f"{name}:0": (4,) for name in ("gamma", "beta", "moving_mean", "moving_variance")},
        "slope": {},
        "mean": {},
        "dense": {"kernel:0": (4, units), "bias:0": (units,)},
    }
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.14.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
        )
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = list(weights)
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [f"{layer}/{name}" for name in arrays]
            for name, size in arrays.items():
                inner[f"{layer}/{name}"] = generator.uniform(0.1, 1, size).astype(np.float32) * (
                    1 if "var" in name else 0.5
                )
    return path


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return lambda name="model.h5", **options: write_model(tmp_path / name, **options)


class TestKeras(ModelConformance):
    """What every model promises, but that any number of outputs can be asked of stored weights."""

    name = "keras"
    params: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def model_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_model(tmp_path / "model.h5", shape=(None, None, None, 1))
        monkeypatch.setattr(type(self), "params", {"path": str(path)})

    def test_one_output_for_a_regression(self) -> None:
        with pytest.raises(InputError, match=r"model\.h5: the stored network has 3 outputs .*, but 1 are asked for"):
            self.build(self.grids[0], outputs=1)


def build(path: Path, shape: tuple[int, ...] = (1, 8, 9, 7), outputs: int | None = None) -> nn.Module:
    network: nn.Module = registry.create("model", "keras", path=str(path)).build(shape, outputs)
    return network


def test_another_shape_than_the_stored_one_is_refused(write: Write) -> None:
    with pytest.raises(InputError, match=r"shape \(1, 8, 9, 7\) .*, but input_shape is \(1, 7, 9, 8\)"):
        build(write(), (1, 7, 9, 8))
    with pytest.raises(InputError, match=r"input_shape is \(8, 9, 7\); give \(channels, depth, height, width\)"):
        build(write(), (8, 9, 7))


def test_open_sizes_are_taken_from_the_study_and_needed(write: Write) -> None:
    path = write(shape=(None, 9, None, 1))
    assert build(path, (1, 12, 9, 10))(torch.zeros(1, 1, 12, 9, 10)).shape == (1, 3)
    with pytest.raises(InputError, match=r"leaves sizes open: \(1, None, 9, None\)"):
        xai_models_keras.read(path)


def test_a_sigmoid_becomes_what_the_study_asks_for(write: Write) -> None:
    path, x = write(end="sigmoid", units=1), torch.rand(2, 1, 8, 9, 7)
    logit = xai_models_keras.read(path)(x)
    for outputs, expected in (
        (None, logit), (1, logit.sigmoid()), (2, torch.cat([torch.zeros_like(logit), logit], 1)),
    ):  # fmt: skip
        torch.testing.assert_close(build(path, outputs=outputs)(x), expected)
    torch.testing.assert_close(build(path, outputs=2)(x).softmax(1)[:, 1:], logit.sigmoid())
    with pytest.raises(InputError, match=r"has 1 outputs .before a sigmoid., but 3 are asked for"):
        build(path, outputs=3)


def test_the_activation_that_is_left_out_is_the_last_only(write: Write) -> None:
    modules = dict(xai_models_keras.read(write()).named_modules())
    assert "dense_activation" not in modules
    assert modules["conv_activation"].keras_class == "Activation"
    assert (modules["slope"].keras_class, modules["slope"].negative_slope) == ("ReLU", 0.25)
    assert "dense_activation" in dict(xai_models_keras.read(write(end="tanh")).named_modules())


def test_fine_tuning_reaches_every_parameter(write: Write) -> None:
    network = xai_models_keras.read(write()).train()
    network(torch.rand(3, 1, 8, 9, 7)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_import_writes_what_is_read_without_h5py(write: Write, tmp_path: Path) -> None:
    path = write()
    done = CliRunner().invoke(command, [str(path)], catch_exceptions=False)
    assert done.exit_code == 0
    for line in (r"conv", "the final softmax is left out", "(Keras 2.14.0): 135 parameters", "1 x 8 x 9 x 7"):
        assert line in done.output
    folder = tmp_path / "model-torch"
    assert sorted(each.name for each in folder.iterdir()) == ["model.json", "weights.pt"]
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]
    x = torch.rand(2, 1, 8, 9, 7)
    torch.save((x, xai_models_keras.read(path)(x)), tmp_path / "expected.pt")
    code = (
        "import sys; sys.modules['h5py'] = None\n"
        "import torch, xai_models_keras\n"
        "x, y = torch.load('expected.pt', weights_only=True)\n"
        "for path in ('model-torch', 'model-torch/model.json'):\n"
        "    assert torch.equal(xai_models_keras.read(path)(x), y)\n"
        "try:\n    xai_models_keras.read('model.h5')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("InputError")
    assert "pip install h5py" in done.stdout


def test_import_replaces_only_what_it_made(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = write(), tmp_path / "out"
    for arguments, code, message in (
        ([], 0, "Written to"),
        ([], 2, "exists already. Choose another place with --output, or replace it with --force."),
        (["--force"], 0, "Written to"),
    ):
        with pytest.raises(SystemExit) as exit_:
            main(["import-keras", str(path), "--output", str(folder), *arguments])
        assert exit_.value.code == code
        assert message in "".join(capsys.readouterr())
    (folder / "thesis.docx").touch()
    with pytest.raises(SystemExit) as exit_:
        main(["import-keras", str(path), "--output", str(folder), "--force"])
    assert exit_.value.code == 2
    assert "it holds something else (thesis.docx)" in capsys.readouterr().err
    assert (folder / "thesis.docx").exists()


def test_import_takes_open_sizes_and_prints_json(write: Write, tmp_path: Path) -> None:
    path = write(shape=(None, None, None, 1))
    done = CliRunner().invoke(command, [str(path), "--input-shape", "1,8,9,7", "--json"], catch_exceptions=False)
    about = json.loads(done.output)
    assert about["inputs"][0]["shape"] == [1, 8, 9, 7]
    assert about["parameters"] == 135
    with pytest.raises(InputError, match=r"was made for volumes of the shape \(1, 8, 9, 7\)"):
        build(tmp_path / "model-torch", (1, 9, 9, 7))
    assert CliRunner().invoke(command, [str(path), "--input-shape", "1,8,a"]).exit_code == 2


def imported(path: Path) -> Path:
    CliRunner().invoke(command, [str(path), "--json"], catch_exceptions=False)
    return path.with_name(f"{path.stem}-torch")


def change(folder: Path, function: Callable[[Any], Any]) -> None:
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    function(description)
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")


CODE = 'x"), open("made", "w'
CHANGES: Mapping[str, Callable[[Any], Any]] = {
    "another format": lambda d: d.update(format=2),
    "no nodes": lambda d: d.pop("nodes"),
    "an unknown class": lambda d: d["modules"]["conv"].update({"class": "Module"}),
    "an unknown function": lambda d: (
        d["nodes"][1].update(module=None) or d["nodes"][-1].update(function="eval", inputs=[])
    ),
    "a circle": lambda d: d["nodes"][1].update(inputs=["dense"]),
    "other channels": lambda d: d["modules"]["conv"]["params"].update(out_channels=10**12),
    "a wide kernel": lambda d: d["modules"]["conv"]["params"].update(kernel_size=[10**9] * 3, padding=[10**9] * 3),
    "code as a module": lambda d: (
        d["modules"].update({CODE: d["modules"].pop("dense")}) or d["nodes"][-1].update(module=CODE)
    ),
    "code as a node": lambda d: d["nodes"][-1].update(name=CODE) or d["outputs"][0].update(node=CODE),
    "code as an input": lambda d: d["nodes"][0].update(input=CODE),
    "code as a parameter": lambda d: d["modules"]["dense"]["params"].update({CODE: 1}),
    "code as a value": lambda d: d["modules"]["dense"]["params"].update(bias=CODE),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_description_is_an_error(
    name: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = imported(write())
    change(folder, CHANGES[name])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="model-torch"):
        xai_models_keras.read(folder)
    assert not (tmp_path / "made").exists()


def test_weights_that_do_not_fit_are_named(write: Write) -> None:
    folder = imported(write())
    state = torch.load(folder / "weights.pt", weights_only=True)
    state["dense.weight"] = state["dense.weight"][:, :2]
    del state["conv.bias"]
    torch.save(state, folder / "weights.pt")
    with pytest.raises(
        InputError, match=r"conv\.bias is missing; dense\.weight is float32 \(3, 2\), not float32 \(3, 4\)"
    ):
        xai_models_keras.read(folder)
    (folder / "weights.pt").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"weights\.pt: cannot be read as weights"):
        xai_models_keras.read(folder)


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.h5: there is no such file"):
        xai_models_keras.read(tmp_path / "absent.h5")
    with pytest.raises(InputError, match=r"is no network imported from Keras: model\.json and weights\.pt are missing"):
        xai_models_keras.read(tmp_path)


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, xai_models_keras, xai_models_keras.command\n"
        "print([name for name in ('torch', 'h5py', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
