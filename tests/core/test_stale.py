"""A corrected cell of the study's table leaves no result standing that was made with the wrong one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torchio as tio

from xai_core import Fold, Pipeline, registry
from xai_core.engine.progress import log
from xai_core.engine.results import RunResults
from xai_core.testing._toys import TOY_PIPELINE, ToyDataset, ToySplitter, ToyTrainer, register_toys, write_toy_study

HELD = ("a0", "b1")


class Parts(ToySplitter):
    """One fold with a person of each class in every part."""

    def split(self, table: Any, seed: int) -> Sequence[Fold]:
        return [Fold(("a6", "b7", "a8", "b9"), ("a4", "b5"), ("a2", "b3"), HELD)]


class Described(ToyDataset):
    """With a site and two covariates, which the tests correct."""

    corrected: ClassVar[dict[str, dict[str, Any]]] = {}

    def subjects(self) -> Sequence[tio.Subject]:
        found = super().subjects()
        for subject in found:
            subject.update({"site": "x", "weight": 1.0, "height": 170, **self.corrected.get(subject["subject_id"], {})})
        return found


class Weighted(ToyTrainer):
    """Reads the column ``weight`` of the training data."""

    seen: ClassVar[list[list[Mapping[str, Any]]]] = []

    def covariates(self) -> Sequence[str]:
        return ["weight"]

    def train(self, model: Any, train: Any, validation: Any, context: Any) -> Any:
        Weighted.seen.append(train.covariates)
        return super().train(model, train, validation, context)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    register_toys()
    registry.register("splitter", "toy", Parts)
    registry.register("dataset", "toy", Described)
    registry.register("trainer", "toy", Weighted)
    monkeypatch.setattr(Described, "corrected", {})
    monkeypatch.setattr(Weighted, "seen", [])
    write_toy_study(tmp_path / "study", people=10)
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    before = log.propagate, log.level, list(log.handlers)
    yield tmp_path
    log.propagate, log.level, log.handlers[:] = before
    register_toys()


def run(study: Path) -> RunResults:
    return Pipeline.from_file(study / "toy.yaml").run("train")


@pytest.mark.parametrize("person", ["a2", "a4", "a0"])
def test_a_corrected_site_reaches_the_predictions_and_trains_nothing(
    study: Path, monkeypatch: pytest.MonkeyPatch, person: str
) -> None:
    """Scores by site would be of the wrong sites; the three are a test, a validation and a held-out person."""
    run(study)
    monkeypatch.setattr(Described, "corrected", {person: {"site": "y"}})
    folder = run(study).folder
    named = ("predictions.tsv", "validation-predictions.tsv", "held-out/predictions.tsv")
    rows = [line.split("\t") for name in named for line in (folder / name).read_text().splitlines()[1:]]
    assert {row[2]: row[4] for row in rows} == {p: "y" if p == person else "x" for p in ("a2", "b3", "a4", "b5", *HELD)}
    assert len(Weighted.seen) == 1


def test_a_corrected_cell_that_the_trainer_reads_trains_anew(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study)
    monkeypatch.setattr(Described, "corrected", {"b7": {"weight": 3.0}})
    run(study)
    assert [[row["weight"] for row in rows] for rows in Weighted.seen] == [[1.0] * 4, [1.0, 1.0, 3.0, 1.0]]


def test_other_cells_train_nothing_anew_and_the_trainer_cannot_read_them(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study)
    monkeypatch.setattr(Described, "corrected", {"b7": {"height": 180}, "a2": {"weight": 3.0}})  # a2 is tested
    run(study)
    assert [set(row) for rows in Weighted.seen for row in rows] == [{"weight"}] * 4
