"""The components keep the contract of a model."""

from __future__ import annotations

from xai_core.testing import ModelConformance


class TestResNetBasic(ModelConformance):
    name = "monai-resnet"
    params = {"depth": 10, "widen_factor": 0.125, "shortcut": "A"}  # noqa: RUF012


class TestResNetBottleneck(ModelConformance):
    name = "monai-resnet"
    params = {"depth": 50, "widen_factor": 0.0625, "bias_downsample": True}  # noqa: RUF012
    channels = 2


class TestDenseNet(ModelConformance):
    name = "monai-densenet"
    params = {"blocks": [2, 2, 2, 2], "growth_rate": 8, "init_features": 16}  # noqa: RUF012


class TestSENet(ModelConformance):
    name = "monai-senet"
    params = {"layers": [1, 1, 1, 1]}  # noqa: RUF012


class TestEfficientNet(ModelConformance):
    name = "monai-efficientnet"


class TestViT(ModelConformance):
    name = "monai-vit"
    params = {"patch_size": 8, "hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 4}  # noqa: RUF012


class TestClassifier(ModelConformance):
    name = "monai-classifier"
    params = {"channels": [4, 8, 16], "strides": [2, 2, 2]}  # noqa: RUF012


class TestRegressor(ModelConformance):
    name = "monai-regressor"
    params = {"channels": [4, 8, 16], "strides": [2, 2, 2], "norm": "batch"}  # noqa: RUF012
    channels = 2
