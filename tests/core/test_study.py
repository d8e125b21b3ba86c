"""What a dataset and a splitter hand over is checked before anything is trained; each fault is one clear message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
import torchio as tio

from xai_core import Dataset, Fold, InputError, PluginError, Splitter, registry
from xai_core.engine.study import Study, part_of, scan_name

Row = Mapping[str, Any]


def subject(subject_id: Any, target: Any, **more: Any) -> tio.Subject:
    values = torch.rand((1, 4, 5, 6), generator=torch.Generator().manual_seed(sum(map(ord, str(subject_id)))))
    return tio.Subject(image=tio.ScalarImage(tensor=values), subject_id=subject_id, target=target, **more)


PEOPLE = [subject(f"p{i}", "AD" if i % 2 else "CN") for i in range(6)]
FOLD = Fold(train=("p0", "p1", "p2"), val=("p3",), test=("p4", "p5"))


class Given(Dataset):
    """What the test gives."""

    scans: ClassVar[Sequence[Any]] = ()
    order: ClassVar[Sequence[str] | None] = None
    drawn: ClassVar[list[float]] = []

    @property
    def class_order(self) -> Sequence[str] | None:
        return self.order

    def subjects(self) -> Sequence[tio.Subject]:
        self.drawn.append(float(np.random.random()))
        return self.scans


class GivenFolds(Splitter):
    """What the test gives."""

    answer: ClassVar[Any] = ()
    asked: ClassVar[list[tuple[pd.DataFrame, int]]] = []

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        self.asked.append((table, seed))
        return self.answer  # type: ignore[no-any-return]


Make = Callable[..., Study]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Builds a study of given scans, class order and folds."""
    monkeypatch.setattr(registry._default, "_registered", {})
    registry.refresh()
    registry.register("dataset", "given", Given)
    registry.register("splitter", "given", GivenFolds)

    def build(
        scans: Sequence[Any],
        order: Sequence[str] | None = None,
        folds: Any = (FOLD,),
        seed: int = 1,
        explainers: Sequence[Any] = (),
    ) -> Study:
        monkeypatch.setattr(Given, "scans", scans)
        monkeypatch.setattr(Given, "order", order)
        monkeypatch.setattr(Given, "drawn", [])
        monkeypatch.setattr(GivenFolds, "answer", folds)
        monkeypatch.setattr(GivenFolds, "asked", [])
        slot = {"name": "given", "params": {}}
        config = {"seed": seed, "data": {**slot, "transforms": []}, "split": slot, "explainers": explainers}
        return Study(config, tmp_path)

    yield build
    monkeypatch.undo()
    registry.refresh()


def test_a_good_study(make: Make) -> None:
    study = make(PEOPLE)
    assert (study.task, study.classes, study.outputs) == ("classification", ("CN", "AD"), 2)
    assert study.names == [f"sub-p{i}" for i in range(6)]
    assert study.folds == (FOLD,)
    assert study.part(["p4", "p1"]) == [1, 4]
    assert [study.target_value(i) for i in range(3)] == [0, 1, 0]
    assert len(set(study.hashes.values())) == 6
    assert list(study.hashes) == study.names


def test_class_order_decides_the_index(make: Make) -> None:
    study = make(PEOPLE, order=["AD", "CN"])
    assert study.classes == ("AD", "CN")
    assert [study.target_value(i) for i in range(2)] == [1, 0]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("AD", "CN"), ("CN", "AD")),
        (("MCI", "AD", "hc"), ("hc", "AD", "MCI")),
        (("depression", "Control"), ("Control", "depression")),
        (("1", "0"), ("0", "1")),
        (("b", "a"), ("a", "b")),
    ],
)
def test_controls_come_first_unless_an_order_is_given(
    make: Make, names: Sequence[str], expected: Sequence[str]
) -> None:
    """The last class is the positive one."""
    assert make([subject(name, name) for name in names]).classes == expected


@pytest.mark.parametrize("targets", [(1, 2.5, 3), (0, 1, 1), (np.float64(1), np.float64(2), np.float64(3))])
def test_numbers_are_a_regression(make: Make, targets: Sequence[float]) -> None:
    study = make([subject(f"p{i}", target) for i, target in enumerate(targets)])
    assert (study.task, study.classes, study.outputs) == ("regression", None, 1)
    assert [study.target_value(i) for i in range(3)] == [float(t) for t in targets]


def test_order_is_ignored_in_a_regression(make: Make) -> None:
    assert make([subject("a", 1.0), subject("b", 2.0)], order=["x", "y"]).classes is None


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"subject_id": "01"}, "sub-01"),
        ({"subject_id": "sub-01"}, "sub-01"),
        ({"subject_id": 7}, "sub-7"),
        ({"subject_id": "ADNI_002_S-0295"}, "sub-ADNI002S0295"),
        ({"subject_id": "01", "session_id": "ses-M00"}, "sub-01_ses-M00"),
        ({"subject_id": "01", "session_id": 2}, "sub-01_ses-2"),
        ({"subject_id": "01", "session_id": ""}, "sub-01"),
        ({"subject_id": "01", "session_id": None}, "sub-01"),
    ],
)
def test_scan_name(row: Row, name: str) -> None:
    assert scan_name(row) == name


