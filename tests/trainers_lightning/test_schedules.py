"""Learning rates against torch's own schedulers and the formulas of the papers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from xai_core import ConfigError
from xai_core.registry import create
from xai_trainers_lightning._schedule import RateSchedule, one_cycle

CLASSES = torch.tensor([0, 1] * 9)
EPOCHS = 12


def schedule(batches: int = 1, **params: Any) -> RateSchedule:
    made = create("trainer", "lightning", **{"epochs": EPOCHS, **params})
    return RateSchedule(made, 0.01, batches)


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01, momentum=0.9)


def rates_of(reference: Any, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(reference.optimizer.param_groups[0]["lr"])
        reference.optimizer.step()
        reference.step()
    return rates


def test_cosine_and_step_are_torchs() -> None:
    cosine = lr_scheduler.CosineAnnealingLR(optimizer(), T_max=EPOCHS)
    mine = schedule(scheduler="cosine")
    assert [mine.rate(epoch) for epoch in range(EPOCHS)] == pytest.approx(rates_of(cosine, EPOCHS))
    step = lr_scheduler.StepLR(optimizer(), step_size=3, gamma=0.5)
    mine = schedule(scheduler="step", scheduler_epochs=3, scheduler_factor=0.5)
    assert [mine.rate(epoch) for epoch in range(EPOCHS)] == pytest.approx(rates_of(step, EPOCHS))


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 37])
def test_one_cycle_is_torchs(steps: int) -> None:
    reference = lr_scheduler.OneCycleLR(optimizer(), 0.01, total_steps=steps)
    for step in range(steps):
        group = reference.optimizer.param_groups[0]
        rate, momentum = one_cycle(step, steps)
        assert 0.01 * rate == pytest.approx(group["lr"], rel=1e-9)
        assert momentum == pytest.approx(group["momentum"], rel=1e-9)
        reference.optimizer.step()
        if step + 1 < steps:
            reference.step()


def test_plateau_is_torchs() -> None:
    rng = np.random.default_rng(3)
    reduced = 0
    for _ in range(30):
        patience = int(rng.integers(1, 4))
        losses = [float(x) for x in rng.normal(1, 0.1, EPOCHS)]
        mine = schedule(scheduler="plateau", scheduler_epochs=patience, scheduler_factor=0.5)
        # torch reduces after more than ``patience`` epochs, and asks for a relative gain by default.
        torchs = lr_scheduler.ReduceLROnPlateau(
            optimizer(), factor=0.5, patience=patience - 1, threshold=0, threshold_mode="abs"
        )
        for epoch, loss in enumerate(losses):
            mine.end_epoch(epoch, -loss)
            torchs.step(loss)
            assert mine.rate(epoch + 1) == pytest.approx(torchs.optimizer.param_groups[0]["lr"])
        reduced += mine.reduction < 1
    assert reduced > 10


def test_warm_up_grows_linearly_from_step_to_step() -> None:
    """Two epochs of five batches, two batches a step: six steps to the full rate; then the cosine begins."""
    mine = schedule(5, warmup_epochs=2, accumulate=2, scheduler="cosine")
    rates = [mine.rate(epoch, batch) for epoch in (0, 1) for batch in range(5)]
    assert rates == pytest.approx([0.01 * step / 6 for step in (1, 1, 2, 2, 3, 4, 4, 5, 5, 6)])
    assert mine.rate(2) == 0.01
    assert mine.rate(7) == pytest.approx(0.005)  # halfway through the other ten epochs


def test_the_head_has_its_own_rate_first() -> None:
    mine = schedule(head_epochs=2, head_learning_rate=0.1, warmup_epochs=1, scheduler="step", scheduler_epochs=4)
    expected = [0.1] * 2 + [0.01] + [0.01] * 4 + [0.001] * 4 + [0.0001]  # one batch: warmed up in one step
    assert [mine.rate(epoch) for epoch in range(EPOCHS)] == pytest.approx(expected)
    assert schedule(head_epochs=2).rate(0) == 0.01


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_one_cycle_reaches_the_optimizer(blobs: Any, network: Any, context: Any, kind: str) -> None:
    seen = []

    class Spy(RateSchedule):
        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            super().on_train_batch_start(trainer, *rest)
            group = trainer.optimizers[0].param_groups[0]
            seen.append((group["lr"], group["betas"][0] if kind == "adam" else group["momentum"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xai_trainers_lightning._lightning.RateSchedule", Spy)
        params = {"epochs": 2, "batch_size": 6, "learning_rate": 0.01, "scheduler": "one-cycle", "optimizer": kind}
        create("trainer", "lightning", **params).train(network(2), blobs(CLASSES, 1), None, context())
    expected = [one_cycle(step, 6) for step in range(6)]
    assert np.allclose(seen, [(0.01 * rate, momentum) for rate, momentum in expected], rtol=1e-9)


def test_plateau_lowers_the_rate_of_a_training(blobs: Any, network: Any, context: Any) -> None:
    """The validation volumes contradict their labels: after the first epochs it gets no better."""
    params = {"epochs": 8, "learning_rate": 0.05, "scheduler": "plateau", "scheduler_epochs": 2}
    trainer = create("trainer", "lightning", **params)
    result = trainer.train(network(2), blobs(CLASSES, 1), blobs(CLASSES, 2, strength=-1.0), context())
    rates = [row["learning_rate"] for row in result.history]
    assert rates[0] == 0.05
    assert rates[-1] < 0.01


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"warmup_epochs": 5}, r"warmup_epochs \(5\) is as long as the training \(5 epochs\) or longer"),
        ({"warmup_epochs": 3, "head_epochs": 2}, r"the training \(3 epochs after head_epochs \(2\)\)"),
        ({"warmup_epochs": 1, "scheduler": "one-cycle"}, "one-cycle has a warm-up of its own"),
        ({"head_epochs": 5}, r"head_epochs \(5\) leaves none of the 5 epochs"),
        ({"head_learning_rate": 0.1}, "head_learning_rate belongs to head_epochs, which is 0"),
    ],
)
def test_what_does_not_fit_in_time(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("trainer", "lightning", epochs=5, **params)


def test_contradictions_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        create("trainer", "lightning", epochs=5, warmup_epochs=9, min_delta=0.1, batch_size=1, devices=2)
    assert len(caught.value.problems) == 3
