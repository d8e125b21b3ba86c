"""The suites for evaluators, analyses, reports and executors, and a small finished run for them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import Executor as FuturesExecutor
from contextlib import chdir, contextmanager
from operator import add, truediv
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from ..engine.results import RunResults
from ..types import Attribution
from ._base import ComponentConformance
from ._networks import TinyConvNet, model_state, volumes

__all__ = ["AnalysisConformance", "EvaluatorConformance", "ExecutorConformance", "ReportConformance", "example_run"]

_CONFIG = """version: 1
name: example
seed: 1
device: cpu
output: {output}
data:
  name: participants
  params: {{target: diagnosis}}
  transforms: []
split: {{name: holdout, params: {{}}}}
model: {{name: resnet3d, params: {{depth: 10}}}}
training: {{name: lightning, params: {{epochs: 2}}}}
explainers: [{{id: lrp, name: lrp, params: {{}}}}]
evaluators: []
analyses: []
reports: []
"""


def example_run(folder: Path) -> RunResults:
    """Write a small finished run (four people, one explainer) into ``folder`` and return it.

    The scans have flipped axes and unequal sides; one id holds characters that HTML must escape.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.resolved.yaml").write_text(_CONFIG.format(output=folder.parent), encoding="utf-8")
    generator = np.random.default_rng(0)
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (30, -40, -20)
    subjects, predictions = ["scan_id\tsubject_id\tsession_id\tsite\ttarget\timage\tground_truth\tage"], []
    predictions.append(
        "fold\tscan_id\tsubject_id\tsession_id\tsite\ttarget\tprediction\tprobability_CN\tprobability_AD"
    )
    people = ("01", "02", "<b>3</b>", "04")
    for number, person in enumerate(people):
        scan = f"sub-{''.join(c for c in person if c.isalnum())}"
        target, probability = ("CN", "AD")[number % 2], 0.2 + 0.2 * number
        image = folder.parent / "scans" / f"{scan}.nii.gz"
        image.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(generator.random((14, 17, 12)).astype(np.float32), affine), image)
        subjects.append(f"{scan}\t{person}\tn/a\tA\t{target}\t{image}\tn/a\t{60 + number}")
        prediction = "AD" if probability > 0.5 else "CN"
        row = (0, scan, person, "n/a", "A", target, prediction, 1 - probability, probability)
        predictions.append("\t".join(map(str, row)))
        path = folder / "derivatives" / scan / "anat" / f"{scan}_desc-lrp_relevance.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        relevance = generator.normal(size=(14, 17, 12)).astype(np.float32)
        nib.save(nib.Nifti1Image(relevance, affine), path)
        sidecar: dict[str, object] = {
            "scan_id": scan, "subject_id": person, "session_id": None, "explainer_id": "lrp", "explainer": "x:lrp",
            "params": {}, "fold": 0, "target": 0, "target_name": prediction, "output": 1.5,
            "sum_of_relevance": float(relevance.sum()), "details": {}, "versions": {},
        }  # fmt: skip
        path.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar), encoding="utf-8")
    (folder / "subjects.tsv").write_text("\n".join(subjects) + "\n", encoding="utf-8")
    (folder / "predictions.tsv").write_text("\n".join(predictions) + "\n", encoding="utf-8")
    splits = "".join(f"0\ttest\t{person}\n" for person in people)
    (folder / "splits.tsv").write_text(f"fold\tpart\tsubject_id\n{splits}", encoding="utf-8")
    scores = {"auc": {"value": 0.75, "low": 0.4, "high": 1.0}, "confusion_matrix": [[1, 1], [1, 1]], "n": 4}
    (folder / "metrics.json").write_text(json.dumps({"test": scores, "folds": [scores]}), encoding="utf-8")
    info = {"task": "classification", "classes": ["CN", "AD"], "versions": {}, "components": {}, "device": "cpu"}
    (folder / "run.json").write_text(
        json.dumps({**info, "seed": 1, "people": 4, "scans": 4, "folds": 1}), encoding="utf-8"
    )
    (folder / "fold-0").mkdir(exist_ok=True)
    (folder / "fold-0" / "checkpoint.pt").write_bytes(b"")
    (folder / "fold-0" / "history.csv").write_text(
        "epoch,train_loss,val_loss\n0,0.7,0.7\n1,0.6,0.65\n", encoding="utf-8"
    )
    return RunResults(folder)


