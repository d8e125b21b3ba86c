"""Folds from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from xai_core import Fold, InputError, registry

TABLE = pd.DataFrame({"subject_id": [f"{n:02d}" for n in range(8)], "target": ["CN", "AD"] * 4})
GOOD = """fold\tpart\tsubject_id
0\ttrain\t00
0\ttrain\t01
0\tval\t02
0\ttest\t03
1\ttrain\t03
1\ttrain\tsub-02
1\ttest\t04
"""
ROWS = [dict(zip(("fold", "part", "subject_id"), line.split("\t"), strict=True)) for line in GOOD.splitlines()[1:]]
FIRST = {"train": ["00", "01"], "val": ["02"], "test": ["03"]}
EXPECTED = [Fold(("00", "01"), ("02",), ("03",)), Fold(("02", "03"), (), ("04",))]


def read(path: Path, content: str | bytes, table: pd.DataFrame = TABLE, **params: Any) -> Sequence[Fold]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    folds: Sequence[Fold] = registry.create("splitter", "split-file", path=str(path), **params).split(table, 1)
    return folds


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", GOOD),
        ("a.csv", GOOD.replace("\t", ",")),
        ("b.csv", "\ufeff" + GOOD.replace("\t", ";")),
        ("a.json", json.dumps(ROWS)),
        ("b.json", json.dumps({"folds": [FIRST, {"train": ["03", "02"], "test": ["04"]}]})),
        ("c.json", json.dumps([{**FIRST, "validation": []}, {"train": ["03", "02"], "dev": [], "test": ["04"]}])),
    ],
)  # fmt: skip
def test_every_form(tmp_path: Path, name: str, content: str, caplog: pytest.LogCaptureFixture) -> None:
    assert list(read(tmp_path / name, content)) == EXPECTED
    assert "3 people of the study are in no part" in caplog.text


def test_one_fold_needs_no_number(tmp_path: Path) -> None:
    assert list(read(tmp_path / "a.csv", "part,subject_id\ntrain,00\ntest,01\n")) == [Fold(("00",), (), ("01",))]
    assert list(read(tmp_path / "a.json", '{"train": ["00"], "test": ["01"]}')) == [Fold(("00",), (), ("01",))]


def test_order_repeats_and_held_out(tmp_path: Path) -> None:
    """Fold 2 comes before fold 10; repeat 1 after all of repeat 0; the held-out cohort is in all of them."""
    rows = [
        f"{fold}\t{repeat}\t{part}\t{person}"
        for fold, repeat, test in ((10, 0, "03"), (2, 0, "02"), (11, 1, "02"))
        for part, person in (("train", "00"), ("test", test), ("held_out", "07"))
    ]
    folds = read(tmp_path / "a.tsv", "\n".join(["fold\trepeat\tpart\tsubject_id", *rows]))
    assert [(fold.test, fold.repeat, fold.held_out) for fold in folds] == [
        (("02",), 0, ("07",)), (("03",), 0, ("07",)), (("02",), 1, ("07",)),
    ]  # fmt: skip


def test_a_run_s_own_file_gives_its_folds_again(tmp_path: Path) -> None:
    table = pd.DataFrame({"subject_id": [f"{n:02d}" for n in range(40)], "target": ["CN", "AD"] * 20})
    folds = registry.create("splitter", "repeated-kfold", repeats=2, folds=3).split(table, 4)
    rows = [
        {"fold": index, "repeat": fold.repeat, "part": part, "subject_id": person}
        for index, fold in enumerate(folds)
        for part in ("train", "val", "test", "held_out")
        for person in getattr(fold, part)
    ]
    content = pd.DataFrame(rows).to_csv(sep="\t", index=False)
    assert list(read(tmp_path / "splits.tsv", content, table)) == list(folds)


def test_all_problems_are_told_together(tmp_path: Path) -> None:
    rows = ["0\ttrain\t00", "0\ttrain\t00", "0\tval\t03", "0\ttest\t03", "0\ttest\t99", "0\tpractice\t01",
            "0\ttest\t", "1\ttrain\t01", "2\ttrain\t02", "2\ttest\t02", "2\theld_out\t02", "x\ttest\t05"]  # fmt: skip
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.tsv", "\n".join(["fold\tpart\tsubject_id", *rows]))
    for said in (
        "(10 problems)", "row 6: the study has no '99'", "row 7: 'practice' is no part", "row 8: no subject_id",
        "fold 0: 00 twice in train",
        "fold 0: 1 people are in val and in test (the weights would be chosen on the test part): 03",
        "fold 1: nobody is in test", "fold x: nobody is in train",
        "fold 2: 1 people are in train and in test (the test part would be trained on): 02",
        "fold 2: 1 people are in train and in held_out (held-out people are in no other part): 02",
    ):  # fmt: skip
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "x", "use .tsv, .csv or .json"),
        ("a.tsv", "fold\tid\n0\t1\n", "no column part and no subject_id. Columns: fold, id"),
        ("a.tsv", "", "no column part and no subject_id. Columns: none"),
        ("a.tsv", "part\tsubject_id\n", "no column part"),
        ("a.tsv", b"\xff\xfe", "not UTF-8"),
        ("a.csv", 'part,subject_id\n"train,00\n', "cannot be read"),
        ("a.json", "{", "no JSON"),
        ("a.json", "[" * 100_000, "no JSON"),
        ("a.json", "3", "has another form"),
        ("a.json", "[]", "names nobody"),
        ("a.json", '[{"train": "00", "test": ["01"]}]', "'00' is no list of ids"),
        ("a.json", '[{"train": [["00"]], "test": [null, "01"]}]', "no subject_id"),
        ("a.tsv", "repeat\tpart\tsubject_id\n-1\ttest\t00\n", "the repeat '-1' is no number from 0"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(InputError, match="split file") as caught:
        read(tmp_path / name, content)
    assert said in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        registry.create("splitter", "split-file", path=str(tmp_path / "a.tsv")).split(TABLE, 1)
    (tmp_path / "b.tsv").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        registry.create("splitter", "split-file", path=str(tmp_path / "b.tsv")).split(TABLE, 1)


def test_ids_with_and_without_sub(tmp_path: Path) -> None:
    """Where the study has both, they are two people."""
    table = TABLE.assign(subject_id=["sub-00", "00", *TABLE["subject_id"][2:]])
    (fold,) = read(tmp_path / "a.csv", "part,subject_id\ntrain,sub-00\ntest,00\nval,sub-02", table)
    assert (fold.train, fold.test, fold.val) == (("sub-00",), ("00",), ("02",))


def test_the_file_does_not_name_the_cohort_of_test_only(tmp_path: Path) -> None:
    table = TABLE.assign(cohort=["new"] + ["old"] * 7)
    params = {"test_only": {"column": "cohort", "values": ["new"]}}
    (fold,) = read(tmp_path / "a.csv", "part,subject_id\ntrain,01\ntest,02\n", table, **params)
    assert fold.held_out == ("00",)
    with pytest.raises(InputError, match="the study without the cohort of test_only has no '00'"):
        read(tmp_path / "a.csv", "part,subject_id\ntrain,00\ntest,02\n", table, **params)
