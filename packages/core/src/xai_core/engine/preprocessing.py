"""The transforms of a fold: fitted on its training part, deterministic for everybody, random in training only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
import torchio as tio
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from .. import registry
from .applying import applied, check_state, is_random, own_randomness, steps_of, values_of, with_images, with_voxels
from .cache import ScanCache
from .cachekey import Contents
from .cacheprefix import PrefixKeys, Step
from .calls import at_work
from .covariates import trainer_reads
from .scans import image_of
from .spatial import check_geometry
from .study import Study
from .tensorfile import save_tensors

__all__ = ["Preprocessing", "TrainingVolumes", "is_random", "target_tensor", "volume"]

# What transforms see of a scan in training. Another image, such as the truth, cannot decide what the network gets.
_IMAGES = ("image", "mask")


class Preprocessing:
    """The transforms of one fold.

    Args:
        slots: ``data.transforms`` of the resolved configuration.
        scans: The file in which a run remembers the hashes of its scans, where there is one.
        cache: Where preprocessed scans are kept; default: as the environment says.

    Raises:
        InputError, PluginError: A transform cannot be built.
    """

    def __init__(
        self, slots: Sequence[Mapping[str, Any]], scans: Path | None = None, cache: ScanCache | None = None
    ) -> None:
        self._steps = [step for slot in slots for step in _steps_of_slot(slot)]
        self.names: list[str] = [step.name for step in self._steps]
        self.transforms: list[Any] = [step.transform for step in self._steps]
        self._keys = PrefixKeys(self._steps, Contents(scans))
        self._cache = cache or ScanCache()

    @property
    def learns(self) -> bool:
        """Whether any transform is fitted to the training part."""
        return any(hasattr(transform, "fit") for transform in self.transforms)

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        """Fit every transform that learns, in order, to the training part as the ones before it leave it.

        Raises:
            InputError: A transform before it fails on a scan.
            PluginError: What one learnt could not be saved with the fold.
        """
        for position, (name, transform) in enumerate(zip(self.names, self.transforms, strict=True)):
            if hasattr(transform, "fit"):
                with at_work("transform", name, "learning from the training part"):
                    transform.fit(_Prepared(self, subjects, position))
                check_state(name, transform)
                self._forget()

    def prepare(self, subject: tio.Subject, until: int | None = None) -> tio.Subject:
        """Apply the deterministic transforms and leave the random ones out.

        Raises:
            InputError: A transform fails on this scan, or leaves NaN behind.
            PluginError: It returns something else than a scan.
        """
        return self._apply(subject, subject, 0, len(self.transforms) if until is None else until)

    def _apply(self, source: tio.Subject, subject: tio.Subject, start: int, until: int) -> tio.Subject:
        """Apply some deterministic transforms to what earlier ones made of ``source``.

        They do not see the covariates that none of them names: what they make could not be kept by these.
        """
        named = {name for step in self._steps for name in step.covariates}
        unseen = {name: v for name, v in values_of(source).items() if name not in named and subject.get(name) is v}
        seen = with_images(subject, subject, without=unseen)
        # Every TorchIO transform draws a number, even one that is always applied: without this, augmentation would
        # depend on which scans happen to be in the cache.
        with own_randomness():
            for step in self._steps[start:until]:
                if not step.random:
                    seen = applied(step.name, step.transform, seen, unseen)
        seen.update({name: value for name, value in unseen.items() if name not in seen})
        return seen

    def augment(self, subject: tio.Subject, start: int) -> tio.Subject:
        """Apply every transform from ``start`` on, random ones too."""
        for name, transform in zip(self.names[start:], self.transforms[start:], strict=True):
            subject = applied(name, transform, subject)
        return subject

    @property
    def first_random(self) -> int:
        """Position of the first random transform; the number of transforms where there is none."""
        return next((i for i, step in enumerate(self._steps) if step.random), len(self._steps))

    def cached(
        self,
        index: int | None,
        subject: tio.Subject,
        until: int | None = None,
        *,
        loaded: tio.Subject | None = None,
        all_images: bool = False,
    ) -> tio.Subject:
        """As ``prepare``, but made once and kept: for other folds, other processes and other runs.

        Args:
            index: The scan's position in its study; None where it is not known.
            subject: The scan, not loaded, so that its content is known from its files.
            until: Position of the transform before which to end; default: all are applied.
            loaded: The same scan, loaded after ``expect``: it is taken where nothing is kept.
            all_images: Whether all images come along; without it, ``image`` and ``mask`` only.

        Raises:
            InputError, PluginError: As ``prepare``.
        """
        until = self._end(len(self.transforms) if until is None else until)
        key = self._keys.key(index, subject, self._images(subject, all_images), until)
        found = self._cache.load(key, subject)
        if found is None:
            cut = self._cut(until)
            if cut:
                base = self.cached(index, subject, cut, loaded=loaded, all_images=all_images)
            else:
                base = with_images(subject if loaded is None else loaded, self._images(subject, all_images))
            found = with_voxels(self._apply(subject, base, cut, until))
            self._cache.store(key, subject, found)
        return found

    def expect(self, index: int, subject: tio.Subject) -> None:
        """Note what the files of a scan hold, before somebody reads them for ``cached`` with all images.

        What is made of a file that changes meanwhile must not be kept as made of the old one, nor of the new one.
        """
        for until in self._stretches() or [0]:
            self._keys.key(index, subject, self._images(subject, all_images=True), until)

    def check_geometry(self, index: int, subject: tio.Subject) -> None:
        """Refuse transforms that move a scan in a way that its affine does not tell; see ``spatial.check_geometry``.

        Stretch by stretch, as they are kept, so that a slow one is looked at once for a scan and not in every fold.

        Raises:
            InputError: A voxel lies elsewhere than its affine says.
        """
        images = self._images(subject, all_images=False)
        for start, until in pairwise((0, *reversed(self._stretches()))):
            key = self._keys.key(index, subject, images, until)
            if not self._cache.has_note(key, "geometry"):
                base = self.cached(index, subject, start) if start else with_images(subject, images)
                check_geometry(base, partial(self._apply, subject, start=start, until=until))
                self._cache.note(key, "geometry")

    def _stretches(self) -> list[int]:
        """Return the ends of the stretches of transforms after which a scan is kept, the last one first."""
        ends = [self._end(len(self.transforms))]
        while cut := self._cut(ends[-1]):
            ends.append(cut)
        return ends if ends[0] else []

    def _images(self, subject: tio.Subject, all_images: bool) -> tuple[str, ...]:
        """Return the names of the images that are preprocessed."""
        return tuple(name for name in subject.get_images_dict(intensity_only=False) if all_images or name in _IMAGES)

    def _end(self, until: int) -> int:
        """Return the position after the last deterministic transform before ``until``: the result is the same."""
        return max((i + 1 for i, step in enumerate(self._steps[:until]) if not step.random), default=0)

    def _cut(self, until: int) -> int:
        """Return the last position before ``until`` where others begin with the same scan; 0: with the original.

        These are the transforms that learn (before them, the folds share) and the first random one.
        """
        learning = [i for i, transform in enumerate(self.transforms) if hasattr(transform, "fit")]
        return max((end for i in (*learning, self.first_random) if (end := self._end(i)) < until), default=0)

    def _forget(self) -> None:
        self._keys.forget()
        self._cache.forget()

    def save(self, path: Path) -> None:
        """Save what the transforms learnt, loadable with ``weights_only=True``."""
        state = {str(i): t.state_dict() for i, t in enumerate(self.transforms) if hasattr(t, "fit")}
        save_tensors(state, path)

    def load(self, path: Path) -> None:
        """Restore what ``save`` wrote."""
        state = torch.load(path, weights_only=True)
        for position, learnt in state.items():
            cast(Any, self.transforms[int(position)]).load_state_dict(learnt)
        self._forget()


def _steps_of_slot(slot: Mapping[str, Any]) -> Iterator[Step]:
    component = registry.create("transform", slot["name"], **slot["params"])
    for position, transform in enumerate(steps_of(component.build())):
        yield Step(slot, position, transform, is_random(transform), tuple(component.covariates()))


class _Prepared(Sequence[tio.Subject]):
    """The training part as the transforms before a position leave it, made when asked for."""

    def __init__(self, preprocessing: Preprocessing, subjects: Sequence[tio.Subject], until: int) -> None:
        self._preprocessing, self._subjects, self._until = preprocessing, subjects, until

    @property
    def about(self) -> list[dict[str, Any]]:
        """What is known of each scan besides its images, which stay unread."""
        return [{k: v for k, v in s.items() if not isinstance(v, tio.Image)} for s in self._subjects]

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._preprocessing.cached(None, self._subjects[index], self._until)

    def __iter__(self) -> Iterator[tio.Subject]:
        return (self[i] for i in range(len(self)))


def volume(subject: tio.Subject) -> Tensor:
    """Return a prepared scan as float32 [C, D, H, W]."""
    return image_of(subject).data.to(torch.float32)


def target_tensor(study: Study, index: int) -> Tensor:
    """Return a scan's target: int64 class index or float32 value, 0-d."""
    dtype = torch.int64 if study.task == "classification" else torch.float32
    return torch.tensor(study.target_value(index), dtype=dtype)


