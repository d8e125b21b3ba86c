"""The components of this package, by class."""

from __future__ import annotations

from .densenet import MonaiDenseNet
from .efficientnet import MonaiEfficientNet
from .residual import MonaiClassifier, MonaiRegressor
from .resnet import MonaiResNet
from .senet import MonaiSENet
from .vit import MonaiViT

__all__ = [
    "MonaiClassifier", "MonaiDenseNet", "MonaiEfficientNet", "MonaiRegressor", "MonaiResNet", "MonaiSENet", "MonaiViT",
]  # fmt: skip
