"""Where a scan of somebody's own lies: whether its coordinates may be called MNI, and regions be named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

__all__ = ["grid_of", "placed"]

_MNI_CODE = 4  # of NIfTI's sform_code
_ELSEWHERE = (
    "The file does not say that it lies in the space of the study's scans (another grid, and no MNI code in its "
    "header). The network takes its coordinates as they are. Regions are not named here: they could be wrong ones."
)
_REGISTERED = (
    "The scan was registered to MNI space within the run, once for each fold. Their mean is shown where the scan lies, "
    "and regions are not named. Take one fold to see them."
)


def grid_of(path: Path) -> dict[str, Any] | None:
    """Return shape and affine of an image, or None where it cannot be read."""
    try:
        image: Any = nib.load(path)
        return {"shape": [int(n) for n in image.shape[:3]], "affine": np.asarray(image.affine).tolist()}
    except Exception:  # whatever a reader raises: nothing is known of the place then
        return None


def placed(known: Mapping[str, Any], image: str, sidecar: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what the viewer is told of a scan's place, and warnings.

    Args:
        known: ``space`` (of the run's manifest: ``mni`` or ``scan``), ``grid`` (of one of its scans, or None),
            ``registers`` (whether scans are registered within the run) and ``own`` (whether the scan is none of its).
        image: The scan.
        sidecar: Of its map.

    Returns:
        ``space``, and ``atlas: False`` where regions cannot be named; ``to_mni`` where the run registers scans.
    """
    if "to_mni" in sidecar:
        return {"space": "mni", "to_mni": sidecar["to_mni"]}, []
    if known["registers"]:
        return {"space": "scan", "atlas": False}, [_REGISTERED]
    if not known["own"] or _same_grid(known["grid"], grid_of(Path(image))):
        return {"space": known["space"]}, []
    if known["space"] == "mni" and _says_mni(Path(image)):
        return {"space": "mni"}, []
    return {"space": "scan", "atlas": False}, [_ELSEWHERE]


def _says_mni(path: Path) -> bool:
    image: Any = nib.load(path)
    return isinstance(image, nib.Nifti1Image) and int(image.header["sform_code"]) == _MNI_CODE


def _same_grid(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    if one is None or other is None or one["shape"] != other["shape"]:
        return False
    return bool(np.allclose(one["affine"], other["affine"], atol=1e-3))
