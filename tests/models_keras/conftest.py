"""Stored Keras models and what Keras made of them (see ``data/``), unpacked once for a session."""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"
ARCHIVES = ("keras2", "keras3")
# PyTorch's backend of Keras 3.15 counts the padding where that is asymmetric; TensorFlow and JAX do not. The same
# recipe with the same weights stands in both archives: Keras 2 says what is right.
WRONG_IN_KERAS3 = ("averagepool_2d", "averagepool_same_k3_s2", "averagepool_same_k3_s3", "averagepool_same_mixed")


@dataclass(frozen=True)
class Stored:
    """One stored model."""

    archive: str
    name: str
    suffix: str
    path: Path
    record: Path

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.record) as file:
            return dict(file)

    def inputs(self) -> list[Tensor]:
        """Return the recorded inputs, channels first."""
        arrays = self.arrays
        return [channels_first(arrays[key]) for key in sorted(arrays) if key.startswith("input")]

    def logits(self) -> list[Tensor]:
        """Return what Keras predicted, before a final softmax or sigmoid, channels first."""
        arrays = self.arrays
        return [channels_first(arrays[key]) for key in sorted(arrays) if key.startswith("logit")]


def channels_first(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(array, -1, 1).astype(np.float32)).contiguous()


def names() -> list[str]:
    """Return 'keras2/conv3d_valid.h5' and so on, without unpacking."""
    found = []
    for archive in ARCHIVES:
        with tarfile.open(DATA / f"{archive}.tar.xz") as file:
            found += [f"{archive}/{name}" for name in file.getnames() if not name.endswith(".npz")]
    return found


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with keras2/ and keras3/, unpacked."""
    folder = tmp_path_factory.mktemp("keras")
    for archive in ARCHIVES:
        with tarfile.open(fileobj=io.BytesIO((DATA / f"{archive}.tar.xz").read_bytes())) as file:
            file.extractall(folder / archive, filter="data")
    return folder


@pytest.fixture(scope="session")
def stored_model(fixtures: Path) -> Callable[[str], Stored]:
    """Return the stored model of a name such as 'keras2/conv3d_valid.h5'."""

    def find(name: str) -> Stored:
        archive, _, file = name.partition("/")
        stem, _, suffix = file.rpartition(".")
        truth = "keras2" if stem in WRONG_IN_KERAS3 else archive
        return Stored(archive, stem, suffix, fixtures / name, fixtures / truth / f"{stem}.npz")

    return find


@pytest.fixture
def stored(request: pytest.FixtureRequest, stored_model: Callable[[str], Stored]) -> Stored:
    """One stored model after another: a test that asks for it runs once for each file (see below)."""
    return stored_model(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give ``stored`` every file, or those whose name the function in the mark ``stored_if`` chooses."""
    if "stored" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("stored_if")
        chosen = [name for name in names() if marker is None or marker.args[0](name)]
        metafunc.parametrize("stored", chosen, indirect=True)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stored_if(function): the stored models to run a test on, by name")


@pytest.fixture(scope="session")
def fuzzing() -> ModuleType:
    """The module ``fuzzing.py`` beside this file, which is a script too."""
    spec = importlib.util.spec_from_file_location("fuzzing", Path(__file__).with_name("fuzzing.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzzing"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
