"""Brain features of a run's people from all sources, their regions named as the atlas names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_core import InputError

from .._feature_params import FeatureSource, feature_problems, feature_sources
from .cat12 import read_cat12_files
from .freesurfer import read_stats_files
from .maps import map_column, read_maps
from .names import matched
from .people import Person, files_of, listed, people_of
from .records import Reading, Value
from .tables import TableLayout, read_group_table, read_table

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .._atlases import Atlas

__all__ = ["COLUMNS", "Features", "feature_files", "gather_features", "read_features"]

COLUMNS = ("scan_id", "subject_id", "session_id", "region", "name", "feature", "value", "unit", "source")


@dataclass(frozen=True)
class Features:
    """What the sources say of the people of a study.

    Attributes:
        table: One row for each scan and measurement: ``scan_id``, ``subject_id``, ``session_id`` (as the run writes
            them), ``region`` (of the atlas, or None: of the whole brain, or of a region that the atlas lacks),
            ``name`` (as the source calls the region), ``feature``, ``value`` (NaN where the source says that it is
            missing), ``unit``, ``source``. The feature of a region that the atlas lacks is ``<feature> of <name>``.
        matches: One row for each source, feature and name: ``source``, ``feature``, ``name``, ``region`` (None: the
            atlas has none of it).
        left_out: ``source``, ``scan_id``, ``reason`` of who is not in a source.
    """

    table: pd.DataFrame
    matches: pd.DataFrame
    left_out: pd.DataFrame


def read_features(specs: Sequence[Mapping[str, Any]], run: RunResults, atlas: Atlas) -> pd.DataFrame:
    """Return the brain features of every scan of a run; see ``Features.table`` and ``gather_features``."""
    return gather_features(specs, run.subjects(), atlas, to_mni=registrations(run)).table


def registrations(run: RunResults) -> dict[str, Any]:
    """Return the matrices [4, 4] to MNI space by scan, of the scans that were registered within a run."""
    return {record.scan_id: record.sidecar["to_mni"] for record in run.maps() if "to_mni" in record.sidecar}


def gather_features(
    specs: Sequence[Mapping[str, Any]],
    table: pd.DataFrame,
    atlas: Atlas,
    *,
    to_mni: Mapping[str, Any] | None = None,
    maps: bool = True,
) -> Features:
    """Read every source.

    Args:
        specs: Entries of the parameter ``features``.
        table: One row for each scan: ``scan_id``, ``subject_id``, ``session_id`` where known, and ``map_<name>``.
        atlas: Its names are given to the regions.
        to_mni: See ``read_maps``.
        maps: Whether maps are read; otherwise only whether the study has them is checked.

    Raises:
        InputError: A source cannot be read or has nobody of the study, a name may mean several regions, or two sources
            give a person different values of one feature.
    """
    problems = feature_problems(specs)
    if problems:
        raise InputError("\n".join(problems))
    people = people_of(table)
    rows: list[dict[str, Any]] = []
    matches: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    for source in feature_sources(specs):
        if source.source == "map" and not maps:
            map_column(source, table)
            continue
        reading = _read(source, table, people, atlas, to_mni or {})
        if not reading.values:
            who, why = reading.left_out[0] if reading.left_out else ("nobody", "is in it")
            raise InputError(
                f"features, {source.title}: nothing was found for any of {len(people)} scans: {who} {why}."
            )
        regions = _regions(source, reading.values, atlas)
        matches += [
            {"source": source.title, "feature": feature, "name": name, "region": region}
            for (feature, name), region in regions.items()
        ]
        by_scan, without = _scans(source, reading.values, people)
        rows += _rows(source, reading.values, regions, by_scan)
        left_out += [
            {"source": source.title, "scan_id": who, "reason": why}
            for who, why in [*reading.left_out, *(row for row in without if row[0] not in dict(reading.left_out))]
        ]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    return Features(
        _without_doubles(found),
        pd.DataFrame(matches, columns=["source", "feature", "name", "region"]),
        pd.DataFrame(left_out, columns=["source", "scan_id", "reason"]).drop_duplicates(ignore_index=True),
    )


def feature_files(specs: Sequence[Mapping[str, Any]], table: pd.DataFrame) -> list[Path]:
    """Return the files that features of these scans come from, whether they exist or not; none is read."""
    found: list[Path] = []
    people = people_of(table)
    for source in feature_sources(specs):
        if source.source == "map":
            column = f"map_{source.map}"
            paths = table[column].tolist() if column in table.columns else []
            found += [Path(path) for path in paths if isinstance(path, str) and path]
        elif source.source in ("freesurfer", "cat12"):
            for person in people:
                for side in ("lh", "rh"):
                    found += files_of(str(source.file), person, {"hemi": side})
        else:
            found.append(Path(str(source.file)))
    return list(dict.fromkeys(found))


def _read(
    source: FeatureSource, table: pd.DataFrame, people: Sequence[Person], atlas: Atlas, to_mni: Mapping[str, Any]
) -> Reading:
    file = str(source.file)
    if source.source == "freesurfer":
        return read_stats_files(file, people, source.columns, source.measures)
    if source.source == "cat12":
        return read_cat12_files(file, people, source.columns, source.roi_atlas)
    if source.source == "freesurfer-table":
        return read_group_table(Path(file), people)
    if source.source == "table":
        layout = TableLayout(source.feature, source.people, source.session, source.region, source.columns, source.unit)
        return read_table(Path(file), people, layout)
    return read_maps(source, table, atlas, to_mni)


def _regions(source: FeatureSource, values: Sequence[Value], atlas: Atlas) -> dict[tuple[str, str], str | None]:
    """Return the atlas' region, or None, by feature and name."""
    named: dict[str, dict[str, set[tuple[str, str | None]]]] = {}
    for value in values:
        if value.name is not None:
            named.setdefault(value.feature, {}).setdefault(value.name, set()).add((value.subject, value.session))
    found: dict[tuple[str, str], str | None] = {}
    for feature, owners in named.items():
        regions = matched(list(owners), atlas.regions, source.regions or {}, f"features, {source.title}", owners)
        found |= {(feature, name): None if region is None else region.name for name, region in regions.items()}
    return found


