"""Matches controls to patients within calipers, and says how alike the two groups are before and after.

Balance is measured by standardized mean differences, as recommended by Austin (2009), Statistics in Medicine 28(25),
3083-3107, doi:10.1002/sim.3697; optimal matching is the assignment problem (Rosenbaum 1989, JASA 84(408), 1024-1032).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd

from xai_core import Fold
from xai_core.engine.study import CONTROL_NAMES
from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

__all__ = ["match_pairs", "matched", "standardized_difference"]

_log = logging.getLogger("xai")
_LISTED = 20
Pair = tuple[str, str]


@dataclass(frozen=True)
class _Matching:
    """What a part is matched by.

    Attributes:
        people: Indexed by id: ``target`` (str) and the columns, numbers as float, others as texts.
        calipers: For each column the largest difference of a pair, None: exactly the same.
        controls: Class of the controls.
        ratio: Controls for each patient at most.
        method: ``optimal`` or ``nearest``.
    """

    people: pd.DataFrame
    calipers: Mapping[str, float | None]
    controls: str
    ratio: int
    method: str


def matched(folds: Sequence[Fold], table: pd.DataFrame, match: Mapping[str, Any], seed: int) -> list[Fold]:
    """Return the folds with only those people in their parts who have a partner there.

    Args:
        folds: Parts by person.
        table: One row for each scan; of several a person's numbers are averaged and the last text counts.
        match: Parameters, see ``MATCH`` in ``_split_params``.
        seed: Of the order of the patients in ``nearest``.

    Raises:
        InputError: A column is not there or holds no numbers, the target is a number, or nobody in a part has a
            partner; every such part is listed.
    """
    matching = _matching(table, match)
    parts = match.get("parts", ("train", "val", "test"))
    found: list[Fold] = []
    empty: list[str] = []
    for index, fold in enumerate(folds):
        kept: dict[str, Any] = {}
        for part in parts:
            people = getattr(fold, part)
            if people:
                kept[part], report = _matched_part(people, matching, np.random.default_rng([seed, index]))
                (_log.info if kept[part] else empty.append)(f"fold {index}, {part} part: {report}")
        found.append(replace(fold, **kept))
    if empty:
        listed = "\n  ".join(empty[:8])
        raise InputError(
            f"split.params.match leaves nobody in {len(empty)} parts. Wider calipers, or fewer parts, may help.\n"
            f"  {listed}"
        )
    return found


def _matching(table: pd.DataFrame, match: Mapping[str, Any]) -> _Matching:
    if pd.api.types.is_numeric_dtype(table["target"]):
        raise InputError(
            "split.params.match matches controls to patients, but the target is a number. Leave match out."
        )
    ids = table["subject_id"].astype(str)
    columns = {"target": table.groupby(ids)["target"].last().astype(str)}
    calipers: dict[str, float | None] = {}
    for name, caliper in match["columns"].items():
        if name not in table:
            raise InputError(
                f"split.params.match.columns: the study's table has no column {name!r}."
                f"{did_you_mean(name, table.columns)} Columns: {', '.join(map(str, table.columns))}."
            )
        columns[name] = _by_person(table, ids, name, exact=caliper == "exact")
        calipers[name] = None if caliper == "exact" else float(caliper)
    controls = _controls(sorted(set(columns["target"])), match.get("controls"))
    return _Matching(pd.DataFrame(columns), calipers, controls, match.get("ratio", 1), match.get("method", "optimal"))


def _by_person(table: pd.DataFrame, ids: pd.Series, name: str, *, exact: bool) -> pd.Series:
    if exact:
        last = table.groupby(ids)[name].last()
        return last.where(last.isna(), last.astype(str))
    if not pd.api.types.is_numeric_dtype(table[name]):
        example = table[name].dropna().iloc[:1].tolist()
        raise InputError(
            f"split.params.match.columns: {name} has a caliper but holds no numbers (such as {example}). Write exact."
        )
    return table.groupby(ids)[name].mean().astype(float)


def _controls(classes: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and wanted not in classes:
        raise InputError(
            f"split.params.match.controls: nobody has the class {wanted!r}.{did_you_mean(wanted, classes)} "
            f"Classes: {', '.join(classes)}."
        )
    usual = [name for name in classes if name.casefold() in CONTROL_NAMES]
    if wanted is None and len(usual) != 1:
        raise InputError(f"split.params.match.controls: say which class the controls are: {', '.join(classes)}.")
    return wanted if wanted is not None else usual[0]


def _matched_part(people: Sequence[str], matching: _Matching, rng: np.random.Generator) -> tuple[tuple[str, ...], str]:
    """Return the people with a partner, sorted, and what is to be said of it."""
    part = matching.people.loc[sorted(people)]
    known = part[part[list(matching.calipers)].notna().all(axis=1)]
    is_control = known["target"] == matching.controls
    patients, controls = known[~is_control], known[is_control]
    pairs = match_pairs(patients, controls, matching.calipers, matching.ratio, matching.method, rng)
    kept = sorted({person for pair in pairs for person in pair})
    gone = sorted(set(people) - set(kept))
    return tuple(kept), _report(part, known.loc[kept], gone, matching, len(part) - len(known))


def match_pairs(
    patients: pd.DataFrame,
    controls: pd.DataFrame,
    calipers: Mapping[str, float | None],
    ratio: int,
    method: str,
    rng: np.random.Generator,
) -> list[Pair]:
    """Return (patient, control) pairs; a control is in one pair at most, a patient in ``ratio`` at most.

    Args:
        patients: Indexed by id, with the columns.
        controls: Likewise.
        calipers: For each column the largest difference of a pair, None: exactly the same.
        ratio: Controls for each patient at most.
        method: ``optimal``: as many pairs as can be, then as many patients, then the smallest sum of squared
            differences in calipers; ``nearest``: patients in random order take the nearest controls that are left.
        rng: Draws the order in ``nearest``.
    """
    exact = [name for name, caliper in calipers.items() if caliper is None]
    widths = {name: caliper for name, caliper in calipers.items() if caliper is not None}
    choose = _optimal if method == "optimal" else _nearest
    pairs: list[Pair] = []
    groups = patients.groupby(exact, sort=True) if exact else [((), patients)]
    for values, mine in groups:
        same = controls[(controls[exact] == list(values)).all(axis=1)] if exact else controls
        if len(same):
            pairs += choose(mine, same, _distances(mine, same, widths), ratio, rng)
    return pairs


def _distances(patients: pd.DataFrame, controls: pd.DataFrame, widths: Mapping[str, float]) -> np.ndarray[Any, Any]:
    """Return [patients, controls]: the sum of squared differences in calipers; infinite where one is exceeded."""
    total = np.zeros((len(patients), len(controls)))
    for name, width in widths.items():
        one, other = patients[name].to_numpy(dtype=float), controls[name].to_numpy(dtype=float)
        difference = np.abs(one[:, None] - other[None]) / width
        # A difference of exactly the caliper is within it, whatever the last digit of the division.
        total += np.where(difference > 1 + 1e-9, np.inf, difference**2)
    return total


def _optimal(
    patients: pd.DataFrame, controls: pd.DataFrame, costs: np.ndarray[Any, Any], ratio: int, _rng: np.random.Generator
) -> list[Pair]:
    from scipy.optimize import linear_sum_assignment

    repeated = np.repeat(costs, ratio, axis=0)
    possible = np.isfinite(repeated)
    if not possible.any():
        return []
    # First as many pairs as can be, then as many patients, then the smallest distances: what counts first is dearer
    # than all of what counts next together.
    most = min(repeated.shape)
    further = 1 + most * float(repeated[possible].max())
    repeated += further * (np.arange(len(repeated)) % ratio)[:, None]
    rows, columns = linear_sum_assignment(np.where(possible, repeated, further * (ratio * most + 1)))
    return [
        (str(patients.index[row // ratio]), str(controls.index[column]))
        for row, column in zip(rows, columns, strict=True)
        if possible[row, column]
    ]


def _nearest(
    patients: pd.DataFrame, controls: pd.DataFrame, costs: np.ndarray[Any, Any], ratio: int, rng: np.random.Generator
) -> list[Pair]:
    costs, pairs = costs.copy(), []
    for _ in range(ratio):
        for row in rng.permutation(len(patients)):
            column = int(costs[row].argmin())
            if np.isfinite(costs[row, column]):
                pairs.append((str(patients.index[row]), str(controls.index[column])))
                costs[:, column] = np.inf
    return pairs


def _report(before: pd.DataFrame, after: pd.DataFrame, gone: Sequence[str], matching: _Matching, unknown: int) -> str:
    def counts(part: pd.DataFrame) -> str:
        controls = int((part["target"] == matching.controls).sum())
        return f"{len(part) - controls} patients, {controls} controls"

    widths = ", ".join(f"{n} exact" if w is None else f"{n} within {w:g}" for n, w in matching.calipers.items())
    balance = ", ".join(
        f"{name} {_shown(before, name, matching.controls)} -> {_shown(after, name, matching.controls)}"
        for name in matching.calipers
    )
    rest = f" and {len(gone) - _LISTED} more" if len(gone) > _LISTED else ""
    lacking = f" ({unknown} without a value)" if unknown else ""
    left_out = f"{len(gone)} left out{lacking}: {', '.join(gone[:_LISTED])}{rest}" if gone else "nobody left out"
    return (
        f"matched by {widths}: {counts(before)} -> {counts(after)}; standardized mean differences: {balance}; "
        f"{left_out}"
    )


def _shown(part: pd.DataFrame, name: str, controls: str) -> str:
    is_control = part["target"] == controls
    value = standardized_difference(part.loc[~is_control, name], part.loc[is_control, name])
    return "undefined" if value is None else f"{value:.2f}"


def standardized_difference(one: pd.Series, other: pd.Series) -> float | None:
    """Return the absolute standardized mean difference of two groups; of a text, the largest of its values'.

    The difference of the means over the root of the mean of the two variances; for a share p the variance is p(1 - p).
    None where a group is empty (of numbers: has one value only), or the groups differ but do not vary.
    """
    one, other = one.dropna(), other.dropna()
    if one.empty or other.empty:
        return None
    if pd.api.types.is_numeric_dtype(one) and pd.api.types.is_numeric_dtype(other):
        if len(one) < 2 or len(other) < 2:
            return None
        return _standardized(one.mean() - other.mean(), one.var(ddof=1), other.var(ddof=1))
    differences = []
    for value in sorted({*one, *other}):
        p, q = float((one == value).mean()), float((other == value).mean())
        differences.append(_standardized(p - q, p * (1 - p), q * (1 - q)))
    return None if None in differences else max(cast("list[float]", differences))


def _standardized(difference: float, first: float, second: float) -> float | None:
    deviation = np.sqrt((first + second) / 2)
    if deviation == 0:
        return 0.0 if difference == 0 else None
    return abs(float(difference / deviation))
