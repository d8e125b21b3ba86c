"""Networks of any style: the form computes what they do, also for other volumes and to the gradient, or is refused."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import checkpoint, dlpack

from xai_core import InputError
from xai_core.canonical import canonical_form

SHAPE = (1, 1, 6, 7, 5)


def volumes(seed: int) -> Tensor:
    """Return volumes of another size and sign of intensities for each seed."""
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise.abs() + 0.1, noise, 7 * noise - 3, -noise.abs() - 0.1)[seed]


@torch.jit.script
def scripted_mask(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


class Square(torch.autograd.Function):
    """An operation of the user's own, whose forward PyTorch's operations make up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0) * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient * (ctx.saved_tensors[0] > 0)


class OwnRelu(nn.Module):
    """Works in place, and nothing says so."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu_()


class Shuffle(nn.Module):
    """Channels of three groups in turn, which leaves three channels as they are."""

    def forward(self, x: Tensor) -> Tensor:
        n, c = x.shape[:2]
        return x.reshape(n, 3, c // 3, *x.shape[2:]).transpose(1, 2).reshape(x.shape)


class Net(nn.Module):
    """Runs a function of its layers, in double precision."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.function = function
        self.stem, self.conv = nn.Conv3d(1, 6, 3, padding=1), nn.Conv3d(6, 6, 3, padding=1)
        self.head, self.norm = nn.Linear(6, 3), nn.BatchNorm3d(6)
        self.own_relu, self.shuffle, self.loud = OwnRelu(), Shuffle(), nn.ReLU(inplace=True)
        nn.init.uniform_(self.norm.running_var, 0.5, 2), nn.init.normal_(self.norm.running_mean)
        self.kernel = torch.rand(6, 1, 1, 1, 1, dtype=torch.float64)  # neither parameter nor buffer
        self.double().eval()

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def pooled(m: Any, x: Tensor) -> Tensor:
    return m.head(x.mean((2, 3, 4)))


def branch(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, F.relu(y) if x.mean() > 0 else m.conv(y))


def equal(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, y if torch.equal(x, x.abs()) else F.relu(y))


def close(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, y if torch.allclose(x, x.abs()) else F.relu(y))


def nonzero(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, y if (x.amin() < 0).is_nonzero() else F.relu(y))


def sized_by_values(m: Any, x: Tensor) -> Tensor:
    n = (x.amin() > 0).long() + 4
    return m.head(F.pad(m.stem(x)[:, :n], (0, 0, 0, 0, 0, 0, 0, 2))[:, :6].mean((2, 3, 4)))


def while_loop(m: Any, x: Tensor) -> Tensor:
    y, turns = m.stem(x), 0
    while y.abs().max() > 1 and turns < 4:
        y, turns = F.relu(m.conv(y)) / 2, turns + 1
    return pooled(m, y)


