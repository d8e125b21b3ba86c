"""A Keras model of somebody else's, tested and explained on a cohort without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xai_core import Pipeline, registry

pytest.importorskip("h5py")

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
