"""Every check of the explainers' suite fails on an explainer that breaks what it checks, and passes on a good one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import Attribution, Explainer, registry
from xai_core.testing import ExplainerConformance, TinyConvNet, model_state
from xai_core.testing._networks import GRID, volumes

CALLS = itertools.count(1)


class Good(Explainer):
    """Input times gradient; conserves where a network has no biases."""

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        with torch.enable_grad():
            x = volumes.detach().clone().requires_grad_()
            output = model(x)
            chosen = output.detach().argmax(1) if target is None else target
            picked = output.gather(1, chosen[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(picked.sum(), x)
        return self.result((x * gradient).detach(), picked.detach(), chosen)

    def result(self, relevance: Tensor, output: Tensor, target: Tensor) -> Attribution:
        return Attribution(relevance, output, target)


def explaining(function: Any) -> type[Explainer]:
    """An explainer whose ``explain`` gets the good one as ``self.good``."""

    class Bad(Explainer):
        """Bad in one way."""

        good = staticmethod(Good().explain)
        explain = function

    return Bad


def returning(function: Any) -> type[Explainer]:
    """An explainer that makes something else of a good one's relevance, output and target."""

    class Bad(Good):
        """Bad in one way."""

        def result(self, relevance: Tensor, output: Tensor, target: Tensor) -> Any:
            return function(relevance, output, target)

    return Bad


# --- what it returns --------------------------------------------------------------------------------------------------


