"""Each kind of leak in a study that is made to have it; a clean study passes."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import torchio as tio

from xai_core import Fold, InputError, Splitter, Transform, registry
from xai_core.engine.leakage import Evidence, LeakageError, Scan, findings_of
from xai_core.engine.leakids import look_alikes, might_be_alike
from xai_core.testing._toys import TOY_PIPELINE, ToyModel, ToySplitter, register_toys, write_toy_study

Xai = Callable[..., tuple[int, str, str]]


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Path]:
    register_toys()
    write_toy_study(tmp_path / "study")
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    yield tmp_path
    register_toys()


def check(study: Path, xai: Xai, *more: str) -> tuple[int, dict[str, Any]]:
    """Return exit code and findings of the pipeline, which a run must refuse just as ``check-leakage`` does."""
    code, out, err = xai("check-leakage", study / "toy.yaml", "--json", *more)
    found: dict[str, Any] = json.loads(out)
    assert found["clean"] == (code == 0), err
    if code:
        run_code, _, told = xai("run", study / "toy.yaml", *more)
        assert run_code == 2
        for leak in found["leaks"]:
            assert leak["message"][:60] in told
        assert not (study / "results").exists()
    return code, found


def kinds(found: Mapping[str, Any], which: str = "leaks") -> list[str]:
    return [finding["kind"] for finding in found[which]]


def evidence(folds: Sequence[Fold], *scans: Scan) -> Evidence:
    people = sorted({person for fold in folds for part in (fold.train, fold.val, fold.test) for person in part})
    return Evidence(scans or [Scan(f"sub-{person}", person, "x") for person in people], folds)


class Given(Splitter):
    """The folds that a test gives."""

    given: ClassVar[Sequence[Fold]] = ()

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        del table, seed
        return self.given


def give(*folds: Fold) -> None:
    registry.register("splitter", "toy", type("Here", (Given, ToySplitter), {"given": folds}))


def test_a_clean_study_passes_and_so_does_its_run(study: Path, xai: Xai) -> None:
    code, found = check(study, xai)
    assert (code, found["leaks"], found["warnings"]) == (0, [], [])
    assert found["checked"] == {"people": 8, "scans": 8, "folds": 2, "file_hashes": 8, "voxel_hashes": 8}
    assert xai("run", study / "toy.yaml")[0] == 0
    shutil.rmtree(study / "study")  # what a run has recorded is enough
    code, out, _ = xai("check-leakage", study / "results" / "toy")
    assert (code, out) == (0, "No leak found: 8 people, 8 scans (8 compared by their voxels), 2 folds.\n")


class TestPeople:
    def test_a_person_in_two_parts_of_several_folds(self, study: Path, xai: Xai) -> None:
        give(
            Fold(("a0", "a2", "b1"), ("a4", "b3"), ("a0", "b5")),
            Fold(("a0", "b1", "a4"), ("a4",), ("b3", "a2"), repeat=1),
        )
        code, found = check(study, xai)
        assert code == 2
        assert kinds(found) == ["person-in-two-parts", "person-in-two-parts"]
        assert [(leak["people"], leak["folds"]) for leak in found["leaks"]] == [(["a4"], [1]), (["a0"], [0])]
        assert found["leaks"][1]["files"] == [str(study / "study" / "a0.nii.gz")]
        assert "trained on" in found["leaks"][1]["message"]

    def test_selection_on_the_test_part(self, study: Path, xai: Xai) -> None:
        """As studies do that stop early on the fold that they test."""
        give(Fold(("a0", "b1", "a2"), ("b3", "a4"), ("b3", "a4")))
        code, found = check(study, xai)
        assert (code, kinds(found), found["leaks"][0]["people"]) == (2, ["selection-on-test"], ["a4", "b3"])
        assert "early stopping" in found["leaks"][0]["message"]

    def test_a_held_out_cohort_that_takes_part(self, study: Path, xai: Xai) -> None:
        give(
            Fold(("a0", "b1"), (), ("b3",), held_out=("a6", "b7")),
            Fold(("a2", "b3", "b7"), (), ("b1",), held_out=("a6", "b7")),
        )
        code, found = check(study, xai)
        assert (code, kinds(found), found["leaks"][0]["people"]) == (2, ["held-out-shared"], ["b7"])

    def test_all_findings_at_once(self, study: Path, xai: Xai) -> None:
        shutil.copy(study / "study" / "a0.nii.gz", study / "study" / "a4.nii.gz")
        give(Fold(("a0", "b1", "a2"), ("b3",), ("b3", "a4")), Fold(("a0", "b1", "b3"), ("a4",), ("b1", "a2"), repeat=1))
        code, found = check(study, xai)
        assert (code, sorted(kinds(found))) == (2, ["person-in-two-parts", "same-image", "selection-on-test"])
        code, out, err = xai("check-leakage", study / "toy.yaml")
        assert (code, out) == (2, "")
        assert "Error: the study leaks (3 findings):\n  " in err
        assert str(study / "study" / "a4.nii.gz") in err

    @pytest.mark.parametrize(
        ("ids", "alike"),
        [
            (("0012", "12"), True),
            (("sub-0012", "12"), True),
            (("ADNI-7", "adni_007"), True),
            (("0012_ses-1", "0012_ses-2"), True),
            (("sub-0012ses01", "sub-0012"), True),
            (("002_S_0295_bl", "002_S_0295_m12"), True),
            (("sub-0012m12", "sub-0012m24"), True),
            (("ADNI002S0295bl", "ADNI002S0295"), True),
            (("A12m12", "A12m24"), False),  # fewer than three digits: a code, not surely a visit
            (("OAS1_0001_MR1", "OAS1_0001_MR2"), True),
            (("p12_baseline", "p12_followup2"), True),
            (("A001_20140203", "A001_20150312"), True),
            (("A001_2014-02-03", "A001"), True),
            (("A001_year2", "A001_12mo"), True),
            (("A001_20140203", "A002_20140203"), False),
            (("20140203", "20150312"), False),
            (("S1_20141303", "S1_20151303"), False),
            (("12", "120"), False),
            (("10", "1"), False),
            (("1-1", "11"), False),
            (("AD_M01", "AD_M02"), False),
            (("A12", "B12"), False),
            (("7bruno", "7"), False),
            (("002_S_0295", "002_S_0296"), False),
            (("session1", "session2"), False),
        ],
    )
    def test_ids_that_look_alike(self, ids: tuple[str, str], alike: bool) -> None:
        assert (look_alikes(ids) == [tuple(sorted(ids))]) == alike
        assert (findings_of(evidence([Fold((ids[0],), (), (ids[1],))])) != []) == alike

    def test_look_alikes_are_refused_in_different_parts_and_told_in_one(self) -> None:
        folds = [Fold(("7", "a"), ("b",), ("007", "c")), Fold(("c",), ("7", "007"), ("a",), repeat=1)]
        (found,) = findings_of(evidence(folds))
        assert (found.kind, found.leak, found.people, found.folds) == ("person-in-two-parts", True, ("007", "7"), (0,))
        (found,) = findings_of(evidence(folds[1:]))
        assert (found.kind, found.leak) == ("similar-ids", False)

    def test_a_number_behind_a_name_is_a_hint(self) -> None:
        """A cohort that counts from 1 beside another one."""
        assert might_be_alike(["1", "2", "OAS-0002", "OAS-3", "A-B-1"]) == [("2", "OAS-0002")]
        (found,) = findings_of(evidence([Fold(("1", "2"), (), ("OAS-0002", "OAS-3"))]))
        assert (found.kind, found.leak, found.people) == ("similar-ids", False, ("2", "OAS-0002"))

    def test_a_splitter_that_refuses_does_not_hide_the_rest(self, study: Path, xai: Xai) -> None:
        class Refuses(ToySplitter):
            def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
                raise InputError("too few people")

        registry.register("splitter", "toy", Refuses)
        code, _, err = xai("check-leakage", study / "toy.yaml")
        assert code == 2
        assert err.endswith("Error: too few people\n")
        shutil.copy(study / "study" / "a0.nii.gz", study / "study" / "b1.nii.gz")
        code, _, err = xai("run", study / "toy.yaml")
        assert code == 2
        assert "too few people\nBesides, the study leaks (1 finding):\n  same-image: sub-a0" in err


def same(path: Path) -> nib.Nifti1Image:
    image = nib.load(path)
    return nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)


def copied(path: Path) -> None:
    shutil.copy(path.with_name("a0.nii.gz"), path)


def packed_again(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.with_name("a0.nii.gz").read_bytes()), 1))


def another_header(path: Path) -> None:
    image = same(path.with_name("a0.nii.gz"))
    image.header["descrip"] = b"another scanner"
    nib.save(image, path)


def another_place(path: Path) -> None:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(np.asarray(same(path.with_name("a0.nii.gz")).dataobj), affine), path)


def other_axes(path: Path) -> None:
    """The same image, its axes stored in another order and direction."""
    nib.save(nib.as_closest_canonical(same(path.with_name("a0.nii.gz"))), path)


def double_precision(path: Path) -> None:
    image = same(path.with_name("a0.nii.gz"))
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float64), image.affine), path)


COPIES = [copied, packed_again, another_header, another_place, other_axes, double_precision]


class TestImages:
    @pytest.mark.parametrize("copy", COPIES)
    def test_the_same_image_under_two_names(self, study: Path, xai: Xai, copy: Callable[[Path], None]) -> None:
        """a0 is tested in fold 0, where a6 trains or validates."""
        copy(study / "study" / "a6.nii.gz")
        code, found = check(study, xai)
        assert (code, kinds(found)) == (2, ["same-image"])
        (leak,) = found["leaks"]
        assert leak["people"] == ["a0", "a6"]
        assert leak["files"] == [str(study / "study" / name) for name in ("a0.nii.gz", "a6.nii.gz")]
        assert ("the same file content" in leak["message"]) == (copy is copied)

    def test_one_voxel_makes_another_image(self, study: Path, xai: Xai) -> None:
        image = same(study / "study" / "a0.nii.gz")
        values = np.array(image.dataobj)
        values[3, 3, 3] += 0.05
        nib.save(nib.Nifti1Image(values, image.affine), study / "study" / "a6.nii.gz")
        assert check(study, xai)[0] == 0
        code, out, _ = xai("check-leakage", study / "toy.yaml", "--json", "--near-duplicates")
        found = json.loads(out)
        assert (code, kinds(found, "warnings")) == (0, ["near-duplicate"])
        assert found["warnings"][0]["people"] == ["a0", "a6"]

    def test_two_visits_with_one_image_are_told(self) -> None:
        rows = (("1", "1", "d"), ("1", "2", "d"), ("2", "1", "e"))
        scans = [Scan(f"sub-{person}_ses-{visit}", person, "x", digest=digest) for person, visit, digest in rows]
        (found,) = findings_of(evidence([Fold(("1",), (), ("2",))], *scans))
        assert (found.kind, found.leak, found.people) == ("same-image", False, ("1",))

    def test_two_people_in_one_part_are_told_and_refused_with_two_diagnoses(self) -> None:
        scans = [Scan("sub-1", "1", "CN", digest="d"), Scan("sub-2", "2", "CN", digest="d"), Scan("sub-3", "3", "AD")]
        folds = [Fold(("1", "2"), (), ("3",))]
        (found,) = findings_of(evidence(folds, *scans))
        assert (found.kind, found.leak, found.people) == ("same-image", False, ("1", "2"))
        scans[1] = Scan("sub-2", "2", "AD", digest="d")
        (found,) = findings_of(evidence(folds, *scans))
        assert (found.kind, found.leak) == ("same-image", True)
        assert "1 is CN, 2 is AD" in found.message

    def test_copies_of_copies_are_one_finding(self) -> None:
        """1 and 2 share the file, 2 and 3 the voxels."""
        scans = [Scan("sub-1", "1", "x", digest="d"), Scan("sub-2", "2", "x", digest="d", voxels=("v",)),
                 Scan("sub-3", "3", "x", digest="e", voxels=("w", "v"))]  # fmt: skip
        (found,) = findings_of(evidence([Fold(("1", "2"), (), ("3",))], *scans))
        assert (found.people, found.folds) == (("1", "2", "3"), (0,))

    def test_held_out_people_with_an_image_of_the_study(self, study: Path, xai: Xai) -> None:
        copied(study / "study" / "b7.nii.gz")
        give(Fold(("a0", "b1"), ("a2", "b3"), ("a4", "b5"), held_out=("a6", "b7")))
        code, found = check(study, xai)
        assert (code, kinds(found), found["leaks"][0]["people"]) == (2, ["same-image"], ["a0", "b7"])


class Centred(tio.Transform):
    """Subtracts a mean that it learns."""

    mean = 0.0

    def __init__(self, extra: Sequence[Path] = (), fitted_on: Sequence[str] = ()) -> None:
        super().__init__()
        self.extra, self.fitted_on = extra, fitted_on

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        values = [subject["image"].data.float().mean() for subject in subjects]
        values += [tio.ScalarImage(path).data.float().mean() for path in self.extra]
        self.mean = float(torch.stack(values).mean())

    def state_dict(self) -> dict[str, float]:
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.mean = state["mean"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        subject["image"].set_data(subject["image"].data.float() - self.mean)
        return subject


def register_transform(make: Callable[[], tio.Transform]) -> None:
    class Mine(Transform):
        """Made as the test says."""

        def build(self) -> tio.Transform:
            return make()

    registry.register("transform", "toy", Mine)


@pytest.fixture
def transformed(study: Path) -> Path:
    text = TOY_PIPELINE.replace("params: {folder: study}", "params: {folder: study}\n  transforms: [{name: toy}]")
    (study / "toy.yaml").write_text(text, encoding="utf-8")
    return study


class TestFitted:
    def test_one_that_learns_in_its_fold_passes(self, transformed: Path, xai: Xai) -> None:
        register_transform(Centred)
        assert check(transformed, xai)[0] == 0
        assert xai("run", transformed / "toy.yaml")[0] == 0
        folder = transformed / "results" / "toy"
        about = json.loads((folder / "fold-0" / "training.json").read_text(encoding="utf-8"))
        assert about["fitted"]["transforms"] == ["toy"]
        assert about["people"]["train"]["digest"] == about["fitted"]["fitted_on"]
        assert xai("check-leakage", folder)[0] == 0

    @pytest.mark.parametrize(
        "reader", [lambda path: nib.load(path).get_fdata(), lambda path: tio.ScalarImage(path).data]
    )
    def test_one_that_reads_the_cohort_when_it_is_made(
        self, transformed: Path, xai: Xai, reader: Callable[[Path], Any]
    ) -> None:
        def make() -> tio.Transform:
            for path in sorted((transformed / "study").glob("*.nii.gz")):
                reader(path)
            return Centred()

        register_transform(make)
        code, found = check(transformed, xai)
        assert (code, kinds(found), len(found["leaks"][0]["people"])) == (2, ["fitted-on-test"], 8)
        assert "outside of any fold" in found["leaks"][0]["message"]

    def test_one_scan_may_be_the_reference_of_a_grid(self, transformed: Path, xai: Xai) -> None:
        def make() -> tio.Transform:
            return tio.Resample(nib.load(transformed / "study" / "a0.nii.gz").affine[0, 0] * -1)

        register_transform(make)
        assert check(transformed, xai)[0] == 0

    def test_one_that_says_that_it_was_fitted_on_test_people(self, transformed: Path, xai: Xai) -> None:
        register_transform(lambda: Centred(fitted_on=("a0", "sub-b1", "somebody")))
        code, found = check(transformed, xai)
        assert (code, kinds(found), found["leaks"][0]["people"]) == (2, ["fitted-on-test"], ["a0", "b1"])
        register_transform(lambda: Centred(fitted_on=("somebody",)))
        assert check(transformed, xai)[0] == 0

    def test_one_that_reads_test_people_in_its_fit(self, transformed: Path, xai: Xai) -> None:
        everybody = sorted((transformed / "study").glob("*.nii.gz"))
        register_transform(lambda: Centred(extra=everybody))
        code, _, err = xai("run", transformed / "toy.yaml")
        assert code == 2
        assert "fitted-on-test: toy read scans of" in err
        assert not (transformed / "results").exists()

    def test_an_exchanged_state(self, transformed: Path, xai: Xai) -> None:
        register_transform(Centred)
        assert xai("run", transformed / "toy.yaml")[0] == 0
        folder = transformed / "results" / "toy"
        shutil.copy(folder / "fold-1" / "transforms.pt", folder / "fold-0" / "transforms.pt")
        for command in (("check-leakage", folder), ("run", transformed / "toy.yaml")):
            code, _, err = xai(*command)
            assert (code, err.count("fitted-on-test")) == (2, 1)
            assert "fold-0" in err
            assert "changed or exchanged" in err

    def test_a_run_whose_folds_are_not_those_that_were_trained(self, transformed: Path, xai: Xai) -> None:
        register_transform(Centred)
        assert xai("run", transformed / "toy.yaml")[0] == 0
        path = transformed / "results" / "toy" / "splits.tsv"
        table = pd.read_csv(path, sep="\t", dtype=str)
        rows = table[(table["fold"] == "0") & table["part"].isin(["train", "test"])]
        swapped = dict(zip(rows["part"], rows.index, strict=True))  # the last of each
        first, second = swapped["train"], swapped["test"]
        table.loc[[first, second], "subject_id"] = table.loc[[second, first], "subject_id"].to_numpy()
        table.to_csv(path, sep="\t", index=False)
        code, out, _ = xai("check-leakage", path.parent, "--json")
        assert (code, sorted(kinds(json.loads(out)))) == (2, ["fitted-on-test", "trained-on-others"])


class TestPretrained:
    def test_weights_of_a_run_that_trained_on_test_people(self, study: Path, xai: Xai) -> None:
        """Under other ids: they are known by their images."""

        class FromFile(ToyModel):
            config_schema: ClassVar[Mapping[str, Any]] = {
                **ToyModel.config_schema,
                "properties": {
                    "width": {"type": "integer", "default": 2, "description": "Channels."},
                    "weights": {"type": ["string", "null"], "format": "path", "default": None, "description": "File."},
                },
            }  # fmt: skip

            def __init__(self, *, width: int = 2, weights: str | None = None) -> None:
                super().__init__(width=width)

        registry.register("model", "toy", FromFile)
        assert xai("run", study / "toy.yaml")[0] == 0
        (study / "results").rename(study / "earlier")
        shutil.copytree(study / "study", study / "named")
        for path in sorted((study / "named").glob("*.nii.gz")):
            path.rename(path.with_name(f"{path.name[0]}x{path.name[1:]}"))
        weights = study / "earlier" / "toy" / "fold-0" / "checkpoint.pt"
        sets = (f"data.params.folder={study / 'named'}", f"model.params.weights={weights}")
        code, found = check(study, xai, *(part for one in sets for part in ("--set", one)))
        assert (code, kinds(found)) == (2, ["pretrained-on-test"])
        splits = pd.read_csv(study / "earlier" / "toy" / "splits.tsv", sep="\t")
        trained = splits.loc[(splits["fold"] == 0) & splits["part"].isin(["train", "val"]), "subject_id"]
        assert found["leaks"][0]["people"] == sorted(f"{p[0]}x{p[1:]}" for p in trained)
        # Through a training in between, on other people: what was learnt before stays in the weights.
        between = study / "between" / "toy"
        shutil.copytree(study / "earlier" / "toy", between)
        resolved = (between / "pipeline.resolved.yaml").read_text(encoding="utf-8")
        assert "weights: null" in resolved
        (between / "pipeline.resolved.yaml").write_text(
            resolved.replace("weights: null", f"weights: {weights}"), encoding="utf-8"
        )
        splits.assign(subject_id="other" + splits["subject_id"]).to_csv(between / "splits.tsv", sep="\t", index=False)
        chain = (sets[0], f"model.params.weights={between / 'fold-0' / 'checkpoint.pt'}")
        code, again = check(study, xai, *(part for one in chain for part in ("--set", one)))
        assert (code, kinds(again)) == (2, ["pretrained-on-test"])
        assert again["leaks"][0]["people"] == found["leaks"][0]["people"]


def test_errors_travel_between_processes() -> None:
    finding = findings_of(evidence([Fold(("1",), (), ("1",))]))[0]
    error = pickle.loads(pickle.dumps(LeakageError([finding])))
    assert error.findings == (finding,)
    assert "person-in-two-parts" in str(error)


def test_what_the_command_refuses(study: Path, xai: Xai, tmp_path: Path) -> None:
    code, _, err = xai("check-leakage", tmp_path / "nothing.yaml")
    assert code == 2
    assert "nothing.yaml" in err
    code, _, err = xai("check-leakage", study)
    assert code == 2
    assert "is not a run folder" in err
    assert xai("run", study / "toy.yaml")[0] == 0
    code, _, err = xai("check-leakage", study / "results" / "toy", "--set", "seed=1")
    assert code == 2
    assert "--set belongs to a pipeline file" in err
