"""The volumes that stand for "nothing there": what a volume is compared with, for all explainers that need it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xai_core import ConfigError, InputError
from xai_core.engine.background import background_value

__all__ = ["baseline_volumes", "check_file"]

_NAMES = ("background", "minimum", "zero", "blurred", "controls")


def baseline_volumes(
    volumes: Tensor, baseline: str | float, *, controls: Tensor | None, file: str | None, sigma: float
) -> Tensor:
    """Return the baseline of each volume.

    Args:
        volumes: [N, C, D, H, W].
        baseline: ``"background"``: the value around the head, for each channel of each volume; ``"minimum"``: the
            least intensity of each channel; ``"zero"``; ``"blurred"``: the volume smoothed by a Gaussian;
            ``"controls"``: ``controls``; or an intensity. Not used where a ``file`` is given.
        controls: Mean of the healthy controls [C, D, H, W], or None where it is not known.
        file: NIfTI ([D, H, W] or [D, H, W, C]) or .npy ([D, H, W] or [C, D, H, W]), preprocessed as the volumes are
            and on their grid; None: ``baseline`` says what is taken.
        sigma: Standard deviation of the Gaussian of ``"blurred"`` in voxels, > 0.

    Returns:
        [N, C, D, H, W] on the device and of the type of the volumes; a view that must not be written to.

    Raises:
        InputError: The file cannot be read, is not finite or lies on another grid; the mean of the controls is asked
            for and not known or lies on another grid.
        ConfigError: There is no such baseline.
    """
    if file is not None:
        return _on_grid(_read(Path(file)), volumes, f"baseline_file {file}")
    if baseline == "controls":
        if controls is None:
            raise InputError(
                "baseline: controls needs the mean of the healthy controls, which is known only within a study that "
                "has a training part (xai run, or xai explain with its run folder). Give baseline_file, or another "
                "baseline such as background."
            )
        return _on_grid(controls, volumes, "the mean of the controls")
    if baseline == "blurred":
        return _blurred(volumes, sigma)
    return _constant(volumes, baseline)


def check_file(file: str | None, volumes: Tensor) -> None:
    """Refuse a baseline's file that cannot be one for volumes [N, C, D, H, W]; None: there is none.

    Raises:
        InputError: It cannot be read, is not finite or lies on another grid.
    """
    if file is not None:
        baseline_volumes(volumes, "zero", controls=None, file=file, sigma=1.0)


def _constant(volumes: Tensor, baseline: str | float) -> Tensor:
    if baseline == "background":
        return background_value(volumes).expand_as(volumes)
    if baseline == "minimum":
        return volumes.amin(dim=(2, 3, 4), keepdim=True).expand_as(volumes)
    if isinstance(baseline, str) and baseline != "zero":
        raise ConfigError(f"baseline: {baseline!r} is not one of {', '.join(_NAMES)} or a number.")
    return torch.zeros((), dtype=volumes.dtype, device=volumes.device).add(
        0.0 if baseline == "zero" else float(baseline)
    ).expand_as(volumes)  # fmt: skip


def _read(path: Path) -> Tensor:
    """Return the file's values, [D, H, W] or [C, D, H, W]."""
    if not path.is_file():
        raise InputError(f"baseline_file {path} does not exist. Give a NIfTI or .npy file on the network's grid.")
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False).astype(np.float32)
        else:
            import nibabel

            values = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)  # type: ignore[attr-defined]
            values = np.moveaxis(values, -1, 0) if values.ndim == 4 else values
    except Exception as error:  # whatever the readers raise on a file that is something else
        raise InputError(
            f"baseline_file {path} cannot be read ({type(error).__name__}: {error}). Give a NIfTI or .npy file."
        ) from error
    found = torch.from_numpy(np.ascontiguousarray(values))
    if not bool(torch.isfinite(found).all()):
        raise InputError(f"baseline_file {path} holds values that are NaN or infinite. Replace them.")
    return found


def _on_grid(values: Tensor, volumes: Tensor, what: str) -> Tensor:
    """Return ``values`` [D, H, W] or [C, D, H, W] for each of the volumes."""
    channels, grid = volumes.shape[1], tuple(volumes.shape[2:])
    shape = tuple(values.shape)
    if shape not in (grid, (1, *grid), (channels, *grid)):
        raise InputError(
            f"{what} has the shape {list(shape)}, but the network sees volumes of {channels} channel(s) on the grid "
            f"{list(grid)} (after preprocessing). Resample it to this grid."
        )
    return values.to(volumes).expand_as(volumes)


def _blurred(volumes: Tensor, sigma: float) -> Tensor:
    """Return the volumes smoothed along the three axes; beyond the border lies the outermost voxel's value."""
    blurred = volumes
    for axis in (2, 3, 4):
        # A product with a matrix needs no padded copy and no windows in memory, however wide the Gaussian is.
        smoothing = _smoothing(volumes.shape[axis], sigma).to(volumes)
        blurred = (blurred.transpose(axis, 4) @ smoothing.T).transpose(axis, 4)
    return blurred.contiguous()


def _smoothing(size: int, sigma: float) -> Tensor:
    """Return the matrix [size, size] of a Gaussian cut off at four standard deviations; its rows sum to 1."""
    reach = math.ceil(4 * sigma)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    columns = (torch.arange(size)[:, None] + offsets).clamp(0, size - 1)
    rows = (weights / weights.sum()).expand(size, -1)
    return torch.zeros(size, size, dtype=torch.float64).scatter_add_(1, columns, rows)
