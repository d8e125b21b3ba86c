"""Scores against the truth: worked by hand, and against scikit-learn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from xai_core import Attribution, InputError, registry
from xai_evaluators_faithfulness.plugin import GroundTruth

MASK_SCORES = {
    "density_inside", "density_outside", "density_ratio", "mass_accuracy", "rank_accuracy", "pointing_game",
    "auc", "chance",
}  # fmt: skip


def score(relevance: Tensor, volumes: Tensor, masks: Tensor | None, **params: Any) -> list[dict[str, float | None]]:
    count = len(volumes)
    attribution = Attribution(relevance, torch.zeros(count), torch.zeros(count, dtype=torch.int64))
    return [dict(row) for row in GroundTruth(**params).evaluate(nn.Identity(), volumes, attribution, masks)]


def line(*values: float) -> Tensor:
    """One volume [1, 1, 2, 2, 2] of eight voxels."""
    return torch.tensor(values).reshape(1, 1, 2, 2, 2)


# Two voxels of background (0) and six of brain, two of them in the mask.
VOLUME = line(0, 0, 1, 2, 3, 4, 5, 6)
MASK = line(0, 0, 1, 1, 0, 0, 0, 0).bool()
RELEVANCE = line(3, 0, 4, 2, 3, -8, 1, 0)


def test_positive_in_the_brain() -> None:
    """Inside 4, 2; outside 3, 0 (-8), 1, 0; background 3, 0."""
    assert score(RELEVANCE, VOLUME, MASK) == [
        {
            "density_inside": 3.0,
            "density_outside": 1.0,
            "density_ratio": 3.0,
            "mass_accuracy": 0.6,
            "rank_accuracy": 0.5,  # the two greatest are 4 (inside) and 3
            "pointing_game": 1.0,
            "auc": 7 / 8,  # of 2 x 4 pairs only (2, 3) is wrong
            "chance": 2 / 6,
            "background_share": 3 / 13,
        }
    ]


def test_absolute_in_the_volume() -> None:
    """Inside 4, 2; outside 3, 0, 3, 8, 1, 0."""
    (row,) = score(RELEVANCE, VOLUME, MASK, sign="absolute", region="volume")
    assert row == pytest.approx(
        {
            "density_inside": 3.0,
            "density_outside": 15 / 6,
            "density_ratio": 18 / 15,
            "mass_accuracy": 6 / 21,
            "rank_accuracy": 0.5,  # 8 and 4
            "pointing_game": 0.0,
            "auc": (5 + 3) / 12,  # 4 beats all but 8; 2 beats 0, 1 and 0
            "chance": 2 / 8,
            "background_share": 3 / 21,
        }
    )


def test_perfect_and_worst_map() -> None:
    (best,) = score(MASK.float(), VOLUME, MASK)
    assert [best[key] for key in ("mass_accuracy", "rank_accuracy", "pointing_game", "auc")] == [1, 1, 1, 1]
    assert best["density_ratio"] is None  # nothing outside to divide by
    (worst,) = score(line(0, 0, 0, 0, 1, 1, 1, 1), VOLUME, MASK)
    keys = ("density_ratio", "mass_accuracy", "rank_accuracy", "pointing_game", "auc")
    assert [worst[key] for key in keys] == [0, 0, 0, 0, 0]


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_map_scores_chance(value: float) -> None:
    (row,) = score(torch.full_like(VOLUME, value), VOLUME, MASK)
    assert row["rank_accuracy"] == row["pointing_game"] == row["chance"] == pytest.approx(1 / 3)
    assert row["auc"] == 0.5
    assert row["mass_accuracy"] == (pytest.approx(1 / 3) if value else None)
    assert row["density_ratio"] == (1 if value else None)


def test_ties_at_the_threshold_count_by_their_share() -> None:
    """K = 2: 5 is in; the second place is shared by three voxels, one of them inside."""
    (row,) = score(line(0, 0, 5, 2, 2, 2, 0, 0), VOLUME, MASK)
    assert row["rank_accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    assert row["pointing_game"] == 1


def test_map_without_positive_relevance() -> None:
    (row,) = score(-RELEVANCE.abs(), VOLUME, MASK)
    assert row["density_inside"] == row["density_outside"] == 0
    assert row["mass_accuracy"] is row["density_ratio"] is row["background_share"] is None
    (absolute,) = score(-RELEVANCE.abs(), VOLUME, MASK, sign="absolute")
    assert absolute["mass_accuracy"] == pytest.approx(6 / 18)


def test_channels_are_summed_before_the_sign_is_taken() -> None:
    """Evidence for in one channel and against in another cancels; a voxel is brain if one channel says so."""
    relevance = torch.cat([RELEVANCE, line(-3, 0, 0, 0, -3, 8, 0, 0)], 1)
    volume = torch.cat([torch.ones_like(VOLUME), VOLUME], 1)
    (row,) = score(relevance, volume, MASK)
    assert row["density_inside"] == 3
    assert row["density_outside"] == 1 / 4
    assert row["background_share"] == 0


@pytest.mark.parametrize("sign", ["positive", "absolute"])
@pytest.mark.parametrize("region", ["brain", "volume"])
def test_against_scikit_learn_and_sorting(sign: str, region: str) -> None:
    generator = torch.Generator().manual_seed(7)
    volume = torch.randint(0, 3, (2, 1, 5, 7, 6), generator=generator).float()
    masks = torch.rand(volume.shape, generator=generator) < 0.2
    # Small integers make many ties.
    relevance = torch.randint(-4, 5, volume.shape, generator=generator).float() + masks * 2
    for index, row in enumerate(score(relevance, volume, masks, sign=sign, region=region)):
        r = relevance[index].abs() if sign == "absolute" else relevance[index].clamp(min=0)
        kept = (volume[index] > 0) | masks[index] if region == "brain" else torch.ones_like(masks[index])
        labels, values = masks[index][kept], r[kept]
        assert row["auc"] == pytest.approx(roc_auc_score(labels.numpy(), values.numpy()))
        assert row["mass_accuracy"] == pytest.approx(float(values[labels].sum() / values.sum()))
        assert row["chance"] == pytest.approx(float(labels.float().mean()))
        shuffled = []
        for _ in range(400):  # the mean over random orders of ties
            order = torch.randperm(len(values), generator=generator)
            top = order[values[order].argsort(descending=True, stable=True)[: int(labels.sum())]]
            shuffled.append(float(labels[top].float().mean()))
        assert row["rank_accuracy"] == pytest.approx(sum(shuffled) / 400, abs=0.01)


def test_undefined_without_a_mask_that_divides_the_region() -> None:
    empty, full = torch.zeros_like(MASK), torch.ones_like(MASK)
    brain_only = VOLUME > 0
    for masks, region in ((None, "brain"), (empty, "brain"), (full, "volume"), (brain_only, "brain")):
        (row,) = score(RELEVANCE, VOLUME, masks, region=region)
        assert {key for key, value in row.items() if value is None} == MASK_SCORES
        assert row["background_share"] == (0 if masks is full else 3 / 13)
    (row,) = score(RELEVANCE, VOLUME, brain_only, region="volume")
    assert row["chance"] == 6 / 8


def test_each_volume_has_its_own_row_and_background() -> None:
    volumes = torch.cat([VOLUME, VOLUME - 7])
    masks = torch.cat([torch.zeros_like(MASK), MASK])
    first, second = score(RELEVANCE.repeat(2, 1, 1, 1, 1), volumes, masks)
    assert first["auc"] is None
    assert [second] == score(RELEVANCE, VOLUME, MASK)


def test_mask_belongs_to_the_brain_where_the_volume_is_dark_too() -> None:
    (row,) = score(RELEVANCE, VOLUME, line(1, 0, 1, 1, 0, 0, 0, 0).bool())
    assert row["density_inside"] == 3
    assert row["density_outside"] == 1
    assert row["chance"] == 3 / 7
    assert row["background_share"] == 0


def test_background_is_the_minimum_not_zero() -> None:
    """After a z-score the background is negative, and zero is tissue."""
    shifted = VOLUME - 3
    assert score(RELEVANCE, shifted, MASK) == score(RELEVANCE, VOLUME, MASK)


def test_background_of_a_z_scored_brain_is_not_its_minimum() -> None:
    """Background kept at 0 lies amid the brain's values; relevance there must be seen as outside of the brain."""
    volume = torch.zeros(1, 1, 6, 6, 6)
    volume[..., 1:5, 1:5, 1:5] = torch.linspace(-2, 2, 64).reshape(4, 4, 4)
    mask = torch.zeros(volume.shape, dtype=torch.bool)
    mask[..., 2, 2, 2] = True
    (row,) = score(torch.ones_like(volume), volume, mask)
    assert row["background_share"] == pytest.approx((216 - 64) / 216)
    assert row["chance"] == pytest.approx(1 / 64)


