"""The atlas of a viewer and further texts: found or read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xai_core import InputError

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["find_atlas", "read_atlas", "read_language"]

Atlas = tuple[Path, Mapping[int, str]]


def find_atlas(run: RunResults) -> Atlas | None:
    """Return the atlas that an analysis of the run left beside its tables (``*_dseg.nii.gz`` with ``.tsv``), or None.

    Raises:
        InputError: Its table cannot be read.
    """
    for slot in run.config.get("analyses") or []:
        folder = run.folder / "analysis" / str(slot.get("id", slot.get("name")))
        for image in sorted(folder.glob("*_dseg.nii.gz")):
            table = image.with_suffix("").with_suffix(".tsv")
            if table.is_file():
                return read_atlas(image, table)
    return None


def read_atlas(image: Path, table: Path | None) -> Atlas:
    """Return an atlas: an image of labels and their names.

    Args:
        image: NIfTI, a whole number for each voxel, 0 outside of every region.
        table: BIDS table (TSV) with the columns ``index`` and ``name``; None: the one beside the image, or no names.

    Raises:
        InputError: A file is missing or not what it must be.
    """
    import pandas as pd

    if not image.is_file():
        raise InputError(f"The atlas {image} does not exist. Give a NIfTI file with a label for each voxel.")
    if table is None:
        beside = image.with_suffix("").with_suffix(".tsv") if image.name.endswith(".gz") else image.with_suffix(".tsv")
        if not beside.is_file():
            return image, {}
        table = beside
    try:
        rows = pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False)
        return image, {int(index): str(name) for index, name in zip(rows["index"], rows["name"], strict=True)}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{table} is no table of labels: {error}. Give a TSV file with the columns index and name."
        ) from error


def read_language(path: Path) -> dict[str, str]:
    """Return the texts of a further language.

    Raises:
        InputError: The file is no JSON object of texts.
    """
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no JSON file of texts: {error}. Copy en.json and translate its values.") from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise InputError(f"{path} must hold one object whose values are texts, as en.json does.")
    return texts
