"""The index of folders: what it remembers, and that no change is missed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from xai_datasets_mri import _index
from xai_datasets_mri._index import Folders, cache_folder
from xai_datasets_mri._patterns import FilePattern

T1W = FilePattern("sub-{subject}/[ses-{session}/]anat/*_T1w.nii[.gz]")


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of a second ago count as settled, and few folders as worth remembering."""
    monkeypatch.setattr(_index, "_SETTLED_NS", -1_000_000_000)
    monkeypatch.setattr(_index, "_SMALL", 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii", "sub-03/func/x_bold.nii"):
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True)
        path.touch()
    return tmp_path / "study"


def read(root: Path) -> tuple[list[str], int]:
    """Return what the pattern finds, and how many folders had to be listed for it."""
    folders = Folders(root)
    found = sorted(match.path for match in T1W.find(folders))
    folders.save()
    return found, folders.listed


BOTH = ["sub-01/anat/sub-01_T1w.nii.gz", "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii"]


def test_the_second_reading_lists_nothing(root: Path) -> None:
    found, listed = read(root)
    assert found == BOTH
    assert listed == 7  # the root, three people, one session, two anat; func leads nowhere
    assert read(root) == (BOTH, 0)


def test_an_added_file_is_noticed(root: Path) -> None:
    read(root)
    (root / "sub-02/ses-a/anat/sub-02_ses-a_run-2_T1w.nii").touch()
    assert read(root) == ([*BOTH, "sub-02/ses-a/anat/sub-02_ses-a_run-2_T1w.nii"], 1)


def test_a_removed_file_and_a_removed_person_are_noticed(root: Path) -> None:
    read(root)
    (root / BOTH[0]).unlink()
    assert read(root)[0] == BOTH[1:]
    (root / BOTH[1]).unlink()
    for folder in ("sub-02/ses-a/anat", "sub-02/ses-a", "sub-02"):
        (root / folder).rmdir()
    assert read(root)[0] == []


def test_a_folder_in_the_place_of_another_is_noticed_although_its_time_is_set_back(root: Path) -> None:
    read(root)
    before = (root / "sub-01/anat").stat()
    (root / "sub-01/anat").rename(root / "sub-01/old")
    (root / "sub-01/anat").mkdir()
    (root / "sub-01/anat/sub-01_acq-b_T1w.nii").touch()
    os.utime(root / "sub-01/anat", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(root / "sub-01", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read(root)[0] == ["sub-01/anat/sub-01_acq-b_T1w.nii", BOTH[1]]


def test_a_folder_that_changed_just_now_is_listed_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is added within the same tick of the clock would not change the folder's time."""
    monkeypatch.setattr(_index, "_SETTLED_NS", 3_000_000_000)
    assert read(root)[1] == 7
    assert read(root)[1] == 7


def test_links_are_followed_and_a_circle_ends(root: Path, tmp_path: Path) -> None:
    (root / "sub-01/anat/again").symlink_to(root / "sub-01")
    (root / "loop").symlink_to(root / "loop")
    (tmp_path / "link").symlink_to(root)
    assert read(tmp_path / "link")[0] == BOTH
    everything = sorted(match.path for match in FilePattern("sub-{subject}/**/*_T1w.nii[.gz]").find(Folders(root)))
    assert everything == BOTH


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 1}', '{"version": 1, "folders": {"": [1, 2]}}', '{"version": 0, "folders": {}}', "\0"],
)
def test_a_memory_that_is_no_memory_is_done_without(root: Path, text: str) -> None:
    read(root)
    base = cache_folder()
    assert base is not None
    (memory,) = (base / "folders").glob("*.json")
    memory.write_text(text)
    assert read(root)[0] == BOTH
    assert json.loads(memory.read_text())["folders"]["sub-01/anat"][2] == ["sub-01_T1w.nii.gz"]


def test_a_home_that_cannot_be_written_is_done_without(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert read(root) == (BOTH, 7)
    assert read(root) == (BOTH, 7)


def test_without_a_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder() is None
    assert read(root) == (BOTH, 7)


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "xai"


def test_the_cache_of_this_program_has_a_variable_of_its_own(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("XAI_CACHE", "off")
    assert cache_folder() is None
    assert [read(root)[1] for _ in range(2)] == [7, 7]


def test_few_studies_are_remembered(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_index, "_KEEP", 2)
    for name in "abc":
        (tmp_path / name / "sub-1/anat").mkdir(parents=True)
        read(tmp_path / name)
    read(root)
    base = cache_folder()
    assert base is not None
    assert len(list((base / "folders").iterdir())) == 2
    assert read(root)[1] == 0
