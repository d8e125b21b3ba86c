"""Losses and weights against formulas written out and torch's own losses."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xai_core import InputError
from xai_core.registry import create
from xai_trainers_lightning._loss import Objective, focal_loss
from xai_trainers_lightning._weights import class_weights, sample_weights

TARGETS = torch.tensor([0, 0, 0, 1, 1, 0, 2])


def trainer(**params: Any) -> Any:
    return create("trainer", "lightning", **params)


def logits() -> torch.Tensor:
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Rows(torch.utils.data.TensorDataset):
    """Scans with targets and covariates."""

    def __init__(self, volumes: torch.Tensor, targets: torch.Tensor, covariates: Any) -> None:
        super().__init__(volumes, targets)
        self.targets, self.covariates = targets, covariates


def test_focal_loss_is_lins_formula() -> None:
    outputs = logits()
    probabilities = torch.softmax(outputs, 1)
    expected = []
    for row, target in zip(probabilities.tolist(), TARGETS.tolist(), strict=True):
        expected.append(-((1 - row[target]) ** 2.5) * math.log(row[target]))
    assert focal_loss(outputs, TARGETS, 2.5).tolist() == pytest.approx(expected)
    assert torch.allclose(focal_loss(outputs, TARGETS, 0), F.cross_entropy(outputs, TARGETS, reduction="none"))


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_focal_loss_has_gradients_where_the_network_is_sure(gamma: float) -> None:
    outputs = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal_loss(outputs, torch.tensor([0, 0]), gamma).sum().backward()
    assert outputs.grad is not None
    assert bool(outputs.grad.isfinite().all())
    # Certain and right: nothing to learn. Certain and wrong: the gradient of the cross entropy.
    assert outputs.grad[0].abs().max() < 1e-6
    assert outputs.grad[1].tolist() == pytest.approx([-1, 1], abs=1e-4)


@pytest.mark.parametrize("smoothing", [0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)])
def test_cross_entropy_of_a_part_is_torchs(smoothing: float, weights: torch.Tensor | None) -> None:
    objective = Objective(trainer(label_smoothing=smoothing), "classification", weights)
    expected = nn.CrossEntropyLoss(weights, label_smoothing=smoothing)(logits(), TARGETS)
    assert float(objective.of_part(logits(), TARGETS, None)) == pytest.approx(float(expected))


def test_scan_weights_count_scans_several_times() -> None:
    """A scan of weight 2 is as good as two scans."""
    objective = Objective(trainer(loss="focal"), "classification", torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    weights = torch.tensor([1, 2, 1, 3, 1, 1, 2], dtype=torch.float64)
    repeated = torch.repeat_interleave(torch.arange(7), weights.long())
    once = objective.of_part(logits(), TARGETS, weights)
    assert float(once) == pytest.approx(float(objective.of_part(logits()[repeated], TARGETS[repeated], None)))
    batch = objective.of_batch(logits(), TARGETS, weights)
    assert float(batch) == pytest.approx(float(objective.each(logits()[repeated], TARGETS[repeated]).sum()) / 7)


def test_weights_of_classes_by_name(context: Any) -> None:
    made = trainer(class_weights={"B": 3, "A": 0.5, "C": 1})
    ctx = context(classes=("A", "B", "C"))
    assert class_weights(made, TARGETS, None, ctx).tolist() == [0.5, 3.0, 1.0]  # type: ignore[union-attr]


def test_scan_weights_balance_combinations(context: Any) -> None:
    """Four of (X, 0), one of (X, 1), two of (Y, 1): each combination gets a third of the weight."""
    sites = ["X", "X", "X", "X", "X", "Y", "Y"]
    targets = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    rows = [{"site": site, "target": int(target)} for site, target in zip(sites, targets, strict=True)]
    made = trainer(sample_weights=["site", "target"])
    weights = sample_weights(made, Rows(torch.zeros(7, 1, 2, 2, 2), targets, rows), context())
    assert weights is not None
    assert weights.tolist() == pytest.approx([7 / 12] * 4 + [7 / 3] + [7 / 6] * 2)
    # Class 0 weighs a third, class 1 two thirds: balanced weights even that out once, not twice.
    balanced = class_weights(made, targets, weights, context())
    assert balanced is not None
    totals = [float((weights * balanced[targets])[targets == k].sum()) for k in (0, 1)]
    assert totals == pytest.approx([3.5, 3.5])
    assert balanced.tolist() == pytest.approx([1.5, 0.75])


def test_a_column_of_weights_reaches_the_loss(blobs: Any, network: Any, context: Any) -> None:
    """One step from the same start with weights 3 and 1 moves the weights as the weighted loss says."""
    targets = torch.tensor([0, 1, 0, 1])
    volumes = torch.stack([blobs(targets, 1)[i][0] for i in range(4)])
    rows = [{"weight": weight} for weight in (3, 1, 1, 3)]
    start, model = (nn.Sequential(nn.Flatten(), nn.Linear(210, 2)) for _ in range(2))
    model.load_state_dict(start.state_dict())
    made = trainer(epochs=1, batch_size=4, learning_rate=0.1, optimizer="sgd", sample_weights="weight")
    made.train(model, Rows(volumes, targets, rows), None, context())
    losses = F.cross_entropy(start(volumes), targets, reduction="none")
    ((losses * torch.tensor([1.5, 0.5, 0.5, 1.5])).mean()).backward()
    gradient = start[1].weight.grad
    assert gradient is not None
    moved = start[1].weight.detach() - model[1].weight.detach()
    assert torch.allclose(moved, 0.1 * 1.9 * gradient, atol=1e-5)  # Nesterov's first step is 1 + momentum times


def study(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"scan_id": ["sub-1", "sub-2", "sub-3"], "target": ["CN", "AD", "CN"], **columns})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "mae"}, "loss: mae does not fit a classification. Use cross-entropy, focal, or auto"),
        ({"class_weights": {"CN": 1, "MCI": 2}}, "names CN, MCI, but the classes are CN, AD"),
        ({"sample_weights": "nothing"}, r"no column nothing. It has target, w, site"),
        ({"sample_weights": "w"}, "no positive number in the column w: sub-2, sub-3"),
        ({"sample_weights": ["site", "target"]}, "no value in one of the columns site, target: sub-3"),
    ],
)
def test_what_a_study_does_not_fit(params: dict[str, Any], message: str) -> None:
    table = study(w=[1.0, 0.0, float("nan")], site=["A", "B", None])
    with pytest.raises(InputError, match=message):
        trainer(**params).check_study(table, "classification", ("CN", "AD"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "focal"}, "loss: focal does not fit a regression. Use mse, mae, huber"),
        ({"label_smoothing": 0.1}, "label_smoothing: a regression has no classes"),
        ({"class_weights": {"CN": 1}}, "class_weights: a regression has no classes"),
    ],
)
def test_what_a_regression_does_not_fit(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer(**params).check_study(study().assign(target=[1.0, 2.0, 3.0]), "regression", None)


def test_whole_numbers_are_weights_too() -> None:
    trainer(sample_weights="w").check_study(study(w=[1, 2, 3]), "classification", ("CN", "AD"))
    trainer(loss="focal", class_weights={"AD": 2, "CN": 1}).check_study(study(), "classification", ("CN", "AD"))
