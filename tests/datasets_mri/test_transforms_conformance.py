"""Every transform under the conformance kit."""

from __future__ import annotations

from typing import Any

from xai_core import registry
from xai_core.testing import TransformConformance

NEEDED: dict[str, dict[str, Any]] = {
    "blur": {"std": 2},
    "clamp": {"out_min": 0.2},
    "crop": {"cropping": [1, 2, 3]},
    "crop-or-pad": {"target_shape": [20, 32, 26]},
    "pad": {"padding": 2},
    "random-elastic-deformation": {"num_control_points": 5},
    "resize": {"target_shape": [20, 30, 22]},
    "to-orientation": {"orientation": "ILP"},
}
NAMES = [info.name for info in registry.infos("transform") if info.package == "xai-datasets-mri"]

for _name in NAMES:
    _class = "Test" + _name.title().replace("-", "")
    globals()[_class] = type(_class, (TransformConformance,), {"name": _name, "params": NEEDED.get(_name, {})})


def test_all_are_covered() -> None:
    assert len(NAMES) == 20
    assert set(NEEDED) <= set(NAMES)
