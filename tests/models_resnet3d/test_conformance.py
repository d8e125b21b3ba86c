"""The component keeps the contract of a model."""

from __future__ import annotations

from xai_core.testing import ModelConformance


class TestResNet3D(ModelConformance):
    name = "resnet3d"
    params = {"depth": 10, "width": 4}  # noqa: RUF012


class TestDilatedBottlenecks(ModelConformance):
    name = "resnet3d"
    params = {"depth": 50, "width": 2, "shortcut": "A", "dilated": True}  # noqa: RUF012
    channels = 2
