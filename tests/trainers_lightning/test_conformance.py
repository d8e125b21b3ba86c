"""What every trainer promises."""

from __future__ import annotations

from xai_core.testing import TrainerConformance


class TestLightning(TrainerConformance):
    name = "lightning"
    params = {"epochs": 2, "early_stopping": None}  # noqa: RUF012
