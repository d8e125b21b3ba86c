"""Batch normalisation is merged into the layers around it, exactly, at padded borders too, or stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import InputError
from xai_core.canonical import Part, canonical_form
from xai_core.canonical.operations import Biased
from xai_explainers_lrp.plugin import LRP

# Intensities that are large beside the stabiliser of averages and sums, 1e-9.
X = 1e3 * torch.randn(2, 2, 7, 9, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
Function = Callable[[Any, Tensor], Tensor]


class Net(nn.Module):
    """Runs a function of its layers, in double precision, with statistics and weights of either sign."""

    def __init__(self, function: Function, affine: bool = True) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.function = function
        self.stem, self.plain = nn.Conv3d(2, 4, 3), nn.Conv3d(4, 4, 3, padding=1, bias=False)
        self.padded = nn.Conv3d(4, 4, (3, 5, 3), padding=(1, 3, 0), stride=(1, 2, 1), dilation=(2, 1, 1))
        self.grouped = nn.Conv3d(4, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv3d(4, 4, 3, padding=2, groups=4, bias=False)
        self.same = nn.Conv3d(4, 4, (2, 3, 4), padding="same")
        self.circular = nn.Conv3d(4, 4, 3, padding=1, padding_mode="circular")
        self.up = nn.ConvTranspose3d(4, 4, 3, stride=2, padding=1, output_padding=(1, 0, 1))
        self.up_grouped = nn.ConvTranspose3d(4, 8, 3, stride=2, groups=2)
        self.dense, self.head, self.wide = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(8, 3)
        self.norm, self.norm2, self.norm8 = (nn.BatchNorm3d(n, affine=affine) for n in (4, 4, 8))
        self.norm1d, self.norm_in, self.other = (nn.BatchNorm1d(4, affine=affine), nn.BatchNorm3d(2), nn.BatchNorm3d(4))
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(module.running_var, 0.3, 2), nn.init.normal_(module.running_mean)
                if module.affine:
                    nn.init.uniform_(module.weight, -1.5, 1.5), nn.init.normal_(module.bias)
        self.double().eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def pooled(m: Any, x: Tensor) -> Tensor:
    x = torch.relu(x).mean((2, 3, 4))
    return m.wide(x) if x.shape[1] == 8 else m.head(x)


def two_readers(m: Any, x: Tensor) -> Tensor:
    y = m.norm(m.stem(x).relu())
    return pooled(m, m.plain(y) + m.circular(y))


def two_users(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, m.norm(y) + y)


def two_norms_of_one(m: Any, x: Tensor) -> Tensor:
    y = m.stem(x)
    return pooled(m, m.norm(y).relu() - m.norm2(y).relu())


def shared_layer(m: Any, x: Tensor) -> Tensor:
    return pooled(m, m.norm(m.plain(m.norm2(m.plain(m.stem(x))).relu())))


def shared_norm(m: Any, x: Tensor) -> Tensor:
    return pooled(m, m.norm(m.plain(m.norm(m.stem(x)).relu())))


def dense_block(m: Any, x: Tensor) -> Tensor:
    """As DenseNet: what is joined is normalised, rectified and convolved."""
    y = m.stem(x)
    z = m.padded(m.norm2(m.plain(m.norm(y).relu())).relu())
    return m.wide(m.norm8(torch.cat([y[:, :, : z.shape[2], : z.shape[3], : z.shape[4]], z], 1)).relu().mean((2, 3, 4)))


# Function, and how many norms stay as affine layers.
CASES: dict[str, tuple[Function, int]] = {
    "behind a convolution": (lambda m, x: pooled(m, m.norm(m.stem(x))), 0),
    "behind one without bias": (lambda m, x: pooled(m, m.norm(m.plain(m.stem(x)))), 0),
    "behind a grouped one": (lambda m, x: pooled(m, m.norm8(m.grouped(m.stem(x)))), 0),
    "behind a depthwise one": (lambda m, x: pooled(m, m.norm(m.depthwise(m.stem(x)))), 0),
    "behind a transposed one": (lambda m, x: pooled(m, m.norm(m.up(m.stem(x)))), 0),
    "behind a grouped transposed one": (lambda m, x: pooled(m, m.norm8(m.up_grouped(m.stem(x)))), 0),
    "behind padding by words": (lambda m, x: pooled(m, m.norm(m.same(m.stem(x)))), 0),
    "behind a dense layer": (lambda m, x: m.head(F.leaky_relu(m.norm1d(m.dense(m.stem(x).mean((2, 3, 4)))), 0.1)), 0),
    "before a padded convolution": (lambda m, x: pooled(m, m.padded(m.norm(m.stem(x).relu()))), 0),
    "before one without bias": (lambda m, x: pooled(m, m.plain(m.norm(m.stem(x).relu()))), 0),
    "before a grouped one": (lambda m, x: pooled(m, m.grouped(m.norm(m.stem(x).relu()))), 0),
    "before a depthwise one": (lambda m, x: pooled(m, m.depthwise(m.norm(m.stem(x).relu()))), 0),
    "before a dense layer": (lambda m, x: m.head(m.norm1d(m.stem(x).relu().mean((2, 3, 4)))), 0),
    "before a transposed one": (lambda m, x: pooled(m, m.up(m.norm(m.stem(x).relu()))), 1),
    "before a grouped transposed one": (lambda m, x: pooled(m, m.up_grouped(m.norm(m.stem(x).relu()))), 1),
    "before circular padding": (lambda m, x: pooled(m, m.circular(m.norm(m.stem(x).relu()))), 1),
    "before padding by words": (lambda m, x: pooled(m, m.same(m.norm(m.stem(x).relu()))), 1),
    "before and behind": (lambda m, x: pooled(m, m.norm2(m.padded(m.norm(m.stem(x).relu())))), 0),
    "of the volume": (lambda m, x: pooled(m, m.stem(m.norm_in(x))), 0),
    "two in a row, alone": (lambda m, x: pooled(m, m.norm2(m.norm(m.stem(x).relu()))), 2),
    "two in a row behind a layer": (lambda m, x: pooled(m, m.norm2(m.norm(m.stem(x)))), 0),
    "two in a row before a layer": (lambda m, x: pooled(m, m.plain(m.norm2(m.norm(m.stem(x).relu())))), 1),
    "read by two layers": (two_readers, 1),
    "of a layer that another one reads": (two_users, 1),
    "two of one layer": (two_norms_of_one, 2),
    "of a layer that runs twice": (shared_layer, 0),
    "that runs twice": (shared_norm, 0),
    "dense block": (dense_block, 2),
    "behind pooling": (lambda m, x: pooled(m, m.norm(F.max_pool3d(m.stem(x), 2))), 1),
    "of features along the last axis": (
        lambda m, x: m.head(m.dense(m.stem(x).flatten(2).mT).mT.unflatten(2, (5, -1)).flatten(2).mean(2)), 0,
    ),
}  # fmt: skip


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("affine", [True, False], ids=["", "without weights"])
@pytest.mark.parametrize("name", CASES)
def test_merging_changes_neither_outputs_nor_relevance(name: str, affine: bool) -> None:
    function, staying = CASES[name]
    model = Net(function, affine)
    form = canonical_form(model, X)
    assert sum(part is Part.AFFINE for part in form.parts.values()) == staying
    for x in (X, -3 * X + 1):
        assert difference(form.network(x), model(x)) < 1e-9
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)
    expected = gradient * X
    found = LRP(composite="epsilon", epsilon=1e-13).explain(model, X, torch.ones(2, dtype=torch.int64))
    assert difference(found.relevance.double(), expected) < 1e-6
    for row in found.details or ():
        assert abs(row["conservation"]["unexplained_share"]) < 1e-6


def test_the_bias_of_a_norm_before_a_padded_convolution_is_another_one_at_the_border() -> None:
    """There the convolution sees the padding's zeros, which no norm has shifted."""
    model = Net(CASES["before one without bias"][0])
    network = canonical_form(model, X).network
    (biased,) = (module for module in network.modules() if isinstance(module, Biased))
    scale = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    shift = model.norm.bias - model.norm.running_mean * scale
    inside = (model.plain.weight.sum((2, 3, 4)) * shift).sum(1)
    torch.testing.assert_close(biased.bias[0, :, 2, 2, 2], inside)
    corner = (model.plain.weight[:, :, 1:, 1:, 1:].sum((2, 3, 4)) * shift).sum(1)
    torch.testing.assert_close(biased.bias[0, :, 0, 0, 0], corner)
    assert not torch.allclose(inside, corner)


