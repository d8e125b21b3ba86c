"""The learning-rate range test."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xai_core import InputError
from xai_core.registry import create
from xai_trainers_lightning._finder import suggestion

CLASSES = torch.tensor([0, 1] * 9)


def test_the_steepest_point_is_suggested() -> None:
    """A logistic curve falls most steeply at its middle."""
    rates = np.geomspace(1e-7, 1, 100)
    losses = 1 / (1 + np.exp(3 * (np.log(rates) - np.log(2e-3))))
    assert suggestion(rates.tolist(), losses.tolist()) == pytest.approx(2e-3, rel=0.1)


def test_nothing_is_suggested_where_nothing_falls() -> None:
    rates = np.geomspace(1e-7, 1, 100).tolist()
    assert suggestion(rates, np.linspace(1, 2, 100).tolist()) is None
    assert suggestion(rates, np.linspace(1, 0.95, 100).tolist()) is None, "less than the chance of small batches"
    assert suggestion(rates[:9], np.linspace(2, 1, 9).tolist()) is None


def test_auto_learns_and_leaves_its_curve(blobs: Any, network: Any, context: Any) -> None:
    model, start = network(2), network(2).state_dict()
    found = []

    def on_epoch(epoch: int, _scalars: Any) -> bool:
        found.append(epoch)
        return True

    ctx = context(on_epoch=on_epoch)
    made = create("trainer", "lightning", epochs=12, learning_rate="auto")
    result = made.train(model, blobs(CLASSES, 1), blobs(CLASSES, 2), ctx)
    rate = result.info["learning_rate"]
    assert 1e-4 < rate < 1
    assert {row["learning_rate"] for row in result.history} == {rate}
    assert result.history[result.best_epoch]["val_balanced_accuracy"] > 0.9
    with (ctx.folder / "lr_finder.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-7)
    assert rate in [float(row["learning_rate"]) for row in rows]
    assert (ctx.folder / "lr_finder.png").read_bytes()[:4] == b"\x89PNG"
    # The test itself trains a copy: training with that rate by hand gives the same network.
    by_hand = network(2)
    create("trainer", "lightning", epochs=12, learning_rate=rate).train(
        by_hand, blobs(CLASSES, 1), blobs(CLASSES, 2), context()
    )
    assert all(torch.equal(value, by_hand.state_dict()[name]) for name, value in model.state_dict().items())
    assert not torch.equal(start["0.weight"], model.state_dict()["0.weight"])


def test_the_rate_is_looked_for_with_what_is_frozen(blobs: Any, network: Any, context: Any) -> None:
    """The curve is that of a network whose frozen weights stand still by its own making, another than of the whole."""
    curves = []
    for params, own in (({}, False), ({"freeze": ["1.weight"]}, False), ({}, True)):
        model, ctx = network(2), context()
        model.get_parameter("1.weight").requires_grad_(not own)
        made = create("trainer", "lightning", epochs=1, learning_rate="auto", **params)
        made.train(model, blobs(CLASSES, 1), blobs(CLASSES, 2), ctx)
        curves.append((ctx.folder / "lr_finder.csv").read_text())
    whole, frozen, standing_still = curves
    assert frozen == standing_still
    assert frozen != whole


def test_a_network_that_cannot_learn_is_told(context: Any) -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Parameter(torch.zeros(1))

        def forward(self, volumes: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(volumes), 2) + 0 * self.idle

    data = torch.utils.data.TensorDataset(torch.zeros(18, 1, 2, 2, 2), CLASSES)
    made = create("trainer", "lightning", learning_rate="auto")
    with pytest.raises(InputError, match=r"auto found no rate at which the loss of fold 0 falls .* Give a number"):
        made.train(Constant(), data, None, context())
