"""What a classifier reads from scans of which nothing can be read, once they are residualised.

The scans are noise, with or without an effect of age; the "ill" differ from the controls in their age alone.

    python examples/confounds/noise.py
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from xai_core import registry

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

PEOPLE, SHAPE = 300, (1, 13, 12, 12)


@cache
def cohort(effect: float) -> tuple[list[tio.Subject], Labels]:
    """Return scans of noise with an effect of age in a tenth of the voxels, and who counts as ill.

    Args:
        effect: Of ten years, in standard deviations of a voxel.
    """
    rng = np.random.default_rng(5)
    ill = np.arange(PEOPLE) % 2 == 1
    age = 55 + 35 * rng.random(PEOPLE) ** np.where(ill, 0.5, 2.0)  # means of 67 and 78 years
    slope = np.where(rng.random(SHAPE) < 0.1, effect / 10, 0.0)
    subjects = []
    for number in range(PEOPLE):
        values = rng.normal(0, 1, SHAPE) + slope * (age[number] - 70)
        image = tio.ScalarImage(tensor=torch.from_numpy(values.astype(np.float32)))
        subjects.append(tio.Subject(image=image, age=float(age[number]), target=["CN", "AD"][int(ill[number])]))
    return subjects, ill


def auc(scores: Floats, ill: Labels) -> float:
    """Return the part of pairs of an ill person and a control in which the ill one has the higher score."""
    return float((scores[ill][:, None] > scores[~ill]).mean())


def standard_error(value: float, each: float) -> float:
    """Return the standard error of an AUC with ``each`` people in either group.

    Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    return float(np.sqrt((value * (1 - value) + (each - 1) * (q1 + q2 - 2 * value**2)) / each**2))


def cross_validated(fit_on: str | None, effect: float) -> tuple[float, float]:
    """Return the mean AUC of five folds of logistic regression, and the standard error for a cohort of this size.

    Args:
        fit_on: Of ``residualize``; None: without it.
        effect: See ``cohort``.
    """
    subjects, ill = cohort(effect)
    found = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(ill, ill):
        values = _voxels(_prepared(subjects, train, fit_on))
        model = LogisticRegression(C=1e-3, max_iter=200).fit(values[train], ill[train])
        found.append(auc(model.decision_function(values[test]), ill[test]))
    mean = float(np.mean(found))
    return mean, standard_error(mean, PEOPLE / 2)


def _prepared(subjects: list[tio.Subject], train: npt.NDArray[np.intp], fit_on: str | None) -> list[tio.Subject]:
    if fit_on is None:
        return subjects
    transform: Any = registry.create("transform", "residualize", covariates=["age"], fit_on=fit_on).build()
    transform.fit([subjects[i] for i in train])
    return [transform(subject) for subject in subjects]


def _voxels(subjects: list[tio.Subject]) -> Floats:
    return np.stack([cast(tio.ScalarImage, s["image"]).data.numpy().ravel() for s in subjects]).astype(np.float64)


def main() -> None:
    """Print the AUC of every case, with its 95 % interval."""
    for effect, what in ((0.0, "no effect of age"), (0.5, "an effect of age")):
        for fit_on, how in ((None, "as they are"), ("controls", "fit_on: controls"), ("all", "fit_on: all")):
            mean, error = cross_validated(fit_on, effect)
            interval = f"[{mean - 1.96 * error:.2f}, {mean + 1.96 * error:.2f}]"
            sys.stdout.write(f"noise with {what:16s} {how:16s} AUC {mean:.2f} {interval}\n")


if __name__ == "__main__":
    main()
