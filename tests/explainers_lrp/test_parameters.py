"""The parameters: rules by layer, where relevance begins, and the account of where it stayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import ConfigError, InputError, registry
from xai_explainers_lrp.plugin import LRP

# Two voxels, 1 and 2, weights 3 and -1, bias 0.5: contributions 3 and -2, output 1.5.
X = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 1, 2)
VOLUMES = torch.randn(3, 1, 7, 9, 6, generator=torch.Generator().manual_seed(2))


def convolution(weights: Sequence[float], bias: float | None = None) -> nn.Conv3d:
    layer = nn.Conv3d(1, 1, (1, 1, len(weights)), bias=bias is not None)
    layer.weight.data = torch.tensor(weights).float().reshape(1, 1, 1, 1, -1)
    if layer.bias is not None and bias is not None:
        layer.bias.data = torch.tensor([float(bias)])
    return layer


def relevance(layers: Sequence[nn.Module], *rules: dict[str, Any], composite: Any = "epsilon", **params: Any) -> Any:
    network = nn.Sequential(*layers, nn.Flatten()).eval()
    explainer = LRP(composite=composite, rules=list(rules), **{"epsilon": 1e-9, **params})
    return explainer.explain(network, X, None).relevance.flatten().tolist()


ONE_LAYER: list[tuple[dict[str, Any], list[float]]] = [
    ({"rule": "epsilon", "epsilon": 0.5}, [2.25, -1.5]),  # 1.5 of 1.5 + 0.5 is left
    # (1 + 1) 3, -2 and (1 + 1) 0.5 for the bias: 5
    ({"rule": "gamma", "gamma": 1}, [1.5 * 6 / 5, 1.5 * -2 / 5]),
    ({"rule": "z-plus"}, [1.5 * 3 / 3.5, 0]),
    ({"rule": "z-plus", "ignore_bias": True}, [1.5, 0]),
    ({"rule": "alpha-beta"}, [2 * 1.5 * 3 / 3.5, -1.5]),
    ({"rule": "alpha-beta", "alpha": 3, "beta": 2}, [3 * 1.5 * 3 / 3.5, -2 * 1.5]),
    ({"rule": "flat"}, [0.75, 0.75]),
    ({"rule": "w-square"}, [1.5 * 9 / 10, 1.5 * 1 / 10]),
    # x w - 0 w+ - 4 w-: 3 and -2 + 4; with 3 as the highest: 3 and -2 + 3
    ({"rule": "z-box", "low": 0, "high": 4}, [1.5 * 3 / 5, 1.5 * 2 / 5]),
    ({"rule": "z-box", "low": 0, "high": 3}, [1.5 * 3 / 4, 1.5 * 1 / 4]),
    # The volume's own highest voxel is 2: -2 + 2
    ({"rule": "z-box", "low": 0}, [1.5, 0]),
    # -1 is the lowest: 3 + 3 and -2 + 2
    ({"rule": "z-box", "low": -1}, [1.5, 0]),
    ({"rule": "z-box", "low": -1, "high": 4}, [1.5 * 6 / 8, 1.5 * 2 / 8]),
]


@pytest.mark.parametrize(("row", "expected"), ONE_LAYER, ids=str)
def test_a_rule_for_one_layer(row: dict[str, Any], expected: list[float]) -> None:
    assert relevance([convolution([3, -1], 0.5)], {"layers": "0", **row}) == pytest.approx(expected, abs=1e-5)


def test_pass_leaves_relevance_as_it_is() -> None:
    """2 x + 1 gives 3 and 5; the convolution makes 9 - 5 + 0.5 of it. Under epsilon, 2/3 and 4/5 would get through."""
    layers = [convolution([2], 1), convolution([3, -1], 0.5)]
    assert relevance(layers) == pytest.approx([6, -4], abs=1e-5)
    assert relevance(layers, {"layers": "0", "rule": "pass"}) == pytest.approx([9, -5], abs=1e-5)


def test_each_layer_has_its_own_rule_and_the_others_the_composites() -> None:
    """Second layer with gamma 1: 6 and -2 of 5 to 1.5. First layer, of weight 1: flat gives what came, as does all."""
    layers = [convolution([1]), convolution([3, -1], 0.5)]
    rows = [{"layers": "1", "rule": "gamma", "gamma": 1.0}, {"layers": "0", "rule": "flat"}]
    assert relevance(layers, *rows) == pytest.approx([1.8, -0.6], abs=1e-5)
    # Without a gamma of its own the row takes that of the explainer.
    row = {"layers": "1", "rule": "gamma"}
    assert relevance(layers, row, gamma=1.0) == pytest.approx([1.8, -0.6], abs=1e-5)
    assert relevance(layers, composite="epsilon-gamma", gamma=1.0) == pytest.approx([1.8, -0.6], abs=1e-5)
    override = {"layers": "1", "rule": "gamma", "gamma": 0}
    assert relevance(layers, override, composite="epsilon-gamma", gamma=1.0) == pytest.approx([3, -2], abs=1e-5)


def test_the_last_row_that_fits_counts() -> None:
    layers = [convolution([3, -1], 0.5)]
    flat, squared = {"layers": "*", "rule": "flat"}, {"layers": "0", "rule": "w-square"}
    assert relevance(layers, flat, squared) == pytest.approx([1.35, 0.15])
    assert relevance(layers, squared, flat) == pytest.approx([0.75, 0.75])


class Blocks(nn.Module):
    """Names as users have them, a layer that runs twice, one that is called as a function, and no biases."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer1 = nn.Sequential(nn.Conv3d(1, 6, 3, bias=False), nn.BatchNorm3d(6), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv3d(6, 6, 3, padding=1, bias=False), nn.ReLU())
        self.weight = nn.Parameter(torch.randn(8, 6, 1, 1, 1) / 2)
        self.head = nn.Linear(8, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer2(self.layer1(x)))
        return self.head(F.conv3d(x, self.weight).relu().mean((2, 3, 4)))


