"""Which people a test is made of, and the tests that share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xai_core import InputError

from .._statistics import Design, independent
from .cohort import Cohort
from .variables import Variable

__all__ = ["Sample", "check_design", "samples"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """Tests of the same people, explainer and covariates.

    Attributes:
        explainer: Its id.
        group: Name of the group.
        rows: int [n], scans of the cohort.
        y: [n, R], relevance of the regions that are tested.
        x: [n, F], the variables.
        regions: Position in the atlas of each column of y.
        variables: Of each column of x.
        pairs: int [P, 2], columns of y and x.
        design: Covariates of the whole cohort of complete scans.
        place: int [n], rows of ``design``.
        others: [n, m] or None: further columns that are adjusted for.
        other_names: Their names.
    """

    explainer: str
    group: str
    rows: npt.NDArray[np.int64]
    y: Array
    x: Array
    regions: Sequence[int]
    variables: Sequence[Variable]
    pairs: npt.NDArray[np.int64]
    design: Design
    place: npt.NDArray[np.int64]
    others: Array | None
    other_names: tuple[str, ...]

    def adjusting(self, rows: npt.NDArray[np.int64] | None = None, *, ranks: bool = False) -> tuple[Array, list[str]]:
        """Return the columns [m, k] that are adjusted for and their names, for everybody or for some rows."""
        chosen = np.arange(len(self.rows)) if rows is None else rows
        matrix, names = self.design.used(self.place[chosen], ranks=ranks)
        if self.others is None:
            return matrix, names
        whole, every = np.hstack([matrix, self.others[chosen]]), [*names, *self.other_names]
        kept = independent(whole)
        return whole[:, kept], [name for name, keep in zip(every, kept, strict=True) if keep]


def check_design(cohort: Cohort) -> None:
    """Raise where the covariates make no model of the people that count.

    Raises:
        InputError: See ``Design``.
    """
    if cohort.covariates:
        Design(cohort.adjusting[cohort.complete & cohort.counts], cohort.covariates)


def samples(cohort: Cohort, *, same_region: bool, all_visits: bool) -> list[Sample]:
    """Return the tests, those of the same people together, in the order of explainers, groups and variables.

    Args:
        cohort: The scans.
        same_region: Whether a region's relevance is related to its own features only.
        all_visits: Whether every visit of a person is a row.

    Raises:
        InputError: There is no pair of a region and a variable.
    """
    eligible = cohort.complete & (True if all_visits else cohort.counts)
    designs: dict[str | None, tuple[Design, npt.NDArray[np.int64]]] = {}
    found = []
    for explainer, relevance in cohort.relevance.items():
        for group, members in cohort.groups.items():
            together: dict[tuple[bytes, str | int | None], list[tuple[int, int]]] = {}
            for number, variable in enumerate(cohort.variables):
                known = eligible & members & np.isfinite(variable.values)
                for region in _partners(cohort, variable, same_region):
                    mask = known & np.isfinite(relevance[:, region])
                    own = number if variable.others is not None else variable.column
                    together.setdefault((mask.tobytes(), own), []).append((region, number))
            for (mask_bytes, _), tests in together.items():
                rows = np.flatnonzero(np.frombuffer(mask_bytes, dtype=bool))
                column = cohort.variables[tests[0][1]].column
                if column not in designs:
                    designs[column] = _design(cohort, eligible, column)
                found.append(_sample(cohort, explainer, group, rows, tests, designs[column]))
    if not found:
        raise InputError(_nothing(cohort))
    return found


def _partners(cohort: Cohort, variable: Variable, same_region: bool) -> list[int]:
    regions = cohort.atlas.regions
    if variable.region is None or not same_region:
        return list(range(len(regions)))
    return [place for place, region in enumerate(regions) if region.name == variable.region]


def _design(
    cohort: Cohort, eligible: npt.NDArray[np.bool_], column: str | None
) -> tuple[Design, npt.NDArray[np.int64]]:
    """Return the covariates but ``column``, and the row of the design of each scan of the cohort."""
    covariates = [one for one in cohort.covariates if one.column != column]
    place = np.cumsum(eligible) - 1
    return Design(cohort.adjusting[eligible], covariates), place


def _sample(
    cohort: Cohort,
    explainer: str,
    group: str,
    rows: npt.NDArray[np.int64],
    tests: Sequence[tuple[int, int]],
    design: tuple[Design, npt.NDArray[np.int64]],
) -> Sample:
    regions = sorted({region for region, _ in tests})
    numbers = sorted({number for _, number in tests})
    variables = [cohort.variables[number] for number in numbers]
    pairs = np.array([(regions.index(region), numbers.index(number)) for region, number in tests], dtype=np.int64)
    others = variables[0].others
    return Sample(
        explainer=explainer, group=group, rows=rows,
        y=cohort.relevance[explainer][rows][:, regions],
        x=np.stack([variable.values[rows] for variable in variables], axis=1),
        regions=regions, variables=variables, pairs=pairs, design=design[0], place=design[1][rows],
        others=None if others is None else others[rows], other_names=variables[0].other_names,
    )  # fmt: skip


def _nothing(cohort: Cohort) -> str:
    names = cohort.features.matches["name"].dropna().unique()[:5]
    regions = [region.name for region in cohort.atlas.regions[:5]]
    return (
        f"features: no feature belongs to a region of the atlas {cohort.atlas.name} for anybody who was tested. The "
        f"sources call regions {', '.join(map(str, names)) or '(none)'} ...; the atlas: {', '.join(regions)} ... Set "
        "'regions' (names of the atlas by names of the source), or take the atlas that the features were made with."
    )
