"""Every transform under the conformance kit; those of confounds have files of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchio as tio

from xai_core import registry
from xai_core.testing import TransformConformance

NEEDED: dict[str, dict[str, Any]] = {
    "blur": {"std": 2},
    "brain-extraction": {"method": "mask"},
    "clamp": {"out_min": 0.2},
    "crop": {"cropping": [1, 2, 3]},
    "crop-or-pad": {"target_shape": [20, 32, 26]},
    "n4-bias-correction": {"iterations": [5, 5]},
    "pad": {"padding": 2},
    "random-elastic-deformation": {"num_control_points": 5},
    "resize": {"target_shape": [20, 30, 22]},
    "smooth": {"fwhm": 6},
    "to-orientation": {"orientation": "ILP"},
}
# A way from MNI space to the scan with all that an affine can hold.
TO_SCAN = np.array([[1.1, 0.2, -0.1, 8], [-0.15, 0.95, 0.3, -5], [0.1, -0.2, 1.05, 12], [0, 0, 0, 1]])
ELSEWHERE = {"harmonize", "residualize"}
NAMES = [info.name for info in registry.infos("transform") if info.package == "xai-datasets-mri"]
NAMES = [name for name in NAMES if name not in ELSEWHERE]


class _Masked(TransformConformance):
    def subject(self) -> tio.Subject:
        subject = super().subject()
        brain = torch.zeros_like(subject["image"].data, dtype=torch.uint8)
        brain[:, 4:-2, 3:-3, 2:-2] = 1
        subject.add_image(tio.LabelMap(tensor=brain, affine=subject["image"].affine), "mask")
        return subject


class _Registered(TransformConformance):
    """What registers is replaced by a known result; tests of registration have a file of their own."""

    @pytest.fixture(autouse=True)
    def _known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from xai_datasets_mri import _registration

        monkeypatch.setattr(_registration, "ENGINES", {"simpleitk": lambda *_: TO_SCAN})
        monkeypatch.setattr(_registration, "_check_match", lambda *_: None)


SUITES = {"brain-extraction": _Masked, "register-to-mni": _Registered}

for _name in NAMES:
    _class = "Test" + _name.title().replace("-", "")
    _suite = SUITES.get(_name, TransformConformance)
    globals()[_class] = type(_class, (_suite,), {"name": _name, "params": NEEDED.get(_name, {})})


def test_all_are_covered() -> None:
    assert len(NAMES) == 28
    assert set(NEEDED) <= set(NAMES)
    assert set(SUITES) <= set(NAMES)
