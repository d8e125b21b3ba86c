"""The dataset under the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np

from xai_core.testing import DatasetConformance


class TestParticipants(DatasetConformance):
    name = "participants"
    params: ClassVar[Mapping[str, Any]] = {"table": "study.tsv", "image": "scan", "target": "dx"}

    def make(self, folder: Path) -> Mapping[str, Any]:
        rows = ["participant_id\tscan\tdx"]
        for number in range(4):
            nib.Nifti1Image(np.ones((3, 4, 5), dtype=np.float32), np.eye(4)).to_filename(folder / f"{number}.nii")
            rows.append(f"{number}\t{number}.nii\t{'CN' if number % 2 else 'AD'}")
        (folder / "study.tsv").write_text("\n".join(rows))
        return {**self.params, "table": str(folder / "study.tsv")}

    def break_one(self, folder: Path) -> tuple[Mapping[str, Any], str]:
        params = self.make(folder)
        (folder / "2.nii").unlink()
        return params, "row 4"
