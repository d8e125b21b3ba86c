"""Where images are: BIDS derivatives, entities, runs, CAPS, CAT12; and pybids as a second opinion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from xai_core import ConfigError, InputError, registry
from xai_datasets_mri._bids import Collection
from xai_datasets_mri._files import ImageFiles, files_from
from xai_datasets_mri._index import Folders


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(root: Path, *people: str, name: str = "participants.tsv") -> None:
    root.mkdir(parents=True, exist_ok=True)
    rows = [f"sub-{person}\t{('CN', 'AD')[index % 2]}" for index, person in enumerate(people)]
    (root / name).write_text("\n".join(["participant_id\tdx", *rows]) + "\n")


def images(root: Path, **params: Any) -> list[str]:
    """Return the paths of the images that participants finds, from the root."""
    found = registry.create("dataset", "participants", bids=str(root), target="dx", **params).subjects()
    return [str(Path(s["image"].path).relative_to(root)) for s in found]


def refused(root: Path, **params: Any) -> str:
    with pytest.raises(InputError) as caught:
        images(root, **params)
    return str(caught.value)


SPACE = "MNI152NLin2009cAsym"
MNI = f"space-{SPACE}"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    prep = "derivatives/fmriprep/sub-0{0}/anat/sub-0{0}_"
    for n in (1, 2):
        touch(
            tmp_path,
            f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz",
            *(prep.format(n) + rest for rest in (
                "desc-preproc_T1w.nii.gz",
                f"{MNI}_res-2_desc-preproc_T1w.nii.gz", f"{MNI}_res-1_desc-preproc_T1w.nii.gz",
                "label-GM_probseg.nii.gz", "label-WM_probseg.nii.gz", f"{MNI}_res-2_label-GM_probseg.nii.gz",
                "desc-brain_mask.nii.gz",
            )),
        )  # fmt: skip
    table(tmp_path, "01", "02")
    return tmp_path


class TestDerivatives:
    def test_space_res_desc_label_and_suffix(self, study: Path) -> None:
        at = "derivatives/fmriprep/sub-01/anat/sub-01_"
        for entities, suffix, name in (
            ({"space": SPACE, "res": 2, "desc": "preproc"}, "T1w", f"{MNI}_res-2_desc-preproc_T1w.nii.gz"),
            ({"space": None}, "T1w", "desc-preproc_T1w.nii.gz"),
            ({"label": "GM", "space": None}, "probseg", "label-GM_probseg.nii.gz"),
            ({"space": SPACE, "resolution": ["1", "3"]}, "T1w", f"{MNI}_res-1_desc-preproc_T1w.nii.gz"),
        ):  # fmt: skip
            assert images(study, derivative="fmriprep", entities=entities, suffix=suffix)[0] == at + name

    def test_several_fit_and_none_fits(self, study: Path) -> None:
        assert "several probseg images fit" in refused(study, derivative="fmriprep", suffix="probseg")
        message = refused(study, derivative="fmriprep", entities={"space": "T1w"})
        assert "no T1w image (anat, space-T1w) of 2 of the 2 rows" in message
        assert "mask, probseg" in message

    def test_a_derivative_that_is_not_there(self, study: Path) -> None:
        assert "Did you mean 'fmriprep'?" in refused(study, derivative="fmriprp")
        assert "Derivatives there: fmriprep." in refused(study, derivative="cat12")

    def test_a_derivative_without_a_table_says_what_to_do(self, study: Path) -> None:
        assert "give the raw dataset as 'bids'" in refused(study / "derivatives/fmriprep")

    def test_a_folder_of_another_place(self, study: Path, tmp_path: Path) -> None:
        found = registry.create(
            "dataset", "participants", bids=str(study), target="dx",
            channels={"gm": {"bids": str(study / "derivatives/fmriprep"), "suffix": "probseg",
                             "entities": {"label": "GM", "space": None}}},
        ).subjects()  # fmt: skip
        assert [Path(s["image"].path[0]).name for s in found] == [f"sub-0{n}_label-GM_probseg.nii.gz" for n in (1, 2)]


class TestRuns:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> Path:
        touch(tmp_path, *(f"sub-1/anat/sub-1_run-{n}_T1w.nii" for n in (1, 2, 10)), "sub-2/anat/sub-2_T1w.nii")
        table(tmp_path, "1", "2")
        return tmp_path

    def test_the_first_or_the_last_by_number(self, runs: Path) -> None:
        assert "several" in refused(runs)
        alone = "sub-2/anat/sub-2_T1w.nii"
        assert images(runs, several="first") == ["sub-1/anat/sub-1_run-1_T1w.nii", alone]
        assert images(runs, several="last") == ["sub-1/anat/sub-1_run-10_T1w.nii", alone]

    def test_a_number_however_it_is_written(self, runs: Path) -> None:
        table(runs, "1")
        assert images(runs, entities={"run": "02"}) == images(runs, entities={"run": 2})
        assert images(runs, entities={"run": 2}) == ["sub-1/anat/sub-1_run-2_T1w.nii"]

    def test_several_visits_are_never_chosen_from_silently(self, runs: Path) -> None:
        touch(runs, "sub-2/ses-b/anat/sub-2_ses-b_T1w.nii", "sub-2/ses-c/anat/sub-2_ses-c_T1w.nii")
        assert "visits: all" in refused(runs, several="first")


class TestOtherLayouts:
    def test_caps_of_clinica(self, tmp_path: Path) -> None:
        at = "subjects/sub-01/ses-M000/"
        spm = at + "t1/spm/segmentation/"
        gm = "sub-01_ses-M000_T1w_segm-graymatter_"
        touch(
            tmp_path / "caps",
            f"{spm}normalized_space/{gm}space-Ixi549Space_modulated-on_probability.nii.gz",
            f"{spm}normalized_space/{gm}space-Ixi549Space_modulated-off_probability.nii.gz",
            f"{spm}dartel_input/{gm}dartelinput.nii.gz",
            at + "t1_linear/sub-01_ses-M000_space-MNI152NLin2009cSym_desc-Crop_res-1x1x1_T1w.nii.gz",
            at + "t1_linear/sub-01_ses-M000_space-MNI152NLin2009cSym_res-1x1x1_T1w.nii.gz",
        )  # fmt: skip
        table(tmp_path, "01", name="t.tsv")
        caps: dict[str, Any] = {"table": str(tmp_path / "t.tsv"), "layout": "caps"}
        assert images(tmp_path / "caps", entities={"desc": "Crop"}, **caps)[0].endswith(
            "_desc-Crop_res-1x1x1_T1w.nii.gz"
        )
        entities = {"segm": "graymatter", "modulated": "on"}
        (found,) = images(tmp_path / "caps", suffix="probability", entities=entities, **caps)
        assert found.endswith("Ixi549Space_modulated-on_probability.nii.gz")
        params = {"bids": str(tmp_path / "caps"), "target": "dx", "suffix": "probability", "entities": entities}
        (subject,) = registry.create("dataset", "participants", **params, **caps).subjects()
        assert subject["session_id"] == "M000"

    def test_cat12(self, tmp_path: Path) -> None:
        touch(tmp_path, "mri/mwp1sub-01_T1w.nii", "mri/mwp2sub-01_T1w.nii", "mri/mwp1sub-02_ses-M12_T1w.nii")
        table(tmp_path, "01", "02")
        pattern = "mri/mwp1sub-{subject}[_ses-{session}]_T1w.nii[.gz]"
        assert images(tmp_path, pattern=pattern) == ["mri/mwp1sub-01_T1w.nii", "mri/mwp1sub-02_ses-M12_T1w.nii"]
        table(tmp_path, "01", "03")
        message = refused(tmp_path, pattern=pattern)
        assert "no image mri/mwp1sub-" in message
        assert "sub-03 (row 3)" in message

    def test_parameters_that_do_not_fit_together(self) -> None:
        for channel, said in (
            ({"column": "a", "suffix": "T1w"}, "'column' or 'suffix', not both"),
            ({"pattern": "{subject}.nii", "suffix": "T1w"}, "leave 'suffix' out"),
            ({"pattern": "x.nii"}, "no {subject}"),
        ):
            with pytest.raises(ConfigError, match=said):
                registry.create("dataset", "participants", bids="x", target="dx", channels={"a": channel})


def test_a_link_to_content_that_is_not_here(tmp_path: Path) -> None:
    """As datalad leaves them where nobody has fetched the content."""
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "sub-02/anat").mkdir(parents=True)
    (tmp_path / "sub-02/anat/sub-02_T1w.nii.gz").symlink_to(".git/annex/objects/x")
    table(tmp_path, "01", "02")
    message = refused(tmp_path)
    assert "sub-02 (row 3)" in message
    assert "datalad get" in message
    assert images(tmp_path, missing_image="drop") == ["sub-01/anat/sub-01_T1w.nii.gz"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz")
    table(tmp_path, "01")
    (tmp_path / "sub-01/anat").chmod(0)
    assert "may not be read" in refused(tmp_path)
    (tmp_path / "sub-01/anat").chmod(0o700)


NAMES = [
    f"{person}{session}_{entities}{suffix}.nii.gz"
    for person in ("sub-01", "sub-a2", "sub-03")
    for session in ("", "_ses-1", "_ses-M12")
    for entities in ("", "run-1_", "run-2_", "acq-x_", "desc-preproc_", f"{MNI}_res-2_desc-preproc_")
    for suffix in ("T1w", "FLAIR", "T2w")
    if "desc" not in entities or suffix == "T1w"
]


@pytest.mark.parametrize(
    "filters",
    [
        {"suffix": "T1w"},
        {"suffix": "FLAIR"},
        {"suffix": "T1w", "run": "1"},
        {"suffix": "T1w", "session": "M12"},
        {"suffix": "T1w", "space": "MNI152NLin2009cAsym", "desc": "preproc"},
        {"suffix": "T2w", "acquisition": "x", "session": ["1", "M12"]},
    ],
)
def test_the_files_are_those_that_pybids_finds(tmp_path: Path, filters: dict[str, Any]) -> None:
    bids = pytest.importorskip("bids", reason="pybids is not installed")
    for name in NAMES:
        parts = name.split("_")
        folders = [part for part in parts[:2] if part.startswith(("sub-", "ses-"))]
        touch(tmp_path, "/".join([*folders, "anat", name]))
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    layout = bids.BIDSLayout(tmp_path, validate=False, config=["bids", "derivatives"])
    expected = layout.get(extension=".nii.gz", return_type="file", **filters)
    entities = {key: value for key, value in filters.items() if key != "suffix"}
    wanted: ImageFiles = files_from("image", {"suffix": filters["suffix"], "entities": entities}, tmp_path)
    images = Collection(Folders(tmp_path), wanted)
    found = [str(tmp_path / one.path) for person in images.people() for one in images.of(person)]
    assert len(expected) > 2
    assert sorted(found) == sorted(expected)