def rules_by_layer(network: nn.Module, **params: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    details = LRP(layer_sums=True, **params).explain(network, VOLUMES[:1], None).details
    assert details is not None
    for row in details[0]["conservation"]["layers"]:
        found.setdefault(row["layer"], []).append(row["rule"])
    return found


def test_patterns_are_the_users_names() -> None:
    rows = [{"layers": "layer2.*", "rule": "gamma"}, {"layers": "conv3d", "rule": "w-square"}]
    found = rules_by_layer(Blocks().eval(), rules=rows, composite="epsilon-plus-flat")
    assert found == {
        "head": ["epsilon"], "mean": ["proportion"], "conv3d": ["w-square"], "layer2.0": ["gamma", "gamma"],
        "layer1.0": ["flat"],
    }  # fmt: skip


def test_a_pattern_that_fits_nothing_is_refused_with_the_names() -> None:
    rows = [{"layers": "layer.2.0", "rule": "flat"}]
    said = r"no layer is called 'layer.2.0'. Did you mean 'layer2.0'\?.*: layer1.0, layer2.0, conv3d, head\."
    with pytest.raises(InputError, match=said):
        LRP(rules=rows).explain(Blocks().eval(), VOLUMES, None)


BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"rules": [{"layers": "layer3.*", "rule": "flat"}]}, "no layer is called 'layer3"),
    ({"rules": [{"layers": "layer1.0", "rule": "pass"}]}, r"layer1.0 makes \[6, 5, 7, 4\] of \[1, 7, 9, 6\]"),
    ({"composite": "epsilon-gamma-box", "low": 0, "high": 1}, "leave the box of low 0 and high 1"),
    ({"rules": [{"layers": "head", "rule": "z-box", "low": 5}]}, "leave the box of low 5"),
    ({"contrast": 3}, "contrast 3 does not exist; the network has the outputs 0 to 2"),
    ({"reference": 60.0}, "reference is for a regression, which has one output; this network has 3"),
]