class EvaluatorConformance(ComponentConformance):
    """Checks for evaluators."""

    kind = "evaluator"

    def test_one_row_of_scores_for_each_volume(self) -> None:
        """Scores are finite numbers or None, with the same names for everybody, with and without a truth."""
        model, batch = TinyConvNet(), volumes()
        before = model_state(model)
        relevance = volumes(seed=9) - 0.5
        attribution = Attribution(relevance, model(batch)[:, 0].detach(), torch.tensor([0, 0]))
        truth = volumes(seed=5) > 0.8
        names = set()
        for masks in (truth, None, torch.zeros_like(truth)):
            rows = self.create().evaluate(model, batch, attribution, masks)
            assert len(rows) == 2, f"{len(rows)} rows for 2 volumes"
            for row in rows:
                names.add(tuple(row))
                wrong = {k: v for k, v in row.items() if v is not None and not _is_score(v)}
                assert not wrong, f"scores that are not finite numbers: {wrong}"
        assert len(names) == 1, f"rows have different scores: {sorted(names)}"
        assert torch.equal(relevance, volumes(seed=9) - 0.5), "the relevance was changed"
        assert torch.equal(batch, volumes()), "the volumes were changed"
        assert model_state(model) == before, "the model was changed"


class AnalysisConformance(ComponentConformance):
    """Checks for analyses."""

    kind = "analysis"

    def test_writes_into_its_folder_only(self, tmp_path: Path) -> None:
        """Something is written, into the folder given, and the run is left as it was."""
        run, output = example_run(tmp_path / "run"), tmp_path / "output"
        with _only(output, tmp_path):
            self.create().analyse(run, output)
        assert any(path.is_file() for path in output.rglob("*")), "nothing was written"


class ReportConformance(ComponentConformance):
    """Checks for reports."""

    kind = "report"

    def test_writes_a_page(self, tmp_path: Path) -> None:
        """The page is in the folder given, is not empty, and the run is left as it was."""
        run, output = example_run(tmp_path / "run"), tmp_path / "output"
        with _only(output, tmp_path):
            page = self.create().write(run, output)
        assert page.is_relative_to(output), f"{page} is not in the folder given"
        assert page.is_file(), f"{page} was not written"
        assert page.stat().st_size > 0, "the page is empty"
        if page.suffix == ".html":
            assert "<b>3</b>" not in page.read_text(encoding="utf-8"), "an id was not escaped"

    def test_same_run_same_bytes(self, tmp_path: Path) -> None:
        """Written twice, it is the same."""
        run = example_run(tmp_path / "run")
        written = []
        for number in range(2):
            output = tmp_path / str(number)
            output.mkdir()
            self.create().write(run, output)
            written.append(_files(output))
        assert written[0] == written[1], "two reports of one run differ"


class ExecutorConformance(ComponentConformance):
    """Checks for executors."""

    kind = "executor"

    def test_returns_results_and_exceptions(self) -> None:
        """Results come back in the order of submission; an exception comes back as itself."""
        built = self.create().build()
        assert isinstance(built, FuturesExecutor), f"build returned {type(built).__name__}"
        with built as executor:
            doubled = [executor.submit(add, n, n).result() for n in range(5)]
            assert doubled == [0, 2, 4, 6, 8], f"n + n for n = 0 to 4 came back as {doubled}"
            error = executor.submit(truediv, 1, 0).exception()
            assert isinstance(error, ZeroDivisionError), f"the exception came back as {error!r}"


def _is_score(value: object) -> bool:
    return isinstance(value, int | float | np.floating | np.integer) and math.isfinite(value)


@contextmanager
def _only(output: Path, surroundings: Path) -> Iterator[None]:
    """Make ``output``, and assert that nothing else below ``surroundings`` (the working folder meanwhile) changes."""
    output.mkdir()
    before = _files(surroundings)
    with chdir(surroundings):
        yield
    inside = f"{output.relative_to(surroundings)}/"
    after = {name: content for name, content in _files(surroundings).items() if not name.startswith(inside)}
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert not changed, f"changed outside of the folder given: {changed[:3]}"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
