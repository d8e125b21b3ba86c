"""A canonical form is kept while nothing has changed that decides what the network computes, and no longer."""

from __future__ import annotations

import copy
import gc
import pickle
import types
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from xai_core.canonical import Canonical, canonical_form
from xai_core.canonical.digest import Digest, digests

X = torch.randn(2, 1, 6, 7, 5, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Takes its settings from wherever users put them."""

    CLASS_WIDE = 1.0
    CLASS_LIST: ClassVar[list[float]] = [1.0]
    CLASS_DICT: ClassVar[dict[str, list[float]]] = {"a": [1.0]}
    CLASS_TENSOR, CLASS_ARRAY = torch.tensor(1.0), np.ones(1)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.relu = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU()
        self.second, self.head = nn.Conv3d(4, 4, 3), nn.Linear(4, 2)
        self.register_buffer("mean", torch.zeros(1))
        self.factor, self.settings, self.strides, self.array = 1.0, {"shift": 0.0}, [1, 1, 1], np.ones(1)
        self.plain = torch.ones(1)
        self.act: Callable[..., Tensor] = F.relu
        self.space, self.parted = types.SimpleNamespace(scale=1.0), partial(torch.mul, other=1.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x - self.mean))) * self.factor + self.settings["shift"]
        x = self.relu(F.conv3d(x, self.second.weight, self.second.bias, self.strides)) * self.plain
        x = self.parted(x * self.space.scale * float(self.array[0]) * self.CLASS_WIDE)
        x = x * self.CLASS_LIST[0] * self.CLASS_DICT["a"][0] * self.CLASS_TENSOR * float(self.CLASS_ARRAY[0])
        return self.head(self.scaled(x).mean((2, 3, 4)))

    def scaled(self, x: Tensor) -> Tensor:
        return x


class Plain(nn.Module):
    """Holds nothing that could change unseen, so that it is kept."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.conv(x))).mean((2, 3, 4)))


def digest(tensor: Tensor) -> Digest:
    return digests({"weight": tensor})["weight"]


def right(form: Canonical, model: nn.Module, x: Tensor = X) -> bool:
    """Whether a form computes what the network does, to rounding."""
    with torch.no_grad():
        found, expected = form.network(x.to(next(form.network.parameters()).dtype)), copy.deepcopy(model).eval()(x)
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def trained(model: Any) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    model(X).square().sum().backward()
    optimiser.step()


def loaded(model: Any) -> None:
    torch.manual_seed(9)
    model.load_state_dict({k: torch.rand_like(v.float()).to(v.dtype) for k, v in model.state_dict().items()})


CHANGES: dict[str, Callable[[Any], Any]] = {
    "optimiser": trained,
    "load_state_dict": loaded,
    "written through data": lambda m: m.conv.weight.data.mul_(1.5),
    "one number through data": lambda m: m.conv.bias.data.view(-1)[2:3].add_(1),
    "written through NumPy": lambda m: m.head.weight.detach().numpy().__imul__(2),
    "negated": lambda m: m.head.weight.data.neg_(),
    "two rows swapped": lambda m: m.head.weight.data.copy_(m.head.weight.data.flip(0).clone()),
    "data replaced": lambda m: setattr(m.head.bias, "data", m.head.bias.data + 1),
    "parameter replaced": lambda m: setattr(m.head, "bias", nn.Parameter(torch.full((2,), 3.0))),
    "running mean": lambda m: m.norm.running_mean.add_(0.7),
    "running variance through data": lambda m: m.norm.running_var.data.mul_(3),
    "epsilon of the norm": lambda m: setattr(m.norm, "eps", 2.0),
    "buffer": lambda m: m.mean.fill_(0.4),
    "buffer replaced": lambda m: setattr(m, "mean", torch.ones(1)),
    "attribute": lambda m: setattr(m, "factor", 2.5),
    "attribute of a layer": lambda m: setattr(m.conv, "padding", (0, 1, 1)),
    "dictionary": lambda m: m.settings.update(shift=0.8),
    "list": lambda m: m.strides.__setitem__(1, 2),
    "array": lambda m: m.array.__imul__(2),
    "plain tensor through data": lambda m: m.plain.data.mul_(2),
    "namespace": lambda m: setattr(m.space, "scale", 3.0),
    "partial": lambda m: setattr(m, "parted", partial(torch.mul, other=4.0)),
    "function": lambda m: setattr(m, "act", torch.tanh),
    "own function": lambda m: setattr(m, "act", lambda x: F.relu(x) * 2),
    "list of the class": lambda m: m.CLASS_LIST.__setitem__(0, 2.0),
    "dictionary of the class": lambda m: m.CLASS_DICT["a"].__setitem__(0, 2.0),
    "tensor of the class": lambda m: m.CLASS_TENSOR.data.mul_(2),
    "array of the class": lambda m: m.CLASS_ARRAY.__imul__(2),
    "method of the class": lambda m: setattr(type(m), "scaled", lambda _self, x: 3 * x),
    "class": lambda m: setattr(type(m), "CLASS_WIDE", 5.0),
    "module replaced": lambda m: setattr(m, "relu", nn.Tanh()),
    "weighted module replaced": lambda m: setattr(m, "head", nn.Linear(4, 2)),
    "forward replaced": lambda m: setattr(m, "forward", types.MethodType(lambda self, x: Net.forward(self, x) * 2, m)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_never_missed(change: str) -> None:
    own = {name: copy.deepcopy(value) for name, value in vars(Net).items() if name.startswith("CLASS")}
    model = type("Own", (Net,), own)().eval()
    before = canonical_form(model, X)
    assert right(before, model)
    CHANGES[change](model)
    model.eval()
    assert not right(before, model), "the change changes nothing"
    assert right(canonical_form(model, X), model)


@pytest.mark.parametrize(
    "change",
    ["optimiser", "load_state_dict", "written through data", "one number through data", "written through NumPy",
     "negated", "two rows swapped", "data replaced", "running mean", "epsilon of the norm", "attribute of a layer"],
)  # fmt: skip
@pytest.mark.parametrize("double", [False, True])
def test_a_change_of_a_network_that_is_kept_is_not_missed_either(change: str, double: bool) -> None:
    model = Plain().eval()
    x = X
    if double:
        model, x = model.double(), X.double()
    before = canonical_form(model, x)
    assert canonical_form(model, x) is before
    if change in ("optimiser",) and double:
        model.float(), trained(model), model.double()
    else:
        CHANGES[change](model.double() if double else model)
    model.eval()
    after = canonical_form(model, x)
    assert after is not before
    assert right(after, model, x)
    assert canonical_form(model, x) is after


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64, torch.bool])
def test_a_digest_tells_tensors_apart(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    for shape in ((), (1,), (2,), (3, 5), (64, 9), (300_001,)):
        a = (torch.randn(shape, generator=generator) * 3).to(dtype)
        assert digest(a) == digest(a.clone()) == digest(a.clone().t().t() if a.ndim == 2 else a)
        changed = [a.logical_not() if dtype is torch.bool else -a, a * 2, a + 1, a.flip(-1) if a.ndim else a * 3]
        for other in changed:
            assert (digest(a) == digest(other.to(dtype))) == torch.equal(a, other.to(dtype)), (shape, dtype)
    assert digest(torch.zeros(4)) != digest(torch.zeros(5)) != digest(torch.zeros(5, dtype=torch.float64))
    assert digest(torch.zeros(0)) == digest(torch.zeros(0))


def test_signs_of_any_two_numbers_count() -> None:
    """The sign is the highest bit of a word; a sum modulo a power of two forgets an even number of these."""
    for dtype in (torch.float32, torch.float64):
        a = torch.rand(9, dtype=dtype) + 1
        found = {digest(a)}
        for i in range(9):
            for j in range(i):
                b = a.clone()
                b[[i, j]] *= -1
                found.add(digest(b))
        assert len(found) == 37


def test_signs_of_whole_channels_count() -> None:
    """Blocks of powers of two, whose signs cancel in sums of rows and of columns."""
    generator = torch.Generator().manual_seed(2)
    for dtype in (torch.float32, torch.float64):
        a = torch.rand(8, 4096, generator=generator).to(dtype) + 1
        found = {digest(a), digest(-a), digest(a.flip(0)), digest(a.flip(1))}
        for i in range(8):
            for j in range(i):
                b = a.clone()
                b[[i, j]] *= -1
                c = a.clone()
                c[[i, j]] = a[[j, i]]
                found |= {digest(b), digest(c)}
        assert len(found) == 4 + 2 * 28


def test_values_that_do_not_begin_at_a_word_count_alike() -> None:
    a = torch.randn(20_001)
    shifted = torch.cat([a[:1], a])[1:]
    assert shifted.storage_offset() == 1
    assert digest(shifted) == digest(a)


def test_a_generated_network_gets_the_same_form_until_its_code_changes() -> None:
    model = torch.fx.symbolic_trace(Plain().eval())
    form = canonical_form(model, X)
    assert canonical_form(model, X) is form
    last = next(node for node in model.graph.nodes if node.op == "output")
    with model.graph.inserting_before(last):
        last.args = (model.graph.call_function(torch.neg, last.args),)
    model.recompile()
    after = canonical_form(model, X)
    assert after is not form
    assert right(after, model, X)
    assert canonical_form(model, X) is after
    forward = type(model).forward
    type(model).forward = lambda self, x: -forward(self, x)  # type: ignore[assignment]
    assert right(canonical_form(model, X), model, X)


def test_an_unchanged_network_gets_the_same_form() -> None:
    model = Plain().eval()
    form = canonical_form(model, X)
    for mode in (True, False, True):
        assert canonical_form(model.train(mode), X + 1) is form
        assert model.training is mode
    model.conv.weight.requires_grad_(False)
    model.zero_grad()
    with torch.inference_mode():
        assert canonical_form(model, X) is form


def test_functions_and_containers_do_not_keep_a_network_from_being_kept() -> None:
    class Settled(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.cfg, self.bound = F.relu, {"a": [1, (2, "b")], "c": {1, 2}}, self.scaled
            self.dtype, self.kind, self.part = torch.float32, nn.ReLU, partial(nn.ReLU, inplace=True)
            self.mine = lambda x, factor=2.0: x * factor

        def scaled(self, x: Tensor) -> Tensor:
            return x * 2

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.mine(self.bound(x)))

    model = Settled().eval()
    form = canonical_form(model, X)
    assert canonical_form(model, X) is form
    model.mine = lambda x, factor=3.0: x * factor
    assert right(canonical_form(model, X), model)


def test_a_function_at_the_place_of_another_one_in_memory_is_another_function() -> None:
    class Own(Plain):
        act: Callable[[Tensor], Tensor]

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.act(x))

    model = Own().eval()
    for factor in range(1, 6):  # each one is gone before the next is made, at the same address as a rule
        source = {"act": None}
        exec(f"def act(x): return x * {factor}", source)
        model.act = source.pop("act")  # type: ignore[assignment]
        del source
        assert right(canonical_form(model, X), model), factor
        del model.act


@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("where", ["", "conv"])
def test_a_network_with_hooks_is_never_kept(kind: str, where: str) -> None:
    model = Plain().eval()
    form = canonical_form(model, X)
    handle = getattr(model.get_submodule(where), kind)(lambda *_: None)
    hooked = canonical_form(model, X)
    assert hooked is not form
    assert canonical_form(model, X) is not hooked
    handle.remove()
    assert canonical_form(model, X) is form, "without the hook it is the same network again"


def test_sizes_types_and_what_is_passed_are_told_apart() -> None:
    model = Plain().eval()
    forms = [
        canonical_form(model, X),
        canonical_form(model, X[:1]),
        canonical_form(model, X[..., 1:]),
        canonical_form(model, X.double()),
        canonical_form(model, X, ["conv"]),
    ]
    assert len({id(form) for form in forms}) == 5
    single = canonical_form(model, X)
    double = canonical_form(model.double(), X)
    assert {p.dtype for p in single.network.parameters()} == {torch.float32}
    assert {p.dtype for p in double.network.parameters()} == {torch.float64}


def test_half_precision_is_not_taken_for_the_single_precision_that_it_was() -> None:
    model = Plain().eval()
    canonical_form(model, X)
    rounded = copy.deepcopy(model).half()
    form = canonical_form(model.half(), X)
    for name, parameter in rounded.float().named_parameters():
        if name.startswith("head"):
            assert torch.equal(form.network.get_parameter(f"network.{name}"), parameter)


def test_at_most_two_forms_are_kept_and_the_oldest_goes() -> None:
    model = Plain().eval()
    first, second = canonical_form(model, X), canonical_form(model, X[:1])
    held = weakref.ref(first.network)
    assert canonical_form(model, X[:1]) is second
    del first
    third = canonical_form(model, X[..., 1:])
    gc.collect()
    assert held() is None
    assert canonical_form(model, X[:1]) is second
    assert canonical_form(model, X[..., 1:]) is third


@pytest.mark.parametrize("kind", [Plain, Net])
def test_forms_are_freed_with_the_network(kind: type[nn.Module]) -> None:
    model = kind().eval()
    held = weakref.ref(canonical_form(model, X).network)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert held() is None


def test_copies_and_pickles_of_a_network_that_was_explained_are_plain_networks() -> None:
    model = Plain().eval()
    before = pickle.dumps(model)
    form = canonical_form(model, X)
    assert pickle.dumps(model) == before
    for twin in (copy.deepcopy(model), pickle.loads(before)):
        assert torch.equal(twin(X), model(X))
        with torch.no_grad():
            twin.head.bias.add_(1)
        assert right(canonical_form(twin, X), twin)
        assert canonical_form(model, X) is form
        twin.train()(X).sum().backward()  # still trainable
        assert twin.conv.weight.grad is not None
        assert model.conv.weight.grad is None


@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
        weight_norm,
        spectral_norm,
        partial(prune.random_unstructured, name="weight", amount=0.5),
    ],
)
def test_reparametrised_layers_are_never_stale(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = Plain().eval()
    canonical_form(model, X)
    wrap(model.conv)
    model.eval()
    computed(model)
    for parameter in model.conv.parameters():
        parameter.data.mul_(torch.linspace(0.5, 2, len(parameter)).view(-1, *[1] * (parameter.ndim - 1)))
    computed(model)
    model(X).sum().backward()  # the network itself is as it was
    assert any("weight" in name for name, _ in model.conv.named_parameters())


def computed(model: nn.Module, volumes: torch.Tensor = X) -> None:
    """Compare without a copy of the network, which the old weight norm does not allow after a forward."""
    form = canonical_form(model, volumes)
    with torch.no_grad():
        torch.testing.assert_close(form.network(volumes), model(volumes), rtol=1e-4, atol=1e-6)


def test_the_random_numbers_of_others_stay_as_they_are() -> None:
    model = Net().eval()
    state = torch.get_rng_state()
    canonical_form(model, X)
    assert torch.equal(torch.get_rng_state(), state)


class Viewing(nn.Module):
    """Few channels, and a view that only the memory order of its own network allows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv3d(1, 4, 3), nn.Linear(4 * 5 * 6 * 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.conv(x).relu().view(len(x), -1))


def test_the_form_keeps_the_memory_order_of_the_network() -> None:
    computed(Viewing().eval(), torch.randn(2, 1, 7, 8, 6))
