"""A repeated cross-validation: maps of several networks, scores of each repeat, and their mean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from xai_core import Fold, Pipeline, registry
from xai_core.engine.explaining import map_path
from xai_core.engine.repeats import averaged, is_repeated, numbered, repeats_of
from xai_core.testing._toys import TOY_PIPELINE, ToySplitter, register_toys, write_toy_study


class Twice(ToySplitter):
    """The folds, and once more the other way round."""

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        folds = super().split(table, seed)
        return [*folds, *(replace(fold, repeat=1, train=fold.val, val=fold.train) for fold in folds)]


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    register_toys()
    write_toy_study(tmp_path / "study")
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    yield tmp_path
    register_toys()


def test_a_run(study: Path) -> None:
    registry.register("splitter", "toy", Twice)
    results = Pipeline.from_file(study / "toy.yaml").run()
    splits, predictions = results.splits(), results.predictions()
    assert splits.groupby("fold")["repeat"].unique().explode().tolist() == [0, 0, 1, 1]
    assert predictions.groupby(["repeat", "scan_id"]).size().tolist() == [1] * 16
    assert (predictions["repeat"] == predictions["fold"] // 2).all()

    hits = predictions["target"] == predictions["prediction"]
    each = [float(hits[predictions["repeat"] == repeat].mean()) for repeat in (0, 1)]
    metrics = results.metrics()
    assert [scores["accuracy"]["value"] for scores in metrics["repeats"]] == pytest.approx(each)
    assert metrics["test"]["accuracy"]["value"] == pytest.approx(sum(each) / 2)
    assert len(metrics["folds"]) == 4

    maps = results.maps("toy")
    assert sorted((record.scan_id, record.fold) for record in maps) == sorted(
        (f"sub-{person}", fold)
        for fold in range(4)
        for person in splits[(splits["fold"] == fold) & (splits["part"] == "test")]["subject_id"]
    )
    assert len({record.path for record in maps}) == len(maps) == 16
    for record in maps:
        assert record.path.name == f"{record.scan_id}_desc-toyFold{record.fold}_relevance.nii.gz"
        sidecar = json.loads(record.path.with_suffix("").with_suffix(".json").read_text(encoding="utf-8"))
        assert sidecar["fold"] == record.fold
    outputs = {record.fold: record.sidecar["output"] for record in maps if record.scan_id == "sub-a0"}
    assert len(set(outputs.values())) == 2

    scored = results.evaluation("toy")
    assert scored.groupby(["repeat", "scan_id"]).size().tolist() == [1] * 16
    assert (scored["repeat"] == scored["fold"] // 2).all()


def test_a_study_that_is_repeated_no_more_leaves_nothing_behind(study: Path) -> None:
    registry.register("splitter", "toy", Twice)
    Pipeline.from_file(study / "toy.yaml").run()
    registry.register("splitter", "toy", ToySplitter)
    results = Pipeline.from_file(study / "toy.yaml").run()
    names = {path.name for path in results.folder.glob("derivatives/sub-*/anat/*")}
    assert names == {f"sub-{'ab'[n % 2]}{n}_desc-toy_relevance{end}" for n in range(8) for end in (".json", ".nii.gz")}
    assert {record.fold for record in results.maps()} == {0, 1}
    assert "repeat" not in results.predictions()
    assert "repeats" not in results.metrics()
    assert "repeat" not in results.evaluation("toy")
    assert set(results.splits()["repeat"]) == {0}


def test_names_of_maps_differ_for_every_pair_of_explainer_and_fold() -> None:
    paths = [map_path("sub-1", explainer, fold) for explainer in ("a", "aFold1", "a1") for fold in (None, 0, 1, 10, 11)]
    with_fold = [path for path in paths if "Fold" in path.name.removeprefix("sub-1_desc-aFold1_")]
    assert len(set(with_fold)) == len(with_fold)
    assert (
        map_path("sub-1_ses-2", "grad-cam", 3).as_posix()
        == "sub-1/ses-2/anat/sub-1_ses-2_desc-gradcamFold3_relevance.nii.gz"
    )


class TestMean:
    def test_by_hand(self) -> None:
        shared = {"n": 4, "positive_class": "AD", "flag": True}
        none = {"value": None, "low": None, "high": None}
        first = shared | {"auc": {"value": 0.8, "low": 0.6, "high": 1.0}, "undefined": none}
        second = shared | {
            "auc": {"value": 0.6, "low": 0.3, "high": 0.9},
            "undefined": {**none, "value": 0.5, "high": 1},
        }
        first |= {"confusion_matrix": [[2, 0], [1, 1]], "curve": [0.0, 0.5, 1.0]}
        second |= {"confusion_matrix": [[1, 1], [1, 1]], "curve": [0.0, 1.0]}
        found = averaged([first, second])
        auc = {"value": pytest.approx(0.7), "low": pytest.approx(0.45), "high": pytest.approx(0.95)}
        assert found == shared | {"auc": auc, "undefined": none, "confusion_matrix": [[1.5, 0.5], [1, 1]]}

    def test_one_repeat_stays_as_it_is(self) -> None:
        scores = {"auc": {"value": 0.8}, "curve": [1, 2]}
        assert averaged([scores]) == scores

    def test_tables(self) -> None:
        folds = [Fold(("a",), (), ("b",)), Fold(("b",), (), ("a",)), Fold(("a",), (), ("b",), repeat=1)]
        table = pd.DataFrame({"fold": [0, 1, 2], "subject_id": ["b", "a", "b"], "target": ["x", "y", "x"]})
        assert not is_repeated(folds[:2])
        assert numbered(folds[:2], table[:2]) is not None
        assert list(numbered(folds[:2], table[:2]).columns) == ["fold", "subject_id", "target"]
        found = numbered(folds, table)
        assert list(found.columns) == ["fold", "repeat", "subject_id", "target"]
        assert found["repeat"].tolist() == [0, 0, 1]
        assert [list(rows["fold"]) for rows in repeats_of(found)] == [[0, 1], [2]]
        assert [len(rows) for rows in repeats_of(table)] == [3]
