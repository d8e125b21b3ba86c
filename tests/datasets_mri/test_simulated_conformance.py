"""The built-in cohort under the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from xai_core.testing import DatasetConformance
from xai_datasets_mri.simulated import SimulatedAtrophy


class TestSimulatedAtrophy(DatasetConformance):
    name = "simulated-atrophy"
    params: ClassVar[Mapping[str, Any]] = {"subjects": 4, "resolution": 8}

    def make(self, folder: Path) -> Mapping[str, Any]:
        return {**self.params, "folder": str(folder)}

    def break_one(self, folder: Path) -> tuple[Mapping[str, Any], str]:
        params = self.make(folder)
        dataset = SimulatedAtrophy(**params)
        dataset.subjects()
        (dataset.cohort_folder / "sub-003/anat/sub-003_T1w.nii.gz").unlink()
        return params, "row 4"
