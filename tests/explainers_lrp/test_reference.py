"""A residual network with strides, padding, pooling and biases against LRP in matrix form.

Every linear map of the network is written out as a matrix, by differentiating it, and the rules are applied to the
matrices as the papers state them (Bach et al. 2015; Montavon et al. 2017, 2019). Nothing is shared with Zennit:
no gradients of modified layers, no hooks, and batch normalisation is a scaling of the matrix's rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacrev

from xai_explainers_lrp.plugin import LRP

EPSILON, GAMMA, LOW, HIGH = 1e-6, 0.25, -4.0, 5.0


class Residual(nn.Module):
    """Convolution, max pooling, an identity block, a strided block with a projection, global pooling, two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv3d(2, 3, 3, padding=1, bias=False), nn.BatchNorm3d(3)
        self.pool = nn.MaxPool3d(2, stride=1)
        self.a1, self.a1_norm = nn.Conv3d(3, 3, 3, padding=1), nn.BatchNorm3d(3)
        self.a2, self.a2_norm = nn.Conv3d(3, 3, 3, padding=1, bias=False), nn.BatchNorm3d(3)
        self.b1, self.b1_norm = nn.Conv3d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm3d(4)
        self.b2, self.b2_norm = nn.Conv3d(4, 4, (1, 3, 1), padding=(0, 1, 0)), nn.BatchNorm3d(4)
        self.side, self.side_norm = nn.Conv3d(3, 4, 1, stride=2, bias=False), nn.BatchNorm3d(4)
        self.average, self.hidden, self.out = nn.AdaptiveAvgPool3d(1), nn.Linear(4, 5), nn.Linear(5, 3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.stem_norm(self.stem(x))))
        y = self.a2_norm(self.a2(self.relu(self.a1_norm(self.a1(x)))))
        x = self.relu(y + x)
        y = self.b2_norm(self.b2(self.relu(self.b1_norm(self.b1(x)))))
        x = self.relu(y + self.side_norm(self.side(x)))
        return self.out(self.relu(self.hidden(self.average(x).flatten(1))))


def network() -> Residual:
    torch.manual_seed(3)
    model = Residual().double().eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.3)
    return model


