"""Mean relevance maps of groups: computed, described, drawn."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from ._background import background_of
from ._contrasts.normalise import MEANING
from ._drawing import colour_limit
from ._grids import Grid, first_in_world, mni_grid
from ._group_statistics import over_maps
from ._groups import Groups, chosen_explainers, grouped, members
from ._mosaic import Background, mosaic

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord, RunResults

    from .plugin import GroupMaps

__all__ = ["describe", "write_group_maps"]

Array = npt.NDArray[Any]
log = logging.getLogger("xai")


def write_group_maps(run: RunResults, output: Path, options: GroupMaps) -> None:
    """See ``GroupMaps.analyse``."""
    names = chosen_explainers(run, options.explainers)
    groups = grouped(run, options.by, only_correct=options.only == "correct")
    _say_who_is_missing(groups, options)
    # Groups and explainers of one run are compared with each other, so all of them share one grid.
    grid = mni_grid(options.spacing) if options.resample else None
    rows, used = [], set[str]()
    without = [{"scan_id": scan, "reason": f"has no {options.by}"} for scan in groups.without]
    background: Background | None = None
    for explainer in names:
        records = {(record.scan_id, record.fold): record for record in run.maps(explainer)}
        found = {name: members(records, scans, f"{explainer} of {run.folder}") for name, scans in groups.scans.items()}
        background = background or background_of(options, [record for mine in found.values() for record in mine], grid)
        for name, mine in found.items():
            head: dict[str, Any] = {"explainer": explainer, "group": name}
            maps, grid, mine, unusable = over_maps(mine, grid, options, f"{explainer}, {name}")
            without += [
                {**head, "scan_id": scan, "fold": str(fold), "reason": reason}
                for (scan, fold), reason in unusable.items()
            ]
            head["n"] = len({record.scan_id for record in mine})
            stem = _stem(explainer, options.by, name, used) if maps else ""
            for statistic in options.statistics:
                row = {**head, "statistic": statistic, "normalise": options.normalise}
                if statistic in maps and grid is not None:
                    end = "" if statistic == "mean" else f"_{statistic}"
                    row |= _write(output, stem + end, row, mine, maps[statistic], grid, background, options)
                rows.append(row)
    _write_table(output / "group-maps.tsv", rows, _COLUMNS)
    _write_table(output / "left-out.tsv", without, ["explainer", "group", "scan_id", "fold", "reason"])


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    table = pd.DataFrame(rows, columns=list(columns))
    text = str(table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    path.write_text(text, encoding="utf-8", newline="")


_COLUMNS = [
    "explainer", "group", "n", "people", "explained", "sum", "min", "max", "peak", "peak_x", "peak_y", "peak_z",
    "space", "positive_share", "colour_limit", "file", "statistic", "normalise",
]  # fmt: skip


def _say_who_is_missing(groups: Groups, options: GroupMaps) -> None:
    empty = [name for name, scans in groups.scans.items() if not scans]
    if empty:
        why = " with only: correct" if options.only == "correct" else ""
        log.warning("group-maps: no test scan is in the group %s%s: it has no map.", ", ".join(empty), why)
    if groups.without:
        shown = ", ".join(groups.without[:5]) + (" ..." if len(groups.without) > 5 else "")
        log.warning("group-maps: %d test scans have no %s and are left out: %s", len(groups.without), options.by, shown)


def _stem(explainer: str, by: str | None, group: str, used: set[str]) -> str:
    """Return a name for the files of a group, another one for each: "A/B" and "A B" differ in odd characters only."""
    parts = [explainer, group] if by is None else [explainer, f"{by}-{group}"]
    stem = "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) for part in parts)
    unique, number = stem, 2
    while unique.casefold() in used:
        unique, number = f"{stem}-{number}", number + 1
    used.add(unique.casefold())
    return unique


_NAMES = {"mean": "mean relevance", "median": "median relevance", "sd": "standard deviation of relevance"}


def describe(mean: Array, grid: Grid, quantile: float) -> dict[str, Any]:
    """Return what the table says of a mean map.

    Args:
        mean: [D, H, W], finite.
        grid: Of ``mean``.
        quantile: See ``GroupMaps``.

    Returns:
        ``sum``, ``min``, ``max``, ``peak`` (the value, with its sign, of the largest absolute one), ``peak_x``,
        ``peak_y`` and ``peak_z`` (where it lies, mm), ``positive_share`` (sum of what is above zero over the sum of
        absolute values, in [0, 1]) and ``colour_limit``. Peak and share are None where every voxel is zero.
    """
    strength = np.abs(mean.astype(np.float64))
    total = float(strength.sum())
    row: dict[str, Any] = {"sum": float(mean.sum(dtype=np.float64)), "min": float(mean.min()), "max": float(mean.max())}
    row |= {"peak": None, "peak_x": None, "peak_y": None, "peak_z": None, "positive_share": None}
    if total > 0:
        peak = _peak(mean, grid)
        x, y, z = (round(value, 3) + 0.0 for value in grid.world(peak))
        row |= {"peak": float(mean[peak]), "peak_x": x, "peak_y": y, "peak_z": z}
        row["positive_share"] = float(mean[mean > 0].sum(dtype=np.float64)) / total
    return row | {"colour_limit": colour_limit(mean, quantile)[0]}


def _peak(mean: Array, grid: Grid) -> tuple[int, int, int]:
    strength = np.abs(mean)
    voxels = np.argwhere(strength == strength.max())
    x, y, z = voxels[first_in_world(voxels, grid)]
    return int(x), int(y), int(z)


def _write(
    output: Path,
    stem: str,
    head: dict[str, Any],
    records: Sequence[MapRecord],
    mean: Array,
    grid: Grid,
    background: Background,
    options: GroupMaps,
) -> dict[str, Any]:
    """Write the files of one group and return its row of the table."""
    explained = Counter(str(record.sidecar.get("target_name", "unknown")) for record in records)
    counts = "; ".join(f"{name} {count}" for name, count in sorted(explained.items()))
    row = {
        "people": len({record.subject_id for record in records}),
        "explained": counts,
        **describe(mean, grid, options.quantile),
        "statistic": head["statistic"],
        "space": options.space,
        "file": f"{stem}.nii.gz",
    }
    image = nib.Nifti1Image(mean, grid.affine)
    code = "mni" if options.space == "mni" else "aligned"
    image.set_sform(grid.affine, code)
    image.set_qform(grid.affine, code)
    image.header.set_xyzt_units("mm")
    nib.save(image, output / f"{stem}.nii.gz")
    by_quantile = colour_limit(mean, options.quantile)[1]
    meaning = "relevance per voxel of the network's grid" if options.normalise == "none" else MEANING[options.normalise]
    sidecar = {
        **head,
        **row,
        "what": f"{_NAMES[row['statistic']]} over the maps of the scans, voxel by voxel; {meaning}",
        "by": options.by,
        "only": options.only,
        "resampled": options.resample,
        "colour_limit_is": f"{options.quantile} quantile of |{row['statistic']}|"
        if by_quantile
        else f"largest |{row['statistic']}|",
        "scans": list(dict.fromkeys(record.scan_id for record in records)),
        "maps": len(records),
    }
    text = json.dumps(sidecar, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (output / f"{stem}.json").write_text(text, encoding="utf-8")
    peak = None if row["peak"] is None else _peak(mean, grid)
    lines = _title(head, row, sidecar, options)
    picture = mosaic(mean, grid, background, row["colour_limit"], peak, lines, options.convention)
    (output / f"{stem}.png").write_bytes(picture)
    return row


def _title(head: dict[str, Any], row: dict[str, Any], sidecar: dict[str, Any], options: GroupMaps) -> list[str]:
    group = "everybody" if options.by is None else f"{options.by} {head['group']}"
    whose = ", correctly classified only" if options.only == "correct" else ""
    scans = f"{head['n']} scan{'s' if head['n'] > 1 else ''}"
    divided = "" if options.normalise == "none" else f", each map divided by its {options.normalise}"
    what = f"{head['explainer']}: {_NAMES[row['statistic']]}, {group}"
    lines = [f"{what} ({scans}{whose}; explained output: {row['explained']}){divided}"]
    if row["peak"] is None:
        return lines
    place = ", ".join(f"{axis} {row[f'peak_{axis}']:.4g}" for axis in "xyz")
    space = "mm (MNI)" if options.space == "mni" else "mm"
    return [
        *lines,
        f"peak {row['peak']:.3g} at {place} {space}; {row['positive_share']:.0%} of the relevance is above zero",
        f"colours end at the {sidecar['colour_limit_is']}, {row['colour_limit']:.3g}",
    ]
