"""Images of atlases: labels, probabilities, and a file for each person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._grids import Grid
from .._maps import read_stored
from .overlaps import entries_of_labels, entries_of_volumes
from .placing import Entries
from .probabilities import volumes_of

if TYPE_CHECKING:
    from .atlas import Assign

__all__ = ["LabelImage", "PersonImages", "ProbabilityImages", "distinct", "numbered", "unnamed_message", "whole_labels"]

Array = npt.NDArray[Any]

# Up to here a table of all labels is quicker than sorting the voxels.
_LARGE = 2**20


@dataclass(frozen=True)
class LabelImage:
    """One image for everybody.

    Attributes:
        path: The image.
        labels: Position of a voxel's region + 1, 0: none; int16 or int32 [A, B, C].
        grid: Of ``labels``.
        count: Number of regions.
    """

    path: Path
    labels: Array = field(repr=False)
    grid: Grid
    count: int

    def entries(self, grid: Grid, person: Mapping[str, Any] | None, assign: Assign) -> Entries:  # noqa: ARG002
        """See ``Content``."""
        return entries_of_labels(self.labels, self.grid, grid, self.count, partial=assign == "partial")

    def file_of(self, person: Mapping[str, Any]) -> Path:  # noqa: ARG002
        """See ``Content``."""
        return self.path


@dataclass(frozen=True)
class ProbabilityImages:
    """One image of several volumes for everybody.

    Attributes:
        path: The image.
        scale: By which a value becomes a share of 1: 0.01 for percent.
        count: Number of regions: volumes.
    """

    path: Path
    scale: float
    count: int

    def entries(self, grid: Grid, person: Mapping[str, Any] | None, assign: Assign) -> Entries:  # noqa: ARG002
        """See ``Content``."""
        return entries_of_volumes(volumes_of(self.path, self.scale, self.count), grid)

    def file_of(self, person: Mapping[str, Any]) -> Path:  # noqa: ARG002
        """See ``Content``."""
        return self.path


@dataclass(frozen=True)
class PersonImages:
    """A label image of each person.

    Attributes:
        pattern: Path with names in braces, such as ``fs/{subject_id}/mri/aparc+aseg.mgz``.
        indices: Labels of the regions, ascending.
        names: For messages.
        leave_out: Whether labels without a name are taken for outside of the atlas; otherwise they are an error.
    """

    pattern: str
    indices: tuple[int, ...]
    leave_out: bool

    def entries(self, grid: Grid, person: Mapping[str, Any] | None, assign: Assign) -> Entries:
        """See ``Content``."""
        if person is None:
            raise InputError(f"The atlas {self.pattern} lies in each person's own space: it needs to know the person.")
        path = self.file_of(person)
        labels, own = whole_labels(path)
        unknown = np.setdiff1d(distinct(labels), self.indices)
        if len(unknown) and not self.leave_out:
            raise InputError(unnamed_message(str(path), unknown))
        mine = numbered(labels, self.indices)
        return entries_of_labels(mine, own, grid, len(self.indices), partial=assign == "partial")

    def file_of(self, person: Mapping[str, Any]) -> Path:
        """Return the person's file, with ids as they are, or with or without ``sub-`` and ``ses-``.

        Raises:
            InputError: The pattern names something that is not known of the person, or there is no file.
        """
        tried: list[Path] = []
        for ids in _spellings(person):
            path = Path(self._filled(ids))
            if path.is_file():
                return path
            tried.append(path)
        raise InputError(f"{person.get('scan_id', person.get('subject_id'))} has no file of the atlas: {tried[0]}.")

    def _filled(self, person: Mapping[str, Any]) -> str:
        try:
            return self.pattern.format_map(person)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            known = ", ".join(sorted(str(name) for name, value in person.items() if isinstance(value, str)))
            raise InputError(
                f"The atlas' pattern {self.pattern} cannot be filled in: {error}. Known of each person are: {known}."
            ) from error


def _spellings(person: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the person with the ids as they are first, then as others write them."""
    known = {str(name): value for name, value in person.items() if value is not None and value == value}
    found = [known]
    for name, prefix in (("subject_id", "sub-"), ("session_id", "ses-")):
        if name in known:
            text = str(known[name])
            other = text.removeprefix(prefix) if text.startswith(prefix) else prefix + text
            found += [{**each, name: other} for each in found]
    return found


def whole_labels(path: Path) -> tuple[Array, Grid]:
    """Return a label image of three dimensions, integers of 0 and above.

    Raises:
        InputError: It cannot be read, has several volumes, or holds other than whole numbers from 0.
    """
    data, grid = read_stored(path)
    if data.ndim != 3:
        raise InputError(f"{path} has the shape {data.shape}. Give an atlas of one volume with a label for each voxel.")
    if data.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            whole = np.isfinite(data) & (np.abs(data) < 2**31) & (data == np.round(data))
        if not whole.all():
            raise InputError(
                f"{path} holds {int((~whole).sum())} voxels that are no whole numbers (such as "
                f"{data[~whole][0]:.4g}), so it is no label image. Probabilities are images of several volumes."
            )
    labels = data if data.dtype.kind in "iu" else data.astype(np.int64)
    if labels.size and labels.min() < 0:
        raise InputError(f"{path} holds negative labels, down to {labels.min()}. Is it a label image?")
    return labels, grid


def distinct(labels: Array) -> npt.NDArray[np.int64]:
    """Return the labels of an image that are not 0, ascending."""
    largest = int(labels.max(initial=0))
    found = np.flatnonzero(np.bincount(labels.ravel())) if largest < _LARGE else np.unique(labels)
    return np.asarray(found[found != 0], dtype=np.int64)


def numbered(labels: Array, indices: tuple[int, ...]) -> Array:
    """Return the position of each voxel's label among ``indices`` (ascending) plus 1, 0 where it is not among them."""
    known = np.asarray(indices, dtype=np.int64)
    kind = np.int16 if len(known) < 2**15 - 1 else np.int32
    largest = max(int(labels.max(initial=0)), indices[-1])
    if largest < _LARGE:
        places = np.zeros(largest + 1, dtype=kind)
        places[known] = np.arange(1, len(known) + 1)
        return np.asarray(places[labels])
    place = np.searchsorted(known, labels).clip(max=len(known) - 1)
    return np.where(known[place] == labels, place + 1, 0).astype(kind)


def unnamed_message(what: str, labels: Array) -> str:
    """Return what is said of labels without a name."""
    shown = ", ".join(str(int(label)) for label in labels[:12]) + (" ..." if len(labels) > 12 else "")
    return (
        f"{what}: {len(labels)} label{'s have' if len(labels) > 1 else ' has'} no name in the atlas' table: {shown}. "
        "Complete the table, or set unnamed: leave-out (they then count as outside of the atlas) or, for an image of "
        "everybody, unnamed: label (they are called 'label 7')."
    )
