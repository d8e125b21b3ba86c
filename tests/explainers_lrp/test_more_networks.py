"""Batch normalisation that no layer feeds alone, branches on sizes, wrapped networks, and input that does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import InputError
from xai_explainers_lrp.plugin import LRP

X = torch.randn(2, 1, 7, 9, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Net(nn.Module):
    """Runs a function of its layers, which are drawn at random, in double precision."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.function = function
        self.stem, self.conv, self.wide = nn.Conv3d(1, 8, 3), nn.Conv3d(8, 8, 3, padding=1), nn.Conv3d(16, 8, 3)
        self.up = nn.ConvTranspose3d(8, 8, 2, groups=2)
        self.norm0, self.norm8, self.norm16 = nn.BatchNorm3d(1), nn.BatchNorm3d(8), nn.BatchNorm3d(16)
        self.pad, self.loud, self.head = (
            nn.ConstantPad3d((0, 1, 2, 0, 0, 1), 0.0),
            nn.ReLU(inplace=True),
            nn.Linear(8, 3),
        )
        self.head_in = nn.Linear(8, 8)
        self.layers = nn.Sequential(self.conv, nn.ReLU(), nn.Conv3d(8, 8, 1), nn.ReLU())
        for norm in (self.norm0, self.norm8, self.norm16):
            nn.init.uniform_(norm.weight, -1.5, 1.5), nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3), nn.init.normal_(norm.running_mean, std=0.3)
        self.double().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def pooled(m: Any, x: Tensor) -> Tensor:
    return m.head(x.mean((2, 3, 4)))


def dense(m: Any, x: Tensor) -> Tensor:
    x = F.max_pool3d(F.relu(m.stem(x)), (1, 2, 1), ceil_mode=True)
    x = torch.cat([x, m.conv(F.relu(m.norm8(x)))], 1)
    return pooled(m, F.relu(m.wide(F.relu(m.norm16(x)))))


def by_size(m: Any, x: Tensor) -> Tensor:
    if x.ndim != 5:
        raise ValueError("not a volume")
    assert x.shape[1] == 1
    y = F.relu(m.stem(x))
    if y.shape[-1] % 2 == 0:
        y = m.conv(y)
    count = 1
    for side in y.shape[2:]:
        count *= side
    return m.head(y.view(-1, 8, count).mean(-1))


def halves_first(m: Any, x: Tensor) -> Tensor:
    halves = torch.stack([F.relu(m.stem(half)).mean((2, 3, 4)) for half in (x[..., :3], x[..., 3:])])
    y = F.relu(m.head_in(halves))
    return m.head(y[0] + y[1])


NETWORKS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "dense block": dense,
    "pre-activation": lambda m, x: pooled(m, (y := m.stem(x)) + m.conv(m.loud(m.norm8(y)))),
    "norm of a sum": lambda m, x: pooled(m, F.relu(m.norm8((y := F.relu(m.stem(x))) + m.conv(y)))),
    "norm of the input": lambda m, x: pooled(m, F.relu(m.stem(m.norm0(x)))),
    "norm after a shared layer": lambda m, x: pooled(m, F.relu(m.norm8(y := m.stem(x)) + y)),
    "norm after transposed groups": lambda m, x: pooled(m, F.relu(m.norm8(m.up(F.relu(m.stem(x)))))),
    "padding with zeros": lambda m, x: pooled(m, F.relu(m.conv(m.pad(F.relu(m.stem(x)))))),
    "branches on sizes": by_size,
    "sum pooling": lambda m, x: m.head(F.relu(m.stem(x)).sum((2, 3, 4))),
    "sum of an axis": lambda m, x: m.head(F.relu(m.stem(x)).flatten(2).sum(-1)),
    "without a batch": lambda m, x: torch.stack([m.head(F.relu(m.stem(v)).mean((1, 2, 3))) for v in x]),
    "halves along a new first axis": halves_first,
    "slices": lambda m, x: pooled(m, m.layers[2:](m.layers[:2](m.stem(x)))),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_without_epsilon_it_is_input_times_gradient(name: str) -> None:
    """Exactly so in a network of affine layers and ReLU, also with biases (Ancona et al. 2018)."""
    network = Net(NETWORKS[name])
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).max(1).values.sum(), x)
    expected = (gradient * X).float()
    assert float(expected.abs().max()) > 1e-4
    found = LRP(composite="epsilon", epsilon=1e-13).explain(network, X, None).relevance
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "epsilon-plus-flat", "epsilon-gamma-box"])
def test_a_dense_block_without_shifts_conserves(composite: str) -> None:
    network = Net(dense)
    for name, tensor in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(tensor)
    for norm in (network.norm8, network.norm16):
        nn.init.zeros_(norm.running_mean)  # type: ignore[arg-type]
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    attribution = LRP(composite=composite, epsilon=1e-9).explain(network, X, None)  # type: ignore[arg-type]
    total = attribution.relevance.sum((1, 2, 3, 4))
    torch.testing.assert_close(total, attribution.output, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: pooled(m, F.relu(m.stem(m.pad(m.norm0(x))))),
        lambda m, x: pooled(m, F.relu(m.stem(F.avg_pool3d(x, 2)))),
    ],
    ids=["norm", "average"],
)
def test_the_flat_rule_wants_voxels(function: Callable[[Any, Tensor], Tensor]) -> None:
    """What it gives a voxel is not in proportion to the voxel, so an average of nearly zero would make it explode."""
    with pytest.raises(InputError, match="flat rule of epsilon-plus-flat needs a first layer that sees voxels"):
        LRP(composite="epsilon-plus-flat").explain(Net(function), X, None)


