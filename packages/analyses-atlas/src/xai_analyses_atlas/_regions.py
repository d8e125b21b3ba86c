"""Regions of an atlas: their names, and two maps compared in each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError

__all__ = ["OUTSIDE", "by_region", "integer_labels", "read_names"]

Array = npt.NDArray[Any]

OUTSIDE = "(outside of the atlas)"


def read_names(path: Path) -> dict[int, str]:
    """Return the names of labels.

    Args:
        path: A table (tab, comma or semicolon) with the columns ``index`` and ``name`` in any case, or a FreeSurfer
            colour table (``No. Name R G B A``; lines that start with # are comments).

    Raises:
        InputError: It is neither, or names a label twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a table of labels: {error}.") from error
    rows = [
        (number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        raise InputError(f"{path} names no labels. Give a table with the columns index and name.")
    header = rows[0][1]
    delimiter = next((mark for mark in "\t,;" if mark in header), None)
    columns = [column.strip().strip('"').lower() for column in header.split(delimiter)] if delimiter else []
    if {"index", "name"} <= set(columns):
        place = (columns.index("index"), columns.index("name"))
        cells = [(n, next(csv.reader([line], delimiter=delimiter or "\t"))) for n, line in rows[1:]]
    else:
        place, cells = (0, 1), [(n, line.split()) for n, line in rows]
        _require_colour_table(path, cells[0][1], columns)
    return _named(path, cells, place)


def _require_colour_table(path: Path, first: list[str], columns: list[str]) -> None:
    if len(first) < 6 or not all(_is_integer(cell) for cell in (first[0], *first[-4:])):
        found = f" Its first line has: {', '.join(columns or first)}."
        raise InputError(
            f"{path} is no table of labels: it has no columns index and name, and is no FreeSurfer colour table "
            f"(No. Name R G B A).{found}"
        )


def _named(path: Path, cells: list[tuple[int, list[str]]], place: tuple[int, int]) -> dict[int, str]:
    names: dict[int, str] = {}
    for line, row in cells:
        if len(row) <= max(place) or not _is_integer(row[place[0]]):
            raise InputError(f"{path}, line {line}: no label number and name: {' '.join(row)[:80]!r}.")
        index, name = int(row[place[0]]), row[place[1]].strip()
        if names.get(index, name) != name:
            raise InputError(f"{path}, line {line}: the label {index} is called {names[index]!r} and {name!r}.")
        names[index] = name
    return names


def _is_integer(text: str) -> bool:
    return text.strip().removeprefix("-").isdecimal()


def integer_labels(data: Array, name: str) -> npt.NDArray[np.int64]:
    """Return a label image as whole numbers.

    Raises:
        InputError: It has several volumes or holds other numbers (a map of probabilities, say).
    """
    if data.ndim != 3:
        raise InputError(f"{name} has the shape {data.shape}. Give an atlas of one volume with a label for each voxel.")
    with np.errstate(invalid="ignore"):
        whole = np.isfinite(data) & (np.abs(data) < 2**53) & (data == np.round(data))
    if not whole.all():
        raise InputError(
            f"{name} holds {int((~whole).sum())} voxels that are no whole numbers (such as {data[~whole][0]:.4g}), so "
            "it is no label image. Give an atlas with a label for each voxel, not probabilities."
        )
    return data.astype(np.int64)


def by_region(first: Array, second: Array, labels: npt.NDArray[np.int64], names: Mapping[int, str]) -> pd.DataFrame:
    """Compare two maps in each region that has voxels, the largest |difference| first.

    Label 0 is what the atlas leaves out, so that the sums over all rows are those of the maps.

    Args:
        first: A, float64 [N].
        second: B, float64 [N].
        labels: [N].
        names: Names of labels; one that has none is called ``label 7``.

    Returns:
        ``index``, ``name``, ``voxels``, ``sum_a``, ``sum_b``, ``difference`` (sum of B minus sum of A) and
        ``correlation`` (Pearson's over the region's voxels; NaN where a map is constant there).
    """
    found, place, counts = np.unique(labels, return_inverse=True, return_counts=True)

    def sums(values: Array) -> Array:
        return np.bincount(place, weights=values, minlength=len(found))

    sum_a, sum_b = sums(first), sums(second)
    table = pd.DataFrame({
        "index": found,
        "name": [names.get(int(i), OUTSIDE if i == 0 else f"label {i}") for i in found],
        "voxels": counts, "sum_a": sum_a, "sum_b": sum_b, "difference": sum_b - sum_a,
        "correlation": _correlations(first, second, place, counts),
    })  # fmt: skip
    order = np.lexsort((table["index"], -table["difference"].abs()))
    return table.iloc[order].reset_index(drop=True)


def _correlations(first: Array, second: Array, place: Array, counts: Array) -> Array:
    centred, spread = [], []
    for values in (first, second):
        low, high = np.full(len(counts), np.inf), np.full(len(counts), -np.inf)
        np.minimum.at(low, place, values)
        np.maximum.at(high, place, values)
        # Each region by its own size: squares of tiny values beside large ones would be lost.
        size = np.maximum(np.abs(low), np.abs(high))
        scaled = values / np.where(size > 0, size, 1.0)[place]
        about = scaled - (np.bincount(place, weights=scaled) / counts)[place]
        centred.append(about)
        spread.append(np.where(low < high, np.bincount(place, weights=about**2), np.nan))
    products = np.bincount(place, weights=centred[0] * centred[1])
    correlations: Array = np.clip(products / np.sqrt(spread[0] * spread[1]), -1, 1)
    return correlations
