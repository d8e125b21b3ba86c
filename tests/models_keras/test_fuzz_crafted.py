"""Files made to do harm: code, endless structures, absurd sizes, ways out of the file. Each ends in an InputError."""

from __future__ import annotations

import base64
import io
import json
import marshal
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from xai_core import InputError
from xai_core.cli import main
from xai_models_keras import read
from xai_models_keras.command import command

Config = dict[str, Any]
Craft = Callable[..., Path]
H5, ARCHIVE = "keras2/conv3d_valid.h5", "keras3/conv3d_valid.keras"


def layer(config: Config, name: str) -> Config:
    found: Config = next(each for each in config["config"]["layers"] if each["config"]["name"].startswith(name))
    return found


@pytest.fixture
def craft(fuzzing: ModuleType, stored_model: Callable[[str], Any], tmp_path: Path) -> Craft:
    """Write a stored model whose configuration, HDF5 file or parts of the archive were changed; return its path."""

    def make(
        name: str = H5, config: Callable[[Config], Any] | None = None, file: Callable[[h5py.File], Any] | None = None,
        parts: dict[str, bytes] | None = None,
    ) -> Path:  # fmt: skip
        source: Path = stored_model(name).path
        data = source.read_bytes()
        if config:
            data, _ = fuzzing.change_config(data, source.suffix, config)
        if file:
            data, _ = fuzzing.edit_hdf5(data, file)
        if parts:
            data = fuzzing.zipped({**fuzzing.members(data), **parts})
        path = tmp_path / source.name
        path.write_bytes(data)
        return path

    return make


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def code(path: Path) -> tuple[Any, str]:
    """Return code that makes a file when it is run, as a marshalled lambda and as a pickle."""
    compiled = compile(f"lambda x: open({str(path)!r}, 'w')", "study", "eval")
    function = eval(compiled)
    stored = base64.b64encode(marshal.dumps(function.__code__)).decode()
    assert not path.exists()
    return [stored, None, None], stored


def of_lambda(how: str, path: Path) -> Callable[[Config], Any]:
    function, stored = code(path)
    new = {"class_name": "__lambda__", "config": {"value": stored, "code": stored, "defaults": None, "closure": None}}
    call = {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}
    changes: dict[str, Callable[[Config], Any]] = {
        "old": lambda c: layer(c, "flatten").update(
            class_name="Lambda", config={"name": "culprit", "function": function, "function_type": "lambda"}
        ),
        "new": lambda c: layer(c, "flatten").update(class_name="Lambda", config={"name": "culprit", "function": new}),
        "renamed": lambda c: layer(c, "flatten").update(
            class_name="keras>Lambda", config={"name": "culprit", "function": new}
        ),
        "activation": lambda c: layer(c, "conv3d")["config"].update(name="culprit", activation=new),
        "function": lambda c: layer(c, "conv3d")["config"].update(activation=call),
        "module": lambda c: layer(c, "flatten").update(module="os", class_name="system"),
        "registered": lambda c: layer(c, "flatten").update(registered_name="builtins>exec"),
        "model": lambda c: c.update(module="subprocess", class_name="Popen"),
        "size": lambda c: layer(c, "conv3d")["config"].update(filters=new),
        "padding": lambda c: layer(c, "conv3d")["config"].update(padding=new),
    }
    return changes[how]


@pytest.mark.parametrize("name", [H5, ARCHIVE])
@pytest.mark.parametrize(
    "how", ["old", "new", "renamed", "activation", "function", "module", "registered", "model", "size", "padding"]
)
def test_code_in_the_configuration_is_not_run(how: str, name: str, craft: Craft, tmp_path: Path) -> None:
    made = tmp_path / "made-by-the-file"
    refusal(craft(name, of_lambda(how, made)))
    assert not made.exists()


@pytest.mark.parametrize("key", ["kernel_initializer", "kernel_regularizer", "kernel_constraint"])
def test_code_where_it_does_not_matter_is_not_run_either(key: str, craft: Craft, tmp_path: Path) -> None:
    made = tmp_path / "made-by-the-file"
    new = {"class_name": "__lambda__", "config": {"value": code(made)[1]}}
    read(craft(ARCHIVE, lambda config: layer(config, "conv3d")["config"].update({key: new})))
    assert not made.exists()


class Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_an_imported_folder_runs_no_code(craft: Craft, tmp_path: Path) -> None:
    folder, made = tmp_path / "imported", tmp_path / "made-by-the-file"
    done = CliRunner().invoke(command, [str(craft()), "--output", str(folder)])
    assert done.exit_code == 0, done.output
    good = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    for change in (
        {"class": "os.system"},
        {"class": "Module"},
        {"class": "Conv3d", "params": {"in_channels": "__import__('os')"}},
    ):
        bad = json.loads(json.dumps(good))
        next(iter(bad["modules"].values())).update(change)
        (folder / "model.json").write_text(json.dumps(bad), encoding="utf-8")
        refusal(folder)
    bad = json.loads(json.dumps(good))
    bad["nodes"][-1].pop("module", None)
    bad["nodes"][-1]["function"] = "eval"
    (folder / "model.json").write_text(json.dumps(bad), encoding="utf-8")
    refusal(folder)
    (folder / "model.json").write_text(json.dumps(good), encoding="utf-8")
    (folder / "weights.pt").write_bytes(pickle.dumps(Harm(made), protocol=2))
    refusal(folder)
    torch.save({"x": Harm(made)}, folder / "weights.pt")
    refusal(folder)
    assert not made.exists()


GRAPHS: dict[str, Callable[[Config], Any]] = {
    "a circle": lambda c: layer(c, "conv3d")["inbound_nodes"][0][0].__setitem__(0, "flatten"),
    "a loop": lambda c: layer(c, "flatten")["inbound_nodes"][0][0].__setitem__(0, "flatten"),
    "an input that is not there": lambda c: layer(c, "flatten")["inbound_nodes"][0][0].__setitem__(0, "nobody"),
    "an output that is not there": lambda c: c["config"]["output_layers"][0].__setitem__(0, "nobody"),
    "an output that comes later": lambda c: layer(c, "flatten")["inbound_nodes"][0][0].__setitem__(2, 1),
    "a call that is not made": lambda c: layer(c, "flatten")["inbound_nodes"][0][0].__setitem__(1, 7),
    "a negative call": lambda c: layer(c, "flatten")["inbound_nodes"][0][0].__setitem__(1, -1),
    "two layers of a name": lambda c: c["config"]["layers"].append(layer(c, "dense")),
    "no layers": lambda c: c["config"].update(layers=[]),
    "an unknown class": lambda c: layer(c, "flatten").update(class_name="Convolution5D"),
    "no class": lambda c: layer(c, "flatten").pop("class_name"),
    "a number for the model": lambda c: c.update(config=1),
    "NaN": lambda c: layer(c, "conv3d")["config"].update(filters=float("nan")),
    "infinite": lambda c: layer(c, "conv3d")["config"].update(strides=[float("inf")] * 3),
    "a fraction of a filter": lambda c: layer(c, "conv3d")["config"].update(filters=3.5),
    "a name that is a list": lambda c: layer(c, "conv3d").update(config={}, name=["conv3d"]),
    "its input twice": lambda c: c["config"]["input_layers"].append(c["config"]["input_layers"][0]),
}


@pytest.mark.parametrize("what", GRAPHS)
def test_an_impossible_graph_is_refused(what: str, craft: Craft) -> None:
    refusal(craft(config=GRAPHS[what]))


def test_models_in_models_without_end_are_refused(craft: Craft) -> None:
    def nest(config: Config) -> None:
        inner = {key: config[key] for key in ("class_name", "config")}
        for number in range(150):
            inner = {"class_name": "Sequential", "config": {"name": f"m{number}", "layers": [inner]}}
        config.update(inner)

    refusal(craft(config=nest))


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"a":' * 10**5, '{"class_name": "Model"', "null", "[]", "{}", '"x"', "\x00"]
)
def test_a_document_without_end_or_sense_is_refused(text: str, craft: Craft) -> None:
    refusal(craft(ARCHIVE, parts={"config.json": text.encode()}))
    refusal(craft(H5, file=lambda file: file.attrs.__setitem__("model_config", text.replace("\x00", "?"))))


