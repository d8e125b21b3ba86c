"""Explainers made of the gradient at the volume. Light: torch and Captum load when ``explain`` is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Explainer

from .parameters import MAX_BATCH, START

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ._starts import Start

__all__ = ["Gradient", "InputXGradient", "Saliency", "SmoothGrad"]


class Gradient(Explainer):
    """The gradient of the output with respect to each voxel, with its sign.

    The unit is output per unit of intensity; with ``start: logit`` squared output per unit of intensity.
    ``details`` hold what the gradient was multiplied by where that is not one.

    Source: Baehrens et al., How to explain individual classification decisions, JMLR 2010. ``start: one`` is what
    ``gradient`` of iNNvestigate gives (Alber et al., iNNvestigate neural networks!, JMLR 2019).

    Args:
        start: What the gradient is multiplied by: ``"one"``; ``"logit"``: the explained output; ``"probability"``:
            its softmax, for networks with several classes.
        max_batch: Volumes that are computed at once.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"start": START, "max_batch": MAX_BATCH},
    }

    def __init__(self, *, start: Start = "one", max_batch: int = 4) -> None:
        self.start = start
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained, or there is no such start.
        """
        from ._gradients import gradient

        return gradient(model, volumes, target, absolute=False, start=self.start, max_batch=self.max_batch)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with finite differences in double precision."""
        from ._checks import check_gradient_map

        return check_gradient_map(self, model, volumes)


class Saliency(Explainer):
    """The magnitude of the gradient of the output with respect to each voxel.

    The unit is output per unit of intensity; see ``gradient``.

    Source: Simonyan et al., Deep inside convolutional networks, ICLR workshop 2014.

    Args:
        absolute: Give |gradient|; False: the gradient with its sign, as ``gradient`` does.
        start: As for ``gradient``.
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
            "start": START,
            "max_batch": MAX_BATCH,
        },
    }

    def __init__(self, *, absolute: bool = True, start: Start = "one", max_batch: int = 4) -> None:
        self.absolute = absolute
        self.start = start
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained, or there is no such start.
        """
        from ._gradients import gradient

        return gradient(model, volumes, target, absolute=self.absolute, start=self.start, max_batch=self.max_batch)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare with finite differences in double precision."""
        from ._checks import check_gradient_map

        return check_gradient_map(self, model, volumes)


class InputXGradient(Explainer):
    """Each voxel's intensity times the gradient of the output with respect to it.

    A voxel of intensity 0 gets no relevance; after a z-score that is one of mean intensity, not background.
    The relevance of a linear network without bias sums up to its output (times the value of ``start``).

    Source: Shrikumar et al., Not just a black box, 2016 (arXiv 1605.01713). ``start: one`` is what
    ``input_t_gradient`` of iNNvestigate gives.

    Args:
        start: As for ``gradient``.
        max_batch: Volumes that are computed at once.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"start": START, "max_batch": MAX_BATCH},
    }

    def __init__(self, *, start: Start = "one", max_batch: int = 4) -> None:
        self.start = start
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return intensity x gradient [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained, or there is no such start.
        """
        from ._gradients import input_x_gradient

        return input_x_gradient(model, volumes, target, start=self.start, max_batch=self.max_batch)

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