@pytest.mark.parametrize(("params", "said"), BAD_SETTINGS, ids=str)
def test_what_does_not_go_with_the_network_is_refused_before_training_too(params: dict[str, Any], said: str) -> None:
    network = Blocks().eval()
    for call in (LRP(**params).check_model, lambda m, x: LRP(**params).explain(m, x, torch.tensor([0]))):
        with pytest.raises(InputError, match=said):
            call(network, VOLUMES[:1])


@pytest.mark.parametrize("params", [{"contrast": 0}, {"contrast": 2}, {"contrast": "rest"}, {"start": "probability"}])
def test_a_check_passes_whatever_class_an_untrained_network_predicts(params: dict[str, Any]) -> None:
    LRP(**params).check_model(Blocks().eval(), VOLUMES[:1])


@pytest.mark.parametrize("params", [{"contrast": 0}, {"contrast": "rest"}, {"start": "probability"}])
def test_what_needs_classes_is_refused_for_one_output(params: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="for networks with several classes; this one has one output"):
        LRP(**params).check_model(Blocks(1).eval(), VOLUMES[:1])


SCHEMA: list[tuple[dict[str, Any], str]] = [
    ({"rules": [{"layers": "a", "rule": "gama"}]}, "Did you mean 'gamma'"),
    ({"rules": [{"layers": "a"}]}, "rule: is required"),
    ({"rules": [{"layers": "", "rule": "flat"}]}, "layers"),
    ({"rules": [{"layers": "a", "rule": "flat", "epsilom": 1}]}, "epsilom"),
    ({"rules": [{"layers": "a", "rule": "epsilon", "epsilon": 0}]}, "epsilon"),
    ({"rules": [{"layers": "a", "rule": "gamma", "alpha": 2}]}, "gamma of 'a' takes gamma, not alpha"),
    ({"rules": [{"layers": "a", "rule": "flat", "low": 2}]}, "flat of 'a' takes no parameters, not low"),
    ({"rules": [{"layers": "a", "rule": "alpha-beta", "alpha": 2, "beta": 2}]}, "alpha - beta must be 1"),
    ({"rules": [{"layers": "a", "rule": "alpha-beta", "alpha": 3}]}, "alpha - beta must be 1"),
    ({"rules": [{"layers": "a", "rule": "z-box", "low": 1, "high": 1}]}, "low is 1, which is not below high, 1"),
    ({"start": "two"}, "start"),
    ({"contrast": -1}, "contrast: must be at least 0"),
    ({"contrast": "others"}, "must be rest"),
    ({"contrast": 1, "reference": 2.0}, "contrast is for classes and reference for a regression"),
    ({"start": "one", "reference": 2.0}, "give start: logit"),
    ({"start": "probability", "contrast": 1}, "give start: logit"),
    ({"layer_sums": "yes"}, "layer_sums"),
]


