"""A whole run with toy components: what is written, what is skipped, what is refused, and what a killed run leaves."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from xai_core import InputError, Pipeline, PluginError, hookimpl, registry
from xai_core.engine.hooks import Hooks
from xai_core.engine.results import RunResults
from xai_core.engine.units import Units
from xai_core.testing._toys import (
    TOY_PIPELINE,
    ToyDataset,
    ToyExplainer,
    ToyTrainer,
    register_toys,
    write_toy_study,
)

# What a repeated run must reproduce to the bit; log.txt and the memory of file times are about the run itself.
NOT_RESULTS = {"log.txt", "lock", "scans.json"}


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    register_toys()
    write_toy_study(tmp_path / "study")
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    yield tmp_path
    register_toys()


def bytes_of(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in NOT_RESULTS)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def run(study: Path, *sets: str, **options: Any) -> RunResults:
    return Pipeline.from_file(study / "toy.yaml", sets, **options).run()


def test_a_run_writes_what_the_plan_says(study: Path) -> None:
    results = run(study)
    assert results.folder == study / "results" / "toy"
    for name in (
        "pipeline.resolved.yaml", "run.json", "log.txt", "subjects.tsv", "splits.tsv", "metrics.json", "metrics.tsv",
        "predictions.tsv", "fold-0/checkpoint.pt", "fold-1/history.csv", "evaluation/toy.tsv", "analysis/toy/sums.tsv",
        "derivatives/dataset_description.json", "derivatives/sub-a0/anat/sub-a0_desc-toy_relevance.nii.gz",
        "derivatives/sub-a0/anat/sub-a0_desc-toy_relevance.json", "report/index.txt",
    ):  # fmt: skip
        assert (results.folder / name).is_file(), name
    assert set(results.predictions()["scan_id"]) == {f"sub-{'ab'[i % 2]}{i}" for i in range(8)}
    accuracy = (results.predictions()["target"] == results.predictions()["prediction"]).mean()
    assert results.metrics()["test"]["accuracy"]["value"] == accuracy
    assert len(results.maps()) == 8
    assert len(results.evaluation("toy")) == 8


def test_map_is_on_the_scans_grid_and_sidecar_tells_its_sum(study: Path) -> None:
    record = run(study).maps("toy")[0]
    image, scan = nib.load(record.path), nib.load(record.image)
    assert image.shape == scan.shape
    np.testing.assert_array_equal(image.affine, scan.affine)
    assert image.get_data_dtype() == np.float32
    # Without resampling the map on disk is the relevance itself.
    total = image.get_fdata().sum()
    assert record.sidecar["sum_of_relevance"] == pytest.approx(total, rel=1e-5)
    assert record.sidecar["voxel_volume_ratio"] == pytest.approx(1)
    assert record.sidecar["target_name"] in "ab"


def test_python_api_gives_the_runs_own_numbers(study: Path) -> None:
    results = run(study)
    pipeline = Pipeline.from_folder(results.folder)
    row = results.predictions().set_index("scan_id").loc["sub-a0"]
    assert pipeline.predict(study / "study" / "a0.nii.gz")["probability_a"] == pytest.approx(row["probability_a"])
    explanation = pipeline.explain(study / "study" / "a0.nii.gz")["toy"]
    saved = nib.load(results.maps()[0].path)
    np.testing.assert_allclose(explanation.image.get_fdata(), saved.get_fdata(), rtol=1e-5, atol=1e-9)
    assert isinstance(pipeline.fold(0).model, torch.nn.Module)
    other = pipeline.explain(nib.load(study / "study" / "a0.nii.gz"), target="b")["toy"]
    assert other.sidecar["target_name"] == "b"
    with pytest.raises(InputError, match=r"no output 'c'.*a, b"):
        pipeline.explain(study / "study" / "a0.nii.gz", target="c")
    with pytest.raises(InputError, match=r"no explainer 'tox'. Did you mean 'toy'"):
        pipeline.explain(study / "study" / "a0.nii.gz", ["tox"])
    with pytest.raises(InputError, match="no trained fold 7"):
        pipeline.fold(7)


def test_two_runs_give_the_same_bytes(study: Path) -> None:
    first = bytes_of(run(study).folder)
    shutil.rmtree(study / "results")
    assert bytes_of(run(study).folder) == first


def test_a_finished_run_is_not_done_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bytes_of(run(study).folder)

    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("done again")

    monkeypatch.setattr(ToyTrainer, "train", never)
    monkeypatch.setattr(ToyExplainer, "explain", never)
    assert bytes_of(run(study).folder) == before


def test_only_what_is_missing_is_done(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(study).folder
    before = bytes_of(folder)
    (folder / "derivatives/sub-b3/anat/sub-b3_desc-toy_relevance.nii.gz").write_bytes(b"cut off")
    explained = []
    original = ToyExplainer.explain
    monkeypatch.setattr(ToyExplainer, "explain", lambda *a: explained.append(1) or original(*a))  # type: ignore[func-returns-value]
    run(study)
    assert len(explained) == 1
    assert bytes_of(folder) == before


def test_a_new_explainer_joins_the_run(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study)
    text = TOY_PIPELINE.replace("  - {name: toy}", "  - {name: toy}\n  - {id: double, name: toy, params: {scale: 2}}")
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(ToyTrainer, "train", None)
    results = run(study)
    single, double = results.maps("toy"), results.maps("double")
    assert len(single) == len(double) == 8
    assert double[0].sidecar["sum_of_relevance"] == pytest.approx(2 * single[0].sidecar["sum_of_relevance"], rel=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [("seed=4", "seed: 3 there, 4 here"), ("training.params.epochs=5", r"epochs: 2 there, 5 here"),
     ("explainers.toy.params.scale=2", "scale: 1.0 there, 2 here")],
)  # fmt: skip
def test_a_folder_of_another_configuration_is_refused(study: Path, change: str, said: str) -> None:
    before = bytes_of(run(study).folder)
    with pytest.raises(InputError, match=said) as caught:
        run(study, change)
    assert "--name" in str(caught.value)
    assert bytes_of(study / "results" / "toy") == before
    assert run(study, change, name="other").folder.name == "other"


def test_a_folder_that_is_no_run_is_refused(study: Path) -> None:
    (study / "results" / "toy").mkdir(parents=True)
    (study / "results" / "toy" / "thesis.docx").write_text("mine")
    with pytest.raises(InputError, match="is not a run folder"):
        run(study)
    assert [p.name for p in (study / "results" / "toy").iterdir()] == ["thesis.docx"]


def test_two_processes_do_not_share_a_folder(study: Path) -> None:
    from xai_core.engine.runfolder import run_lock

    folder = run(study).folder
    code = "import sys; from pathlib import Path; from xai_core.engine.runfolder import run_lock\n"
    code += f"with run_lock(Path({str(folder)!r})): pass"
    with run_lock(folder):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "in use by another run" in done.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


KILLED = """
import os, sys
from pathlib import Path
from xai_core import Pipeline
from xai_core.testing._toys import register_toys
register_toys()
left, original = int(sys.argv[2]), Path.replace
def replace(self, target):
    global left
    left -= 1
    if left < 0:
        os._exit(137)
    return original(self, target)
