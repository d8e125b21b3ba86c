"""The components of this package, by class."""

from __future__ import annotations

from .dyrba2021 import Dyrba2021
from .mrinet import MRInet
from .sfcn import SFCN
from .singh2023 import Singh2023AlexNet, Singh2023DenseNet, Singh2023ResNet, Singh2023VGG

__all__ = [
    "SFCN", "Dyrba2021", "MRInet", "Singh2023AlexNet", "Singh2023DenseNet", "Singh2023ResNet", "Singh2023VGG",
]  # fmt: skip
