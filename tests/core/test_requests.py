"""What explainers ask of a network before they work on it, and what they are told where it is not so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import InputError
from xai_core.engine.gradients import check_gradient
from xai_core.engine.requests import (
    check_volumes,
    differentiating,
    explaining,
    full_precision,
    logits,
    resolve_target,
    unwrapped,
)

X = torch.randn(2, 1, 6, 7, 5, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.conv, self.second = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
        self.norm, self.head, self.drop = nn.BatchNorm3d(4), nn.Linear(4, 2), nn.Dropout(0.5)
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def pooled(m: Any, x: Tensor) -> Tensor:
    return m.head(x.mean((2, 3, 4)))


def plain(m: Any, x: Tensor) -> Tensor:
    return pooled(m, F.relu(m.norm(m.conv(x))))


class Cut(torch.autograd.Function):
    """Hands on three times the gradient, as a mistaken backward would."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return 3 * gradient


RIGHT: dict[str, Callable[[Any, Tensor], Any]] = {
    "plain": plain,
    "maxima of equal voxels": lambda m, x: pooled(m, F.max_pool3d(m.conv(x * 0 + x.clamp(min=0)), 2)),
    "steep": lambda m, x: pooled(m, 1e4 * F.relu(m.conv(x) * 1e3)),
    "curved": lambda m, x: pooled(m, m.conv(x).square() * torch.sigmoid(m.second(m.conv(x)))),
    "its own weights cut": lambda m, x: pooled(m, F.conv3d(x, m.conv.weight.detach())),
    "one output": lambda m, x: plain(m, x)[:, :1],
    "a large offset": lambda m, x: plain(m, x) + 1e6,
    "constants": lambda m, x: plain(m, x) + torch.arange(2.0).to(x),
}

