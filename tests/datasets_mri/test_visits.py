"""Visits and the tables of sessions; who is left out, and why."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from xai_core import Dataset, InputError, registry


def dataset(root: Path, **params: Any) -> Dataset:
    found = registry.create("dataset", "participants", **{"bids": str(root), "target": "dx", **params})
    assert isinstance(found, Dataset)
    return found


def scans(root: Path, **params: Any) -> list[tuple[Any, ...]]:
    """Return id, session, target and age of each scan."""
    keys = ("subject_id", "session_id", "target", "age")
    return [tuple(s.get(key) for key in keys) for s in dataset(root, **params).subjects()]


def left_out(root: Path, **params: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in dataset(root, **params).left_out()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One person with three visits, one with one, one without sessions; ages and diagnoses change."""
    for name in (
        "sub-01/ses-M0/anat/sub-01_ses-M0_T1w.nii", "sub-01/ses-M6/anat/sub-01_ses-M6_T1w.nii",
        "sub-01/ses-M12/anat/sub-01_ses-M12_T1w.nii", "sub-02/ses-M0/anat/sub-02_ses-M0_T1w.nii",
        "sub-03/anat/sub-03_T1w.nii",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tdx\tage\tsex\nsub-01\tCN\t70\tF\nsub-02\tAD\t80\tM\nsub-03\tCN\t60\tF\n"
    )
    return tmp_path


def with_sessions(root: Path) -> None:
    (root / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tdx\tage\tmmse\nses-M0\tCN\t70.0\t29\nses-M6\tMCI\tn/a\t27\nses-M12\tAD\t71.0\t22\n"
    )


def test_several_visits_without_a_choice_are_an_error(root: Path) -> None:
    with pytest.raises(InputError, match=r"row 2: several T1w images fit.*visits: all, or first"):
        scans(root)


def test_all_visits_of_each_person(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = [("01", "M0", "CN", 70), ("01", "M6", "CN", 70), ("01", "M12", "CN", 70), ("02", "M0", "AD", 80)]
    assert scans(root, visits="all") == [*expected, ("03", None, "CN", 60)]
    assert "no sessions.tsv: each has the person's values" in caplog.text


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("12m", "baseline", "sc"), ("sc", "baseline", "12m")),
        (("m06", "bl", "M12"), ("bl", "m06", "M12")),
        (("post", "pre"), ("pre", "post")),
        (("10", "2"), ("2", "10")),
        (("V02", "SC1", "SC2", "BL"), ("SC1", "SC2", "BL", "V02")),
    ],
)
def test_the_first_visit_is_not_the_alphabets(tmp_path: Path, names: tuple[str, ...], order: tuple[str, ...]) -> None:
    for name in names:
        image = tmp_path / f"sub-01/ses-{name}/anat/sub-01_ses-{name}_T1w.nii"
        image.parent.mkdir(parents=True)
        image.touch()
    (tmp_path / "participants.tsv").write_text("participant_id\tdx\nsub-01\tCN\n")
    assert [row[1] for row in scans(tmp_path, visits="first")] == [order[0]]
    assert [row[1] for row in scans(tmp_path, visits="last")] == [order[-1]]


def test_first_and_last_by_number(root: Path) -> None:
    assert [row[1] for row in scans(root, visits="first")] == ["M0", "M0", None]
    assert [row[1] for row in scans(root, visits="last")] == ["M12", "M0", None]
    assert left_out(root, visits="last") == [("01", "M0", "visits: not the last one"),
                                             ("01", "M6", "visits: not the last one")]  # fmt: skip


def test_what_a_session_says_counts_and_a_gap_stays_a_gap(root: Path) -> None:
    """The age of another visit must not fill it; who has no table of sessions keeps the person's values."""
    with_sessions(root)
    assert scans(root, visits="all") == [
        ("01", "M0", "CN", 70.0),
        ("01", "M6", "MCI", None),
        ("01", "M12", "AD", 71.0),
        ("02", "M0", "AD", 80.0),
        ("03", None, "CN", 60.0),
    ]
    subjects = dataset(root, visits="all").subjects()
    assert [s["mmse"] for s in subjects] == [29, 27, 22, None, None]
    assert [s["sex"] for s in subjects] == ["F", "F", "F", "M", "F"]


def test_classes_and_where_come_before_the_choice_of_the_visit(root: Path) -> None:
    with_sessions(root)
    assert scans(root, visits="last", where={"mmse": {"min": 25}}) == [("01", "M6", "MCI", None)]
    assert scans(root, visits="first", classes=["AD", "MCI"]) == [("01", "M6", "MCI", None), ("02", "M0", "AD", 80.0)]


