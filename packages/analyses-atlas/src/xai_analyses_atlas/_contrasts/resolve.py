"""The contrasts of a configuration, applied to the people of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._groups import label_of, ordered_labels
from .._hints import target_hint
from .._people import session_order, tested_people
from .spec import Contrast

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["OTHERS", "Resolved", "labels_of", "require_columns", "resolved"]

OTHERS = "others"
_MOST_GROUPS = 5  # whose pairs are all compared


@dataclass(frozen=True)
class Resolved:
    """One contrast of a run.

    Attributes:
        id: Of its files.
        spec: As the configuration has it.
        design: Two independent ``"groups"``, people compared with themselves (``"paired"``), a mean against ``"zero"``
            or a ``"slope"``.
        by: What says who is on which side.
        first: Name of the first side.
        second: Name of what is subtracted; None where nothing is.
        rows: Those of ``tested_people`` that take part, with ``_side`` (first, second or both), ``_first`` (whether
            the scan is of the person's first visit among those that ``among`` allows) and, for a slope, ``_value``.
        explainers: Ids whose maps are the first and the second side; None: the same explainer's.
        without: Scan ids that have no value of ``by``.
    """

    id: str
    spec: Contrast
    design: Literal["groups", "paired", "zero", "slope"]
    by: str
    first: str
    second: str | None
    rows: pd.DataFrame
    explainers: tuple[str, str] | None = None
    without: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What is estimated, for people."""
        if self.design == "slope":
            return f"slope on {self.by}"
        if self.design == "zero":
            return f"mean of {self.first} against zero"
        return f"{self.first} - {self.second}" + (" (paired)" if self.design == "paired" else "")


def resolved(run: RunResults, specs: Sequence[Contrast] | None, explainers: Sequence[str]) -> list[Resolved]:
    """Return the contrasts of a run; None: between its classes, or the slope on the target of a regression.

    Raises:
        InputError: A column, group, explainer or fold does not exist; all that is wrong is listed.
    """
    table = tested_people(run)
    if specs is None:
        kind: Literal["groups", "covariate"] = "groups" if run.task == "classification" else "covariate"
        specs = [Contrast(kind=kind, by="target")]
    found, wrong = [], []
    for number, spec in enumerate(specs):
        try:
            found += _expanded(spec, table, run.classes, explainers)
        except InputError as error:
            wrong.append(f"contrasts[{number}]: {error}")
    if wrong:
        raise InputError(f"group-contrasts of {run.folder}:\n  " + "\n  ".join(wrong))
    return _unique(found)


def _expanded(
    spec: Contrast, table: pd.DataFrame, classes: Sequence[str] | None, explainers: Sequence[str]
) -> list[Resolved]:
    rows = _with_visits(_among(table, spec, classes))
    if spec.kind == "explainers":
        return [_of_explainers(spec, rows, pair) for pair in _pairs_of_explainers(spec, explainers)]
    if spec.kind == "folds":
        return _of_folds(spec, rows)
    if spec.kind == "covariate":
        return [_slope(spec, rows)]
    return _of_groups(spec, rows, classes)


def _among(table: pd.DataFrame, spec: Contrast, classes: Sequence[str] | None) -> pd.DataFrame:
    rows = table
    for column, wanted in spec.among.items():
        require_columns([column], table, "among")
        labels = labels_of(table, column)
        _require_known(wanted, ordered_labels(labels, column, classes), f"among: {column}")
        rows = rows[[label in wanted for label in labels_of(rows, column)]]
    if rows.empty:
        raise InputError("among: nobody of the tested people is left.")
    return rows


def _with_visits(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``_first``, before the sides are chosen: a visit may be on no side and is still the first."""
    sessions = rows["session_id"].tolist() if "session_id" in rows else [None] * len(rows)
    orders = [session_order(session) for session in sessions]
    people = rows["subject_id"].astype(str).tolist()
    first: dict[str, Any] = {}
    for person, order in zip(people, orders, strict=True):
        first[person] = min(order, first.get(person, order))
    return rows.assign(_first=[order == first[person] for person, order in zip(people, orders, strict=True)])


def labels_of(table: pd.DataFrame, column: str) -> list[str | None]:
    """Return the group of each row as text; None where it is not known."""
    if column == "correct":
        return ["correct" if right else "wrong" for right in table[column]]
    return [label_of(value) for value in table[column].tolist()]


def require_columns(columns: Sequence[str], table: pd.DataFrame, what: str) -> None:
    """Refuse columns that the table does not have.

    Raises:
        InputError: With all of them.
    """
    there = [column for column in table.columns if not str(column).startswith("_")]
    missing = [f"{column!r}{did_you_mean(column, there)}" for column in columns if column not in there]
    if missing:
        raise InputError(
            f"{what}: there is no column {', '.join(missing)}.{target_hint(there)} "
            f"There are: {', '.join(map(str, there))}."
        )


def _require_known(wanted: Sequence[str], known: Sequence[str], what: str) -> None:
    missing = [f"{name!r}{did_you_mean(name, known)}" for name in wanted if name not in known]
    if missing:
        raise InputError(f"{what}: there is no {', '.join(missing)}. There are: {', '.join(known)}.")


def _pairs_of_explainers(spec: Contrast, explainers: Sequence[str]) -> list[tuple[str, str]]:
    if spec.first is not None and spec.second is not None:
        _require_known([spec.first, spec.second], explainers, "explainers")
        return [(spec.first, spec.second)]
    if len(explainers) < 2:
        raise InputError(f"there is only one explainer, {explainers[0]}; two are needed.")
    return list(combinations(explainers, 2))


def _of_explainers(spec: Contrast, rows: pd.DataFrame, pair: tuple[str, str]) -> Resolved:
    name = f"{pair[0]}-minus-{pair[1]}"
    return Resolved(name, spec, "paired", "explainer", *pair, rows.assign(_side="both"), explainers=pair)


def _slope(spec: Contrast, rows: pd.DataFrame) -> Resolved:
    column = str(spec.by)
    require_columns([column], rows, "by")
    values = pd.to_numeric(rows[column], errors="coerce")
    if values.isna().all() or (values.isna() & rows[column].notna()).any():
        raise InputError(f"by: {column} holds no numbers, so there is no slope. Use kind: groups.")
    kept = np.isfinite(values)
    return Resolved(
        f"{column}-slope", spec, "slope", column, column, None,
        rows.assign(_side="first", _value=values)[kept], without=_scans(rows[~kept]),
    )  # fmt: skip


def _scans(rows: pd.DataFrame) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rows["scan_id"].astype(str)))


def _of_groups(spec: Contrast, rows: pd.DataFrame, classes: Sequence[str] | None) -> list[Resolved]:
    by = spec.by or "everybody"
    if spec.by is not None:
        require_columns([spec.by], rows, "by")
    labels = ["everybody"] * len(rows) if spec.by is None else labels_of(rows, spec.by)
    known = ordered_labels(labels, spec.by, classes)
    _require_known([name for name in (spec.first, spec.second) if name is not None], known, f"by: {by}")
    without = _scans(rows[[label is None for label in labels]])
    prefix = "" if spec.by is None else f"{by}-"
    if spec.kind == "zero":
        names = [spec.first] if spec.first is not None else known
        return [
            Resolved(f"{prefix}{name}-against-zero", spec, "zero", by, name, None,
                     _marked(rows, labels, name, None), without=without)
            for name in names
        ]  # fmt: skip
    design: Literal["groups", "paired"] = "paired" if spec.paired else "groups"
    rest = spec.first is not None and spec.second is None
    return [
        Resolved(f"{prefix}{first}-minus-{second}", spec, design, by, first, second,
                 _marked(rows, labels, first, second, rest=rest), without=without)
        for first, second in _pairs_of_groups(spec, known)
    ]  # fmt: skip


def _pairs_of_groups(spec: Contrast, known: Sequence[str]) -> list[tuple[str, str]]:
    if spec.first is not None:
        return [(spec.first, spec.second or OTHERS)]
    if len(known) < 2:
        raise InputError(f"by: {spec.by} has only one group among the tested people: {', '.join(known)}.")
    if len(known) > _MOST_GROUPS:
        raise InputError(f"by: {spec.by} has {len(known)} groups. Give first and second: {', '.join(known)}.")
    return [(later, earlier) for earlier, later in combinations(known, 2)]


def _marked(
    rows: pd.DataFrame, labels: Sequence[str | None], first: str, second: str | None, *, rest: bool = False
) -> pd.DataFrame:
    """Return the rows of both sides; ``rest``: the second one is everybody else, whatever a group may be called."""

    def side(label: str | None) -> str | None:
        if label == first:
            return "first"
        return "second" if label is not None and (rest or label == second) else None

    marked = rows.assign(_side=pd.Series([side(label) for label in labels], index=rows.index, dtype=object))
    return marked[marked["_side"].notna()]


def _of_folds(spec: Contrast, rows: pd.DataFrame) -> list[Resolved]:
    folds = rows["fold"].astype(int)
    known = [str(fold) for fold in sorted(folds.unique())]
    _require_known([name for name in (spec.first, spec.second) if name is not None], known, "folds")
    if len(known) < 2:
        raise InputError("folds: one fold was tested; two are needed.")
    labels: list[str | None] = [str(fold) for fold in folds]
    repeats = dict(zip(labels, rows["repeat"].astype(int), strict=True))
    found = []
    for first in [spec.first] if spec.first is not None else known:
        # People of another repeat are the same people, explained by yet another network.
        inside = rows["repeat"].astype(int) == repeats[first]
        mine, names = (rows, labels) if spec.second is not None else (rows[inside], list(np.array(labels)[inside]))
        second = spec.second or OTHERS
        design: Literal["groups", "paired"] = "paired" if spec.paired else "groups"
        found.append(
            Resolved(f"fold-{first}-minus-{second}", spec, design, "fold", f"fold {first}",
                     f"fold {second}" if spec.second is not None else "the other folds",
                     _marked(mine, names, first, second, rest=spec.second is None))
        )  # fmt: skip
    return found


def _unique(found: Sequence[Resolved]) -> list[Resolved]:
    """Give each contrast a name of its own, the user's where there is one."""
    chosen: list[Resolved] = []
    used: set[str] = set()
    for contrast in found:
        several = sum(other.spec is contrast.spec for other in found) > 1
        base = contrast.spec.id
        among = "".join(f"_{column}-{'-'.join(values)}" for column, values in contrast.spec.among.items())
        name = contrast.id + among if base is None else f"{base}_{contrast.id}" if several else base
        unique, number = name, 2
        while unique.casefold() in used:
            unique, number = f"{name}-{number}", number + 1
        used.add(unique.casefold())
        chosen.append(replace(contrast, id=unique))
    return chosen
