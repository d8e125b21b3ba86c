"""The transforms of a fold: fitted on its training part, deterministic for everybody, random in training only."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torchio as tio
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from .. import registry
from ..errors import InputError, PluginError, XaiError
from .calls import at_work
from .scans import image_of
from .study import Study

__all__ = ["Preprocessing", "TrainingVolumes", "target_tensor"]

# Preprocessed volumes are kept in memory up to this size; beyond it they are made again when needed.
CACHE_BYTES = 2 << 30


def is_random(transform: Any) -> bool:
    """Whether a transform augments: it is or holds a random one, or is applied with a probability below 1."""
    if isinstance(transform, tio.Compose) and any(is_random(part) for part in transform.transforms):
        return True
    random = isinstance(transform, tio.transforms.augmentation.RandomTransform)
    return random or getattr(transform, "probability", 1) < 1


def _steps(transform: Any) -> Iterator[Any]:
    """Take a chain apart, so that its random parts can be left out alone and those that learn be fitted."""
    if isinstance(transform, tio.Compose) and transform.probability == 1:
        for part in transform.transforms:
            yield from _steps(part)
    else:
        yield transform


class Preprocessing:
    """The transforms of one fold.

    Args:
        slots: ``data.transforms`` of the resolved configuration.

    Raises:
        InputError, PluginError: A transform cannot be built.
    """

    def __init__(self, slots: Sequence[Mapping[str, Any]]) -> None:
        built = [(slot["name"], registry.create("transform", slot["name"], **slot["params"]).build()) for slot in slots]
        steps = [(name, step) for name, transform in built for step in _steps(transform)]
        self.names: list[str] = [name for name, _ in steps]
        self.transforms: list[Any] = [step for _, step in steps]
        self._cache: dict[tuple[int, int], tio.Subject] = {}
        self._cached = 0

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
                _check_state(name, transform)

    def prepare(self, subject: tio.Subject, until: int | None = None) -> tio.Subject:
        """Apply the deterministic transforms and leave the random ones out.

        Raises:
            InputError: A transform fails on this scan, or leaves NaN behind.
            PluginError: It returns something else than a scan.
        """
        # Every TorchIO transform draws a number, even one that is always applied: without this, augmentation would
        # depend on which scans happen to be in the cache.
        with torch.random.fork_rng(devices=[]):
            for name, transform in zip(self.names[:until], self.transforms[:until], strict=True):
                if not is_random(transform):
                    subject = _applied(name, transform, subject)
        return subject

    def augment(self, subject: tio.Subject, start: int) -> tio.Subject:
        """Apply every transform from ``start`` on, random ones too."""
        for name, transform in zip(self.names[start:], self.transforms[start:], strict=True):
            subject = _applied(name, transform, subject)
        return subject

    @property
    def first_random(self) -> int:
        """Position of the first random transform; the number of transforms where there is none."""
        positions = (i for i, transform in enumerate(self.transforms) if is_random(transform))
        return next(positions, len(self.transforms))

    def cached(self, index: int, subject: tio.Subject, until: int | None = None) -> tio.Subject:
        """As ``prepare`` for the scan alone (without its masks), kept in memory while there is room."""
        until = len(self.transforms) if until is None else until
        key = (index, until)
        if key not in self._cache:
            prepared = self.prepare(_image_only(subject), until)
            image = image_of(prepared)
            size = image.data.numel() * image.data.element_size()
            if self._cached + size > CACHE_BYTES:
                return prepared
            self._cached += size
            self._cache[key] = prepared
        return self._cache[key]

    def save(self, path: Path) -> None:
        """Save what the transforms learnt, loadable with ``weights_only=True``."""
        state = {str(i): t.state_dict() for i, t in enumerate(self.transforms) if hasattr(t, "fit")}
        torch.save(state, path)

    def load(self, path: Path) -> None:
        """Restore what ``save`` wrote."""
        state = torch.load(path, weights_only=True)
        for position, learnt in state.items():
            cast(Any, self.transforms[int(position)]).load_state_dict(learnt)


def _check_state(name: str, transform: Any) -> None:
    stream = io.BytesIO()
    try:
        torch.save(transform.state_dict(), stream)
        stream.seek(0)
        torch.load(stream, weights_only=True)
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        raise PluginError(
            f"What the transform {name} learnt cannot be saved and loaded ({cause}). Its state_dict() must hold "
            "tensors, numbers, texts, lists and mappings only."
        ) from error


class _Prepared(Sequence[tio.Subject]):
    """The training part as the transforms before a position leave it, made when asked for."""

    def __init__(self, preprocessing: Preprocessing, subjects: Sequence[tio.Subject], until: int) -> None:
        self._preprocessing, self._subjects, self._until = preprocessing, subjects, until

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._preprocessing.prepare(self._subjects[index], self._until)

    def __iter__(self) -> Iterator[tio.Subject]:
        return (self[i] for i in range(len(self)))


def _image_only(subject: tio.Subject) -> tio.Subject:
    kept = {k: v for k, v in subject.items() if k == "image" or not isinstance(v, tio.Image)}
    return tio.Subject(kept)


def _applied(name: str, transform: Any, subject: tio.Subject) -> tio.Subject:
    try:
        result = transform(subject)
    except XaiError as error:
        raise type(error)(f"{subject.get('subject_id', 'the scan')}: {error}") from error
    except Exception as error:
        raise InputError(
            f"{subject.get('subject_id', 'the scan')}: the transform {name} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(result, tio.Subject):
        raise PluginError(f"The transform {name} returned a {type(result).__name__}, not a torchio.Subject.")
    if not bool(torch.isfinite(image_of(result).data).all()):
        raise InputError(f"{subject.get('subject_id', 'the scan')}: the transform {name} made NaN or infinite voxels.")
    return result


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

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        index = self._indices[position]
        subject = self._study.subjects[index]
        prepared = self._preprocessing.cached(index, subject, self._start)
        if self._start is not None:
            prepared = self._preprocessing.augment(prepared, self._start)
        return volume(prepared), target_tensor(self._study, index)
