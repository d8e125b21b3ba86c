"""Curves of networks whose contributions are known, against sums by hand and against all possible orders."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import Attribution, InputError, registry
from xai_core.testing import EvaluatorConformance
from xai_evaluators_faithfulness.plugin import RegionPerturbation


class TestConformance(EvaluatorConformance):
    name = "region-perturbation"


class Linear(nn.Module):
    """Output 0 is nothing, output 1 the weighted sum of the voxels."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights
        self.seen = 0

    def forward(self, volumes: Tensor) -> Tensor:
        self.seen += len(volumes)
        output = (volumes * self.weights).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(output), output], 1)


def planted(cubes: tuple[int, int, int] = (2, 2, 2), window: int = 2) -> tuple[Tensor, Linear, np.ndarray[Any, Any]]:
    """Return a volume [1, 1, D, H, W] in a margin of zeros, a linear network, and what each cube contributes."""
    generator = np.random.default_rng(3)
    shape = tuple(window * n for n in cubes)
    volume = np.zeros([side + 2 * window for side in shape], np.float32)
    inner = tuple(slice(window, window + side) for side in shape)
    volume[inner] = generator.uniform(1, 2, shape)
    weights = generator.normal(0, 1, volume.shape).astype(np.float32)
    parts = (volume * weights)[inner].reshape(cubes[0], window, cubes[1], window, cubes[2], window).sum((1, 3, 5))
    return torch.tensor(volume)[None, None], Linear(torch.tensor(weights)), parts.ravel().astype(np.float64)