CUT: dict[str, Callable[[Any, Tensor], Any]] = {
    "detach": lambda m, x: pooled(m, m.conv(x) + m.second(m.conv(x)).detach()),
    "data": lambda m, x: pooled(m, torch.cat([m.conv(x)[:, :2], m.conv(x).data[:, 2:]], 1)),
    "number": lambda m, x: pooled(m, m.conv(x) * float(x.detach().sum())),
    "wrong backward": lambda m, x: pooled(m, Cut.apply(m.conv(x))),
    "rounded": lambda m, x: pooled(m, m.conv(x) + (m.conv(x) * 1e9).round() / 1e9 - m.conv(x).detach() * 0.5),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_passes(name: str) -> None:
    models = [Net(RIGHT[name]) for _ in range(3)]
    state = torch.get_rng_state()
    for model, volumes in zip(models, (X, torch.zeros_like(X), 1e4 * X), strict=True):  # flat: all is background
        check_gradient(model, volumes)
    assert torch.equal(state, torch.get_rng_state()), "random numbers of others"
    assert all(p.dtype is torch.float32 and p.grad is None for p in models[0].parameters())


@pytest.mark.parametrize("name", CUT)
def test_a_gradient_that_is_cut_is_refused(name: str) -> None:
    model = Net(CUT[name])
    for _ in range(2):  # what was refused is not taken for checked
        with pytest.raises(InputError, match="gradient of this network is not the derivative of its output"):
            check_gradient(model, X)
    with pytest.raises(InputError, match="not the derivative"), explaining(model, X, None):
        pass
    with explaining(model, X, None, gradients=False) as explained:
        assert torch.equal(explained.target, model(X).argmax(1))


def dual(m: Any, x: Tensor) -> Any:
    return plain(m, x), x


BROKEN: list[tuple[Callable[[Any, Tensor], Any], str]] = [
    (dual, r"returns tuple, but an explainer needs one tensor \[N, outputs\]. Wrap the model"),
    (lambda m, x: {"logits": plain(m, x)}, "returns dict"),
    (lambda m, x: plain(m, x)[:, 0], r"returns a tensor \[2\] for 2 volumes"),
    (lambda m, x: m.conv(x), r"returns a tensor \[2, 4, 6, 7, 5\]"),
    (lambda m, x: plain(m, x)[:1], r"returns a tensor \[1, 2\] for 2 volumes"),
    (lambda m, x: plain(m, x) * float("nan"), "output is not finite"),
    (lambda _, x: F.max_pool3d(x, 9), r"Net does not run on volumes of shape \[2, 1, 6, 7, 5\]"),
]


@pytest.mark.parametrize(("function", "said"), BROKEN)
def test_what_is_not_one_tensor_of_outputs_is_refused(function: Callable[[Any, Tensor], Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        logits(Net(function), X)


def test_memory_that_runs_out_is_no_bad_input() -> None:
    def full(m: Any, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        logits(Net(full), X)


@pytest.mark.parametrize(
    ("volumes", "said"),
    [
        (X[0], r"must be a tensor \[N, C, D, H, W\], not empty; this is a tensor \[1, 6, 7, 5\]"),
        (X[:0], "not empty"),
        (np.ones((1, 1, 2, 2, 2)), "this is ndarray"),
        (X.int(), r"must be float32, not torch.int32. Convert them with .float\(\)"),
        (X.where(X < 1, torch.tensor(float("inf"))), r"volumes\[0\] has \d+ voxels that are NaN or infinite"),
    ],
)
def test_volumes_that_are_none_are_refused(volumes: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_volumes(volumes)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_targets_of_any_whole_number_are_taken(dtype: torch.dtype) -> None:
    outputs = torch.tensor([[0.0, 2, 1], [5, 1, 5]])
    found = resolve_target(outputs, torch.tensor([2, 0], dtype=dtype))
    assert found.tolist() == [2, 0]
    assert found.dtype is torch.int64
    assert resolve_target(outputs, None).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (torch.tensor([0, 3]), r"target\[1\] is 3, but the model has 3 outputs: give 0 to 2"),
        (torch.tensor([-1, 0]), r"target\[0\] is -1"),
        (torch.tensor([True, False]), r"not torch.bool \[2\]"),
        (torch.tensor([[0], [1]]), r"not torch.int64 \[2, 1\]"),
        (1, "not int"),
    ],
)
def test_targets_that_do_not_exist_are_refused(target: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        resolve_target(torch.zeros(2, 3), target)
    with pytest.raises(InputError, match="the model has 1 output: only 0 can be explained"):
        resolve_target(torch.zeros(2, 1), torch.tensor([0, 1]))


def test_a_wrapped_network_is_the_network() -> None:
    model = Net(plain)
    assert unwrapped(nn.DataParallel(nn.DataParallel(model))) is model
    assert unwrapped(model) is model


def test_reduced_precision_of_the_caller_ends_at_the_door() -> None:
    model = Net(plain)
    expected = model(X).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not torch.equal(model(X).float(), expected), "autocast changes nothing"
        with full_precision(X.device):
            assert torch.equal(model(X), expected)
        with explaining(model, X, None) as explained:
            assert torch.equal(explained.output, expected.max(1).values)
        assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused_and_double_kept(dtype: torch.dtype) -> None:
    said = rf"parameters are {dtype}.*Convert it with model.float\(\)"
    with pytest.raises(InputError, match=said), explaining(Net(plain).to(dtype), X, None):
        pass
    with explaining(Net(plain).double(), X, None) as explained:
        assert explained.volumes.dtype is torch.float64


def test_the_volumes_that_are_worked_on_are_a_copy() -> None:
    model = Net(lambda m, x: plain(m, x.relu_()))
    given = X.clone()
    with torch.inference_mode(), explaining(model, given, None) as explained:
        explained.forward(explained.volumes).sum().backward()
        assert explained.volumes.grad is not None
        assert torch.equal(explained.volumes.detach(), given)
    assert torch.equal(given, X)
    assert not given.requires_grad


def test_training_flags_come_back_one_by_one_also_after_an_exception() -> None:
    model = Net(plain)
    model.drop.train()
    model.norm.train()
    model.norm.eval()
    flags = [module.training for module in model.modules()]
    statistics = model.norm.running_mean.clone()
    inside: list[bool] = []

    def fail() -> None:
        with explaining(model, X, None):
            inside.extend(module.training for module in model.modules())
            raise KeyError("inside")

    with pytest.raises(KeyError):
        fail()
    assert not any(inside)
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(model.norm.running_mean, statistics)


def test_a_missing_path_is_named() -> None:
    leaf = X.clone().requires_grad_()
    for output in (torch.ones(1, requires_grad=True).sum(), torch.ones(()).sum()):
        said = "No gradient leads from the model's output to the volumes"
        with pytest.raises(InputError, match=said), differentiating("the volumes"):
            torch.autograd.grad(output, leaf)
    with pytest.raises(RuntimeError, match="another"), differentiating("the volumes"):
        raise RuntimeError("another")
