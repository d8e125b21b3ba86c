"""The rules of guided backpropagation and deconvolution, put on every call of ReLU in the network itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_core import Explainer

from ._checks import assert_close, double_copy, generic
from ._checks_cam import plain_cam
from ._guided import was_keras_relu
from ._starts import Start, starting_values

if TYPE_CHECKING:
    from .plugin_guided import GuidedGradCAM

__all__ = ["check_guided_gradcam", "check_modified_gradient", "plain_modified_gradient"]

_RELUS = (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)
_CLAMPS = (torch.clamp, Tensor.clamp, torch.clamp_min, Tensor.clamp_min, Tensor.clip, torch.clip)


def check_modified_gradient(
    explainer: Explainer, model: nn.Module, volumes: Tensor, *, deconvolution: bool, start: Start
) -> str:
    """Compare a map with the rule on the network itself; see ``Explainer.self_check``."""
    at = generic(volumes)
    found = explainer.explain(model, at, None)
    expected = plain_modified_gradient(double_copy(model), at.double(), found.target, deconvolution, start)
    return assert_close(found.relevance, expected, "the rule at every call of ReLU, in double precision")


def check_guided_gradcam(explainer: GuidedGradCAM, model: nn.Module, volumes: Tensor) -> str:
    """Compare a map with the product of both factors; see ``Explainer.self_check``."""
    at = generic(volumes)
    found = explainer.explain(model, at, None)
    assert found.details is not None, "the map does not say of which layer it is"
    exact = double_copy(model)
    what = plain_modified_gradient(exact, at.double(), found.target, deconvolution=False)
    where = plain_cam(exact, str(found.details[0]["layer"]), at.double(), found.target, "gradcam")
    return assert_close(found.relevance, what * where, "both factors in double precision")


def plain_modified_gradient(
    model: nn.Module, volumes: Tensor, target: Tensor, deconvolution: bool, start: Start = "one"
) -> Tensor:
    """Return the gradient [N, C, D, H, W] with the rule at every call of a ReLU that PyTorch makes."""
    with torch.enable_grad():
        leaf = volumes.detach().clone().requires_grad_()
        of_keras = [module for module in model.modules() if was_keras_relu(module)]
        handles = [module.register_forward_hook(_let_positive_pass) for module in of_keras]
        with _RuleAtReLU(deconvolution):
            outputs = model(leaf.clone())
        for handle in handles:
            handle.remove()
        explained = outputs.gather(1, target[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(explained, leaf, starting_values(outputs, target, start))
    return gradient


class _RuleAtReLU(TorchFunctionMode):
    """Catches the calls of ReLU, by modules and as functions, in place or not."""

    def __init__(self, deconvolution: bool) -> None:
        super().__init__()
        self._deconvolution = deconvolution

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not _is_relu(func, args, kwargs):
            return func(*args, **kwargs)
        given: Tensor = args[0] if args else kwargs["input"]
        value = torch.relu(given)
        if self._deconvolution:
            value = given + (value - given).detach()
        if _in_place(func, args, kwargs):
            value = given.copy_(value)
        if value.requires_grad:
            value.register_hook(_positive)
        return value


def _let_positive_pass(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(_positive)


def _positive(gradient: Tensor) -> Tensor:
    return torch.where(gradient > 0, gradient, 0)


def _is_relu(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if func in _RELUS:
        return True
    bounds = [*args[1:], *(value for key, value in kwargs.items() if key != "input")]
    return func in _CLAMPS and [bound for bound in bounds if bound is not None] == [0] and kwargs.get("max") is None


def _in_place(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    named = func in (torch.relu_, Tensor.relu_)
    return named or (func is F.relu and bool(kwargs.get("inplace", args[1] if len(args) > 1 else False)))
