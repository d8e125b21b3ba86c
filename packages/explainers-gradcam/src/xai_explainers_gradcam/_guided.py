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
from xai_core.engine.requests import as_attribution, differentiating, explaining, unwrapped

from ._batches import each_volume
from ._cams import cam
from ._gradients import INPUT
from ._operations import Sort, canonical_copy, named, sort_of

__all__ = ["guided_backpropagation", "guided_gradcam"]

# As gates they multiply a signal and are differentiated as they are; the rule is about the signal's own ReLUs.
_GATES = ("sigmoid", "hardsigmoid")


def guided_backpropagation(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, deconvolution: bool, max_batch: int
) -> Attribution:
    """Return the gradient with the rule of the method at every ReLU; see the classes in ``plugin_guided``."""
    with explaining(model, volumes, target, gradients=False) as explained, differentiating(INPUT):
        rule = _Rule(unwrapped(model), deconvolution)
        relevance = each_volume(explained, rule.gradient, max_batch)
        return as_attribution(explained, relevance, [{"relus": rule.relus}] * len(volumes))


def guided_gradcam(
    model: nn.Module, volumes: Tensor, target: Tensor | None, *, layer: str | None, max_batch: int
) -> Attribution:
    """Return guided backpropagation times Grad-CAM; see ``plugin_guided.GuidedGradCAM``."""
    with explaining(model, volumes, target) as explained:
        where, details = cam(unwrapped(model), explained, "gradcam", layer, max_batch)
        rule = _Rule(unwrapped(model), deconvolution=False)
        with differentiating(INPUT):
            what = each_volume(explained, rule.gradient, max_batch)
        return as_attribution(explained, what * where, [{**details, "relus": rule.relus}] * len(volumes))


class _Rule:
    """The gradient of a network with another rule at its ReLUs.

    Attributes:
        relus: How many ReLUs the last batch met.
    """

    def __init__(self, model: nn.Module, deconvolution: bool) -> None:
        self._model = model
        self._deconvolution = deconvolution
        self.relus = 0

    def gradient(self, volumes: Tensor, target: Tensor) -> Tensor:
        """Return the modified gradient [n, C, D, H, W].

        Raises:
            InputError: The network has no canonical form, or activations for which the method has no rule.
        """
        canonical = canonical_copy(self._model, volumes)
        self.relus = _count_relus(canonical)
        volumes = volumes.requires_grad_()
        outputs = _Guided(canonical, self._deconvolution).run(volumes)
        (gradient,) = torch.autograd.grad(outputs.gather(1, target[:, None]).sum(), volumes)
        return gradient


class _Guided(fx.Interpreter):
    """Runs a canonical network so that the way back from each ReLU lets no negative gradient pass."""

    def __init__(self, canonical: Canonical, deconvolution: bool) -> None:
        super().__init__(canonical.network)
        self._canonical = canonical
        self.extra_traceback = False  # it would be added to messages that are meant for the user
        self._deconvolution = deconvolution

    def run_node(self, n: fx.Node) -> Any:
        """Return the value of one operation."""
        if sort_of(self._canonical, n) is not Sort.RELU:
            return super().run_node(n)
        value: Tensor = super().run_node(n)
        if self._deconvolution:
            (given,) = self.fetch_args_kwargs_from_env(n)[0][:1]
            value = value.detach() + (given - given.detach())  # the ReLU's value, with a derivative of 1
        if value.requires_grad:
            value.register_hook(lambda gradient: gradient.clamp(min=0))
        return value


def _count_relus(canonical: Canonical) -> int:
    """Return how many ReLUs there are.

    Raises:
        InputError: There is none, or there are other activations.
    """
    nodes = [node for node in canonical.network.graph.nodes if node.op.startswith("call")]
    sorts = [sort_of(canonical, node) for node in nodes]
    unknown = [node for node, sort in zip(nodes, sorts, strict=True) if sort in (Sort.ELEMENTWISE, None)]
    others = list(dict.fromkeys(named(canonical, node) for node in unknown if not _is_gate(canonical, node)))
    if others:
        raise NotApplicable(
            "Guided backpropagation and deconvolution are defined for ReLU only, and this network has other functions: "
            f"{', '.join(others[:5])}{', ...' if len(others) > 5 else ''}. Use saliency, smoothgrad or "
            "integrated-gradients."
        )
    if Sort.RELU not in sorts:
        raise NotApplicable(
            "This network has no ReLU, so guided backpropagation and deconvolution would be its plain gradient. Use "
            "saliency."
        )
    return sorts.count(Sort.RELU)


def _is_gate(canonical: Canonical, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(canonical.network.get_submodule(str(node.target)), nn.Sigmoid | nn.Hardsigmoid)
    return named(canonical, node) in _GATES