@pytest.mark.parametrize("version", ["1.2.2", "4.0.0", "", "x", "2", "99999.1", 7, b"\xff", [1, 2]])
def test_an_unknown_version_is_refused(version: Any, craft: Craft) -> None:
    assert "Keras" in refusal(craft(file=lambda file: file.attrs.__setitem__("keras_version", version)))
    if not isinstance(version, bytes):
        refusal(craft(ARCHIVE, parts={"metadata.json": json.dumps({"keras_version": version}).encode()}))


HUGE: dict[str, Callable[[Config], Any]] = {
    "filters": lambda c: layer(c, "conv3d")["config"].update(filters=10**12),
    "units": lambda c: layer(c, "dense")["config"].update(units=10**9),
    "kernel": lambda c: layer(c, "conv3d")["config"].update(kernel_size=[10**9] * 3),
    "beyond 64 bits": lambda c: layer(c, "conv3d")["config"].update(strides=[2**70] * 3),
    "input": lambda c: layer(c, "input")["config"].update(batch_input_shape=[None, 10**6, 10**6, 10**6, 2]),
    "dilation": lambda c: layer(c, "conv3d")["config"].update(dilation_rate=[10**9] * 3),
    "padding": lambda c: layer(c, "flatten").update(
        class_name="ZeroPadding3D", config={"name": "flatten", "padding": [[10**9] * 2] * 3}
    ),
    "upsampling": lambda c: layer(c, "flatten").update(
        class_name="UpSampling3D", config={"name": "flatten", "size": [10**6] * 3}
    ),
    "reshape": lambda c: layer(c, "flatten").update(
        class_name="Reshape", config={"name": "flatten", "target_shape": [10**9, 10**9]}
    ),
    "pooling": lambda c: layer(c, "flatten").update(
        class_name="MaxPooling3D",
        config={"name": "flatten", "pool_size": [2**31 - 1] * 3, "strides": [1] * 3, "padding": "same"},
    ),
}


def unwritten(file: h5py.File) -> None:
    """An array that says to hold 4 TB and stores nothing."""
    del file["model_weights/dense/dense/kernel:0"]
    file.create_dataset("model_weights/dense/dense/kernel:0", (10**6, 10**6), np.float32, chunks=(1000, 1000))


def packed(file: h5py.File) -> None:
    """An array of zeros that packs 128 MB into 130 kB."""
    del file["model_weights/dense/dense/kernel:0"]
    options = {"compression": "gzip", "chunks": (2**20, 32)}
    file.create_dataset("model_weights/dense/dense/kernel:0", (2**20, 32), np.float32, **options)[:] = 0


def bomb() -> bytes:
    """A configuration of 200 MB of blanks."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file, file.open("config.json", "w") as stream:
        for _ in range(200):
            stream.write(b" " * 2**20)
    return buffer.getvalue()


def damaged_heap(data: bytes) -> bytes:
    """Damage the size of a string in HDF5's heap so that the library looks for the next one without end."""
    place = data.index((6).to_bytes(8, "little") + b"2.14.0")
    return data[:place] + b"\xec" + data[place + 1 :]


def test_absurd_sizes_and_loops_take_neither_memory_nor_time(
    craft: Craft, stored_model: Callable[[str], Any], tmp_path: Path
) -> None:
    """All in one process that may take 2 GiB more than PyTorch itself and 10 s for a file."""
    made: dict[str, Path] = {}
    for what, change in {**HUGE, "unwritten": unwritten, "packed": packed}.items():
        made[what] = tmp_path / f"{what.replace(' ', '-')}.h5"
        craft(**{"config" if what in HUGE else "file": change}).rename(made[what])
    made["bomb"] = tmp_path / "bomb.keras"
    made["bomb"].write_bytes(bomb())
    made["heap"] = tmp_path / "heap.h5"
    made["heap"].write_bytes(damaged_heap(stored_model(H5).path.read_bytes()))
    script = f"""
import json, resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import fuzzing
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, resource.RLIM_INFINITY))
for what, path in json.loads(sys.stdin.read()).items():
    result = fuzzing.outcome(Path(path))
    print(json.dumps([what, result.kind, result.message[-300:]]), flush=True)
"""
    if not Path("/proc/self/statm").is_file():
        pytest.skip("memory can be limited so on Linux only")
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps({what: str(path) for what, path in made.items()}),
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line for line in found if line[1] != "refused"] == [], done.stderr[-1000:]
    assert [line[0] for line in found] == list(made), done.stderr[-1000:]


