"""Explainers that compare the volume with a baseline. Light: torch and Captum load when ``explain`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Attribution, Explainer

from .parameters import BASELINE, BASELINE_FILE, MAX_BATCH, MAX_POINTS, SIGMA

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ._paths import Source

__all__ = ["Baseline", "DeepLIFT", "GradientSHAP", "IntegratedGradients"]

Baseline = Literal["background", "minimum", "zero", "blurred", "controls"] | float


class _Compared(Explainer):
    """Base: keeps what baselines are made of."""

    baselines: Sequence[Baseline]
    baseline_file: str | None
    sigma: float
    _controls: Tensor | None = None

    def uses_controls(self) -> bool:
        """Whether the mean of the controls is a baseline."""
        return self.baseline_file is None and "controls" in self.baselines

    def set_controls(self, mean: Tensor) -> None:
        """Take the mean of the controls, [C, D, H, W]."""
        self._controls = mean

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Refuse a file that is no baseline of these volumes; see ``Explainer``."""
        del model
        from ._baselines import check_file

        check_file(self.baseline_file, volumes)

    def _source(self) -> Source:
        from ._paths import Source

        return Source(self.baselines, self.baseline_file, self.sigma, self._controls)


class IntegratedGradients(_Compared):
    """Integrated gradients along the straight line from a baseline to the volume.

    The integral is taken by Gauss-Legendre quadrature. Relevance sums up to output - baseline_output but for
    the error of the quadrature; ``details`` holds ``baseline_output``, that error, ``convergence_delta``
    (sum of relevance minus the difference), and ``steps``. Where the error is above 10 % of the difference the map is
    made anew with four times the steps, up to ``max_steps``; a map that misses more even then is refused. Networks that
    normalise by the statistics of the volume (instance normalisation) are often among these.

    Source: Sundararajan et al., Axiomatic attribution for deep networks, ICML 2017.

    Args:
        steps: Points of the quadrature, that is forward and backward passes for each volume.
        max_steps: Most points for a volume whose sum is not right with fewer; not above ``steps``: never more.
        baseline: ``"background"``: the value around the head in each channel of each volume, the black image
            of the paper whatever the normalisation, so that background gets no relevance; ``"minimum"``: the
            least intensity; ``"zero"``; ``"blurred"``: the volume smoothed by a Gaussian; ``"controls"``: the mean
            of the healthy controls in the training part; or an intensity.
        baseline_file: NIfTI or .npy file to be taken as the baseline instead.
        sigma: Standard deviation of the Gaussian of ``"blurred"``, in voxels.
        max_batch: Points that are computed at once.
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
            "max_steps": MAX_POINTS,
            "baseline": BASELINE,
            "baseline_file": BASELINE_FILE,
            "sigma": SIGMA,
            "max_batch": MAX_BATCH,
        },
    }

    def __init__(
        self,
        *,
        steps: int = 50,
        max_steps: int = 800,
        baseline: Baseline = "background",
        baseline_file: str | None = None,
        sigma: float = 4.0,
        max_batch: int = 4,
    ) -> None:
        self.steps = steps
        self.max_steps = max_steps
        self.baselines = (baseline,)
        self.baseline_file = baseline_file
        self.sigma = sigma
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the integrated gradients [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained, there is no such baseline, or
                the sum of relevance misses more than 10 % of output - baseline_output.
        """
        from ._paths import integrated_gradients

        return integrated_gradients(
            model,
            volumes,
            target,
            source=self._source(),
            steps=self.steps,
            max_steps=self.max_steps,
            max_batch=self.max_batch,
        )

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare the sum of relevance with what the network gives; more steps are taken until it is within 1 %."""
        from ._checks_paths import check_completeness

        return check_completeness(self, model, volumes, "steps")


class GradientSHAP(_Compared):
    """Gradient SHAP: expected gradients on the lines from several baselines to the volume.

    Each sample has a baseline, a random point on the line from it to the (noisy) volume, and gives gradient x
    (volume - baseline). The mean over the samples estimates integrated gradients averaged over the baselines. The
    points of one baseline are stratified: one in each section of the line. Relevance sums up to output - mean
    baseline output but for the sampling; ``details`` holds ``baseline_output``, that error,
    ``convergence_delta``, to which noise adds, and ``samples``. Where the error (with noise: from the mean output at
    the noisy volumes) is above 10 % of the difference the map is made anew with four times the samples, up to
    ``max_samples``; a map that misses more even then is refused, with the samples that its standard error asks for.
    Randomness follows from torch's seed and is the same for all volumes.

    Source: Lundberg and Lee, A unified approach, NeurIPS 2017; Erion et al., Improving performance of deep learning
    models with axiomatic attribution priors and expected gradients, Nature Machine Intelligence 2021.

    Args:
        baselines: The baselines, taken in turn; each as in ``integrated-gradients``.
        samples: Points on the lines: forward and backward passes for each volume; at least one for each baseline.
        max_samples: Most points for a volume whose sum is not right with fewer; not above ``samples``: never more.
        noise: Standard deviation of noise that is added to the volume, as a share of the channel's range.
        baseline_file: NIfTI or .npy file to be taken instead of ``baselines``.
        sigma: Standard deviation of the Gaussian of ``"blurred"``, in voxels.
        max_batch: Points that are computed at once.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "baselines": {
                "type": "array",
                "items": {"anyOf": BASELINE["anyOf"]},
                "minItems": 1,
                "default": ["background", "blurred"],
                "description": "Baselines, taken in turn: background, minimum, zero, blurred, controls or intensities.",
            },
            "samples": {
                "type": "integer",
                "minimum": 1,
                "default": 50,
                "description": "Points on the lines: forward and backward passes for each volume.",
            },
            "max_samples": MAX_POINTS,
            "noise": {
                "type": "number",
                "minimum": 0,
                "default": 0.0,
                "description": "Standard deviation of noise added to the volume, as a share of the intensity range.",
            },
            "baseline_file": BASELINE_FILE,
            "sigma": SIGMA,
            "max_batch": MAX_BATCH,
        },
    }

    def __init__(
        self,
        *,
        baselines: Sequence[Baseline] = ("background", "blurred"),
        samples: int = 50,
        max_samples: int = 800,
        noise: float = 0.0,
        baseline_file: str | None = None,
        sigma: float = 4.0,
        max_batch: int = 4,
    ) -> None:
        self.baselines = tuple(baselines)
        self.samples = samples
        self.max_samples = max_samples
        self.noise = noise
        self.baseline_file = baseline_file
        self.sigma = sigma
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the expected gradients [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained, there is no such baseline, or
                the sum of relevance misses more than 10 % of output - baseline output.
            ConfigError: There are fewer samples than baselines.
        """
        from ._paths import gradient_shap

        return gradient_shap(
            model,
            volumes,
            target,
            source=self._source(),
            samples=self.samples,
            max_samples=self.max_samples,
            noise=self.noise,
            max_batch=self.max_batch,
        )

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare the mean sum of relevance of several runs with what the network gives."""
        from ._checks_paths import check_expectation

        return check_expectation(self, model, volumes)


class DeepLIFT(_Compared):
    """DeepLIFT with the Rescale rule: differences from a baseline, layer by layer.

    Relevance sums up to output - baseline_output exactly (but for rounding), which is checked for every map. It works
    on the canonical form of the network, so that a ReLU that is used twice or called as a function is right. Every
    elementwise function has the multiplier (difference of outputs) / (difference of inputs), and its derivative
    where the inputs are all but equal. Of max pooling, a rise belongs to the place of the volume's maximum and a fall
    to the place of the baseline's. In a signal x gate each factor gets its Shapley share: its own difference times
    the other one's mean. Negative and positive parts are not told apart (no RevealCancel). ``details`` holds
    ``baseline_output`` and the rounding, ``convergence_delta``.

    Source: Shrikumar et al., Learning important features through propagating activation differences, ICML 2017; as
    modified gradients: Ancona et al., Towards better understanding of gradient-based attribution methods, ICLR 2018;
    max pooling and products: Lundberg and Lee, NeurIPS 2017 (Deep SHAP).

    Args:
        baseline: As for ``integrated-gradients``.
        baseline_file: NIfTI or .npy file to be taken as the baseline instead.
        sigma: Standard deviation of the Gaussian of ``"blurred"``, in voxels.
        max_batch: Volumes that are computed at once.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "baseline": BASELINE,
            "baseline_file": BASELINE_FILE,
            "sigma": SIGMA,
            "max_batch": MAX_BATCH,
        },
    }

    def __init__(
        self,
        *,
        baseline: Baseline = "background",
        baseline_file: str | None = None,
        sigma: float = 4.0,
        max_batch: int = 4,
    ) -> None:
        self.baselines = (baseline,)
        self.baseline_file = baseline_file
        self.sigma = sigma
        self.max_batch = max_batch

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the contributions [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained; there is no such baseline;
                the network has no canonical form, an operation without a rule, or contributions that do not sum up.
        """
        from ._deeplift import deeplift

        return deeplift(model, volumes, target, source=self._source(), max_batch=self.max_batch)

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Refuse a network with an operation that has no rule; see ``Explainer``."""
        from ._deeplift import check_rules

        super().check_model(model, volumes)
        check_rules(model, volumes)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compare the sum of relevance with what the network gives."""
        from ._checks_paths import check_completeness

        return check_completeness(self, model, volumes, None)
