"""A relevance map over its scan as an ipyniivue widget, to turn and to click through in a notebook."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from ..errors import InputError
from .mapvolumes import Array, Convention, MapVolumes, map_volumes

if TYPE_CHECKING:
    from ipyniivue import NiiVue

__all__ = ["map_widget"]

_EXACT = 1 - 1e-6  # a voxel at the threshold is shown, as in the figure; NiiVue compares in float32
# NiiVue's own tables that are most like those of the report: dark red to yellow, blue to cyan. Tables of ours would
# have to be sent after the widget stands on the page; until then, and on a page that is opened again, the map would be
# grey on grey.
_FOR, _AGAINST = "redyell", "blue2cyan"


def map_widget(
    relevance: nib.Nifti1Image,
    scan: nib.Nifti1Image | None,
    *,
    cut: tuple[float, float, float] | None = None,
    threshold: float = 95,
    limit: float = 99.9,
    convention: Convention = "neurological",
    height: int = 400,
) -> NiiVue:
    """Return a widget that shows a map over its scan in three linked planes; the key V goes on to 3D and single planes.

    The last of ``widget.volumes`` is the map: its ``cal_min`` is the absolute relevance below which nothing is drawn,
    its ``cal_max`` the one at which the colours end. Both can be set at any time.

    Args:
        relevance: [D, H, W], or with channels (they are added up). Warm colours are relevance for the output, cold ones
            against it.
        scan: On the same grid; None: the map over black.
        cut: Where the planes meet first, mm in the scan's world (RAS+); None: at the largest absolute relevance.
        threshold: Percentile of the absolute relevance, among voxels where it is not zero, below which nothing is
            drawn, in [0, 100).
        limit: Percentile of the same at which the colours end, above ``threshold``.
        convention: Side of the picture on which the patient's left lies: left, or right for ``"radiological"``.
        height: Pixels on the page.

    Raises:
        InputError: ipyniivue is not installed, the scan lies on another grid, ``cut`` outside of it, the percentiles
            are not in order, or the map holds NaN or infinities.
    """
    try:
        from ipyniivue import ColormapType, NiiVue, SliceType
    except ImportError as error:
        raise InputError(
            "view() needs ipyniivue, which is not installed. Install it and start the notebook again: "
            "pip install 'xai-core[notebook]'; or use plot()."
        ) from error

    shown = map_volumes(relevance, scan, cut=cut, threshold=threshold, limit=limit, convention=convention)
    widget = NiiVue(
        height=height,
        slice_type=SliceType.MULTIPLANAR,
        is_radiological_convention=convention == "radiological",
        show_all_orientation_markers=True,
        multiplanar_pad_pixels=24,  # else the letters of one plane stand beside those of the next
        crosshair_color=(0.3, 0.9, 0.4, 0.8),  # a colour that no relevance has
        crosshair_width_unit="mm",
        is_nearest_interpolation=True,  # between two voxels there is no relevance to show
        is_colorbar=True,
        drag_and_drop_enabled=False,  # a file dropped by mistake would take the place of the scan
        scroll_requires_focus=True,  # scrolling the page must not turn the slices
    )
    widget.load_volumes([_scan(shown), _relevance(shown, ColormapType.ZERO_TO_MAX_TRANSPARENT_BELOW_MIN)])
    widget.scene.crosshair_pos = [float(x) for x in (np.array(shown.index) + 0.5) / shown.values.shape]
    return widget


def _scan(shown: MapVolumes) -> dict[str, Any]:
    grey = np.zeros_like(shown.values) if shown.grey is None else np.nan_to_num(shown.grey)
    low, high = _window(grey)
    return {
        "name": "scan.nii.gz",
        "data": _file(grey, shown.affine),
        "colormap": "gray",
        "cal_min": low,
        "cal_max": high,
        "colorbar_visible": False,
    }


def _relevance(shown: MapVolumes, transparent_below: Any) -> dict[str, Any]:
    return {
        "name": "relevance.nii.gz",
        "data": _file(shown.values, shown.affine),
        "colormap": _FOR,
        "colormap_negative": _AGAINST,
        "colormap_type": transparent_below,  # from zero on: a colour keeps its meaning when the threshold moves
        "cal_min": shown.low * _EXACT or 1e-9,
        "cal_max": shown.high or 1.0,
    }


def _window(grey: Array) -> tuple[float, float]:
    """Return where grey begins and ends: what is brighter than the background, without its extremes."""
    inside = grey[grey > grey.min()]
    if not inside.size:
        return 0.0, 1.0
    low, high = np.percentile(inside, [2, 99.5])
    return float(low if low < high else grey.min()), float(high)


def _file(data: Array, affine: Array) -> bytes:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    buffer = io.BytesIO()
    image.to_file_map({"image": nib.FileHolder(fileobj=buffer), "header": nib.FileHolder(fileobj=buffer)})
    return gzip.compress(buffer.getvalue(), compresslevel=4, mtime=0)
