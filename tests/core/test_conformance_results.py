"""Every check of the suites for trainers, evaluators, analyses, reports and executors fails on a bad component."""

# ruff: noqa: ARG005 - the arguments of a lambda are those of the method that it stands for

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as FuturesExecutor
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import (
    Analysis,
    Attribution,
    Component,
    Evaluator,
    Executor,
    Report,
    RunContext,
    Trainer,
    TrainingResult,
    registry,
)
from xai_core.engine.results import RunResults
from xai_core.testing import (
    AnalysisConformance,
    EvaluatorConformance,
    ExecutorConformance,
    ReportConformance,
    TrainerConformance,
)

COUNT = itertools.count(1)

# --- trainers ---------------------------------------------------------------------------------------------------------


class Descent(Trainer):
    """Three epochs of gradient descent in a random order."""

    def train(self, model: nn.Module, train: Any, validation: Any, context: RunContext) -> Any:
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        history: list[dict[str, float]] = []
        for epoch in range(3):
            order = self.order(len(train))
            volumes, targets = (torch.stack(part) for part in zip(*(train[i] for i in order), strict=True))
            output = model(volumes)
            if context.task == "classification":
                loss = nn.functional.cross_entropy(output[:6], targets[:6])
            else:
                loss = nn.functional.mse_loss(output[:6, 0], targets[:6]) / 1000
            optimiser.zero_grad()
            loss.backward()
            self.step(optimiser)
            history.append({"epoch": epoch, "train_loss": float(loss.detach())})
            if not self.goes_on(context, history):
                break
        return self.result(model, history, validation)

    def order(self, number: int) -> list[int]:
        return torch.randperm(number).tolist()  # type: ignore[no-any-return]

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        optimiser.step()

    def goes_on(self, context: RunContext, history: list[dict[str, float]]) -> bool:
        return context.on_epoch(len(history) - 1, history[-1])

    def result(self, model: nn.Module, history: list[dict[str, float]], validation: Any) -> Any:
        return TrainingResult(history, len(history) - 1)


def trainer(**methods: Any) -> type[Trainer]:
    return type("Bad", (Descent,), {"__doc__": "Bad in one way.", **methods})


def ending(function: Callable[[nn.Module, list[dict[str, float]], Any], Any]) -> type[Trainer]:
    return trainer(result=lambda self, model, history, validation: function(model, history, validation))


def spoil(model: nn.Module, history: list[dict[str, float]], _validation: Any) -> TrainingResult:
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    return TrainingResult(history, 0)


def classification_only(self: Any, model: nn.Module, train: Any, validation: Any, context: RunContext) -> Any:
    if context.task == "regression":
        return TrainingResult([{"epoch": 0, "train_loss": 1.0}], 0)
    return Descent.train(self, model, train, validation, context)


def deaf(self: Any, context: RunContext, history: list[dict[str, float]]) -> bool:
    context.on_epoch(len(history) - 1, history[-1])
    return True


def one_too_many(self: Any, context: RunContext, history: list[dict[str, float]]) -> bool:
    """Stops as told and leaves an epoch in the history that it was not asked about."""
    on = context.on_epoch(len(history) - 1, history[-1])
    if not on:
        history.append({"epoch": len(history), "train_loss": 0.0})
    return on


def silent(self: Any, context: RunContext, history: list[dict[str, float]]) -> bool:
    return True


def without_loss(self: Any, context: RunContext, history: list[dict[str, float]]) -> bool:
    return context.on_epoch(len(history) - 1, {"loss": 1.0})


def unseeded(self: Any, number: int) -> list[int]:
    return np.random.default_rng().permutation(number).tolist()  # type: ignore[no-any-return]


def from_the_test_part(self: Any, validation: Any, predictions: Any, *_: Any) -> Any:
    return predictions.assign(new=range(len(predictions))[::-1])


