"""Who is compared with whom, and with which covariates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError

from .._groups import Scan
from .resolve import Resolved

__all__ = ["Sample", "sample_of"]

Array = npt.NDArray[np.float64]
Design = Literal["groups", "paired", "zero", "slope"]
_REASONS = 3


@dataclass
class Sample:
    """The people of one contrast, each once.

    Attributes:
        design: Two groups, pairs against zero, a mean against zero, or a slope.
        people: Subject ids; of two groups the first group's come first.
        plus: Of each person the scans by fold that are added up, averaged over folds and then over scans.
        minus: The same of what is subtracted; empty lists where nothing is.
        tested: [N]: 1 and 0 for groups, the centred number for a slope, ones otherwise.
        nuisance: [N, k]: the intercept, except of a mean against zero, and the covariates, centred.
        names: Of the nuisance columns.
        first: How many people the first group has (all of them where there is one).
        left_out: Subject id and reason.
        notes: What a reader should know of the covariates.
    """

    design: Design
    people: list[str]
    plus: list[list[Scan]]
    minus: list[list[Scan]]
    tested: Array
    nuisance: Array
    names: list[str]
    first: int
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sample_of(contrast: Resolved, unusable: Mapping[Scan, str], covariates: Sequence[str], *, visits: str) -> Sample:
    """Return who takes part in a contrast.

    Args:
        contrast: With the rows of the tested people.
        unusable: Scans by fold whose map cannot be normalised, with the reason.
        covariates: Columns to regress out.
        visits: Whether the maps of a person's scans are averaged (``"mean"``) or the ``"first"`` session's is taken.

    Raises:
        InputError: Too few people are left.
    """
    left_out: list[tuple[str, str]] = []
    rows = contrast.rows
    keys = list(zip(rows["scan_id"].astype(str), rows["fold"].astype(int), strict=True))
    usable = [key not in unusable for key in keys]
    for person, key in zip(rows["subject_id"].astype(str), keys, strict=True):
        if key in unusable:
            left_out.append((person, f"{key[0]}, fold {key[1]}: {unusable[key]}"))
    rows = rows[usable]
    if visits == "first":
        rows = _first_visits(rows, left_out)
    sides = _sides(rows, contrast, left_out)
    wanted = [column for column in covariates if column != contrast.by]
    notes = [f"{column} is what is tested, so it is no covariate" for column in covariates if column == contrast.by]
    table = _covariates(rows, sides, wanted, left_out)
    people = [person for person in _ordered(sides, contrast) if person in table.index]
    table = table.loc[people]
    plus = [sides[person][0] or sides[person][1] for person in people]
    minus = [sides[person][1] if contrast.design == "paired" else [] for person in people]
    first = sum(bool(sides[person][0]) for person in people)
    _require_enough(contrast, first, len(people), left_out)
    tested = _tested(rows, people, first, contrast)
    names, columns = _columns(table, notes)
    if contrast.design in ("groups", "slope"):
        names, columns = ["intercept", *names], [np.ones(len(people)), *columns]
    nuisance = np.column_stack(columns) if columns else np.empty((len(people), 0))
    return Sample(contrast.design, people, plus, minus, tested, nuisance, names, first, left_out, notes)


def _first_visits(rows: pd.DataFrame, left_out: list[tuple[str, str]]) -> pd.DataFrame:
    kept = rows[rows["_first"]]
    later = sorted(set(rows["subject_id"].astype(str)) - set(kept["subject_id"].astype(str)))
    left_out += [(person, "is here with a later visit only, and the first one counts") for person in later]
    return kept


def _sides(
    rows: pd.DataFrame, contrast: Resolved, left_out: list[tuple[str, str]]
) -> dict[str, tuple[list[Scan], list[Scan]]]:
    """Return each person's scans on both sides, without those whose sides do not fit the design."""
    sides: dict[str, tuple[list[Scan], list[Scan]]] = {}
    columns = (rows["subject_id"].astype(str), rows["scan_id"].astype(str), rows["fold"].astype(int), rows["_side"])
    for person, scan, fold, side in zip(*columns, strict=True):
        mine = sides.setdefault(person, ([], []))
        if side != "second":
            mine[0].append((scan, fold))
        if side != "first":
            mine[1].append((scan, fold))
    if contrast.design == "groups":
        wrong = {p: f"is in both groups, {contrast.first} and {contrast.second}" for p, s in sides.items() if all(s)}
    elif contrast.design == "paired":
        wrong = {
            p: f"has no map of {contrast.second if s[0] else contrast.first}" for p, s in sides.items() if not all(s)
        }
    else:
        wrong = {}
    left_out += list(wrong.items())
    return {person: mine for person, mine in sides.items() if person not in wrong}


