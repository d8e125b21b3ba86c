"""What is made of predictions: columns learnt from validation people, scores over the folds, tables of the trainer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from scipy import stats

from xai_core import Fold, InputError, Pipeline, PluginError, registry
from xai_core.engine.progress import log
from xai_core.engine.results import RunResults
from xai_core.engine.scoring import across_folds
from xai_core.testing._toys import TOY_PIPELINE, ToySplitter, ToyTrainer, register_toys, write_toy_study

NUMBER = {"type": "integer", "minimum": 0, "default": 0, "description": "Number."}


class Calibrating(ToyTrainer):
    """Adds the validation part's mean probability."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        **ToyTrainer.config_schema,
        "properties": {**ToyTrainer.config_schema["properties"], "needed": NUMBER, "shift": NUMBER},
    }
    scoring_params: ClassVar[frozenset[str]] = frozenset({"needed", "shift"})
    trained: ClassVar[list[int]] = []
    how: ClassVar[Any] = None

    def __init__(self, *, epochs: int = 2, needed: int = 0, shift: int = 0) -> None:
        super().__init__(epochs=epochs)
        self.needed, self.shift = needed, shift

    def train(self, *args: Any) -> Any:
        Calibrating.trained.append(1)
        return super().train(*args)

    def validation_needed(self, task: Any) -> int:
        return self.needed

    def calibrate(self, validation: Any, predictions: Any, task: Any, classes: Any) -> Any:
        if Calibrating.how is not None:
            return Calibrating.how(predictions)
        mean = validation["probability_b"].mean() + self.shift if len(validation) else math.nan
        return predictions.assign(mean_of_validation=mean)

    def tables(self, predictions: Any, task: Any, classes: Any, seed: int) -> Any:
        return {"who": predictions[["subject_id"]]}


class Sizes(ToySplitter):
    """Two folds with two validation people each; ``none``: without any."""

    none: ClassVar[tuple[int, ...]] = ()
    repeats: ClassVar[int] = 1
    held: ClassVar[int] = 0

    def split(self, table: Any, seed: int) -> Sequence[Fold]:
        everybody = sorted(dict.fromkeys(table["subject_id"]), key=lambda person: int(person[1:]))
        held, people = tuple(everybody[: self.held]), everybody[self.held :]
        half = len(people) // 2
        found = []
        for repeat in range(self.repeats):
            order = people[repeat:] + people[:repeat]
            for fold, test in enumerate((order[:half], order[half:])):
                rest = [p for p in people if p not in test]
                val = () if fold in self.none else tuple(rest[:2])
                found.append(Fold(tuple(p for p in rest if p not in val), val, tuple(test), held, repeat))
        return found


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    register_toys()
    registry.register("trainer", "toy", Calibrating)
    registry.register("splitter", "toy", Sizes)
    for name, value in (("none", ()), ("repeats", 1), ("held", 0)):
        monkeypatch.setattr(Sizes, name, value)
    monkeypatch.setattr(Calibrating, "trained", [])
    monkeypatch.setattr(Calibrating, "how", None)
    write_toy_study(tmp_path / "study", people=10)
    text = TOY_PIPELINE.replace("explainers:\n  - {name: toy}", "explainers: []")
    (tmp_path / "toy.yaml").write_text(text.replace("evaluators: [{name: toy}]\nanalyses: [{name: toy}]\n", ""))
    before = log.propagate, log.level, list(log.handlers)
    yield tmp_path
    log.propagate, log.level, log.handlers[:] = before
    register_toys()


def run(study: Path, *sets: str) -> RunResults:
    return Pipeline.from_file(study / "toy.yaml", list(sets)).run()


def table(results: RunResults, name: str) -> pd.DataFrame:
    return pd.read_csv(results.folder / name, sep="\t", dtype={"subject_id": str})


def test_validation_people_are_predicted_and_teach_their_fold(study: Path) -> None:
    results = run(study)
    validation = table(results, "validation-predictions.tsv")
    parts = table(results, "splits.tsv").query("part == 'val'")
    assert set(zip(validation["fold"], validation["subject_id"], strict=True)) == set(
        zip(parts["fold"], parts["subject_id"], strict=True)
    )
    pipeline = Pipeline.from_folder(results.folder)
    for row in validation.to_dict("records"):
        expected = pipeline.predict(
            study / "study" / f"{row['subject_id']}.nii.gz", row["fold"], allow_training_people=True
        )
        assert row["probability_b"] == pytest.approx(expected["probability_b"], abs=1e-7)
    means = validation.groupby("fold")["probability_b"].mean()
    predictions = table(results, "predictions.tsv")
    assert predictions["mean_of_validation"].to_numpy() == pytest.approx(means.loc[predictions["fold"]].to_numpy())
    assert (predictions["subject_id"].isin(table(results, "who.tsv")["subject_id"])).all()


def test_a_change_of_the_calibration_trains_nothing(study: Path) -> None:
    first = table(run(study), "predictions.tsv")
    count = len(Calibrating.trained)
    second = table(run(study, "training.params.shift=5"), "predictions.tsv")
    assert len(Calibrating.trained) == count
    assert (second["mean_of_validation"] - first["mean_of_validation"]).to_numpy() == pytest.approx(5)


