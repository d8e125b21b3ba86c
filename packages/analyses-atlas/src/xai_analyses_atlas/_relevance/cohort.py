"""Relevance by region of all maps of a run, one scan in memory for each thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from xai_core import InputError

from .._groups import chosen_explainers, members
from .._people import tested_people
from .measures import OUTSIDE, REGION_COLUMNS
from .scan import MapResult, ScanReader

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord, RunResults

    from .._atlases import Atlas
    from .._atlases.atlas import Assign

__all__ = ["Measured", "measured_run", "require_space"]

log = logging.getLogger("xai")

_MOST_ERRORS = 20
_SEEN = 0.5
_EMPTY = "no voxel on the map's grid: its values are n/a"
_CUT = "less than half of its volume is on the map's grid: outside of the field of view, or too small for the grid"
_PATHS = ("image", "mask", "ground_truth")
_IDENTITY = ["scan_id", "subject_id", "session_id", "fold", "explainer"]


@dataclass(frozen=True)
class Measured:
    """What the maps of a run hold.

    Attributes:
        regions: See ``region_table``.
        people: One row for each map: sums, shares outside, output, target, prediction and covariates; a covariate that
            is called as one of the sums has ``study_`` before its name.
        left_out: Labels and regions that are missing somewhere: ``index``, ``region``, ``reason``, ``maps``.
        without_atlas: Scans that are left out, with the reason: ``scan_id``, ``subject_id``, ``reason``.
        notes: What the user should know, in plain words.
    """

    regions: pd.DataFrame
    people: pd.DataFrame
    left_out: pd.DataFrame
    without_atlas: pd.DataFrame
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """See ``region_table``."""

    space: Literal["mni", "scan"]
    assign: Assign
    channel: str | None
    missing: Literal["error", "leave-out"]
    mismatch: Literal["error", "note"] = "error"


def require_space(atlas: Atlas, space: str) -> None:
    """Raise where an atlas does not lie where the maps are compared.

    Raises:
        InputError: With what to set.
    """
    frame = atlas.frame
    if frame == "mni" and space != "mni":
        raise InputError(
            f"The atlas {atlas.name} lies in MNI space ({atlas.space}), but space is {space}: the maps are taken where "
            "their scans lie. Where the scans are registered to MNI space, set space: mni; where the image lies in the "
            "scans' own common space, set the atlas' space to scan."
        )
    if frame != "mni" and space == "mni":
        whose = "each person's own space" if frame == "subject" else "a space of the study's own"
        raise InputError(f"The atlas {atlas.name} ({atlas.source}) lies in {whose}. Set space: scan.")


def measured_run(
    run: RunResults, atlas: Atlas, explainers: Sequence[str] | None, options: Options, threads: int = 2
) -> Measured:
    """Measure every map of a run.

    Args:
        run: With relevance maps.
        atlas: Whose regions.
        explainers: Ids; None: all.
        options: See ``region_table``.
        threads: Scans that are read at the same time.

    Raises:
        InputError: A map is missing, not finite or lies beside the atlas (all of them are named), or the atlas lies in
            another space.
    """
    require_space(atlas, options.space)
    names = chosen_explainers(run, explainers)
    people = tested_people(run)
    jobs, absent = _jobs(run, people, names, atlas, options)
    reader = ScanReader(atlas, options, _channel(run, options.channel), threading.Lock())
    results = _in_threads(jobs, reader, threads)
    order = {name: place for place, name in enumerate(names)}
    results.sort(key=lambda found: (order[found.record.explainer], found.record.fold, found.record.scan_id))
    regions = _region_rows(results, atlas)
    return Measured(regions, _people_rows(results, people), _left_out(results, atlas), absent, _notes(results, atlas))


def _jobs(
    run: RunResults, people: pd.DataFrame, names: Sequence[str], atlas: Atlas, options: Options
) -> tuple[list[tuple[dict[str, Any], list[MapRecord]]], pd.DataFrame]:
    """Return each tested scan with its maps, and the scans that are left out for want of an atlas."""
    rows = {str(row["scan_id"]): {str(k): value for k, value in row.items()} for row in people.to_dict("records")}
    pairs = list(zip(people["scan_id"].astype(str), people["fold"].astype(int), strict=True))
    maps: dict[str, list[MapRecord]] = {scan: [] for scan in rows}
    for name in names:
        records = {(record.scan_id, record.fold): record for record in run.maps(name)}
        for record in members(records, pairs, f"{name} of {run.folder}"):
            maps[record.scan_id].append(record)
    absent = _without_file(rows, atlas)
    if absent and (options.missing == "error" or len(absent) == len(rows)):
        shown = "; ".join(reason for _, reason in absent[:5]) + (" ..." if len(absent) > 5 else "")
        raise InputError(
            f"{len(absent)} of {len(rows)} test scans have no atlas in their own space: {shown} Make the files, or set "
            "missing: leave-out (at least one scan must have one)."
        )
    gone = {scan for scan, _ in absent}
    jobs = [(rows[scan], maps[scan]) for scan in sorted(maps) if scan not in gone]
    lost = [{"scan_id": scan, "subject_id": rows[scan]["subject_id"], "reason": reason} for scan, reason in absent]
    return jobs, pd.DataFrame(lost, columns=["scan_id", "subject_id", "reason"])


def _without_file(rows: Mapping[str, Mapping[str, Any]], atlas: Atlas) -> list[tuple[str, str]]:
    found = []
    for scan, row in sorted(rows.items()):
        try:
            atlas.file_for(row)
        except InputError as error:
            found.append((scan, str(error)))
    return found


def _channel(run: RunResults, channel: str | None) -> int | None:
    if channel is None:
        return None
    known = run.channels or ()
    if channel not in known:
        there = f"has the channels {', '.join(known)}" if known else "has no named channels"
        raise InputError(f"channel: {run.folder} {there}, and none is called {channel!r}.")
    return known.index(channel)


def _in_threads(
    jobs: Sequence[tuple[dict[str, Any], list[MapRecord]]], reader: ScanReader, threads: int
) -> list[MapResult]:
    results: list[MapResult] = []
    errors: list[str] = []
    with ThreadPoolExecutor(threads) as pool:
        waiting = [pool.submit(reader.read, person, records) for person, records in jobs]
        for future in waiting:
            try:
                results += future.result()
            except InputError as error:
                errors.append(str(error))
                if len(errors) == _MOST_ERRORS:
                    pool.shutdown(cancel_futures=True)
                    break
    if errors:
        more = " (and perhaps more)" if len(errors) == _MOST_ERRORS else ""
        raise InputError(errors[0] if len(errors) == 1 else f"{len(errors)} scans{more}:\n  " + "\n  ".join(errors))
    return results


def _region_rows(results: Sequence[MapResult], atlas: Atlas) -> pd.DataFrame:
    count = len(atlas.regions) + 1
    regions: dict[str, list[Any]] = {
        "index": [*(region.index for region in atlas.regions), 0],
        "region": [*(region.name for region in atlas.regions), OUTSIDE],
        "hemisphere": [*(region.hemisphere for region in atlas.regions), None],
        "structure": [*(region.structure for region in atlas.regions), OUTSIDE],
    }
    table: dict[str, Any] = {
        name: np.repeat(np.array([found.identity[name] for found in results], dtype=object), count)
        for name in _IDENTITY
    }
    table["fold"] = table["fold"].astype(np.int64)
    table["atlas"] = atlas.name
    table |= {name: values * len(results) for name, values in regions.items()}
    none = np.zeros(0)
    for name in REGION_COLUMNS:
        table[name] = np.concatenate([found.columns[name] for found in results]) if results else none
    return pd.DataFrame(table)


def _people_rows(results: Sequence[MapResult], people: pd.DataFrame) -> pd.DataFrame:
    measures = pd.DataFrame([{**found.identity, **found.whole} for found in results])
    known = [
        name for name in people.columns
        if name not in _PATHS and not str(name).startswith(("image_", "map_")) and name not in measures.columns
    ]  # fmt: skip
    keys = ["scan_id", "fold"]
    # A column of the study may be called "positive", too.
    taken = {name: f"study_{name}" for name in people.columns if name in measures.columns and name not in _IDENTITY}
    known += taken.values()
    study = people.rename(columns=taken)
    return measures.merge(study[[*keys, *known]], on=keys, how="left", validate="m:1")


def _left_out(results: Sequence[MapResult], atlas: Atlas) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"index": each.index, "region": each.name, "reason": each.reason, "maps": len(results)}
        for each in atlas.left_out
    ]
    kept = np.array([found.kept for found in results]).reshape(len(results), len(atlas.regions))
    sizes = np.array([found.columns["voxels"][:-1] for found in results]).reshape(kept.shape)
    for place, region in enumerate(atlas.regions):
        empty = sizes[:, place] == 0
        with np.errstate(invalid="ignore"):
            cut = ~empty & (kept[:, place] < _SEEN)
        for which, reason in ((empty, _EMPTY), (cut, _CUT)):
            if which.any():
                rows.append({"index": region.index, "region": region.name, "reason": reason, "maps": int(which.sum())})
    return pd.DataFrame(rows, columns=["index", "region", "reason", "maps"])


def _notes(results: Sequence[MapResult], atlas: Atlas) -> list[str]:
    notes = [f"regions of {atlas.name} {note}" for note in atlas.notes]
    zero = sorted({found.record.scan_id for found in results if not found.whole["absolute"] > 0})
    few = sorted({found.record.scan_id for found in results if found.few})
    unseen = sorted({found.record.scan_id for found in results if found.whole["atlas_in_head"] is None})
    for scans, what in (
        (zero, "have a map that is zero everywhere; its shares are n/a"),
        (few, "hold less than 80 % of the atlas in their head or field of view, or lie aside: registered, or cut?"),
        (unseen, "show no head or were not read from one file, so it is not known whether it lies over the atlas"),
    ):
        if scans:
            notes.append(f"{len(scans)} scans {what}: {', '.join(scans[:5])}{' ...' if len(scans) > 5 else ''}")
    for note in notes:
        log.warning("relevance by region: %s", note)
    return notes
