"""The suites for datasets and splitters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torchio as tio

from .. import registry
from ..engine.scans import image_of
from ..engine.study import scan_name
from ..errors import InputError
from ..types import Fold
from ._base import ComponentConformance

__all__ = ["DatasetConformance", "SplitterConformance"]


class DatasetConformance(ComponentConformance):
    """Checks for datasets; override ``make`` to write a small study and return the parameters that read it."""

    kind = "dataset"

    def make(self, folder: Path) -> Mapping[str, Any]:
        """Return parameters; files that they need are written into ``folder``."""
        del folder
        return self.params

    def break_one(self, folder: Path) -> tuple[Mapping[str, Any], str] | None:
        """Return parameters of a study that lacks one file, and the text that its error must hold (the row).

        None where the dataset reads no files.
        """
        del folder
        return None

    def subjects(self, folder: Path) -> Sequence[tio.Subject]:
        """Return the subjects of ``make``."""
        found: Sequence[tio.Subject] = registry.create(self.kind, self.name, **self.make(folder)).subjects()
        assert len(found) > 0, "the dataset is empty"
        return found

    def test_subjects_are_complete(self, tmp_path: Path) -> None:
        """Each has an image with an affine, an id and a target: a text for everybody, or a finite number."""
        subjects = self.subjects(tmp_path)
        for subject in subjects:
            assert isinstance(subject, tio.Subject), f"a {type(subject).__name__}, not a torchio.Subject"
            lacking = {"image", "target", "subject_id"} - set(subject)
            assert not lacking, f"a subject has no {sorted(lacking)}"
            image = subject["image"]
            assert isinstance(image, tio.ScalarImage), f"image is a {type(image).__name__}"
            assert abs(np.linalg.det(np.asarray(image.affine))) > 0, f"the affine is singular: {image.affine}"
            assert isinstance(subject["subject_id"], str), "subject_id is no text"
        targets: list[Any] = [subject["target"] for subject in subjects]
        texts = all(isinstance(target, str) for target in targets)
        numbers = all(type(target) in (int, float, np.float64) and np.isfinite(target) for target in targets)
        assert texts or numbers, f"targets are neither all texts nor all finite numbers: {targets[:5]}"

    def test_ground_truth_is_on_the_grid_of_its_image(self, tmp_path: Path) -> None:
        """A mask of the truth, where there is one, is a LabelMap that overlays its image."""
        for subject in self.subjects(tmp_path):
            image, mask = image_of(subject), subject.get("ground_truth")
            if mask is not None:
                assert isinstance(mask, tio.LabelMap), f"ground_truth is a {type(mask).__name__}"
                assert mask.spatial_shape == image.spatial_shape, f"{mask.spatial_shape} for {image.spatial_shape}"
                assert np.allclose(mask.affine, image.affine, atol=1e-3), "mask and image have different affines"

    def test_images_are_read_lazily(self, tmp_path: Path) -> None:
        """Listing a study of ten thousand people must not read their scans."""
        loaded = [
            s["subject_id"] for s in self.subjects(tmp_path)
            if s["image"].path is not None and s["image"]._loaded  # type: ignore[attr-defined]
        ]  # fmt: skip
        assert not loaded, f"images are in memory already: {loaded[:3]}"

    def test_ids_are_unique(self, tmp_path: Path) -> None:
        """Person and session name a scan, also with letters and digits only, as in the names of files."""
        names = [scan_name(subject) for subject in self.subjects(tmp_path)]
        twice = sorted({name for name in names if names.count(name) > 1})
        assert not twice, f"there more than once: {twice[:3]}"

    def test_twice_the_same(self, tmp_path: Path) -> None:
        """The order and the targets do not change between two readings."""
        first, second = ([(s["subject_id"], s["target"]) for s in self.subjects(tmp_path)] for _ in range(2))
        assert first == second, "two readings differ"

    def test_missing_file_names_the_row(self, tmp_path: Path) -> None:
        """A missing file is an error that says whose it is."""
        broken = self.break_one(tmp_path)
        if broken is None:
            return
        params, text = broken
        try:
            registry.create(self.kind, self.name, **params).subjects()
        except InputError as error:
            assert text in str(error), f"the message does not hold {text!r}: {error}"
        else:
            raise AssertionError("a missing file was not noticed")


class SplitterConformance(ComponentConformance):
    """Checks for splitters.

    Attributes:
        people: Number of people of the table; every third has two scans.
    """

    kind = "splitter"
    people: ClassVar[int] = 60

    def table(self, seed: int) -> Any:
        """Return a study table as a run hands it over."""
        import pandas as pd

        generator = np.random.default_rng(seed)
        rows = []
        for person in range(self.people):
            target = "AD" if generator.random() < 0.4 or person < 12 else "CN"
            about = {"target": target, "site": f"site{person % 3}", "age": float(generator.normal(70, 8)), "sex": "F"}
            for session in ("01", "02")[: 2 if person % 3 == 0 else 1]:
                rows.append({"subject_id": f"sub-{person:03d}", "session_id": session, **about})
        return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)

    def folds(self, seed: int) -> Sequence[Fold]:
        """Return the folds of one table."""
        found: Sequence[Fold] = self.create().split(self.table(seed), seed)
        assert len(found) > 0, "no fold"
        return found

    def test_no_person_in_two_parts(self) -> None:
        """Nobody is in two parts of a fold, with one scan or several."""
        for seed in range(5):
            for fold in self.folds(seed):
                parts = [set(fold.train), set(fold.val), set(fold.test)]
                both = (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])
                assert not both, f"in two parts: {sorted(both)[:3]}"

    def test_parts_name_known_people_once(self) -> None:
        """Parts hold ids of the table, each once; training and test parts are not empty."""
        known = set(self.table(0)["subject_id"])
        for fold in self.folds(0):
            for part in (fold.train, fold.val, fold.test):
                assert set(part) <= known, f"unknown people: {sorted(set(part) - known)[:3]}"
                assert len(set(part)) == len(part), "somebody is there twice"
            assert fold.train, "the training part is empty"
            assert fold.test, "the test part is empty"

    def test_same_seed_same_folds(self) -> None:
        """The folds follow from table and seed."""
        first, second = ([(*f.train, "|", *f.val, "|", *f.test) for f in self.folds(1)] for _ in range(2))
        assert first == second, "one seed gave two divisions"

    def test_nobody_is_tested_twice_in_a_repeat(self) -> None:
        """Repeats count from 0; within one, the test parts have nobody in common: their rows are pooled."""
        folds = self.folds(2)
        repeats = sorted({fold.repeat for fold in folds})
        assert repeats == list(range(len(repeats))), f"repeats are numbered {repeats[:5]}"
        for repeat in repeats:
            tested = [person for fold in folds if fold.repeat == repeat for person in fold.test]
            twice = sorted({person for person in tested if tested.count(person) > 1})
            assert not twice, f"tested twice in repeat {repeat}: {twice[:3]}"

    def test_held_out_people_take_no_part(self) -> None:
        """Whoever is held out is so in every fold, and in no other part of any."""
        folds = self.folds(3)
        held_out = set(folds[0].held_out)
        for fold in folds:
            assert set(fold.held_out) == held_out, "other people are held out than in the first fold"
            both = held_out & {*fold.train, *fold.val, *fold.test}
            assert not both, f"held out and in a part: {sorted(both)[:3]}"
