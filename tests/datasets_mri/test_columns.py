"""Columns under other names and in other units, ranges of numbers, and what a table's JSON file says."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torchio as tio

from xai_core import InputError, registry

TABLE = """participant_id,scan,dx,age_months,TIV_mm3,gender,mmse
01,a.nii,1,840,1450123,Male,29
02,a.nii,2,866,1512000,Female,n/a
03,a.nii,2,n/a,1610999.5,Male,20
04,a.nii,1,720,n/a,n/a,30
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "a.nii").touch()
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def read(table: Path, **params: Any) -> list[tio.Subject]:
    given = {"table": str(table), "image": "scan", "target": "dx", "classes": ["1", "2"], **params}
    return list(registry.create("dataset", "participants", **given).subjects())


COLUMNS = {
    "age": {"column": "age_months", "divide_by": 12},
    "tiv": {"column": "TIV_mm3", "scale": 0.001},
    "sex": {"column": "gender", "recode": {"Male": "M", "Female": "F"}},
    "score": "mmse",
}


def test_units_names_and_codes(table: Path) -> None:
    subjects = read(table, columns=COLUMNS)
    assert [s["age"] for s in subjects] == [70, pytest.approx(72.1666666666667, rel=1e-14), None, 60]
    assert [s["tiv"] for s in subjects] == [1450.123, 1512.0, 1610.9995, None]
    assert [s["sex"] for s in subjects] == ["M", "F", "M", None]
    assert [s["score"] for s in subjects] == [29, None, 20, 30]
    assert not {"age_months", "TIV_mm3", "gender", "mmse"} & set(subjects[0])


def test_offset_and_a_column_under_its_own_name(table: Path) -> None:
    columns = {"mmse": {"column": "mmse", "scale": -1, "offset": 30}}
    assert [s["mmse"] for s in read(table, columns=columns)] == [1, None, 10, 0]


def test_everything_else_uses_the_new_names(table: Path) -> None:
    columns = {**COLUMNS, "diagnosis": {"column": "dx", "recode": {"1": "CN", "2": "AD"}}}
    subjects = read(table, columns=columns, target="diagnosis", classes=["CN", "AD"], where={"sex": ["M"]})
    assert [(s["subject_id"], s["target"]) for s in subjects] == [("01", "CN"), ("03", "AD")]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ({"age": {"min": 60, "max": 70}}, ["01", "04"]),  # both ends included
        ({"age": {"max": 69.9}}, ["04"]),
        ({"gender": {"not": ["Female"]}}, ["01", "03"]),  # without a value: left out
        ({"age": {"min": 0}, "mmse": {"min": 29}}, ["01", "04"]),
    ],
)
def test_ranges(table: Path, where: dict[str, Any], ids: list[str]) -> None:
    subjects = read(table, columns={"age": COLUMNS["age"]}, where=where, target="scan", classes=None)
    assert [s["subject_id"] for s in subjects] == ids