def test_padding_with_another_value_is_refused() -> None:
    network = Net(NETWORKS["padding with zeros"])
    network.pad = nn.ConstantPad3d(1, 0.5)
    with pytest.raises(InputError, match=r"module pad \(ConstantPad3d, .*\): only padding with zeros"):
        LRP().explain(network, X, None)


def test_a_branch_on_values_is_followed_as_the_volumes_take_it() -> None:
    network = Net(lambda m, x: pooled(m, F.relu(y) if (y := m.stem(x)).max() > 1e3 else m.conv(F.relu(y))))
    for volume, taken in ((X, lambda m, x: pooled(m, m.conv(F.relu(m.stem(x))))),
                          (1e5 * X, lambda m, x: pooled(m, F.relu(m.stem(x))))):  # fmt: skip
        expected = LRP().explain(Net(taken), volume, None).relevance
        torch.testing.assert_close(LRP().explain(network, volume, None).relevance, expected)


def test_wrapped_and_synchronised_networks_are_explained_as_they_are() -> None:
    network = Net(dense)
    expected = LRP().explain(network, X, None).relevance
    assert torch.equal(LRP().explain(nn.DataParallel(network), X, None).relevance, expected)
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(Net(dense)).eval()
    torch.testing.assert_close(LRP().explain(synchronised, X, None).relevance, expected)


def test_rounding_of_a_vanishing_output_is_no_disagreement() -> None:
    """The shifts cancel: on zeros the outputs are rounding errors, which single precision makes otherwise."""
    network = nn.Sequential(nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 7 * 4, 2))
    torch.manual_seed(1)
    norm = network[1]
    nn.init.normal_(norm.running_mean), nn.init.uniform_(norm.running_var, 0.5, 1.5)
    norm.bias.data = norm.running_mean / (norm.running_var + norm.eps).sqrt()
    for layer in (network[0], network[4]):
        nn.init.zeros_(layer.bias)
    attribution = LRP().explain(network.eval(), torch.zeros(1, 1, 7, 9, 6), None)
    assert not attribution.relevance.any()


@pytest.mark.parametrize("size", [(2, 1, 2, 1, 6), (2, 3, 7, 9, 6)])
def test_volumes_that_the_network_does_not_take_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"Net does not run on volumes of shape \[1, [\s\S]*RuntimeError"):
        LRP().explain(Net(dense), torch.zeros(size), None)
    with pytest.raises(InputError, match="not empty"):
        LRP().explain(Net(dense), X[:0], None)


def test_each_volume_has_its_own_account_whatever_the_first_axis_is() -> None:
    """An axis of two halves in front is as long as a batch of two."""
    network = Net(NETWORKS["halves along a new first axis"])
    both = LRP().explain(network, X, None).details
    for i in range(2):
        alone = LRP().explain(network, X[i : i + 1], None).details
        assert both is not None
        assert alone is not None
        for key, value in alone[0]["conservation"].items():
            assert both[i]["conservation"][key] == pytest.approx(value, rel=1e-6, abs=1e-9)
