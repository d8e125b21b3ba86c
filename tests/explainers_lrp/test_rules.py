"""Cases small enough for pencil and paper, one for each rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_explainers_lrp.plugin import LRP

# Two voxels, 1 and 2, weights 3 and -1, bias 0.5: contributions 3 and -2, output 1.5.
X = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 1, 2)


def convolution(weights: list[float], bias: float | None = None) -> nn.Conv3d:
    layer = nn.Conv3d(1, 1, (1, 1, len(weights)), bias=bias is not None)
    layer.weight.data = torch.tensor(weights, dtype=torch.float32).reshape(1, 1, 1, 1, -1)
    if layer.bias is not None and bias is not None:
        layer.bias.data = torch.tensor([bias])
    return layer


def relevance(layers: list[nn.Module], x: Tensor = X, **params: Any) -> list[float]:
    network = nn.Sequential(*layers, nn.Flatten()).eval()
    return LRP(**params).explain(network, x, None).relevance.flatten().tolist()


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"composite": "epsilon"}, [3, -2]),
        # 1.5 + 0.5 in the denominator: three quarters are left.
        ({"composite": "epsilon", "epsilon": 0.5}, [2.25, -1.5]),
        # 3 / (3 + 0.5) of 1.5
        ({"composite": "epsilon-plus"}, [9 / 7, 0]),
        ({"composite": "epsilon-plus", "ignore_bias": True}, [1.5, 0]),
        # Twice the above, less the share -2 / -2 of 1.5
        ({"composite": "epsilon-alpha2-beta1"}, [18 / 7, -1.5]),
        ({"composite": "epsilon-alpha2-beta1", "ignore_bias": True}, [3, -1.5]),
        ({"composite": "epsilon-plus-flat"}, [0.75, 0.75]),
        # x w - 0 w+ - 4 w-: 3 and -2 + 4
        ({"composite": "epsilon-gamma-box", "low": 0, "high": 4}, [0.9, 0.6]),
        # Bounds 1 and 2 from the volume: 3 - 3 and -2 + 2, and nothing is left to share
        ({"composite": "epsilon-gamma-box"}, [0, 0]),
    ],
    ids=str,
)
def test_rule_of_a_convolution(params: dict[str, Any], expected: list[float]) -> None:
    assert relevance([convolution([3, -1], 0.5)], **params) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        # (1 + 0.25) 3 = 3.75, -2, and 0.625 for the bias: 2.375
        (0.25, [1.5 * 3.75 / 2.375, 1.5 * -2 / 2.375]),
        (0, [3, -2]),
    ],
)
def test_gamma_rule_of_a_second_convolution(gamma: float, expected: list[float]) -> None:
    layers: list[nn.Module] = [convolution([1]), convolution([3, -1], 0.5)]
    found = relevance(layers, composite="epsilon-gamma-box", gamma=gamma, low=0, high=4)
    assert found == pytest.approx(expected, abs=1e-5)


def test_gamma_rule_of_a_negative_output() -> None:
    """For z < 0 the negative part counts more: (1 + 1) (-2) against 1 makes -3."""
    layers: list[nn.Module] = [convolution([1]), convolution([1, -1])]
    found = relevance(layers, composite="epsilon-gamma-box", gamma=1, low=0, high=4)
    assert found == pytest.approx([1 / 3, -4 / 3], abs=1e-5)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "epsilon-alpha2-beta1"])
def test_linear_layers_get_the_epsilon_rule(composite: str) -> None:
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[3.0, -1.0]]), torch.tensor([0.5])
    found = relevance([nn.Flatten(), layer], composite=composite, epsilon=0.5)
    assert found == pytest.approx([2.25, -1.5])


def test_pooling() -> None:
    assert relevance([nn.MaxPool3d((1, 1, 2))]) == pytest.approx([0, 2])
    assert relevance([nn.AvgPool3d((1, 1, 2))]) == pytest.approx([0.5, 1])
    assert relevance([nn.AdaptiveAvgPool3d(1)]) == pytest.approx([0.5, 1])
    # Overlapping windows: the voxel that wins two of them gets both shares; sum of 3, 3 and 2 weighted by 1.
    x = torch.tensor([1.0, 3, 2, 0]).reshape(1, 1, 1, 1, 4)
    found = relevance([nn.MaxPool3d((1, 1, 2), stride=1), convolution([1, 1, 1])], x, composite="epsilon")
    assert found == pytest.approx([0, 6, 2, 0], abs=1e-4)


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.1), nn.ELU(), nn.Tanh(), nn.PReLU(init=0.1)], ids=str)
def test_activations_pass_relevance_whatever_their_slope(activation: nn.Module) -> None:
    """Contributions 1 and -2 of -1: the output goes to the voxels with the factors -1 and 2."""
    output = activation(torch.tensor(-1.0)).item()
    found = relevance([convolution([1, -1]), activation], composite="epsilon")
    assert found == pytest.approx([-output, 2 * output], abs=1e-5)


def test_batch_normalisation_is_part_of_the_layer_before_it() -> None:
    """Weights 3 and -1 as (w - 0) * 2 / 1, bias 0.5 as (0.25 - 0.5) * 2 + 1."""
    norm = nn.BatchNorm3d(1, eps=0.0)
    norm.weight.data, norm.bias.data = torch.tensor([2.0]), torch.tensor([1.0])
    norm.running_mean, norm.running_var = torch.tensor([0.5]), torch.tensor([1.0])
    found = relevance([convolution([1.5, -0.5], 0.25), norm])
    assert found == pytest.approx([9 / 7, 0], abs=1e-5)


class TwoPaths(nn.Module):
    """3 x_1 - x_2 and 2 x_2 added: 1 + 4 from the voxels 1 and 2."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = convolution([3, -1]), convolution([0, 2])

    def forward(self, x: Tensor) -> Tensor:
        return (self.first(x) + self.second(x)).flatten(1)


def test_a_sum_is_split_in_proportion() -> None:
    assert relevance([TwoPaths()], composite="epsilon") == pytest.approx([3, -2 + 4], abs=1e-4)
    # z+: the first summand, 1, goes to the first voxel, the second, 4, to the second.
    assert relevance([TwoPaths()], composite="epsilon-plus") == pytest.approx([1, 4], abs=1e-5)


def test_voxels_outside_the_box_are_refused() -> None:
    with pytest.raises(InputError, match=r"voxels from 1 to 2 leave the box of low 0 and high 1.5"):
        relevance([convolution([3, -1])], composite="epsilon-gamma-box", low=0, high=1.5)
    with pytest.raises(InputError, match="box rule of epsilon-gamma-box needs a first layer"):
        relevance([nn.AvgPool3d(1), convolution([3, -1])], composite="epsilon-gamma-box")


def test_impossible_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="low is 2, which is not below high, 1"):
        LRP(low=2, high=1)
    for composite in ("epsilon", "epsilon-gamma-box"):
        with pytest.raises(ValueError, match="ignore_bias does not go with"):
            LRP(composite=composite, ignore_bias=True)  # type: ignore[arg-type]