@pytest.mark.parametrize(("params", "said"), SCHEMA, ids=str)
def test_impossible_parameters_are_refused_by_the_registry(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.create("explainer", "lrp", **params)


def conservation(explainer: LRP, network: nn.Module, x: Tensor, target: Sequence[int] | None) -> list[dict[str, Any]]:
    found = explainer.explain(network, x, None if target is None else torch.tensor(target))
    assert found.details is not None
    for row, volume in zip(found.details, found.relevance, strict=True):
        assert row["conservation"]["sum_of_relevance"] == pytest.approx(float(volume.double().sum()), rel=1e-4)
    return [row["conservation"] for row in found.details]


STARTS: list[tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = [
    ({}, lambda f: f[:, 1]),
    ({"start": "one"}, lambda f: torch.ones(len(f))),
    ({"start": "probability"}, lambda f: f.softmax(1)[:, 1]),
    ({"contrast": 2}, lambda f: f[:, 1] - f[:, 2]),
    ({"contrast": "rest"}, lambda f: f[:, 1] - (f[:, 0] + f[:, 2]) / 2),
]


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus"])
@pytest.mark.parametrize(("params", "expected"), STARTS, ids=[str(params) for params, _ in STARTS])
def test_without_biases_relevance_sums_to_what_it_began_with(
    params: dict[str, Any], expected: Callable[[Tensor], Tensor], composite: Any
) -> None:
    network = Blocks().eval()
    with torch.no_grad():
        outputs = network(VOLUMES)
    found = conservation(LRP(composite=composite, epsilon=1e-9, **params), network, VOLUMES, [1, 1, 1])
    began = expected(outputs).tolist()
    assert [row["start"] for row in found] == pytest.approx(began, rel=1e-5)
    assert [row["sum_of_relevance"] for row in found] == pytest.approx(began, rel=1e-3)
    assert [row["output"] for row in found] == pytest.approx(outputs[:, 1].tolist(), rel=1e-5)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "epsilon-alpha2-beta1"])
def test_a_contrast_is_the_difference_of_two_maps(composite: Any) -> None:
    """The rules are linear in the relevance that arrives, so the map of a difference is the difference of maps."""
    network, target = Blocks().eval(), torch.tensor([0, 1, 0])
    first, second = (LRP(composite=composite).explain(network, VOLUMES, t).relevance for t in (target, target * 0 + 2))
    found = LRP(composite=composite, contrast=2).explain(network, VOLUMES, target).relevance
    torch.testing.assert_close(found, first - second, rtol=1e-4, atol=1e-5 * float(first.abs().max()))


def test_a_class_is_not_contrasted_with_itself() -> None:
    with pytest.raises(InputError, match=r"output 2 cannot be contrasted with itself.*rest"):
        LRP(contrast=2).explain(Blocks().eval(), VOLUMES, torch.tensor([0, 2, 1]))


def test_a_reference_tells_on_which_side_of_it_the_prediction_lies() -> None:
    network = Blocks(1).eval()
    with torch.no_grad():
        outputs = network(VOLUMES)[:, 0]
    plain = LRP().explain(network, VOLUMES, None)
    for reference in (float(outputs.min()) - 1, float(outputs.mean()), float(outputs.max()) + 1):
        explainer = LRP(reference=reference)
        found = explainer.explain(network, VOLUMES, None)
        sums = found.relevance.double().sum((1, 2, 3, 4))
        torch.testing.assert_close(sums.float(), outputs - reference, rtol=1e-3, atol=1e-5)
        scaled = plain.relevance * ((outputs - reference) / outputs)[:, None, None, None, None]
        torch.testing.assert_close(found.relevance, scaled, rtol=1e-3, atol=1e-5 * float(scaled.abs().max()))
        torch.testing.assert_close(found.output, outputs)  # what is reported stays the prediction


