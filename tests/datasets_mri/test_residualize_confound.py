"""Whether a classifier can still read the confound: labels that follow age alone, in a cohort without any disease."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchio as tio
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from xai_core import registry

Floats = npt.NDArray[np.float64]

PEOPLE, SHAPE = 300, (1, 13, 12, 12)


@cache
def cohort(years: float) -> tuple[list[tio.Subject], npt.NDArray[np.bool_]]:
    """Return scans of noise with an effect of age in a tenth of the voxels, and labels: the "ill" are older.

    Args:
        years: Effect of age, in standard deviations of a voxel for ten years.
    """
    rng = np.random.default_rng(5)
    ill = np.arange(PEOPLE) % 2 == 1
    age = 55 + 35 * rng.random(PEOPLE) ** np.where(ill, 0.5, 2.0)  # mean 67 and 78, as in the built-in cohort
    slope = np.where(rng.random(SHAPE) < 0.1, years / 10, 0.0)
    subjects = []
    for number in range(PEOPLE):
        values = rng.normal(0, 1, SHAPE) + slope * (age[number] - 70)
        image = tio.ScalarImage(tensor=torch.from_numpy(values.astype(np.float32)))
        subjects.append(tio.Subject(image=image, age=float(age[number]), target=["CN", "AD"][int(ill[number])]))
    return subjects, ill


def voxels(subjects: list[tio.Subject]) -> Floats:
    return np.stack([cast(tio.ScalarImage, s["image"]).data.numpy().ravel() for s in subjects]).astype(np.float64)


def auc(scores: Floats, ill: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the AUC and its standard error (Hanley & McNeil 1982)."""
    wins = (scores[ill][:, None] > scores[~ill]).mean()
    n, m = ill.sum(), (~ill).sum()
    q1, q2 = wins / (2 - wins), 2 * wins**2 / (1 + wins)
    variance = (wins * (1 - wins) + (n - 1) * (q1 - wins**2) + (m - 1) * (q2 - wins**2)) / (n * m)
    return float(wins), float(np.sqrt(variance))


def cross_validated(fit_on: str | None, years: float) -> tuple[float, float]:
    """Return the mean AUC of five folds, and the standard error that a cohort of this size has."""
    subjects, ill = cohort(years)
    found = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(ill, ill):
        prepared = subjects
        if fit_on is not None:
            transform: Any = registry.create("transform", "residualize", covariates=["age"], fit_on=fit_on).build()
            transform.fit([subjects[i] for i in train])
            prepared = [transform(s) for s in subjects]
        values = voxels(prepared)
        model = LogisticRegression(C=1e-3, max_iter=200).fit(values[train], ill[train])
        found.append(auc(model.decision_function(values[test]), ill[test])[0])
    return float(np.mean(found)), auc(np.arange(PEOPLE) % 7, ill)[1]


@pytest.mark.parametrize(
    ("fit_on", "years", "readable"),
    [
        (None, 0.5, True),  # the scans show the age, and so the label
        ("all", 0.5, False),
        (None, 0.0, False),  # scans of noise show nothing ...
        ("all", 0.0, False),
        ("controls", 0.0, True),  # ... until the errors of slopes that the ill had no part in are written into them
    ],
)
def test_what_a_classifier_reads(fit_on: str | None, years: float, readable: bool) -> None:
    value, error = cross_validated(fit_on, years)
    if readable:
        assert value - 1.96 * error > 0.55
    else:
        assert value - 1.96 * error < 0.5 < value + 1.96 * error
