"""The explainers of this package. Light: torch and Captum load when ``explain`` is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["GradCAM", "InputXGradient", "IntegratedGradients", "Saliency"]


class GradCAM(Explainer):
    """Grad-CAM in 3D: a layer's feature maps, each weighted by its mean gradient.

    L = ReLU(sum_k a_k A_k), where a_k is the mean of d output / d A_k over all three spatial axes of the
    feature map A_k [d, h, w]; L is brought to the input's grid by trilinear interpolation (align_corners
    False). L >= 0, and L = 0 everywhere if the layer speaks only against the explained output. A volume of
    several channels gets the same L in each of them, because Grad-CAM does not tell them apart. ``details``
    holds the layer and its grid.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017.

    Args:
        layer: Dotted name of the layer, as in ``model.named_modules()``; None: the last convolution in the
            order of execution, or rather the last one of the network's longest chain of convolutions: not the
            one in the last residual block's shortcut, which stands beside the block.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "layer": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Layer whose feature maps are used, by its dotted name (layer4, "
                "layer4.1.conv2); null: the last convolution.",
            },
        },
    }

    def __init__(self, *, layer: str | None = None) -> None:
        self.layer = layer

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return L [N, C, D, H, W] >= 0; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained; the layer is
                unknown, is not run exactly once, gives no feature map [N, K, d, h, w] or does not lead to the
                output; without a ``layer``: the model has no Conv3d.
        """
        from ._gradcam import attribute

        return attribute(model, volumes, target, self.layer)


class Saliency(Explainer):
    """The gradient of the output with respect to each voxel.

    The unit is output per unit of intensity.

    Source: Simonyan et al., Deep inside convolutional networks, ICLR workshop 2014.

    Args:
        absolute: Give |gradient|; False: the gradient with its sign.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "absolute": {
                "type": "boolean",
                "default": True,
                "description": "Give the magnitude of the gradient; false: the gradient with its sign.",
            },
        },
    }

    def __init__(self, *, absolute: bool = True) -> None:
        self.absolute = absolute

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained.
        """
        from ._gradients import saliency

        return saliency(model, volumes, target, absolute=self.absolute)


class InputXGradient(Explainer):
    """Each voxel's intensity times the gradient of the output with respect to it.

    A voxel of intensity 0 gets no relevance; after a z-score that is one of mean intensity, not background.
    The relevance of a linear network without bias sums up to its output.

    Source: Shrikumar et al., Not just a black box, 2016 (arXiv 1605.01713).
    """

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return intensity x gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained.
        """
        from ._gradients import input_x_gradient

        return input_x_gradient(model, volumes, target)


class IntegratedGradients(Explainer):
    """Integrated gradients along the straight line from a baseline to the volume.

    The integral is taken by Gauss-Legendre quadrature. Relevance sums up to output - baseline_output but for
    the error of the quadrature; ``details`` holds ``baseline_output`` and that error, ``convergence_delta``
    (sum of relevance minus the difference). A large delta asks for more steps.

    Source: Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017.

    Args:
        steps: Points of the quadrature, that is forward and backward passes for each volume.
        baseline: ``"background"``: the value around the head in each channel of each volume, the black image
            of the paper whatever the normalisation, so that background gets no relevance; ``"minimum"``: the
            least intensity; ``"zero"``; or an intensity.
        internal_batch_size: How many points are computed at once; bounds the memory.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "steps": {
                "type": "integer",
                "minimum": 1,
                "default": 50,
                "description": "Points of the quadrature: forward and backward passes for each volume.",
            },
            "baseline": {
                "anyOf": [{"enum": ["background", "minimum", "zero"]}, {"type": "number"}],
                "default": "background",
                "description": "Where the path starts: background (the value around the head), minimum (the "
                "least intensity), zero, or an intensity.",
            },
            "internal_batch_size": {
                "type": "integer",
                "minimum": 1,
                "default": 4,
                "description": "Points computed at once; bounds the memory.",
            },
        },
    }

    def __init__(
        self,
        *,
        steps: int = 50,
        baseline: Literal["background", "minimum", "zero"] | float = "background",
        internal_batch_size: int = 4,
    ) -> None:
        self.steps = steps
        self.baseline = baseline
        self.internal_batch_size = internal_batch_size

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the integrated gradients [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained.
        """
        from ._gradients import integrated_gradients

        return integrated_gradients(
            model,
            volumes,
            target,
            steps=self.steps,
            baseline=self.baseline,
            internal_batch_size=self.internal_batch_size,
        )