T, BOTH = TrainerConformance, "test_trains_both_tasks"
SCORES, CALIBRATE = "test_scores_and_tables_can_be_written", "test_calibrates_by_adding_columns"
TRAINERS: list[tuple[type, str, type[Component], str]] = [
    (T, BOTH, ending(lambda m, h, _: m), "train returned TinyConvNet"),
    (T, BOTH, trainer(step=lambda self, optimiser: None), "classification: no parameter changed"),
    (T, BOTH, trainer(train=classification_only), "regression: no parameter changed"),
    (T, BOTH, ending(spoil), "weights are NaN"),
    (T, BOTH, ending(lambda m, h, _: TrainingResult(h[1:], 0)), r"the history's epochs are \[1, 2\]"),
    (T, BOTH, ending(lambda m, h, _: TrainingResult([{"train_loss": 1.0}], 0)), r"epochs are \[None\]"),
    (T, BOTH, ending(lambda m, h, _: TrainingResult([], 0)), "the history is empty"),
    (T, BOTH, ending(lambda m, h, _: TrainingResult([{**h[0], "train_loss": np.nan}], 0)), r"losses are \[nan\]"),
    (T, BOTH, ending(lambda m, h, _: TrainingResult(h, 3)), "best epoch 3 of 3"),
    (T, BOTH, ending(lambda m, h, _: TrainingResult(h, -1)), "best epoch -1 of 3"),
    (T, "test_trains_without_validation", ending(lambda m, h, v: TrainingResult(h if v else [], 0)), "is empty"),
    (T, "test_same_seed_same_weights", trainer(order=unseeded), "two trainings with one seed differ"),
    (T, "test_stops_when_told", trainer(goes_on=deaf), r"called for the epochs \[0, 1, 2\]"),
    (T, "test_stops_when_told", trainer(goes_on=silent), r"called for the epochs \[\]"),
    (T, "test_stops_when_told", trainer(goes_on=one_too_many), "2 epochs after on_epoch returned False"),
    (T, "test_stops_when_told", trainer(goes_on=without_loss), r"on_epoch got \['loss'\]"),
    (T, SCORES, trainer(metrics=lambda self, *_: {"auc": {"value": float("nan")}}), "cannot be written as JSON"),
    (T, SCORES, trainer(metrics=lambda self, *_: {"auc": {"value": "high"}}), "value of auc is no number"),
    (T, SCORES, trainer(tables=lambda self, *_: {"roc": [0, 1]}), r"tables returned \{'roc': 'list'\}"),
    (T, SCORES, trainer(metrics=lambda self, p, *_: {"n": p.insert(0, "new", 1)}), "changed the predictions"),
    (T, CALIBRATE, trainer(calibrate=lambda self, v, p, *_: p.sort_values("target")), "calibrate changed the pred"),
    (T, CALIBRATE, trainer(calibrate=lambda self, v, p, *_: p.drop(columns="fold")), "may only add columns"),
    (T, CALIBRATE, trainer(calibrate=from_the_test_part), "new depends on the other test scans"),
    (T, CALIBRATE, trainer(calibrate=lambda self, v, p, *_: p.iloc[: len(v)]), "without a validation part"),
]

# --- evaluators -------------------------------------------------------------------------------------------------------


class Inside(Evaluator):
    """Share of the absolute relevance inside the mask."""

    def evaluate(
        self, model: nn.Module, volumes: Tensor, attributions: Attribution, masks: Tensor | None
    ) -> Sequence[Mapping[str, Any]]:
        rows = []
        for position, relevance in enumerate(attributions.relevance.abs()):
            inside = None if masks is None else float(relevance[masks[position]].sum() / relevance.sum())
            rows.append({"inside": inside})
        return self.rows(rows, model, volumes, attributions, masks)

    def rows(self, rows: Any, *_: Any) -> Any:
        return rows


def evaluator(function: Callable[..., Any]) -> type[Evaluator]:
    """Makes something else of the rows; also given model, volumes, attributions and masks."""
    return type("Bad", (Inside,), {"__doc__": "Bad.", "rows": lambda self, *arguments: function(*arguments)})


def changing(name: str) -> Callable[..., Any]:
    def change(rows: Any, model: nn.Module, volumes: Tensor, attributions: Attribution, _masks: Any) -> Any:
        {"relevance": attributions.relevance, "volumes": volumes, "model": next(model.parameters()).data}[name].mul_(2)
        return rows

    return change


