"""Images that are nearly the same: at low resolution, whatever was done to their intensities or their edges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .imagefile import read_image_file
from .leakage import Evidence, Finding, listed
from .progress import track
from .voxels import thumbnail

__all__ = ["near_duplicates"]

ALIKE = 0.9999
_BLOCK = 1000
_MOST = 50


def near_duplicates(evidence: Evidence) -> list[Finding]:
    """Return a warning for each two images of different people whose correlation at low resolution is above 0.9999.

    Scans in one space can come near to it without being copies, so nothing is refused for it.

    Args:
        evidence: Scans with a file that can be read; the others are left out.
    """
    scans = [scan for scan in evidence.scans if scan.file and Path(scan.file).exists()]
    small, kept = [], []
    for scan in track(scans, "comparing images"):
        read = read_image_file(Path(str(scan.file)), scan.name)
        if read.problem is None and read.values is not None:
            small.append(thumbnail(read.values, read.affine))
            kept.append(scan)
    found = []
    for one, other, correlation in _pairs(np.array(small, dtype=np.float32).reshape(len(small), -1)):
        first, second = kept[one], kept[other]
        if first.person == second.person or {first.digest, *first.voxels} & {second.digest, *second.voxels}:
            continue
        apart = evidence.apart(first.person, second.person)
        where = f", in different parts of fold {listed(str(i) for i, *_ in apart)}" if apart else ""
        text = f"{first.name} ({first.file}) and {second.name} ({second.file}) are nearly the same image "
        text += f"(r = {correlation:.5f}){where}"
        files, folds = (str(first.file), str(second.file)), tuple(i for i, *_ in apart)
        found.append(Finding("near-duplicate", text, False, (first.person, second.person), files, folds))
    return found[:_MOST]


def _pairs(small: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Iterator[tuple[int, int, float]]:
    """Yield pairs of rows whose product is above the limit, block by block: ten thousand images fit into memory."""
    for start in range(0, len(small), _BLOCK):
        products = small[start : start + _BLOCK] @ small.T
        for row, column in zip(*np.nonzero(products > ALIKE), strict=True):
            if start + row < column:
                yield int(start + row), int(column), float(products[row, column])