def test_decimal_commas_are_converted(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    (tmp_path / "t.csv").write_text("participant_id;scan;dx;v\n1;a.nii;1;1,5\n2;a.nii;2;2,25\n")
    subjects = read(tmp_path / "t.csv", columns={"v": {"column": "v", "scale": 10}}, where={"v": {"min": 15}})
    assert [s["v"] for s in subjects] == [15.0, 22.5]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"columns": {"age": "age_month", "sex": "Gender"}}, "'age_month' (columns.age)"),
        ({"columns": {"age": "age_month", "sex": "Gender"}}, "'Gender' (columns.sex)"),
        ({"columns": {"sex": {"column": "gender", "recode": {"male": "M"}}}}, "'male' (columns.sex.recode) does not"),
        ({"columns": {"sex": {"column": "gender", "scale": 2}}}, "is no number in rows 2, 3, 4 ('Male')"),
        ({"where": {"gender": {"min": 3}}}, "where asks for a range of 'gender', which is no number in rows 2, 3, 4"),
        ({"where": {"gender": {"not": ["Mal"]}}}, "'Mal' (where) does not occur"),
        ({"where": {"mmse": {"min": 31}}}, "no row has mmse from 31 (where)"),
        ({"target": "dxx", "subject": "id", "site": "sight"}, "no columns 'dxx' (target)"),
        ({"target": "dxx", "subject": "id", "site": "sight"}, "'sight' (site)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_together(table: Path, params: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read(table, **params)
    assert said in str(caught.value)


class TestSidecar:
    def test_levels_are_in_the_messages(self, table: Path) -> None:
        levels = {"1": "Controls", "2": {"Description": "Alzheimer's disease"}}
        table.with_suffix(".json").write_text(json.dumps({"dx": {"Levels": levels}}))
        with pytest.raises(InputError, match="Its JSON file says: 1 = Controls, 2 = Alzheimer's disease"):
            read(table, classes=["CN", "AD"])
        with pytest.raises(InputError, match="1 = Controls"):
            read(table, recode={"CN": "1"})

    def test_codes_with_levels_are_hardly_a_regression(self, table: Path, caplog: pytest.LogCaptureFixture) -> None:
        table.write_text(TABLE.replace(",2,", ",3,", 1))
        table.with_suffix(".json").write_text(json.dumps({"dx": {"Levels": {"1": "a", "2": "b", "3": "c"}}}))
        with caplog.at_level(logging.WARNING):
            read(table, classes=None)
        assert "read as a regression" in caplog.text
        assert "1 = a, 2 = b, 3 = c" in caplog.text

    def test_it_is_an_input(self, table: Path) -> None:
        made = registry.create("dataset", "participants", table=str(table), image="scan", target="dx")
        assert list(made.inputs()) == [table]
        table.with_suffix(".json").write_text("{}")
        assert list(made.inputs()) == [table, table.with_suffix(".json")]

    @pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]", b"[" * 100_000])
    def test_one_that_cannot_be_read(self, table: Path, content: bytes) -> None:
        table.with_suffix(".json").write_bytes(content)
        with pytest.raises(InputError, match=r"t\.json"):
            read(table)

    @pytest.mark.parametrize("content", ['{"dx": 1}', '{"dx": {"Levels": ["a"]}}', '{"dx": {"Levels": null}}', "{}"])
    def test_one_that_says_nothing_of_use(self, table: Path, content: str) -> None:
        table.with_suffix(".json").write_text(content)
        assert len(read(table)) == 4


@pytest.mark.parametrize(("odd", "tells"), [("72,5", True), ("n/a", False), ("72.5", False)])
def test_one_text_in_a_column_of_numbers_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, odd: str, tells: bool
) -> None:
    """Age with one decimal comma would be 4 categories of one person each, for everything that reads it."""
    (tmp_path / "a.nii").touch()
    rows = [f"0{i}\ta.nii\t{i % 2 + 1}\t{age}\tS{i}" for i, age in enumerate(["70", "61.2", odd, "80"])]
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(["participant_id\tscan\tdx\tage\tsite", *rows]) + "\n")
    with caplog.at_level(logging.WARNING, logger="xai"):
        read(path)
    said = [record.getMessage() for record in caplog.records if "holds numbers, but not in" in record.getMessage()]
    assert bool(said) is tells
    assert all("'age'" in text and "row 4 ('72,5')" in text for text in said)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (
            {"classes": ["CN", "AD"]},
            "'ad' in the column 'dx' differs from the class 'AD' in capitals only, and is left out",
        ),
        ({"classes": None}, "'ad' in the column 'dx' differs from the class 'AD' in capitals only, and is a class"),
        ({"classes": ["CN", "AD"], "recode": {"ad": "AD"}}, None),
        ({"classes": ["CN", "AD", "ad"]}, None),
    ],
)
def test_a_class_in_other_capitals_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, params: dict[str, Any], said: str | None
) -> None:
    (tmp_path / "a.nii").touch()
    rows = [f"0{i}\ta.nii\t{dx}" for i, dx in enumerate(["CN", "AD", "ad", "MCI"])]
    path = tmp_path / "t.tsv"
    path.write_text("\n".join(["participant_id\tscan\tdx", *rows]) + "\n")
    with caplog.at_level(logging.WARNING, logger="xai"):
        read(path, **params)
    told = [record.getMessage() for record in caplog.records if "capitals" in record.getMessage()]
    assert len(told) == (said is not None)
    assert all(said is not None and said in text for text in told)