def score(model: nn.Module, volumes: Tensor, relevance: Tensor, target: int = 1, **params: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    attribution = Attribution(relevance, torch.zeros(len(volumes)), torch.full((len(volumes),), target))
    (row,) = registry.create("evaluator", "region-perturbation", **params).evaluate(model, volumes, attribution, None)
    return dict(row)


def area(parts: np.ndarray[Any, Any], order: Any) -> float:
    """Return the area over the curve of an additive network: what has been taken away, on average."""
    return float(np.mean([0.0, *np.cumsum(parts[list(order)])]))


def test_an_additive_network_by_hand() -> None:
    """With the background 0 in its place a cube's contribution is gone: the curve is a sum of contributions."""
    volumes, model, parts = planted()
    row = score(model, volumes, volumes * model.weights, window=2, steps=8, replacement="background", batch_size=3)
    most = np.argsort(-parts)
    assert row["regions"] == 8
    assert row["output"] == pytest.approx(parts.sum(), abs=1e-4)
    assert row["output_replaced"] == pytest.approx(0, abs=1e-4)
    assert row["aopc_morf"] == pytest.approx(area(parts, most), abs=1e-4)
    assert row["aopc_lerf"] == pytest.approx(area(parts, most[::-1]), abs=1e-4)
    assert row["area"] == pytest.approx(row["aopc_morf"] - row["aopc_lerf"])
    assert row["gain"] == pytest.approx(row["aopc_morf"] - row["aopc_random"])
    outputs = parts.sum() - np.concatenate([[0], np.cumsum(parts[most]), np.cumsum(parts[most[::-1]])])
    assert row["relative_area"] == pytest.approx(row["area"] / np.ptp(outputs), rel=1e-4)
    assert model.seen == 5 * 9 + 1 + 3, "three volumes tell once whether the network mixes its batch"


def test_no_order_is_better_than_that_of_the_true_contributions() -> None:
    volumes, model, parts = planted((2, 2, 1))
    row = score(model, volumes, volumes * model.weights, window=2, steps=4, replacement="background")
    areas = [area(parts, order) for order in itertools.permutations(range(4))]
    assert row["aopc_morf"] == pytest.approx(max(areas), abs=1e-5)
    assert row["aopc_lerf"] == pytest.approx(min(areas), abs=1e-5)


def test_random_orders_are_chance() -> None:
    volumes, model, parts = planted()
    row = score(model, volumes, volumes, window=2, steps=8, replacement="background", random_orders=800)
    spread = np.std([area(parts, np.random.default_rng(n).permutation(8)) for n in range(400)])
    assert row["aopc_random"] == pytest.approx(parts.sum() / 2, abs=4 * spread / np.sqrt(800))


def test_a_map_turned_upside_down_scores_the_opposite() -> None:
    volumes, model, _ = planted()
    relevance = volumes * model.weights
    params: dict[str, Any] = {"window": 2, "steps": 8, "replacement": "background"}
    row, turned = (score(model, volumes, map_, **params) for map_ in (relevance, -relevance))
    assert turned["area"] == pytest.approx(-row["area"], rel=1e-6)
    assert row["relative_area"] > 0 > turned["relative_area"]
    # What speaks for the other output speaks against this one.
    other = score(model, volumes, relevance, target=0, **params)
    assert (other["output"], other["area"], other["relative_area"]) == (0, 0, None)


def test_steps_share_the_brains_voxels_and_not_the_regions() -> None:
    """A region of one voxel at the edge takes a ninth of the way, not half of it."""
    volumes = torch.zeros(1, 1, 6, 4, 4)
    volumes[0, 0, 1, 1, 1] = 5
    volumes[0, 0, 2:4, 2:4, 2:4] = 1
    model = Linear(torch.ones(6, 4, 4))
    relevance = volumes.clone()
    row = score(model, volumes, relevance, window=2, steps=9, replacement="background")
    # Outputs: 13, then 8 eight times (the cube of eight fits at the last step only), then 0.
    assert row["aopc_morf"] == pytest.approx((0 + 8 * 5 + 13) / 10)
    assert row["aopc_lerf"] == pytest.approx((0 * 8 + 8 + 13) / 10)


@pytest.mark.parametrize("constant", [0.0, 0.3])
def test_a_map_that_prefers_nothing_has_no_order(constant: float) -> None:
    volumes, model, _ = planted((2, 2, 3))
    volumes[..., 2, :, :] = 0  # small regions at the edge
    row = score(model, volumes, torch.full_like(volumes, constant), window=2)
    none = {"aopc_morf", "aopc_lerf", "area", "relative_area", "gain"}
    assert {name for name, value in row.items() if value is None} == none


def test_what_is_put_in_the_place() -> None:
    volumes, _, _ = planted()
    brain = volumes != 0
    kept: list[Tensor] = []

    class Keeping(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            kept.append(batch[-1])
            return batch.flatten(1).sum(1, keepdim=True)

    mean = volumes[brain].mean()
    for replacement in ("mean", "background", "local-mean"):
        score(Keeping(), volumes, volumes, target=0, window=2, steps=2, replacement=replacement)
        assert torch.equal(kept[-1][~brain[0]], volumes[0][~brain[0]]), "outside of the brain nothing changes"
        inside = kept[-1][brain[0]]
        if replacement == "local-mean":  # by hand: of the brain's voxels within two of the corner
            corner = volumes[0, 0, 2:5, 2:5, 2:5].mean()
            assert kept[-1][0, 2, 2, 2] == pytest.approx(float(corner), rel=1e-5)
        else:
            assert torch.allclose(inside, mean if replacement == "mean" else torch.tensor(0.0))


def test_probabilities_absolute_values_and_shares() -> None:
    volumes, model, parts = planted()
    relevance = volumes * model.weights
    params: dict[str, Any] = {"window": 2, "steps": 8, "replacement": "background"}
    row = score(model, volumes, relevance, output="probability", **params)
    assert row["output"] == pytest.approx(1 / (1 + np.exp(-parts.sum())), rel=1e-4)
    assert row["output_replaced"] == pytest.approx(0.5)
    signed = score(model, volumes, relevance, **params)
    absolute = score(model, volumes, -relevance, sign="absolute", **params)
    assert absolute["area"] != pytest.approx(signed["area"])
    same = score(model, volumes, relevance, sign="absolute", **params)
    assert absolute["area"] == pytest.approx(same["area"])
    half = score(model, volumes, relevance, **{**params, "share": 0.5, "steps": 4})
    most = np.argsort(-parts)
    assert half["aopc_morf"] == pytest.approx(float(np.mean([0.0, *np.cumsum(parts[most])[:4]])), abs=1e-4)


def test_equal_seeds_give_equal_scores_and_explainers_meet_the_same_random_orders() -> None:
    volumes, model, _ = planted()
    relevance = volumes * model.weights
    first, second = (score(model, volumes, relevance, window=2) for _ in range(2))
    assert first == second
    assert score(model, volumes, -relevance, window=2)["aopc_random"] == first["aopc_random"]


def test_scores_of_a_network_that_mixes_its_batch_do_not_depend_on_the_batch() -> None:
    class Relative(nn.Module):
        def forward(self, volumes: Tensor) -> Tensor:
            relative = volumes / volumes.max()
            return torch.stack([relative.mean((1, 2, 3, 4)), relative.amax((1, 2, 3, 4))], 1)

    volume, _, _ = planted()
    alone, together = (score(Relative(), volume, volume, target=0, window=2, batch_size=size) for size in (1, 8))
    for name in ("aopc_morf", "aopc_lerf", "aopc_random"):
        assert together[name] == pytest.approx(alone[name], rel=1e-6), name
        assert alone[name] != 0


def test_a_volume_without_brain_has_no_scores() -> None:
    _, model, _ = planted()
    volumes = torch.zeros(1, 1, 8, 8, 8)
    row = score(model, volumes, volumes + 1)
    assert row.pop("regions") == 0
    assert set(row.values()) == {None}


def test_bad_input() -> None:
    volumes, model, _ = planted()
    with pytest.raises(InputError, match="They must have one shape"):
        score(model, volumes, volumes[..., 1:])
    with pytest.raises(InputError, match="is not finite, so it has no score"):
        score(model, volumes, volumes / 0)
    with pytest.raises(InputError, match="output is not finite after regions were replaced"):
        score(Linear(model.weights / 0), volumes, volumes)
    assert isinstance(registry.create("evaluator", "region-perturbation"), RegionPerturbation)
