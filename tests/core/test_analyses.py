"""When an analysis is asked, and when it is carried out again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from xai_core import InputError, Pipeline, registry
from xai_core.testing._toys import (
    TOY_PIPELINE,
    ToyAnalysis,
    ToyEvaluator,
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


def test_an_analysis_that_failed_can_be_changed_or_left_out(
    study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register("analysis", "failing", _Failing)
    trained = _trainings(monkeypatch)
    failing = ["analyses=[{name: toy}, {name: failing}]"]
    with pytest.raises(InputError, match="factor is 0"):
        Pipeline.from_file(study, sets=failing).run()
    assert not [line for line in caplog.messages if "holds what was made" in line], "nothing was made"
    results = Pipeline.from_file(study).run()
    assert not (results.folder / "analysis" / "failing").exists()
    Pipeline.from_file(study, sets=[*failing, "analyses[failing].params.factor=2"]).run()
    assert [path.name for path in (results.folder / "analysis" / "failing").iterdir()] == ["x2.tsv"]
    assert len(trained) == 2, "two folds, once"


def test_a_changed_analysis_is_made_anew_and_a_finished_one_is_not_forgotten(
    study: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register("analysis", "failing", _Failing)
    trained = _trainings(monkeypatch)
    other = "analyses=[{name: failing, params: {factor: %d}}]"
    results = Pipeline.from_file(study, sets=[other % 1]).run()
    made = results.folder / "analysis" / "failing"
    Pipeline.from_file(study, sets=[other % 3]).run()
    assert [path.name for path in made.iterdir()] == ["x3.tsv"], "nothing of the former parameters is left"
    caplog.clear()
    with pytest.raises(InputError, match="factor is 0"):
        Pipeline.from_file(study, sets=[other % 0]).run()
    assert [path.name for path in made.iterdir()] == ["x3.tsv"]
    assert f"{made} holds what was made before the run or its configuration changed." in caplog.messages
    Pipeline.from_file(study, sets=[other % 3]).run()
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
    with pytest.raises(
        InputError, match=r"explainers\.fragile: there with results, but not here; keep it, or remove its maps"
    ):
        Pipeline.from_file(study).run()


def test_maps_of_an_explainer_that_failed_midway_can_be_given_up(study: Path) -> None:
    explained: list[float] = []

    class Fragile(ToyExplainer):
        def explain(self, model: Any, volumes: Any, target: Any) -> Any:
            explained.append(self.scale)
            if self.scale > 1 and len(explained) > 2:
                raise InputError("too large")
            return super().explain(model, volumes, target)

    registry.register("explainer", "fragile", Fragile)
    large = "explainers=[{name: toy}, {name: fragile, params: {scale: 2}}]"
    with pytest.raises(InputError, match="too large"):
        Pipeline.from_file(study, sets=[large]).run()
    small = Pipeline.from_file(study, sets=[large, "explainers[fragile].params.scale=0.5"])
    with pytest.raises(InputError, match=r"remove its maps from derivatives \(\*_desc-fragile_relevance\.\*"):
        small.run()
    for path in (small.folder / "derivatives").rglob("*_desc-fragile_relevance.*"):
        path.unlink()
    results = small.run()
    assert {record.sidecar["params"]["scale"] for record in results.maps("fragile")} == {0.5}
    assert len(results.maps("fragile")) == len(results.maps("toy")) == 8


def test_an_evaluator_that_failed_midway_and_a_report_can_be_given_up(study: Path) -> None:
    scored: list[int] = []

    class Fragile(ToyEvaluator):
        def evaluate(self, *args: Any) -> Any:
            scored.append(1)
            if len(scored) > 2:
                raise InputError("too hard")
            return super().evaluate(*args)

    registry.register("evaluator", "fragile", Fragile)
    with pytest.raises(InputError, match="too hard"):
        Pipeline.from_file(study, sets=["evaluators=[{name: fragile}]"]).run()
    plain = Pipeline.from_file(study)
    with pytest.raises(InputError, match=r"evaluators\.fragile: .* remove its folder \.xai/evaluation/fragile first"):
        plain.run()
    shutil.rmtree(plain.folder / ".xai" / "evaluation" / "fragile")
    plain.run()
    without = Pipeline.from_file(study, sets=["reports=[]"])
    with pytest.raises(InputError, match=r"reports\.toy: .* remove its folder \(report-toy, or report if it is"):
        without.run()
    shutil.rmtree(plain.folder / "report")
    without.run()
    assert not (plain.folder / "report").exists()


@pytest.mark.parametrize("before", ["[{name: toy, id: a}]", "[{name: toy, id: a}, {name: toy, id: b}]"])
def test_a_report_that_becomes_the_first_one_keeps_its_page(study: Path, before: str) -> None:
    Pipeline.from_file(study, sets=[f"reports={before}"]).run()
    turned = Pipeline.from_file(study, sets=["reports=[{name: toy, id: b}, {name: toy, id: a}]"])
    turned.run()
    pages = turned.report_pages()
    assert [page.parent.name for page in pages] == ["report", "report-a"]
    assert all(page.is_file() for page in pages)
    assert not (turned.folder / "report-b").exists() or not any((turned.folder / "report-b").iterdir())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("explainers: [{name: toy}]", None),
        ("analyses: [toy]", "is no configuration any more"),
        ("analyses: toy", "is no configuration any more"),
        ("training: toy", "is no configuration any more"),
        ("- nothing", "is no configuration any more"),
        ("", "is no configuration any more"),
    ],
)
def test_a_resolved_configuration_that_somebody_has_edited(study: Path, line: str, told: str | None) -> None:
    """As it is, without ids and parameters, a part is read as in any pipeline; the rest is one message."""
    results = Pipeline.from_file(study).run("train")
    saved = results.folder / "pipeline.resolved.yaml"
    config = yaml.safe_load(saved.read_text(encoding="utf-8"))
    part = yaml.safe_load(line)
    saved.write_text(yaml.safe_dump({**config, **part} if isinstance(part, dict) else part), encoding="utf-8")
    if told is None:
        assert len(Pipeline.from_file(saved).run("explain").maps()) == 8
        return
    with pytest.raises(InputError, match=told):
        Pipeline.from_file(study).run()
