"""When an analysis is asked, and when it is carried out again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xai_core import InputError, Pipeline, registry
from xai_core.testing._toys import (
    TOY_PIPELINE,
    ToyAnalysis,
    ToyExplainer,
    ToyReport,
    ToyTrainer,
    register_toys,
    write_toy_study,
)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    register_toys()
    write_toy_study(tmp_path / "study")
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    return tmp_path / "toy.yaml"


def test_an_analysis_refuses_before_anything_is_trained(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(ToyAnalysis):
        def check_study(self, table: Any, task: str, classes: Sequence[str] | None) -> None:
            raise InputError(f"no age among {sorted(table.columns)[:1]}, {task}, {list(classes or ())}")

    registry.register("analysis", "toy", Refusing)
    monkeypatch.setattr(ToyTrainer, "train", None)
    with pytest.raises(InputError, match=r"no age among .*classification, \['a', 'b'\]"):
        Pipeline.from_file(study).run()


def test_a_file_that_an_analysis_reads_makes_it_anew_when_it_changes(study: Path) -> None:
    features = study.parent / "features.tsv"
    done, told = [], []

    class Reading(ToyAnalysis):
        def inputs(self, run: Any) -> Sequence[Path]:
            return [features]

        def analyse(self, run: Any, output: Path) -> None:
            done.append(features.read_text(encoding="utf-8") if features.exists() else None)
            super().analyse(run, output)

    class Telling(ToyReport):
        def write(self, run: Any, output: Path) -> Path:
            told.append(len(done))
            return super().write(run, output)

    registry.register("analysis", "toy", Reading)
    registry.register("report", "toy", Telling)
    for content in (None, "1", "1", "2"):
        if content is not None:
            features.write_text(content, encoding="utf-8")
        Pipeline.from_file(study).run()
    assert done == [None, "1", "2"]
    assert told == [1, 2, 3], "a report shows what the analyses found"


class _Failing(ToyAnalysis):
    """Fails unless told otherwise."""

    config_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"factor": {"type": "integer", "default": 0, "description": "0: fails."}},
    }

    def __init__(self, *, factor: int = 0) -> None:
        self.factor = factor

    def analyse(self, run: Any, output: Path) -> None:
        if not self.factor:
            raise InputError("factor is 0")
        (output / f"x{self.factor}.tsv").write_text("x\n", encoding="utf-8")


def _trainings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    trained: list[int] = []
    train = ToyTrainer.train

    def counted(self: ToyTrainer, *args: Any) -> Any:
        trained.append(1)
        return train(self, *args)

    monkeypatch.setattr(ToyTrainer, "train", counted)
    return trained


def test_an_analysis_that_failed_can_be_changed_or_left_out(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.register("analysis", "failing", _Failing)
    trained = _trainings(monkeypatch)
    failing = ["analyses=[{name: toy}, {name: failing}]"]
    with pytest.raises(InputError, match="factor is 0"):
        Pipeline.from_file(study, sets=failing).run()
    results = Pipeline.from_file(study).run()
    assert not (results.folder / "analysis" / "failing").exists()
    Pipeline.from_file(study, sets=[*failing, "analyses[failing].params.factor=2"]).run()
    assert [path.name for path in (results.folder / "analysis" / "failing").iterdir()] == ["x2.tsv"]
    assert len(trained) == 2, "two folds, once"


def test_a_changed_analysis_is_made_anew_and_a_finished_one_is_not_forgotten(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register("analysis", "failing", _Failing)
    trained = _trainings(monkeypatch)
    other = "analyses=[{name: failing, params: {factor: %d}}]"
    results = Pipeline.from_file(study, sets=[other % 1]).run()
    made = results.folder / "analysis" / "failing"
    Pipeline.from_file(study, sets=[other % 3]).run()
    assert [path.name for path in made.iterdir()] == ["x3.tsv"], "nothing of the former parameters is left"
    saved = (results.folder / "pipeline.resolved.yaml").read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"analyses\.failing: there with results, but not here; keep it, or remove"):
        Pipeline.from_file(study, sets=["analyses=[]"]).run()
    assert (results.folder / "pipeline.resolved.yaml").read_text(encoding="utf-8") == saved
    shutil.rmtree(made)
    Pipeline.from_file(study, sets=["analyses=[]"]).run()
    assert not made.exists()
    assert len(trained) == 2


def test_an_explainer_without_maps_can_change_and_one_with_maps_cannot(study: Path) -> None:
    class Fragile(ToyExplainer):
        def explain(self, model: Any, volumes: Any, target: Any) -> Any:
            if self.scale > 1:
                raise InputError("too large")
            return super().explain(model, volumes, target)

    registry.register("explainer", "fragile", Fragile)
    large = "explainers=[{name: toy}, {name: fragile, params: {scale: 2}}]"
    with pytest.raises(InputError, match="too large"):
        Pipeline.from_file(study, sets=[large]).run()
    results = Pipeline.from_file(study, sets=[large, "explainers[fragile].params.scale=0.5"]).run()
    assert len(results.maps("fragile")) == len(results.maps("toy")) == 8
    with pytest.raises(InputError, match=r"scale: 0\.5 there, 0\.25 here; a changed entry needs an id of its own"):
        Pipeline.from_file(study, sets=[large, "explainers[fragile].params.scale=0.25"]).run()
    with pytest.raises(InputError, match=r"explainers\.fragile: there with results, but not here; keep it\n"):
        Pipeline.from_file(study).run()
