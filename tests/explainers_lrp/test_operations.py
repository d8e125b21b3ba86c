"""Operations outside plain layers: each gets the relevance that the epsilon rule's limit, input x gradient, says.

Exactly so in a network of affine layers and activations with gates and activations' slopes held fixed (Ancona et al.
2018): the reference differentiates a twin of the network in which these are detached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import InputError
from xai_core.canonical import Part, canonical_form
from xai_explainers_lrp.plugin import LRP

X = torch.randn(2, 2, 7, 9, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

Function = Callable[[Any, Tensor], Tensor]


class OwnSwish(nn.Module):
    """As in MONAI's EfficientNet, with a gradient of its own that torch.fx cannot follow."""

    class Formula(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x * torch.sigmoid(x)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return gradient * torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.Formula.apply(x)


class Net(nn.Module):
    """Runs a function of its layers, in double precision, with random weights and statistics."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.function = function
        self.stem, self.conv, self.wide = nn.Conv3d(2, 8, 3), nn.Conv3d(8, 8, 3, padding=1), nn.Conv3d(16, 8, 3)
        self.grouped = nn.Conv3d(8, 8, 3, stride=2, padding=(1, 0, 1), groups=4, dilation=(1, 2, 1))
        self.same = nn.Conv3d(8, 8, (2, 3, 4), padding="same")
        self.reflected = nn.Conv3d(8, 8, 3, padding=1, padding_mode="reflect")
        self.circular = nn.Conv3d(8, 8, 3, padding=1, padding_mode="circular")
        self.up, self.flat = nn.ConvTranspose3d(8, 8, 3, stride=2, output_padding=1, groups=2), nn.Linear(8, 8)
        self.norm, self.norm_in = nn.BatchNorm3d(8), nn.BatchNorm3d(2)
        self.squeeze, self.excite, self.head = nn.Linear(8, 2), nn.Linear(2, 8), nn.Linear(8, 3)
        self.hard, self.loud, self.matrix = HardSwish(), nn.ReLU(inplace=True), nn.Parameter(torch.randn(8, 3))
        self.swish, self.trilinear = OwnSwish(), nn.Upsample(scale_factor=2, mode="trilinear")
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1, 1) + 0.5)
        self.register_buffer("mean", torch.tensor([0.1, -0.2]).reshape(1, 2, 1, 1, 1))
        self.register_buffer("slope", torch.tensor([0.3]))
        for norm in (self.norm, self.norm_in):
            nn.init.uniform_(norm.weight, -1.5, 1.5), nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3), nn.init.normal_(norm.running_mean, std=0.3)
        self.double().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def pooled(m: Any, x: Tensor) -> Tensor:
    return m.head(x.mean((2, 3, 4)))


def excited(m: Any, x: Tensor, detach: bool) -> Tensor:
    y = F.relu(m.stem(x))
    gate = torch.sigmoid(m.excite(F.relu(m.squeeze(y.mean((2, 3, 4)))))).view(len(y), 8, 1, 1, 1)
    return pooled(m, F.relu(m.conv(y * (gate.detach() if detach else gate)) + y))


def slope(value: Tensor, x: Tensor) -> Tensor:
    """Return x times the constant value / x: an activation whose slope is held fixed."""
    return x * torch.where(x == 0, 0.0, value / torch.where(x == 0, 1.0, x)).detach()


def own_pool(m: Any, x: Tensor) -> Tensor:
    return pooled(m, m.conv(nn.MaxPool3d(2, stride=1)(F.relu(m.stem(x)))))


def sliced(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x).unbind(1)
    return pooled(m, torch.stack([v.roll(1, 2).flip(1) for v in y], 1).movedim(1, 1))


def data_cat(m: Any, x: Tensor) -> Tensor:
    """As MONAI's shortcut A: a pooled tensor, whose gradient is cut, and channels of zeros."""
    y = F.relu(m.stem(x))
    low = F.avg_pool3d(y, 1, 2)
    zeros = torch.zeros(len(x), 8, *low.shape[2:], dtype=x.dtype)
    return pooled(m, F.relu(m.wide(F.pad(torch.cat([low.data, zeros], dim=1), (1,) * 6))))


class HardSwish(nn.Module):
    """As in many a MobileNetV3: a module in a module."""

    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU6(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x + 3) / 6

    def __init__(self) -> None:
        super().__init__()
        self.gate = self.Gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def shuffled(m: Any, x: Tensor) -> Tensor:
    n, c, *sides = (y := m.stem(x)).shape
    return pooled(m, F.relu(m.grouped(y.view(n, 2, c // 2, *sides).transpose(1, 2).contiguous().view(n, c, *sides))))


def in_statements(m: Any, x: Tensor) -> Tensor:
    x = m.stem(x)
    y = m.conv(x)
    F.relu(y, inplace=True)
    y += x
    m.loud(y)
    y *= 1.5
    return pooled(m, y)


def hard_excited(m: Any, x: Tensor, detach: bool) -> Tensor:
    y = F.relu(m.stem(x))
    gate = F.relu6(m.excite(F.relu(m.squeeze(y.mean((2, 3, 4))))) + 3).div(6).view(len(y), 8, 1, 1, 1)
    return pooled(m, y * (gate.detach() if detach else gate))


def blended(m: Any, x: Tensor, detach: bool) -> Tensor:
    y = F.relu(m.stem(x))
    gate = torch.sigmoid(m.conv(y))
    gate = gate.detach() if detach else gate
    return pooled(m, (gate * y + (1 - gate) * m.conv(y)) * (2 + gate))


def placed(m: Any, x: Tensor) -> Tensor:
    return pooled(m, F.relu(m.stem(x * (torch.arange(6) > 2).to(x))))


def swished(m: Any, x: Tensor) -> Tensor:
    """Hard swish whose gate is held fixed."""
    y = m.stem(x)
    return pooled(m, y * (F.relu6(y + 3) / 6).detach())


def masked(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, y * (y > 0.1).double().detach())


CASES: dict[str, tuple[Function, Function | None]] = {
    "difference": (lambda m, x: pooled(m, F.relu((y := m.stem(x)) - m.conv(y))), None),
    "sum with a factor": (lambda m, x: pooled(m, torch.add(y := m.stem(x), m.conv(y), alpha=-2.5)), None),
    "broadcast sum": (lambda m, x: pooled(m, F.relu((y := m.stem(x)) + y.mean((2, 3, 4), keepdim=True))), None),
    "constant added": (lambda m, x: pooled(m, F.relu(m.stem(x) + 0.3)), None),
    "constant less": (lambda m, x: pooled(m, F.relu(0.3 - m.stem(x))), None),
    "standardised input": (lambda m, x: pooled(m, F.relu(m.stem((x - m.mean) / 2))), None),
    "scaled": (lambda m, x: pooled(m, -F.relu(m.stem(x) * m.scale) * 3), None),
    "own weights": (
        lambda m, x: m.head(F.linear(F.conv3d(x, m.stem.weight, m.stem.bias, 2).relu().mean((2, 3, 4)), m.flat.weight)),
        None,
    ),
    "own norm": (
        lambda m, x: pooled(m, F.batch_norm(m.stem(x), m.norm.running_mean, m.norm.running_var, m.norm.weight, None)),
        None,
    ),
    "norm before convolution": (lambda m, x: pooled(m, F.relu(m.grouped(m.norm(F.relu(m.stem(x)))))), None),
    "norm of the input": (lambda m, x: pooled(m, F.relu(m.stem(m.norm_in(x)))), None),
    "grouped strided dilated": (lambda m, x: pooled(m, F.relu(m.grouped(F.relu(m.stem(x))))), None),
    "padding same": (lambda m, x: pooled(m, F.relu(m.same(F.relu(m.stem(x))))), None),
    "padding reflect": (lambda m, x: pooled(m, F.relu(m.reflected(F.relu(m.stem(x))))), None),
    "padding circular": (lambda m, x: pooled(m, F.relu(m.circular(F.relu(m.stem(x))))), None),
    "replicated": (lambda m, x: pooled(m, m.conv(F.pad(m.stem(x), (1, 0, 2, 1, 0, 0), mode="replicate"))), None),
    "transposed": (lambda m, x: pooled(m, F.relu(m.up(F.relu(m.stem(x))))), None),
    "nearest": (lambda m, x: pooled(m, F.relu(m.conv(F.interpolate(F.relu(m.stem(x)), scale_factor=2)))), None),
    "trilinear": (lambda m, x: pooled(m, F.relu(m.conv(m.trilinear(F.relu(m.stem(x)))))), None),
    "resized": (
        lambda m, x: pooled(m, F.interpolate(m.stem(x), (4, 9, 5), mode="trilinear", align_corners=True)), None,
    ),
    "made in forward": (own_pool, None),
    "global maximum": (lambda m, x: m.head(torch.amax(m.stem(x), (2, 3, 4))), None),
    "maximum of an axis": (lambda m, x: m.head(m.stem(x).flatten(2).max(dim=2)[0]), None),
    "maximum by name": (lambda m, x: m.head(torch.max(m.stem(x).flatten(2), 2).values), None),
    "selections": (sliced, None),
    "loop over the batch": (lambda m, x: pooled(m, torch.cat([m.stem(v[None]) for v in x])), None),
    "own gradient": (
        lambda m, x: pooled(m, m.swish(m.stem(x))), lambda m, x: pooled(m, slope(F.silu(y := m.stem(x)), y)),
    ),
    "own gradient in forward": (
        lambda m, x: pooled(m, OwnSwish.Formula.apply(m.stem(x))),
        lambda m, x: pooled(m, slope(F.silu(y := m.stem(x)), y)),
    ),
    "swish by hand": (
        lambda m, x: pooled(m, (y := m.stem(x)) * torch.sigmoid(y)),
        lambda m, x: pooled(m, slope(F.silu(y := m.stem(x)), y)),
    ),
    **{
        f.__name__: (
            lambda m, x, f=f: pooled(m, f(m.stem(x))), lambda m, x, f=f: pooled(m, slope(f(y := m.stem(x)), y)),
        )
        for f in (F.gelu, F.silu, F.mish, F.hardswish, F.selu, F.celu, F.softsign, F.hardtanh, F.relu6, torch.tanh)
    },
    "clamped": (
        lambda m, x: pooled(m, m.stem(x).clamp(0, 1)), lambda m, x: pooled(m, slope((y := m.stem(x)).clamp(0, 1), y)),
    ),
    "own prelu": (lambda m, x: pooled(m, F.prelu(m.stem(x), m.slope)), None),
    "squeeze and excitation": (lambda m, x: excited(m, x, False), lambda m, x: excited(m, x, True)),
    "attention": (
        lambda m, x: pooled(m, (y := m.stem(x)) * torch.softmax(m.conv(y).flatten(2), 2).view_as(y)),
        lambda m, x: pooled(m, (y := m.stem(x)) * torch.softmax(m.conv(y).flatten(2), 2).view_as(y).detach()),
    ),
    "channels shuffled and made contiguous": (shuffled, None),
    "in place as statements": (
        in_statements,
        lambda m, x: pooled(m, 1.5 * F.relu(F.relu(m.conv(y := m.stem(x))) + y)),
    ),
    "hard swish by modules": (lambda m, x: pooled(m, m.hard(m.stem(x))), swished),
    "hard swish by hand": (lambda m, x: pooled(m, (y := m.stem(x)) * F.relu6(y + 3) / 6), swished),
    "hard swish by clamp": (lambda m, x: pooled(m, (y := m.stem(x)) * (y / 6 + 0.5).clamp(0, 1)), swished),
    "hard swish by hard sigmoid": (lambda m, x: pooled(m, (y := m.stem(x)) * F.hardsigmoid(y)), swished),
    "hard squeeze and excitation": (lambda m, x: hard_excited(m, x, False), lambda m, x: hard_excited(m, x, True)),
    "gates and their rest": (lambda m, x: blended(m, x, False), lambda m, x: blended(m, x, True)),
    "mask": (lambda m, x: pooled(m, (y := m.stem(x)) * (y > 0.1)), masked),
    "mask of numbers": (lambda m, x: pooled(m, (y := m.stem(x)) * (y > 0.1).to(x.dtype)), masked),
    "filled": (lambda m, x: pooled(m, (y := m.stem(x)).masked_fill(y <= 0.1, 0)), masked),
    "chosen": (lambda m, x: pooled(m, torch.where((y := m.stem(x)) > 0.1, y, 0)), masked),
    "chosen the other way": (lambda m, x: pooled(m, torch.where((y := m.stem(x)) <= 0.1, 0.0, y)), masked),
    "chosen by method": (lambda m, x: pooled(m, (y := m.stem(x)).where(y > 0.1, torch.zeros_like(y))), masked),
    "fixed mask": (placed, None),
    "filled at fixed places": (
        lambda m, x: pooled(m, m.stem(x).masked_fill(torch.arange(4) > 2, 0)),
        lambda m, x: pooled(m, m.stem(x) * (torch.arange(4) <= 2)),
    ),
    "mean of an ensemble": (
        lambda m, x: torch.stack([pooled(m, F.relu(m.stem(x))), m.head(m.stem(x).amax((2, 3, 4)))]).mean(0), None,
    ),
    "own product": (lambda m, x: F.relu(m.stem(x)).mean((2, 3, 4)) @ m.matrix + 0.1, None),
    "own product of channels last": (
        lambda m, x: torch.matmul(F.relu(m.stem(x)).movedim(1, -1), m.matrix).mean((1, 2, 3)), None,
    ),
    "detached": (data_cat, lambda m, x: data_cat_joined(m, x)),
}  # fmt: skip


def data_cat_joined(m: Any, x: Tensor) -> Tensor:
    low = F.avg_pool3d(F.relu(m.stem(x)), 1, 2)
    return pooled(m, F.relu(m.wide(F.pad(torch.cat([low, torch.zeros_like(low)], dim=1), (1,) * 6))))


@pytest.mark.parametrize("name", CASES)
def test_without_epsilon_it_is_input_times_gradient(name: str) -> None:
    function, twin = CASES[name]
    x = X.clone().requires_grad_()
    network, reference = Net(function), Net(twin or function)
    torch.testing.assert_close(network(X), reference(X))
    (gradient,) = torch.autograd.grad(reference(x).max(1).values.sum(), x)
    expected = (gradient * X).float()
    assert float(expected.abs().max()) > 1e-5
    found = LRP(composite="epsilon", epsilon=1e-13).explain(network, X, None)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.relevance, expected, rtol=1e-3, atol=1e-4 * scale)
    # All of the output is accounted for: what did not reach the voxels stayed with biases.
    assert found.details is not None
    for row in found.details:
        assert abs(row["conservation"]["unexplained_share"]) < 1e-6, row


@pytest.mark.parametrize("name", CASES)
def test_z_plus_accounts_for_all_of_the_output(name: str) -> None:
    """But for what neurons without a positive contribution lose, which behind a ReLU is nothing."""
    found = LRP(composite="epsilon-plus", epsilon=1e-13).explain(Net(CASES[name][0]), X, None)
    assert found.details is not None
    assert bool(torch.isfinite(found.relevance).all())
    for row in found.details:
        assert abs(row["conservation"]["unexplained_share"]) < 1e-6, row


def test_a_layer_without_a_rule_can_be_passed_on_request() -> None:
    class Normed(Net):
        def __init__(self) -> None:
            super().__init__(lambda m, x: pooled(m, F.relu(m.instance(m.stem(x)))))
            self.instance = nn.InstanceNorm3d(8).double()

    with pytest.raises(InputError, match=r"module instance .* relevance can be made to pass it unchanged"):
        LRP(composite="epsilon").explain(Normed(), X, None)
    found = LRP(composite="epsilon", epsilon=1e-13, rules=[{"layers": "inst*", "rule": "pass"}]).explain(
        Normed(), X, None
    )
    x = X.clone().requires_grad_()
    network = Net(lambda m, x: pooled(m, F.relu(slope(F.instance_norm(y := m.stem(x)), y))))
    (gradient,) = torch.autograd.grad(network(x).max(1).values.sum(), x)
    expected = (gradient * X).float()
    torch.testing.assert_close(found.relevance, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


class OwnNorm(nn.Module):
    """Of the channels, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 2, 8, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(1, keepdim=True)
        return self.weight.view(-1, 1, 1, 1) * x / (x.square().mean(1, keepdim=True) + 1e-6).sqrt()


NORMS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "module": lambda m, y: m.instance(y),
    "function": lambda m, y: F.instance_norm(y, None, None, m.instance.weight, m.instance.bias),
    "group norm": lambda m, y: F.group_norm(y, 4, m.instance.weight, m.instance.bias),
    "layer norm": lambda m, y: F.layer_norm(y.movedim(1, -1), (8,), m.instance.weight).movedim(-1, 1),
    "own class": lambda m, y: m.norm_own(y),
}


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", NORMS)
def test_norms_are_passed_on_request_however_they_are_written(name: str, recorded: bool) -> None:
    def forward(m: Any, x: Tensor, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        y = m.stem(x)
        y = of(NORMS[name](m, y), y)
        return pooled(m, F.relu(y)) if not recorded or float(x.sum()) < 1e9 else y

    def network(of: Callable[[Tensor, Tensor], Tensor]) -> Net:
        net = Net(lambda m, x: forward(m, x, of))
        net.instance, net.norm_own = nn.InstanceNorm3d(8, affine=True).double(), OwnNorm()
        nn.init.normal_(net.instance.weight), nn.init.normal_(net.instance.bias)
        return net.eval().requires_grad_(False)

    layers = "inst*" if name == "module" else "*norm*"
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(slope)(x).max(1).values.sum(), x)
    expected = (gradient * X).float()
    found = LRP(composite="epsilon", epsilon=1e-13, rules=[{"layers": layers, "rule": "pass"}])
    relevance = found.explain(network(lambda value, _: value), X, None).relevance
    torch.testing.assert_close(relevance, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


class Storing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Conv3d(2, 4, 3), nn.Linear(4, 2)
        self.kept: dict[str, list[Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.features = F.relu(self.stem(x))
        self.kept["all"] = [self.features]
        return self.head(self.features.mean((2, 3, 4)))


def test_a_feature_map_that_a_forward_with_gradients_left_is_no_obstacle() -> None:
    network, fresh = Storing().double().eval(), Storing().double().eval()
    network(X)
    before = network.features
    assert before.grad_fn is not None
    found = LRP(composite="epsilon").explain(network, X, None).relevance
    torch.testing.assert_close(found, LRP(composite="epsilon").explain(fresh, X, None).relevance)


def test_a_part_on_several_devices_is_explained_as_the_part_itself() -> None:
    torch.manual_seed(0)
    part, head = nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU()), nn.Sequential(nn.Flatten(), nn.Linear(4 * 140, 2))
    explainer = LRP(composite="epsilon")
    found = explainer.explain(nn.Sequential(nn.DataParallel(part), head).double().eval(), X, None)
    torch.testing.assert_close(found.relevance, explainer.explain(nn.Sequential(part, head), X, None).relevance)


def test_a_pattern_that_names_nothing_leaves_own_classes_to_be_looked_into() -> None:
    """A shortcut of operations that have rules, which changes the number of channels."""

    class Half(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, ::2]

    torch.manual_seed(0)
    layers = nn.Conv3d(2, 4, 3), Half(), nn.InstanceNorm3d(2), nn.Flatten(), nn.Linear(280, 2)
    network = nn.Sequential(*layers).eval()
    form = canonical_form(network, X.float(), passed=("*",))
    torch.testing.assert_close(form.network(X.float()), network(X.float()))
    assert Part.PASSED in form.parts.values()
