"""Which relevance map belongs to which person, scan and feature map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError

from .._grids import Grid, mni_grid, same_grid, turned_like
from .._groups import members
from .._people import tested_people

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xai_core.engine.results import MapRecord, RunResults

__all__ = ["Case", "LeftOut", "cases_of", "common_grid", "header_grid", "path_in", "require_files"]

Array = npt.NDArray[Any]
_SHOWN = 5


@dataclass(frozen=True)
class Case:
    """One relevance map and the scan's row of ``tested_people``."""

    record: MapRecord
    row: Mapping[str, Any]

    @property
    def person(self) -> str:
        """Subject id."""
        return self.record.subject_id

    def moved(self, space: str) -> Array | None:
        """Return the 4 x 4 matrix from the scan to MNI space where the run registered it and MNI space is wanted."""
        found = self.record.sidecar.get("to_mni") if space == "mni" else None
        return None if found is None else np.asarray(found, dtype=np.float64)


@dataclass
class LeftOut:
    """Who is not in a result, and why."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, case: Case, reason: str) -> None:
        """Record one map."""
        who = {"explainer": case.record.explainer, "scan_id": case.record.scan_id, "subject_id": case.person}
        self.rows.append(who | {"session_id": case.row.get("session_id"), "fold": case.record.fold, "reason": reason})

    def table(self) -> pd.DataFrame:
        """Return explainer, scan_id, subject_id, session_id, fold, reason."""
        return pd.DataFrame(
            self.rows, columns=["explainer", "scan_id", "subject_id", "session_id", "fold", "reason"]
        )  # fmt: skip

    def in_words(self) -> str:
        """Return the reasons and how many maps each concerns."""
        counts = self.table()["reason"].value_counts(sort=False)
        return "; ".join(f"{count} x {reason}" for reason, count in counts.items())


def path_in(row: Mapping[str, Any], name: str) -> Path | None:
    """Return the file of a map or mask of a scan; None where it has none."""
    for column in (f"map_{name}", name):
        value = row.get(column)
        if isinstance(value, str) and value:
            return Path(value)
        if column in row and (value is None or (isinstance(value, float) and math.isnan(value))):
            return None
    return None


def require_files(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[Path]:
    """Return the files of maps of scans.

    Raises:
        InputError: Some are named but do not exist; all are counted.
    """
    paths = list(dict.fromkeys(path for row in rows for name in names if (path := path_in(row, name)) is not None))
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(
            f"{len(missing)} of {len(paths)} files that subjects.tsv names do not exist: "
            f"{', '.join(missing[:_SHOWN])}{more}. Were they moved or deleted?"
        )
    return paths


def cases_of(run: RunResults, explainer: str) -> list[Case]:
    """Return the maps of all tested scans and folds, in the order of the predictions.

    Raises:
        InputError: Nobody was tested, or a map is missing.
    """
    table = tested_people(run)
    if table.empty:
        raise InputError(f"{run.folder} has no test scans.")
    rows = [cast(dict[str, Any], row) for row in table.to_dict("records")]
    scans = [(str(row["scan_id"]), int(row["fold"])) for row in rows]
    records = {(record.scan_id, record.fold): record for record in run.maps(explainer)}
    found = members(records, scans, f"{explainer} of {run.folder}")
    return [Case(record, row) for record, row in zip(found, rows, strict=True)]


def common_grid(cases: Sequence[Case], space: str, spacing: float | None) -> Grid | None:
    """Return the grid that all relevance maps share; None where they lie on several. Only headers are read.

    Args:
        cases: At least one.
        space: See ``MapSimilarity``.
        spacing: In mm, of the grid in MNI space on which they are brought; None: they stay on theirs.
    """
    if spacing is not None:
        return mni_grid(spacing)
    grids = [header_grid(case, space) for case in cases]
    for grid in grids[1:]:
        # No voxel is read: a view of one number stands for the volume.
        turned = turned_like(np.broadcast_to(np.uint8(0), grid.shape), grid, grids[0])[1]
        if not same_grid(turned, grids[0]):
            return None
    return grids[0]


def header_grid(case: Case, space: str) -> Grid:
    """Return the grid of a relevance map, moved to MNI space where the run registered the scan and that is wanted.

    Raises:
        InputError: The file cannot be read.
    """
    path = case.record.path
    try:
        image: Any = nib.load(path)
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}. Is it whole?") from error
    affine = np.asarray(image.affine, dtype=np.float64)
    moved = case.moved(space)
    x, y, z = (int(n) for n in image.shape[:3])
    return Grid((x, y, z), affine if moved is None else moved @ affine)