def test_table_has_a_row_for_each_scan(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    image = tio.ScalarImage(tensor=torch.rand(1, 4, 5, 6))
    image.save(path)
    mask = tio.LabelMap(tensor=torch.ones(1, 4, 5, 6))
    scans = [
        tio.Subject(image=tio.ScalarImage(path), subject_id="a", session_id="1", target="AD", age=70, sex="F"),
        tio.Subject(image=image, subject_id="a", session_id="2", target="AD", age=None, other=mask, site="X"),
        tio.Subject(image=tio.ScalarImage([path, path]), subject_id="b", target="CN", scan_id="a column", age=60),
    ]
    table = make(scans).table
    first = ["scan_id", "subject_id", "session_id", "site", "target", "image", "ground_truth"]
    assert list(table.columns) == [*first, "age", "sex"]
    assert list(table["scan_id"]) == ["sub-a_ses-1", "sub-a_ses-2", "sub-b"], "a column of the study took its place"
    assert table["image"].tolist()[0] == str(path)
    assert table["image"].isna().tolist() == [False, True, False], "of several channels the first one's"
    assert table["ground_truth"].isna().all()


def test_person_of_two_sessions_counts_as_one(make: Make) -> None:
    scans = [subject("p0", "AD", session_id=s) for s in ("1", "2")] + [subject("p1", "CN"), subject("p2", "AD")]
    study = make(scans, folds=[Fold(("p0", "p1"), (), ("p2",))])
    assert study.part(study.folds[0].train) == [0, 1, 2]


def test_splitter_gets_the_table_and_a_seed_of_its_own(make: Make) -> None:
    study = make(PEOPLE, seed=5)
    assert study.folds
    ((table, seed),) = GivenFolds.asked
    assert table.equals(study.table)
    assert seed != 5
    assert make(PEOPLE, seed=5).folds
    assert GivenFolds.asked[0][1] == seed


def test_dataset_is_made_under_the_seed_and_the_generators_are_put_back(make: Make) -> None:
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    make(PEOPLE, seed=5)
    drawn = list(Given.drawn)
    assert np.random.random() == expected
    make(PEOPLE, seed=5)
    assert Given.drawn == drawn
    make(PEOPLE, seed=6)
    assert Given.drawn != drawn


# --- what a dataset can do wrong --------------------------------------------------------------------------------------

CASES: dict[str, tuple[Sequence[Any], str]] = {
    "nobody": ([], r"^The dataset given holds nobody\. Look at its table and at data\.params\.$"),
    "duplicate person": (
        [*PEOPLE, subject("p2", "CN")],
        r"^The person 'p2' is there twice\. Remove one row, or name the column that tells the visits apart",
    ),
    "duplicate visit": (
        [subject("a", "AD", session_id="1"), subject("a", "AD", session_id="1"), subject("b", "CN")],
        r"^The person 'a' is there twice\.",
    ),
    "ids alike": (
        [subject("sub-01", "AD"), subject("01", "CN")],
        r"^The ids 'sub-01' and '01' both become sub-01 in file names\. Rename one of them\.$",
    ),
    "ids alike in other sessions": (
        [subject("a_1", "AD", session_id="1"), subject("a-1", "CN", session_id="2")],
        r"^The ids 'a_1' and 'a-1' both become sub-a1 in file names",
    ),
    "sessions alike": (
        [subject("a", "AD", session_id="m-1"), subject("a", "AD", session_id="m1"), subject("b", "CN")],
        r"^The sessions 'm-1' and 'm1' of 'a' both become sub-a_ses-m1 in file names\. Rename one\.$",
    ),
    "id without letters": ([subject("--", "AD"), subject("b", "CN")], r"^The person '--' has no letter or digit"),
    "id without letters in a session": (
        [subject("--", "AD", session_id="1"), subject("b", "CN")],
        r"^The person '--' has no letter or digit in the id\.$",
    ),
    "session without letters": (
        [subject("a", "AD", session_id="_"), subject("b", "CN")],
        r"^The session '_' of 'a' has no letter or digit\.$",
    ),
    "one class": (
        [subject("a", "AD"), subject("b", "AD")],
        r"^There is only one class: AD \(2\)\. A classification needs two\.$",
    ),
    "mixed targets": (
        [subject("a", "AD"), subject("b", "CN"), subject("c", 3.5)],
        r"^The targets are mixed: float \(1\), str \(2\); c has 3\.5\. Give texts",
    ),
    "target missing in one": (
        [subject("a", 61.0), subject("b", None), subject("c", 70.0)],
        r"^The targets are mixed: NoneType \(1\), float \(2\); b has None\.",
    ),
    "booleans": ([subject("a", True), subject("b", False)], r"neither texts nor numbers: bool \(2\); a has True"),
    "other numbers": (
        [subject("a", np.int64(1)), subject("b", np.int64(2))],
        r"^The targets are neither texts nor numbers: int64 \(2\)",
    ),
    "NaN target": (
        [subject("a", 1.0), subject("b", float("nan")), subject("c", float("inf"))],
        r"^The target of b, c is not a finite number\. Fill it in or leave them out\.$",
    ),
    "constant target": (
        [subject("a", 3), subject("b", 3.0)],
        r"^The target is 3 for everybody; there is nothing to learn\.$",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_fault_of_the_dataset(make: Make, case: str) -> None:
    scans, message = CASES[case]
    with pytest.raises(InputError, match=message) as caught:
        make(scans)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["CN", "MCI"], r"^The classes AD occur, but the order of classes is CN, MCI\.$"),
        (["CN", "MCI", "AD"], r"^Nobody has the class MCI\. There is: AD \(3\), CN \(3\)\.$"),
        (["CN", "AD", "CN"], r"^The order of classes names one twice: CN, AD, CN\.$"),
    ],
)
def test_fault_of_the_class_order(make: Make, order: Sequence[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(PEOPLE, order=order)


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        ({"image": 1}, r"^The dataset given gave a dict, not a torchio\.Subject\.$"),
        (None, r"^The dataset given gave a NoneType, not a torchio\.Subject\.$"),
        (tio.Subject(image=PEOPLE[0].image, target="AD"), r"^The dataset given: scan 2 has no subject_id\.$"),
        (tio.Subject(t1=PEOPLE[0].image, subject_id="x"), r"^The dataset given: scan 2 has no image and no target\.$"),
    ],
)
def test_broken_dataset(make: Make, scan: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        make([PEOPLE[0], scan])


def test_unusable_scans_are_found_before_training(make: Make) -> None:
    empty = tio.Subject(image=tio.ScalarImage(tensor=torch.zeros(1, 4, 5, 6)), subject_id="e", target="CN")
    study = make([*PEOPLE, empty])
    with pytest.raises(InputError, match=r"^sub-e: the image has the value 0\.0 in every voxel\.$"):
        assert study.hashes


# --- what a splitter can do wrong -------------------------------------------------------------------------------------

LEAKS: dict[str, tuple[Fold, str]] = {
    "train and test": (
        Fold(("p0", "p1"), (), ("p1", "p2")),
        r"^p1 is in the train part and in the test part \(fold",
    ),
    "train and val": (Fold(("p0", "p1"), ("p0",), ("p2",)), r"^p0 is in the train part and in the validation part"),
    "val and test": (Fold(("p0",), ("p2", "p3"), ("p2", "p4")), r"^p2 is in the validation part and in the test part"),
    "several": (
        Fold(("p0", "p1", "p2"), (), ("p1", "p2")),
        r"^2 people are in two parts:\n  p1 is .*\n  p2 is .*\(fold 1\)\. The splitter given leaks\.$",
    ),
    "unknown": (
        Fold(("p0", "x"), (), ("p1", "sub-p2")),
        r"^The splitter given names people whom the study does not have: sub-p2, x\.$",
    ),
    "numbers": (Fold((0, 1), (), (2,)), r"people whom the study does not have: 0, 1, 2\.$"),  # type: ignore[arg-type]
    "nobody to train": (Fold((), ("p1",), ("p2",)), r"^Fold 1 of the splitter given has nobody in the train part\.$"),
    "nobody to test": (Fold(("p1",), ("p2",), ()), r"^Fold 1 of the splitter given has nobody in the test part\.$"),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_fault_of_the_splitter(make: Make, leak: str) -> None:
    fold, message = LEAKS[leak]
    study = make(PEOPLE, folds=[FOLD, fold])
    with pytest.raises(InputError, match=message):
        assert study.folds


def test_nobody_is_tested_twice_in_one_repeat(make: Make) -> None:
    """Scores pool a repeat's rows as those of independent people."""
    again = Fold(("p0", "p1"), (), ("p5",))
    with pytest.raises(InputError, match=r"tests p5 in fold 0 and in fold 1, both of repeat 0.*own Fold\.repeat"):
        assert make(PEOPLE, folds=[FOLD, again]).folds
    assert len(make(PEOPLE, folds=[FOLD, replace(again, repeat=1)], explainers=[{"id": "x"}]).folds) == 2


def test_validation_part_may_be_empty(make: Make) -> None:
    assert make(PEOPLE, folds=[Fold(("p0", "p1"), (), ("p2",))]).folds[0].val == ()


@pytest.mark.parametrize(
    ("folds", "message"),
    [([], "returned no fold"), ([(("p0",), (), ("p1",))], r"returned a tuple, not an xai_core\.Fold")],
)
def test_broken_splitter(make: Make, folds: Any, message: str) -> None:
    study = make(PEOPLE, folds=folds)
    with pytest.raises(PluginError, match=message):
        assert study.folds


def test_part_of() -> None:
    assert [part_of(FOLD, part) for part in ("train", "val", "test")] == [FOLD.train, FOLD.val, FOLD.test]
