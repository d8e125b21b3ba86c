"""Study tables: what is read, and the one message for each thing that can be wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torchio as tio

from xai_core import ConfigError, InputError, registry

ROWS = [
    {"participant_id": "01", "scan": "a.nii.gz", "dx": "CN", "age": "70", "mmse": "29.5", "sex": "F"},
    {"participant_id": "02", "scan": "b.nii.gz", "dx": "AD", "age": "n/a", "mmse": "20", "sex": "M"},
    {"participant_id": "03", "scan": "sub/c.nii.gz", "dx": "MCI", "age": "81", "mmse": "", "sex": "NaN"},
]


def write(folder: Path, rows: list[dict[str, str]] = ROWS, name: str = "study.tsv", sep: str = "\t") -> Path:
    """Write a table and empty files where its scans should be: nothing may open them."""
    header = list(rows[0]) if rows else ["participant_id", "scan", "dx"]
    lines = [sep.join(header), *(sep.join(row[key] for key in header) for row in rows)]
    (folder / "sub").mkdir(exist_ok=True)
    for row in rows:
        if row.get("scan"):
            (folder / row["scan"]).touch()
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def read(table: Path | None, **params: Any) -> list[tio.Subject]:
    given = {"target": "dx"} | ({} if "bids" in params else {"image": "scan"}) | params
    if table is not None:
        given["table"] = str(table)
    return list(registry.create("dataset", "participants", **given).subjects())


def refused(table: Path | None, **params: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(table, **params)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestReading:
    def test_a_table_becomes_subjects(self, tmp_path: Path) -> None:
        first, second, third = read(write(tmp_path))
        assert first["subject_id"] == "01"
        assert (first["target"], second["target"], third["target"]) == ("CN", "AD", "MCI")
        assert first["image"].path == tmp_path / "a.nii.gz"
        assert third["image"].path == tmp_path / "sub" / "c.nii.gz"
        assert "session_id" not in first
        assert "site" not in first

    def test_covariates_have_types_and_missing_values_are_none(self, tmp_path: Path) -> None:
        subjects = read(write(tmp_path))
        assert [s["age"] for s in subjects] == [70, None, 81]
        assert all(type(s["age"]) is int for s in (subjects[0], subjects[2]))
        assert [s["mmse"] for s in subjects] == [29.5, 20.0, None]
        assert [s["sex"] for s in subjects] == ["F", "M", None]

    def test_codes_with_leading_zeros_stay_texts(self, tmp_path: Path) -> None:
        rows = [row | {"center": code} for row, code in zip(ROWS, ("007", "12", "3"), strict=True)]
        assert [s["center"] for s in read(write(tmp_path, rows))] == ["007", "12", "3"]

    @pytest.mark.parametrize(("name", "sep"), [("t.csv", ","), ("t.csv", ";"), ("t.csv", "\t"), ("t.tsv", "\t")])
    def test_separators(self, tmp_path: Path, name: str, sep: str) -> None:
        expected = [dict(s) for s in read(write(tmp_path))]
        found = [dict(s) for s in read(write(tmp_path, name=name, sep=sep))]
        for one, other in zip(expected, found, strict=True):
            assert {**one, "image": one["image"].path} == {**other, "image": other["image"].path}

    def test_an_excel_table_reads_like_the_text(self, tmp_path: Path) -> None:
        expected = read(write(tmp_path))
        frame = pd.DataFrame(ROWS)
        frame["age"] = [70, None, 81]  # numbers in Excel, ids as texts
        frame["mmse"] = [29.5, 20.0, None]
        frame.to_excel(tmp_path / "study.xlsx", index=False)
        found = read(tmp_path / "study.xlsx")
        for key in ("subject_id", "target", "age", "mmse", "sex"):
            assert [s[key] for s in found] == [s[key] for s in expected], key

    def test_byte_order_mark_windows_line_ends_quotes_and_blank_lines(self, tmp_path: Path) -> None:
        write(tmp_path)
        text = '\ufeffparticipant_id,scan,dx\r\n"01","a.nii.gz","CN, old"\r\n\r\n02,b.nii.gz,AD\r\n'
        (tmp_path / "w.csv").write_bytes(text.encode())
        assert [s["target"] for s in read(tmp_path / "w.csv")] == ["CN, old", "AD"]

    def test_decimal_commas_of_a_semicolon_csv(self, tmp_path: Path) -> None:
        rows = [row | {"age": age} for row, age in zip(ROWS, ("70,5", "71", "72,25"), strict=True)]
        subjects = read(write(tmp_path, rows, "t.csv", ";"), target="age")
        assert [s["target"] for s in subjects] == [70.5, 71.0, 72.25]

    def test_sub_prefix_means_the_same_person(self, tmp_path: Path) -> None:
        rows = [{**ROWS[0], "participant_id": "sub-01"}, {**ROWS[1], "participant_id": "01"}]
        assert "'01'" in refused(write(tmp_path, rows))

    def test_sessions_and_sites(self, tmp_path: Path) -> None:
        rows = [
            {**ROWS[0], "visit": "ses-M00", "scanner": "1"},
            {**ROWS[1], "participant_id": "01", "visit": "M12", "scanner": "2"},
        ]
        subjects = read(write(tmp_path, rows), session="visit", site="scanner")
        assert [s["session_id"] for s in subjects] == ["M00", "M12"]
        assert [s["site"] for s in subjects] == ["1", "2"]
        assert "visit" not in subjects[0]

    def test_usual_names_of_session_and_site_are_understood(self, tmp_path: Path) -> None:
        rows = [{**ROWS[0], "session_id": "1", "site": "9"}, {**ROWS[0], "session_id": "2", "site": "9"}]
        subjects = read(write(tmp_path, rows))
        assert [s["session_id"] for s in subjects] == ["1", "2"]
        assert subjects[0]["site"] == "9"

    def test_columns_with_reserved_names_are_kept_under_another(self, tmp_path: Path) -> None:
        rows = [row | {"target": "1", "shape": "2", "values": "3", "image": "4", "image_": "5"} for row in ROWS]
        subject = read(write(tmp_path, rows))[0]
        assert (subject["target_"], subject["shape_"], subject["values_"]) == (1, 2, 3)
        assert {subject["image_"], subject["image__"]} == {4, 5}
        assert len(list(subject.values())) == len(subject.keys())  # still methods
        assert subject["target"] == "CN"

    def test_masks(self, tmp_path: Path) -> None:
        (tmp_path / "m.nii.gz").touch()
        rows = [row | {"mask": mask} for row, mask in zip(ROWS, ("m.nii.gz", "n/a", ""), strict=True)]
        subjects = read(write(tmp_path, rows), ground_truth="mask")
        assert isinstance(subjects[0]["ground_truth"], tio.LabelMap)
        assert ["ground_truth" in s for s in subjects] == [True, False, False]

    def test_the_table_is_an_input(self, tmp_path: Path) -> None:
        dataset = registry.create("dataset", "participants", table=str(tmp_path / "x.tsv"), image="a", target="b")
        assert list(dataset.inputs()) == [tmp_path / "x.tsv"]


class TestTargets:
    def test_numbers_are_a_regression(self, tmp_path: Path) -> None:
        rows = [row | {"age": age} for row, age in zip(ROWS, ("70", "71.5", "1e2"), strict=True)]
        subjects = read(write(tmp_path, rows), target="age")
        assert [s["target"] for s in subjects] == [70.0, 71.5, 100.0]
        assert all(type(s["target"]) is float for s in subjects)

    def test_two_numbers_are_suspicious(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        rows = [row | {"dx": dx} for row, dx in zip(ROWS, ("0", "1", "1"), strict=True)]
        table = write(tmp_path, rows)
        with caplog.at_level(logging.WARNING):
            read(table)
        assert "regression" in caplog.text
        assert "classes" in caplog.text
        assert [s["target"] for s in read(table, classes=[0, 1])] == ["0", "1", "1"]

    def test_classes_give_order_and_rows(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        table = write(tmp_path)
        with caplog.at_level(logging.INFO):
            assert [s["target"] for s in read(table, classes=["CN", "AD"])] == ["CN", "AD"]
        assert "1 of MCI" in caplog.text
        dataset = registry.create(
            "dataset", "participants", table=str(table), image="scan", target="dx", classes=["MCI", "CN"]
        )
        assert dataset.class_order == ("MCI", "CN")

    def test_images_of_rows_that_are_left_out_need_not_exist(self, tmp_path: Path) -> None:
        table = write(tmp_path)
        (tmp_path / "sub" / "c.nii.gz").unlink()
        assert len(read(table, classes=["CN", "AD"])) == 2

    def test_missing_targets(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        table = write(tmp_path, [ROWS[0], ROWS[1] | {"dx": "n/a"}, ROWS[2]])
        message = refused(table)
        assert "row 3" in message
        assert "'dx'" in message
        assert "missing_target" in message
        with caplog.at_level(logging.WARNING):
            assert [s["subject_id"] for s in read(table, missing_target="drop")] == ["01", "03"]
        assert "row 3" in caplog.text

    def test_numbers_mixed_with_texts_are_not_silently_classes(self, tmp_path: Path) -> None:
        rows = [row | {"dx": dx} for row, dx in zip(ROWS, ("70", "8O", "90"), strict=True)]
        message = refused(write(tmp_path, rows))
        assert "row 3" in message
        assert "'8O'" in message

    def test_a_class_that_does_not_occur(self, tmp_path: Path) -> None:
        message = refused(write(tmp_path), classes=["CN", "Alzheimer"])
        assert "'Alzheimer'" in message
        assert "'AD', 'CN', 'MCI'" in message


class TestWrongTables:
    def test_missing_table(self, tmp_path: Path) -> None:
        write(tmp_path)
        message = refused(tmp_path / "studi.tsv")
        assert "does not exist" in message
        assert "study.tsv" in message

    @pytest.mark.parametrize(("text", "said"), [("", "is empty"), ("a\tb\n", "no rows"), ("\n \n", "is empty")])
    def test_empty_table(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "t.tsv").write_text(text)
        assert said in refused(tmp_path / "t.tsv")

    def test_unsupported_extension(self, tmp_path: Path) -> None:
        (tmp_path / "t.sav").touch()
        assert ".tsv, .csv or .xlsx" in refused(tmp_path / "t.sav")

    def test_a_folder_is_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "t.tsv").mkdir()
        assert "is a folder" in refused(tmp_path / "t.tsv")

    def test_not_utf8(self, tmp_path: Path) -> None:
        (tmp_path / "t.tsv").write_bytes("participant_id\tdx\n01\tgr\xfcn\n".encode("latin-1"))
        assert "UTF-8" in refused(tmp_path / "t.tsv")

    def test_not_a_workbook(self, tmp_path: Path) -> None:
        (tmp_path / "t.xlsx").write_text("hello")
        assert "cannot be read as an Excel workbook" in refused(tmp_path / "t.xlsx")

    def test_unclosed_quote_does_not_swallow_rows(self, tmp_path: Path) -> None:
        (tmp_path / "t.tsv").write_text('participant_id\tscan\tdx\n01\t"a\tCN\n02\tb\tAD\n')
        assert "row 2" in refused(tmp_path / "t.tsv")

    def test_unclosed_quote_in_the_last_column(self, tmp_path: Path) -> None:
        (tmp_path / "t.tsv").write_text('participant_id\tscan\tdx\n01\ta\tCN\n02\tb\t"AD\n03\tc\tCN\n')
        message = refused(tmp_path / "t.tsv")
        assert "row 3" in message
        assert "quotation marks" in message

    def test_rows_of_a_workbook_are_those_that_excel_shows(self, tmp_path: Path) -> None:
        cells = [[None] * 3, ["participant_id", "scan", "dx"], ["1", "a.nii", "CN"], [None] * 3, ["2", "b.nii", "AD"]]
        pd.DataFrame(cells).to_excel(tmp_path / "t.xlsx", index=False, header=False)
        message = refused(tmp_path / "t.xlsx")
        assert "row 3: " in message
        assert "row 5: " in message

    def test_row_of_another_width(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("participant_id,scan,dx\n01,a.nii,CN\n\n02,b.nii\n")
        message = refused(tmp_path / "t.csv")
        assert "row 4" in message
        assert "2 cells" in message

    def test_repeated_column(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("participant_id,dx,dx\n01,a,b\n")
        assert "'dx' occurs more than once" in refused(tmp_path / "t.csv")

    @pytest.mark.parametrize(
        ("params", "near"), [({"target": "dxx"}, "dx"), ({"image": "scans"}, "scan"), ({"subject": "Scan"}, "scan")]
    )
    def test_unknown_column(self, tmp_path: Path, params: dict[str, str], near: str) -> None:
        message = refused(write(tmp_path), **params)
        assert f"Did you mean '{near}'?" in message
        assert "participant_id, scan, dx, age, mmse, sex" in message
        assert next(iter(params)) in message

    def test_missing_images_are_counted_and_five_are_named(self, tmp_path: Path) -> None:
        rows = [{"participant_id": str(n), "scan": f"{n}.nii", "dx": "AB"[n % 2]} for n in range(9)]
        table = write(tmp_path, rows)
        for n in range(2, 9):
            (tmp_path / f"{n}.nii").unlink()
        message = refused(table)
        assert "7 of 9" in message
        assert "row 4: " in message
        assert "row 8: " in message
        assert "row 9: " not in message
        assert "and 2 more" in message

    def test_an_image_that_is_a_folder(self, tmp_path: Path) -> None:
        table = write(tmp_path, [ROWS[0] | {"scan": ""}, ROWS[1]])
        assert "row 2 names no image" in refused(table)
        table.write_text("participant_id\tscan\tdx\n01\tsub\tCN\n")
        assert "is a folder" in refused(table)

    def test_duplicate_person(self, tmp_path: Path) -> None:
        message = refused(write(tmp_path, [*ROWS, ROWS[1]]))
        assert "'02'" in message
        assert "rows 3 and 5" in message
        assert "session" in message

    def test_duplicate_visit(self, tmp_path: Path) -> None:
        rows = [ROWS[0] | {"visit": "1"}, ROWS[1] | {"visit": "1"}, ROWS[0] | {"visit": "1"}]
        message = refused(write(tmp_path, rows), session="visit")
        assert "session '1'" in message
        assert "rows 2 and 4" in message

    @pytest.mark.parametrize(("value", "said"), [("n/a", "has no value"), ("a/b", "cannot be an id")])
    def test_unusable_id(self, tmp_path: Path, value: str, said: str) -> None:
        assert said in refused(write(tmp_path, [ROWS[0], ROWS[1] | {"participant_id": value}]))

    @pytest.mark.parametrize(
        ("params", "said"),
        [
            ({"table": "t.tsv"}, "neither"),
            ({"table": "t.tsv", "image": "a", "bids": "b"}, "both"),
            ({"image": "a"}, "'table'"),
            ({"table": "t.tsv", "image": "a", "ground_truth_derivative": "m"}, "needs 'bids'"),
            ({"table": "t.tsv", "image": "a", "classes": ["1", 1]}, "twice"),
        ],
    )
    def test_parameters_that_do_not_fit_together(self, params: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            registry.create("dataset", "participants", target="dx", **params)


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    """Two people with a T1w image, one of them with two runs of T2w, and masks of the second one."""
    for name in (
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/anat/sub-01_run-1_T2w.nii.gz",
        "sub-01/anat/sub-01_run-2_T2w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii",
        "sub-02/anat/sub-02_run-1_T2w.nii",
        "sub-02/anat/sub-02_desc-brain_T1w.nii.gz.part",
        "derivatives/ground-truth/sub-02/anat/sub-02_desc-atrophy_mask.nii.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "participants.tsv").write_text("participant_id\tdx\nsub-01\tCN\nsub-02\tAD\n")
    return tmp_path


class TestBids:
    def test_images_are_found(self, bids: Path) -> None:
        first, second = read(None, bids=str(bids))
        assert first["subject_id"] == "01"
        assert first["image"].path.name == "sub-01_T1w.nii.gz"
        assert second["image"].path.name == "sub-02_T1w.nii"

    def test_another_table_and_ids_without_prefix(self, bids: Path) -> None:
        (bids / "other.csv").write_text("id,group\n02,AD\n")
        (subject,) = read(bids / "other.csv", bids=str(bids), subject="id", target="group")
        assert subject["image"].path.name == "sub-02_T1w.nii"

    def test_several_images_and_how_to_choose(self, bids: Path) -> None:
        message = refused(None, bids=str(bids), suffix="T2w")
        assert "row 2" in message
        assert "sub-01_run-1_T2w.nii.gz" in message
        assert "entities" in message
        subjects = read(None, bids=str(bids), suffix="T2w", entities={"run": "1"})
        assert [s["image"].path.name for s in subjects] == ["sub-01_run-1_T2w.nii.gz", "sub-02_run-1_T2w.nii"]

    def test_entity_that_must_be_absent(self, bids: Path) -> None:
        (bids / "sub-01/anat/sub-01_space-MNI_T1w.nii.gz").touch()
        assert "several" in refused(None, bids=str(bids))
        assert read(None, bids=str(bids), entities={"space": None})[0]["image"].path.name == "sub-01_T1w.nii.gz"

    def test_missing_person_and_missing_suffix(self, bids: Path) -> None:
        (bids / "participants.tsv").write_text("participant_id\tdx\nsub-01\tCN\nsub-2\tAD\n")
        message = refused(None, bids=str(bids))
        assert "sub-2 (row 3)" in message
        assert "Did you mean '02'?" in message
        message = refused(bids / "participants.tsv", bids=str(bids), suffix="FLAIR")
        assert "2 of the 2 rows" in message
        assert "T1w, T2w" in message

    def test_no_folder_and_no_table(self, tmp_path: Path) -> None:
        assert "does not exist" in refused(None, bids=str(tmp_path / "x"))
        assert "participants.tsv" in refused(None, bids=str(tmp_path))

    def test_sessions(self, bids: Path) -> None:
        for visit in ("M00", "M12"):
            (bids / f"sub-03/ses-{visit}/anat").mkdir(parents=True)
            (bids / f"sub-03/ses-{visit}/anat/sub-03_ses-{visit}_T1w.nii.gz").touch()
        (bids / "sub-03/ses-M00/anat/sub-03_ses-M12_T1w.nii.gz").touch()  # astray
        table = bids / "visits.tsv"
        table.write_text("participant_id\tdx\nsub-01\tCN\nsub-03\tAD\n")
        assert "row 3" in refused(table, bids=str(bids))
        table.write_text("participant_id\tdx\tvisit\nsub-01\tCN\tn/a\nsub-03\tMCI\tM00\nsub-03\tAD\tses-M12\n")
        subjects = read(table, bids=str(bids), session="visit")
        assert [s.get("session_id") for s in subjects] == [None, "M00", "M12"]
        assert subjects[2]["image"].path.name == "sub-03_ses-M12_T1w.nii.gz"

    def test_the_only_session_is_taken_and_named(self, bids: Path) -> None:
        (bids / "sub-04/ses-a/anat").mkdir(parents=True)
        (bids / "sub-04/ses-a/anat/sub-04_ses-a_T1w.nii").touch()
        (bids / "t.tsv").write_text("participant_id\tdx\n04\tCN\n01\tAD\n")
        subjects = read(bids / "t.tsv", bids=str(bids))
        assert [s.get("session_id") for s in subjects] == ["a", None]

    def test_masks_of_a_derivative(self, bids: Path) -> None:
        first, second = read(None, bids=str(bids), ground_truth_derivative="ground-truth")
        assert "ground_truth" not in first
        assert second["ground_truth"].path.name == "sub-02_desc-atrophy_mask.nii.gz"
        message = refused(None, bids=str(bids), ground_truth_derivative="groundtruth")
        assert "Did you mean 'ground-truth'?" in message
