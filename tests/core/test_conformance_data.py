"""Every check of the suites for datasets, transforms and splitters fails on a component that breaks what it checks."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
import torchio as tio

from xai_core import Component, Dataset, Fold, InputError, Splitter, Transform, registry
from xai_core.testing import DatasetConformance, SplitterConformance, TransformConformance

COUNT = itertools.count()

# --- datasets ---------------------------------------------------------------------------------------------------------


class Folder(Dataset):
    """The images of a folder and, where it has one, of a list of files."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"folder": {"type": "string", "description": "Folder."}},
        "required": ["folder"],
    }

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder)

    def rows(self) -> list[dict[str, Any]]:
        paths = [self.folder / line for line in (self.folder / "list.txt").read_text(encoding="utf-8").split()]
        for row, path in enumerate(paths, 1):
            if not path.is_file():
                raise InputError(f"row {row}: {path} does not exist.")
        return [self.about(number, path) for number, path in enumerate(paths)]

    def about(self, number: int, path: Path) -> dict[str, Any]:
        return {
            "image": tio.ScalarImage(path),
            "subject_id": f"p{number}",
            "target": "ab"[number % 2],
            "ground_truth": tio.LabelMap(tensor=torch.ones(1, 4, 5, 6), affine=tio.ScalarImage(path).affine),
        }

    def subjects(self) -> Sequence[tio.Subject]:
        return [tio.Subject(row) for row in self.rows()]


class FolderSuite(DatasetConformance):
    def make(self, folder: Path) -> Mapping[str, Any]:
        names = [f"{number}.nii.gz" for number in range(4)]
        for name in names:
            tio.ScalarImage(tensor=torch.rand(1, 4, 5, 6), affine=np.diag([-2.0, 2, 3, 1])).save(folder / name)
        (folder / "list.txt").write_text("\n".join(names))
        return {"folder": str(folder)}

    def break_one(self, folder: Path) -> tuple[Mapping[str, Any], str] | None:
        params = self.make(folder)
        (folder / "2.nii.gz").unlink()
        return params, "row 3"


def dataset(change: Callable[[int, dict[str, Any]], dict[str, Any]]) -> type[Dataset]:
    """A dataset whose rows are changed by a function of number and row."""

    class Bad(Folder):
        """Bad in one way."""

        def about(self, number: int, path: Path) -> dict[str, Any]:
            return change(number, super().about(number, path))

    return Bad


def listing(function: Callable[[Any], Any]) -> type[Dataset]:
    """A dataset whose list of subjects is made by a function of the dataset."""

    class Bad(Folder):
        """Bad in one way."""

        def subjects(self) -> Any:
            return function(self)

    return Bad


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def loaded(_number: int, row: dict[str, Any]) -> dict[str, Any]:
    row["image"].load()
    return row


def no_affine(_number: int, row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "image": tio.ScalarImage(tensor=torch.rand(1, 4, 5, 6), affine=np.diag([0.0, 1, 1, 1]))}


def truth(**changes: Any) -> Callable[[int, dict[str, Any]], dict[str, Any]]:
    about = {"tensor": torch.ones(1, 4, 5, 6), "affine": np.diag([-2.0, 2, 3, 1]), **changes}
    return lambda _, row: {**row, "ground_truth": tio.LabelMap(**about)}


def skipping_missing(self: Folder) -> list[tio.Subject]:
    """Goes on with those that are there: a study that silently shrinks."""
    paths = [self.folder / line for line in (self.folder / "list.txt").read_text(encoding="utf-8").split()]
    return [tio.Subject(self.about(number, path)) for number, path in enumerate(paths) if path.is_file()]


def nameless(self: Folder) -> list[tio.Subject]:
    try:
        return [tio.Subject(row) for row in self.rows()]
    except InputError as error:
        raise InputError("a file is missing") from error


def shuffled(self: Folder) -> list[tio.Subject]:
    found = [tio.Subject(row) for row in self.rows()]
    shift = next(COUNT) % len(found)
    return found[shift:] + found[:shift]


