"""What can be refused before anything is trained, and which files decide an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import InputError

from .._atlases import Atlas, load_atlas
from .._people import tested_people
from .._voxel_params import VoxelOptions, brain_from, check_map
from .cases import path_in

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = ["check_domain", "check_people", "files_read"]


def check_domain(table: pd.DataFrame, options: VoxelOptions) -> None:
    """Refuse a study that lacks the masks, or a configuration whose mask or atlas does not exist.

    Raises:
        InputError: With the parameter's name.
    """
    from .domain import Domain

    if options.within_map is not None:
        check_map(table, options.within_map, "within_map")
    if brain_from(options) == "person" and "mask" not in table.columns:
        raise InputError(
            "brain: the study has no brain masks (a column 'mask'). Give them to the dataset, or set brain: none and "
            "within or within_map."
        )
    if options.within is not None and not Path(options.within).is_file():
        raise InputError(f"within: {options.within} does not exist.")
    Domain(options)


def check_people(table: pd.DataFrame, covariates: Sequence[str | Mapping[str, Any]]) -> None:
    """Refuse a study in which even all people together are fewer than a model's columns need.

    Raises:
        InputError: With both numbers.
    """
    people, columns = int(table["subject_id"].nunique()), len(covariates)
    if people < columns + 3:
        raise InputError(
            f"covariates: the study has {people} people, and a relation with {columns} covariates needs at least "
            f"{columns + 3} tested ones. Take fewer covariates."
        )


def files_read(run: RunResults, options: VoxelOptions, feature: str | None) -> Sequence[Path]:
    """Return the files of the tested people's maps and masks that exist, and those of the atlas."""
    names = [name for name in (feature, options.within_map) if name is not None]
    if brain_from(options) == "person":
        names.append("mask")
    rows = [{str(name): value for name, value in row.items()} for row in tested_people(run).to_dict("records")]
    paths = [path for row in rows for name in names if (path := path_in(row, name)) is not None]
    if options.atlas is not None:
        paths += _atlas_files(load_atlas(options.atlas), rows)
    return [path for path in dict.fromkeys(paths) if path.is_file()]


def _atlas_files(atlas: Atlas, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    files = list(atlas.files)
    for row in rows if atlas.frame == "subject" else ():
        with suppress(InputError):  # who has none is left out by analyse, on record
            files.append(atlas.file_for(row))
    return files
