"""Modules of unknown classes: which of them are taken for activations, and that trying them leaves no trace."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import InputError
from xai_core.canonical import Part, canonical_form
from xai_core.canonical.elementwise import is_activation, is_activation_for
from xai_core.canonical.operations import known_part


class Own(nn.Module):
    """A class that nobody knows."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class SwishFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        (x,) = ctx.saved_tensors
        return gradient * torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))


def turned(x: Tensor, axis: int, start: int) -> Tensor:
    """Return ``x`` with the sign changed from an index of an axis on."""
    size = x.shape[axis]
    return torch.cat(
        [x.narrow(axis, 0, min(start, size)), -x.narrow(axis, min(start, size), max(size - start, 0))], axis
    )


def shuffled(x: Tensor) -> Tensor:
    return x.unflatten(1, (3, -1)).transpose(1, 2).flatten(1, 2)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda x: x.clamp(min=0),
    "swish": lambda x: x * torch.sigmoid(x),
    "swish with its own gradient": SwishFunction.apply,
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "signed root": lambda x: x.sign() * x.abs().sqrt(),
    "soft threshold": lambda x: x - x.clamp(-0.5, 0.5),
    "nothing": lambda x: x,
    "cube": lambda x: x**3,
    "switched off": lambda x: x * 0,
}

OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "abs": torch.abs,
    "square": torch.square,
    "minus": torch.neg,
    "sine": torch.sin,
    "shift": lambda x: x + 0.01,
    "threshold away from zero": lambda x: F.threshold(x, -1, 0.1),
    "softmax": lambda x: x * F.softmax(x, 1),
    "norm of channels": lambda x: x / (x.norm(dim=1, keepdim=True) + 1),
    "norm of all": lambda x: x / (x.norm() + 1),
    "norm of a volume": lambda x: x / (x.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1) + 1),
    "largest of all": lambda x: x / (x.abs().max() + 1),
    "running mean": lambda x: x.cumsum(-1).sign() * x.abs(),
    "mixed channels": lambda x: x + 0.1 * x.roll(1, 1),
    "one far neighbour": lambda x: x + 0.5 * x.roll(1, 2).clamp(-1e-9, 1e-9),
    "flip": lambda x: x.flip(-1),
    "roll": lambda x: x.roll(1, 3),
    "transposed": lambda x: x.transpose(0, 1).reshape(x.shape),
    "shuffled channels": shuffled,
    "sign by channel": lambda x: turned(x, 1, 1),
    "sign by later channel": lambda x: turned(x, 1, 5),
    "sign by slice": lambda x: turned(x, 2, 1),
    "sign by column": lambda x: turned(x, 4, 4),
    "gate by halves": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
    "noise": lambda x: x * torch.rand_like(x),
    "one random factor": lambda x: x * torch.rand(1),
    "NumPy's noise": lambda x: x * float(np.random.rand()),
    "Python's noise": lambda x: x * random.random(),
    "dropout": lambda x: F.dropout(x, 0.5, training=True),
    "another shape": lambda x: x[:, :1],
    "a pair": lambda x: (x, x),  # type: ignore[dict-item, return-value]
    "nothing at all": lambda _: None,  # type: ignore[dict-item, return-value]
    "NaN": lambda x: x / x,
    "in place": lambda x: x.relu_(),
    "raises": lambda x: x @ torch.ones(999),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_recognised(name: str) -> None:
    module = Own(ACTIVATIONS[name])
    assert is_activation(module)
    assert is_activation_for(module, (4, 16, 9, 8, 7))


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_is_taken_for_one(name: str) -> None:
    assert not is_activation(Own(OTHERS[name]))


@pytest.mark.parametrize("holding", ["parameter", "buffer", "child with a rule"])
def test_a_module_that_holds_something_is_looked_into_instead(holding: str) -> None:
    module = Own(torch.relu)
    if holding == "parameter":
        module.weight = nn.Parameter(torch.ones(1))
    elif holding == "buffer":
        module.register_buffer("scale", torch.ones(1))
    else:
        module.inner = nn.ReLU()
    assert known_part(module) is None


def test_a_module_whose_children_hold_no_weights_is_tried_as_a_whole() -> None:
    """Mish in the way of its formula: the softplus in it has no rule."""

    class OwnMish(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.softplus, self.tanh = nn.Softplus(), nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            return x * self.tanh(self.softplus(x))

    def network(act: nn.Module) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv3d(1, 4, 3), act, nn.Flatten(), nn.Linear(4 * 4 * 3 * 2, 2)).eval()

    x = torch.randn(1, 1, 6, 5, 4)
    form = canonical_form(network(OwnMish()), x)
    assert list(form.parts.values()).count(Part.ACTIVATION) == 1
    torch.testing.assert_close(form.network(x), network(nn.Mish())(x))


@pytest.mark.parametrize("name", ["swish", "noise", "dropout", "NumPy's noise", "Python's noise"])
def test_trying_draws_no_random_numbers_of_others(name: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    is_activation(Own((ACTIVATIONS | OTHERS)[name]))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    assert before[2] == random.getstate()


def test_a_seed_that_a_module_sets_does_not_reach_the_caller() -> None:
    def seeding(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return x * torch.rand(())

    torch.manual_seed(5)
    state = torch.get_rng_state()
    is_activation(Own(seeding))
    assert torch.equal(torch.get_rng_state(), state)


def network(module: nn.Module, channels: int = 6) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv3d(1, channels, 3), module, nn.Conv3d(channels, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten()]
    return nn.Sequential(*layers).eval()


X = torch.randn(1, 1, 17, 7, 6, generator=torch.Generator().manual_seed(0))


def test_what_is_one_for_other_sizes_only_is_refused() -> None:
    """No sample of shapes tells all: the shape in the network decides."""
    late = network(Own(lambda x: turned(x, 2, 12)))
    with pytest.raises(InputError, match=r"module 1 \(Own.*for tensors of other sizes only"):
        canonical_form(late, X)
    assert canonical_form(late, X[:, :, :9]).parts["network.1"] is Part.ACTIVATION


def test_one_that_is_none_is_followed_by_its_operations() -> None:
    form = canonical_form(network(Own(shuffled)), X)
    assert "network.1" not in form.parts
    assert canonical_form(network(Own(ACTIVATIONS["swish"])), X).parts["network.1"] is Part.ACTIVATION