def _scans(
    source: FeatureSource, values: Sequence[Value], people: Sequence[Person]
) -> tuple[dict[tuple[str, str | None], list[Person]], list[tuple[str, str]]]:
    """Return to which scans the values of a person and visit belong, and which scans have none, with the reason.

    A value without a visit belongs to every scan of the person. Where the run does not tell visits apart, the only
    one of a source is meant.
    """
    visits: dict[str, set[str | None]] = {}
    for value in values:
        visits.setdefault(value.subject, set()).add(value.session)
    scans: dict[tuple[str, str | None], list[Person]] = {}
    without = []
    for person in people:
        subject = person.scan_id if source.source == "map" else person.subject
        mine = visits.get(subject, set())
        wanted = {None, person.session} & mine
        if not wanted and person.session is None and len(mine) == 1:
            wanted = mine
        for session in wanted:
            scans.setdefault((subject, session), []).append(person)
        if not wanted:
            there = listed(sorted(f"ses-{session}" for session in mine if session is not None))
            without.append((person.scan_id, f"lacks this visit; there are {there}" if there else "is not in it"))
    return scans, without


def _rows(
    source: FeatureSource,
    values: Sequence[Value],
    regions: Mapping[tuple[str, str], str | None],
    scans: Mapping[tuple[str, str | None], Sequence[Person]],
) -> list[dict[str, Any]]:
    """Give each value to the scans that it belongs to."""
    rows = []
    for value in values:
        region = regions.get((value.feature, value.name)) if value.name is not None else None
        outside = value.name is not None and region is None
        for person in scans.get((value.subject, value.session), []):
            rows.append({
                "scan_id": person.scan_id, "subject_id": person.subject_id, "session_id": person.session_id,
                "region": region, "name": value.name,
                "feature": f"{value.feature} of {value.name}" if outside else value.feature,
                "value": value.value, "unit": value.unit, "source": source.title,
            })  # fmt: skip
    return rows


def _without_doubles(table: pd.DataFrame) -> pd.DataFrame:
    """Keep one of equal values (eTIV stands in several files); refuse different ones.

    Raises:
        InputError: Two values of one feature differ.
    """
    key = ["scan_id", "region", "feature"]
    known = table[table["value"].notna() | ~table.duplicated(key, keep=False)]
    values = known.groupby(key, dropna=False)["value"].agg(["min", "max"])
    differ = values[(values["max"] - values["min"]).abs() > 1e-9 * values["max"].abs()]
    if len(differ):
        scan, region, feature = differ.index[0]
        place = "" if region is None or region != region else f" of {region}"
        raise InputError(
            f"features: {len(differ)} values are given twice and differ, such as {feature}{place} of {scan}: "
            f"{differ['min'].iloc[0]:g} and {differ['max'].iloc[0]:g}, from "
            f"{listed(_sources(table, differ.index[0]))}. Is a visit meant (session), or do two sources measure the "
            "same? Leave one of them out."
        )
    whole = pd.concat([known, table.drop(known.index)]).drop_duplicates(key).sort_index()
    return whole.reset_index(drop=True)


def _sources(table: pd.DataFrame, key: Any) -> list[str]:
    scan, region, feature = key
    same = table["region"].isna() if region is None or region != region else table["region"] == region
    rows = table[(table["scan_id"] == scan) & same & (table["feature"] == feature)]
    return sorted(set(rows["source"]))
