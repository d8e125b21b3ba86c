"""Ablation of regions: of an atlas, or of supervoxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_core import Attribution, InputError
from xai_core.engine.background import background_value
from xai_core.engine.requests import as_attribution, explaining

from ._occlusion import drops
from ._occlusion_changes import Regions

__all__ = ["attribute", "labels_for", "read_atlas", "supervoxels"]


def attribute(
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    atlas: str | None,
    size: int,
    baseline: Callable[[Tensor], Tensor],
    max_batch: int,
) -> Attribution:
    """Return each region's drop at its voxels; see ``plugin_perturbation.FeatureAblation``.

    Args:
        model: See ``Explainer.explain``.
        volumes: See ``Explainer.explain``.
        target: See ``Explainer.explain``.
        atlas: File with the regions; None: supervoxels.
        size: Voxels along the edge of a supervoxel.
        baseline: Returns the baseline of volumes [N, C, D, H, W], of the same shape.
        max_batch: Volumes at once.
    """
    with explaining(model, volumes, target, gradients=False) as explained, torch.no_grad():
        inputs = explained.volumes.detach()
        start = baseline(inputs)
        maps, details = [], []
        for position in range(len(inputs)):
            one = slice(position, position + 1)
            regions = Regions(inputs[one], start[one], labels_for(inputs[one], atlas, size))
            found = drops(model, explained, position, regions, max_batch, "feature ablation")
            relevance = regions.spread(found.values).to(inputs.device, torch.float32)
            maps.append(relevance.expand(inputs.shape[1:]))
            details.append({"regions": len(found.values), **found.details, **_table(regions, found.values, atlas)})
        return as_attribution(explained, torch.stack(maps), details)


def _table(regions: Regions, values: Tensor, atlas: str | None) -> dict[str, Any]:
    """Return the drop of each region of an atlas; the numbers of supervoxels mean nothing."""
    if atlas is None:
        return {}
    rows = zip(regions.names, regions.voxels, values.tolist(), strict=True)
    return {"drops": [{"label": label, "voxels": voxels, "drop": drop} for label, voxels, drop in rows]}


def labels_for(volume: Tensor, atlas: str | None, size: int) -> Tensor:
    """Return the regions of a volume [1, C, D, H, W] as int64 [D, H, W] on its device, 0 for none.

    Raises:
        InputError: The atlas cannot be used; the volume has no foreground.
    """
    grid = tuple(volume.shape[2:])
    labels = supervoxels(volume, size) if atlas is None else read_atlas(Path(atlas), grid)
    return labels.to(volume.device)


def read_atlas(path: Path, grid: Sequence[int]) -> Tensor:
    """Return the labels of a file, int64 [D, H, W].

    Args:
        path: NIfTI or .npy.
        grid: The network's, which the file must have.

    Raises:
        InputError: It is missing, unreadable, on another grid, or no label image.
    """
    values = _read(path)
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.shape != tuple(grid):
        raise InputError(
            f"atlas {path} has the shape {list(values.shape)}, but the network sees volumes of {list(grid)} voxels, "
            "after preprocessing. An explainer does not know where these voxels lie in space, so it cannot resample "
            "an atlas: bring it to this grid as the scans were (nearest neighbour), and give that file."
        )
    if values.dtype == bool:
        values = values.astype(np.int64)
    if not np.issubdtype(values.dtype, np.number) or not bool((values == np.floor(values)).all()):
        raise InputError(
            f"atlas {path} holds values that are no whole numbers. Give a label image, one number a region."
        )
    if values.min() < 0 or values.max() < 1:
        raise InputError(
            f"atlas {path} holds the values {values.min():g} to {values.max():g}; regions are numbered from 1, and 0 "
            "is no region."
        )
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))


def _read(path: Path) -> np.ndarray[Any, Any]:
    if not path.is_file():
        raise InputError(f"atlas {path} does not exist. Give a label image, NIfTI or .npy, on the network's grid.")
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        import nibabel

        return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    except Exception as error:  # whatever the readers raise on a file that is something else
        raise InputError(
            f"atlas {path} cannot be read ({type(error).__name__}: {error}). Give a NIfTI or .npy file."
        ) from error


def supervoxels(volume: Tensor, size: int) -> Tensor:
    """Divide what is not background into connected pieces of similar intensity, about ``size`` voxels wide.

    Simple linear iterative clustering (Achanta et al., TPAMI 2012) of all channels at once by ITK. Intensities are
    brought to 0 to 100 (their 1st to 99th percentile), for which the paper's compactness of 10 is meant.

    Args:
        volume: [1, C, D, H, W].
        size: Voxels.

    Returns:
        int64 [D, H, W] on the CPU; 0 where all channels have the background's value. The same for the same volume.

    Raises:
        InputError: There is nothing but background.
    """
    import SimpleITK

    sitk: Any = SimpleITK  # not all of it has types
    head = (volume != background_value(volume)).any(dim=1)[0].cpu()
    if not bool(head.any()):
        raise InputError("All voxels of the volume have the same value, so it has no supervoxels.")
    channels = volume[0].cpu().double().numpy()
    low, high = np.percentile(channels[:, head.numpy()], [1, 99], axis=1)[:, :, None, None, None]
    scaled = np.clip((channels - low) / np.maximum(high - low, np.finfo(float).tiny), 0, 1) * 100
    clustering = sitk.SLICImageFilter()
    clustering.SetSuperGridSize([min(size, length) for length in volume.shape[2:][::-1]])  # ITK's axes are reversed
    clustering.SetSpatialProximityWeight(10.0)
    clustering.SetMaximumNumberOfIterations(10)
    clustering.SetNumberOfThreads(1)  # sums of several threads would not be the same twice
    image = sitk.GetImageFromArray(np.moveaxis(scaled, 0, -1).astype(np.float32), isVector=True)
    labels = torch.from_numpy(sitk.GetArrayFromImage(clustering.Execute(image)).astype(np.int64))
    return (labels + 1) * head
