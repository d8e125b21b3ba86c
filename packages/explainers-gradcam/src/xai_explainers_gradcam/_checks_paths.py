"""What the explainers that compare with a baseline promise, tested by sums in double precision."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from xai_core import Attribution, InputError
from xai_core.engine.seeding import seeded

from ._checks import CLOSE, double_copy, outputs_one_by_one, with_parameters
from ._complete import scale_of_sums

__all__ = ["check_completeness", "check_expectation"]

# Of a method that draws samples: how often it is run, and the largest standard error of the mean that says anything.
_RUNS = 8
_SCATTER = 0.05
# How much steps or samples are raised where a network asks for more.
_MORE_STEPS = (1, 4, 16)
_MORE_SAMPLES = (1, 4)


def check_completeness(explainer: Any, model: nn.Module, volumes: Tensor, effort: str | None) -> str:
    """Compare the sum of relevance with output - baseline output; see ``Explainer.self_check``.

    Args:
        explainer: Of those in ``plugin_paths``.
        effort: Parameter that is raised up to 16 times until the sum is right, or None.

    Raises:
        AssertionError: The sum is not right, and the map does not say so.
        InputError: The method refuses the network, or comes to the right sum too slowly to be tested.
    """
    exact = double_copy(model)
    refusal: InputError | None = None
    for factor in _MORE_STEPS if effort else (1,):
        given = with_parameters(explainer, **{effort: getattr(explainer, effort) * factor}) if effort else explainer
        try:
            found = given.explain(model, volumes, None)
        except InputError as error:
            refusal = error
            continue
        text = f" with {effort} {max(row[effort] for row in found.details or ())}" if effort else ""
        missed, untold = _missed(given, exact, volumes, found)
        if missed <= CLOSE:
            return f"sums to output - baseline output{text}: off by {missed:.1e}"
        verdict = f"relevance misses {100 * missed:.3g} % of output - baseline output{text}"
        assert effort is not None, verdict
        assert untold <= CLOSE, verdict
        refusal = InputError(f"{verdict}, as its details say: it converges too slowly on this network to be tested.")
    assert refusal is not None
    raise refusal


def check_expectation(explainer: Any, model: nn.Module, volumes: Tensor) -> str:
    """Compare the mean sum of relevance of several runs with output - baseline output, as far as chance allows.

    Args:
        explainer: ``plugin_paths.GradientSHAP``, whose sum is right on average only.

    Raises:
        AssertionError: The mean is not right.
        InputError: The method refuses the network, or its sums scatter too much to be tested.
    """
    explainer = with_parameters(explainer, noise=0.0)  # noise is an aim of its own, away from the sum
    exact = double_copy(model)
    refusal: InputError | None = None
    for factor in _MORE_SAMPLES:
        given = with_parameters(explainer, samples=explainer.samples * factor)
        # A refusal stands: the method has raised its samples itself by then.
        misses = torch.stack([_run(given, model, exact, volumes, seed) for seed in range(_RUNS)])
        mean, error_of_mean = misses.mean(0).abs(), misses.std(0) / math.sqrt(_RUNS)
        text = f"{_RUNS} runs with {given.samples} samples: off by {float(mean.max()):.1e}"
        text += f", standard error {float(error_of_mean.max()):.1e}"
        if bool((error_of_mean > _SCATTER).any()):
            refusal = InputError(f"The sum of relevance scatters too much on this network to be tested: {text}.")
            continue
        right = bool((mean <= torch.clamp(3 * error_of_mean, min=CLOSE)).all())
        assert right, f"the sum of relevance is wrong: {text}"
        return f"sums to output - baseline output on average: {text}"
    assert refusal is not None
    raise refusal


def _run(explainer: Any, model: nn.Module, exact: nn.Module, volumes: Tensor, seed: int) -> Tensor:
    """Return by what share of the right sum one run's sums miss it, with a sign, float64 [N]."""
    with seeded(seed):
        found = explainer.explain(model, volumes, None)
    sums, right, scale = _sums(explainer, exact, volumes, found)
    return (sums - right) / scale


def _missed(explainer: Any, exact: nn.Module, volumes: Tensor, found: Attribution) -> tuple[float, float]:
    """Return the largest share that sums miss, and the largest part of it that ``details`` do not tell."""
    sums, right, scale = _sums(explainer, exact, volumes, found)
    assert found.details is not None, "the map does not say what its sum misses"
    told = torch.tensor([row["convergence_delta"] for row in found.details], dtype=torch.float64).to(sums)
    off = sums - right
    return float((off.abs() / scale).max()), float(((off - told).abs() / scale).max())


def _sums(explainer: Any, exact: nn.Module, volumes: Tensor, found: Attribution) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of relevance, what they should be, and what they are measured by, float64 [N] each."""
    starts = explainer._source().volumes(volumes)
    outputs = outputs_one_by_one(exact, volumes, found.target)
    baseline = torch.stack([outputs_one_by_one(exact, start, found.target) for start in starts]).mean(0)
    sums = found.relevance.double().flatten(1).sum(1)
    return sums, outputs - baseline, scale_of_sums(found.relevance, outputs, baseline)
