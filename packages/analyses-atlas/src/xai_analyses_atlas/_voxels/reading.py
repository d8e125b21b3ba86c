"""Relevance and feature map of a scan, prepared, on one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._grids import Grid
from .._mean import relevance_on
from .cases import Case, common_grid, header_grid, path_in
from .domain import Domain
from .features import NotUsableError, feature_on, held
from .prepare import Preparation, prepared

if TYPE_CHECKING:
    from .._voxel_params import VoxelOptions

__all__ = ["Pair", "Reader", "require_common", "require_feature", "require_variation"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pair:
    """A scan's relevance and feature map at the voxels that are compared.

    Attributes:
        relevance: float64 [D, H, W], prepared.
        feature: The same; None where none is wanted.
        inside: bool [D, H, W], the voxels compared.
        grid: Of all of them.
        coverage: Share of those voxels that the feature map's file holds, in [0, 1].
    """

    relevance: Array
    feature: Array | None
    inside: npt.NDArray[np.bool_]
    grid: Grid
    coverage: float


class Reader:
    """Reads scans one at a time.

    Args:
        options: Of the analysis.
        column: Name of the feature map; None: only relevance is read.
    """

    def __init__(self, options: VoxelOptions, column: str | None) -> None:
        self.domain = Domain(options)
        self._options = options
        self._column = column
        self._steps = Preparation.of(options.prepare or {})
        self._relevance_steps = Preparation.of(options.prepare_relevance or {}, options.part)

    def grid_of(self, cases: Sequence[Case]) -> Grid | None:
        """Return the grid on which all are compared; None: each on its own."""
        return common_grid(cases, self._options.space, self._options.spacing if self._options.resample else None)

    def inside(self, case: Case, grid: Grid) -> npt.NDArray[np.bool_]:
        """Return the voxels of a grid that are compared in a scan: of the domain, what its relevance map holds.

        Raises:
            InputError: A mask cannot be read.
            NotUsableError: This person's masks are missing, or nothing is left.
        """
        inside = self.domain.of(case.row, grid, case.moved(self._options.space))
        if self._options.resample:  # outside of the map's field of view relevance is not 0, but not known
            inside &= held(header_grid(case, self._options.space), grid)
        if not inside.any():
            raise NotUsableError(f"its relevance map holds no voxel of what is compared ({self.domain.in_words})")
        return inside

    def pair(self, case: Case, grid: Grid | None) -> Pair:
        """Read one scan.

        Args:
            case: The scan.
            grid: On which it is compared; None: that of its relevance.

        Raises:
            InputError: A file is missing or cannot be read, or the relevance is not finite or lies elsewhere.
            NotUsableError: This person's maps cannot be compared.
        """
        options, moved = self._options, case.moved(self._options.space)
        mni = options.space == "mni"
        values, grid = relevance_on(case.record, grid, resample=options.resample, mni=mni)
        inside = self.inside(case, grid)
        relevance = prepared(values, grid, self._relevance_steps)
        if self._column is None:
            return Pair(relevance, None, inside, grid, 1.0)
        path = path_in(case.row, self._column)
        if path is None:
            raise NotUsableError(f"has no map {self._column!r}")
        found = feature_on(path, grid, inside, self._steps, options.labels, moved)
        return Pair(relevance, found.values, inside, grid, found.coverage)

    def rows(
        self, cases: Sequence[Case], grid: Grid, mask: npt.NDArray[np.bool_], *, features: bool
    ) -> Iterator[Array]:
        """Yield relevance (or feature) values [V] of scans at the voxels of a mask."""
        for case in cases:
            pair = self.pair(case, grid)
            volume = pair.feature if features else pair.relevance
            if volume is None:
                raise ValueError("no feature map is read")
            yield volume[mask]


def require_variation(values: Array, what: str) -> None:
    """Refuse what is the same in every voxel: no similarity is defined.

    Raises:
        NotUsableError: It is zero everywhere, or constant.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        same = "zero" if low == 0 else f"the same ({low:.4g})"
        raise NotUsableError(f"the {what} is {same} in all {values.size} voxels compared")


def require_feature(pair: Pair, name: str) -> Array:
    """Return the feature's values [V] at the voxels compared.

    Raises:
        NotUsableError: It is empty or constant there.
    """
    if pair.feature is None:
        raise ValueError("no feature map was read")
    values: Array = pair.feature[pair.inside]
    require_variation(values, f"map {name}")
    return values


def require_common(grid: Grid | None, why: str) -> Grid:
    """Return a grid.

    Raises:
        InputError: There is none: the maps lie on several.
    """
    if grid is None:
        raise InputError(
            f"The relevance maps lie on different grids, but {why}. Where every scan is registered to MNI space, set "
            "resample: true."
        )
    return grid
