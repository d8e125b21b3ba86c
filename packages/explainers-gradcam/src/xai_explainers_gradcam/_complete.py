"""Whether relevance sums to what it must: the difference between output and baseline output."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xai_core import InputError

__all__ = [
    "check_path_sum", "check_sampled_sum", "misses_too_much", "scale_of_sums", "standard_error", "unexplained",
]  # fmt: skip

# Of a path method: a map that misses more is no explanation of the difference. The run warns above 1 %.
_LIMIT = 0.1
# A deviation of more standard errors than this is not chance.
_CHANCE = 4.0
_WORTH_IT = 100  # times as many samples; more are not worth it


def unexplained(relevance: Tensor, output: Tensor, baseline_output: Tensor) -> Tensor:
    """Return what the sums of relevance [N, ...] miss of the differences of two outputs [N], relative to them.

    Where the difference is small beside what cancels in it, 0.1 % of the sum of relevance's magnitudes or 0.01 % of the
    outputs takes its place: single precision gives no better. float64 [N].
    """
    missed = relevance.double().flatten(1).sum(1) - (output.double() - baseline_output.double())
    return missed.abs() / scale_of_sums(relevance, output, baseline_output)


def scale_of_sums(relevance: Tensor, output: Tensor, baseline_output: Tensor) -> Tensor:
    """Return what sums of relevance are measured by, float64 [N]; see ``unexplained``."""
    magnitude = relevance.double().flatten(1).abs().sum(1)
    rounding = torch.maximum(1e-3 * magnitude, 1e-4 * torch.maximum(output.abs(), baseline_output.abs()))
    difference = (output.double() - baseline_output.double()).abs()
    return torch.maximum(difference, rounding).clamp(min=torch.finfo(torch.float64).tiny)


def misses_too_much(relevance: Tensor, output: Tensor, baseline_output: Tensor) -> bool:
    """Whether one map's sum misses more than 10 % of the difference of the outputs.

    Args:
        relevance: [C, D, H, W].
        output: [], a number.
        baseline_output: [], a number.
    """
    return _worst_of(unexplained(relevance[None], output[None], baseline_output[None])) is not None


def check_path_sum(relevance: Tensor, output: Tensor, baseline_output: Tensor, steps: Sequence[int]) -> None:
    """Refuse integrated gradients whose sum misses more than 10 % of the difference of the outputs.

    Args:
        relevance: [N, C, D, H, W].
        output: [N].
        baseline_output: [N].
        steps: Points of the quadrature for each volume.

    Raises:
        InputError: A map misses more.
    """
    missed = unexplained(relevance, output, baseline_output)
    worst = _worst_of(missed)
    if worst is None:
        return
    raise InputError(
        f"{_start_of_message('Integrated gradients', worst, relevance, output, baseline_output, missed)} with "
        f"{steps[worst]} steps: the gradient changes too fast between the baseline and the volume. Raise max_steps (to "
        f"{4 * steps[worst]}, say), give another baseline (blurred), or use an explainer that promises no sum over a "
        "line (saliency, smoothgrad, occlusion)."
    )


def check_sampled_sum(
    relevance: Tensor, output: Tensor, baseline_output: Tensor, errors: Sequence[float], samples: Sequence[int]
) -> None:
    """Refuse gradient SHAP whose sum misses more than 10 % of the difference of the outputs, by chance or not.

    Args:
        relevance: [N, C, D, H, W].
        output: [N], with noise the mean output at the noisy volumes.
        baseline_output: [N], the mean over the baselines.
        errors: For each volume the standard error of the sum of relevance; NaN where it is not known.
        samples: Points on the lines for each volume.

    Raises:
        InputError: A map misses more; the message names the samples that would do, as far as chance is the reason.
    """
    missed = unexplained(relevance, output, baseline_output)
    worst = _worst_of(missed)
    if worst is None:
        return
    scale = float(scale_of_sums(relevance, output, baseline_output)[worst])
    advice = _advice(float(missed[worst]), errors[worst] / scale, samples[worst])
    raise InputError(
        f"{_start_of_message('Gradient SHAP', worst, relevance, output, baseline_output, missed)} with "
        f"{samples[worst]} samples. {advice}"
    )


def standard_error(parts: Tensor, lines: int) -> float:
    """Return the standard error of a sum of samples, NaN where no line has three.

    A sample stands alone in its section of the line, so the scatter is estimated from second differences of neighbours,
    which a straight trend along the line leaves at 0 (Wolter, Introduction to Variance Estimation, 2007, section 8.2).

    Args:
        parts: float64 [samples], what each adds to the sum; sample k belongs to the line k modulo their number, and
            the samples of a line are in order.
        lines: Their number.
    """
    own = [parts[line::lines] for line in range(lines)]
    variances = [float(each.diff(n=2).square().mean()) / 6 * len(each) for each in own if len(each) > 2]
    return math.sqrt(sum(variances)) if variances else math.nan


def _worst_of(missed: Tensor) -> int | None:
    """Return which sum misses most, None where all are within the limit."""
    if bool((missed <= _LIMIT).all()):
        return None
    return int(missed.nan_to_num(torch.inf).argmax())


def _start_of_message(
    what: str, worst: int, relevance: Tensor, output: Tensor, baseline_output: Tensor, missed: Tensor
) -> str:
    return (
        f"{what} of volumes[{worst}] sum to {float(relevance[worst].double().sum()):.4g}, not to output - baseline "
        f"output ({float(output[worst]):.4g} - {float(baseline_output[worst]):.4g} = "
        f"{float(output[worst]) - float(baseline_output[worst]):.4g}): they miss {100 * float(missed[worst]):.3g} %"
    )


def _advice(missed: float, error: float, samples: int) -> str:
    """Return what to do about a sum that misses this much, with this standard error, both as shares."""
    others = "use integrated-gradients, whose points are not drawn, or an explainer that promises no sum (occlusion)"
    if math.isfinite(error) and missed > _CHANCE * error:
        return (
            f"That is more than chance explains (standard error {100 * error:.3g} %): the gradient changes too fast "
            f"near an end of the lines. Give another baseline (blurred), or {others}."
        )
    # The error falls at least with the square root of the number; two standard errors are to fit in.
    factor = (max(missed, 2 * error if math.isfinite(error) else 0.0) / _LIMIT) ** 2
    if factor > _WORTH_IT:
        return f"About {_rounded(samples * factor)} samples would be needed; {others}."
    return f"Raise max_samples to about {_rounded(samples * factor)}, or {others}."


def _rounded(number: float) -> int:
    """Return a number rounded up to two digits."""
    unit = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / unit) * unit
