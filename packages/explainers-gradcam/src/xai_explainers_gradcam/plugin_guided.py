"""Gradients with another rule at ReLUs. Light: torch and Captum load when ``explain`` is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Explainer

from .parameters import LAYER, MAX_BATCH, START

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ._starts import Start

__all__ = ["Deconvolution", "GuidedBackpropagation", "GuidedGradCAM"]


class _ModifiedGradient(Explainer):
    """Base of guided backpropagation and deconvolution."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "start": START,
            "other_activations": {
                "enum": ["refuse", "differentiate", None],
                "default": None,
                "description": "Networks with other activations than ReLU (LeakyReLU, PReLU, ELU ...) or without any: "
                "refuse them; differentiate: take the derivative there, as iNNvestigate does with its checks off; "
                "null: differentiate with start logit, which is iNNvestigate's, and refuse else.",
            },
            "max_batch": MAX_BATCH,
        },
    }
    _deconvolution: ClassVar[bool]

    def __init__(
        self,
        *,
        start: Start = "one",
        other_activations: Literal["refuse", "differentiate"] | None = None,
        max_batch: int = 4,
    ) -> None:
        self.start = start
        self.other_activations = other_activations
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the modified gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained; there is no such start; the
                network has no canonical form; it has no ReLU, or other activations, and these are refused.
        """
        from ._guided import guided_backpropagation

        others = self.other_activations or ("differentiate" if self.start == "logit" else "refuse")
        return guided_backpropagation(
            model,
            volumes,
            target,
            deconvolution=self._deconvolution,
            start=self.start,
            only_relus=others == "refuse",
            max_batch=self.max_batch,
        )

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Explain one volume, and so refuse a network without the rule's ReLUs; see ``Explainer``."""
        self.explain(model, volumes, None)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with the rule put on every call of ReLU in the network itself, in double precision."""
        from ._checks_guided import check_modified_gradient

        return check_modified_gradient(self, model, volumes, deconvolution=self._deconvolution, start=self.start)


class GuidedBackpropagation(_ModifiedGradient):
    """Guided backpropagation: the gradient, without what is negative on the way back through each ReLU.

    At a ReLU the gradient passes where both its input and the gradient from above are positive. Every ReLU of the
    network is met, as a module or a function, also one that is used several times; ``details`` holds their number. By
    default not applicable to a network with other activations (LeakyReLU, ELU, SiLU ...), for which there is no rule,
    or without a ReLU; a sigmoid gate is differentiated. The map looks much like the image's edges and depends little on
    the weights of late layers.

    With ``start: logit`` it is what ``guided_backprop`` of iNNvestigate gives (Alber et al., JMLR 2019): the way back
    begins with the explained output, and where that is negative, other paths pass the ReLUs than for ``one``; the map
    of a network with other activations is the derivative there, ``details`` name them as ``differentiated``, and a
    network without any ReLU, whose map is its gradient times the output, is told of in the log.

    Source: Springenberg et al., Striving for simplicity, ICLR workshop 2015. On its limits: Adebayo et al., Sanity
    checks for saliency maps, NeurIPS 2018.

    Args:
        start: What the way back begins with: ``"one"``; ``"logit"``: the explained output; ``"probability"``: its
            softmax, for networks with several classes.
        other_activations: ``"refuse"`` networks with other activations than ReLU; ``"differentiate"`` these; None:
            the latter with ``start="logit"``, else the former.
        max_batch: Volumes that are computed at once.
    """

    _deconvolution = False


class Deconvolution(_ModifiedGradient):
    """Deconvolution: the gradient, with a ReLU on the way back instead of the derivative of each ReLU.

    At a ReLU the gradient from above passes where it is positive, whatever the input was; max pooling sends it to where
    the maximum was. Applicable where ``guided-backpropagation`` is.

    Source: Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014.

    Args:
        start: As for ``guided-backpropagation``.
        other_activations: As for ``guided-backpropagation``.
        max_batch: Volumes that are computed at once.
    """

    _deconvolution = True


class GuidedGradCAM(Explainer):
    """Guided Grad-CAM: guided backpropagation times Grad-CAM, voxel by voxel.

    Grad-CAM is that of ``gradcam``, guided backpropagation that of ``guided-backpropagation``; ``details`` hold what
    theirs do.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, section 3.2.

    Args:
        layer: As for ``gradcam``.
        max_batch: Volumes that are computed at once.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"layer": LAYER, "max_batch": MAX_BATCH},
    }

    def __init__(self, *, layer: str | None = None, max_batch: int = 4) -> None:
        self.layer = layer
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the product [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: As for ``gradcam`` and ``guided-backpropagation``.
        """
        from ._guided import guided_gradcam

        return guided_gradcam(model, volumes, target, layer=self.layer, max_batch=self.max_batch)

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Explain one volume, and so refuse what either factor refuses; see ``Explainer``."""
        self.explain(model, volumes, None)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with the product of both factors, each computed by other means in double precision."""
        from ._checks_guided import check_guided_gradcam

        return check_guided_gradcam(self, model, volumes)
