"""The reference itself: its rules against dense matrices, its walk against hand-worked networks, what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacrev

STABILIZER, GAMMA, LOW, HIGH = 1e-9, 0.25, -3.0, 4.0

LAYERS: dict[str, Callable[[], list[nn.Module]]] = {
    "strided": lambda: [nn.Conv3d(4, 3, (3, 2, 3), stride=(1, 2, 2), padding=(1, 0, 2))],
    "dilated": lambda: [nn.Conv3d(4, 2, (2, 2, 2), dilation=(1, 2, 3), padding=1), nn.BatchNorm3d(2)],
    "grouped": lambda: [nn.Conv3d(4, 6, 2, groups=2, bias=False)],
    "depthwise": lambda: [nn.Conv3d(4, 4, 3, padding=1, groups=4), nn.BatchNorm3d(4, affine=False)],
    "transposed": lambda: [nn.ConvTranspose3d(4, 2, 3, stride=2, padding=1, output_padding=(1, 0, 1))],
    "grouped transposed": lambda: [nn.ConvTranspose3d(4, 6, (1, 2, 2), groups=2), nn.BatchNorm3d(6)],
    "normalised": lambda: [nn.BatchNorm3d(4), nn.Conv3d(4, 3, 2, padding=1)],
    "normalised twice": lambda: [nn.BatchNorm3d(4), nn.Conv3d(4, 6, 2, padding=(0, 1, 0), groups=2), nn.BatchNorm3d(6)],
}
DENSE: dict[str, Callable[[], list[nn.Module]]] = {
    "dense": lambda: [nn.Flatten(), nn.Linear(72, 7)],
    "dense without bias": lambda: [nn.Flatten(), nn.Linear(72, 7, bias=False), nn.BatchNorm1d(7)],
    "normalised dense": lambda: [nn.Flatten(), nn.BatchNorm1d(72), nn.Linear(72, 7)],
}


def random_network(layers: list[nn.Module]) -> nn.Module:
    """Return layers with a flattened output and random statistics, float64."""
    for layer in layers:
        if isinstance(layer, nn.BatchNorm3d | nn.BatchNorm1d):
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.normal_(layer.running_mean)
            if layer.affine:
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    return nn.Sequential(*layers, nn.Flatten()).double().eval()


def share(z: Tensor, bias: Tensor) -> Tensor:
    """Return ``z_ij / (sum_i z_ij + b_j)``, stabilised."""
    total = z.sum(1) + bias
    return z / (total + torch.where(total >= 0, STABILIZER, -STABILIZER))[:, None]


def dense_shares(composite: str, z: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Return a rule's shares [outputs, inputs] from contributions ``z`` [outputs, inputs] as the papers write it."""
    plus, minus = share(z.clamp(min=0), b.clamp(min=0)), share(z.clamp(max=0), b.clamp(max=0))
    if composite == "epsilon-gamma":
        up = share(z + GAMMA * z.clamp(min=0), b + GAMMA * b.clamp(min=0))
        down = share(z + GAMMA * z.clamp(max=0), b + GAMMA * b.clamp(max=0))
        return torch.where((z.sum(1) + b > 0)[:, None], up, down)
    if composite == "epsilon-gamma-box":
        return share(z - LOW * weight.clamp(min=0) - HIGH * weight.clamp(max=0), torch.zeros_like(b))
    if composite == "epsilon-plus-flat":
        return share((weight != 0).double(), torch.zeros_like(b))
    return {
        "epsilon": share(z, b),
        "epsilon-plus": plus,
        "epsilon-alpha1-beta0": plus,
        "epsilon-alpha2-beta1": 2 * plus - minus,
    }[composite]


CASES = [
    *((kind, composite) for kind in LAYERS for composite in (
        "epsilon", "epsilon-plus", "epsilon-alpha1-beta0", "epsilon-alpha2-beta1", "epsilon-gamma",
        "epsilon-plus-flat", "epsilon-gamma-box",
    )),
    *((kind, composite) for kind in DENSE for composite in ("epsilon", "epsilon-plus")),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "composite"), CASES)