D = FolderSuite
COMPLETE, TRUTH = "test_subjects_are_complete", "test_ground_truth_is_on_the_grid_of_its_image"
UNIQUE, LAZY = "test_ids_are_unique", "test_images_are_read_lazily"
MISSING = "test_missing_file_names_the_row"
DATASETS: list[tuple[type, str, type[Component], str]] = [
    (D, COMPLETE, listing(lambda _: []), "the dataset is empty"),
    (D, COMPLETE, listing(lambda self: self.rows()), "a dict, not a torchio.Subject"),
    (D, COMPLETE, dataset(lambda _, row: without(row, "target")), r"has no \['target'\]"),
    (D, COMPLETE, dataset(lambda _, row: without(row, "subject_id")), r"has no \['subject_id'\]"),
    (D, COMPLETE, dataset(lambda _, row: {**without(row, "image"), "t1": row["image"]}), r"has no \['image'\]"),
    (D, COMPLETE, dataset(lambda _, row: {**row, "image": tio.LabelMap(row["image"].path)}), "image is a LabelMap"),
    (D, COMPLETE, dataset(no_affine), "the affine is singular"),
    (D, COMPLETE, dataset(lambda number, row: {**row, "subject_id": number}), "subject_id is no text"),
    (D, COMPLETE, dataset(lambda n, row: {**row, "target": None if n else "a"}), "neither all texts nor all finite"),
    (D, COMPLETE, dataset(lambda n, row: {**row, "target": n if n else "a"}), "neither all texts nor all finite"),
    (D, COMPLETE, dataset(lambda n, row: {**row, "target": n / 2 if n else np.nan}), "neither all texts nor all"),
    (D, COMPLETE, dataset(lambda n, row: {**row, "target": n > 1}), "neither all texts nor all finite"),
    (D, COMPLETE, dataset(lambda n, row: {**row, "target": np.int64(n)}), "neither all texts nor all finite"),
    (D, TRUTH, dataset(truth(tensor=torch.ones(1, 5, 4, 6))), r"\(5, 4, 6\) for \(4, 5, 6\)"),
    (D, TRUTH, dataset(truth(affine=np.diag([2.0, 2, 3, 1]))), "different affines"),
    (D, TRUTH, dataset(lambda _, row: {**row, "ground_truth": row["image"]}), "ground_truth is a ScalarImage"),
    (D, LAZY, dataset(loaded), r"in memory already: \['p0', 'p1', 'p2'\]"),
    (D, UNIQUE, dataset(lambda n, row: {**row, "subject_id": f"p{n // 2}"}), r"more than once: \['sub-p0', 'sub-p1'\]"),
    (D, UNIQUE, dataset(lambda n, row: {**row, "subject_id": ("a-1", "a_1", "b", "c")[n]}), "more than once"),
    (D, UNIQUE, dataset(lambda n, row: {**row, "subject_id": "a", "session_id": n // 2}), "more than once"),
    (D, "test_twice_the_same", listing(shuffled), "two readings differ"),
    (
        D, "test_twice_the_same", dataset(lambda _, row: {**row, "target": "ab"[next(COUNT) // 4 % 2]}),
        "two readings differ",
    ),
    (D, MISSING, listing(skipping_missing), "a missing file was not noticed"),
    (D, MISSING, listing(nameless), "the message does not hold 'row 3': a file is missing"),
]  # fmt: skip

# --- transforms -------------------------------------------------------------------------------------------------------


def transform(builder: Callable[[], Any]) -> type[Transform]:
    class Given(Transform):
        """What the test gives."""

        def build(self) -> tio.Transform:
            return builder()

    return Given


class Each(tio.Transform):
    """Does something to every image, or to the scalar ones only."""

    def __init__(self, change: Callable[[tio.Image], None], scalars: bool = True, **more: Any) -> None:
        super().__init__(**more)
        self.change, self.scalars = change, scalars

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        for image in subject.get_images(intensity_only=self.scalars):
            self.change(image)
        return subject


def make_nan(image: tio.Image) -> None:
    image.set_data(image.data.where(image.data < image.data.max(), torch.nan))


def flip_image(image: tio.Image) -> None:
    image.set_data(image.data.flip(1))


def roll_image(image: tio.Image) -> None:
    """Moves it by a third of the volume, round the edge."""
    image.set_data(image.data.roll(image.data.shape[2] // 3, 2))


def move_affine(image: tio.Image) -> None:
    affine = image.affine.copy()
    affine[0, 3] += 50
    image.affine = affine


def smooth_mask(image: tio.Image) -> None:
    if isinstance(image, tio.LabelMap):
        image.set_data(image.data.float() * 0.5)


def add_unseeded(image: tio.Image) -> None:
    image.set_data(image.data + next(COUNT))


def crop_to_mask(subject: tio.Subject) -> tio.Subject:
    """Where there is a mask of the truth, at its place: another grid in training than for a new scan."""
    if "ground_truth" in subject:
        return tio.Crop((2, 0, 0, 2, 1, 1))(subject)
    return tio.Crop((1, 1, 1, 1, 1, 1))(subject)


class Whole(tio.Transform):
    def __init__(self, function: Callable[[tio.Subject], tio.Subject]) -> None:
        super().__init__()
        self.function = function

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        return self.function(subject)


class Learning(tio.IntensityTransform):
    """Subtracts the mean of the training part."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = 0.0

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        self.mean = float(np.mean([float(subject["image"].data.mean()) for subject in subjects]))

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        for image in self.get_images(subject):
            image.set_data(image.data - self.mean)
        return subject

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean = state["mean"]


class Forgetting(Learning):
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        del state


class OwnState(Learning):
    def state_dict(self) -> dict[str, Any]:
        return {"mean": SimpleNamespace(value=self.mean)}


class FittingInPlace(Learning):
    """Normalises the scans that it learns from, in place."""

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        super().fit(subjects)
        for subject in subjects:
            subject["image"].data.sub_(self.mean)


def first_channel(image: tio.Image) -> None:
    image.set_data(image.data[:1])


def nan_in_second_channel(image: tio.Image) -> None:
    image.data[1:] = torch.nan


def mask_by_channel(subject: tio.Subject) -> tio.Subject:
    mask = subject["ground_truth"]
    mask.set_data(mask.data.expand(subject["image"].num_channels, -1, -1, -1))
    return subject


class InPlaceAffine(tio.Transform):
    """Writes into the scan's own affine."""

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        for image in subject.get_images(intensity_only=False):
            image.affine[0, 3] += 5
        return subject


T = TransformConformance
USABLE, INPUT = "test_result_is_usable", "test_input_is_untouched"
AFFINE, FOLLOWS = "test_affine_tells_the_geometry", "test_image_follows_its_affine"
RETURNS, CHANNELS = "test_relevance_returns_to_its_voxels", "test_several_channels"
TRANSFORMS: list[tuple[type, str, type[Component], str]] = [
    (T, USABLE, transform(lambda: lambda subject: subject), "build returned function"),
    (T, USABLE, transform(lambda: Each(make_nan)), "NaN or infinite voxels"),
    (T, USABLE, transform(lambda: tio.CropOrPad((8, 8, 8), include=["image"])), r"image \(8, 8, 8\), mask \(24, 28,"),
    (T, USABLE, transform(lambda: Each(move_affine)), "different affines"),
    (T, USABLE, transform(lambda: Each(smooth_mask, scalars=False)), "the mask has other values"),
    (T, INPUT, transform(lambda: Each(flip_image, copy=False)), "the voxels of image were changed in place"),
    (T, INPUT, transform(lambda: Each(smooth_mask, scalars=False, copy=False)), "the voxels of ground_truth were"),
    (T, INPUT, transform(lambda: InPlaceAffine(copy=False)), "the affine of image was changed in place"),
    (T, "test_same_seed_same_result", transform(lambda: Each(add_unseeded)), "one seed gave two results"),
    (T, AFFINE, transform(lambda: tio.Flip(0)), "by up to .* mm without telling"),
    (T, AFFINE, transform(lambda: tio.Flip(2)), "by up to .* mm without telling"),
    (T, AFFINE, transform(lambda: Each(move_affine, scalars=False)), "without telling"),
    (
        T, AFFINE, transform(lambda: tio.Affine(scales=(1, 1, 1), degrees=(0, 0, 40), translation=(0, 0, 0))),
        "without telling",
    ),
    (T, AFFINE, transform(lambda: tio.Resample(5, scalars_only=True)), "another grid"),
    (T, FOLLOWS, transform(lambda: Each(flip_image)), "a spot of the image went .* mm away"),
    (T, FOLLOWS, transform(lambda: tio.Flip(1, include=["image"])), "a spot of the image went"),
    (T, FOLLOWS, transform(lambda: Each(roll_image)), "a spot of the image went"),
    (T, FOLLOWS, transform(lambda: Whole(crop_to_mask)), "the image depends on its mask"),
    (T, RETURNS, transform(lambda: Each(flip_image)), "relevance of a spot came back .* mm away"),
    (T, RETURNS, transform(lambda: Each(move_affine, scalars=False)), "relevance of a spot came back .* mm away"),
    (T, RETURNS, transform(lambda: tio.Flip(1)), "relevance of a spot came back .* mm away"),
    (T, CHANNELS, transform(lambda: Each(first_channel)), "1 channels of 2 are left"),
    (T, CHANNELS, transform(lambda: Each(nan_in_second_channel)), "NaN or infinite"),
    (T, CHANNELS, transform(lambda: Whole(mask_by_channel)), "the mask has 2 channels"),
    (T, "test_fitting_leaves_the_scans_alone", transform(FittingInPlace), "fit changed the voxels of image"),
    (T, "test_what_was_learnt_is_restored", transform(Forgetting), "the restored transform gives another result"),
]  # fmt: skip

GOOD_TRANSFORMS: dict[str, Callable[[], tio.Transform]] = {
    "canonical": tio.ToCanonical,
    "resample": lambda: tio.Resample(2),
    "coarse": lambda: tio.Resample(8),
    "crop": lambda: tio.CropOrPad((10, 40, 12)),
    "crop away": lambda: tio.Crop((0, 20, 0, 20, 0, 20)),
    "rescale": lambda: tio.RescaleIntensity((0, 1), percentiles=(0.5, 99.5)),
    "invert": lambda: tio.Lambda(lambda x: 1 - x, types_to_apply=[tio.INTENSITY]),
    "z": tio.ZNormalization,
    "blur": lambda: tio.Blur(4),
    "clamp": lambda: tio.Clamp(0.97, 1),
    "learning": Learning,
    "random flip": lambda: tio.RandomFlip((0, 1, 2)),
    "random affine": tio.RandomAffine,
    "noise": tio.RandomNoise,
}

# --- splitters --------------------------------------------------------------------------------------------------------


class Halves(Splitter):
    """A shuffled half, a quarter and a quarter."""

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        people = sorted(set(table["subject_id"]))
        order = [people[i] for i in np.random.default_rng(seed).permutation(len(people))]
        half, quarter = len(order) // 2, len(order) // 4
        return self.folds(Fold(tuple(order[:half]), tuple(order[half:-quarter]), tuple(order[-quarter:])), table)

    def folds(self, fold: Fold, table: pd.DataFrame) -> Sequence[Fold]:
        return [fold]


def splitter(change: Callable[[Fold, pd.DataFrame], Any]) -> type[Splitter]:
    class Bad(Halves):
        """Bad in one way."""

        def folds(self, fold: Fold, table: pd.DataFrame) -> Any:
            return change(fold, table)

    return Bad


def by_row(_fold: Fold, table: pd.DataFrame) -> list[Fold]:
    """The usual leak: rows are divided, and a person has several."""
    rows = list(table["subject_id"])
    half = len(rows) // 2
    return [Fold(tuple(dict.fromkeys(rows[:half])), (), tuple(dict.fromkeys(rows[half:])))]


def reshuffled(fold: Fold, _table: pd.DataFrame) -> list[Fold]:
    """Test part from the seed; the rest is divided by chance."""
    rest = list(np.random.default_rng().permutation([*fold.train, *fold.val]))
    return [Fold(tuple(rest[10:]), tuple(rest[:10]), fold.test)]


P = SplitterConformance
ONCE, APART = "test_nobody_is_tested_twice_in_a_repeat", "test_held_out_people_take_no_part"
PARTS, KNOWN, SEED = "test_no_person_in_two_parts", "test_parts_name_known_people_once", "test_same_seed_same_folds"
SPLITTERS: list[tuple[type, str, type[Component], str]] = [
    (P, PARTS, splitter(by_row), "in two parts: "),
    (P, PARTS, splitter(lambda f, _: [f, Fold((*f.train, f.test[0]), f.val, f.test)]), "in two parts: "),
    (P, PARTS, splitter(lambda f, _: [Fold(f.train, (*f.val, f.train[0]), f.test)]), "in two parts: "),
    (P, PARTS, splitter(lambda f, _: [Fold(f.train, (*f.val, f.test[0]), f.test)]), "in two parts: "),
    (P, PARTS, splitter(lambda *_: []), "no fold"),
    (P, ONCE, splitter(lambda f, _: [f, f]), "tested twice in repeat 0"),
    (P, ONCE, splitter(lambda f, _: [replace(f, repeat=1)]), "repeats are numbered"),
    (P, APART, splitter(lambda f, _: [replace(f, held_out=f.test)]), "held out and in a part"),
    (P, APART, splitter(lambda f, _: [f, replace(f, held_out=("x",), repeat=1)]), "other people are held out"),
    (P, KNOWN, splitter(lambda f, _: [Fold((*f.train, "sub-x"), f.val, f.test)]), r"unknown people: \['sub-x'\]"),
    (P, KNOWN, splitter(lambda f, _: [Fold((*f.train, f.train[0]), f.val, f.test)]), "somebody is there twice"),
    (P, KNOWN, splitter(lambda f, _: [Fold(f.train, f.val, ())]), "the test part is empty"),
    (P, KNOWN, splitter(lambda f, _: [Fold((), f.val, f.test)]), "the training part is empty"),
    (P, SEED, splitter(lambda f, _: [Fold(f.train[next(COUNT) % 5 :], f.val, f.test)]), "one seed gave two divisions"),
    (P, SEED, splitter(reshuffled), "one seed gave two divisions"),
]

PROOFS = [*DATASETS, *TRANSFORMS, *SPLITTERS]


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry._default, "_registered", {})
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


def check(suite: type, name: str, component: type[Component], tmp_path: Path) -> None:
    registry.register(suite.kind, "under-test", component)  # type: ignore[attr-defined]
    method = getattr(type("Suite", (suite,), {"name": "under-test"})(), name)
    method(**({"tmp_path": tmp_path} if "tmp_path" in inspect.signature(method).parameters else {}))


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: f"{p[1]}-{p[3][:30]}")
@pytest.mark.filterwarnings("ignore")
def test_bad_component_fails(proof: tuple[type, str, type[Component], str], tmp_path: Path) -> None:
    suite, name, component, message = proof
    with pytest.raises(AssertionError, match=message):
        check(suite, name, component, tmp_path)


def checks_of(suite: type) -> list[str]:
    return sorted(name for name in vars(suite) if name.startswith("test_"))


@pytest.mark.parametrize("name", checks_of(DatasetConformance))
def test_good_dataset_passes(name: str, tmp_path: Path) -> None:
    check(FolderSuite, name, Folder, tmp_path)
    check(FolderSuite, name, dataset(lambda n, row: {**without(row, "ground_truth"), "target": n / 2}), tmp_path)


@pytest.mark.parametrize("name", checks_of(TransformConformance))
@pytest.mark.parametrize("good", GOOD_TRANSFORMS)
@pytest.mark.filterwarnings("ignore")
def test_good_transform_passes(name: str, good: str, tmp_path: Path) -> None:
    check(TransformConformance, name, transform(GOOD_TRANSFORMS[good]), tmp_path)


@pytest.mark.parametrize("name", checks_of(SplitterConformance))
def test_good_splitter_passes(name: str, tmp_path: Path) -> None:
    check(SplitterConformance, name, Halves, tmp_path)


def test_state_with_objects_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Weights only load failed"):
        check(TransformConformance, "test_what_was_learnt_is_restored", transform(OwnState), tmp_path)


def test_dataset_without_files_has_no_missing_file(tmp_path: Path) -> None:
    class InMemory(DatasetConformance):
        def make(self, folder: Path) -> Mapping[str, Any]:
            return FolderSuite().make(folder)

    check(InMemory, "test_missing_file_names_the_row", listing(skipping_missing), tmp_path)


def test_torchio_still_says_whether_an_image_is_in_memory(tmp_path: Path) -> None:
    """The check of lazy reading relies on a private attribute of TorchIO; it must exist and mean that."""
    tio.ScalarImage(tensor=torch.rand(1, 4, 5, 6)).save(tmp_path / "x.nii")
    image = tio.ScalarImage(tmp_path / "x.nii")
    assert image._loaded is False
    assert image.shape == (1, 4, 5, 6)
    assert image.affine.shape == (4, 4)
    assert image._loaded is False, "reading the header loads the voxels"
    image.load()
    assert image._loaded is True


def test_table_of_the_splitters_suite_has_people_with_two_scans_in_any_order() -> None:
    table = SplitterConformance().table(0)
    counts = table["subject_id"].value_counts()
    assert set(counts) == {1, 2}
    assert len(counts) == 60
    assert not table["subject_id"].is_monotonic_increasing
    assert set(table["target"]) == {"AD", "CN"}
    assert (table.groupby("subject_id")["target"].nunique() == 1).all()
