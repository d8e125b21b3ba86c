"""Who the simulated people are: everything about one person is drawn from the cohort's seed and their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["SCANNERS", "Cohort", "Person", "draw_person"]

Floats = npt.NDArray[np.floating[Any]]
Confounding = Literal["none", "age", "scanner", "both"]

SCANNERS = ("scanner-a", "scanner-b", "scanner-c")
YOUNGEST, OLDEST = 55.0, 90.0

# Mean and spread of the severity before it is cut off at 0. CN against AD overlap (AUC of the true severity about
# 0.97), so that no reader of the images, however good, separates the groups.
_SEVERITY = {"CN": (0.06, 0.16), "MCI": (0.32, 0.20), "AD": (0.58, 0.20)}
_MOST_SEVERE = 1.25
_COARSE, _FINE = 40.0, 18.0  # mm between the control points of the two random deformations


class _Stream(IntEnum):
    """Independent random streams, so that one parameter of the cohort changes only what it is about."""

    GROUP = 0
    DEMOGRAPHY = 1
    SHAPE = 2
    DISEASE = 3
    SCAN = 4


@dataclass(frozen=True)
class Cohort:
    """What decides the images of a cohort. See ``SimulatedAtrophy`` for the meaning of each."""

    groups: tuple[str, ...]
    resolution: float
    severity: float
    confounding: Confounding
    seed: int
    shape_variation: float = 1.0

    def stream(self, stream: int, number: int) -> np.random.Generator:
        """Return the generator of one purpose for one person (or block of people)."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream, number)))


@dataclass(frozen=True)
class Person:
    """One simulated person.

    Attributes:
        identifier: BIDS label, such as ``sub-001``.
        age: Years.
        severity: How advanced the disease is, 0 (none) to 1.25; the truth, which a study would not know.
        sides: Severity of the left and of the right hemisphere.
        linear: Matrix [3, 3] from the person's space to the standard one (head size, proportions, pose).
        shift: mm [3].
        deformation: (spacing in mm, displacements [nx, ny, nz, 3] in mm at the control points), coarse to fine.
        ventricle_widening: mm^2, factor of ``Anatomy.pull`` of the ventricles.
        sulcus_widening: mm^2, factor of ``Anatomy.pull`` of other fluid.
        bias: Coefficients [9] of the person's part of the bias field.
        noise: Generator of the scan's noise; one scan uses it up.
    """

    identifier: str
    diagnosis: str
    age: float
    sex: str
    site: str
    severity: float
    sides: tuple[float, float]
    linear: Floats
    shift: Floats
    deformation: tuple[tuple[float, Floats], ...]
    ventricle_widening: float
    sulcus_widening: float
    bias: Floats
    noise: np.random.Generator


def draw_person(cohort: Cohort, index: int) -> Person:
    """Return person number ``index`` (from 0). Does not depend on how many people the cohort has."""
    diagnosis = _diagnosis(cohort, index)
    age, sex, site = _demography(cohort, index, diagnosis)
    severity, sides = _disease(cohort, index, diagnosis)
    shape = cohort.stream(_Stream.SHAPE, index)
    linear, shift = _pose(shape, sex)
    deformation = tuple((spacing, _controls(shape, spacing, sd)) for spacing, sd in ((_COARSE, 7.0), (_FINE, 2.4)))
    if cohort.shape_variation != 1:
        linear = np.eye(3) + cohort.shape_variation * (linear - np.eye(3))
        shift = cohort.shape_variation * shift
        deformation = tuple((spacing, cohort.shape_variation * controls) for spacing, controls in deformation)
    aged = (age - YOUNGEST) / (OLDEST - YOUNGEST)
    scan = cohort.stream(_Stream.SCAN, index)
    return Person(
        identifier=f"sub-{index + 1:03d}",
        diagnosis=diagnosis,
        age=age,
        sex=sex,
        site=site,
        severity=severity,
        sides=sides,
        linear=linear,
        shift=shift,
        deformation=deformation,
        ventricle_widening=10.0 + 40.0 * aged + 8.0 * _spread(shape),
        sulcus_widening=1.0 + 7.0 * aged + 0.8 * _spread(shape),
        bias=scan.normal(0.0, 0.03, size=9),
        noise=scan,
    )


def _diagnosis(cohort: Cohort, index: int) -> str:
    """Deal the groups out in shuffled blocks, one of each group: balanced for any number of people."""
    count = len(cohort.groups)
    order = cohort.stream(_Stream.GROUP, index // count).permutation(count)
    return cohort.groups[int(order[index % count])]


def _demography(cohort: Cohort, index: int, diagnosis: str) -> tuple[float, str, str]:
    """Return age, sex and scanner; a confounder shifts the distribution from CN over MCI to AD."""
    rng = cohort.stream(_Stream.DEMOGRAPHY, index)
    stage = list(_SEVERITY).index(diagnosis) / (len(_SEVERITY) - 1)
    place, sex, scanner = rng.random(), rng.random(), rng.random()
    if cohort.confounding in ("age", "both"):
        place = place**2.0 ** (1 - 2 * stage)  # CN: mean 67 years; AD: mean 78 years
    shares = np.full(3, 1 / 3)
    if cohort.confounding in ("scanner", "both"):
        shares = np.array([0.7, 0.2, 0.1]) * (1 - stage) + np.array([0.1, 0.2, 0.7]) * stage
    site = SCANNERS[int(np.searchsorted(np.cumsum(shares)[:-1], scanner, side="right"))]
    age = round(YOUNGEST + (OLDEST - YOUNGEST) * place, 1)
    return age, "F" if sex < 0.5 else "M", site


def _disease(cohort: Cohort, index: int, diagnosis: str) -> tuple[float, tuple[float, float]]:
    """Return the severity and that of the left and right hemisphere (they differ by about 15 %)."""
    rng = cohort.stream(_Stream.DISEASE, index)
    mean, spread = _SEVERITY[diagnosis]
    drawn = max(0.0, mean + spread * float(rng.standard_normal()))
    severity = round(min(cohort.severity * drawn, _MOST_SEVERE), 4)
    tilt = float(np.clip(rng.normal(0.0, 0.15), -0.4, 0.4))
    return severity, (severity * (1 + tilt), severity * (1 - tilt))


def _pose(rng: np.random.Generator, sex: str) -> tuple[Floats, Floats]:
    """Return head size, proportions and rotation as a matrix, and a shift in mm."""
    # Men's brains are about 10 % larger in volume, 3 % in length.
    size = rng.normal(1.015 if sex == "M" else 0.985, 0.025) * np.clip(rng.normal(1.0, 0.02, 3), 0.94, 1.06)
    angles = np.radians(np.clip(rng.normal(0.0, 2.5, 3), -7.0, 7.0))
    shift = np.clip(rng.normal(0.0, 1.5, 3), -4.0, 4.0)
    return _rotation(angles) @ np.diag(1.0 / np.clip(size, 0.9, 1.1)), shift


def _spread(rng: np.random.Generator) -> float:
    """Return a standard normal deviate, at most 1.25 away from 0."""
    return float(np.clip(rng.standard_normal(), -1.25, 1.25))


def _rotation(angles: Sequence[float] | Floats) -> Floats:
    """Return the rotation about x, then y, then z by ``angles`` (radians)."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _controls(rng: np.random.Generator, spacing: float, sd: float) -> Floats:
    """Return random displacements [n, n, n, 3] that cover 240 mm in each direction with cubic B-splines."""
    count = int(np.ceil(240.0 / spacing)) + 3
    return np.asarray(np.clip(rng.standard_normal((count, count, count, 3)), -2.5, 2.5) * sd)
