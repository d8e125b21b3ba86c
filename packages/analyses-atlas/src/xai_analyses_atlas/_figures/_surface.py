"""A map on the surface of the cortex."""

from __future__ import annotations

import warnings
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from .._grids import Grid
from ._style import DIVERGING, ZERO, styled, title

__all__ = ["surface", "surface_values"]

Array = npt.NDArray[Any]

# mm. In fsaverage5 the vertices below are one patch on each side, which is the medial wall; cortex is thicker.
_THINNEST = 1.0
# Hemisphere, side from which it is seen (sign of x), title.
_VIEWS = (
    ("left", -1, "left, lateral"),
    ("left", 1, "left, medial"),
    ("right", -1, "right, medial"),
    ("right", 1, "right, lateral"),
)


def surface_values(volume: Array, grid: Grid) -> dict[str, Array]:
    """Return the means of a map through the cortex at the vertices of fsaverage5.

    nilearn's ``vol_to_surf`` between the pial and the white surface, linear. The surface is nilearn's, which ships
    with it. It is that of fsaverage (MNI305), whose cortex lies up to some millimetres away from that of the MNI152
    template (Wu et al., Human Brain Mapping 2018): right for a picture, not for statistics. The medial wall has no
    cortex: what lies there (corpus callosum, ventricles, thalamus) must not look as if it were on the surface.

    Args:
        volume: [D, H, W], in MNI space.
        grid: Of ``volume``.

    Returns:
        ``"left"`` and ``"right"``: float64 [10242]; NaN on the medial wall and where the volume does not reach.
    """
    from nilearn.datasets import load_fsaverage, load_fsaverage_data
    from nilearn.surface import vol_to_surf

    image = nib.Nifti1Image(np.asarray(volume, np.float32), grid.affine)
    mesh, thickness = load_fsaverage("fsaverage5"), load_fsaverage_data("fsaverage5", data_type="thickness")
    found = {}
    for side in ("left", "right"):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Mean of empty slice")  # a vertex outside: NaN, as documented
            values = vol_to_surf(image, mesh["pial"].parts[side], inner_mesh=mesh["white_matter"].parts[side])
        cortex = np.asarray(thickness.data.parts[side]) >= _THINNEST
        found[side] = np.where(cortex, np.asarray(values, np.float64), np.nan)
    return found


@styled
def surface(
    volume: Array,
    grid: Grid,
    *,
    value_label: str,
    heading: str,
    limit: float | None = None,
    threshold: float = 0.0,
) -> Figure:
    """Draw a map in MNI space on the inflated cortex of fsaverage5: both sides of each hemisphere.

    Structures below the cortex (hippocampus, amygdala, ventricles) are not on it: see ``glass_brain``.

    Args:
        volume: [D, H, W], finite.
        grid: Of ``volume``, in MNI space.
        value_label: Beside the colours, with the unit.
        heading: Title; lines end with a line feed.
        limit: |value| where colours end; None: the largest on the surface.
        threshold: |value| below it is not drawn.
    """
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    values = surface_values(volume, grid)
    mesh, depth = load_fsaverage("fsaverage5")["inflated"], load_fsaverage_data("fsaverage5", data_type="sulcal")
    strongest = max((float(np.nanmax(np.abs(part))) for part in values.values() if np.isfinite(part).any()), default=0)
    reach = limit or strongest or 1.0
    figure = Figure(figsize=(9.5, 7.2), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    for axis, (side, sign, name) in zip(axes, _VIEWS, strict=True):
        part = mesh.parts[side]
        _hemisphere(axis, part, values[side], np.asarray(depth.data.parts[side]), sign, reach, threshold)
        axis.set_title(name, fontsize=9, loc="center")
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(-reach, reach), DIVERGING)
    figure.colorbar(scale, ax=list(axes), shrink=0.5, aspect=18, label=value_label,
                    extend="both" if strongest > reach else "neither")  # fmt: skip
    title(figure, [*heading.split("\n"), "" if volume.any() else ZERO])
    return figure


def _hemisphere(axis: Axes, part: Any, values: Array, depth: Array, sign: int, reach: float, threshold: float) -> None:
    """Draw the faces that look towards the viewer, the farthest first."""
    points, faces = np.asarray(part.coordinates, np.float64), np.asarray(part.faces)
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = sign * normals[:, 0] / np.linalg.norm(normals, axis=1)
    seen = np.flatnonzero(facing > 0)
    seen = seen[np.argsort(sign * corners[seen].mean(axis=1)[:, 0], kind="stable")]
    grey = np.where(depth[faces[seen]].mean(axis=1) > 0, 0.62, 0.8)
    found = values[faces[seen]].mean(axis=1)  # NaN where a corner is outside of the volume
    colours = mpl.colormaps[DIVERGING]((found / reach + 1) / 2)[:, :3]
    drawn = np.isfinite(found) & (np.abs(found) >= threshold) & (found != 0)
    mixed = np.where(drawn[:, None], colours, grey[:, None])
    light = (0.55 + 0.45 * facing[seen])[:, None]
    flat = corners[seen][:, :, 1:] * np.array([float(sign), 1.0])  # the viewer's right
    collection = PolyCollection(
        list(flat), facecolors=mixed * light, linewidths=0, antialiased=False
    )  # smooth edges leave seams
    collection.set_rasterized(True)  # ten thousand triangles would make a slow SVG file
    axis.add_collection(collection)
    axis.autoscale_view()
    axis.set_aspect("equal")
    axis.set_axis_off()
