"""Across people: relevance at a voxel as a function of a feature there, or of the person. See ``VoxelFeatures``."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from xai_core import InputError

from .._contrasts.inference import estimate, family_wise
from .._contrasts.models import Estimates
from .._contrasts.shuffles import Plan
from .._grids import Grid
from .._stack import Stack, filled
from .._statistics import Covariate, adjusted
from .association import Association
from .cases import Case, LeftOut
from .features import NotUsableError
from .persons import Persons, persons_of
from .reading import Reader, require_common
from .shuffle import arrangements

if TYPE_CHECKING:
    from ..voxel_features import VoxelFeatures

__all__ = ["Relation", "relate"]

Array = npt.NDArray[Any]
log = logging.getLogger("xai")

_FWHM = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Relation:
    """What is found for one explainer.

    Attributes:
        found: At each voxel of the mask.
        p: Corrected p [V] by name of the correction: ``fdr``, ``max-t``, ``tfce``.
        mask: bool [D, H, W], the voxels compared.
        grid: Of ``mask``.
        people: How many.
        cases: How many maps of theirs.
        df: Degrees of freedom.
        tested: What the relevance is related to, in words.
        covariates: Names of the columns of covariates.
        arrangements: Permutations, the observed order among them; 0: none.
        exact: Whether these are all there are.
    """

    found: Estimates
    p: dict[str, npt.NDArray[np.float64]]
    mask: npt.NDArray[np.bool_]
    grid: Grid
    people: int
    cases: int
    df: int
    tested: str
    covariates: list[str]
    arrangements: int
    exact: bool


def relate(
    cases: Sequence[Case], reader: Reader, options: VoxelFeatures, classes: Sequence[str] | None, left_out: LeftOut
) -> Relation:
    """Relate the relevance of one explainer.

    Raises:
        InputError: Too few people, constant or dependent columns, maps on different grids, or no voxel to test.
    """
    covariates = [Covariate.of(one) for one in options.covariates]
    columns = [one.column for one in covariates] + [name for name in (options.column, options.blocks) if name]
    people = persons_of(cases, list(dict.fromkeys(columns)), left_out)
    grid = require_common(reader.grid_of(cases), "voxels are compared across people")
    people, mask = _shared_mask(people, reader, grid, left_out)
    with tempfile.TemporaryDirectory(prefix="xai-voxels-") as folder:
        people, stack = _stacked(people, reader, mask, grid, options, left_out, Path(folder))
        return _related(people, stack, covariates, options, classes)


def _related(
    people: Persons, stack: Stack, covariates: list[Covariate], options: VoxelFeatures, classes: Sequence[str] | None
) -> Relation:
    number, what = (None, f"{options.feature_map} at the voxel")
    if options.column is not None:
        number, what = people.values(options.column, classes)
    design = people.design(covariates, ranks=options.method == "spearman")
    model = Association(design, number, options.method, least=options.minimal_people)
    found = estimate(model, stack, two_sided=True)
    if not found.tested.any():
        raise InputError(
            f"voxel-features: none of {len(found.tested)} voxels can be tested: nowhere do relevance"
            f"{'' if options.column else ' and feature'} differ between people with at least {options.minimal_people} "
            "people other than zero (minimal_people)."
        )
    p = {"fdr": np.where(found.tested, adjusted(np.where(found.tested, found.p, np.nan), "fdr-bh"), 1.0)}
    plan = None
    if options.permutations:
        plan = _plan(people, options)
        for method in ("max-t", "tfce") if options.tfce else ("max-t",):
            test = family_wise(
                model, stack, found, plan, "tfce" if method == "tfce" else "max-t", connectivity=6, two_sided=True
            )
            p[method] = test.p
    return Relation(
        found, p, stack.mask, stack.grid, len(people.table), sum(map(len, people.cases)), int(model.df or 0), what,
        people.names(covariates), 0 if plan is None else len(plan), plan is not None and plan.exhaustive,
    )  # fmt: skip


def _plan(people: Persons, options: VoxelFeatures) -> Plan:
    labels = [None] * len(people.table) if options.blocks is None else people.table[options.blocks].tolist()
    members = [[k for k, label in enumerate(labels) if label == each] for each in dict.fromkeys(labels)]
    orders, exact = arrangements(members, options.permutations, np.random.default_rng(options.seed))
    if 1 / len(orders) > options.alpha:
        log.warning(
            "voxel-features: %d arrangements of %d people give no p below %.3g, so nothing can be significant.",
            len(orders), len(people.table), 1 / len(orders),
        )  # fmt: skip
    return Plan(np.array(orders), "orders", exact, 1 / len(orders))


def _shared_mask(
    people: Persons, reader: Reader, grid: Grid, left_out: LeftOut
) -> tuple[Persons, npt.NDArray[np.bool_]]:
    """Return the voxels that are compared in everybody, and who has any."""
    shared = np.ones(grid.shape, dtype=bool)
    cases: list[tuple[Case, ...]] = []
    kept = []
    for place, mine in enumerate(people.cases):
        usable = []
        for case in mine:
            try:
                shared &= reader.inside(case, grid)
            except NotUsableError as reason:
                left_out.add(case, str(reason))
            else:
                usable.append(case)
        if usable:
            cases.append(tuple(usable))
            kept.append(place)
    if not kept or not shared.any():
        why = "no voxel is compared in everybody" if kept else left_out.in_words()
        raise InputError(f"voxel-features: {why} ({reader.domain.in_words}).")
    return Persons(people.of(kept).table, tuple(cases)), shared


def _stacked(
    people: Persons,
    reader: Reader,
    mask: npt.NDArray[np.bool_],
    grid: Grid,
    options: VoxelFeatures,
    left_out: LeftOut,
    scratch: Path,
) -> tuple[Persons, Stack]:
    """Return who can be read, and the relevance (and, next to it, the feature map) of each, mean over cases."""
    cases: list[tuple[Case, ...]] = []
    kept: list[int] = []

    def rows() -> Iterator[Array]:
        for place, mine in enumerate(people.cases):
            usable, total = [], [np.zeros(int(mask.sum())) for _ in range(1 if options.feature_map is None else 2)]
            for case in mine:
                try:
                    values = _values(case, reader, grid, mask, options)
                except NotUsableError as reason:
                    left_out.add(case, str(reason))
                    continue
                usable.append(case)
                total = [one + other for one, other in zip(total, values, strict=True)]
            if usable:
                cases.append(tuple(usable))
                kept.append(place)
                yield from (one / len(usable) for one in total)

    each = 1 if options.feature_map is None else 2
    stack = filled(rows(), each * len(people.cases), mask, grid, scratch)
    if not kept:
        raise InputError(f"voxel-features: nobody is left: {left_out.in_words()}.")
    return Persons(people.of(kept).table, tuple(cases)), stack


def _values(case: Case, reader: Reader, grid: Grid, mask: npt.NDArray[np.bool_], options: VoxelFeatures) -> list[Array]:
    pair = reader.pair(case, grid)
    relevance = _smoothed(pair.relevance, grid, options.smoothing)
    if options.normalise == "sum":
        total = float(np.abs(relevance[mask]).sum())
        if total == 0:
            raise NotUsableError("the relevance is zero in all voxels compared, so it has no sum to divide by")
        relevance = relevance / total
    if pair.feature is None:
        return [relevance[mask]]
    return [relevance[mask], _smoothed(pair.feature, grid, options.feature_smoothing)[mask]]


def _smoothed(volume: Array, grid: Grid, fwhm: float) -> Array:
    if not fwhm:
        return volume
    sigma = [fwhm / _FWHM / size for size in grid.spacing]
    return np.asarray(ndimage.gaussian_filter(volume, sigma, mode="constant"))
