"""A held-out cohort: every fold's network predicts it, and nobody of it takes part in anything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import torchio as tio

from xai_core import Fold, InputError, Pipeline, registry
from xai_core.engine.progress import log
from xai_core.engine.results import RunResults
from xai_core.testing._toys import (
    TOY_PIPELINE,
    ToyDataset,
    ToySplitter,
    ToyTrainer,
    register_toys,
    write_toy_study,
)
from xai_core.types import Task

HELD = ("a0", "b1")


class Splits(ToySplitter):
    """Two folds of the others; the first pair is held out."""

    held: ClassVar[tuple[str, ...]] = HELD
    second: ClassVar[tuple[str, ...] | None] = None

    def split(self, table: Any, seed: int) -> Sequence[Fold]:
        # By number, so that both classes are in both halves.
        everybody = sorted(dict.fromkeys(table["subject_id"]), key=lambda person: int(person[1:]))
        people = [person for person in everybody if person not in self.held]
        half = len(people) // 2
        other = self.held if self.second is None else self.second
        return [
            Fold(tuple(people[half:]), (), tuple(people[:half]), self.held),
            Fold(tuple(people[:half]), (), tuple(people[half:]), other),
        ]


class Described(ToyDataset):
    """With a covariate."""

    def subjects(self) -> Sequence[tio.Subject]:
        found = super().subjects()
        for number, subject in enumerate(found):
            subject["age"] = 60 + number
        return found


class Scored(ToyTrainer):
    """Notes what it is asked to score; ``margin`` changes scores only."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        **ToyTrainer.config_schema,
        "properties": {
            **ToyTrainer.config_schema["properties"],
            "margin": {"type": "number", "default": 0.0, "description": "Added to the age."},
        },
    }
    scoring_params: ClassVar[frozenset[str]] = frozenset({"margin"})
    trained: ClassVar[list[int]] = []

    def __init__(self, *, epochs: int = 2, margin: float = 0.0) -> None:
        super().__init__(epochs=epochs)
        self.margin = margin

    def train(self, *args: Any) -> Any:
        Scored.trained.append(1)
        return super().train(*args)

    def metrics(
        self, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int
    ) -> dict[str, Any]:
        plain = super().metrics(predictions, task, classes, seed)
        return {**plain, "age": {"value": float(predictions["age"].mean()) + self.margin}, "n": len(predictions)}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    register_toys()
    registry.register("splitter", "toy", Splits)
    registry.register("dataset", "toy", Described)
    registry.register("trainer", "toy", Scored)
    monkeypatch.setattr(Splits, "held", HELD)
    monkeypatch.setattr(Splits, "second", None)
    monkeypatch.setattr(Scored, "trained", [])
    write_toy_study(tmp_path / "study", people=10)
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    before = log.propagate, log.level, list(log.handlers)
    yield tmp_path
    log.propagate, log.level, log.handlers[:] = before
    register_toys()


def run(study: Path, *sets: str, until: Any = "report") -> RunResults:
    return Pipeline.from_file(study / "toy.yaml", list(sets)).run(until)


def test_every_fold_predicts_the_held_out_people(study: Path) -> None:
    results = run(study)
    table = results.held_out_predictions()
    assert list(zip(table["fold"], table["subject_id"], strict=True)) == [(f, p) for f in (0, 1) for p in HELD]
    assert list(table.columns) == list(results.predictions().columns)
    pipeline = Pipeline.from_folder(results.folder)
    for row in table.to_dict("records"):
        expected = pipeline.predict(study / "study" / f"{row['subject_id']}.nii.gz", row["fold"])
        assert row["prediction"] == expected["prediction"]
        for name in ("a", "b"):
            assert row[f"probability_{name}"] == pytest.approx(expected[f"probability_{name}"], abs=1e-7)


def test_the_ensemble_is_the_mean_of_the_folds(study: Path) -> None:
    results = run(study)
    table = results.held_out_predictions().set_index(["fold", "subject_id"])
    ensemble = pd.read_csv(results.folder / "held-out" / "ensemble.tsv", sep="\t").set_index("subject_id")
    assert list(ensemble.index) == list(HELD)
    for person in HELD:
        mean = [(table.loc[(0, person), c] + table.loc[(1, person), c]) / 2 for c in ("probability_a", "probability_b")]
        assert list(ensemble.loc[person, ["probability_a", "probability_b"]]) == pytest.approx(mean)
        assert ensemble.loc[person, "prediction"] == "ab"[int(mean[1] > mean[0])]
    metrics = results.held_out_metrics()
    hits = float((ensemble["prediction"] == ensemble["target"]).mean())
    assert metrics["ensemble"]["accuracy"]["value"] == hits
    for fold in (0, 1):
        rows = table.loc[fold]
        assert metrics["folds"][fold]["accuracy"]["value"] == float((rows["prediction"] == rows["target"]).mean())
        assert metrics["folds"][fold]["n"] == 2
    scores = pd.read_csv(results.folder / "held-out" / "metrics.tsv", sep="\t", dtype={"fold": str})
    assert list(scores["fold"].unique()) == ["ensemble", "0", "1", "mean", "sd"]
    assert metrics["across_folds"]["accuracy"]["low"] is None  # both folds test the same people


