"""Explaining a study: scans read ahead and maps written in the background give what a plain loop gives."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from torch import Tensor, nn

from xai_core import Attribution, Evaluator, Explainer, Fold, InputError, Pipeline, Transform, hookimpl, registry
from xai_core.cli import main
from xai_core.engine import cohort, controls
from xai_core.engine.explaining import Explanation, explain_subject
from xai_core.engine.progress import log
from xai_core.engine.results import RunResults
from xai_core.engine.seeding import seeded, unit_seed
from xai_core.testing._toys import (
    TOY_PIPELINE,
    ToyDataset,
    ToyExplainer,
    ToyModel,
    ToySplitter,
    ToyTrainer,
    register_toys,
    write_toy_study,
)

NOT_RESULTS = {"log.txt", "lock", "scans.json"}


class Noisy(Explainer):
    """Draws random numbers: another order of work must not give it others."""

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        with torch.no_grad():
            output = model(volumes)
        chosen = output.argmax(1) if target is None else target
        noise = torch.randn_like(volumes) + float(np.random.rand())
        return Attribution(noise, output.gather(1, chosen[:, None])[:, 0], chosen)


class NoisyScores(Evaluator):
    """Random too, and takes the relevance and the volume."""

    def evaluate(
        self, model: nn.Module, volumes: Tensor, attributions: Attribution, masks: Tensor | None
    ) -> Sequence[Mapping[str, float | None]]:
        overlap = float((attributions.relevance * volumes).sum())
        return [{"overlap": overlap, "draw": float(torch.rand(()))}]


class Halved(Transform):
    """Resamples, so that maps have to be brought back to the scan's grid."""

    def build(self) -> Any:
        return tio.Resample(4.0)


PIPELINE = (
    TOY_PIPELINE.replace("  - {name: toy}", "  - {name: toy}\n  - {id: double, name: toy, params: {scale: 2}}\n"
                         "  - {name: noisy}", 1)
    .replace("evaluators: [{name: toy}]", "evaluators: [{name: toy}, {name: noisy}]")
    .replace("  params: {folder: study}", "  params: {folder: study}\n  transforms: [{name: halved}]")
)  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    register_toys()
    registry.register("explainer", "noisy", Noisy)
    registry.register("evaluator", "noisy", NoisyScores)
    registry.register("transform", "halved", Halved)
    write_toy_study(tmp_path / "study")
    (tmp_path / "toy.yaml").write_text(PIPELINE, encoding="utf-8")
    before = log.propagate, log.level, list(log.handlers)
    yield tmp_path
    log.propagate, log.level, log.handlers[:] = before  # the command line takes the log for itself
    register_toys()


def run(study: Path, *plugins: object) -> RunResults:
    pipeline = Pipeline.from_file(study / "toy.yaml")
    for position, plugin in enumerate(plugins):
        pipeline.hooks.register(plugin, f"plugin{position}")
    return pipeline.run()


def bytes_of(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in NOT_RESULTS)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_maps_and_scores_are_those_of_a_plain_loop(study: Path) -> None:
    results = run(study)
    pipeline = Pipeline.from_folder(results.folder)
    slots = {slot["id"]: slot for slot in pipeline.config["explainers"]}
    records = results.maps()
    assert len(records) == 8 * 3
    scores = {name: results.evaluation(name).set_index(["scan_id", "explainer"]) for name in ("toy", "noisy")}
    for record in reversed(records):  # in another order than the run's
        sidecar, slot = record.sidecar, slots[record.sidecar["explainer_id"]]
        fold = pipeline.fold(sidecar["fold"]).loaded
        scan = tio.Subject(image=tio.ScalarImage(record.image), subject_id=sidecar["subject_id"])
        found = explain_subject(fold, slot, scan, fold.preprocessing.prepare(scan), seed=pipeline.config["seed"])
        np.testing.assert_array_equal(np.asarray(found.image.dataobj), np.asarray(nib.load(record.path).dataobj))
        assert json.loads(json.dumps(found.sidecar)) == sidecar
        prepared = fold.preprocessing.prepare(scan)
        volumes = prepared["image"].data[None].float()
        with seeded(unit_seed(pipeline.config["seed"], "evaluation", record.scan_id, "noisy")):
            (expected,) = NoisyScores().evaluate(fold.model, volumes, found.attribution, None)
        row = scores["noisy"].loc[record.scan_id, slot["id"]]
        assert (row["overlap"], row["draw"]) == pytest.approx((expected["overlap"], expected["draw"]), rel=1e-6)
        mean = float(found.attribution.relevance.abs().mean())
        assert scores["toy"].loc[record.scan_id, slot["id"]]["mean"] == pytest.approx(mean, rel=1e-6)


