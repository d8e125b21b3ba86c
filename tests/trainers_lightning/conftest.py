"""Tiny studies and networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from xai_core import RunContext


class Blobs(Dataset[tuple[Tensor, Tensor]]):
    """Volumes [1, 6, 7, 5] whose mean intensity carries the target; ``noise`` is drawn at each reading."""

    def __init__(self, targets: Tensor, seed: int, *, noise: float = 0.0, strength: float = 1.0) -> None:
        self._targets = targets
        generator = torch.Generator().manual_seed(seed)
        self._volumes = torch.randn(len(targets), 1, 6, 7, 5, generator=generator)
        scaled = (
            (targets.float() - targets.float().mean()) / 0.5
            if targets.dtype == torch.int64
            else (targets - 72.5) / 17.5
        )
        self._volumes += strength * scaled[:, None, None, None, None]
        self._noise = noise

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        volume = self._volumes[index]
        if self._noise:
            volume = volume + self._noise * torch.randn(volume.shape)
        return volume, self._targets[index]


def tiny_network(outputs: int, seed: int = 0, *, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(dropout),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, outputs),
    )  # fmt: skip


@pytest.fixture
def blobs() -> type[Blobs]:
    return Blobs


@pytest.fixture
def network() -> Callable[..., nn.Module]:
    return tiny_network


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., RunContext]:
    def make(**changes: object) -> RunContext:
        folder = tmp_path / f"fold-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        values: dict[str, object] = {
            "folder": folder, "device": torch.device("cpu"), "seed": 7, "task": "classification",
            "classes": ("CN", "AD"),
        }  # fmt: skip
        return RunContext(**{**values, **changes})  # type: ignore[arg-type]

    return make
