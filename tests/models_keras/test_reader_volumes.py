"""Networks that give volumes (U-Nets) predict what Keras predicted, their final activation included."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from xai_core import InputError, registry

DATA = Path(__file__).parent / "data" / "unet.tar.xz"


@pytest.fixture(scope="module")
def unets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unets")
    with tarfile.open(DATA) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("name", ["fold0", "fold1", "two", "open"])
def test_volumes_are_as_keras_predicts_them(unets: Path, name: str) -> None:
    with np.load(unets / "arrays.npz") as arrays:
        x, wanted = (torch.from_numpy(np.moveaxis(arrays[f"{name}_{key}"], -1, 1)) for key in ("input", "output"))
    network = registry.create("model", "keras", path=str(unets / f"{name}.h5")).build(tuple(x.shape[1:]), None)
    with torch.no_grad():
        found = network(x.contiguous())
    assert found.shape == wanted.shape
    assert float(wanted.std()) > 0.05
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    if name == "open":
        torch.testing.assert_close(found.sum(1), torch.ones_like(found[:, 0]))


def test_a_study_still_refuses_them(unets: Path) -> None:
    model = registry.create("model", "keras", path=str(unets / "fold0.h5"))
    for outputs in (1, 2):
        with pytest.raises(InputError, match="a study needs one input and one output"):
            model.build((1, 12, 14, 10), outputs)
