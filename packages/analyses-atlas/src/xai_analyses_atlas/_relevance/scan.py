"""The maps of one scan in the regions of an atlas."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._grids import Grid, meets_mni_brain, same_grid
from .._maps import read_stored, require_finite
from .brains import brain_of_file, brain_of_template, share_outside
from .heads import FEW, LEAST_IN_HEAD, share_in_view
from .measures import Measurer

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

    from .._atlases import Atlas, Placed
    from .cohort import Options

__all__ = ["MapResult", "ScanReader"]

Array = npt.NDArray[Any]

_GRIDS = 4


@dataclass(frozen=True)
class MapResult:
    """One map, measured.

    Attributes:
        record: The map.
        identity: Who and what, as columns of both tables.
        columns: See ``Measurer.columns``.
        whole: Columns of the table of people.
        kept: See ``Entries``.
        few: Whether the head or the field of view holds little of the atlas, or the head lies aside.
    """

    record: MapRecord
    identity: Mapping[str, Any]
    columns: Mapping[str, npt.NDArray[np.float64]]
    whole: Mapping[str, Any]
    kept: npt.NDArray[np.float64]
    few: bool


@dataclass(frozen=True)
class _Place:
    """Where maps of a scan lie.

    Attributes:
        own: The grid in the scan's world.
        measurer: The atlas on the grid, in the scan's world or in MNI space.
        share: Of the atlas that lies within the head, or None where no head is to be seen.
        wrong: What is wrong with the scan's place, or None.
        brain: What the brain mask is, and the mask on the grid; None: there is none.
    """

    own: Grid
    measurer: Measurer
    share: float | None
    wrong: str | None
    brain: tuple[str, Placed] | None


class ScanReader:
    """Reads scans and their maps. Atlases on a grid are kept for the next scan on the same grid.

    Args:
        atlas: Whose regions.
        options: See ``region_table``.
        channel: Position of the channel, or None: their sum.
        lock: Guards what is kept.
    """

    def __init__(self, atlas: Atlas, options: Options, channel: int | None, lock: threading.Lock) -> None:
        self._atlas = atlas
        self._options = options
        self._channel = channel
        self._lock = lock
        self._measurers: OrderedDict[tuple[Any, ...], Measurer] = OrderedDict()
        self._brains: OrderedDict[tuple[Any, ...], Placed] = OrderedDict()

    def read(self, person: Mapping[str, Any], records: Sequence[MapRecord]) -> list[MapResult]:
        """Measure the maps of one scan.

        Args:
            person: Row of ``tested_people``.
            records: Its maps: of all explainers and folds.

        Raises:
            InputError: A map cannot be read or is not finite, or the scan lies beside the atlas.
        """
        found: list[MapResult] = []
        place: _Place | None = None
        for record in records:
            values, own = _stored(record, self._channel)
            if place is None or not same_grid(place.own, own):
                place = self._place(person, record, own)
            found.append(self._measured(record, person, values, place))
        return found

    def _place(self, person: Mapping[str, Any], record: MapRecord, own: Grid) -> _Place:
        grid = own
        if self._options.space == "mni" and "to_mni" in record.sidecar:  # registered within the run
            grid = Grid(own.shape, np.asarray(record.sidecar["to_mni"], dtype=np.float64) @ own.affine)
        measurer = self._measurer(person, record, grid)
        share, wrong = self._lies(record, measurer)
        return _Place(own, measurer, share, wrong, self._brain(person, own, grid))

    def _measurer(self, person: Mapping[str, Any], record: MapRecord, grid: Grid) -> Measurer:
        if self._options.space == "mni" and not meets_mni_brain(grid):
            raise InputError(
                f"{record.path} does not meet the MNI brain: {grid}. Is the scan registered to MNI space? If the scans "
                "share another space, or each person has an atlas, set space: scan and such an atlas."
            )
        if self._atlas.frame == "subject":
            return Measurer(self._atlas.on(grid, person, assign=self._options.assign), mni=False)
        key = (grid.shape, grid.affine.tobytes())
        with self._lock:
            if key not in self._measurers:
                self._measurers[key] = Measurer(
                    self._atlas.on(grid, assign=self._options.assign), mni=self._options.space == "mni"
                )
                if len(self._measurers) > _GRIDS:
                    self._measurers.popitem(last=False)
            return self._measurers[key]

    def _lies(self, record: MapRecord, measurer: Measurer) -> tuple[float | None, str | None]:
        """Return which share of the atlas lies within the head, and what is wrong with the scan's place."""
        if record.image is None:
            return None, None
        scan, grid = read_stored(record.image)
        volume = scan[..., 0] if scan.ndim == 4 else scan
        if volume.shape != measurer.placed.grid.shape:
            raise InputError(
                f"{record.path} lies on another grid than its scan {record.image} ({grid}). Was the scan replaced? "
                "Run 'xai run' again."
            )
        head = measurer.head.of(volume)
        if head is None:
            return None, None
        name, space = self._atlas.name, self._atlas.space
        found = None
        if head.share < LEAST_IN_HEAD:
            found = f"only {head.share:.0%} of the atlas {name} (of its part in the field of view) lies within the head"
        elif head.aside is not None:
            found = f"the head does not lie over the atlas {name}: {head.aside}"
        if found is not None and self._options.mismatch == "error":
            raise InputError(
                f"{record.image}: {found}. The scan and the atlas (space {space}) lie in different places: is the scan "
                "registered, and its header right? Where you know that it is (a scan that was masked, say), set "
                "mismatch: note."
            )
        return head.share, found

    def _brain(self, person: Mapping[str, Any], own: Grid, grid: Grid) -> tuple[str, Placed] | None:
        mask = person.get("mask")
        if isinstance(mask, str) and mask:
            return "the dataset's mask", brain_of_file(Path(mask), own)  # it lies where the scan does
        if self._options.space != "mni":
            return None
        key = (grid.shape, grid.affine.tobytes())
        with self._lock:
            if key not in self._brains:
                self._brains[key] = brain_of_template(grid)
                if len(self._brains) > _GRIDS:
                    self._brains.popitem(last=False)
            return "ICBM152 of nilearn", self._brains[key]

    def _measured(self, record: MapRecord, person: Mapping[str, Any], values: Array, place: _Place) -> MapResult:
        measurer, brain = place.measurer, place.brain
        sums = measurer.sums(values)
        if not sums.finite:
            require_finite(values, str(record.path))
        absolute = float(sums.absolute.sum())
        whole: dict[str, Any] = {
            "sum": float(sums.total.sum()), "positive": float(sums.positive.sum()),
            "negative": float(sums.negative.sum()), "absolute": absolute,
            "share_outside_atlas": float(sums.absolute[-1]) / absolute if absolute > 0 else None,
            "share_outside_brain": None if brain is None else share_outside(values, absolute, brain[1]),
            "brain_mask": None if brain is None else brain[0],
            "atlas_in_head": place.share,
            "atlas_in_view": share_in_view(measurer.placed),
            "output": record.sidecar.get("output"),
            "explained": record.sidecar.get("target_name"),
        }  # fmt: skip
        session = person.get("session_id")
        identity = {
            "scan_id": record.scan_id, "subject_id": record.subject_id,
            "session_id": session if isinstance(session, str) else None, "fold": record.fold,
            "explainer": record.explainer,
        }  # fmt: skip
        few = min(1.0 if place.share is None else place.share, whole["atlas_in_view"]) < FEW
        kept = measurer.placed.entries.kept
        return MapResult(record, identity, measurer.columns(sums), whole, kept, few or place.wrong is not None)


def _stored(record: MapRecord, channel: int | None) -> tuple[Array, Grid]:
    """Return a map [D, H, W], of one channel or of the sum of all, and its grid."""
    data, grid = read_stored(record.path)
    if data.ndim == 4:
        data = data.sum(axis=3, dtype=np.float64) if channel is None else data[..., channel]
    return (data if data.dtype.kind == "f" else data.astype(np.float64)), grid
