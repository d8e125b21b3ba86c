"""Whether a classifier can still read the confound: labels that follow age alone, in a cohort without any disease."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchio as tio

from xai_core import registry

NOISE = Path(__file__).parents[2] / "examples" / "confounds" / "noise.py"
Measure = Callable[[str | None, float], tuple[float, float]]


@pytest.fixture(scope="module")
def cross_validated() -> Measure:
    """Return what the page's figures come from."""
    found: Measure = runpy.run_path(str(NOISE))["cross_validated"]
    return found


@pytest.mark.parametrize(
    ("fit_on", "effect", "readable"),
    [
        (None, 0.5, True),  # the scans show the age, and so the label
        ("all", 0.5, False),
        (None, 0.0, False),  # scans of noise show nothing ...
        ("all", 0.0, False),
        ("controls", 0.0, True),  # ... until the errors of slopes that the ill had no part in are written into them
    ],
)
def test_what_a_classifier_reads(fit_on: str | None, effect: float, readable: bool, cross_validated: Measure) -> None:
    value, error = cross_validated(fit_on, effect)
    if readable:
        assert value - 1.96 * error > 0.55
    else:
        assert value - 1.96 * error < 0.5 < value + 1.96 * error


def test_all_takes_the_told_part_of_the_disease_away() -> None:
    rng = np.random.default_rng(0)
    ill = np.arange(60) % 2 == 1
    age = 65 + 8 * rng.random(60) + 6 * ill
    people = []
    for number in range(60):
        image = tio.ScalarImage(tensor=torch.full((1, 2, 2, 2), 100.0 - 20.0 * bool(ill[number])))
        people.append(tio.Subject(image=image, age=float(age[number]), target=["CN", "AD"][int(ill[number])]))
    transform: Any = registry.create("transform", "residualize", covariates=["age"], fit_on="all").build()
    transform.fit(people)
    left = np.array([float(transform(person)["image"].data[0, 0, 0, 0]) for person in people])
    told = np.corrcoef(age, ill)[0, 1] ** 2
    assert 0.3 < told < 0.8
    assert left[ill].mean() - left[~ill].mean() == pytest.approx(-20 * (1 - told), rel=1e-5)