E, SCORES = EvaluatorConformance, "test_one_row_of_scores_for_each_volume"
EVALUATORS: list[tuple[type, str, type[Component], str]] = [
    (E, SCORES, evaluator(lambda rows, *_: rows[:1]), "1 rows for 2 volumes"),
    (E, SCORES, evaluator(lambda rows, *_: [{"x": float("nan")}] * 2), r"not finite numbers: \{'x': nan\}"),
    (E, SCORES, evaluator(lambda rows, *_: [{"x": float("inf")}] * 2), r"not finite numbers: \{'x': inf\}"),
    (E, SCORES, evaluator(lambda rows, *_: [{"x": "high"}] * 2), r"not finite numbers: \{'x': 'high'\}"),
    (E, SCORES, evaluator(lambda rows, *_: [{"x": torch.ones(1)}] * 2), "not finite numbers"),
    (E, SCORES, evaluator(lambda rows, m, v, a, masks: [{} if masks is None else r for r in rows]), "different scores"),
    (E, SCORES, evaluator(lambda rows, *_: [rows[0], {"other": 1.0}]), "rows have different scores"),
    (E, SCORES, evaluator(changing("relevance")), "the relevance was changed"),
    (E, SCORES, evaluator(changing("volumes")), "the volumes were changed"),
    (E, SCORES, evaluator(changing("model")), "the model was changed"),
]

# --- analyses and reports ---------------------------------------------------------------------------------------------


def analysis(function: Callable[[RunResults, Path], Any]) -> type[Analysis]:
    class Given(Analysis):
        """What the test gives."""

        def analyse(self, run: RunResults, output: Path) -> None:
            function(run, output)

    return Given


def write_sums(run: RunResults, output: Path) -> None:
    lines = [f"{record.scan_id}\t{record.sidecar['sum_of_relevance']}" for record in run.maps()]
    (output / "tables").mkdir()
    (output / "tables" / "sums.tsv").write_text("\n".join(lines))


def also(change: Callable[[RunResults, Path], object]) -> Callable[[RunResults, Path], Path]:
    def write(run: RunResults, output: Path) -> Path:
        page = write_page(run, output)
        change(run, output)
        return page

    return write


def write_page(run: RunResults, output: Path) -> Path:
    import html

    people = "".join(f"<li>{html.escape(person)}</li>" for person in run.subjects()["subject_id"])
    page = output / "index.html"
    page.write_text(f"<!doctype html><ul>{people}</ul>", encoding="utf-8")
    return page


def write_unescaped(run: RunResults, output: Path) -> Path:
    page = output / "index.html"
    page.write_text("".join(f"<li>{person}</li>" for person in run.subjects()["subject_id"]), encoding="utf-8")
    return page


def write_with(content: Callable[[RunResults, Path], str]) -> Callable[[RunResults, Path], Path]:
    def write(run: RunResults, output: Path) -> Path:
        (output / "index.html").write_text(content(run, output))
        return output / "index.html"

    return write


ELSEWHERE: dict[str, Callable[[RunResults, Path], object]] = {
    "run/note.txt": lambda run, _: (run.folder / "note.txt").write_text("x"),
    "run/metrics.json": lambda run, _: (run.folder / "metrics.json").write_text("{}"),
    "run/splits.tsv": lambda run, _: (run.folder / "splits.tsv").unlink(),
    "scans/sub-01.nii.gz": lambda run, _: run.maps()[0].image.write_bytes(b""),  # type: ignore[union-attr]
    "beside.txt": lambda _, output: output.with_name("beside.txt").write_text("x"),
    "figure.png": lambda *_: Path("figure.png").write_bytes(b"x"),
}


def report(function: Callable[[RunResults, Path], Any]) -> type[Report]:
    class Given(Report):
        """What the test gives."""

        def write(self, run: RunResults, output: Path) -> Any:
            return function(run, output)

    return Given