def test_every_scan_is_read_once_for_all_explainers_and_the_network_once_for_a_fold(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    networks: list[int] = []
    original, load = cohort._loaded, cohort.FoldModel.load

    def count(scan: tio.Subject) -> tio.Subject:
        loaded.append(scan["subject_id"])
        return original(scan)

    monkeypatch.setattr(cohort, "_loaded", count)
    monkeypatch.setattr(cohort.FoldModel, "load", lambda *a: networks.append(a[2]) or load(*a))
    run(study)
    assert sorted(loaded) == sorted(set(loaded))
    assert len(loaded) == 8
    assert networks == [0, 1]


@pytest.mark.parametrize("failing", [1, 5, 12])
def test_a_full_disk_in_the_background_ends_the_run_and_the_next_one_completes_it(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: int
) -> None:
    expected = bytes_of(run(study).folder)
    for path in sorted((study / "results").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    save, calls = Explanation.save, []

    def full(self: Explanation, path: Path) -> None:
        calls.append(path)
        save(self, path)
        if len(calls) == failing:
            path.write_bytes(path.read_bytes()[:50])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Explanation, "save", full)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(study / "toy.yaml")])
    assert ended.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if "Error" in line or "Traceback" in line]
    assert len(errors) == 1
    assert errors[0].startswith("Error: No space is left for")
    assert "(maps/sub-" in errors[0]
    assert "Make room and run again." in errors[0]
    folder = study / "results" / "toy"
    written = list(folder.glob("derivatives/*/anat/*.nii.gz"))
    assert len(written) == failing - 1, "what was finished before stays, what failed leaves nothing"
    for path in written:
        nib.load(path).get_fdata()
    monkeypatch.setattr(Explanation, "save", save)
    run(study)
    assert bytes_of(folder) == expected
    assert not list(folder.glob(".xai/tmp/*"))