@pytest.mark.parametrize("kind", ["text", "empty", "folder", "missing", "zip", "png"])
def test_what_is_no_model_is_refused(kind: str, tmp_path: Path) -> None:
    for suffix in (".h5", ".hdf5", ".keras"):
        path = tmp_path / f"model{suffix}"
        contents = {"text": b"filters: 3\n" * 100, "empty": b"", "png": b"\x89PNG\r\n\x1a\n" + bytes(500)}
        if kind in contents:
            path.write_bytes(contents[kind])
        elif kind == "folder":
            path.mkdir()
        elif kind == "zip":
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("readme.txt", "nothing")
        refusal(path)


LINKS: dict[str, Callable[[], Any]] = {
    "a soft link": lambda: h5py.SoftLink("/model_weights/conv3d/conv3d/kernel:0"),
    "a soft link to itself": lambda: h5py.SoftLink("/model_weights/dense/dense/kernel:0"),
    "a link to nowhere": lambda: h5py.SoftLink("/nowhere"),
    "another file": lambda: h5py.ExternalLink("secret.h5", "/weights"),
    "a device": lambda: h5py.ExternalLink("/dev/zero", "/weights"),
}


@pytest.mark.parametrize("what", LINKS)
def test_links_out_of_the_file_are_not_followed(what: str, craft: Craft, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as secret:
        secret["weights"] = np.zeros((240, 2), np.float32)

    def link(file: h5py.File) -> None:
        del file["model_weights/dense/dense/kernel:0"]
        file["model_weights/dense/dense/kernel:0"] = LINKS[what]()

    refusal(craft(file=link))


def test_values_in_another_file_are_not_read(craft: Craft, stored_model: Callable[[str], Any], tmp_path: Path) -> None:
    with h5py.File(stored_model(H5).path) as file:
        shape = file["model_weights/dense/dense/kernel:0"].shape
    (tmp_path / "secret.bin").write_bytes(bytes(4 * shape[0] * shape[1]))

    def external(file: h5py.File) -> None:
        del file["model_weights/dense/dense/kernel:0"]
        group = file["model_weights/dense/dense"]
        group.create_dataset("kernel:0", shape, np.float32, external=str(tmp_path / "secret.bin"))

    def virtual(file: h5py.File) -> None:
        del file["model_weights/dense/dense/kernel:0"]
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "weights", shape)
        file["model_weights/dense/dense"].create_virtual_dataset("kernel:0", layout)

    assert "another file" in refusal(craft(file=external))
    assert "another file" in refusal(craft(file=virtual))


@pytest.mark.parametrize(
    "name", ["../../escaped.txt", "/tmp/escaped-from-keras.txt", "..\\escaped.txt", "C:\\escaped.txt"]
)
def test_names_in_an_archive_lead_nowhere(name: str, craft: Craft, tmp_path: Path) -> None:
    outside = Path("/tmp/escaped-from-keras.txt")
    before = outside.exists()
    read(craft(ARCHIVE, parts={name: b"escaped", "assets/../../x": b"escaped"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conv3d_valid.keras"]
    assert not (tmp_path.parent / "escaped.txt").exists()
    assert outside.exists() == before
    for inside in ("config.json", "model.weights.h5"):
        data = zipfile.ZipFile(craft(ARCHIVE))
        parts = {entry: data.read(entry) for entry in data.namelist()}
        parts[f"../{inside}"] = parts.pop(inside)
        path = tmp_path / "conv3d_valid.keras"
        with zipfile.ZipFile(path, "w") as file:
            for entry, content in parts.items():
                file.writestr(entry, content)
        refusal(path)


def test_an_archive_with_two_configurations_is_refused(craft: Craft) -> None:
    path = craft(ARCHIVE)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("config.json", "{}")
    refusal(path)


def test_import_keras_leaves_nothing_of_a_bad_file(
    craft: Craft, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = craft(config=GRAPHS["a circle"])
    with pytest.raises(SystemExit) as end:
        main(["import-keras", str(path)])
    assert end.value.code == 2
    assert str(path) in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
