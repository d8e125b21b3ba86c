"""Sites made alike, voxel by voxel, as learnt from the training part (ComBat)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from torch import Tensor

from xai_core.errors import InputError

from ._combat import Moments, Shrinkage, estimates
from ._design import Design, check_design, is_missing, level_of
from ._fit_people import FitOn, Row, fit_people, who_fits
from ._residualize import needed
from ._scan import InputOnly, input_image
from ._voxelwise import Grid, about, blocks, changes, weighted_sums

__all__ = ["ScanHarmonize", "SiteDesign"]

Array = npt.NDArray[np.float64]
_STEP = "harmonize"
# Part of the largest residual variance below which a voxel says nothing.
_FLAT = 1e-12


@dataclass(frozen=True)
class SiteDesign:
    """The sites of the people of a fit, with the covariates whose effects are kept.

    Attributes:
        column: The column that names the site.
        counts: People of each site.
        kept: The covariates' coding.
    """

    column: str
    counts: Mapping[str, int]
    kept: Design

    @classmethod
    def fit(
        cls, rows: Sequence[Row], column: str, preserve: Sequence[str], categorical: Sequence[str], who: str
    ) -> SiteDesign:
        """Return the design of some people.

        Raises:
            InputError: There is one site, one has a single person, or sites and covariates cannot be told apart.
        """
        lacking = sorted({name for row in rows for name in (column, *preserve) if is_missing(row.get(name))})
        if column in lacking:
            raise InputError(f"some of the {who} have no {column}.")
        counts = dict(sorted(Counter(level_of(row[column]) for row in rows).items()))
        if len(counts) < 2:
            raise InputError(f"all {len(rows)} {who} are of one {column} ({', '.join(counts)}): nothing is to be done.")
        single = [site for site, count in counts.items() if count < 2]
        if single:
            raise InputError(
                f"{column} {', '.join(single)} has a single person among the {who}; a site needs two, and ten are "
                "wise. Join it with another site, leave it out, or choose another split."
            )
        both = Design.fit(rows, [*preserve, column], [*categorical, column], {})
        check_design(both, both.matrix(rows), who)
        return cls(column, counts, Design.fit(rows, preserve, categorical, {}))

    def site(self, row: Row, unknown: str) -> str | None:
        """Return a person's site; None where it is unknown and scans of unknown sites are left as they are.

        Raises:
            InputError: It is unknown, or not given.
        """
        if is_missing(row.get(self.column)):
            raise InputError(
                f"{self.column} is not known of this scan. For a scan that is not in the study, give it to xai predict "
                f"and xai explain by --covariate {self.column}=... (known: {', '.join(self.counts)})."
            )
        site = level_of(row[self.column])
        if site in self.counts:
            return site
        if unknown == "leave":
            return None
        raise InputError(
            f"{self.column} is {site!r}, which nobody has among the people of the fit ({', '.join(self.counts)}); "
            "nothing is known of it."
        )

    def row(self, about_person: Row, unknown: str) -> Array:
        """Return the columns of the covariates that are kept; checks the site, too."""
        self.site(about_person, unknown)
        return self.kept.row(about_person)

    def matrix(self, rows: Sequence[Row]) -> Array:
        """Return one column of 0 and 1 for each site, then those of the covariates [people, columns]."""
        sites = np.array([[float(level_of(row[self.column]) == site) for site in self.counts] for row in rows])
        return np.concatenate([sites, self.kept.matrix(rows)], axis=1)


@dataclass(frozen=True)
class _Learnt:
    """What is applied; M voxels inside ``mask``.

    Attributes:
        design: Sites and covariates.
        grid: Of the scans.
        mask: bool [V].
        mean: Mean of all sites at the average covariates, float32 [M].
        slopes: Effects of the covariates, float32 [columns, M].
        shift: How far each site lies above that, float32 [sites, M].
        spread: By how much its deviations are larger, float32 [sites, M].
    """

    design: SiteDesign
    grid: Grid
    mask: Tensor
    mean: Tensor
    slopes: Tensor
    shift: Tensor
    spread: Tensor


class ScanHarmonize(InputOnly):
    """Takes the location and the scale of sites out of the network's input.

    Args:
        site: The column that names the site.
        preserve: Covariates whose effects are kept.
        categorical: Those that are categories although they are numbers.
        empirical_bayes: Whether the sites' estimates are shrunk.
        scale: Whether the spread is harmonised, too.
        fit_on: ``"controls"``, ``"all"`` or ``{"column": ..., "values": [...]}``.
        missing: ``"error"`` or ``"mean"``, for the covariates.
        unknown: ``"error"`` or ``"leave"``, for a site that nobody of the fit has.
        **kwargs: As for ``torchio.Transform``.
    """

    voxelwise = True

    def __init__(
        self,
        site: str,
        preserve: Sequence[str],
        categorical: Sequence[str],
        empirical_bayes: bool,
        scale: bool,
        fit_on: FitOn,
        missing: Literal["error", "mean"],
        unknown: Literal["error", "leave"],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.site = site
        self.preserve = list(preserve)
        self.categorical = list(categorical)
        self.empirical_bayes = empirical_bayes
        self.scale = scale
        self.fit_on = fit_on
        self.missing = missing
        self.unknown = unknown
        self.args_names = [
            "site",
            "preserve",
            "categorical",
            "empirical_bayes",
            "scale",
            "fit_on",
            "missing",
            "unknown",
        ]
        self.reads = [site, *self.preserve]
        self._learnt: _Learnt | None = None

    def design(self, rows: Sequence[Row]) -> tuple[SiteDesign, list[int]]:
        """Return the design for a training part, and the positions of the people of the fit.

        Raises:
            InputError: See ``SiteDesign.fit``; or a covariate is missing.
        """
        people = fit_people(rows, self.fit_on)
        fitted = [rows[i] for i in people]
        if self.missing == "error" and any(is_missing(row.get(name)) for row in fitted for name in self.preserve):
            raise InputError(f"some people of the fit lack a covariate ({', '.join(self.preserve)}).")
        return SiteDesign.fit(fitted, self.site, self.preserve, self.categorical, who_fits(self.fit_on)), people

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        """Learn the sites' locations and scales; every scan of the fit is read twice.

        Memory: (2 x sites + covariates) x voxels in float64 and one scan at a time.

        Raises:
            InputError: See ``design``; or the scans are on different grids.
        """
        rows = about(subjects)
        try:
            design, people = self.design(rows)
            self._learnt = self._learn(subjects, design, people, design.matrix([rows[i] for i in people]))
        except InputError as error:
            raise InputError(f"{_STEP}: {error}") from error

    def _learn(
        self, subjects: Sequence[tio.Subject], design: SiteDesign, people: Sequence[int], matrix: Array
    ) -> _Learnt:
        q, r = np.linalg.qr(matrix)
        weights = np.linalg.solve(r, q.T)
        found, varies, grid = weighted_sums(subjects, people, weights, f"{_STEP}: means of {len(people)} scans")
        squares = _residual_squares(subjects, people, matrix, found, len(design.counts))
        total = squares.sum(axis=0) / len(people)
        mask = varies & (total > _FLAT * total.max())
        if not mask.any():
            raise InputError("no voxel differs between people of one site.")
        coefficients, squares, deviation = found[:, mask], squares[:, mask], np.sqrt(total[mask])
        counts = np.array(list(design.counts.values()))
        sites, slopes = coefficients[: len(counts)], coefficients[len(counts) :]
        grand = (counts / counts.sum()) @ sites
        first = input_image(subjects[people[0]]).data.reshape(-1).numpy().astype(np.float64)[mask]
        kind: Shrinkage = ("location-scale" if self.scale else "location") if self.empirical_bayes else "none"
        shift, spread = np.empty_like(sites), np.empty_like(sites)
        for index, count in enumerate(counts):
            moments = Moments(int(count), (sites[index] - grand) / deviation, squares[index] / deviation**2)
            estimated = estimates(moments, kind)
            shift[index] = estimated.location * deviation
            spread[index] = np.sqrt(estimated.scale) if self.scale else 1.0
        return _Learnt(
            design, grid, torch.from_numpy(mask), _float(grand + first), _float(slopes), _float(shift), _float(spread)
        )

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Bring the network's input to an average site.

        Raises:
            InputError: The site or a covariate is not known, or the scan is on another grid.
        """
        learnt = self._fitted()
        image = input_image(subject)
        try:
            site = learnt.design.site(subject, self.unknown)
            learnt.grid.check(image, "")
        except InputError as error:
            raise InputError(f"{_STEP}: {error}") from error
        values = image.data.reshape(-1).to(torch.float32, copy=True)
        if site is not None:
            needed(_STEP, subject, learnt.design.kept, self.missing)
            row = torch.from_numpy(learnt.design.kept.row(subject)).float()
            index = list(learnt.design.counts).index(site)
            expected = learnt.mean + row @ learnt.slopes
            deviation = values[learnt.mask] - expected - learnt.shift[index]
            values[learnt.mask] = deviation / learnt.spread[index] + expected
        image.set_data(values.reshape(image.shape))
        return subject

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt: ``mean`` float32 [M], ``slopes`` [columns, M], ``shift`` and ``spread`` [sites, M]
        of the M voxels where ``mask`` (bool [C * D * H * W]) is true, in intensities; ``spread`` is a factor.
        """
        learnt = self._fitted()
        design = {
            "column": learnt.design.column, "counts": dict(learnt.design.counts), "kept": learnt.design.kept.state(),
        }  # fmt: skip
        tensors = {name: getattr(learnt, name) for name in ("mask", "mean", "slopes", "shift", "spread")}
        return {"design": design, "grid": learnt.grid.state(), **tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        told = state["design"]
        design = SiteDesign(told["column"], dict(told["counts"]), Design.restored(told["kept"]))
        tensors = (state[name] for name in ("mask", "mean", "slopes", "shift", "spread"))
        self._learnt = _Learnt(design, Grid.restored(state["grid"]), *tensors)

    def _fitted(self) -> _Learnt:
        if self._learnt is None:
            raise InputError(f"{_STEP} learns from the training part; call fit(subjects) first.")
        return self._learnt


def _float(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _residual_squares(
    subjects: Sequence[tio.Subject], people: Sequence[int], matrix: Array, coefficients: Array, sites: int
) -> Array:
    """Return the sum of the squared residuals of each site [sites, V]; they have mean 0 in every site."""
    squares = np.zeros((sites, coefficients.shape[1]))
    for number, difference, _ in changes(subjects, people, f"{_STEP}: spreads of {len(people)} scans"):
        site = int(matrix[number, :sites].argmax())
        for part in blocks(coefficients.shape[1]):
            squares[site, part] += (difference(part) - matrix[number] @ coefficients[:, part]) ** 2
    return squares
