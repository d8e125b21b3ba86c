"""Guided backpropagation and deconvolution, on the canonical form of the network.

Captum's hooks see modules of the class ReLU only: a functional ReLU, or the second call of a module, would get the
plain gradient without a word. In the canonical form every ReLU is known.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from xai_core import Attribution, NotApplicable
from xai_core.canonical import Canonical
from xai_core.engine.progress import log
from xai_core.engine.requests import as_attribution, differentiating, explaining, unwrapped

from ._batches import each_volume
from ._cams import cam
from ._gradients import INPUT
from ._operations import Sort, canonical_copy, named, sort_of
from ._starts import Start, start_details, starts_of

__all__ = ["guided_backpropagation", "guided_gradcam", "was_keras_relu"]

# As gates they multiply a signal and are differentiated as they are; the rule is about the signal's own ReLUs.
_GATES = ("sigmoid", "hardsigmoid")


def guided_backpropagation(
    model: nn.Module,
    volumes: Tensor,
    target: Tensor | None,
    *,
    deconvolution: bool,
    start: Start,
    only_relus: bool,
    max_batch: int,
) -> Attribution:
    """Return the gradient with the rule of the method at every ReLU; see the classes in ``plugin_guided``."""
    with explaining(model, volumes, target, gradients=False) as explained, differentiating(INPUT):
        rule = _Rule(unwrapped(model), deconvolution, only_relus)
        starts = starts_of(explained, start, max_batch)
        relevance = each_volume(explained, rule.gradient, max_batch, starts)
        details = [{**rule.details(), **row} for row in start_details(starts, start)]
        return as_attribution(explained, relevance, details)


def guided_gradcam(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, layer: str | None, max_batch: int
) -> Attribution:
    """Return guided backpropagation times Grad-CAM; see ``plugin_guided.GuidedGradCAM``."""
    with explaining(model, volumes, target) as explained:
        where, details = cam(unwrapped(model), explained, "gradcam", layer, max_batch)
        rule = _Rule(unwrapped(model), deconvolution=False)
        with differentiating(INPUT):
            what = each_volume(explained, rule.gradient, max_batch, torch.ones_like(explained.output))
        return as_attribution(explained, what * where, [{**details, **rule.details()}] * len(volumes))


class _Rule:
    """The gradient of a network with another rule at its ReLUs.

    Args:
        model: The network itself.
        deconvolution: Whether the rule is that of deconvolution.
        only_relus: Whether networks with other activations, or without a ReLU, are refused.
    """

    def __init__(self, model: nn.Module, deconvolution: bool, only_relus: bool = True) -> None:
        self._model = model
        self._deconvolution = deconvolution
        self._only_relus = only_relus
        self._relus = 0
        self._others: list[str] = []

    def gradient(self, volumes: Tensor, target: Tensor, starts: Tensor) -> Tensor:
        """Return the modified gradient [n, C, D, H, W]; it begins with ``starts`` [n] at the explained outputs.

        Raises:
            InputError: The network has no canonical form, or activations for which the method has no rule.
        """
        canonical = canonical_copy(self._model, volumes)
        self._relus, self._others = _activations(canonical, self._only_relus)
        if self._only_relus:
            _check_only_relus(self._relus, self._others)
        volumes = volumes.requires_grad_()
        outputs = _Guided(canonical, self._deconvolution).run(volumes)
        (gradient,) = torch.autograd.grad(outputs.gather(1, target[:, None])[:, 0], volumes, starts)
        return gradient

    def details(self) -> dict[str, Any]:
        """Return how many ReLUs the last batch met, and what else was differentiated; warn where there was no ReLU."""
        if not self._relus:
            log.warning("The network has no ReLU: the map of guided backpropagation or deconvolution is its gradient.")
        return {"relus": self._relus, **({"differentiated": self._others} if self._others else {})}


class _Guided(fx.Interpreter):
    """Runs a canonical network so that the way back from each ReLU lets no negative gradient pass."""

    def __init__(self, canonical: Canonical, deconvolution: bool) -> None:
        super().__init__(canonical.network)
        self._canonical = canonical
        self.extra_traceback = False  # it would be added to messages that are meant for the user
        self._deconvolution = deconvolution

    def run_node(self, n: fx.Node) -> Any:
        """Return the value of one operation."""
        is_relu = sort_of(self._canonical, n) is Sort.RELU
        value: Any = super().run_node(n)
        if not is_relu and not _of_keras(self._canonical, n):
            return value
        if is_relu and self._deconvolution:
            (given,) = self.fetch_args_kwargs_from_env(n)[0][:1]
            value = value.detach() + (given - given.detach())  # the ReLU's value, with a derivative of 1
        if value.requires_grad:
            value.register_hook(lambda gradient: gradient.clamp(min=0))
        return value


def was_keras_relu(module: nn.Module) -> bool:
    """Whether a module was read from Keras' layer ``ReLU``, which may have a slope or an upper bound."""
    return getattr(module, "keras_class", None) == "ReLU"


def _activations(canonical: Canonical, only_relus: bool) -> tuple[int, list[str]]:
    """Return how many ReLUs there are, with Keras' ones if not ``only_relus``, and names of others, without gates."""
    nodes = [node for node in canonical.network.graph.nodes if node.op.startswith("call")]
    sorts = [Sort.RELU if not only_relus and _of_keras(canonical, node) else sort_of(canonical, node) for node in nodes]
    unknown = [node for node, sort in zip(nodes, sorts, strict=True) if sort in (Sort.ELEMENTWISE, None)]
    others = list(dict.fromkeys(named(canonical, node) for node in unknown if not _is_gate(canonical, node)))
    return sorts.count(Sort.RELU), others


def _of_keras(canonical: Canonical, node: fx.Node) -> bool:
    """Whether it is Keras' layer ReLU, where iNNvestigate has the rule also if it has a slope or an upper bound."""
    return node.op == "call_module" and was_keras_relu(canonical.network.get_submodule(str(node.target)))


def _check_only_relus(relus: int, others: list[str]) -> None:
    """Refuse a network without a ReLU, or with other activations.

    Raises:
        NotApplicable: It is one.
    """
    if others:
        raise NotApplicable(
            "Guided backpropagation and deconvolution are defined for ReLU only, and this network has other functions: "
            f"{', '.join(others[:5])}{', ...' if len(others) > 5 else ''}. Use saliency, smoothgrad or "
            "integrated-gradients."
        )
    if not relus:
        raise NotApplicable(
            "This network has no ReLU, so guided backpropagation and deconvolution would be its plain gradient. Use "
            "saliency."
        )


def _is_gate(canonical: Canonical, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(canonical.network.get_submodule(str(node.target)), nn.Sigmoid | nn.Hardsigmoid)
    return named(canonical, node) in _GATES
