"""Voxel-wise linear models of covariates, fitted to controls, whose effects are taken out of every scan.

Dukart, Schroeter & Mueller 2011 (doi:10.1371/journal.pone.0022193): the effect of age is learnt from controls, since
in patients it cannot be told from the disease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from torch import Tensor

from xai_core.engine.progress import log
from xai_core.errors import InputError

from ._design import Design, Numeric, check_design, is_missing
from ._fit_people import FitOn, Row, fit_people, who_fits
from ._scan import InputOnly, input_image
from ._voxelwise import Grid, about, weighted_sums

__all__ = ["ScanResidualize", "design_of", "needed", "slopes"]

_STEP = "residualize"
_MANY = 0.05  # of the training part


def design_of(
    rows: Sequence[Row],
    covariates: Sequence[str],
    categorical: Sequence[str],
    polynomial: Mapping[str, int],
    fit_on: FitOn,
    missing: str,
) -> tuple[Design, list[int]]:
    """Return the design of the people whom the model is fitted to, and their positions.

    Args:
        rows: What is known of the training part.
        covariates: Names of the covariates.
        categorical: Those that are categories although they are numbers.
        polynomial: Highest power by covariate.
        fit_on: See ``fit_people``.
        missing: ``"error"``, ``"mean"`` or ``"drop"``: people without a covariate are refused, get the mean of the
            others, or do not count.

    Raises:
        InputError: Nobody is left, a covariate is missing, or the effects cannot be told apart.
    """
    people = fit_people(rows, fit_on)
    gaps = {i for i in people if any(is_missing(rows[i].get(name)) for name in covariates)}
    if gaps and missing == "error":
        raise InputError(f"{len(gaps)} of the people of the fit lack a covariate ({', '.join(covariates)}).")
    if missing == "drop":
        people = [i for i in people if i not in gaps]
        if not people:
            raise InputError(f"nobody among the {who_fits(fit_on)} has all of {', '.join(covariates)}.")
    fitted = [rows[i] for i in people]
    design = Design.fit(fitted, covariates, categorical, polynomial)
    check_design(design, design.matrix(fitted), who_fits(fit_on))
    return design, people


def slopes(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return weights [columns, people] whose sums over people's values are the least-squares slopes.

    Args:
        matrix: Centred columns [people, columns] of full rank; the intercept is the mean of the values.
    """
    # By QR, not by the normal equations, which would square the condition of age and its powers.
    scale = np.linalg.norm(matrix, axis=0)
    q, r = np.linalg.qr(matrix / scale)
    result: npt.NDArray[np.float64] = np.linalg.solve(r, q.T) / scale[:, None]
    return result


def needed(step: str, subject: Mapping[str, Any], design: Design, missing: str) -> None:
    """Refuse a scan without a covariate, or say what is taken for it.

    Raises:
        InputError: A covariate is missing and ``missing`` is ``"error"``; the message says how to give it.
    """
    lacking = [term for term in design.terms if is_missing(subject.get(term.name))]
    if not lacking:
        return
    if missing == "error":
        listed = " and ".join(f"{term.name} ({_range(term)})" for term in lacking)
        options = " ".join(f"--covariate {term.name}=..." for term in lacking)
        raise InputError(
            f"{step} needs {listed}, which is not known of this scan. For a scan that is not in the study, give it to "
            f"xai predict and xai explain by {options}; otherwise fill the study's table."
        )
    # A person of the study whose cell is empty was told of before the run; a new scan was not.
    new = [term for term in lacking if term.name not in subject]
    if new:
        taken = " and ".join(f"{t.name} = {t.mean if isinstance(t, Numeric) else t.mode}" for t in new)
        log.warning("%s: not known of this scan, so that of the average person is taken: %s", step, taken)


def _range(term: Any) -> str:
    return f"{term.low:g} to {term.high:g} in the fit" if isinstance(term, Numeric) else " or ".join(term.levels)


def _warn_of_extrapolation(step: str, rows: Sequence[Row], design: Design, who: str) -> None:
    """Say how many people of the training part lie outside of what the model has seen, if they are many."""
    for term in (term for term in design.terms if isinstance(term, Numeric)):
        known = [float(row[term.name]) for row in rows if not is_missing(row.get(term.name))]
        outside = sum(not term.low <= value <= term.high for value in known)
        if outside > _MANY * len(rows):
            log.warning(
                "%s: %s of %d of %d people of the training part lies outside of the range of the %s (%g to %g); their "
                "correction is an extrapolation.",
                step, term.name, outside, len(rows), who, term.low, term.high,
            )  # fmt: skip


