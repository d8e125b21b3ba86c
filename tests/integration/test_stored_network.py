"""A Keras model of somebody else's, tested and explained on a cohort without training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from xai_core import InputError, Pipeline, registry

h5py = pytest.importorskip("h5py")

MODEL = Path(__file__).parent / "data" / "innvestigate" / "branched.h5"  # volumes of 7 x 9 x 8, two classes
PIPELINE = """
version: 1
name: stored
output: results
data:
  name: simulated-atrophy
  params: {{folder: cohort, subjects: 24, groups: [CN, AD]}}
  transforms: [{{name: resize, params: {{target_shape: [7, 9, 8]}}}}, {{name: z-normalization}}]
split: {{name: stratified-kfold, params: {{folds: 2, validation: 0}}}}
model: {{name: keras, params: {{path: {path}}}}}
training: {{name: as-stored, params: {{bootstrap: 100}}}}
explainers: [{{name: lrp, params: {{composite: innvestigate-sequential-preset-a, epsilon: 0.1}}}}, {{name: gradient}}]
"""


def test_everybody_is_predicted_by_the_stored_network(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(PIPELINE.format(path=MODEL), encoding="utf-8")
    results = Pipeline.from_file(tmp_path / "study.yaml", device="cpu").run()
    predictions = results.predictions()
    assert len(predictions) == 24
    network = registry.create("model", "keras", path=str(MODEL)).build((1, 7, 9, 8), 2)
    trained = Pipeline.from_file(tmp_path / "study.yaml", device="cpu").fold(1).model
    for name, value in network.state_dict().items():
        assert np.array_equal(value, trained.state_dict()[name]), name
    assert len(list((results.folder / "derivatives").rglob("*desc-lrp_relevance.nii.gz"))) == 24
    assert results.metrics()["test"]["auc"]["low"] is not None


def study(folder: Path, *changes: str) -> Pipeline:
    (folder / "study.yaml").write_text(PIPELINE.format(path="model.h5"), encoding="utf-8")
    return Pipeline.from_file(folder / "study.yaml", changes, device="cpu")


def test_another_file_under_the_same_name_is_another_network(tmp_path: Path) -> None:
    shutil.copy(MODEL, tmp_path / "model.h5")
    before = study(tmp_path, "explainers=[]").run("train").predictions()
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        weights = file["model_weights"]
        weights[next(name for name in weights if name.startswith("dense"))].visititems(
            lambda name, each: each.write_direct(each[()] * 3) if name.endswith("bias:0") else None
        )
    with pytest.raises(InputError, match=r"model\.h5 \(model\.params\.path\) is another file than when"):
        study(tmp_path, "explainers=[]").fold(0)
    after = study(tmp_path, "explainers=[]").run("train").predictions()
    assert not np.allclose(before["probability_AD"], after["probability_AD"])


def test_random_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="as-stored leaves the network as it is, but singh2023-alexnet begins with random"
    ):
        study(tmp_path, "model={name: singh2023-alexnet}", "data.transforms.0.params.target_shape=[16, 16, 16]").run()


def test_a_wrong_comparison_is_told_before_training(tmp_path: Path) -> None:
    pairwise = "training.params.pairwise={column: stage, against: CN}"
    with pytest.raises(InputError, match=r"pairwise\.column: the study's table has no column 'stage'"):
        study(tmp_path, pairwise).run()
    assert not list((tmp_path / "results").rglob("checkpoint.pt"))
