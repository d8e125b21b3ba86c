"""Tables, sidecars and volumes as they are written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pandas as pd

from .._grids import Grid

__all__ = ["stem_of", "write_json", "write_table", "write_volume"]


def stem_of(*parts: str) -> str:
    """Return a file name's stem of names that may hold any characters."""
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) for part in parts)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as TSV; what is not known is n/a."""
    text = str(table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    path.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a sidecar; every number must be finite."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="")


def write_volume(path: Path, volume: npt.NDArray[Any], grid: Grid, *, mni: bool) -> None:
    """Write a volume [D, H, W] as NIfTI: float32, or uint8 where it is bool."""
    data = volume.astype(np.uint8 if volume.dtype == bool else np.float32)
    image = nib.Nifti1Image(data, grid.affine)
    code = "mni" if mni else "aligned"
    image.set_sform(grid.affine, code)
    image.set_qform(grid.affine, code)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
