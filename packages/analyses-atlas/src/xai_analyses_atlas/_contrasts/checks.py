"""What is known to be wrong before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xai_core import InputError

from .._groups import ordered_labels
from .._maps import read_image
from .resolve import labels_of, require_columns
from .spec import Contrast

if TYPE_CHECKING:
    import pandas as pd

    from xai_core import Task

    from .._atlases import Atlas
    from ..group_contrasts import GroupContrasts

__all__ = ["atlas_files", "atlas_of", "check_study"]

# Known of the tested people only.
_LATER = {"prediction", "correct", "fold", "repeat"}


def atlas_of(options: GroupContrasts) -> Atlas | None:
    """Return the atlas that names regions, or None where none is wanted.

    Raises:
        InputError: There is none of this name, or it lies in another space.
    """
    from .._atlases import load_atlas

    if options.atlas is None:
        return None
    space = None if isinstance(options.atlas, str) else options.atlas.get("space")
    atlas = load_atlas(options.atlas, space=space or ("scan" if options.space == "scan" else None))
    if atlas.frame != options.space:
        raise InputError(
            f"atlas: {atlas.name} lies in the space {atlas.space}, but the maps lie in {options.space} space. Give an "
            "atlas of that space."
        )
    return atlas


def atlas_files(options: GroupContrasts) -> list[Path]:
    """Return the files of the atlas."""
    atlas = atlas_of(options)
    return [] if atlas is None else [Path(file) for file in (atlas.source, atlas.table) if file is not None]


def check_study(options: GroupContrasts, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
    """See ``GroupContrasts.check_study``."""
    wrong = []

    def attempt(what: str, check: object, *args: object) -> None:
        try:
            check(*args)  # type: ignore[operator]
        except InputError as error:
            wrong.append(f"{what}{error}")

    attempt("", require_columns, [c for c in options.covariates if c not in _LATER], table, "covariates")
    for number, spec in enumerate(options.contrasts or ()):
        attempt(f"contrasts[{number}]: ", _check_contrast, spec, table, task, classes)
    attempt("", atlas_of, options)
    if options.mask is not None:
        attempt("mask: ", read_image, Path(options.mask))
    if wrong:
        raise InputError("group-contrasts:\n  " + "\n  ".join(wrong))


def _check_contrast(spec: Contrast, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
    if task == "regression" and (spec.by == "correct" or "correct" in spec.among):
        raise InputError("a regression predicts nobody correctly or wrongly.")
    columns = [*([spec.by] if spec.by is not None else []), *spec.among]
    known = [column for column in columns if column not in _LATER and not column.startswith("probability_")]
    require_columns(known, table, "by and among")
    wanted = {column: values for column, values in spec.among.items() if column in known}
    if spec.by in known and spec.by is not None and spec.kind in ("groups", "zero"):
        wanted[spec.by] = tuple(name for name in (spec.first, spec.second) if name is not None)
    for column, names in wanted.items():
        there = ordered_labels(labels_of(table, column), column, classes)
        missing = [name for name in names if name not in there]
        if missing:
            raise InputError(f"{column} is never {', '.join(missing)}. There are: {', '.join(there)}.")