def test_a_run_goes_on_after_the_validation_predictions_are_lost(study: Path) -> None:
    folder = run(study).folder
    before = (folder / "validation-predictions.tsv").read_bytes()
    (folder / "validation-predictions.tsv").unlink()
    (folder / ".xai" / "validation" / "fold-1.json").unlink()
    run(study)
    assert (folder / "validation-predictions.tsv").read_bytes() == before


def test_without_a_validation_part(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(study).folder
    monkeypatch.setattr(Sizes, "none", (0, 1))
    results = run(study)
    assert not (folder / "validation-predictions.tsv").exists()
    assert not (folder / ".xai" / "validation").exists()
    assert results.predictions()["mean_of_validation"].isna().all()


def test_too_few_validation_people_are_told_before_training(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sizes, "none", (1,))
    with pytest.raises(InputError, match=r"needs 2 of their scans in each fold, but there are fewer \(fold 1: 0\)"):
        run(study, "training.params.needed=2")
    assert Calibrating.trained == []


@pytest.mark.parametrize("how", [
    lambda p: p.iloc[::-1], lambda p: p.assign(prediction="other"), lambda p: p.drop(columns="fold"), lambda _: None,
], ids=["order", "changed", "lost", "nothing"])  # fmt: skip
def test_a_trainer_that_changes_predictions_is_told(study: Path, monkeypatch: pytest.MonkeyPatch, how: Any) -> None:
    monkeypatch.setattr(Calibrating, "how", how)
    with pytest.raises(PluginError, match="changed predictions in calibrate"):
        run(study)


def test_the_held_out_cohort_has_the_columns_of_each_fold(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sizes, "held", 2)
    results = run(study)
    means = table(results, "validation-predictions.tsv").groupby("fold")["probability_b"].mean()
    held = results.held_out_predictions()
    assert held["mean_of_validation"].to_numpy() == pytest.approx(means.loc[held["fold"]].to_numpy())
    ensemble = table(results, "held-out/ensemble.tsv")
    assert ensemble["mean_of_validation"].to_numpy() == pytest.approx([means.mean()] * 2)
    assert ensemble["target"].tolist() == ["a", "b"]
    assert table(results, "held-out/who.tsv")["subject_id"].tolist() == ensemble["subject_id"].tolist()


def test_what_one_fold_lacks_the_ensemble_lacks(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sizes, "held", 2)
    monkeypatch.setattr(Sizes, "none", (1,))
    results = run(study)
    assert results.held_out_predictions()["mean_of_validation"].notna().sum() == 2
    assert table(results, "held-out/ensemble.tsv")["mean_of_validation"].isna().all()


def test_repeats_have_tables_of_their_own(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sizes, "repeats", 2)
    results = run(study)
    who = table(results, "who.tsv")
    assert list(who.columns) == ["repeat", "subject_id"]
    assert who.groupby("repeat")["subject_id"].nunique().tolist() == [10, 10]
    assert results.metrics()["across_folds"]["accuracy"]["n"] == 4
    assert "repeat" in table(results, "validation-predictions.tsv")


def test_scores_over_the_folds(study: Path) -> None:
    results = run(study)
    metrics = results.metrics()
    assert list(metrics) == ["test", "folds", "across_folds"]
    found = metrics["across_folds"]["accuracy"]
    values = [fold["accuracy"]["value"] for fold in metrics["folds"]]
    assert found["mean"] == pytest.approx(sum(values) / 2)
    # Five people tested, three trained on: n_test / n_train = 5 / 3.
    half = stats.t.ppf(0.975, 1) * found["sd"] * math.sqrt(1 / 2 + 5 / 3)
    assert found["high"] - found["mean"] == pytest.approx(half)
    rows = table(results, "metrics.tsv").set_index("fold")
    assert rows.loc["mean", "value"] == pytest.approx(found["mean"])
    assert rows.loc["sd", "value"] == pytest.approx(found["sd"])


def test_a_score_that_one_fold_does_not_define_has_no_interval() -> None:
    folds = [{"auc": {"value": 0.7}, "n": 3}, {"auc": {"value": None}, "n": 3}, {"auc": {"value": 0.9}, "n": 3}]
    found = across_folds(folds, 0.5)
    assert list(found) == ["auc"]
    assert found["auc"] == {
        "mean": pytest.approx(0.8),
        "sd": pytest.approx(0.1 * 2**0.5),
        "n": 2,
        "low": None,
        "high": None,
    }


@pytest.mark.parametrize("name", ["metrics", "a/b", ""])
def test_tables_that_would_take_the_place_of_other_files(
    study: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Calibrating, "tables", lambda *_: {name: pd.DataFrame({"x": [1]})})
    with pytest.raises(PluginError, match="from tables"):
        run(study)


def test_no_tables_leave_no_file(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(study).folder
    monkeypatch.setattr(Calibrating, "tables", lambda *_: {})
    run(study, "training.params.shift=1")
    assert not (folder / "who.tsv").exists()
    assert json.loads((folder / "metrics.json").read_text())["test"]