def halves(relevance: Tensor) -> Tensor:
    """Right for even sides only, as maps of strided layers that are scaled up."""
    even = relevance[:, :, ::2, ::2, ::2]
    return even.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)[..., : 2 * (GRID[2] // 2)]


def scaled_by_the_batch(relevance: Tensor) -> Tensor:
    return relevance / relevance.abs().max()


def ignoring_the_target(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    """The predicted class's map under the name of the target: it looks right and is not."""
    predicted = self.good(model, volumes, None)
    if target is None:
        return predicted  # type: ignore[no-any-return]
    asked = self.good(model, volumes, target)
    return Attribution(predicted.relevance, asked.output, asked.target)


def first_target_for_all(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    asked = self.good(model, volumes, target)
    first = asked.target[:1].expand(len(volumes))
    return Attribution(self.good(model, volumes, first).relevance, asked.output, asked.target)


def another_class_by_default(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    found = self.good(model, volumes, target)
    if target is not None:
        return found  # type: ignore[no-any-return]
    return Attribution(self.good(model, volumes, (found.target + 1) % 3).relevance, found.output, found.target)


def the_image(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    """Edges of the image, whatever the network says."""
    found = self.good(model, volumes, target)
    return Attribution(volumes - volumes.mean(), found.output, found.target)


def unseeded(relevance: Tensor, output: Tensor, target: Tensor) -> Attribution:
    noise = torch.rand(relevance.shape, generator=torch.Generator().manual_seed(next(CALLS)))
    return Attribution(relevance + noise, output, target)


# --- what it leaves behind --------------------------------------------------------------------------------------------


def leaving(change: Any) -> type[Explainer]:
    def explain(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        found = self.good(model, volumes, target)
        change(model, volumes)
        return found  # type: ignore[no-any-return]

    return explaining(explain)


def only_after_an_exception(change: Any) -> type[Explainer]:
    """Cleans up unless the network fails or the target is wrong: the usual missing ``finally``."""

    def explain(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        handle = change(model, volumes)
        found = self.good(model, volumes, target)
        if handle is not None:
            handle.remove()
        model.eval()
        model.load_state_dict(before)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
            parameter.grad = None
        return found  # type: ignore[no-any-return]

    return explaining(explain)


def add_hook(model: nn.Module, _volumes: Tensor) -> Any:
    return next(iter(model.modules())).register_forward_hook(lambda *_: None)


def add_backward_hook(model: nn.Module, _volumes: Tensor) -> Any:
    return list(model.modules())[2].register_full_backward_hook(lambda *_: None)


def add_pre_hook(model: nn.Module, _volumes: Tensor) -> Any:
    return list(model.modules())[-1].register_forward_pre_hook(lambda *_: None)


def leave_gradients(model: nn.Module, volumes: Tensor) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)


def switch_to_training(model: nn.Module, _volumes: Tensor) -> None:
    list(model.modules())[-1].train()


def change_a_weight(model: nn.Module, _volumes: Tensor) -> None:
    with torch.no_grad():
        next(model.parameters()).flatten()[0] += 1e-6


def change_a_buffer(model: nn.Module, _volumes: Tensor) -> None:
    next(model.buffers()).add_(1e-3)


def freeze(model: nn.Module, _volumes: Tensor) -> None:
    next(model.parameters()).requires_grad_(False)


def thaw(model: nn.Module, _volumes: Tensor) -> None:
    model.requires_grad_(True)


def replace_relu(model: nn.Module, _volumes: Tensor) -> None:
    model.relu1 = nn.LeakyReLU(0.0)


def replace_forward(model: nn.Module, _volumes: Tensor) -> None:
    model.forward = model.forward  # type: ignore[method-assign]


def make_inplace(model: nn.Module, _volumes: Tensor) -> None:
    model.relu2.inplace = True  # type: ignore[union-attr]


def change_volumes(_model: nn.Module, volumes: Tensor) -> None:
    volumes.mul_(2)


def volumes_require_grad(_model: nn.Module, volumes: Tensor) -> None:
    volumes.requires_grad_()


def swallowing(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    try:
        return self.good(model, volumes, target)  # type: ignore[no-any-return]
    except RuntimeError:
        return Attribution(torch.zeros_like(volumes), volumes.flatten(1)[:, 0], torch.zeros(2, dtype=torch.int64))


def from_the_end(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    """Python's -1: the last class is explained."""
    return self.good(model, volumes, None if target is None else torch.where(target < 0, target + 3, target))  # type: ignore[no-any-return]


def zeros_without_grad(self: Any, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
    found = self.good(model, volumes, target)
    relevance = found.relevance if torch.is_grad_enabled() else torch.zeros_like(volumes)
    return Attribution(relevance, found.output, found.target)


def on_meta(relevance: Tensor, output: Tensor, target: Tensor) -> Attribution:
    return Attribution(relevance.to("meta"), output, target)


A = Attribution
S = ExplainerConformance
UNTOUCHED = "test_model_is_untouched"
AFTER = "test_model_is_untouched_after_an_exception"
FROZEN = "test_works_on_a_frozen_model_and_without_grad"
SHAPE = "test_shape_type_and_finiteness"
TARGET = "test_explains_the_predicted_class_unless_told"

# (suite, check, bad component, text of the failure, attributes of the suite)
PROOFS: list[tuple[type, str, type[Explainer], str, dict[str, Any]]] = [
    (S, SHAPE, returning(lambda r, *_: r), "returned Tensor, not an Attribution", {}),
    (S, SHAPE, returning(lambda r, o, t: A(r[:, 0], o, t)), r"\(2, 11, 9, 10\) for \(2, 1, 11, 9, 10\)", {}),
    (S, SHAPE, returning(lambda r, o, t: A(r.transpose(2, 3), o, t)), r"\(2, 1, 9, 11, 10\) for", {}),
    (S, SHAPE, returning(lambda r, o, t: A(r.double(), o, t)), "torch.float64, not float32", {}),
    (S, SHAPE, returning(lambda r, o, t: A(r.half(), o, t)), "torch.float16, not float32", {}),
    (S, SHAPE, returning(lambda r, o, t: A(r.where(r < r.max(), torch.nan), o, t)), "NaN or infinite", {}),
    (S, SHAPE, returning(lambda r, o, t: A(r.where(r < r.max(), torch.inf), o, t)), "NaN or infinite", {}),
    (S, SHAPE, returning(lambda r, o, t: A(torch.full_like(r, 0.5), o, t)), "the same everywhere", {}),
    (S, SHAPE, returning(lambda r, o, t: A(r.clone().requires_grad_(), o, t)), "hangs on the graph", {}),
    (S, "test_odd_non_cubic_volumes", returning(lambda r, o, t: A(halves(r), o, t)), r"for \(1, 1, 7, 12, 9\)", {}),
    (S, TARGET, returning(lambda r, o, t: A(r, o, (t + 1) % 3)), "None is not the predicted class", {}),
    (S, TARGET, returning(lambda r, o, t: A(r, o, t.int())), "target is torch.int32, not int64", {}),
    (S, TARGET, returning(lambda r, o, t: A(r, o.exp(), t)), "output is not the network's output", {}),
    (S, TARGET, returning(lambda r, o, t: A(r, o[:, None], t)), r"output has shape \(2, 1\), not \(2,\)", {}),
    (S, TARGET, explaining(lambda self, m, v, _: self.good(m, v, None)), "asked for is not the one explained", {}),
    (S, "test_explains_a_regression", returning(lambda r, o, t: A(r, o, t + 1)), r"target \[1, 1\] of a regr", {}),
    (S, "test_explains_a_regression", returning(lambda r, o, t: A(r[:1], o, t)), "has another shape", {}),
    (S, "test_same_seed_same_map", returning(unseeded), "two runs with one seed differ", {}),
    (
        S, "test_batch_of_two_equals_two_of_one", returning(lambda r, o, t: A(scaled_by_the_batch(r), o, t)),
        "in a batch and alone: they differ", {},
    ),
    (S, "test_batch_of_two_equals_two_of_one", explaining(first_target_for_all), "in a batch and alone", {}),
    (S, "test_explains_the_output_asked_for", explaining(ignoring_the_target), "the same whatever target", {}),
    (S, "test_explains_the_output_asked_for", explaining(another_class_by_default), "without a target and by", {}),
    (S, "test_depends_on_the_network", explaining(the_image), "does not depend on the weights", {}),
    (S, "test_cpu_equals_gpu", returning(unseeded), "CPU and GPU: they differ", {"accelerator": "cpu"}),
    (S, "test_cpu_equals_gpu", returning(on_meta), "relevance is on meta", {"accelerator": "cpu"}),
    (S, UNTOUCHED, leaving(add_hook), r"the model was changed: \['hooks '\]", {}),
    (S, UNTOUCHED, leaving(add_backward_hook), "hooks bn1", {}),
    (S, UNTOUCHED, leaving(add_pre_hook), "hooks fc", {}),
    (S, UNTOUCHED, leaving(leave_gradients), "grad bn1.bias", {}),
    (S, UNTOUCHED, leaving(switch_to_training), "training fc", {}),
    (S, UNTOUCHED, leaving(change_a_weight), "value conv1.weight", {}),
    (S, UNTOUCHED, leaving(change_a_buffer), "value bn1.running_mean", {}),
    (S, UNTOUCHED, leaving(freeze), "requires_grad conv1.weight", {}),
    (S, UNTOUCHED, leaving(replace_relu), "class relu1", {}),
    (S, UNTOUCHED, leaving(replace_forward), "attributes ", {}),
    (S, UNTOUCHED, leaving(make_inplace), "inplace relu2", {}),
    (S, UNTOUCHED, leaving(change_volumes), "the volumes were changed", {}),
    (S, UNTOUCHED, leaving(volumes_require_grad), "left with requires_grad", {}),
    (S, FROZEN, explaining(zeros_without_grad), "frozen and free: they differ", {}),
    (S, FROZEN, leaving(thaw), "requires_grad", {}),
    (S, AFTER, only_after_an_exception(add_hook), "hooks", {}),
    (S, AFTER, only_after_an_exception(leave_gradients), "grad", {}),
    (S, AFTER, only_after_an_exception(switch_to_training), "training", {}),
    (S, AFTER, only_after_an_exception(change_a_weight), "value", {}),
    (S, AFTER, only_after_an_exception(freeze), "requires_grad", {}),
    (S, AFTER, explaining(swallowing), "a network that fails was explained", {}),
    (S, AFTER, explaining(from_the_end), r"the target \[0, -1\] of 3 outputs was explained", {}),
    (S, "test_conservation", returning(lambda r, o, t: A(2 * r, o, t)), "sum of relevance / output", {
        "conservation": 1e-3}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry._default, "_registered", {})
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


def check(suite: type, name: str, component: type[Explainer], attributes: dict[str, Any]) -> None:
    registry.register("explainer", "under-test", component)
    getattr(type("Suite", (suite,), {"name": "under-test", **attributes})(), name)()


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: f"{p[1]}-{p[3][:30]}")
def test_bad_explainer_fails(proof: tuple[type, str, type[Explainer], str, dict[str, Any]]) -> None:
    suite, name, component, message, attributes = proof
    with pytest.raises(AssertionError, match=message):
        check(suite, name, component, attributes)


CHECKS = sorted(name for name in vars(ExplainerConformance) if name.startswith("test_"))


@pytest.mark.parametrize("name", CHECKS)
def test_good_explainer_passes(name: str) -> None:
    check(ExplainerConformance, name, Good, {"conservation": 1e-4, "accelerator": "cpu"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_comparison_with_a_gpu_is_skipped_where_there_is_none() -> None:
    with pytest.raises(pytest.skip.Exception, match="no CUDA device"):
        check(ExplainerConformance, "test_cpu_equals_gpu", Good, {})


def test_method_that_explains_no_output_in_particular_may_say_so() -> None:
    bad = explaining(the_image)
    check(ExplainerConformance, "test_explains_the_output_asked_for", bad, {"depends_on_target": False})


def test_no_promise_no_check() -> None:
    check(ExplainerConformance, "test_conservation", returning(lambda r, o, t: A(2 * r, o, t)), {})


def test_small_network_conserves_without_biases_only() -> None:
    """Input times gradient sums to the output of a network that is linear between its ReLUs and has no bias."""
    for bias, close in ((False, True), (True, False)):
        found = Good().explain(TinyConvNet(bias=bias), volumes(), None)
        ratio = found.relevance.sum((1, 2, 3, 4)) / found.output
        assert bool((abs(ratio - 1) < 1e-4).all()) is close


def test_small_network_is_the_same_at_every_call_and_leaves_the_generator() -> None:
    torch.manual_seed(1)
    first = TinyConvNet().state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    second = TinyConvNet().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert TinyConvNet(channels=2, outputs=5)(volumes(3, 2)).shape == (3, 5)


CHANGES = [
    add_hook, add_backward_hook, add_pre_hook, leave_gradients, switch_to_training, change_a_weight, change_a_buffer,
    freeze, replace_relu, replace_forward, make_inplace,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_model_state_sees_every_change(change: Any) -> None:
    model = TinyConvNet()
    before = model_state(model)
    assert model_state(model) == before
    change(model, volumes())
    assert model_state(model) != before