class Matrices:
    """LRP of one volume, float64, by matrices."""

    def __init__(self, composite: str, ignore_bias: bool) -> None:
        self.composite, self.ignore_bias = composite, ignore_bias

    def affine(self, function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
        """Return matrix [out, in] and bias [out] of an affine function at inputs like ``x``."""
        flat = x.flatten()

        def on_flat(v: Tensor) -> Tensor:
            return function(v.reshape(x.shape)).flatten()

        return jacrev(on_flat)(flat), on_flat(torch.zeros_like(flat))

    def through(self, function: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor, rule: str) -> Tensor:
        """Return the relevance of ``x`` from that of an affine function's output."""
        matrix, bias = self.affine(function, x)
        share = getattr(self, rule.replace("-", "_"))
        return (share(matrix, matrix * x.flatten(), bias) * relevance.flatten()[:, None]).sum(0).reshape(x.shape)

    def epsilon(self, _matrix: Tensor, z: Tensor, bias: Tensor) -> Tensor:
        total = z.sum(1) + bias
        return z / (total + EPSILON * torch.where(total >= 0, 1.0, -1.0))[:, None]

    def part(self, z: Tensor, bias: Tensor) -> Tensor:
        total = z.sum(1) + (0 if self.ignore_bias else bias)
        return torch.where(total[:, None] == 0, 0.0, z / torch.where(total == 0, 1.0, total)[:, None])

    def average(self, _matrix: Tensor, z: Tensor, bias: Tensor) -> Tensor:
        return self.part(z, bias)

    def plus(self, _matrix: Tensor, z: Tensor, bias: Tensor) -> Tensor:
        return self.part(z.clamp(min=0), bias.clamp(min=0))

    def alpha_beta(self, _matrix: Tensor, z: Tensor, bias: Tensor) -> Tensor:
        return 2 * self.part(z.clamp(min=0), bias.clamp(min=0)) - self.part(z.clamp(max=0), bias.clamp(max=0))

    def gamma(self, _matrix: Tensor, z: Tensor, bias: Tensor) -> Tensor:
        positive = self.part(z + GAMMA * z.clamp(min=0), bias + GAMMA * bias.clamp(min=0))
        negative = self.part(z + GAMMA * z.clamp(max=0), bias + GAMMA * bias.clamp(max=0))
        return torch.where((z.sum(1) + bias > 0)[:, None], positive, negative)

    def flat(self, matrix: Tensor, _z: Tensor, bias: Tensor) -> Tensor:
        return self.part((matrix != 0).to(matrix), torch.zeros_like(bias))

    def box(self, matrix: Tensor, z: Tensor, bias: Tensor) -> Tensor:
        return self.part(z - LOW * matrix.clamp(min=0) - HIGH * matrix.clamp(max=0), torch.zeros_like(bias))

    def rule(self, first: bool) -> str:
        if first and self.composite == "epsilon-plus-flat":
            return "flat"
        if first and self.composite == "epsilon-gamma-box":
            return "box"
        return {"epsilon": "epsilon", "epsilon-alpha2-beta1": "alpha-beta", "epsilon-gamma-box": "gamma"}.get(
            self.composite, "plus"
        )

    def explain(self, m: Residual, x: Tensor, target: int) -> Tensor:
        """Return the relevance of a volume [1, C, D, H, W]."""
        conv = self.rule(False)

        def normed(layer: nn.Module, norm: nn.Module) -> Callable[[Tensor], Tensor]:
            return lambda v: norm(layer(v))

        stem, a1, a2 = normed(m.stem, m.stem_norm), normed(m.a1, m.a1_norm), normed(m.a2, m.a2_norm)
        b1, b2, side = normed(m.b1, m.b1_norm), normed(m.b2, m.b2_norm), normed(m.side, m.side_norm)
        s0 = F.relu(stem(x))
        s1 = F.max_pool3d(s0, 2, stride=1)
        h1 = F.relu(a1(s1))
        main1 = a2(h1)
        s2 = F.relu(main1 + s1)
        h2 = F.relu(b1(s2))
        main2, shortcut2 = b2(h2), side(s2)
        s3 = F.relu(main2 + shortcut2)
        s4 = s3.mean((2, 3, 4))
        s5 = F.relu(m.hidden(s4))
        logits = m.out(s5)

        r = torch.zeros_like(logits)
        r[0, target] = logits[0, target]
        r = self.through(m.out, s5, r, "epsilon")
        r = self.through(m.hidden, s4, r, "epsilon")
        r = self.through(lambda v: v.mean((2, 3, 4)), s3, r, "average")
        total = torch.where(main2 + shortcut2 == 0, 1.0, main2 + shortcut2)
        r = self.through(b1, s2, self.through(b2, h2, r * main2 / total, conv), conv) + self.through(
            side, s2, r * shortcut2 / total, conv
        )
        total = torch.where(main1 + s1 == 0, 1.0, main1 + s1)
        r = self.through(a1, s1, self.through(a2, h1, r * main1 / total, conv), conv) + r * s1 / total
        _, winners = F.max_pool3d(s0, 2, stride=1, return_indices=True)
        back = torch.zeros_like(s0).flatten(2).scatter_add(2, winners.flatten(2), r.flatten(2)).reshape(s0.shape)
        return self.through(stem, x, back, self.rule(True))


CASES: list[dict[str, Any]] = [
    {"composite": "epsilon"},
    {"composite": "epsilon-plus"},
    {"composite": "epsilon-plus", "ignore_bias": True},
    {"composite": "epsilon-plus-flat"},
    {"composite": "epsilon-alpha2-beta1"},
    {"composite": "epsilon-alpha2-beta1", "ignore_bias": True},
    {"composite": "epsilon-gamma-box", "low": LOW, "high": HIGH},
]


@pytest.mark.parametrize("params", CASES, ids=str)
@pytest.mark.parametrize("single", [True, False], ids=["float32", "float64"])
def test_relevance_equals_the_matrix_form(params: dict[str, Any], single: bool) -> None:
    model = network()
    x = torch.randn(2, 2, 5, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).clamp(LOW, HIGH)
    target = torch.tensor([1, 2])
    reference = Matrices(params["composite"], params.get("ignore_bias", False))
    expected = torch.cat([reference.explain(model, x[i : i + 1], int(target[i])) for i in range(2)])
    scale = float(expected.abs().max())
    assert scale > 1e-4
    found = LRP(**params).explain(model.float() if single else model, x.float() if single else x, target).relevance
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=(1e-4 if single else 1e-6) * scale)