class TrainingVolumes(TorchDataset[tuple[Tensor, Tensor]]):
    """(volume, target) of some scans of a study.

    Args:
        study: The study.
        preprocessing: The fold's fitted transforms.
        indices: Positions of the scans.
        augment: Whether random transforms are applied.
    """

    def __init__(self, study: Study, preprocessing: Preprocessing, indices: Sequence[int], augment: bool) -> None:
        self._study, self._preprocessing, self._indices = study, preprocessing, list(indices)
        self._start = preprocessing.first_random if augment else None

    @property
    def targets(self) -> list[int | float]:
        """Class index or value of each scan, known without reading any."""
        return [self._study.target_value(index) for index in self._indices]

    @property
    def covariates(self) -> list[dict[str, Any]]:
        """What the trainer's ``covariates()`` names, of each scan: only these are known to decide its weights."""
        names = trainer_reads(self._study.config)
        subjects = (self._study.subjects[index] for index in self._indices)
        return [{name: subject.get(name) for name in names} for subject in subjects]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = self._indices[position]
        subject = self._study.subjects[index]
        prepared = self._preprocessing.cached(index, subject, self._start)
        if self._start is not None:
            prepared = self._preprocessing.augment(prepared, self._start)
        return volume(prepared), target_tensor(self._study, index)
