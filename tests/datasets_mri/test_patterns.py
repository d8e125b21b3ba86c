"""Patterns of file names, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from xai_core import ConfigError, registry
from xai_datasets_mri._index import Folders
from xai_datasets_mri._patterns import FilePattern, pattern_problem

FILES = (
    "mri/mwp1sub-01_T1w.nii",
    "mri/mwp1sub-02_ses-M00_T1w.nii",
    "mri/mwp1sub-02_ses-M12_T1w.nii.gz",
    "mri/mwp2sub-02_ses-M12_T1w.nii.gz",
    "mri/mwp1002_S_0295.nii",
    "a/b/c/sub-03_T1w.nii",
    "a/sub-03_T1w.nii",
    "by/sub-04/04.nii",
    "by/sub-04/05.nii",
    "by/sub-04/notes.txt",
    ".git/sub-09_T1w.nii",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (
            "mri/mwp1sub-{subject}[_ses-{session}]_T1w.nii[.gz]",
            {
                "mri/mwp1sub-01_T1w.nii": {"subject": "01"},
                "mri/mwp1sub-02_ses-M00_T1w.nii": {"subject": "02", "session": "M00"},
                "mri/mwp1sub-02_ses-M12_T1w.nii.gz": {"subject": "02", "session": "M12"},
            },
        ),
        ("mri/mwp1sub-{subject}_T1w.nii", {
            "mri/mwp1sub-01_T1w.nii": {"subject": "01"},
            "mri/mwp1sub-02_ses-M00_T1w.nii": {"subject": "02_ses-M00"},
        }),
        ("mri/mwp?sub-{subject}_ses-M12_*.nii.gz", {
            "mri/mwp1sub-02_ses-M12_T1w.nii.gz": {"subject": "02"},
            "mri/mwp2sub-02_ses-M12_T1w.nii.gz": {"subject": "02"},
        }),
        ("mri/mwp1{subject}_S_{rest}.nii", {"mri/mwp1002_S_0295.nii": {"subject": "002", "rest": "0295"}}),
        ("**/sub-{subject}_T1w.nii", {
            "a/b/c/sub-03_T1w.nii": {"subject": "03"},
            "a/sub-03_T1w.nii": {"subject": "03"},
        }),
        ("a/[b/c/]sub-{subject}_T1w.nii", {
            "a/b/c/sub-03_T1w.nii": {"subject": "03"},
            "a/sub-03_T1w.nii": {"subject": "03"},
        }),
        ("by/sub-{subject}/{subject}.nii", {"by/sub-04/04.nii": {"subject": "04"}}),  # one value for one name
        ("MRI/mwp1sub-{subject}_T1w.nii", {}),
    ],
)  # fmt: skip
def test_what_a_pattern_finds(root: Path, pattern: str, found: dict[str, dict[str, str]]) -> None:
    assert pattern_problem(pattern) is None
    assert {match.path: match.values for match in FilePattern(pattern).find(Folders(root))} == found


def test_only_folders_on_the_way_are_listed(root: Path) -> None:
    folders = Folders(root)
    list(FilePattern("by/sub-{subject}/{subject}.nii").find(folders))
    assert folders.listed == 3  # the root, by, sub-04


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("mri/T1w.nii", "no {subject}"),
        ("mri/sub-{subject}[_ses.nii", "square brackets"),
        ("mri/sub-{subject}]a[.nii", "square brackets"),
        ("mri/sub-{subject}[a[b]].nii", "square brackets"),
        ("/mri/sub-{subject}.nii", "relative"),
        ("../sub-{subject}.nii", "relative"),
        ("mri//sub-{subject}.nii", "relative"),
        ("sub-{subject}/", "ends with a folder"),
        ("sub-{subject}/**", "ends with a folder"),
        ("sub-{subject}_{Run}.nii", "small letters"),
        ("sub-{subject}_{.nii", "small letters"),
    ],
)
def test_what_is_no_pattern(pattern: str, said: str) -> None:
    assert said in (pattern_problem(pattern) or "")
    with pytest.raises(ConfigError, match="participants: pattern: "):
        registry.create("dataset", "participants", bids="x", target="dx", pattern=pattern)
