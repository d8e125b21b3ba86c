"""Every component keeps the contract of a model."""

from __future__ import annotations

from xai_core.testing import ModelConformance


class TestAlexNet(ModelConformance):
    name = "singh2023-alexnet"


class TestVGG(ModelConformance):
    name = "singh2023-vgg"


class TestResNet(ModelConformance):
    name = "singh2023-resnet"


class TestDenseNet(ModelConformance):
    name = "singh2023-densenet"
    channels = 2


class TestDyrba2021(ModelConformance):
    name = "dyrba2021"
    channels = 2


class TestMRInet(ModelConformance):
    name = "mrinet"
    params = {"activation": "leaky-relu"}  # noqa: RUF012


class TestMRInetWithNormalisation(ModelConformance):
    name = "mrinet"
    params = {"batch_norm": True}  # noqa: RUF012
    channels = 2


class TestSFCN(ModelConformance):
    name = "sfcn"
    params = {"filters": [4, 8, 8, 16, 16, 8]}  # noqa: RUF012
