"""When training stops and which weights it keeps, against Keras' rules written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from xai_core import ConfigError, InputError
from xai_core.registry import create
from xai_trainers_lightning._best import BestEpoch

CLASSES = torch.tensor([0, 1] * 9)


def trainer(**params: Any) -> Any:
    return create("trainer", "lightning", **params)


def watched(losses: list[float], **params: Any) -> tuple[int, int]:
    """Return how many epochs were done and the best one when ``losses`` come one after another."""
    best = BestEpoch(trainer(epochs=len(losses), **params))
    for epoch, loss in enumerate(losses):
        best.take(epoch, {params["monitor"]: loss}, lambda epoch=epoch: {"weight": torch.tensor(epoch)})  # type: ignore[misc]
        if best.is_patience_over(epoch):
            break
    assert best.weights is not None
    assert int(best.weights["weight"]) == best.epoch
    return epoch + 1, best.epoch


def keras(losses: list[float], patience: int, min_delta: float) -> tuple[int, int]:
    """EarlyStopping(monitor, patience, min_delta) and ModelCheckpoint(save_best_only) of Keras 2."""
    best, wait, saved, kept = math.inf, 0, math.inf, 0
    for epoch, loss in enumerate(losses):
        if loss < saved:
            saved, kept = loss, epoch
        if loss + min_delta < best:
            best, wait = loss, 0
            continue
        wait += 1
        if wait >= patience:
            break
    return epoch + 1, kept


@pytest.mark.parametrize("monitor", ["train_loss", "val_loss"])
@pytest.mark.parametrize("min_delta", [0, 0.01, 0.3])
def test_stops_and_keeps_as_keras_does(context: Any, monitor: str, min_delta: float) -> None:
    rng = np.random.default_rng(5)
    stopped = 0
    for _ in range(60):
        losses = [float(x) for x in np.abs(0.8 - 0.02 * np.arange(25) + rng.normal(0, 0.02, 25))]
        patience = int(rng.integers(1, 5))
        expected = keras(losses, patience, min_delta)
        found = watched(losses, monitor=monitor, early_stopping=patience, min_delta=min_delta)
        assert found == expected
        stopped += found[0] < 25
    assert stopped > 5


def test_small_gains_add_up(context: Any) -> None:
    """Each epoch gains 0.006: every second one is better by more than 0.01, so a patience of 3 never ends."""
    slowly = [1 - 0.006 * epoch for epoch in range(12)]
    assert watched(slowly, monitor="train_loss", early_stopping=3, min_delta=0.01) == (12, 11)
    too_slowly = [1 - 0.002 * epoch for epoch in range(12)]
    assert watched(too_slowly, monitor="train_loss", early_stopping=3, min_delta=0.01) == (4, 3)


def test_waiting_begins_when_the_whole_network_trains() -> None:
    """The head alone stands still for epochs 1 to 5; with 4 of them for the head, patience 2 ends after epoch 5."""
    losses = [1.0, *[2.0] * 9]
    assert watched(losses, monitor="train_loss", early_stopping=2, head_epochs=4) == (6, 0)
    gains = [1.0, *[2.0] * 4, 0.5, *[2.0] * 4]
    assert watched(gains, monitor="train_loss", early_stopping=2, head_epochs=4) == (8, 5)


def test_the_training_loss_needs_no_validation_part(blobs: Any, network: Any, context: Any) -> None:
    model = network(2)
    params = {"epochs": 40, "learning_rate": 0.02, "monitor": "train_loss", "early_stopping": 3, "min_delta": 0.05}
    result = trainer(**params).train(model, blobs(CLASSES, 1), None, context())
    losses = [row["train_loss"] for row in result.history]
    assert (len(losses), result.best_epoch) == keras([*losses, *[math.inf] * (40 - len(losses))], 3, 0.05)
    assert len(losses) < 40


def test_the_training_loss_decides_beside_a_validation_part(blobs: Any, network: Any, context: Any) -> None:
    result = trainer(epochs=6, learning_rate=0.05, monitor="train_loss").train(
        network(2), blobs(CLASSES, 1), blobs(CLASSES, 2, strength=-1.0), context()
    )
    losses = [row["train_loss"] for row in result.history]
    assert result.best_epoch == losses.index(min(losses))
    assert result.best_epoch != min(result.history, key=lambda row: row["val_loss"])["epoch"]


def test_training_loss_of_balanced_weights_is_that_of_keras(blobs: Any, context: Any) -> None:
    """Keras: the mean over all scans of class weight times cross entropy."""
    targets = torch.tensor([0] * 10 + [1] * 4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(210, 2))
    with torch.no_grad():
        model[1].weight.mul_(0.1)
    items = blobs(targets, 1)
    with torch.no_grad():
        logits = model(torch.stack([items[i][0] for i in range(14)]))
    weights = torch.tensor([14 / (2 * 10), 14 / (2 * 4)])[targets]
    expected = float((weights * nn.functional.cross_entropy(logits, targets, reduction="none")).mean())
    result = trainer(epochs=1, batch_size=14, monitor="train_loss").train(model, items, None, context())
    assert result.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert result.info["class_weights"] == pytest.approx([0.7, 1.75])


def test_min_delta_without_early_stopping() -> None:
    with pytest.raises(ConfigError, match=r"min_delta \(0.01\) belongs to early stopping, which is off"):
        trainer(min_delta=0.01)


def test_another_monitor_says_that_the_training_loss_would_do(blobs: Any, network: Any, context: Any) -> None:
    with pytest.raises(InputError, match=r"needs validation people.* or use monitor: train_loss"):
        trainer(early_stopping=3).train(network(2), blobs(CLASSES, 1), None, context())