def test_a_norm_is_not_merged_along_another_axis() -> None:
    """A dense layer over the last axis makes features of that axis; a norm of channels behind it is another thing."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.rows, self.norm, self.head = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(36, 2)
            nn.init.uniform_(self.norm.running_var, 0.3, 2), nn.init.normal_(self.norm.running_mean)
            self.double().eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.rows(x.mean((1, 2))[:, :6])).flatten(1))

    model = Rows()
    form = canonical_form(model, X)
    assert list(form.parts.values()).count(Part.AFFINE) == 1
    with torch.no_grad():
        assert difference(form.network(X), model(X)) < 1e-9


def test_statistics_of_the_batch_are_refused() -> None:
    model = Net(CASES["behind a convolution"][0])
    model.norm = nn.BatchNorm3d(4, track_running_stats=False).double()
    with pytest.raises(InputError, match=r"module norm \(BatchNorm3d.*uses the statistics of the batch"):
        canonical_form(model, X)


def test_a_scale_of_zero_and_a_tiny_variance_are_exact_too() -> None:
    model = Net(CASES["before a padded convolution"][0])
    model.norm.weight[1], model.norm.running_var[2] = 0, 1e-12
    model.stem.bias[:] = 1
    form = canonical_form(model, X)
    assert difference(form.network(X), model(X)) < 1e-9
