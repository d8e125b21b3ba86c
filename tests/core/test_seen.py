"""Scans of people whom a network was trained on are refused or marked; a scan's covariates are read as the study's."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest
import torchio as tio

from xai_core import InputError, Pipeline, Transform, registry
from xai_core.testing._toys import TOY_PIPELINE, ToyDataset, register_toys, write_toy_study

Xai = Callable[..., tuple[int, str, str]]
COVARIATES = {
    "a": {"age": 60, "sex": "F", "tiv": 1.5, "site": "1"},
    "b": {"age": None, "sex": "M", "tiv": 2.0, "site": "2"},
}


class Described(ToyDataset):
    """With covariates by class."""

    def subjects(self) -> Sequence[tio.Subject]:
        found = super().subjects()
        for subject in found:
            for name, value in COVARIATES[subject["target"]].items():
                subject[name] = value
        return found


class Recorder(tio.Transform):
    """Notes what it is given."""

    given: ClassVar[list[dict[str, Any]]] = []

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        self.given.append({name: subject.get(name, "not there") for name in ("age", "sex", "tiv", "site")})
        return subject


class Reads(Transform):
    """Reads age, sex, site and volume."""

    def build(self) -> tio.Transform:
        return Recorder()

    def covariates(self) -> Sequence[str]:
        return ("age", "sex", "site", "tiv")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; b7 trains in fold 0, and is tested in fold 1."""
    folder = tmp_path_factory.mktemp("seen")
    register_toys()
    registry.register("dataset", "toy", Described)
    registry.register("transform", "reads", Reads)
    write_toy_study(folder / "study")
    text = TOY_PIPELINE.replace("params: {folder: study}", "params: {folder: study}\n  transforms: [{name: reads}]")
    (folder / "toy.yaml").write_text(text, encoding="utf-8")
    results = Pipeline.from_file(folder / "toy.yaml").run()
    parts = results.splits().set_index(["fold", "subject_id"])["part"]
    assert (parts[0, "b7"], parts[0, "b3"], parts[1, "b7"]) == ("train", "test", "test")
    return folder