Path.replace = replace
Pipeline.from_file(sys.argv[1]).run()
"""


@pytest.mark.parametrize("publications", [1, 6, 13, 22, 40])
def test_a_killed_run_ends_with_the_same_bytes(study: Path, publications: int) -> None:
    expected = bytes_of(run(study).folder)
    shutil.rmtree(study / "results")
    command = [sys.executable, "-c", KILLED, str(study / "toy.yaml"), str(publications)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 137
    folder = study / "results" / "toy"
    for sidecar in folder.glob("derivatives/sub-*/anat/*.json"):
        json.loads(sidecar.read_text(encoding="utf-8"))
    run(study)
    assert bytes_of(folder) == expected
    assert not list((folder / ".xai").glob("tmp/*"))


def test_another_process_gives_the_same_bytes(study: Path) -> None:
    expected = bytes_of(run(study).folder)
    shutil.rmtree(study / "results")
    (study / "toy.yaml").write_text(TOY_PIPELINE + "executor: {name: toy}\n", encoding="utf-8")
    found = bytes_of(run(study).folder)
    different = {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
    # run.json names the executor, the configuration too, and the report's key holds the configuration.
    assert different <= {"pipeline.resolved.yaml", "run.json", ".xai/units/report/toy.json"}


class Recorder:
    """Writes down every hook it is called with."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @hookimpl
    def xai_config_resolved(self, config: dict[str, Any]) -> None:
        self.calls.append("config_resolved")

    @hookimpl
    def xai_run_started(self, config: dict[str, Any], folder: Path) -> None:
        assert folder.is_dir()
        self.calls.append("run_started")

    @hookimpl
    def xai_dataset_ready(self, config: dict[str, Any], subjects: Any, folder: Path) -> None:
        assert folder.is_dir()
        self.calls.append(f"dataset_ready {len(subjects)}")

    @hookimpl
    def xai_model_built(self, model: torch.nn.Module, fold: int) -> None:
        self.calls.append(f"model_built {fold}")

    @hookimpl
    def xai_epoch_finished(self, fold: int, epoch: int, scalars: dict[str, float]) -> bool:
        self.calls.append(f"epoch_finished {fold} {epoch}")
        return epoch < 0

    @hookimpl
    def xai_training_finished(self, model: Any, fold: int, result: Any, context: Any) -> None:
        (context.folder / "note.txt").write_text("kept")
        self.calls.append(f"training_finished {fold} {len(result.history)}")

    @hookimpl
    def xai_before_explain(self, model: Any, subject: Any, explainer: str) -> None:
        assert not model.training
        self.calls.append(f"before_explain {subject['subject_id']} {explainer}")

    @hookimpl
    def xai_explanation_computed(self, attribution: Any, subject: Any, explainer: str) -> None:
        self.calls.append(f"explanation_computed {tuple(attribution.relevance.shape)[:2]}")

    @hookimpl
    def xai_analysis_finished(self, analysis: str, folder: Path) -> None:
        assert (folder / "sums.tsv").is_file()
        self.calls.append(f"analysis_finished {analysis}")

    @hookimpl
    def xai_report_written(self, report: str, page: Path) -> None:
        assert page.is_file()
        self.calls.append(f"report_written {report}")

    @hookimpl
    def xai_run_failed(self, config: Any, folder: Path, error: BaseException) -> None:
        self.calls.append(f"run_failed {type(error).__name__}")

    @hookimpl
    def xai_run_finished(self, config: Any, folder: Path) -> None:
        self.calls.append("run_finished")