def test_another_defect_in_the_background_is_not_swallowed(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last map is the one whose writing nothing comes after."""
    save, calls = Explanation.save, []

    def last(self: Explanation, path: Path) -> None:
        calls.append(path)
        if len(calls) == 12:  # of fold 0
            raise ZeroDivisionError("in the writer")
        save(self, path)

    monkeypatch.setattr(Explanation, "save", last)
    with pytest.raises(ZeroDivisionError, match="in the writer"):
        run(study)
    assert len(calls) == 12


class Deletes:
    """Takes away the file of a person while the one before is explained."""

    def __init__(self, folder: Path, before: str, victim: str) -> None:
        self.folder, self.before, self.victim = folder, before, victim

    @hookimpl
    def xai_before_explain(self, subject: Any, explainer: str) -> None:
        if subject["subject_id"] == self.before:
            (self.folder / f"{self.victim}.nii.gz").unlink(missing_ok=True)


@pytest.mark.parametrize("transforms", [True, False])
def test_a_scan_that_has_gone_since_is_told_by_name(study: Path, transforms: bool) -> None:
    text = PIPELINE if transforms else PIPELINE.replace("  transforms: [{name: halved}]\n", "")
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    order = [str(r.sidecar["subject_id"]) for r in run(study).maps("toy") if r.sidecar["fold"] == 0]
    folder = study / "results" / "toy"
    for path in folder.glob("derivatives/sub-*/anat/*"):
        path.unlink()
    kept = (study / "study" / f"{order[2]}.nii.gz").read_bytes()
    with pytest.raises(InputError, match=rf"sub-{order[2]}: .*{order[2]}\.nii\.gz cannot be read any more"):
        run(study, Deletes(study / "study", order[0], order[2]))
    assert len(list(folder.glob("derivatives/*/anat/*.nii.gz"))) == 3 * 2
    (study / "study" / f"{order[2]}.nii.gz").write_bytes(kept)
    assert len(run(study).maps()) == 24


class Watches:
    """Looks at the study's subjects during the run."""

    def __init__(self) -> None:
        self.subjects: Sequence[tio.Subject] = ()
        self.seen: list[int] = []

    @hookimpl
    def xai_dataset_ready(self, subjects: Any) -> None:
        self.subjects = subjects

    @hookimpl
    def xai_explanation_computed(self, subject: Any) -> None:
        self.seen.append(sum(s["image"]._loaded for s in self.subjects))


def test_the_studys_subjects_keep_no_voxels_in_memory(study: Path) -> None:
    watches = Watches()
    run(study, watches)
    assert watches.seen == [0] * 24
    assert not any(subject["image"]._loaded for subject in watches.subjects)


class Needy(ToyExplainer):
    """Wants the mean of the controls, and reports it."""

    given: ClassVar[list[Tensor]] = []

    def uses_controls(self) -> bool:
        return True

    def set_controls(self, mean: Tensor) -> None:
        self.mean = mean

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        Needy.given.append(self.mean)
        return super().explain(model, volumes - self.mean, target)


class Ages(ToyDataset):
    """The same people with ages in place of classes."""

    def subjects(self) -> Sequence[tio.Subject]:
        found = super().subjects()
        for number, subject in enumerate(found):
            subject["target"] = 50.0 + number
        return found


class Interleaved(ToySplitter):
    """Every second person is tested, so that both classes are in every part."""

    def split(self, table: Any, seed: int) -> Sequence[Fold]:
        people = list(table["subject_id"])
        return [Fold(tuple(people[1 - k :: 2]), (), tuple(people[k::2])) for k in (0, 1)]


@pytest.fixture
def needy(study: Path) -> Path:
    Needy.given = []
    registry.register("splitter", "toy", Interleaved)
    registry.register("explainer", "needy", Needy)
    text = PIPELINE.replace("  - {name: noisy}", "  - {name: needy}\n  - {id: needy2, name: needy}")
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    return study


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_controls_are_the_training_parts_people_of_the_first_class(
    needy: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if task == "regression":
        registry.register("dataset", "toy", Ages)
    saved: list[Path] = []
    save = controls.save_tensors

    def watched(value: Any, path: Path) -> None:
        saved.append(path)
        save(value, path)

    monkeypatch.setattr(controls, "save_tensors", watched)
    results = run(needy)
    assert sum(path.name == "controls.pt" for path in saved) == 2, "once for each fold"
    splits = results.splits()
    for fold in (0, 1):
        rows = splits[(splits["fold"] == fold) & (splits["part"] == "train")]
        people = [p for p in rows["subject_id"] if task == "regression" or p.startswith("a")]
        assert 0 < len(people) < len(rows) or task == "regression"
        prepared = [tio.Resample(4.0)(tio.ScalarImage(needy / "study" / f"{p}.nii.gz")).data for p in people]
        expected = torch.stack(prepared).double().mean(0).float()
        stored = torch.load(results.folder / f"fold-{fold}" / "controls.pt", weights_only=True)
        torch.testing.assert_close(stored, expected, rtol=1e-6, atol=1e-6)
        part = Needy.given[8 * fold : 8 * fold + 8]  # 4 people, 2 explainers
        assert all(torch.equal(mean, stored) for mean in part)
    assert len(Needy.given) == 16


def test_a_finished_run_explains_with_the_mean_that_it_has_kept(needy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(needy)
    Needy.given = []
    before = bytes_of(results.folder)
    scan = needy / "study" / "a0.nii.gz"
    pipeline = Pipeline.from_folder(results.folder)
    fold = next(r.sidecar["fold"] for r in results.maps("needy") if r.sidecar["subject_id"] == "a0")
    found = pipeline.explain(scan, ["needy"], fold=fold)["needy"]
    stored = torch.load(results.folder / f"fold-{fold}" / "controls.pt", weights_only=True)
    assert torch.equal(Needy.given[0], stored)
    record = next(r for r in results.maps("needy") if r.sidecar["subject_id"] == "a0")
    np.testing.assert_array_equal(np.asarray(found.image.dataobj), np.asarray(nib.load(record.path).dataobj))
    assert bytes_of(results.folder) == before
    (results.folder / f"fold-{fold}" / "controls.pt").unlink()
    with pytest.raises(InputError, match=r"explainer needy: it compares with the mean of the controls.*Run 'xai run'"):
        Pipeline.from_folder(results.folder).explain(scan, ["needy"], fold=fold)
    assert "toy" in Pipeline.from_folder(results.folder).explain(scan, ["toy"], fold=fold)
    run(needy)  # everything else is done: the mean is not made again for nothing
    assert not (results.folder / f"fold-{fold}" / "controls.pt").is_file()
    next((results.folder / "derivatives").glob("sub-a0/anat/*needy_relevance.nii.gz")).unlink()
    run(needy)
    assert bytes_of(results.folder) == before


def test_a_fold_without_controls_is_refused_before_training(needy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTrainer, "train", None)
    monkeypatch.setattr(Interleaved, "split", lambda *_: [Fold(("b1", "b3"), ("a0",), ("a2", "b5"))])
    with pytest.raises(InputError, match=r"fold 0: nobody in the training part is a; there is b \(2\)"):
        run(needy)
    assert not (needy / "results").exists()


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Waves(ToyModel):
    """A network with an operation that LRP has no rule for."""

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        layers = list(super().build(input_shape, outputs))
        return nn.Sequential(layers[0], Sine(), *layers[2:])


LRP_TWICE = PIPELINE.replace("  - {name: noisy}", "  - {id: relevance, name: lrp}", 1)


def test_a_network_that_an_explainer_refuses_stops_the_run_before_training(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ToyTrainer, "train", None)
    registry.register("model", "toy", Waves)
    (study / "toy.yaml").write_text(LRP_TWICE, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["run", str(study / "toy.yaml")])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "explainer relevance: This network cannot be explained layer by layer" in message
    assert "sin in module 1" in message
    assert f"{Path(__file__).name}:" in message
    assert not (study / "results").exists()


def test_a_refusal_after_something_was_finished_leaves_no_half_a_fold(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fold 1 is refused: what fold 0 has done stays."""
    calls: list[int] = []

    class Late(Noisy):
        def check_model(self, model: nn.Module, volumes: Tensor) -> None:
            assert not model.training
            assert volumes.shape[:2] == (1, 1)
            calls.append(1)
            if len(calls) == 2:
                raise InputError("not this one")

    registry.register("explainer", "noisy", Late)
    with pytest.raises(InputError, match=r"^explainer noisy: not this one"):
        run(study)
    folder = study / "results" / "toy"
    assert sorted(p.name for p in folder.glob("fold-*")) == ["fold-0"]
    assert len(list(folder.glob("derivatives/*/anat/*.nii.gz"))) == 12


class Noisiest(ToyModel):
    """Dropout and batch statistics: what runs the network in training mode, or draws numbers, shows."""

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        layers = list(super().build(input_shape, outputs))
        return nn.Sequential(layers[0], nn.BatchNorm3d(2), nn.Dropout(0.5), *layers[1:])


def test_training_does_not_depend_on_the_explainers(study: Path) -> None:
    registry.register("model", "toy", Noisiest)
    weights = {}
    explainers = {
        "none": "",
        "lrp": "  - {name: lrp}\n",
        "three": "  - {name: lrp}\n  - {name: noisy}\n  - {name: toy}\n",
    }
    start, rest = PIPELINE.split("explainers:\n")
    rest = rest[rest.index("evaluators") :]
    for name, listed in explainers.items():
        text = start.replace("name: toy\nseed", f"name: {name}\nseed", 1)
        text += f"explainers:\n{listed}{rest}" if listed else "reports: [{name: toy}]\n"
        (study / "toy.yaml").write_text(text, encoding="utf-8")
        folder = run(study).folder
        files = [folder / f"fold-{i}" / n for i in (0, 1) for n in ("checkpoint.pt", "history.csv")]
        weights[name] = [path.read_bytes() for path in (*files, folder / "predictions.tsv")]
    assert weights["none"] == weights["lrp"] == weights["three"]


class Told(Noisy):
    """Reports a law of conservation with the shares that the test wants."""

    shares: ClassVar[Mapping[str, float | None]] = {}

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        found = super().explain(model, volumes, target)
        name = next(n for n, mean in MEANS.items() if mean == pytest.approx(float(volumes.mean()), abs=1e-9))
        law = {"sum_of_relevance": 1.0, "unexplained_share": self.shares.get(name, 0.0)}
        return Attribution(found.relevance, found.output, found.target, [{"conservation": law, "other": 3}])


MEANS: dict[str, float] = {}


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({}, None),
        ({"a0": 0.01, "b1": -0.0099, "a2": None}, None),
        ({"a0": 0.0101}, "1 of 8 maps .* sub-a0, 1.0 %"),
        ({"a0": 0.02, "b7": -0.4, "a4": None}, "2 of 8 maps .* sub-b7, 40.0 %"),
    ],
)  # fmt: skip
def test_a_loss_above_one_percent_is_told_and_no_other(
    study: Path, shares: dict[str, float | None], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    MEANS.update({
        path.name.partition(".")[0]: float(tio.Resample(4.0)(tio.ScalarImage(path)).data.contiguous().mean())
        for path in (study / "study").glob("*.nii.gz")
    })  # fmt: skip
    Told.shares = shares
    registry.register("explainer", "told", Told)
    text = PIPELINE.replace("  - {name: noisy}", "  - {name: told}", 1)
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    with caplog.at_level(logging.WARNING, "xai"):
        results = run(study)
    warnings = [r.getMessage() for r in caplog.records if "of the relevance is" in r.getMessage()]
    assert len(warnings) == (said is not None)
    written = (results.folder / "log.txt").read_text(encoding="utf-8")
    if said is not None:
        assert re.search(rf"told: in {said}", warnings[0])
        assert warnings[0] in written
    else:
        assert "WARNING" not in written
    for record in results.maps():
        sidecar = record.sidecar
        if sidecar["explainer_id"] != "told":
            assert "conservation" not in sidecar
            continue
        assert sidecar["conservation"]["unexplained_share"] == shares.get(str(sidecar["subject_id"]), 0.0)
        assert sidecar["details"] == {"other": 3}


class Repeated(ToySplitter):
    """Everybody is tested in two repeats."""

    def split(self, table: Any, seed: int) -> Sequence[Fold]:
        folds = super().split(table, seed)
        return [replace(fold, repeat=repeat) for repeat in (0, 1) for fold in folds]


def test_every_map_of_a_repeated_cross_validation_counts_as_one(study: Path, caplog: pytest.LogCaptureFixture) -> None:
    MEANS.update({
        path.name.partition(".")[0]: float(tio.Resample(4.0)(tio.ScalarImage(path)).data.contiguous().mean())
        for path in (study / "study").glob("*.nii.gz")
    })  # fmt: skip
    Told.shares = {"a0": 0.02, "b7": -0.4}
    registry.register("explainer", "told", Told)
    registry.register("splitter", "toy", Repeated)
    text = PIPELINE.replace("  - {name: noisy}", "  - {name: told}", 1)
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    with caplog.at_level(logging.WARNING, "xai"):
        run(study)
    assert "told: in 4 of 16 maps more than 1 %" in caplog.text


def test_maps_that_are_zero_everywhere_are_told(study: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Mute(ToyExplainer):
        def explain(self, model: Any, volumes: Any, target: Any) -> Any:
            found = super().explain(model, volumes, target)
            if float(volumes.mean()) > median:
                return replace(found, relevance=torch.zeros_like(found.relevance))
            middle = torch.zeros_like(found.relevance)  # its sum is 0, the map is not
            middle[..., 0, 0, 0], middle[..., 0, 0, 1] = 1.0, -1.0
            return replace(found, relevance=middle)

    means = [
        float(tio.Resample(4.0)(tio.ScalarImage(path)).data.contiguous().mean())
        for path in (study / "study").glob("*.nii.gz")
    ]
    median = float(np.median(means))
    registry.register("explainer", "mute", Mute)
    text = PIPELINE.replace("  - {name: noisy}", "  - {name: mute}", 1)
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    with caplog.at_level(logging.WARNING, "xai"):
        results = run(study)
    told = [line for line in caplog.messages if "zero everywhere" in line]
    zero = [one for one in results.maps("mute") if not nib.load(one.path).get_fdata().any()]
    assert 0 < len(zero) < len(results.maps("mute"))
    assert len(told) == 1
    assert told[0].startswith(
        f"mute: {len(zero)} of {len(results.maps('mute'))} maps are zero everywhere ({zero[0].scan_id},"
    )


def test_lrp_tells_what_a_narrow_network_loses(study: Path) -> None:
    """Without a ReLU between, neurons of negative value bring relevance that z+ can give to nobody."""

    class Narrow(ToyModel):
        def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
            layers = list(super().build(input_shape, outputs))
            nn.init.constant_(layers[0].weight[0], -0.05), nn.init.constant_(layers[0].weight[1], 0.05)
            return nn.Sequential(layers[0], *layers[2:])

    registry.register("model", "toy", Narrow)
    (study / "toy.yaml").write_text(LRP_TWICE, encoding="utf-8")
    results = run(study)
    shares = [r.sidecar["conservation"]["unexplained_share"] for r in results.maps("relevance")]
    assert max(abs(share) for share in shares) > 0.01
    for record in results.maps("relevance"):
        law = record.sidecar["conservation"]
        left = law["start"] - law["sum_of_relevance"] - law["absorbed_by_biases"] - law["absorbed_by_epsilon"]
        assert law["unexplained"] == pytest.approx(left, abs=1e-6)
        assert law["sum_of_relevance"] == pytest.approx(record.sidecar["sum_of_relevance"], rel=1e-5)
    assert "relevance: in " in (results.folder / "log.txt").read_text(encoding="utf-8")
