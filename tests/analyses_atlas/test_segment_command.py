"""``xai segment`` as a user meets it: a cohort, somebody who fails, going on, and a study that reads the maps."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from xai_analyses_atlas._segmenting import cohort
from xai_core import registry
from xai_core.cli import main

UNETS = Path(__file__).parents[1] / "models_keras" / "data" / "unet.tar.xz"
SHAPE = (16, 18, 14)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def unets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unets")
    with tarfile.open(UNETS) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def xai(capsys: pytest.CaptureFixture[str], unets: Path) -> Run:
    """Run the command with the small networks; returns exit code, stdout and stderr."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_info:
            main(["segment", "--model", str(unets / "fold?.h5"), "--size", "12x14x10", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(exit_info.value.code or 0), out, err

    return run


def save(path: Path, values: Any, affine: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(values, np.float32), np.diag([-1.0, 1, 1, 1]) if affine is None else affine)
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 4)
    nib.save(image, path)
    return path


def head(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(100, 900, SHAPE)
    values[[0, 1, -1]] = 0  # 13 slices of brain, one more than the network's box has
    values[:, [0, 1, -1, -2]] = 0
    values[:, :, [0, 1, -1, -2]] = 0
    return values


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A BIDS folder of three people, the third without a brain mask."""
    root = tmp_path / "study"
    for number in (1, 2, 3):
        stem = f"sub-0{number}"
        save(root / stem / "anat" / f"{stem}_T1w.nii.gz", head(number))
        if number < 3:
            save(root / "derivatives" / "masks" / stem / "anat" / f"{stem}_desc-brain_mask.nii.gz", head(number) > 0)
    text = json.dumps({"Name": "small", "BIDSVersion": "1.10.0"})
    (root / "dataset_description.json").write_text(text)
    pd.DataFrame({"participant_id": ["sub-01", "sub-02"], "age": [61, 72]}).to_csv(
        root / "participants.tsv", sep="\t", index=False
    )
    return root


MASK = "derivatives/masks/{folder}/{name}_desc-brain_mask.nii.gz"


def test_a_cohort_is_segmented_and_a_study_reads_the_maps(xai: Run, study: Path) -> None:
    output = study / "derivatives" / "pvs"
    code, out, _err = xai("--data", study, "--mask", MASK, "--output", output)
    assert code == 1
    assert out.splitlines()[0] == f"2 scans segmented (0 of them before) in {output}"
    assert "  sub-03: has no file for its brain mask:" in out
    stem = output / "sub-01" / "anat" / "sub-01_label-PVS"
    image, mask = nib.load(f"{stem}_probseg.nii.gz"), nib.load(f"{stem}_mask.nii.gz")
    scan = nib.load(study / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    for found in (image, mask):
        assert found.shape == scan.shape
        np.testing.assert_array_equal(found.affine, scan.affine)
        assert [int(found.header[key]) for key in ("qform_code", "sform_code")] == [1, 4]
    np.testing.assert_array_equal(np.asarray(mask.dataobj), image.get_fdata() > 0.5)
    table = pd.read_csv(output / "segmentation.tsv", sep="\t", dtype={"participant_id": str})
    assert list(table["participant_id"]) == ["01", "02"]
    assert table["volume"][0] == np.asarray(mask.dataobj).sum() > 0
    assert table["expected_volume"][0] == pytest.approx(image.get_fdata().sum(), rel=1e-6)
    assert table["brain_outside_box"][0] > 0
    failed = pd.read_csv(output / "failed.tsv", sep="\t")
    assert list(failed["who"]) == ["sub-03"]
    maps = {"pvs": {"derivative": "pvs", "suffix": "probseg", "entities": {"label": "PVS"}}}
    people = registry.create("dataset", "participants", bids=str(study), target="age", maps=maps).subjects()
    for person in people:
        name = f"sub-{person['subject_id']}"
        given = output / name / "anat" / f"{name}_label-PVS_probseg.nii.gz"
        np.testing.assert_array_equal(person["map_pvs"].data[0], nib.load(given).get_fdata(dtype=np.float32))


def test_the_command_goes_on_where_it_stopped(
    xai: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    arguments = ("--data", study, "--mask", "nonzero", "--output", output, "--json")
    real, calls = cohort.save, []

    def dies(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*given)

    monkeypatch.setattr(cohort, "save", dies)
    assert xai(*arguments)[0] == 130
    monkeypatch.setattr(cohort, "save", real)
    assert sorted(path.name for path in output.glob("sub-*")) == ["sub-01"]
    code, out, _err = xai(*arguments)
    assert (code, json.loads(out)["made_now"], len(json.loads(out)["segmented"])) == (0, 2, 3)
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    assert json.loads(xai(*arguments)[1])["made_now"] == 0
    save(study / "sub-02" / "anat" / "sub-02_T1w.nii.gz", head(12))
    assert json.loads(xai(*arguments)[1])["made_now"] == 1
    (output / "sub-03" / "anat" / "sub-03_label-PVS_mask.nii.gz").unlink()
    assert json.loads(xai(*arguments)[1])["made_now"] == 1
    assert json.loads(xai(*arguments, "--threshold", 0.6)[1])["made_now"] == 3
    first = output / "sub-03" / "anat" / "sub-03_label-PVS_probseg.json"
    first.write_text("{")
    assert json.loads(xai(*arguments, "--threshold", 0.6)[1])["made_now"] == 1
    again = tmp_path / "again"
    save(study / "sub-02" / "anat" / "sub-02_T1w.nii.gz", head(2))
    xai("--data", study, "--mask", "nonzero", "--output", again)
    assert {path.relative_to(output): text for path, text in before.items()} == {
        path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()
    }


def test_a_write_that_fails_leaves_nothing_that_looks_whole(
    xai: Run, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = nib.save

    def full(image: Any, path: Path) -> None:
        if path.name.startswith("sub-02") and path.name.endswith("mask.nii.gz"):
            raise OSError(28, "No space left on device")
        real(image, path)

    monkeypatch.setattr(nib, "save", full)
    code, out, _err = xai("--data", study, "--mask", "nonzero", "--output", tmp_path / "out")
    assert code == 1
    assert "sub-02: [Errno 28] No space left on device" in out
    assert not [path for path in (tmp_path / "out").rglob("*") if "sub-02" in path.name and path.is_file()]
    assert len(list((tmp_path / "out").rglob("*_probseg.nii.gz"))) == 2


def test_a_table_with_visits_and_people_who_lack_something(xai: Run, study: Path, tmp_path: Path) -> None:
    rows = [
        ("01", "m0", "study/sub-01/anat/sub-01_T1w.nii.gz", "study/masks.nii.gz"),
        ("01", "m12", "study/sub-02/anat/sub-02_T1w.nii.gz", "study/masks.nii.gz"),
        ("02", "n/a", "study/none.nii.gz", "study/masks.nii.gz"),
        ("03", "m0", "", "study/masks.nii.gz"),
        ("04", "m0", "study/broken.nii.gz", "study/masks.nii.gz"),
    ]
    save(study / "masks.nii.gz", head(1) > 0)
    (study / "broken.nii.gz").write_bytes(b"no image")
    table = tmp_path / "people.tsv"
    names = ["participant_id", "session_id", "t1", "brain"]
    pd.DataFrame(rows, columns=names).to_csv(table, sep="\t", index=False)
    output = tmp_path / "out"
    code, _out, _err = xai("--data", table, "--image", "t1", "--mask", "brain", "--output", output)
    assert code == 1
    found = pd.read_csv(output / "segmentation.tsv", sep="\t")
    assert list(found["scan"]) == ["sub-01_ses-m0", "sub-01_ses-m12"]
    assert (output / "sub-01" / "ses-m12" / "anat" / "sub-01_ses-m12_label-PVS_probseg.nii.gz").is_file()
    failed = pd.read_csv(output / "failed.tsv", sep="\t").set_index("who")["reason"]
    assert list(failed.index) == ["sub-03_ses-m0", "sub-02", "sub-04_ses-m0"]
    assert "nothing in t1" in failed["sub-03_ses-m0"]
    assert "there is no" in failed["sub-02"]
    assert "cannot be read as an image" in failed["sub-04_ses-m0"]
    pd.DataFrame(rows[:2], columns=names).assign(session_id="m0").to_csv(table, sep="\t", index=False)
    code, _out, err = xai("--data", table, "--image", "t1", "--mask", "brain", "--output", output)
    assert (code, "under one name: sub-01_ses-m0" in err) == (2, True)
    code, _out, err = xai("--data", table, "--image", "flair", "--mask", "mask", "--output", output)
    assert (code, "has no column flair, mask. It has: participant_id, session_id, t1, brain" in err) == (2, True)


def test_by_region_only_where_the_atlas_lies_in_the_scans_space(xai: Run, study: Path, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[:8], labels[8:] = 1, 2
    save(tmp_path / "atlas.nii.gz", labels)
    (tmp_path / "atlas.tsv").write_text("index\tname\n1\tright half\n2\tleft half\n")
    arguments = ("--data", study, "--mask", "nonzero", "--output", tmp_path / "out")
    code, _out, err = xai(*arguments, "--atlas", tmp_path / "atlas.nii.gz")
    assert (code, "--same-space where they were registered" in err) == (2, True)
    code, _out, err = xai(*arguments, "--same-space")
    assert (code, "belong to --atlas" in err) == (2, True)
    code, _out, _err = xai(*arguments, "--atlas", tmp_path / "atlas.nii.gz", "--same-space")
    assert code == 0
    found = pd.read_csv(tmp_path / "out" / "regions.tsv", sep="\t")
    scans = pd.read_csv(tmp_path / "out" / "segmentation.tsv", sep="\t")
    assert list(found["region"][:3]) == ["right half", "left half", "(outside of the atlas)"]
    totals = found.groupby("scan")[["clusters", "volume"]].sum().reset_index(drop=True)
    pd.testing.assert_frame_equal(totals, scans[["clusters", "volume"]])


def test_wrong_options_are_one_message(xai: Run, study: Path, tmp_path: Path) -> None:
    base = ("--data", study, "--mask", "nonzero", "--output", tmp_path / "out")
    for more, message in (
        (("--orientation", "RAX"), "is no order of axes"),
        (("--orientation", "RLS"), "is no order of axes"),
        (("--size", "12x14"), "is no size"),
        (("--label", "P_V"), "letters and digits only"),
        (("--spacing", "nan"), "finite"),
        (("--model", "none.h5"), "none.h5: there is no such file"),
        (("--image", "FLAIR", "--output", tmp_path / "b"), "has no sub-*/[ses-*/]anat/*_FLAIR.nii[.gz]"),
        (("--device", "cuda:9"), "cuda:9 is not there"),
    ):
        code, _out, err = xai(*base, *more)
        assert (code, message in err, "Traceback" in err) == (2, True, False), (more, err)
    code, _out, err = xai("--data", tmp_path / "none", "--mask", "nonzero", "--output", tmp_path / "out")
    assert (code, "There is no" in err) == (2, True)
    code, _out, err = xai("--data", study / "participants.tsv", "--mask", "x{y}", "--output", tmp_path / "out")
    assert (code, "has no column T1w" in err) == (2, True)


def test_names_of_preprocessed_scans_are_bids(xai: Run, tmp_path: Path) -> None:
    image = save(tmp_path / "sub-7_ses-2_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz", head(1))
    other = save(tmp_path / "head of 8.nii", head(2))
    assert xai("--data", image, "--data", other, "--mask", "nonzero", "--output", tmp_path / "out")[0] == 0
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*probseg.nii.gz")) == [
        "sub-7/ses-2/anat/sub-7_ses-2_space-MNI152NLin6Asym_label-PVS_desc-preproc_probseg.nii.gz",
        "sub-headof8/anat/sub-headof8_label-PVS_probseg.nii.gz",
    ]


def test_two_channels_by_suffix_and_by_column(xai: Run, unets: Path, study: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        save(study / f"sub-0{number}" / "anat" / f"sub-0{number}_FLAIR.nii.gz", head(number + 10))
    both = ("--model", unets / "two.h5", "--size", "12x14x10", "--image", "T1w", "--image", "FLAIR")
    with pytest.raises(SystemExit) as exit_info:
        main(["segment", *map(str, both), "--data", str(study), "--mask", "nonzero", "--output", str(tmp_path / "a")])
    assert exit_info.value.code == 1
    failed = pd.read_csv(tmp_path / "a" / "failed.tsv", sep="\t")
    assert list(failed["who"]) == ["sub-03"]
    assert "has 0 images with the suffix FLAIR" in failed["reason"][0]
    rows = [
        {"participant_id": f"0{n}"} | {c: f"sub-0{n}/anat/sub-0{n}_{c}.nii.gz" for c in ("T1w", "FLAIR")}
        for n in (1, 2)
    ]
    pd.DataFrame(rows).to_csv(study / "files.csv", index=False)
    table = ("--data", study / "files.csv", "--mask", "nonzero", "--output", tmp_path / "b")
    with pytest.raises(SystemExit) as exit_info:
        main(["segment", *map(str, (*both, *table))])
    assert not exit_info.value.code
    first, second = (
        (tmp_path / name / "sub-02" / "anat" / "sub-02_label-PVS_probseg.nii.gz").read_bytes() for name in "ab"
    )
    assert first == second


def test_the_command_is_light() -> None:
    check = "import sys, xai_analyses_atlas.segment_command; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
