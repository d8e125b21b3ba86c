"""What holds for every explanation: targets, batches, inputs, and a network that stays as it was."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from xai_core import InputError
from xai_explainers_lrp import _attribute
from xai_explainers_lrp.plugin import LRP
from xai_models_resnet3d.plugin import ResNet3D

SHAPE = (2, 9, 12, 7)
COMPOSITES = LRP.config_schema["properties"]["composite"]["enum"]


def network(outputs: int = 3, **params: Any) -> nn.Module:
    torch.manual_seed(1)
    model = ResNet3D(**{"depth": 10, "width": 4, "dropout": 0.3, **params}).build(SHAPE, outputs).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    return model


def volumes(count: int = 2) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_batch_of_two_is_two_of_one(composite: str, shortcut: str) -> None:
    explainer, model, x = LRP(composite=composite), network(shortcut=shortcut), volumes() * torch.tensor([1.0, 3.0])[
        :, None, None, None, None
    ]  # fmt: skip
    both = explainer.explain(model, x, torch.tensor([2, 0]))
    assert both.relevance.shape == x.shape
    assert both.relevance.dtype == both.output.dtype == torch.float32
    for i, target in enumerate([2, 0]):
        one = explainer.explain(model, x[i : i + 1], torch.tensor([target]))
        scale = float(one.relevance.abs().max())
        assert scale > 0
        torch.testing.assert_close(both.relevance[i], one.relevance[0], rtol=1e-4, atol=1e-5 * scale)
        assert torch.equal(one.target, torch.tensor([target]))


def test_the_target_is_the_highest_logit_where_none_is_given() -> None:
    model, x = network(), volumes(3)
    with torch.no_grad():
        logits = model(x)
    free = LRP().explain(model, x, None)
    assert torch.equal(free.target, logits.argmax(1))
    given = LRP().explain(model, x, free.target)
    assert torch.equal(free.relevance, given.relevance)
    torch.testing.assert_close(free.output, logits.max(1).values, rtol=1e-5, atol=1e-6)
    others = LRP().explain(model, x, (free.target + 1) % 3)
    assert not torch.allclose(others.relevance, free.relevance)


def test_a_single_output_is_explained_whatever_its_sign() -> None:
    model, x = network(1), volumes()
    with torch.no_grad():
        model.fc.bias.sub_(model(x).mean(0))  # one volume below zero, one above
    attribution = LRP().explain(model, x, None)
    assert attribution.target.tolist() == [0, 0]
    assert sorted(attribution.output.sign().tolist()) == [-1, 1]


def test_details_say_how_much_relevance_is_left() -> None:
    attribution = LRP().explain(network(), volumes(), None)
    assert attribution.details is not None
    for i, row in enumerate(attribution.details):
        found = row["conservation"]
        assert found["sum_of_relevance"] == pytest.approx(float(attribution.relevance[i].sum()), rel=1e-4)
        assert found["output"] == found["start"] == pytest.approx(float(attribution.output[i]))
        assert found["ratio"] == pytest.approx(found["sum_of_relevance"] / found["output"])
        absorbed = found["absorbed_by_biases"] + found["absorbed_by_epsilon"]
        left = found["start"] - found["sum_of_relevance"] - absorbed
        assert found["unexplained"] == pytest.approx(left, abs=1e-6)
        assert found["unexplained_share"] == pytest.approx(left / found["start"], abs=1e-6)


def test_an_output_of_zero_has_no_relevance() -> None:
    model = network()
    nn.init.zeros_(model.fc.weight), nn.init.zeros_(model.fc.bias)  # type: ignore[union-attr, arg-type]
    attribution = LRP().explain(model, volumes(), None)
    assert not attribution.relevance.any()
    assert attribution.details is not None
    assert attribution.details[0]["conservation"]["ratio"] is None


def fingerprint(model: nn.Module) -> list[Any]:
    state = [(name, value.clone(), value.requires_grad) for name, value in model.state_dict(keep_vars=True).items()]
    modules = [
        (name, type(module), module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    ]
    return [state, modules, [parameter.grad is None for parameter in model.parameters()]]


def same(before: list[Any], after: list[Any]) -> bool:
    tensors = zip(before[0], after[0], strict=True)
    equal = all(a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2] for a, b in tensors)
    return equal and before[1:] == after[1:]


@pytest.mark.parametrize("failing", [False, True])
def test_the_network_stays_as_it_was(failing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    model.layer1.train()  # type: ignore[union-attr]
    model.conv1.requires_grad_(False)  # type: ignore[union-attr]
    calls: list[int] = []
    model.relu.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr, arg-type]
    before = fingerprint(model)
    if failing:
        monkeypatch.setattr(_attribute, "_details", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            LRP().explain(model, volumes(), None)
    else:
        LRP().explain(model, volumes(), None)
    assert same(before, fingerprint(model))
    assert not same(before, fingerprint(model.train()))  # the comparison itself can fail


def test_evaluation_mode_is_explained_even_of_a_network_in_training() -> None:
    model, x = network(), volumes()
    expected = LRP().explain(model, x, None).relevance
    assert torch.equal(LRP().explain(model.train(), x, None).relevance, expected)
    assert model.training


def test_the_callers_gradient_mode_does_not_matter() -> None:
    model, x = network(), volumes()
    expected = LRP().explain(model, x, None).relevance
    with torch.no_grad():
        assert torch.equal(LRP().explain(model, x, None).relevance, expected)
    with torch.inference_mode():
        found = LRP().explain(model, x.clone(), None).relevance
    assert torch.equal(found, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(LRP().explain(model, x, None).relevance, expected)


def test_the_volumes_stay_as_they_were() -> None:
    class Careless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2 * 9 * 12 * 7, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.relu_().flatten(1))

    x = volumes()
    kept = x.clone()
    LRP().explain(Careless().eval(), x, None)
    assert torch.equal(x, kept)
    assert not x.requires_grad


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 3]), r"target\[1\] is 3, but the model has 3 outputs: give 0 to 2"),
        (torch.tensor([0, -1]), r"target\[1\] is -1, but"),
        (torch.tensor([0]), r"target must be int64 \[2\]"),
        (torch.tensor([0.0, 1.0]), r"target must be int64 \[2\]"),
    ],
)
def test_targets_that_do_not_exist_are_refused(target: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LRP().explain(network(), volumes(), target)


def test_volumes_that_cannot_be_explained_are_refused() -> None:
    x = volumes()
    x[1, 0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"volumes\[1\] has 1 voxels that are NaN or infinite"):
        LRP().explain(network(), x, None)
    with pytest.raises(InputError, match=r"volumes must be a tensor \[N, C, D, H, W\]"):
        LRP().explain(network(), volumes()[0], None)


def test_a_broken_network_is_refused() -> None:
    model = network()
    model.fc.bias.data[0] = float("inf")  # type: ignore[union-attr, operator]
    with pytest.raises(InputError, match="output is not finite"):
        LRP().explain(model, volumes(), None)


def test_double_precision_networks_are_explained_in_double_precision() -> None:
    single, double = network(), network().double()
    expected = LRP().explain(single, volumes(), None)
    found = LRP().explain(double, volumes(), None)
    assert found.relevance.dtype == torch.float32
    scale = float(expected.relevance.abs().max())
    torch.testing.assert_close(found.relevance, expected.relevance, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("composite", ["epsilon-plus", "innvestigate-sequential-preset-a"])
def test_nothing_of_an_explanation_stays_in_memory(composite: str) -> None:
    """A server loads the network anew for each request: what an explanation keeps of it would fill the memory."""
    explainer = LRP(composite=composite)  # type: ignore[arg-type]

    def count() -> int:
        gc.collect()
        return sum(issubclass(type(one), fx.GraphModule | fx.Interpreter) for one in gc.get_objects())

    before = count()
    for _ in range(2):
        explainer.explain(network(), volumes(), None)
    assert count() == before
