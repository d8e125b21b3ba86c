"""What ``xai compare-maps`` says, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core import InputError

from ._compare import Comparison, compare
from ._pairs import Pair, labels_on, pair_of
from ._regions import by_region, integer_labels, read_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Found", "Options", "compare_files", "finite", "number", "verdict", "within"]


@dataclass(frozen=True)
class Options:
    """Options of the command; see its help."""

    mask: Path | None = None
    atlas: Path | None = None
    labels: Path | None = None
    output: Path | None = None
    spearman: bool = False
    resample: bool = False
    tolerance: float | None = None


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        text: For a person.
        as_json: For a program.
        failed: Whether the difference is above the tolerance that was given.
    """

    text: str
    as_json: dict[str, Any]
    failed: bool


def compare_files(a: str, b: str, options: Options) -> Found:
    """Compare two maps.

    Raises:
        InputError: They cannot be compared, or the picture cannot be written.
    """
    pair = pair_of(a, b, options.mask, resample=options.resample)
    comparison = compare(*pair.values(), spearman=options.spearman)
    place, where = _largest(pair)
    regions = None if options.atlas is None else _regions(options.atlas, options.labels, pair, options)
    if options.output is not None:
        from ._figure import write_figure

        write_figure(pair, comparison, place, where, options.output)
    failed = options.tolerance is not None and comparison.exceeds(options.tolerance)
    lines = [
        f"A: {pair.names[0]}",
        f"B: {pair.names[1]}",
        *_grid_lines(pair),
        *(f"Note: {note}" for note in pair.notes),
    ]
    lines += _numbers(comparison, where, options)
    if regions is not None:
        lines += ["", *_region_lines(regions)]
    if options.output is not None:
        lines.append(f"Picture: {options.output}")
    if options.tolerance is not None:
        lines.append(verdict(failed, options.tolerance))
    content: dict[str, Any] = {
        "a": pair.names[0], "b": pair.names[1], "grid": None if pair.grid is None else str(pair.grid),
        "shape": list(pair.first.shape), "notes": pair.notes, **finite(comparison.as_dict()), "largest_at": place,
        "largest_at_mm": None if pair.grid is None else list(pair.grid.world(place)),
    }  # fmt: skip
    if regions is not None:
        content["regions"] = [finite(row) for row in regions.to_dict("records")]
    if options.output is not None:
        content["picture"] = str(options.output)
    return Found("\n".join(lines), {**content, **within(options.tolerance, failed)}, failed)


def _largest(pair: Pair) -> tuple[tuple[int, ...], str]:
    """Return the index of the largest |B - A| (of the largest |A| where they are equal), and it in words."""
    strength = np.abs(pair.second - pair.first)
    if not strength.any():
        strength = np.abs(pair.first)
    if pair.inside is not None:
        inside = pair.inside if strength.ndim == pair.inside.ndim else pair.inside[..., None]
        strength = np.where(inside, strength, -1.0)
    place = tuple(int(i) for i in np.unravel_index(int(strength.argmax()), strength.shape))
    where = f"voxel ({', '.join(map(str, place))})"
    if pair.grid is not None:
        x, y, z = pair.grid.world(place)
        where += f", x {x:.4g}, y {y:.4g}, z {z:.4g} mm"
    return place, where


def _grid_lines(pair: Pair) -> list[str]:
    if pair.grid is not None:
        return [f"Grid: {pair.grid}"]
    return [f"Shape: {' x '.join(map(str, pair.first.shape))} (arrays without an affine: only shapes are checked)"]


def _numbers(found: Comparison, where: str, options: Options) -> list[str]:
    """One line for each number."""
    within = "" if options.mask is None else f" within {options.mask}"
    constant, zero = "not defined: a map is constant", "not defined: A is zero everywhere"
    lines = [f"Compared: {found.voxels} values{within}"]
    if found.identical:
        lines.append("The maps are identical: every value is the same.")
    rows = [("correlation (Pearson)", number(found.pearson, constant, 8))]
    if options.spearman:
        rows.append(("correlation of ranks (Spearman)", number(found.spearman, constant, 8)))
    largest = number(found.largest_relative, zero)
    rows += [
        ("cosine", number(found.cosine, "not defined: a map is zero everywhere", 8)),
        ("L1 difference / L1 of A", number(found.l1_relative, zero)),
        ("largest difference / largest |A|", largest if found.identical else f"{largest}  at {where}"),
        ("largest |A|, largest |B|", f"{found.largest_a:.6g}, {found.largest_b:.6g}"),
        ("sum of A, sum of B", f"{found.sum_a:.6g}, {found.sum_b:.6g} (difference {found.sum_difference:.3g})"),
    ]
    width = max(len(name) for name, _value in rows)
    return [*lines, *(f"  {name:<{width}}  {value}" for name, value in rows)]


def number(value: float | None, otherwise: str, digits: int = 4) -> str:
    """Return a number as text, or what to say where it is not defined."""
    return otherwise if value is None else f"{value:.{digits}g}"


def _regions(atlas: Path, labels: Path | None, pair: Pair, options: Options) -> pd.DataFrame:
    image = integer_labels(labels_on(atlas, pair, resample=options.resample), str(atlas))
    names = {} if labels is None else read_names(labels)
    first, second = pair.volumes("--atlas")
    inside = np.ones(image.shape, dtype=bool) if pair.inside is None else pair.inside
    if not image[inside].any():
        raise InputError(
            f"{atlas} has no region where {pair.names[0]} is compared: every label is 0. Is it the right one?"
        )
    return by_region(first[inside], second[inside], image[inside], names)


def _region_lines(regions: pd.DataFrame) -> list[str]:
    head = ("region", "label", "voxels", "sum A", "sum B", "B - A", "correlation")
    cells = [
        (
            str(row["name"]), str(row["index"]), str(row["voxels"]), f"{row['sum_a']:.4g}", f"{row['sum_b']:.4g}",
            f"{row['difference']:.4g}", "-" if math.isnan(row["correlation"]) else f"{row['correlation']:.4f}",
        )
        for row in regions.to_dict("records")
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in [head, *cells]) for column in range(len(head))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in [head, *cells]
    ]


def finite(numbers: Mapping[Any, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: null, as for what is not defined."""
    return {
        str(name): None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in numbers.items()
    }


def within(tolerance: float | None, failed: bool) -> dict[str, Any]:
    """Return what JSON says of a tolerance; nothing where none was given."""
    return {} if tolerance is None else {"tolerance": tolerance, "within_tolerance": not failed}


def verdict(failed: bool, tolerance: float) -> str:
    """Return the last line for a person who gave a tolerance."""
    return f"{'ABOVE' if failed else 'Within'} the tolerance of {tolerance:g} (largest difference / largest |A|)."