N, WRITES = AnalysisConformance, "test_writes_into_its_folder_only"
R, PAGE, SAME = ReportConformance, "test_writes_a_page", "test_same_run_same_bytes"
WRITERS: list[tuple[type, str, type[Component], str]] = [
    (N, WRITES, analysis(lambda *_: None), "nothing was written"),
    (N, WRITES, analysis(lambda _, output: (output / "empty").mkdir()), "nothing was written"),
    *((N, WRITES, analysis(also(change)), f"outside of .*{name}") for name, change in ELSEWHERE.items()),
    *((R, PAGE, report(also(change)), f"outside of .*{name}") for name, change in ELSEWHERE.items()),
    (R, PAGE, report(lambda run, _: run.folder / "run.json"), "is not in the folder given"),
    (R, PAGE, report(lambda _, output: output / "index.html"), "index.html was not written"),
    (R, PAGE, report(write_with(lambda *_: "")), "the page is empty"),
    (R, PAGE, report(write_unescaped), "an id was not escaped"),
    (R, SAME, report(write_with(lambda *_: f"<p>{next(COUNT)}</p>")), "two reports of one run differ"),
    (R, SAME, report(write_with(lambda _, output: f"<p>{output}</p>")), "two reports of one run differ"),
    (R, SAME, report(also(lambda _, o: (o / f"{next(COUNT)}.png").touch())), "two reports of one run differ"),
]

# --- executors --------------------------------------------------------------------------------------------------------


def executor(builder: Callable[[], Any]) -> type[Executor]:
    class Given(Executor):
        """What the test gives."""

        def build(self) -> Any:
            return builder()

    return Given


class Here(FuturesExecutor):
    """Calls at once."""

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(self.call(function, *arguments))
        except BaseException as error:
            future.set_exception(self.failure(error))
        return future

    def call(self, function: Any, *arguments: Any) -> Any:
        return function(*arguments)

    def failure(self, error: BaseException) -> BaseException:
        return error


class Wrapping(Here):
    def failure(self, error: BaseException) -> BaseException:
        return RuntimeError(f"a worker failed: {error}")


class Swallowing(Here):
    def call(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception:
            return None


class MixingUp(Here):
    def call(self, function: Any, *arguments: Any) -> Any:
        return function(*arguments) + (arguments[0] == 3)


X, RETURNS = ExecutorConformance, "test_returns_results_and_exceptions"
EXECUTORS: list[tuple[type, str, type[Component], str]] = [
    (X, RETURNS, executor(lambda: os), "build returned module"),
    (X, RETURNS, executor(MixingUp), r"\[0, 2, 4, 7, 8\]"),
    (X, RETURNS, executor(Wrapping), r"came back as RuntimeError\('a worker failed"),
    (X, RETURNS, executor(Swallowing), "came back as None"),
]

PROOFS = [*TRAINERS, *EVALUATORS, *WRITERS, *EXECUTORS]
GOOD: dict[type, type[Component]] = {
    TrainerConformance: Descent,
    EvaluatorConformance: Inside,
    AnalysisConformance: analysis(write_sums),
    ReportConformance: report(write_page),
    ExecutorConformance: executor(lambda: ThreadPoolExecutor(2)),
}


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry._default, "_registered", {})
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


def check(suite: type, name: str, component: type[Component], tmp_path: Path) -> None:
    registry.register(suite.kind, "under-test", component)  # type: ignore[attr-defined]
    method = getattr(type("Suite", (suite,), {"name": "under-test"})(), name)
    method(**({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(method).parameters else {}))


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: f"{p[1]}-{p[3][:30]}")
def test_bad_component_fails(proof: tuple[type, str, type[Component], str], tmp_path: Path) -> None:
    suite, name, component, message = proof
    before = Path.cwd()
    with pytest.raises(AssertionError, match=message):
        check(suite, name, component, tmp_path)
    assert Path.cwd() == before


@pytest.mark.parametrize(
    ("suite", "name"), [(s, name) for s in GOOD for name in sorted(vars(s)) if name.startswith("test_")]
)
def test_good_component_passes(suite: type, name: str, tmp_path: Path) -> None:
    check(suite, name, GOOD[suite], tmp_path)


def test_report_of_another_format_needs_no_escaping(tmp_path: Path) -> None:
    def write(run: RunResults, output: Path) -> Path:
        page = output / "report.txt"
        page.write_text("\n".join(run.subjects()["subject_id"]))
        return page

    check(ReportConformance, "test_writes_a_page", report(write), tmp_path)