@pytest.fixture(autouse=True)
def _toys(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    register_toys()
    registry.register("dataset", "toy", Described)
    registry.register("transform", "reads", Reads)
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
    monkeypatch.setattr(Recorder, "given", [])
    yield
    register_toys()


def trained_on(finished: Path) -> Path:
    return finished / "study" / "b7.nii.gz"


def same_file(path: Path, _: Path) -> Any:
    return path


def renamed(path: Path, folder: Path) -> Any:
    return Path(shutil.copy(path, folder / "someone.nii.gz"))


def packed_again(path: Path, folder: Path) -> Any:
    (folder / "a.nii").write_bytes(gzip.decompress(path.read_bytes()))
    return folder / "a.nii"


def turned(path: Path, folder: Path) -> Any:
    nib.save(nib.as_closest_canonical(nib.load(path)), folder / "a.nii.gz")
    return folder / "a.nii.gz"


def in_memory(path: Path, _: Path) -> Any:
    return nib.load(path)


def as_torchio(path: Path, _: Path) -> Any:
    return tio.ScalarImage(tensor=tio.ScalarImage(path).data, affine=tio.ScalarImage(path).affine)


WAYS = [same_file, renamed, packed_again, turned, in_memory, as_torchio]


class TestTrainingPeople:
    @pytest.mark.parametrize("way", WAYS)
    def test_are_refused_or_marked(
        self, finished: Path, tmp_path: Path, way: Callable[[Path, Path], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        image = way(trained_on(finished), tmp_path)
        pipeline = Pipeline.from_folder(finished / "results" / "toy")
        for call in (pipeline.predict, pipeline.explain):
            with pytest.raises(
                InputError, match=r"an image of b7, whom the network of fold 0 .* fold 1, which has not"
            ):
                call(image)
        plain = pipeline.fold(0)
        caplog.clear()
        found = plain.predict(image, allow_training_people=True)
        assert found.pop("seen_in_training") is True
        assert set(found) == {"prediction", "probability_a", "probability_b"}
        sidecar = plain.explain(image, allow_training_people=True)["toy"].sidecar
        assert sidecar["seen_in_training"] is True
        assert [record.message.count("is marked") for record in caplog.records if record.levelname == "WARNING"].count(
            1
        ) == 1

    def test_validation_people_are_refused_too(self, finished: Path) -> None:
        pipeline = Pipeline.from_folder(finished / "results" / "toy")
        splits = pipeline.results.splits()
        person = splits[(splits["fold"] == 0) & (splits["part"] == "val")]["subject_id"].iloc[0]
        with pytest.raises(InputError, match=f"an image of {person}"):
            pipeline.predict(finished / "study" / f"{person}.nii.gz")

    def test_others_pass_unmarked(self, finished: Path, tmp_path: Path) -> None:
        pipeline = Pipeline.from_folder(finished / "results" / "toy")
        image = nib.load(trained_on(finished))
        other = nib.Nifti1Image(np.asarray(image.dataobj) * np.float32(1.001), image.affine)
        for scan, fold in ((trained_on(finished), 1), (finished / "study" / "b3.nii.gz", 0), (other, 0)):
            assert "seen_in_training" not in pipeline.predict(scan, fold)
            assert "seen_in_training" not in pipeline.explain(scan, fold=fold)["toy"].sidecar
            assert pipeline.predict(scan, fold, allow_training_people=True) == pipeline.predict(scan, fold)

    def test_a_run_that_noted_file_hashes_only(self, finished: Path, tmp_path: Path) -> None:
        """Runs of an earlier version."""
        folder = tmp_path / "old"
        shutil.copytree(finished / "results" / "toy", folder)
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        del info["voxel_hashes"]
        (folder / "run.json").write_text(json.dumps(info), encoding="utf-8")
        with pytest.raises(InputError, match="an image of b7"):
            Pipeline.from_folder(folder).predict(trained_on(finished))

    def test_another_image_in_the_folder_of_such_a_person(self, finished: Path, tmp_path: Path) -> None:
        """A later visit in the same BIDS folder; the same name elsewhere is a hint only."""
        folder = tmp_path / "run"
        shutil.copytree(finished / "results" / "toy", folder)
        first, later = (
            tmp_path / "bids" / "sub-b7" / f"ses-{n}" / "anat" / f"sub-b7_ses-{n}_T1w.nii.gz" for n in (1, 2)
        )
        table = (folder / "subjects.tsv").read_text(encoding="utf-8").replace(str(trained_on(finished)), str(first))
        (folder / "subjects.tsv").write_text(table, encoding="utf-8")
        image = nib.load(trained_on(finished))
        other = nib.Nifti1Image(np.asarray(image.dataobj) * np.float32(1.5), image.affine)
        later.parent.mkdir(parents=True)
        nib.save(other, later)
        pipeline = Pipeline.from_folder(folder)
        with pytest.raises(InputError, match="another image of b7"):
            pipeline.predict(later)
        assert pipeline.predict(later, allow_training_people=True)["seen_in_training"] is True

    def test_the_name_alone_is_a_hint(self, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        image = nib.load(trained_on(finished))
        path = tmp_path / "sub-b7_T1w.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * np.float32(1.5), image.affine), path)
        assert "seen_in_training" not in Pipeline.from_folder(finished / "results" / "toy").predict(path)
        assert "has the name of somebody whom the network of fold 0 was trained" in caplog.text

    def test_on_the_command_line(self, finished: Path, tmp_path: Path, xai: Xai) -> None:
        run, image = finished / "results" / "toy", trained_on(finished)
        for command in ("predict", "explain"):
            code, out, err = xai(command, run, "--image", image)
            assert (code, out) == (2, "")
            assert "--allow-training-people" in err
        code, out, err = xai("predict", run, "--image", image, "--allow-training-people", "--json")
        assert (code, json.loads(out)[0]["seen_in_training"]) == (0, True)
        maps = tmp_path / "maps"
        code, out, err = xai("explain", run, "--image", image, "--allow-training-people", "--json", "--output", maps)
        assert (code, json.loads(out)["seen_in_training"]) == (0, True)
        assert json.loads((maps / "b7_desc-toy_relevance.json").read_text(encoding="utf-8"))["seen_in_training"] is True
        assert not (run / "explained").exists()


class TestCovariates:
    def test_reach_the_transforms_with_the_types_of_the_table(self, finished: Path) -> None:
        pipeline = Pipeline.from_folder(finished / "results" / "toy")
        scan = finished / "study" / "a0.nii.gz"
        pipeline.predict(scan, covariates={"age": "71", "sex": "F", "tiv": 1, "site": 3})
        assert Recorder.given[-1] == {"age": 71, "sex": "F", "tiv": 1, "site": "3"}
        pipeline.explain(scan, covariates={"age": 71.5, "sex": "n/a", "tiv": "1.25"})
        assert Recorder.given[-1] == {"age": 71.5, "sex": None, "tiv": 1.25, "site": "not there"}

    def test_those_that_transforms_read_are_asked_for(self, finished: Path, caplog: pytest.LogCaptureFixture) -> None:
        fold = Pipeline.from_folder(finished / "results" / "toy").fold(0)
        scan = finished / "study" / "a0.nii.gz"
        fold.predict(scan)
        fold.predict(scan)
        assert caplog.text.count("reads age, sex, site, tiv, which is not known of this scan") == 1
        caplog.clear()
        fold.predict(scan, covariates={"age": 70, "sex": "F", "site": "1", "tiv": 1.5})
        assert "not known" not in caplog.text

    def test_wrong_ones_are_told_together(self, finished: Path) -> None:
        pipeline = Pipeline.from_folder(finished / "results" / "toy")
        with pytest.raises(InputError) as caught:
            pipeline.predict(
                finished / "study" / "a0.nii.gz", covariates={"agee": 1, "tiv": "much", "target": "a", "age": True}
            )
        for said in (
            "'agee' is no covariate of the study. Did you mean 'age'?",
            "Known: session_id, site, age, sex, tiv",
            "tiv: 'much' is no number",
            "'target' is no covariate",
            "age: True is no number",
        ):
            assert said in str(caught.value)
        with pytest.raises(InputError, match="is no number"):
            pipeline.predict(finished / "study" / "a0.nii.gz", covariates={"age": "inf"})

    def test_on_the_command_line(self, finished: Path, tmp_path: Path, xai: Xai) -> None:
        run, image = finished / "results" / "toy", finished / "study" / "a0.nii.gz"
        code, _, err = xai("predict", run, "--image", image, "--covariate", "age=71", "--covariate", "sex = F")
        assert (code, Recorder.given[-1]["age"], Recorder.given[-1]["sex"]) == (0, 71, "F"), err
        code, _, err = xai("explain", run, "--image", image, "--covariate", "tiv=1e3", "--output", tmp_path / "maps")
        assert (code, Recorder.given[-1]["tiv"]) == (0, 1000.0), err
        wrong: Mapping[str, list[object]] = {
            "is not NAME=VALUE": ["--covariate", "age"],
            "is given twice": ["--covariate", "age=1", "--covariate", "age=2"],
            "is of one person": ["--covariate", "age=1", "--image", finished / "study" / "b1.nii.gz"],
            "'size' is no covariate": ["--covariate", "size=1"],
        }
        for said, arguments in wrong.items():
            code, _, err = xai("predict", run, "--image", image, *arguments)
            assert code == 2
            assert said in err
        code, _, err = xai("explain", run, "--covariate", "age=1")
        assert code == 2
        assert "belong to --image" in err
