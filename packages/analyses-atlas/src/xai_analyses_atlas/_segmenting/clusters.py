"""What was segmented: clusters of voxels, counted and measured, by region where an atlas is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .._grids import Grid

if TYPE_CHECKING:
    from .._atlases import Placed

__all__ = ["Clusters", "by_region", "find_clusters"]

_TOUCHING = np.ones((3, 3, 3), dtype=bool)  # 26 neighbours: faces, edges and corners


@dataclass(frozen=True)
class Clusters:
    """Voxels above a threshold that touch each other by faces, edges or corners.

    Attributes:
        labels: int32 [D, H, W]: 0, or the number of a voxel's cluster.
        sizes: Voxels of each cluster, int64 [N].
        voxel: Volume of a voxel in mm3.
        removed: Clusters that were too small.
    """

    labels: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]
    voxel: float
    removed: int

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The voxels of all clusters."""
        return np.asarray(self.labels > 0)

    def row(self) -> dict[str, Any]:
        """Return number, volume in mm3 and largest cluster in mm3."""
        return {
            "clusters": len(self.sizes),
            "volume": round(float(self.sizes.sum()) * self.voxel, 6),
            "largest": round(float(self.sizes.max(initial=0)) * self.voxel, 6),
            "removed": self.removed,
        }


def find_clusters(probabilities: npt.NDArray[np.float32], grid: Grid, threshold: float, smallest: float) -> Clusters:
    """Return the clusters of a probability map.

    Args:
        probabilities: [D, H, W].
        grid: Where they lie.
        threshold: A voxel belongs to a cluster where it is above.
        smallest: Clusters of a smaller volume, in mm3, are left out.
    """
    voxel = float(abs(np.linalg.det(grid.affine[:3, :3])))
    found, count = ndimage.label(probabilities > threshold, structure=_TOUCHING, output=np.int32)
    sizes = np.bincount(found.ravel(), minlength=count + 1)[1:]
    kept = sizes * voxel >= smallest - 1e-6 * voxel
    numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
    return Clusters(numbers[found], sizes[kept].astype(np.int64), voxel, int(count - kept.sum()))


def by_region(clusters: Clusters, placed: Placed) -> list[dict[str, Any]]:
    """Return a row for each region of an atlas, and one (index 0) for what lies in none.

    The volume of a region is that of the voxels in its mask. A cluster is counted once, where most of its voxels are;
    of regions with equally many, the first.

    Args:
        clusters: On some grid.
        placed: The atlas on the same grid.
    """
    inside = clusters.labels > 0
    region = placed.winners[inside].astype(np.int64) + 1  # 0: in no region
    label = clusters.labels[inside].astype(np.int64) - 1
    count = len(placed.regions) + 1
    table = np.bincount(label * count + region, minlength=len(clusters.sizes) * count).reshape(-1, count)
    ranked = np.concatenate([table[:, 1:], table[:, :1]], axis=1)  # a region goes before none
    home = (np.argmax(ranked, axis=1) + 1) % count
    owned, voxels = np.bincount(home, minlength=count), table.sum(axis=0)
    sizes = np.bincount(placed.winners.ravel().astype(np.int64) + 1, minlength=count)
    names: list[Mapping[str, Any]] = [{"index": 0, "region": "(outside of the atlas)", "hemisphere": None}]
    names += [{"index": r.index, "region": r.name, "hemisphere": r.hemisphere} for r in placed.regions]
    order = [*range(1, count), 0]
    return [
        {
            **names[k],
            "clusters": int(owned[k]),
            "volume": round(float(voxels[k]) * clusters.voxel, 6),
            "region_volume": round(float(sizes[k]) * clusters.voxel, 6) if k else None,
        }
        for k in order
    ]