def test_the_only_session_gets_its_row_without_asking_for_visits(root: Path) -> None:
    (root / "sub-02/sub-02_sessions.tsv").write_text("session_id\tage\nM0\t81\n")
    (root / "participants.tsv").write_text("participant_id\tdx\tage\nsub-02\tAD\t80\nsub-03\tCN\t60\n")
    assert scans(root) == [("02", "M0", "AD", 81), ("03", None, "CN", 60)]


def test_a_session_without_a_row(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage\nses-M0\t70\n")
    assert [row[3] for row in scans(root, visits="all")] == [70, None, None, 80, 60]
    assert "no row of their session" in caplog.text


def test_one_table_of_all_sessions(root: Path) -> None:
    (root / "sessions.tsv").write_text("participant_id\tsession_id\tage\nsub-01\tses-M6\t70.5\nsub-02\tM0\t80.5\n")
    assert [row[3] for row in scans(root, visits="all")] == [None, 70.5, None, 80.5, 60.0]


def test_a_target_that_only_the_sessions_have(root: Path) -> None:
    with_sessions(root)
    assert [row[2] for row in scans(root, target="mmse", missing_target="drop", visits="all")] == [29.0, 27.0, 22.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "sub-01_sessions.tsv is empty"),
        ("age\n70\n", r"there is no column 'session_id'"),
        ("session_id\tage\nses-M0\t70\nM0\t71\n", "row 3: the session M0 is there twice"),
        ("session_id\tage\nn/a\t70\n", "row 2: no session_id"),
    ],
)
def test_wrong_session_tables_are_told_together(root: Path, text: str, said: str) -> None:
    (root / "sub-01/sub-01_sessions.tsv").write_text(text)
    (root / "sub-02/sub-02_sessions.tsv").write_text("")
    with pytest.raises(InputError, match=said) as caught:
        scans(root, visits="all")
    assert "sub-02_sessions.tsv is empty" in str(caught.value)


class TestLeftOut:
    def test_rows_and_people_with_their_reasons(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        (root / "participants.tsv").write_text(
            "participant_id\tdx\tage\tsession_id\nsub-01\tCN\t70\tM0\nsub-01\tMCI\t71\tM6\nsub-02\tn/a\t80\tM0\n"
            "sub-03\tCN\t40\tn/a\nsub-04\tAD\t66\tM0\nsub-02\tAD\t80\tM0\n"
        )
        params = {"where": {"age": {"min": 50}}, "classes": ["CN", "AD"], "missing_target": "drop"}
        with pytest.raises(InputError, match=r"1 of the 3 rows.*sub-04/ses-M0 \(row 6\)"):
            scans(root, **params)
        (root / "sub-05/anat").mkdir(parents=True)
        (root / "sub-05/anat/sub-05_T1w.nii").touch()
        params["missing_image"] = "drop"
        assert scans(root, **params) == [("01", "M0", "CN", 70), ("02", "M0", "AD", 80)]
        assert left_out(root, **params) == [
            ("03", None, "where: age is 40"),
            ("02", "M0", "no dx"),
            ("01", "M6", "in no class: dx is MCI"),
            ("04", "M0", "no T1w image (anat)"),
            ("05", None, "has an image, but no row in participants.tsv"),
        ]
        assert "no row of 1 people who have an image: 05" in caplog.text
        warned = [record.levelno for record in caplog.records if "no row of 1 people" in record.message]
        assert set(warned) == {logging.WARNING}

    def test_nobody_is_left_out(self, root: Path) -> None:
        assert left_out(root, visits="all") == []

    def test_nobody_has_an_image(self, root: Path) -> None:
        with pytest.raises(InputError, match=r"nobody who is used has all images \(no FLAIR image"):
            scans(root, suffix="FLAIR", missing_image="drop")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "participants.tsv").write_text("participant_id\tdx\n1\tCN\n2\tAD\n")
        with pytest.raises(InputError, match=r"2 of the 2 rows.*There is no folder sub-1\. People there: 0\."):
            scans(tmp_path)

    def test_zeros_that_a_spreadsheet_has_dropped(self, root: Path) -> None:
        table = (root / "participants.tsv").read_text()
        (root / "participants.tsv").write_text(table.replace("sub-01", "1").replace("sub-02", "2"))
        with pytest.raises(InputError, match=r"There is no folder sub-1\. Did you mean '01'\?"):
            scans(root)
