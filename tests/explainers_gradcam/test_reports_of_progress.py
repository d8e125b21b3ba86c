"""Explainers that run a network many times say how far they are, and their maps stay the same to the bit."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import Explainer, registry
from xai_core.engine.seeding import seeded
from xai_core.progress import Step, listening, share

SLOW: dict[str, dict[str, Any]] = {
    "occlusion": {"window": 3},
    "feature-ablation": {"size": 3},
    "smoothgrad": {"samples": 5, "max_batch": 2},
    "integrated-gradients": {"steps": 16, "max_batch": 4},
    "gradient-shap": {"samples": 16, "max_batch": 4},
    "lrp": {},
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(24, 2)
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def scan() -> Tensor:
    return torch.rand(1, 1, 8, 9, 7, generator=torch.Generator().manual_seed(1))


def digest(name: str, network: nn.Module, scan: Tensor) -> str:
    explainer: Explainer = registry.create("explainer", name, **SLOW[name])
    with seeded(3):
        relevance = explainer.explain(network, scan, None).relevance
    return hashlib.sha256(relevance.numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("name", SLOW)
def test_it_tells_how_far_it_is_and_finds_the_same(name: str, network: nn.Module, scan: Tensor) -> None:
    silent = digest(name, network, scan)
    heard: list[tuple[Step, ...]] = []
    with listening(heard.append):
        assert digest(name, network, scan) == silent
    shares = [share(steps) for steps in heard]
    assert len(set(shares)) > 3
    assert shares[-1] == 1
    # A sum that misses too much begins anew with more points.
    rounds = [b for a, b in pairwise(shares) if b < a]
    assert not rounds or name in ("integrated-gradients", "gradient-shap")
    assert all(steps[0].what for steps in heard)
