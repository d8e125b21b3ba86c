"""Several cohorts as one study: ids, columns, units, and what must not be joined silently."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pytest
import torchio as tio

from xai_core import ConfigError, InputError, registry
from xai_core.testing import DatasetConformance


def bids(root: Path, scans: list[str], rows: list[str], about: dict[str, Any] | None = None) -> None:
    for scan in scans:
        folder = root.joinpath(*scan.split("_"), "anat")
        folder.mkdir(parents=True)
        (folder / f"{scan}_T1w.nii.gz").touch()
    (root / "participants.tsv").write_text("\n".join(row.replace(" ", "\t") for row in rows) + "\n")
    if about is not None:
        (root / "participants.json").write_text(json.dumps(about))


@pytest.fixture
def cohorts(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """ADNI2 and ADNI3, who share the person 11, and AIBL, whose ids meet ADNI2's."""
    bids(
        tmp_path / "a2",
        ["sub-01_ses-M00", "sub-02_ses-M00", "sub-02_ses-M12"],
        ["participant_id RID DX age sex site", "sub-01 11 LMCI 70 M 2", "sub-02 12 CN 71 F 3"],
        {"age": {"Units": "years"}},
    )
    bids(
        tmp_path / "a3",
        ["sub-X1", "sub-X2"],
        ["participant_id RID diagnosis months sex site", "sub-X1 11 AD 864 M 2", "sub-X2 13 CN 840 F 3"],
        {"months": {"Units": "month"}},
    )
    bids(
        tmp_path / "ai",
        ["sub-01", "sub-07", "sub-09"],
        ["participant_id diagnosis age gender mmse", "sub-01 HC 66.5 Male 30", "sub-07 AD 80 Female 22"],
    )
    return {
        "ADNI2": {
            "bids": str(tmp_path / "a2"), "study": "ADNI", "person": "RID", "visits": "all",
            "columns": {"diagnosis": {"column": "DX", "recode": {"LMCI": "MCI"}}},
        },
        "ADNI3": {
            "bids": str(tmp_path / "a3"), "study": "ADNI", "person": "RID",
            "columns": {"age": {"column": "months", "divide_by": 12, "unit": "years"}},
        },
        "AIBL": {
            "bids": str(tmp_path / "ai"),
            "columns": {
                "diagnosis": {"column": "diagnosis", "recode": {"HC": "CN"}},
                "sex": {"column": "gender", "recode": {"Male": "M", "Female": "F"}},
            },
        },
    }  # fmt: skip


def read(cohorts: Mapping[str, Any], **params: Any) -> list[tio.Subject]:
    given = {"cohorts": cohorts, "target": "diagnosis", **params}
    return list(registry.create("dataset", "cohorts", **given).subjects())


def values(subjects: list[tio.Subject], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(s.get(key) for key in keys) for s in subjects]


def changed(cohorts: Mapping[str, Any], name: str, **params: Any) -> dict[str, Any]:
    found = copy.deepcopy(dict(cohorts))
    found[name] |= params
    return found


def test_ids_sessions_and_sites_hold_in_the_whole_study(cohorts: dict[str, Any]) -> None:
    """The person 11 is one person with scans in two cohorts; 01 of ADNI2 and 01 of AIBL are two."""
    assert values(read(cohorts), "cohort", "subject_id", "session_id", "site", "target") == [
        ("ADNI2", "ADNI-11", "ADNI2M00", "ADNI-2", "MCI"),
        ("ADNI2", "ADNI-12", "ADNI2M00", "ADNI-3", "CN"),
        ("ADNI2", "ADNI-12", "ADNI2M12", "ADNI-3", "CN"),
        ("ADNI3", "ADNI-11", "ADNI3", "ADNI-2", "AD"),
        ("ADNI3", "ADNI-13", "ADNI3", "ADNI-3", "CN"),
        ("AIBL", "AIBL-01", None, None, "CN"),
        ("AIBL", "AIBL-07", None, None, "AD"),
    ]


def test_covariates_have_common_names_units_and_types(cohorts: dict[str, Any]) -> None:
    subjects = read(cohorts)
    assert values(subjects, "age", "sex", "mmse") == [
        (70.0, "M", None), (71.0, "F", None), (71.0, "F", None), (72.0, "M", None), (70.0, "F", None),
        (66.5, "M", 30), (80.0, "F", 22),
    ]  # fmt: skip
    assert all(type(subject["age"]) is float for subject in subjects)
    assert "RID" not in subjects[0]
    assert set(read(cohorts, covariates=["age"])[0]) & {"age", "sex", "mmse", "cohort"} == {"age", "cohort"}


