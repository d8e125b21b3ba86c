"""Explainers made of the gradient at the volume. Light: torch and Captum load when ``explain`` is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Explainer

from .parameters import MAX_BATCH

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["InputXGradient", "Saliency", "SmoothGrad"]


class Saliency(Explainer):
    """The gradient of the output with respect to each voxel.

    The unit is output per unit of intensity.

    Source: Simonyan et al., Deep inside convolutional networks, ICLR workshop 2014.

    Args:
        absolute: Give |gradient|; False: the gradient with its sign.
        max_batch: Volumes that are computed at once.
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
            "max_batch": MAX_BATCH,
        },
    }

    def __init__(self, *, absolute: bool = True, max_batch: int = 4) -> None:
        self.absolute = absolute
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained.
        """
        from ._gradients import saliency

        return saliency(model, volumes, target, absolute=self.absolute, max_batch=self.max_batch)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with finite differences in double precision."""
        from ._checks import check_saliency

        return check_saliency(self, model, volumes)


class InputXGradient(Explainer):
    """Each voxel's intensity times the gradient of the output with respect to it.

    A voxel of intensity 0 gets no relevance; after a z-score that is one of mean intensity, not background.
    The relevance of a linear network without bias sums up to its output.

    Source: Shrikumar et al., Not just a black box, 2016 (arXiv 1605.01713).

    Args:
        max_batch: Volumes that are computed at once.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"max_batch": MAX_BATCH},
    }

    def __init__(self, *, max_batch: int = 4) -> None:
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return intensity x gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained.
        """
        from ._gradients import input_x_gradient

        return input_x_gradient(model, volumes, target, max_batch=self.max_batch)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with finite differences in double precision."""
        from ._checks import check_input_x_gradient

        return check_input_x_gradient(self, model, volumes)


class SmoothGrad(Explainer):
    """The gradient averaged over noisy copies of the volume, or its scatter among them.

    Gaussian noise is added to every voxel, ``samples`` times. It follows from torch's seed, and all volumes of a
    batch get the same noise, scaled by their range. ``details`` holds its standard deviation for each channel.

    Source: Smilkov et al., SmoothGrad, 2017 (arXiv 1706.03825); Adebayo et al., Local explanation methods, ICLR
    workshop 2018 (VarGrad); Hooker et al., A benchmark for interpretability methods, NeurIPS 2019 (mean of squares).

    Args:
        of: ``"saliency"``: the magnitude of the mean gradient; ``"gradient"``: with its sign;
            ``"input-x-gradient"``: noisy intensity x gradient.
        statistic: ``"mean"``; ``"variance"`` (VarGrad); ``"mean-square"`` (SmoothGrad-Squared).
        samples: Noisy copies of each volume.
        noise: Standard deviation of the noise as a share of the range (largest - least intensity) of the channel.
        max_batch: Noisy copies that are computed at once.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "of": {
                "enum": ["saliency", "gradient", "input-x-gradient"],
                "default": "saliency",
                "description": "What is averaged: saliency (the magnitude of the mean gradient), gradient (with its "
                "sign), input-x-gradient.",
            },
            "statistic": {
                "enum": ["mean", "variance", "mean-square"],
                "default": "mean",
                "description": "Over the noisy copies: mean, variance (VarGrad) or mean-square (SmoothGrad-Squared).",
            },
            "samples": {
                "type": "integer",
                "minimum": 1,
                "default": 25,
                "description": "Noisy copies: forward and backward passes for each volume.",
            },
            "noise": {
                "type": "number",
                "minimum": 0,
                "default": 0.1,
                "description": "Standard deviation of the noise as a share of the range of intensities.",
            },
            "max_batch": MAX_BATCH,
        },
    }

    def __init__(
        self,
        *,
        of: Literal["saliency", "gradient", "input-x-gradient"] = "saliency",
        statistic: Literal["mean", "variance", "mean-square"] = "mean",
        samples: int = 25,
        noise: float = 0.1,
        max_batch: int = 4,
    ) -> None:
        self.of = of
        self.statistic = statistic
        self.samples = samples
        self.noise = noise
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the statistic [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained.
            ConfigError: The variance of one sample is asked for.
        """
        from ._smoothgrad import smoothgrad

        return smoothgrad(
            model,
            volumes,
            target,
            of=self.of,
            statistic=self.statistic,
            samples=self.samples,
            noise=self.noise,
            max_batch=self.max_batch,
        )

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with the plain gradient as the noise vanishes, and the statistics with each other."""
        from ._checks import check_smoothgrad

        return check_smoothgrad(self, model, volumes)