def _without(values: Tensor, mask: Tensor, effect: Tensor) -> Tensor:
    """Return flattened values [V] with an effect [M] taken from those inside the mask (bool [V]); float32."""
    result = values.to(torch.float32, copy=True)
    result[mask] -= effect.to(torch.float32)
    return result


class ScanResidualize(InputOnly):
    """Takes the effects of covariates out of the network's input.

    Each voxel of each channel has a linear model: value = mean + sum of slope x (covariate - its mean). A scan becomes
    value - sum of slope x (its covariate - mean): that of the same person with the average covariates of the people
    of the fit.

    Args:
        covariates: Names of the covariates.
        categorical: Those that are categories although they are numbers.
        polynomial: Highest power by covariate.
        fit_on: ``"controls"``, ``"all"`` or ``{"column": ..., "values": [...]}``.
        missing: ``"error"``, ``"mean"`` or ``"drop"``.
        unknown: ``"error"`` or ``"mean"``, for a level of a category that nobody of the fit has.
        **kwargs: As for ``torchio.Transform``.
    """

    voxelwise = True

    def __init__(
        self,
        covariates: Sequence[str],
        categorical: Sequence[str],
        polynomial: Mapping[str, int],
        fit_on: FitOn,
        missing: str,
        unknown: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.covariates = list(covariates)
        self.categorical = list(categorical)
        self.polynomial = dict(polynomial)
        self.fit_on = fit_on
        self.missing = missing
        self.unknown = unknown
        self.args_names = ["covariates", "categorical", "polynomial", "fit_on", "missing", "unknown"]
        # Besides the scan itself; the core's cache keeps a result for other people with the same values.
        self.reads = self.covariates
        self._learnt: tuple[Design, Grid, Tensor, Tensor] | None = None

    def design(self, rows: Sequence[Row]) -> tuple[Design, list[int]]:
        """Return the design for a training part, and the positions of the people of the fit; see ``design_of``."""
        return design_of(rows, self.covariates, self.categorical, self.polynomial, self.fit_on, self.missing)

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        """Learn the slopes from the people whom ``fit_on`` names among the training part.

        Memory: slopes in float64 (columns x voxels) and one scan at a time.

        Raises:
            InputError: There are none, or the effects cannot be told apart, or the scans are on different grids.
        """
        rows = about(subjects)
        try:
            design, people = self.design(rows)
            weights = slopes(design.matrix([rows[i] for i in people]))
            found, varies, grid = weighted_sums(subjects, people, weights, f"{_STEP}: {len(people)} scans")
        except InputError as error:
            raise InputError(f"{_STEP}: {error}") from error
        _warn_of_extrapolation(_STEP, rows, design, who_fits(self.fit_on))
        mask = torch.from_numpy(varies)
        self._learnt = design, grid, mask, torch.from_numpy(found[:, varies].astype(np.float32))

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Take the effects out of the network's input.

        Raises:
            InputError: A covariate is not known or has an unknown level, or the scan is on another grid.
        """
        design, grid, mask, coefficients = self._fitted()
        needed(_STEP, subject, design, self.missing)
        image = input_image(subject)
        try:
            grid.check(image, "")
            row = torch.from_numpy(design.row(subject, self.unknown)).float()
        except InputError as error:
            raise InputError(f"{_STEP}: {error}") from error
        adjusted = _without(image.data.reshape(-1), mask, row @ coefficients)
        image.set_data(adjusted.reshape(image.shape))
        return subject

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt.

        ``coefficients`` float32 [columns, M] are the slopes of the M voxels where ``mask`` (bool [C * D * H * W]) is
        true, in intensity for each unit of a numeric covariate (for each standard deviation to the power of k for its
        k-th power) and for each level against the first one. ``design`` holds the covariates' coding, ``grid`` shape
        and affine of the scans.
        """
        design, grid, mask, coefficients = self._fitted()
        return {"design": design.state(), "grid": grid.state(), "mask": mask, "coefficients": coefficients}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self._learnt = (
            Design.restored(state["design"]), Grid.restored(state["grid"]), state["mask"], state["coefficients"],
        )  # fmt: skip

    def _fitted(self) -> tuple[Design, Grid, Tensor, Tensor]:
        if self._learnt is None:
            raise InputError(f"{_STEP} learns from the training part; call fit(subjects) first.")
        return self._learnt