class Biased(nn.Module):
    """One path, so that the relevance into a layer is that out of the layer before it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second, self.head = nn.Conv3d(1, 3, 3), nn.Conv3d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).relu().mean((2, 3, 4)))


def accounts(explainer: LRP, x: Tensor) -> list[dict[str, Any]]:
    return conservation(explainer, Biased().eval(), x, None)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus", "epsilon-alpha2-beta1", "epsilon-gamma"])
@pytest.mark.parametrize("epsilon", [1e-6, 0.05])
def test_the_accounts_of_all_layers_add_up(composite: Any, epsilon: float) -> None:
    for found in accounts(LRP(composite=composite, epsilon=epsilon, layer_sums=True), VOLUMES):
        rows = found["layers"]
        assert [row["layer"] for row in rows] == ["head", "mean", "second", "first"]
        assert rows[0]["relevance_out"] == pytest.approx(found["start"])
        assert rows[-1]["relevance_in"] == pytest.approx(found["sum_of_relevance"], rel=1e-4)
        scale = abs(found["start"])
        for above, below in pairwise(rows):
            assert below["relevance_out"] == pytest.approx(above["relevance_in"], rel=1e-4, abs=1e-5 * scale)
        for cause, total in (("bias", "absorbed_by_biases"), ("epsilon", "absorbed_by_epsilon")):
            assert sum(row.get(cause, 0) for row in rows) == pytest.approx(found[total], rel=1e-4, abs=1e-6 * scale)
        for row in rows:  # behind a ReLU nothing is lost but to biases and epsilon
            left = row["relevance_out"] - row["relevance_in"] - row.get("bias", 0) - row.get("epsilon", 0)
            assert left == pytest.approx(0, abs=2e-5 * scale), row
        assert found["unexplained"] == pytest.approx(0, abs=1e-4 * scale)


def test_the_account_of_the_last_layer_is_the_plain_formula() -> None:
    network, epsilon = Biased().eval(), 0.05
    x = VOLUMES[:1]
    with torch.no_grad():
        features = network.second(network.first(x).relu()).relu().mean((2, 3, 4))[0].double()
        weight, bias = network.head.weight.double(), network.head.bias.double()
        contributions = features * weight[1]
        z = contributions.sum() + bias[1]
        denominator = z + epsilon * z.sign()
    found = conservation(LRP(epsilon=epsilon, layer_sums=True), network, x, [1])[0]["layers"][0]
    assert found["relevance_out"] == pytest.approx(float(z), rel=1e-5)
    assert found["relevance_in"] == pytest.approx(float(z * contributions.sum() / denominator), rel=1e-4)
    assert found["bias"] == pytest.approx(float(z * bias[1] / denominator), rel=1e-4)
    assert found["epsilon"] == pytest.approx(float(z * epsilon * z.sign() / denominator), rel=1e-4)
    assert set(found) == {"layer", "rule", "relevance_out", "relevance_in", "bias", "epsilon"}


def test_layers_are_listed_on_request_only() -> None:
    assert "layers" not in accounts(LRP(), VOLUMES[:1])[0]


def test_a_batch_has_the_accounts_of_its_volumes() -> None:
    explainer = LRP(layer_sums=True, epsilon=0.01)
    together = accounts(explainer, VOLUMES * torch.tensor([1.0, -2, 3])[:, None, None, None, None])
    for i, factor in enumerate([1.0, -2, 3]):
        (alone,) = accounts(explainer, VOLUMES[i : i + 1] * factor)
        for key in ("sum_of_relevance", "start", "absorbed_by_biases", "absorbed_by_epsilon"):
            assert together[i][key] == pytest.approx(alone[key], rel=1e-3, abs=1e-5), key
        for both, one in zip(together[i]["layers"], alone["layers"], strict=True):
            assert both["relevance_in"] == pytest.approx(one["relevance_in"], rel=1e-3, abs=1e-4 * abs(alone["start"]))


class Slices(nn.Module):
    """A network of slices: they are stacked along the batch axis, and their features averaged."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        n, c, d, h, w = x.shape
        slices = x.transpose(1, 2).reshape(n * d, c, h, w)
        return self.head(self.conv(slices).relu().mean((2, 3)).reshape(n, d, 4).mean(1))


def test_slices_stacked_along_the_batch_are_accounted_to_their_volume() -> None:
    network, explainer = Slices().eval(), LRP(epsilon=0.01, layer_sums=True)
    x = VOLUMES * torch.tensor([1.0, 5, 0.2])[:, None, None, None, None]
    together = conservation(explainer, network, x, None)
    for i, found in enumerate(together):
        (alone,) = conservation(explainer, network, x[i : i + 1], None)
        assert found["absorbed_by_biases"] == pytest.approx(alone["absorbed_by_biases"], rel=1e-4)
        assert abs(found["unexplained_share"]) < 1e-5
        assert found["layers"][-1]["relevance_in"] == pytest.approx(found["sum_of_relevance"], rel=1e-4)


