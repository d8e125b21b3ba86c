"""Choosing rows of a study table, renaming the values of its target, and joining them to classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from xai_core import ConfigError, Dataset, InputError, registry

TABLE = """participant_id\tscan\tdx\tcohort\tvisit
01\ta.nii.gz\tCN\tADNI2\t1
02\ta.nii.gz\tEMCI\tADNI2\t1
03\ta.nii.gz\tLMCI\tADNI3\t1
04\ta.nii.gz\tAD\tADNI3\t2
05\ta.nii.gz\tSMC\tAIBL\t1
06\ta.nii.gz\tn/a\tAIBL\t2
07\ta.nii.gz\tCN\tn/a\t1
"""
MCI = {"EMCI": "MCI", "LMCI": "MCI"}
GROUPS = {"controls": ["CN"], "patients": ["MCI", "AD"]}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / "study.tsv").write_text(TABLE, encoding="utf-8")
    return tmp_path / "study.tsv"


def dataset(table: Path, **params: Any) -> Dataset:
    given = {"table": str(table), "target": "dx", "image": "scan", "missing_target": "drop", **params}
    made = registry.create("dataset", "participants", **given)
    assert isinstance(made, Dataset)
    return made


def targets(table: Path, **params: Any) -> dict[str, Any]:
    return {subject["subject_id"]: subject["target"] for subject in dataset(table, **params).subjects()}


def test_recode_renames_values_and_leaves_others(table: Path) -> None:
    assert targets(table, recode=MCI) == {
        "01": "CN", "02": "MCI", "03": "MCI", "04": "AD", "05": "SMC", "07": "CN",
    }  # fmt: skip
    assert "dx" not in dataset(table, recode=MCI).subjects()[0]


def test_groups_are_classes_and_the_diagnosis_stays_as_covariate(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        data = dataset(table, recode=MCI, groups=GROUPS)
        subjects = data.subjects()
    assert [(s["subject_id"], s["target"], s["dx"]) for s in subjects] == [
        ("01", "controls", "CN"),
        ("02", "patients", "MCI"),
        ("03", "patients", "MCI"),
        ("04", "patients", "AD"),
        ("07", "controls", "CN"),
    ]
    assert "left out 1 rows that are in no group: 1 of SMC" in caplog.text
    assert data.class_order == ("controls", "patients")


def test_the_order_of_the_groups_is_the_order_of_the_classes(table: Path) -> None:
    assert dataset(table, groups={"ill": ["AD"], "well": ["CN"]}).class_order == ("ill", "well")


def test_numbers_become_classes(tmp_path: Path, table: Path) -> None:
    """A table that codes its diagnoses, as the original study's."""
    numbered = table.read_text().replace("EMCI", "2").replace("LMCI", "3").replace("SMC", "5")
    table.write_text(numbered.replace("\tAD\t", "\t4\t").replace("\tCN\t", "\t1\t"))
    codes = {"1": "CN", "2": "MCI", "3": "MCI", "4": "AD"}
    found = dataset(table, recode=codes, groups=GROUPS).subjects()
    assert [s["dx"] for s in found] == ["CN", "MCI", "MCI", "AD", "CN"]
    assert targets(table, groups={"well": [1], "ill": [4]}) == {"01": "well", "04": "ill", "07": "well"}
    assert [s["dx"] for s in dataset(table, groups={"well": [1], "ill": [4]}).subjects()] == [1, 4, 1]


def test_where_chooses_rows(table: Path) -> None:
    assert list(targets(table, where={"cohort": ["ADNI2", "ADNI3"]})) == ["01", "02", "03", "04"]
    assert list(targets(table, where={"cohort": ["ADNI2", "ADNI3"], "visit": [1]})) == ["01", "02", "03"]
    assert list(targets(table, where={"visit": ["2"]}, missing_target="drop")) == ["04"]


def test_where_comes_before_missing_targets(table: Path) -> None:
    assert len(targets(table, where={"cohort": ["ADNI2"]}, missing_target="error")) == 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"where": {"cohorts": ["ADNI2"]}}, r"no column 'cohorts' \(where\)\. Did you mean 'cohort'\?"),
        ({"where": {"cohort": ["ADNI4"]}}, r"'ADNI4' \(where\) does not occur in the column 'cohort'\. Did you mean"),
        ({"where": {"cohort": ["ADNI2"], "visit": [2]}}, r"no row has cohort 'ADNI2' and visit '2' \(where\)"),
        ({"recode": {"eMCI": "MCI"}}, r"'eMCI' \(recode\) does not occur in the column 'dx'\. .* It holds: 'AD', 'CN'"),
        ({"groups": {"a": ["CN"], "b": ["FTD"]}}, r"'FTD' \(groups\) does not occur in the column 'dx'"),
    ],
)
def test_a_value_or_column_that_is_not_there(table: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        targets(table, **params)


def test_groups_that_overlap_or_stand_beside_classes(table: Path) -> None:
    with pytest.raises(ConfigError, match=r"'groups' has 'CN' in more than one group"):
        dataset(table, groups={"a": ["CN"], "b": ["CN", "AD"]})
    with pytest.raises(ConfigError, match=r"give 'groups' or 'classes', not both"):
        dataset(table, groups=GROUPS, classes=["CN", "AD"])
    with pytest.raises(ConfigError, match="groups"):
        dataset(table, groups={"a": ["CN"]})
