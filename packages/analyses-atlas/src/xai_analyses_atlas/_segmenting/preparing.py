"""A scan as a network wants it, and what the network says back on the grid of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xai_core import InputError

from .._grids import Grid, resampled, resampled_labels, turned_like
from .._maps import read_image, require_finite
from .brain import brain_mask

if TYPE_CHECKING:
    from pathlib import Path

    from .scans import Scan

__all__ = ["Normalisation", "Prepared", "Recipe", "normalised", "on_scan", "prepare"]

Array = npt.NDArray[Any]
Normalisation = Literal["percentile", "z-score", "min-max", "none"]

# Voxels whose sides differ from the network's by less than this share are taken as they are.
_SAME_SPACING = 0.01
# Above this share of the brain outside of the box something is wrong: the spacing, the mask or the size.
_MOST_CUT = 0.1


@dataclass(frozen=True)
class Recipe:
    """How a network wants its input. The defaults are those of SHIVA-PVS (T1w, ``--size`` 160 x 214 x 176).

    Attributes:
        size: (D, H, W) in voxels.
        spacing: Side of a voxel in mm.
        orientation: Directions in which the axes of the volume run, such as ``RAS``.
        normalisation: ``"percentile"``: negative values become 0, and ``percentile`` of the brain times ``ceiling``
            becomes 1, as does what is above; ``"min-max"``: the brain's range becomes 0..1, and what is beyond is
            clipped; ``"z-score"``: mean 0 and standard deviation 1 in the brain; ``"none"``.
        percentile: Of the values inside the brain.
        ceiling: 1: the percentile itself becomes 1. SHiVAi, the authors' later pipeline, has 1.3.
        masked: Whether voxels outside of the brain are set to 0 after the normalisation.
    """

    size: tuple[int, int, int] = (160, 214, 176)
    spacing: float = 1.0
    orientation: str = "RAS"
    normalisation: Normalisation = "percentile"
    percentile: float = 99.0
    ceiling: float = 1.0
    masked: bool = False


@dataclass(frozen=True)
class Prepared:
    """A scan as the network gets it.

    Attributes:
        volume: float32 [C, D, H, W].
        box: Its grid, in the scan's world coordinates.
        scan: Grid of the first image.
        brain: bool, on the grid of the first image.
        cut: Share of the brain that lies outside of the box, 0..1.
    """

    volume: npt.NDArray[np.float32]
    box: Grid
    scan: Grid
    brain: npt.NDArray[np.bool_]
    cut: float


def prepare(scan: Scan, recipe: Recipe) -> Prepared:
    """Return a scan turned, resampled, cut out around its brain's centre and normalised.

    As in SHiVAi (github.com/pboutinaud/SHiVAi) the box is centred on the brain mask's centre of mass, rounded up to a
    voxel, and what it has beyond the scan is 0. Voxels of the right size are not interpolated; others are by cubic
    splines, within the range of the scan.

    Raises:
        InputError: An image cannot be read, has channels or values that are not finite, or does not show the brain.
    """
    first, grid = _read(scan.images[0])
    brain = brain_mask(scan, first, grid)
    target = _target(grid, recipe)
    mask = resampled_labels(brain.astype(np.uint8), grid, target) > 0
    if not mask.any():
        raise InputError(f"The brain mask has no voxel on the grid of {recipe.spacing:g} mm.")
    start = np.ceil(ndimage.center_of_mass(mask)).astype(int) - np.asarray(recipe.size) // 2
    box = Grid(recipe.size, target.affine @ _moved(start))
    inside = resampled_labels(mask.astype(np.uint8), target, box) > 0
    cut = 1 - float(inside.sum()) / float(mask.sum())
    if cut > _MOST_CUT:
        raise InputError(
            f"{cut:.0%} of the brain lies outside of the box of {' x '.join(map(str, recipe.size))} voxels of "
            f"{recipe.spacing:g} mm. Look at the brain mask, at the scan's voxel size, and at --size and --spacing."
        )
    volumes = [_in_box(first, grid, box)]
    volumes += [_channel(path, box, inside) for path in scan.images[1:]]
    channels = [normalised(values, inside, recipe) for values in volumes]
    return Prepared(np.stack(channels).astype(np.float32), box, grid, brain, cut)


def _channel(path: Path, box: Grid, brain: npt.NDArray[np.bool_]) -> Array:
    values, grid = _read(path)
    missed = 1 - float(resampled_labels(np.ones(grid.shape, np.uint8), grid, box)[brain].mean())
    if missed > _MOST_CUT:
        raise InputError(f"{path} does not show {missed:.0%} of the brain. Is it registered to the first image?")
    return _in_box(values, grid, box)


def _read(path: Path) -> tuple[Array, Grid]:
    values, grid = read_image(path)
    if values.ndim != 3:
        raise InputError(f"{path} has the shape {values.shape}; one volume is needed. Give channels as files.")
    require_finite(values, str(path))
    return values, grid


def _target(grid: Grid, recipe: Recipe) -> Grid:
    """Return the scan's grid with the network's order of axes and size of voxels, about the same centre."""
    codes = nib.orientations.axcodes2ornt(recipe.orientation)
    like = Grid(grid.shape, nib.orientations.inv_ornt_aff(codes, grid.shape))
    _, turned = turned_like(np.broadcast_to(np.uint8(0), grid.shape), grid, like)
    sides = np.asarray(turned.spacing)
    if np.all(np.abs(sides - recipe.spacing) <= _SAME_SPACING * recipe.spacing):
        return turned
    a, b, c = (
        max(1, int(np.ceil(n * side / recipe.spacing - 1e-6))) for n, side in zip(turned.shape, sides, strict=True)
    )
    affine = turned.affine.copy()
    affine[:3, :3] *= recipe.spacing / sides
    centre = turned.affine @ np.append((np.asarray(turned.shape) - 1) / 2, 1)
    affine[:3, 3] = centre[:3] - affine[:3, :3] @ ((np.asarray((a, b, c)) - 1) / 2)
    return Grid((a, b, c), affine)


def _moved(start: Array) -> Array:
    shift = np.eye(4)
    shift[:3, 3] = start
    return shift


def _in_box(values: Array, grid: Grid, box: Grid) -> Array:
    """Return an image on the box, float64, 0 beyond the image; exact where the box's voxels are the image's."""
    mapping = np.linalg.inv(grid.affine) @ box.affine
    whole = np.round(mapping)
    exact = bool(np.abs(mapping - whole).max() < 1e-4)
    mapping = whole if exact else mapping
    found: Array = ndimage.affine_transform(
        values,
        mapping[:3, :3],
        mapping[:3, 3],
        output_shape=box.shape,
        order=0 if exact else 3,
        mode="grid-constant",
        cval=0.0,
    )
    return found if exact else np.clip(found, min(values.min(), 0.0), max(values.max(), 0.0))


def normalised(values: Array, brain: npt.NDArray[np.bool_], recipe: Recipe) -> Array:
    """Return the values [D, H, W] of one channel as the network wants them.

    Args:
        values: As in the scan.
        brain: bool [D, H, W], with at least one voxel.
        recipe: See there.

    Raises:
        InputError: The brain has one value only, or its percentile is not above 0.
    """
    inner = values[brain]
    found = values
    if recipe.normalisation == "percentile":
        top = float(np.percentile(np.maximum(inner, 0), recipe.percentile)) * recipe.ceiling
        if top <= 0:
            raise InputError(f"Percentile {recipe.percentile:g} of the brain is 0. Is the mask the brain's?")
        found = np.clip(values, 0, top) / top
    elif recipe.normalisation == "min-max":
        low, high = float(inner.min()), float(inner.max())
        _require_range(low, high)
        found = (np.clip(values, low, high) - low) / (high - low)
    elif recipe.normalisation == "z-score":
        _require_range(float(inner.min()), float(inner.max()))
        found = (values - inner.mean()) / inner.std()
    return np.where(brain, found, 0.0) if recipe.masked else found


def _require_range(low: float, high: float) -> None:
    if high <= low:
        raise InputError(f"All voxels of the brain have the value {low:g}. Is the image empty, or the mask another's?")


def on_scan(probabilities: npt.NDArray[np.float32], prepared: Prepared) -> npt.NDArray[np.float32]:
    """Return what the network says on the grid of the scan, 0 outside of the brain and of the box.

    Voxels that were not interpolated on the way in come back exactly; others are interpolated linearly, or averaged
    where those of the scan are larger, and stay within 0..1.

    Args:
        probabilities: [D, H, W] in the box.
        prepared: Where the box lies.
    """
    back = np.clip(resampled(probabilities, prepared.box, prepared.scan), 0, 1)
    return np.where(prepared.brain, back, 0).astype(np.float32)
