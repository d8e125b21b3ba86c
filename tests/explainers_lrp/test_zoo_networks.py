"""LRP of networks written by others: conserved, equal to the reference, and equal to input times gradient.

The networks are those of ``_zoo.py``; ``case`` goes through them.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xai_explainers_lrp.plugin import LRP

COMPOSITES = ("epsilon", "epsilon-plus")


def compare(found: Tensor, expected: Tensor) -> None:
    """Require equality within 1e-4 of the largest value of each volume."""
    scale = expected.abs().flatten(1).amax(1)
    assert (scale > 0).all()
    difference = (found - expected).abs().flatten(1).amax(1) / scale
    assert (difference <= 1e-4).all(), f"relative differences {difference.tolist()}"


@pytest.mark.parametrize("composite", COMPOSITES)
def test_without_biases_relevance_sums_to_the_output(case: Any, composite: Any) -> None:
    network, x = case.unbiased(), case.conserving_volumes(composite)
    with torch.no_grad():
        outputs = network(x)
    target = outputs.abs().argmax(1)
    relevance = LRP(composite=composite, epsilon=1e-9).explain(network, x, target).relevance
    quotients = relevance.double().sum((1, 2, 3, 4)) / outputs.gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(quotients, torch.ones_like(quotients), rtol=0, atol=1e-3)


@pytest.mark.parametrize("composite", COMPOSITES)
def test_relevance_equals_the_reference(case: Any, composite: str) -> None:
    compare(case.relevance(composite), case.reference(composite))


OTHERS: list[dict[str, Any]] = [
    {"composite": "epsilon-plus", "ignore_bias": True},
    {"composite": "epsilon-plus-flat"},
    {"composite": "epsilon-alpha2-beta1"},
    {"composite": "epsilon-alpha2-beta1", "ignore_bias": True},
    {"composite": "epsilon-alpha2-beta1-flat"},
    {"composite": "epsilon-gamma"},
    {"composite": "epsilon-gamma-box", "gamma": 0.5, "low": -5.0, "high": 6.0},
]


@pytest.mark.parametrize("settings", OTHERS, ids=lambda s: "-".join(map(str, s.values())))
def test_every_composite_equals_the_reference(small_case: Any, settings: dict[str, Any]) -> None:
    found = LRP(**settings, epsilon=1e-9).explain(small_case.network, small_case.volumes, small_case.target)
    compare(found.relevance.double(), small_case.reference(**settings))


class Frozen(TorchFunctionMode):
    """Makes constants of gates, and of the factor by which a smooth activation multiplies its input.

    What is left is linear around the volume but for the biases, so that the epsilon rule for epsilon to zero is input
    times gradient: ``R_i = x_i df/dx_i`` at each layer from the next by the chain rule.
    """

    GATES = (torch.sigmoid, Tensor.sigmoid, F.hardsigmoid, torch.softmax, Tensor.softmax, F.softmax)
    SMOOTH = (F.silu, F.gelu, F.hardswish, F.elu, F.relu6, F.hardtanh)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in self.GATES:
            return function(*args, **kwargs).detach()
        if function in self.SMOOTH:
            x = args[0]
            value = function(x.detach().clone(), *args[1:], **kwargs)
            return x * torch.where(x == 0, 0.0, value / x).detach()
        return function(*args, **kwargs)


def test_the_epsilon_rule_is_input_times_gradient_with_gates_as_constants(case: Any) -> None:
    """For epsilon to zero (Ancona et al. 2018), with biases, which need no rule here."""
    x = case.volumes.double().requires_grad_()
    network = deepcopy(case.network).double()
    with Frozen():
        outputs = network(x.clone())
    torch.testing.assert_close(outputs, network(x.clone()))
    (gradient,) = torch.autograd.grad(outputs.gather(1, case.target[:, None]).sum(), x)
    compare(case.relevance("epsilon"), (x * gradient).detach())
