"""The suites for datasets, transforms and splitters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torchio as tio

from .. import registry
from ..engine.preprocessing import is_random
from ..engine.scans import image_of
from ..engine.seeding import seeded
from ..engine.spatial import check_geometry
from ..errors import InputError
from ..types import Fold
from ._base import ComponentConformance

__all__ = ["DatasetConformance", "SplitterConformance", "TransformConformance"]


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
        """Each has an image with an affine, a target and an id."""
        for subject in self.subjects(tmp_path):
            assert isinstance(subject, tio.Subject), f"a {type(subject).__name__}, not a torchio.Subject"
            image = subject["image"]
            assert isinstance(image, tio.ScalarImage), f"image is a {type(image).__name__}"
            affine = np.asarray(image.affine)
            assert affine.shape == (4, 4), f"the affine is {affine.shape}"
            assert abs(np.linalg.det(affine)) > 0, "the affine is singular"
            assert isinstance(subject["subject_id"], str), "subject_id is no text"
            assert isinstance(subject["target"], str | int | float), f"target is {subject['target']!r}"

    def test_images_are_read_lazily(self, tmp_path: Path) -> None:
        """Listing a study of ten thousand people must not read their scans."""
        loaded = [
            s["subject_id"] for s in self.subjects(tmp_path)
            if s["image"].path is not None and s["image"]._loaded  # type: ignore[attr-defined]
        ]  # fmt: skip
        assert not loaded, f"images are in memory already: {loaded[:3]}"

    def test_ids_are_unique(self, tmp_path: Path) -> None:
        """Person and session name a scan."""
        ids = [(s["subject_id"], s.get("session_id")) for s in self.subjects(tmp_path)]
        assert len(set(ids)) == len(ids), "a person is there twice in one session"

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


class TransformConformance(ComponentConformance):
    """Checks for transforms."""

    kind = "transform"

    def subject(self) -> tio.Subject:
        """Return a scan with a mask, its axes flipped and off the origin."""
        generator = torch.Generator().manual_seed(1)
        data = torch.rand((1, 24, 28, 26), generator=generator)
        data[:, :4] = 0
        affine = np.diag([-3.0, 3.0, 4.0, 1.0])
        affine[:3, 3] = (40, -45, -50)
        mask = (data > 0.7).to(torch.uint8)
        return tio.Subject(
            image=tio.ScalarImage(tensor=data, affine=affine),
            ground_truth=tio.LabelMap(tensor=mask, affine=affine),
            subject_id="sub-1",
            target="a",
        )

    def built(self) -> tio.Transform:
        """Return the ``torchio.Transform``, fitted where it learns."""
        transform = self.create().build()
        assert isinstance(transform, tio.Transform), f"build returned {type(transform).__name__}"
        if hasattr(transform, "fit"):
            transform.fit([self.subject()])
        return transform

    def test_result_is_usable(self) -> None:
        """The image stays finite, and mask and image stay on one grid."""
        with seeded(0):
            result = self.built()(self.subject())
        image, mask = image_of(result), cast(tio.LabelMap, result["ground_truth"])
        assert bool(torch.isfinite(image.data).all()), "NaN or infinite voxels"
        assert image.spatial_shape == mask.spatial_shape, f"image {image.spatial_shape}, mask {mask.spatial_shape}"
        assert np.allclose(image.affine, mask.affine, atol=1e-3), "image and mask have different affines"
        assert set(mask.data.unique().tolist()) <= {0, 1}, "the mask has other values than before"

    def test_input_is_untouched(self) -> None:
        """The scan that went in is the same afterwards."""
        subject = self.subject()
        with seeded(0):
            self.built()(subject)
        assert torch.equal(image_of(subject).data, image_of(self.subject()).data), "the scan was changed in place"

    def test_same_seed_same_result(self) -> None:
        """Random transforms follow torch's seed."""
        results = []
        for _ in range(2):
            with seeded(4):
                results.append(image_of(self.built()(self.subject())).data)
        assert torch.equal(results[0], results[1]), "one seed gave two results"

    def test_affine_tells_the_geometry(self) -> None:
        """Voxels move only together with the affine, or a relevance map would lie beside its scan."""
        transform = self.built()
        if not is_random(transform):
            check_geometry(self.subject(), transform)


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
        assert [tuple(f.test) for f in self.folds(1)] == [tuple(f.test) for f in self.folds(1)], (
            "one seed gave two divisions"
        )