def test_classes_groups_and_recode_hold_for_all(cohorts: dict[str, Any]) -> None:
    made = registry.create("dataset", "cohorts", cohorts=cohorts, target="diagnosis", classes=["CN", "AD"])
    assert made.class_order == ("CN", "AD")
    assert len(made.subjects()) == 6
    rows = [(row["cohort"], row["subject_id"], row["reason"]) for row in made.left_out()]
    assert rows == [
        ("ADNI2", "01", "in no class: diagnosis is MCI"),
        ("AIBL", "09", "has an image, but no row in participants.tsv"),
    ]
    groups = {"well": ["CN"], "ill": ["MCI", "AD"]}
    assert values(read(cohorts, groups=groups), "target", "diagnosis")[0] == ("ill", "MCI")
    assert values(read(cohorts, recode={"MCI": "AD"}), "target")[0] == ("AD",)


def test_a_regression(cohorts: dict[str, Any]) -> None:
    subjects = read(cohorts, target="age")
    assert values(subjects, "target") == [(70.0,), (71.0,), (71.0,), (72.0,), (70.0,), (66.5,), (80.0,)]


def test_what_no_cohort_has(cohorts: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        read(cohorts, classes=["CN", "ADD"], recode={"MC": "CN"})
    assert "'MC' (recode) does not occur in the column 'diagnosis' of any cohort. Did you mean 'MCI'?" in str(
        caught.value
    )
    assert "'ADD' (classes)" in str(caught.value)
    with pytest.raises(InputError, match=r"no cohort has a column 'tiv' \(covariates\)"):
        read(cohorts, covariates=["age", "tiv"])


def test_wrong_tables_are_told_together(cohorts: dict[str, Any]) -> None:
    wrong = changed(changed(cohorts, "ADNI2", where={"agee": {"min": 3}}), "AIBL", bids="nowhere")
    with pytest.raises(InputError) as caught:
        read(wrong)
    assert "cohort ADNI2: " in str(caught.value)
    assert "no column 'agee' (where)" in str(caught.value)
    assert "cohort AIBL: The BIDS folder nowhere does not exist" in str(caught.value)


class TestWhatMustNotBeJoined:
    def test_units_that_differ_by_the_json_files(self, cohorts: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=r"'age' is in several units.*ADNI2: years, ADNI3: month\b"):
            read(changed(cohorts, "ADNI3", columns={"age": "months"}))

    def test_numbers_of_another_size(self, cohorts: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
        read(cohorts)
        assert "of another size" not in caplog.text
        columns = {**cohorts["AIBL"]["columns"], "age": {"column": "age", "scale": 12}}
        read(changed(cohorts, "AIBL", columns=columns))
        assert "'age' is of another size in ADNI2 (median 71) than in AIBL (median 879)" in caplog.text

    def test_texts_and_numbers(self, cohorts: dict[str, Any]) -> None:
        columns = {**cohorts["AIBL"]["columns"], "sex": {"column": "gender", "recode": {"Male": 1, "Female": 2}}}
        wrong = changed(cohorts, "AIBL", columns=columns)
        with pytest.raises(InputError, match=r"'sex' is texts in some cohorts and numbers in others.*AIBL: 1, 2"):
            read(wrong)
        assert len(read(wrong, covariates=["age"])) == 7

    def test_values_that_have_nothing_in_common(
        self, cohorts: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        columns = {"diagnosis": cohorts["AIBL"]["columns"]["diagnosis"], "sex": "gender"}
        read(changed(cohorts, "AIBL", columns=columns))
        assert (
            "the values of 'sex' have nothing in common in ADNI2 ('M', 'F') and AIBL ('Male', 'Female')" in caplog.text
        )

    def test_one_id_in_two_studies_is_told(self, cohorts: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO):
            read(cohorts)
        assert "1 people are in several cohorts of one study, such as ADNI-11" in caplog.text
        assert "taken for different people" not in caplog.text
        read({name: {**about, "study": None, "person": None} for name, about in cohorts.items()})
        assert (
            "1 ids, such as 01, are in several studies (ADNI2, AIBL) and are taken for different people" in caplog.text
        )

    @pytest.mark.parametrize("spelling", ["0011", "1-1"])
    def test_one_id_in_two_spellings_is_refused(self, cohorts: dict[str, Any], spelling: str) -> None:
        table = Path(cohorts["ADNI3"]["bids"], "participants.tsv")
        table.write_text(table.read_text().replace("\t11\t", f"\t{spelling}\t"))
        with pytest.raises(InputError, match=rf"'11' \(cohort ADNI2\) and '{spelling}' \(cohort ADNI3\)"):
            read(cohorts)

    def test_two_rows_of_one_person(self, cohorts: dict[str, Any]) -> None:
        table = Path(cohorts["ADNI3"]["bids"], "participants.tsv")
        table.write_text(table.read_text().replace("\t13\t", "\t11\t"))
        with pytest.raises(InputError, match="rows 2 and 3 are the same person by the column 'RID'"):
            read(cohorts)
        table.write_text(table.read_text().replace("\t11\t", "\tn/a\t"))
        with pytest.raises(InputError, match="no value in the column 'RID'"):
            read(cohorts)

    def test_a_class_here_and_a_number_there(self, cohorts: dict[str, Any]) -> None:
        columns = {**cohorts["AIBL"]["columns"], "diagnosis": {"column": "diagnosis", "recode": {"HC": 0, "AD": 1}}}
        with pytest.raises(InputError, match="not one kind of value: texts in ADNI2, texts in ADNI3, numbers in AIBL"):
            read(changed(cohorts, "AIBL", columns=columns))

    def test_other_channels(self, cohorts: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="channels are not the same everywhere"):
            read(changed(cohorts, "AIBL", channels={"t1w": {}, "flair": {"suffix": "FLAIR"}}))


@pytest.mark.parametrize("name", ["a b", "a/b", "", "ä"])
def test_names_of_cohorts_become_ids(name: str) -> None:
    with pytest.raises(ConfigError):
        registry.create("dataset", "cohorts", cohorts={name: {"bids": "x"}}, target="dx")


class TestConformance(DatasetConformance):
    name = "cohorts"
    params: ClassVar[Mapping[str, Any]] = {"target": "dx", "cohorts": {"a": {"table": "a.tsv", "image": "scan"}}}

    def make(self, folder: Path) -> Mapping[str, Any]:
        cohorts = {}
        for cohort in "ab":
            rows = ["participant_id\tscan\tdx"]
            for number in range(4):
                name = f"{cohort}{number}.nii"
                nib.Nifti1Image(np.ones((3, 4, 5), dtype=np.float32), np.eye(4)).to_filename(folder / name)
                rows.append(f"{number}\t{name}\t{'CN' if number % 2 else 'AD'}")
            (folder / f"{cohort}.tsv").write_text("\n".join(rows))
            cohorts[cohort] = {"table": str(folder / f"{cohort}.tsv"), "image": "scan"}
        return {"target": "dx", "cohorts": cohorts}

    def break_one(self, folder: Path) -> tuple[Mapping[str, Any], str]:
        params = self.make(folder)
        (folder / "b2.nii").unlink()
        return params, "row 4"


def test_paths_of_cohorts_and_channels_start_at_the_pipeline_file(tmp_path: Path) -> None:
    from xai_core.config.resolve import resolve

    (tmp_path / "p.yaml").write_text(
        "version: 1\nname: x\n"
        "data:\n  name: cohorts\n  params:\n    target: dx\n    cohorts:\n"
        "      a: {table: t.csv, channels: {t1w: {bids: raw, suffix: T1w}, flair: flair_path}, mask: {bids: ../prep}}\n"
        "split: {name: holdout}\nmodel: {name: resnet3d}\ntraining: {name: lightning}\n"
    )
    (cohort,) = resolve(tmp_path / "p.yaml").value["data"]["params"]["cohorts"].values()
    assert cohort["table"] == str(tmp_path / "t.csv")
    assert cohort["channels"] == {"t1w": {"bids": str(tmp_path / "raw"), "suffix": "T1w"}, "flair": "flair_path"}
    assert cohort["mask"]["bids"] == str(tmp_path.parent / "prep")
    registry.create("dataset", "cohorts", cohorts={"a": cohort}, target="dx")