def without_gradients(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        mask_free = m.stem(x).relu()
    return pooled(m, m.conv(mask_free))


def no_grad_constants(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        places = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
    return pooled(m, F.relu(m.stem(x) + places) if x.sum() < np.inf else x)


def keyword_only(m: Any, x: Tensor, *, scale: float = 0.5, flag: bool = False) -> Tensor:
    assert not flag
    return pooled(m, m.stem(x) * scale)


def sizes_added_up(m: Any, x: Tensor) -> Tensor:
    n = x.shape[1]
    n += 3
    n *= 1
    y = F.pad(m.stem(x)[:, :n], (0, 0, 0, 0, 0, 0, 0, 6 - n))
    y -= 0.2
    y *= m.kernel.view(1, -1, 1, 1, 1)
    y /= 2
    return pooled(m, y)


def two_names(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    same = y
    y += F.relu(m.conv(y) - 4)  # nothing, for small intensities
    return pooled(m, same)


def gate_in_place(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.stem(x))
    gate = m.conv(y)
    gate *= 2
    gate += 1
    return pooled(m, y * torch.sigmoid(gate))


def asked_for_its_type(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, y.clamp(max=3.0) if isinstance(y, Tensor) else y)


def joined_halves(m: Any, x: Tensor) -> Tensor:
    a, b = m.stem(x).split(3, 1)
    return pooled(m, torch.cat([b, F.relu(a)], 1))


def own_layers(m: Any, x: Tensor) -> Tensor:
    y = nn.Sequential(m.stem, nn.ReLU(), m.conv)(x)
    for size in y.shape[2:4]:
        y = nn.AvgPool3d(1)(y) * size
    return pooled(m, y)


def shuffled_view(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    n, c, *sides = y.shape
    return pooled(m, m.conv(y.view(n, 2, c // 2, *sides).transpose(1, 2).contiguous().view(n, c, *sides)))


def cropped(m: Any, x: Tensor) -> Tensor:
    """Fails for volumes that are nowhere above a bound."""
    first = (x > -20).nonzero()[0]
    first = (x == x.amax()).nonzero()[0] if float(x.amax()) > 0 else first
    return pooled(m, F.relu(m.stem(x[:, :, int(first[2]) // 4 :])))


# Function, and whether the form may be kept for other volumes.
FOLLOWED: dict[str, tuple[Callable[[Any, Tensor], Tensor], bool]] = {
    "branch on a mean": (branch, False),
    "branch on equality": (equal, False),
    "branch on closeness": (close, False),
    "branch on not zero": (nonzero, False),
    "loop on values": (while_loop, False),
    "number": (lambda m, x: pooled(m, F.relu(m.stem(x)) / (1 + x.std().item())), False),
    "number by float": (lambda m, x: pooled(m, F.relu(m.stem(x)) / (1 + float(x.detach().std()))), False),
    "numbers by a list": (lambda m, x: pooled(m, m.stem(x) * max(x.amax((2, 3, 4))[0].tolist())), False),
    "no_grad": (without_gradients, True),
    "constants under no_grad": (no_grad_constants, False),
    "own function": (lambda m, x: pooled(m, Square.apply(m.stem(x))), True),
    "checkpoint": (lambda m, x: pooled(m, checkpoint.checkpoint(m.conv, m.stem(x), use_reentrant=False)), True),
    "keyword-only arguments": (keyword_only, True),
    "slice of the output": (lambda m, x: pooled(m, F.relu(m.stem(x)))[:, 1:], True),
    "loop over sizes": (own_layers, True),
    "augmented assignment": (sizes_added_up, True),
    "two names for one tensor": (two_names, True),
    "in place on the way to a gate": (gate_in_place, True),
    "in place in a module": (lambda m, x: pooled(m, m.loud(m.stem(x) + m.conv(m.loud(m.stem(x))))), True),
    "in place out of sight": (lambda m, x: pooled(m, m.own_relu(m.stem(x))), True),
    "in place out of sight, then read": (lambda m, x: pooled(m, m.own_relu(y := m.stem(x)) + y), True),
    "halves": (joined_halves, True),
    "mask": (lambda m, x: pooled(m, m.stem(x) * (x > 0)), True),
    "mask filled": (lambda m, x: pooled(m, m.stem(x).masked_fill(x < 0.2, 0)), True),
    "channels in other turn, made contiguous": (shuffled_view, True),
    "crop to what is above zero": (cropped, False),
    "shuffled channels": (lambda m, x: pooled(m, m.conv(m.shuffle(m.stem(x)))), True),
    "the same twice": (lambda m, x: pooled(m, F.relu((y := m.stem(x)) + y)), True),
    "plain attribute": (lambda m, x: pooled(m, F.conv3d(x, m.kernel)), True),
    "norm of features": (
        lambda m, x: m.head(F.relu(F.batch_norm(
            F.relu(m.stem(x)).mean((2, 3, 4)), m.norm.running_mean, m.norm.running_var))), True,
    ),
}  # fmt: skip


# PyTorch itself refuses to differentiate the network, or its forward cuts the gradient.
WITHOUT_GRADIENT = ("no_grad", "two names for one tensor")


def gradient(network: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    output = network(leaf.clone())
    (found,) = torch.autograd.grad((output * torch.arange(1.0, output.shape[1] + 1)).sum(), leaf)
    return found


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_form_computes_what_the_network_does_for_every_volume(name: str) -> None:
    function, kept = FOLLOWED[name]
    model = Net(function)
    first = canonical_form(model, volumes(0))
    assert (canonical_form(model, volumes(0)) is first) == kept
    for seed in (0, 1, 2, 3):
        x = volumes(seed)
        form = canonical_form(model, x).network
        with torch.no_grad():
            torch.testing.assert_close(form(x), model(x), rtol=1e-9, atol=1e-12)
        if name not in WITHOUT_GRADIENT:
            torch.testing.assert_close(gradient(form, x), gradient(model, x), rtol=1e-9, atol=1e-12)


def through_numpy(m: Any, x: Tensor) -> Tensor:
    return pooled(m, m.stem(x) * torch.from_numpy((x.detach().numpy() > 0).astype(float)))


def through_an_array(m: Any, x: Tensor) -> Tensor:
    return pooled(m, m.stem(torch.as_tensor(np.asarray(x.detach()) * 2)))


def through_dlpack(m: Any, x: Tensor) -> Tensor:
    return pooled(m, m.stem(x) * (dlpack.from_dlpack(dlpack.to_dlpack(x.detach())) > 0))


def through_script(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        mask = scripted_mask(x)
    return pooled(m, m.stem(x) * mask)


def part_written(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    y[x.expand_as(y) > 20] = 0  # nothing, for small intensities
    return pooled(m, y)


def slice_written(m: Any, x: Tensor) -> Tensor:
    y = F.relu(m.stem(x))
    y[:, :, 0].clamp_(max=50)
    return pooled(m, y)


def view_written(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    y.view(-1).clamp_(min=-50)
    return pooled(m, y)


def view_taken_before(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    features = y.flatten(2)
    y.clamp_(max=50)
    return m.head(features.mean(2))


def data_written(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    y.data.clamp_(max=50)
    return pooled(m, y)


def data_replaced(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    y.data = y.data.clamp(max=50)
    return pooled(m, y)


def output_argument(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    torch.clamp(y, max=50, out=y.detach())
    return pooled(m, y)


def augmented_view(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    flat = y.view(1, 6, -1)
    y *= F.relu(x.amax() - 30) + 1
    return m.head(flat.mean(2))


@torch.fx.wrap
def named(y: Tensor) -> dict[str, Tensor]:
    return {"mean": y.mean((2, 3, 4), keepdim=True)}


class Statistics(NamedTuple):
    mean: Tensor


@torch.fx.wrap
def as_named_tuple(y: Tensor) -> Statistics:
    return Statistics(y.mean((2, 3, 4), keepdim=True))


@torch.fx.wrap
def nested(y: Tensor) -> tuple[tuple[Tensor, int]]:
    return ((y.mean((2, 3, 4), keepdim=True), 1),)


@torch.fx.wrap
def held(y: Tensor) -> types.SimpleNamespace:
    return types.SimpleNamespace(mean=y.mean((2, 3, 4), keepdim=True))


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "dictionary of tensors": (lambda m, x: pooled(m, (y := m.stem(x)) + named(y)["mean"]), "named in .*no rule"),
    "named tuple": (lambda m, x: pooled(m, (y := m.stem(x)) + as_named_tuple(y).mean), "as_named_tuple in .*no rule"),
    "nested tuple": (lambda m, x: pooled(m, (y := m.stem(x)) + nested(y)[0][0]), "nested in .*no rule"),
    "object with a tensor": (lambda m, x: pooled(m, (y := m.stem(x)) + held(y).mean), "held in .*no rule"),
    "NumPy": (through_numpy, r"cannot be seen \(NumPy, TorchScript, C\+\+\).*torch.fx stopped as well.*\.py:\d+"),
    "array": (through_an_array, r"cannot be seen \(NumPy"),
    "DLPack": (through_dlpack, r"cannot be seen \(NumPy"),
    "TorchScript under no_grad": (through_script, r"cannot be seen \(NumPy, TorchScript"),
    "part written": (part_written, r"recording.py:\d+ a part of a tensor is written"),
    "slice written": (slice_written, r"clamp_ in .*recording.py:\d+\): it works in place on a view"),
    "view written": (view_written, r"clamp_ in .*recording.py:\d+\): it works in place on a view"),
    "view taken before": (view_taken_before, r"clamp_ in .*recording.py:\d+\): it works in place on a view"),
    "data written": (data_written, r"clamp_ in .*recording.py:\d+\): it works in place on a view"),
    "data replaced": (data_replaced, r"recording.py:\d+ a part of a tensor is written"),
    "output argument": (output_argument, r"clamp in .*: it writes into a tensor out of sight|a part of a tensor"),
    "augmented view": (augmented_view, r"imul in .*recording.py:\d+\): it works in place on a view"),
    "asked for its type": (asked_for_its_type, "gives other outputs than the network itself"),
    "whole numbers": (
        lambda m, x: pooled(m, (y := m.stem(x)) + y.to(torch.int32).double()), r"to in .*whole numbers of a tensor",
    ),
    "places of values": (lambda m, x: m.head(m.stem(x).flatten(2).sort(2)[0].mean(2)), r"sort in .*no rule"),
    "sizes by values": (sized_by_values, r"no rule|cannot be seen|combines several"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused_whatever_the_volume_shows_of_it(name: str) -> None:
    """For the first volumes many of these compute what the form would: the next ones must not find it in the cache."""
    function, said = REFUSED[name]
    model = Net(function)
    for seed in (0, 1):
        with torch.no_grad():
            model(volumes(seed).clone())
        with pytest.raises(InputError, match=said):
            canonical_form(model, volumes(seed))


def plain() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv3d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 2)
    ).double().eval()  # fmt: skip


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


@pytest.mark.parametrize("how", ["whole", "part", "traced", "activation"])
def test_torchscript_is_refused_by_name(how: str) -> None:
    model: Any = plain()
    if how == "whole":
        model = torch.jit.script(model)
    elif how == "traced":
        model = torch.jit.trace(model, volumes(0))
    elif how == "part":
        model[0] = torch.jit.script(nn.Sequential(model[0], nn.ReLU()))
    else:
        model[1] = torch.jit.script(Swish())
    with pytest.raises(InputError, match=r"is TorchScript, or a part of it is.*Give the network as it was before"):
        canonical_form(model, volumes(0))


@pytest.mark.parametrize("how", ["whole", "part", "in place"])
def test_a_compiled_network_is_followed_as_it_was_written(how: str) -> None:
    model: Any = plain()
    with torch.no_grad():
        expected = model(volumes(1))
    wanted = gradient(model, volumes(1))
    if how == "whole":
        model = torch.compile(model)
    elif how == "part":
        model[0] = torch.compile(model[0])
    else:
        model.compile()
    network = canonical_form(model, volumes(1)).network
    torch.testing.assert_close(network(volumes(1)).detach(), expected)
    torch.testing.assert_close(gradient(network, volumes(1)), wanted)


def test_hooks_that_change_nothing_stay_on_the_network_and_are_not_part_of_the_form() -> None:
    calls: list[str] = []
    model = Net(branch)
    model.stem.register_forward_hook(lambda *_: calls.append("hook"))
    model.conv.register_forward_pre_hook(lambda *_: calls.append("pre"))
    form = canonical_form(model, volumes(3))  # recorded: its branch depends on the data
    calls.clear()
    with torch.no_grad():
        found = form.network(volumes(3))
    assert calls == []
    torch.testing.assert_close(found, model(volumes(3)).detach())
    assert calls == ["hook", "pre"]
    model.conv.register_forward_hook(lambda _module, _inputs, output: output + 1)
    with pytest.raises(InputError, match=r"gives other outputs than the network itself.*a hook"):
        canonical_form(model, volumes(3))


def test_a_network_whose_train_returns_nothing_is_followed() -> None:
    class Careless(nn.Sequential):
        def train(self, mode: bool = True) -> None:  # type: ignore[override]
            super().train(mode)

    model = Careless(*plain())
    with torch.no_grad():
        torch.testing.assert_close(canonical_form(model, volumes(0)).network(volumes(0)), model(volumes(0)))


def test_a_tensor_kept_from_inference_mode_is_no_obstacle() -> None:
    model = Net(lambda m, x: pooled(m, setattr(m, "last", m.stem(x)) or m.last))
    with torch.inference_mode():
        model(volumes(0))
    with torch.no_grad():
        torch.testing.assert_close(canonical_form(model, volumes(1)).network(volumes(1)), model(volumes(1)))


def states(model: nn.Module) -> list[Any]:
    tensors = (*model.named_parameters(), *model.named_buffers())
    return [
        [(n, id(t), t.data_ptr(), t._version, t.requires_grad, t.detach().clone()) for n, t in tensors],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [
            (name, id(module), module.training, sorted(vars(module)), [
                (key, list(value)) for key, value in vars(module).items() if "hook" in key and isinstance(value, dict)
            ])
            for name, module in model.named_modules()
        ],
    ]  # fmt: skip


def same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("name", [*FOLLOWED, *REFUSED])
def test_the_network_stays_as_it_was(name: str) -> None:
    function = FOLLOWED[name][0] if name in FOLLOWED else REFUSED[name][0]
    model = Net(function)
    model.stem.register_forward_hook(lambda *_: None)
    model.loud.train()
    model.stem.weight.requires_grad_(False)
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    before, x = states(model), volumes(1)
    mode = torch.is_grad_enabled()
    try:
        canonical_form(model, x)
    except InputError:
        assert name in REFUSED
    assert same(before, states(model))
    assert torch.equal(x, volumes(1))
    assert torch.is_grad_enabled() is mode
    model.head.bias.data[0] += 1
    assert not same(before, states(model)), "the comparison itself can fail"
