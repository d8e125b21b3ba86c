"""The output as a BIDS derivative: each person's files whole or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from xai_core.engine.units import write_text

from .scans import Scan

__all__ = ["Files", "describe", "files_of", "finished", "save"]

TABLES = ("segmentation.tsv", "regions.tsv", "failed.tsv")


class Files:
    """Where the files of a scan lie.

    Args:
        root: The derivative's folder.
        scan: Whose.
        label: What is segmented, ``PVS``.
    """

    def __init__(self, root: Path, scan: Scan, label: str) -> None:
        head, desc, tail = scan.name.partition("_desc-")  # BIDS has desc behind label
        stem = f"{head}_label-{label}{desc}{tail}"
        self.folder = root / scan.folder
        self.probabilities = self.folder / f"{stem}_probseg.nii.gz"
        self.mask = self.folder / f"{stem}_mask.nii.gz"
        self.about = self.folder / f"{stem}_probseg.json"
        self.mask_about = self.folder / f"{stem}_mask.json"

    def all(self) -> tuple[Path, ...]:
        """In the order in which they are put in place: what readers look for comes last."""
        return self.about, self.mask_about, self.mask, self.probabilities


def files_of(root: Path, scan: Scan, label: str) -> Files:
    """Return where the files of a scan lie below ``root``."""
    return Files(root, scan, label)


def finished(files: Files, key: str) -> dict[str, Any] | None:
    """Return what is known of a scan that was segmented with this key, or None."""
    if not all(path.is_file() for path in files.all()):
        return None
    try:
        about = json.loads(files.about.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) and about.get("key") == key else None


def save(
    files: Files,
    scan: Scan,
    probabilities: npt.NDArray[np.float32],
    mask: npt.NDArray[np.bool_],
    about: Mapping[str, Any],
    threshold: float,
) -> None:
    """Write a scan's files aside and put them in place.

    Args:
        files: Where they go.
        scan: Whose header says where the voxels lie.
        probabilities: [D, H, W] on the scan's grid.
        mask: The same shape.
        about: Sidecar of the probabilities; holds ``key``.
        threshold: That made the mask.
    """
    files.folder.mkdir(parents=True, exist_ok=True)
    header: Any = nib.load(scan.images[0])
    with tempfile.TemporaryDirectory(prefix=f".{scan.name}-", dir=files.folder) as name:
        aside = Path(name)
        nib.save(_image(probabilities, header, np.float32), aside / files.probabilities.name)
        nib.save(_image(mask, header, np.uint8), aside / files.mask.name)
        _json(aside / files.about.name, about)
        sources = [f"bids::{files.probabilities.relative_to(files.folder.parents[_depth(scan)]).as_posix()}"]
        more = {"Type": "Lesion", "RawSources": about["RawSources"], "Sources": sources, "threshold": threshold}
        _json(aside / files.mask_about.name, more)
        files.probabilities.unlink(missing_ok=True)
        for path in files.all():
            (aside / path.name).replace(path)


def _depth(scan: Scan) -> int:
    return len(scan.folder.parts) - 1


def _image(values: npt.NDArray[Any], like: Any, dtype: type) -> nib.Nifti1Image:
    """Return an image in the place of another, with its codes of qform and sform."""
    image = nib.Nifti1Image(values.astype(dtype), like.affine)
    image.header.set_xyzt_units("mm")
    codes = [int(like.header[key]) for key in ("sform_code", "qform_code")] if "sform_code" in like.header else [0, 0]
    if any(codes):
        image.set_sform(like.get_sform() if codes[0] else None, codes[0])
        image.set_qform(like.get_qform() if codes[1] else None, codes[1])
    return image


def _json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="")


def describe(root: Path, label: str, networks: Sequence[Path]) -> None:
    """Write the description of the derivative, and tell BIDS validators of the tables that are not BIDS'."""
    about = {
        "Name": f"Segmentation of {label}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "xai segment",
                "Version": version("xai-analyses-atlas"),
                "Description": f"{len(networks)} networks: {', '.join(path.name for path in networks)}",
            }
        ],
    }
    write_text(root / "dataset_description.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    write_text(root / ".bidsignore", "".join(f"{name}\n" for name in TABLES))
