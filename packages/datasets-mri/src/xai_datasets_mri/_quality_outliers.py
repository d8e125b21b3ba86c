"""Which images of a cohort are unlike the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["LIMIT", "flags", "robust_z"]

LIMIT = 3.5
"""Of the robust z, from which on a number is an outlier (Iglewicz and Hoaglin 1993)."""

_ODD = 0.2  # of a group: a shape that fewer than these have is odd
_LEAST = 0.02  # of a number's size: the spread that it has at least
_FEWEST = 5  # images that a deviation is computed from
_GROUP = 8  # images that a site needs to be judged by itself
_PLAIN = {
    "shape": "shape", "spacing": "voxel size", "orientation": "orientation", "dtype": "data type",
    "volume_of": "foreground",
}  # fmt: skip
_NUMBERS = {
    "min": "smallest intensity",
    "p1": "1st percentile",
    "median": "median intensity",
    "p99": "99th percentile",
    "max": "largest intensity",
    "volume_ml": "volume",
    "background_percent": "background",
    "snr": "SNR",
}
_FIELD_OF_VIEW = (80.0, 500.0)  # mm; a head has about 200, a neonate's brain 90
_OBLIQUE = 30.0  # degrees, from which on left, front and up are no longer those of the axes


def robust_z(values: Sequence[float], least: float = 0.0) -> list[float]:
    """Return 0.6745 (x - median) / MAD of each value (Iglewicz and Hoaglin 1993, How to detect and handle outliers).

    Where more than half are equal, and so the MAD is 0, (x - median) / (1.2533 x mean absolute deviation), as they
    advise; 0 for all where all are equal.

    Args:
        values: Finite.
        least: A standard deviation that is taken in place of a smaller estimate: among images that were all scaled to
            one range, a difference of a hundredth means nothing.
    """
    data = np.asarray(values, dtype=np.float64)
    off = data - np.median(data)
    spread = float(np.median(np.abs(off))) / 0.6745
    # Differences in the last digits of float32 are no spread.
    if spread <= 1e-6 * float(np.abs(data).max(initial=0)):
        spread = 1.253314 * float(np.abs(off).mean())
    spread = max(spread, least)
    return [0.0] * len(data) if spread == 0 else [float(z) for z in off / spread]


def flags(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return what is unusual about each image, as short texts.

    Images are compared within their site and channel, or over the cohort where a site has fewer than 8.

    Args:
        rows: The numbers of each image (``measure``; none where it could not be measured), ``scan_id``, ``site``,
            ``channel``, ``digest``, ``problem`` (it cannot be used) and ``failure`` (of the measuring itself).
    """
    found: list[list[str]] = [[] for _ in rows]
    for members in _groups(rows):
        _odd(rows, members, found)
        _outliers(rows, members, found)
    for index, row in enumerate(rows):
        found[index] += _alone(row)
    _same(rows, found)
    return found


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[int], list[int]]]:
    """Return (how the group is called, whom it is compared with, whom it judges)."""
    measured = [i for i, row in enumerate(rows) if "shape" in row]
    channels: dict[Any, list[int]] = defaultdict(list)
    for i in measured:
        channels[rows[i]["channel"]].append(i)
    groups = []
    for channel in channels.values():
        sites: dict[Any, list[int]] = defaultdict(list)
        for i in channel:
            sites[rows[i]["site"]].append(i)
        for site, members in sites.items():
            alone = site is not None and len(sites) > 1 and len(members) >= _GROUP
            groups.append((f" at site {site}" if alone else "", members if alone else channel, members))
    return groups


def _odd(rows: Sequence[Mapping[str, Any]], group: tuple[str, list[int], list[int]], found: list[list[str]]) -> None:
    where, peers, members = group
    for key, name in _PLAIN.items():
        counts = Counter(_text(rows[i][key]) for i in peers)
        usual, most = counts.most_common(1)[0]
        for i in members:
            value = _text(rows[i][key])
            if counts[value] < min(most, _ODD * len(peers)):
                found[i].append(f"{name} {value} (usual{where}: {usual})")


def _text(value: Any) -> str:
    return " x ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value) if isinstance(value, list) else value


def _outliers(
    rows: Sequence[Mapping[str, Any]], group: tuple[str, list[int], list[int]], found: list[list[str]]
) -> None:
    where, peers, members = group
    for key, name in _NUMBERS.items():
        for of in sorted({rows[i]["volume_of"] for i in peers}) if key == "volume_ml" else [None]:
            # A brain's volume says nothing about a head's.
            known = [i for i in peers if rows[i][key] is not None and of in (None, rows[i]["volume_of"])]
            if len(known) < _FEWEST:
                continue
            scores = dict(zip(known, robust_z([rows[i][key] for i in known], _least(rows, key, known)), strict=True))
            for i in members:
                if abs(scores.get(i, 0)) > LIMIT:
                    found[i].append(f"{name} {rows[i][key]:.4g}{where} (z {scores[i]:+.1f})")


def _least(rows: Sequence[Mapping[str, Any]], key: str, known: Sequence[int]) -> float:
    """Return the least spread of a number: 2 % of its median, or of the range of intensities, or of the volume."""
    if key in ("volume_ml", "snr"):
        values = [rows[i][key] for i in known]
    elif key == "background_percent":
        values = [100.0]
    else:
        values = [rows[i]["p99"] - rows[i]["p1"] for i in known]
    return _LEAST * abs(float(np.median(values)))


def _alone(row: Mapping[str, Any]) -> list[str]:
    """What is unusual whatever the others are."""
    if row["problem"]:
        return ["cannot be used"]
    if "shape" not in row:
        return ["could not be measured"]
    found = ["no picture"] if row["failure"] else []
    fields = [n * size for n, size in zip(row["shape"], row["spacing"], strict=True)]
    if min(fields) < _FIELD_OF_VIEW[0] or max(fields) > _FIELD_OF_VIEW[1]:
        found.append(f"field of view {' x '.join(f'{side:.0f}' for side in fields)} mm")
    if row["oblique"] > _OBLIQUE:
        found.append(f"tilted by {row['oblique']:.0f} degrees")
    return found


def _same(rows: Sequence[Mapping[str, Any]], found: list[list[str]]) -> None:
    """One content under two names: a person who could be in two parts."""
    first: dict[tuple[str, Any], int] = {}
    for index, row in enumerate(rows):
        if row["digest"]:
            other = first.setdefault((row["digest"], row["channel"]), index)
            if other != index:
                found[index].append(f"the same file content as {rows[other]['scan_id']}")
                found[other].append(f"the same file content as {row['scan_id']}")
