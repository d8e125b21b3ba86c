"""What every trainer promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from xai_core.testing import TrainerConformance


class TestLightning(TrainerConformance):
    name = "lightning"
    params: ClassVar[Mapping[str, Any]] = {"epochs": 2}


class TestScored(TrainerConformance):
    name = "lightning"
    params: ClassVar[Mapping[str, Any]] = {"epochs": 2, "calibration": "temperature", "bias_correction": "cole"}