def _ordered(sides: Mapping[str, tuple[list[Scan], list[Scan]]], contrast: Resolved) -> list[str]:
    if contrast.design != "groups":
        return sorted(sides)
    return sorted(sides, key=lambda person: (not sides[person][0], person))


def _tested(rows: pd.DataFrame, people: Sequence[str], first: int, contrast: Resolved) -> Array:
    if contrast.design == "groups":
        return np.asarray(np.repeat([1.0, 0.0], [first, len(people) - first]), dtype=np.float64)
    if contrast.design != "slope":
        return np.ones(len(people))
    means = rows["_value"].astype(np.float64).groupby(rows["subject_id"].astype(str)).mean()
    values = means.loc[list(people)].to_numpy(dtype=np.float64)
    if np.ptp(values) == 0:
        raise InputError(f"{contrast.by} is {values[0]:g} for everybody: there is no slope.")
    centred: Array = values - values.mean()
    return centred


def _require_enough(contrast: Resolved, first: int, people: int, left_out: Sequence[tuple[str, str]]) -> None:
    if contrast.design == "groups":
        for name, size in ((contrast.first, first), (contrast.second, people - first)):
            if size < 2:
                number = f"{size} {'person' if size == 1 else 'people'}"
                raise InputError(f"the group {name} has {number}; a variance needs at least 2.{_lost(left_out)}")
    elif people < (3 if contrast.design == "slope" else 2):
        kind = {"slope": "slope", "zero": "mean", "paired": "paired test"}[contrast.design]
        number = f"{people} {'person is' if people == 1 else 'people are'}"
        raise InputError(f"{number} too few for a {kind} of {contrast.first}.{_lost(left_out)}")


def _lost(left_out: Sequence[tuple[str, str]]) -> str:
    """Return why people are missing, the most frequent reasons first."""
    reasons = Counter(reason for _, reason in left_out).most_common()
    shown = "; ".join(f"{reason} ({count})" for reason, count in reasons[:_REASONS])
    more = f"; and {len(reasons) - _REASONS} other reasons" if len(reasons) > _REASONS else ""
    return f" Left out: {shown}{more}." if reasons else ""


def _covariates(
    rows: pd.DataFrame, sides: Mapping[str, Any], covariates: Sequence[str], left_out: list[tuple[str, str]]
) -> pd.DataFrame:
    """Return a row of covariates for each person who has all of them: numbers are means over a person's scans."""
    mine = rows[rows["subject_id"].astype(str).isin(list(sides))]
    groups = mine.groupby(mine["subject_id"].astype(str))
    table, missing = pd.DataFrame(index=pd.Index(sorted(sides), dtype=object)), set[str]()
    for column in covariates:
        if pd.api.types.is_numeric_dtype(mine[column]) and not pd.api.types.is_bool_dtype(mine[column]):
            finite = mine[column].where(np.isfinite(mine[column].to_numpy(np.float64)))
            table[column] = finite.groupby(mine["subject_id"].astype(str)).mean().reindex(table.index)
            lost = dict.fromkeys(table.index[table[column].isna()], f"has no {column}")
        else:
            different = groups[column].nunique()
            table[column] = groups[column].first().reindex(table.index)
            lost = dict.fromkeys(table.index[table[column].isna()], f"has no {column}")
            lost |= {str(person): f"has several values of {column}" for person in different.index[different > 1]}
        left_out += [(person, reason) for person, reason in lost.items() if person not in missing]
        missing |= set(lost)
    return table.drop(index=list(missing))


def _columns(table: pd.DataFrame, notes: list[str]) -> tuple[list[str], list[Array]]:
    """Return centred columns: a number as it is, a category as one column for each value but the first."""
    names, columns = [], []
    for column in table.columns:
        values = table[column]
        if values.nunique() < 2:
            notes.append(f"{column} is the same for everybody and is left out of the model")
            continue
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            coded = {column: values.to_numpy(dtype=np.float64)}
        else:
            levels = sorted(values.astype(str).unique())
            coded = {f"{column} {level}": (values.astype(str) == level).to_numpy(np.float64) for level in levels[1:]}
        names += list(coded)
        columns += [each - each.mean() for each in coded.values()]
    return names, columns