class Positioned(nn.Module):
    """Adds a constant for each place along the last axis, which is as long as there are channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.conv, self.head = nn.Conv3d(1, 6, 1, bias=False), nn.Linear(6, 2, bias=False)
        self.register_buffer("places", torch.arange(6.0).reshape(1, 1, 1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.conv(x) + self.places).mean((2, 3, 4)))


def test_what_a_constant_takes_is_counted_along_its_own_axis() -> None:
    """Linear in all: the constant's part of the output is the output of a volume of zeros."""
    network = Positioned().eval()
    with torch.no_grad():
        expected = network(torch.zeros_like(VOLUMES))[:, 0].tolist()
    found = conservation(LRP(composite="epsilon", epsilon=1e-9), network, VOLUMES, [0, 0, 0])
    assert [row["absorbed_by_biases"] for row in found] == pytest.approx(expected, rel=1e-4)
    assert all(abs(row["unexplained_share"]) < 1e-5 for row in found)


def test_epsilon_takes_all_where_the_output_is_zero() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False)).eval()
    nn.init.zeros_(network[1].weight)
    (found,) = conservation(LRP(start="one"), network, X, None)
    assert (found["start"], found["sum_of_relevance"], found["absorbed_by_epsilon"]) == (1, 0, 1)
    assert found["unexplained_share"] == 0


def test_relevance_of_neurons_without_a_positive_contribution_is_told_as_unexplained() -> None:
    """Two outputs, 3 and -1 of the voxel 1; z+ has nowhere to put the -1 that the second one brings."""
    first = nn.Conv3d(1, 2, (1, 1, 2), bias=False)
    first.weight.data = torch.tensor([[3.0, 0], [-1, 0]]).reshape(2, 1, 1, 1, 2)
    last = nn.Linear(2, 1, bias=False)
    last.weight.data = torch.tensor([[1.0, 1.0]])
    network = nn.Sequential(first, nn.Flatten(), last).eval()
    (found,) = conservation(LRP(epsilon=1e-9, layer_sums=True), network, X, None)
    assert (found["start"], found["sum_of_relevance"]) == pytest.approx((2, 3))
    assert found["unexplained_share"] == pytest.approx(-0.5)
    loss = [row["relevance_out"] - row["relevance_in"] for row in found["layers"]]
    assert loss == pytest.approx([0, -1], abs=1e-6)


def test_a_network_that_does_not_see_the_volume_is_refused() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.ones(1, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.logits.expand(len(x), 2)

    with pytest.raises(InputError, match="the output does not depend on it"):
        LRP().explain(Constant().eval(), VOLUMES, None)


@pytest.mark.parametrize("params", [{"rules": [{"layers": "*", "rule": "epsilon"}]}, {"ignore_bias": True}])
def test_the_originals_composites_take_no_changes(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="innvestigate-z is as iNNvestigate computes it"):
        registry.create("explainer", "lrp", composite="innvestigate-z", **params)


def test_the_originals_composites_say_what_they_do_not_account_for() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2)
    ).eval()
    lrp = registry.create("explainer", "lrp", composite="innvestigate-sequential-preset-a", layer_sums=True)
    found = lrp.explain(model, torch.randn(1, 1, 5, 6, 7), None).details[0]["conservation"]
    assert found["absorbed_by_biases"] == found["absorbed_by_epsilon"] == 0
    assert found["unexplained"] == pytest.approx(found["start"] - found["sum_of_relevance"])
    rules = [layer["rule"] for layer in found["layers"]]
    assert rules == [
        "innvestigate-epsilon", "innvestigate-z", "innvestigate-alpha-beta-x2m100", "innvestigate-alpha-beta",
    ]  # fmt: skip
    assert "does not conserve" in lrp.self_check(model, torch.randn(1, 1, 5, 6, 7))