def test_held_out_people_are_in_no_other_result(study: Path) -> None:
    results = run(study)
    assert not set(HELD) & set(results.predictions()["subject_id"])
    assert results.metrics()["test"]["n"] == 8
    assert not set(HELD) & {record.subject_id for record in results.maps()}
    parts = results.splits().groupby("part")["subject_id"].agg(set)
    assert parts["held_out"] == set(HELD)
    assert not set(HELD) & (parts["train"] | parts["test"])


def test_covariates_reach_the_metrics_and_a_changed_one_is_scored_anew(study: Path) -> None:
    """Ages are 60 + the position in the folder: a0, a2, a4, a6, a8, b1, ...; the held-out ones have 60 and 65."""
    results = run(study, until="train")
    assert results.held_out_metrics()["ensemble"]["age"]["value"] == pytest.approx(62.5)
    tested = [60 + n for n in (1, 6, 2, 7, 3, 8, 4, 9)]  # a2, b3, a4, b5; a6, b7, a8, b9
    assert results.metrics()["test"]["age"]["value"] == pytest.approx(sum(tested) / 8)
    folds = [fold["age"]["value"] for fold in results.metrics()["folds"]]
    assert folds == pytest.approx([sum(tested[:4]) / 4, sum(tested[4:]) / 4])
    assert list(results.predictions().columns).count("age") == 0


def test_a_parameter_of_the_scores_does_not_train_anew(study: Path) -> None:
    run(study, until="train")
    assert len(Scored.trained) == 2
    again = run(study, "training.params.margin=100", until="train")
    assert len(Scored.trained) == 2
    assert again.held_out_metrics()["ensemble"]["age"]["value"] == pytest.approx(162.5)
    assert again.metrics()["folds"][0]["age"]["value"] == pytest.approx(164)
    with pytest.raises(InputError, match=r"another configuration:\n  training\.params\.epochs: 2 there, 3 here\n"):
        run(study, "training.params.epochs=3", "training.params.margin=1", until="train")


def test_a_second_run_does_nothing_and_a_cohort_that_is_gone_leaves_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(study)
    file = results.folder / "held-out" / "predictions.tsv"
    before = file.stat().st_mtime_ns
    run(study)
    assert file.stat().st_mtime_ns == before
    monkeypatch.setattr(Splits, "held", ())
    run(study)
    assert not (results.folder / "held-out").exists()
    assert not list((results.folder / ".xai").glob("held-out/*"))
    with pytest.raises(InputError, match=r"held-out/predictions\.tsv"):
        results.held_out_predictions()


def test_a_regression_takes_the_mean_value(study: Path) -> None:
    class Ages(Described):
        def subjects(self) -> Sequence[tio.Subject]:
            found = super().subjects()
            for subject in found:
                subject["target"] = float(subject["age"])
            return found

    registry.register("dataset", "toy", Ages)
    results = run(study, until="train")
    folds = results.held_out_predictions().pivot_table(index="subject_id", columns="fold", values="prediction")
    ensemble = pd.read_csv(results.folder / "held-out" / "ensemble.tsv", sep="\t").set_index("subject_id")
    assert ensemble["prediction"].to_dict() == pytest.approx(folds.mean(axis=1).to_dict())
    error = float((ensemble["prediction"] - ensemble["target"]).abs().mean())
    assert results.held_out_metrics()["ensemble"]["mae"]["value"] == pytest.approx(error)


@pytest.mark.parametrize(
    ("held", "second", "message"),
    [
        (("a0", "zz"), None, r"holds out people whom the study does not have: zz\."),
        (("a0",), ("b1",), r"held-out-shared: 1 person is in the training and in the held-out part \(fold 1\).*: b1 "),
        (("a0",), (), r"holds out other people in fold 1 than in fold 0\."),
    ],
)
def test_wrong_splitters(study: Path, monkeypatch: pytest.MonkeyPatch, held: Any, second: Any, message: str) -> None:
    monkeypatch.setattr(Splits, "held", held)
    monkeypatch.setattr(Splits, "second", second)
    with pytest.raises(InputError, match=message):
        run(study, until="train")


def test_a_held_out_person_who_trains(study: Path) -> None:
    class Leaks(Splits):
        def split(self, table: Any, seed: int) -> Sequence[Fold]:
            first, second = super().split(table, seed)
            return [first, Fold((*second.train, "a0"), (), second.test, second.held_out)]

    registry.register("splitter", "toy", Leaks)
    with pytest.raises(InputError, match=r"held-out-shared: .* in the held-out part \(fold 1\).*: a0 "):
        run(study, until="train")
    assert not (study / "results" / "toy").exists()
