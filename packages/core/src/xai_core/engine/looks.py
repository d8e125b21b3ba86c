"""What was found at a scan, and how the grids of a cohort differ."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np

__all__ = ["Look", "grid_text", "grids_text", "joined_digest"]

_GRIDS_SHOWN = 6


@dataclass(frozen=True)
class Look:
    """What was found at one scan.

    Attributes:
        name: ``sub-01`` or ``sub-01_ses-02``.
        digest: SHA-256 of the image's content; empty where it could not be read.
        problems: Why it cannot be used, a line each; none where it can.
        grid: Shape, spacing (mm) and orientation of its (first) image, such as ``8 x 9 x 10 voxels of 1 x 1 x 1 mm,
            RAS``; empty where unknown.
        voxels: SHA-256 of the voxels of each of its images, which copies with another header share.
    """

    name: str
    digest: str
    problems: tuple[str, ...] = ()
    grid: str = ""
    voxels: tuple[str, ...] = ()


def grids_text(looks: Sequence[Look]) -> str | None:
    """Return one line where the scans of a study have different grids, the most frequent first."""
    counts = Counter(look.grid for look in looks if look.grid)
    if len(counts) < 2:
        return None
    first = {grid: next(look.name for look in looks if look.grid == grid) for grid in counts}
    listed = [
        f"{grid} ({count} scan{'s' if count > 1 else ''}, such as {first[grid]})"
        for grid, count in counts.most_common(_GRIDS_SHOWN)
    ]
    rest = f"; and {len(counts) - _GRIDS_SHOWN} more" if len(counts) > _GRIDS_SHOWN else ""
    return f"the scans have {len(counts)} grids: {'; '.join(listed)}{rest}"


def grid_text(shape: Sequence[int] | None, affine: Sequence[Sequence[float]] | None) -> str:
    """Return shape, spacing and orientation as ``Look.grid`` has them; empty where they are not known."""
    if shape is None or affine is None:
        return ""
    matrix = np.array(affine)
    sides = " x ".join(map(str, shape))
    spacing = " x ".join(f"{size:.3g}" for size in np.linalg.norm(matrix[:3, :3], axis=0))
    codes = "".join(code or "?" for code in nib.orientations.aff2axcodes(matrix))
    return f"{sides} voxels of {spacing} mm, {codes}"


def joined_digest(digests: Sequence[str]) -> str:
    """Return one SHA-256 for those of the files that an image consists of; the one there is of a single file."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