def test_products_with_the_jacobian_equal_sums_over_dense_contributions(
    reference: Any, reference_rules: Any, kind: str, composite: str
) -> None:
    """One volume for each output of the layer; its relevance is a row of the matrix of shares."""
    torch.manual_seed(5)
    network = random_network((LAYERS | DENSE)[kind]())
    x = torch.randn(1, 4, 2, 3, 3, dtype=torch.float64)
    matrix = jacrev(lambda v: network(v.reshape(x.shape))[0])(x.flatten()).detach()
    with torch.no_grad():
        bias, outputs = network(torch.zeros_like(x))[0], network(x)[0]
    rules = reference_rules.Rules(composite, STABILIZER, GAMMA, LOW, HIGH)
    found = reference.explain(network, x.expand(len(outputs), *x.shape[1:]), torch.arange(len(outputs)), rules)
    rule = "epsilon" if kind in DENSE else composite
    expected = dense_shares(rule, matrix * x.flatten(), bias, matrix) * outputs[:, None]
    torch.testing.assert_close(found.flatten(1), expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


class Forward(nn.Module):
    """A network that is a function of its layers, all without bias, and the volumes."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layers, x)


def dense(*rows: list[float]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight = nn.Parameter(torch.tensor(rows, dtype=torch.float))
    return layer


def convolution(*rows: list[float], bias: list[float]) -> nn.Conv3d:
    layer = nn.Conv3d(len(rows[0]), len(rows), 1)
    layer.weight = nn.Parameter(torch.tensor(rows, dtype=torch.float)[:, :, None, None, None])
    layer.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float))
    return layer


def norm(scale: float, shift: float) -> nn.BatchNorm3d:
    layer = nn.BatchNorm3d(1, eps=0.0)
    layer.weight, layer.bias = nn.Parameter(torch.tensor([float(scale)])), nn.Parameter(torch.tensor([float(shift)]))
    return layer


def residual(layers: Any, x: Tensor) -> Tensor:
    x = x.flatten(1)
    y = F.relu(layers[0](x), inplace=True)
    y += x
    return layers[1](y)


def plain(layers: Any, x: Tensor) -> Tensor:
    return layers[1](F.relu(layers[0](x)).flatten(1))


def gated(_layers: Any, x: Tensor) -> Tensor:
    y = F.max_pool3d(x, (1, 1, 2))
    return (torch.sigmoid(y.mean((2, 3, 4), keepdim=True)).expand_as(y) * y).sum((2, 3, 4))


G = 1 / (1 + 2.718281828459045**-3)  # the gate of the mean of 4 and 2

SIGNED = Forward(plain, convolution([1, 1], [-1, -2], bias=[1, 0]), dense([3, 5]))

WORKED: dict[str, tuple[nn.Module, list[float], str, bool, list[float]]] = {
    # a = (3, 3), a + x = (5, 2), f = 12; their relevance (10, 2) is (6, 3) of a and (4, -1) of x.
    # a1 = 2 + 1 gives (4, 2), a2 = 4 - 1 gives (4, -1).
    "residual": (Forward(residual, dense([1, -1], [2, 1]), dense([2, 1])), [2, -1], "epsilon", False, [12, 0]),
    # z1 = 2 - 1 + 1 = 2 and f = 6; under z+ the first voxel has 2 of 3 and the bias 1.
    "plus": (SIGNED, [2, -1], "epsilon-plus", False, [4, 0]),
    "plus without bias": (SIGNED, [2, -1], "epsilon-plus", True, [6, 0]),
    # 2 * 6 * (2 / 3) of the positive contributions, less 6 * (-1 / -1) of the negative ones.
    "alpha 2 beta 1": (SIGNED, [2, -1], "epsilon-alpha2-beta1", False, [8, -6]),
    "winners and a gate": (Forward(gated), [1, 4, 2, -2], "epsilon-plus", False, [0, 4 * G, 2 * G, 0]),
    "average": (Forward(lambda _, x: x.mean((2, 3, 4))), [1, 4, 2, -2], "epsilon-plus", False, [0.25, 1, 0.5, -0.5]),
    # Not part of a layer: 2 x + 1 = 7, of which the bias has 1.
    "norm": (Forward(lambda m, x: m[0](F.relu(x)).flatten(1), norm(2, 1)), [3], "epsilon-plus", False, [6]),
    # Part of a layer under z+: 2 (3 - 2) + 1 = 3, the positive contributions are 6 and the bias 1.
    "norm of a layer": (
        Forward(lambda m, x: m[1](m[0](x)).flatten(1), convolution([1, 1], bias=[0]), norm(2, 1)),
        [3, -2], "epsilon-plus", False, [18 / 7, 0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKED)
def test_hand_worked_networks(reference: Any, reference_rules: Any, name: str) -> None:
    network, values, composite, ignore_bias, expected = WORKED[name]
    channels = 1 if len(values) == 4 else len(values)
    x = torch.tensor(values, dtype=torch.float).reshape(1, channels, 1, 1, -1)
    rules = reference_rules.Rules(composite, ignore_bias=ignore_bias)
    found = reference.explain(network.eval(), x, torch.tensor([0]), rules).flatten()
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-7, atol=1e-7)


def pooled(y: Tensor) -> Tensor:
    return y.mean((2, 3, 4))


UNKNOWN: dict[str, tuple[Callable[[Any, Tensor], Tensor], str]] = {
    "activation that is not zero at zero": (lambda m, x: pooled(F.softplus(m[0](x))), "Softplus"),
    "activation that changes signs": (lambda m, x: pooled(F.hardtanh(m[0](x), 1, 2)), "changes signs"),
    "product with a number": (lambda m, x: pooled(m[0](x) * 2), "product with a constant"),
    "product without gate": (lambda m, x: pooled(m[0](x) * m[0](x)), "without one gate"),
    "product of gates": (lambda m, x: pooled(m[0](x).sigmoid() * m[0](x).sigmoid()), "without one gate"),
    "gate as output": (lambda m, x: pooled(m[0](x)).sigmoid(), "outside a gate"),
    "added number": (lambda m, x: pooled(m[0](x) + 1), "constant"),
    "added parameter": (lambda m, x: pooled(m[0](x) + m[0].bias[:, None, None, None]), "constant|shapes"),
    "added detached": (lambda m, x: pooled(m[0](x) + m[0](x).data), "constant"),
    "added twice": (lambda m, x: pooled(torch.add(m[0](x), m[0](x), alpha=2)), "factor"),
    "broadcast sum": (lambda m, x: pooled((y := m[0](x)) + y.mean((2, 3, 4), keepdim=True)), "shapes"),
    "difference": (lambda m, x: pooled(m[0](x) - m[0](x)), "Sub"),
    "concatenated constant": (lambda m, x: pooled(torch.cat([m[0](x), m[0](x).detach()], 1)), "concatenated"),
    "batch statistics": (lambda m, x: pooled(F.instance_norm(m[0](x))), "statistics of the batch"),
    "reflection": (lambda m, x: pooled(F.pad(m[0](x), (1,) * 6, mode="reflect")), "ReflectionPad3d|Reflection"),
    "written into": (lambda m, x: pooled(_overwritten(m[0](x))), "CopySlices"),
}


def _overwritten(y: Tensor) -> Tensor:
    y[:, :1] = y[:, 1:]
    return y


@pytest.mark.parametrize("name", UNKNOWN)
def test_the_reference_refuses_what_it_does_not_know(
    reference: Any, reference_rules: Any, unknown_node: type[Exception], name: str
) -> None:
    function, message = UNKNOWN[name]
    network = Forward(function, nn.Conv3d(1, 2, 1))
    with pytest.raises(unknown_node, match=message):
        reference.explain(network, torch.randn(1, 1, 3, 3, 3), None, reference_rules.Rules("epsilon"))


def test_a_wrongly_read_setting_does_not_stay_unnoticed(reference: Any, reference_rules: Any) -> None:
    """Autograd does not record the value of padding; replayed with zeros, the output is another."""
    network = Forward(lambda m, x: pooled(F.pad(m[0](x), (1, 0, 0, 0, 0, 0), value=3.0)), nn.Conv3d(1, 2, 1))
    with pytest.raises(AssertionError):
        reference.explain(network, torch.randn(1, 1, 3, 3, 3), None, reference_rules.Rules("epsilon"))


def test_the_network_is_left_as_it_was(reference: Any, reference_rules: Any) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.Flatten()).requires_grad_(False).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    reference.explain(network, torch.randn(2, 1, 3, 3, 3), None, reference_rules.Rules("epsilon-plus"))
    assert network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