def hooked(study: Path, *plugins: object) -> Pipeline:
    pipeline = Pipeline.from_file(study / "toy.yaml")
    for position, plugin in enumerate(plugins):
        pipeline.hooks.register(plugin, f"plugin{position}")
    return pipeline


def test_hooks_are_called_in_the_order_of_the_run(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    original = Hooks.__init__

    def with_recorder(self: Hooks, *args: Any) -> None:
        original(self, *args)
        self.register(recorder, "recorder")

    monkeypatch.setattr(Hooks, "__init__", with_recorder)
    results = run(study)
    kinds = list(dict.fromkeys(call.split()[0] for call in recorder.calls))
    assert kinds == [
        "config_resolved", "run_started", "dataset_ready", "model_built", "epoch_finished", "training_finished",
        "before_explain", "explanation_computed", "analysis_finished", "report_written", "run_finished",
    ]  # fmt: skip
    assert "dataset_ready 8" in recorder.calls
    assert "epoch_finished 0 0" in recorder.calls
    assert "epoch_finished 0 1" not in recorder.calls, "False did not stop the training"
    assert "training_finished 1 1" in recorder.calls
    assert recorder.calls.count("explanation_computed (1, 1)") == 8
    assert (results.folder / "fold-0" / "note.txt").read_text(encoding="utf-8") == "kept"


def test_a_failing_hook_names_itself_and_stops_the_run(study: Path) -> None:
    class Bad:
        @hookimpl
        def xai_model_built(self, model: Any) -> None:
            raise KeyError("oops")

    recorder = Recorder()
    with pytest.raises(PluginError, match=r"xai_model_built of the plugin 'plugin0' failed: KeyError"):
        hooked(study, Bad(), recorder).run()
    assert recorder.calls[-1] == "run_failed PluginError"
    assert not (study / "results" / "toy" / "fold-0").exists()


def test_hooks_after_the_end_are_guarded(study: Path) -> None:
    class Bad:
        @hookimpl
        def xai_run_finished(self) -> None:
            raise KeyError("oops")

    results = hooked(study, Bad()).run()
    assert "xai_run_finished" in (results.folder / "log.txt").read_text(encoding="utf-8")


def test_nothing_is_trained_where_a_scan_is_unusable(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTrainer, "train", None)
    bad = np.full((9, 10, 8), np.nan, dtype=np.float32)
    nib.save(nib.Nifti1Image(bad, np.eye(4)), study / "study" / "a0.nii.gz")
    nib.save(nib.Nifti1Image(np.random.rand(9, 10, 8, 3).astype("f4"), np.eye(4)), study / "study" / "a2.nii.gz")
    with pytest.raises(InputError) as caught:
        run(study)
    assert "sub-a0" in str(caught.value)
    assert "NaN" in str(caught.value)
    assert "9 x 10 x 8 x 3" in str(caught.value)


def test_scans_of_different_shapes_are_refused_before_training(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTrainer, "train", None)
    nib.save(nib.Nifti1Image(np.random.rand(9, 12, 8).astype("f4"), np.eye(4)), study / "study" / "a0.nii.gz")
    with pytest.raises(InputError, match="differ in shape"):
        run(study)


def test_a_trainer_that_leaves_nan_is_noticed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ToyTrainer.train

    def explode(self: ToyTrainer, model: torch.nn.Module, *args: Any) -> Any:
        result = original(self, model, *args)
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        return result

    monkeypatch.setattr(ToyTrainer, "train", explode)
    with pytest.raises(Exception, match="NaN or infinite weights"):
        run(study)
    assert not (study / "results" / "toy" / "fold-0").exists()


@pytest.mark.parametrize("wrong", ["shape", "nan", "weights"])
def test_an_explainer_that_lies_is_stopped(study: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    original = ToyExplainer.explain

    def lie(self: ToyExplainer, model: torch.nn.Module, volumes: torch.Tensor, target: Any) -> Any:
        found = original(self, model, volumes, target)
        relevance = found.relevance
        if wrong == "shape":
            relevance = relevance[..., 1:]
        elif wrong == "nan":
            relevance = relevance * float("nan")
        else:
            with torch.no_grad():
                next(model.parameters()).add_(1)
        return type(found)(relevance, found.output, found.target)

    monkeypatch.setattr(ToyExplainer, "explain", lie)
    said = {"shape": "another shape", "nan": "NaN", "weights": "changed the network's weights"}[wrong]
    with pytest.raises(Exception, match=said):
        run(study)
    assert not list((study / "results" / "toy").glob("derivatives/sub-*/**/*.nii.gz"))


def test_regression_runs_end_to_end(study: Path) -> None:
    class Ages(ToyDataset):
        """The toy study with ages."""

        def subjects(self) -> Any:
            found = super().subjects()
            for number, subject in enumerate(found):
                subject["target"] = 60.0 + number
            return found

    registry.register("dataset", "toy", Ages)
    results = run(study)
    assert results.task == "regression"
    assert results.classes is None
    errors = (results.predictions()["target"] - results.predictions()["prediction"]).abs()
    assert results.metrics()["test"]["mae"]["value"] == pytest.approx(errors.mean())
    assert results.maps()[0].sidecar["target_name"] == "value"


def test_a_moved_run_folder_still_works(study: Path) -> None:
    folder = run(study).folder
    moved = study / "elsewhere"
    shutil.move(folder, moved)
    pipeline = Pipeline.from_folder(moved)
    assert pipeline.predict(study / "study" / "b1.nii.gz")["prediction"] in "ab"
    assert pipeline.run("explain").folder == moved


def test_maps_of_people_who_left_the_test_part_go_and_the_others_stay(study: Path) -> None:
    folder = run(study).folder
    before = bytes_of(folder / "derivatives")
    with Units(folder).make("maps/sub-gone/toy", "old network", "derivatives/sub-gone/anat") as unit:
        (unit / "sub-gone_desc-toy_relevance.nii.gz").write_bytes(b"an old map")
    Pipeline.from_file(study / "toy.yaml").run("train")
    assert bytes_of(folder / "derivatives") == before
    assert not (folder / "derivatives" / "sub-gone").exists()
