"""What group maps are drawn over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from ._grids import Grid
from ._maps import read_image, require_finite
from ._mean import volume_on
from ._mosaic import Background

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["background_of", "mni_template"]

Array = npt.NDArray[Any]


class _Options(Protocol):
    """What an analysis says of its background."""

    @property
    def template(self) -> str:
        """``"mni"`` or ``"mean-image"``."""

    @property
    def resample(self) -> bool:
        """Whether scans of other grids are brought to that of the maps."""


def background_of(options: _Options, records: Sequence[MapRecord], grid: Grid | None) -> Background:
    """Return the template, or the mean of the scans of ``records`` on ``grid`` (None: the first scan's).

    Raises:
        InputError: A scan has no file, cannot be read, or lies on another grid.
    """
    return mni_template() if options.template == "mni" else _mean_image(records, grid, resample=options.resample)


@lru_cache(maxsize=1)
def mni_template() -> Background:
    """Return nilearn's ICBM152 T1 template without skull, 1 mm."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    data = np.asarray(image.dataobj, dtype=np.float32)
    shape = (int(data.shape[0]), int(data.shape[1]), int(data.shape[2]))
    return Background(data, Grid(shape, np.asarray(image.affine, dtype=np.float64)))


def _mean_image(records: Sequence[MapRecord], grid: Grid | None, *, resample: bool) -> Background:
    total: Array | None = None
    for record in records:
        if record.image is None:
            raise InputError(
                f"{record.scan_id} was not read from one file, so there is no mean image. Set template: mni."
            )
        data, found = read_image(record.image)
        require_finite(data, str(record.image))
        volume = data[..., 0] if data.ndim == 4 else data
        grid = grid or found
        volume = volume_on(_brightness(volume), found, grid, f"The scan {record.image}", resample=resample)
        total = volume if total is None else np.add(total, volume, out=total)
    if total is None or grid is None:
        raise ValueError("records is empty")
    return Background((total / len(records)).astype(np.float32), grid)


def _brightness(volume: Array) -> Array:
    """Bring a scan to 0..1, so that scanners with large numbers do not outshine the others."""
    low, high = (float(v) for v in np.percentile(volume, [1, 99.5]))
    return np.clip((volume - low) / (high - low), 0, 1) if high > low else np.zeros_like(volume)