def test_small_mask_in_a_large_map_is_not_lost_in_rounding() -> None:
    relevance = torch.full((1, 1, 64, 64, 64), 0.1)
    mask = torch.zeros(relevance.shape, dtype=torch.bool)
    mask[0, 0, 5, 5, 5] = True
    (row,) = score(relevance, torch.rand(relevance.shape), mask, region="volume")
    assert row["mass_accuracy"] == pytest.approx(1 / 64**3, rel=1e-12)


@pytest.mark.parametrize(
    ("relevance", "volumes", "masks", "message"),
    [
        (RELEVANCE, VOLUME[0], MASK, r"volumes must be \[N, C, D, H, W\], not \[1, 2, 2, 2\]"),
        (RELEVANCE[..., :1], VOLUME, MASK, r"The relevance is \[1, 1, 2, 2, 1\], but the volumes"),
        (
            RELEVANCE,
            VOLUME,
            MASK[0],
            r"masks of the truth are \[1, 2, 2, 2\], but \[1, 1, 2, 2, 2\] is needed",
        ),
        (RELEVANCE / 0, VOLUME, MASK, r"The relevance of volumes\[0\] is not finite"),
    ],
)
def test_bad_input(relevance: Tensor, volumes: Tensor, masks: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(relevance, volumes, masks)


def test_created_by_name() -> None:
    evaluator = registry.create("evaluator", "ground-truth", sign="absolute", region="volume")
    assert (evaluator.sign, evaluator.region) == ("absolute", "volume")
