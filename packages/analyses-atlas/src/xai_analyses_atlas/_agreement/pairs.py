"""Pairs of maps of one person: two explainers, networks, runs or visits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pandas as pd

from .._grids import same_grid
from .index import Slot
from .reading import Loaded, Person
from .similarity import MEASURES, similarity

__all__ = ["COLUMNS", "WITHIN", "Comparison", "Strangers", "compared", "pairs_of", "pairs_table"]

WITHIN = ("explainers", "folds", "runs", "visits")
COLUMNS = [
    "comparison", "explainer", "subject_id", "scan_a", "scan_b", "run_a", "run_b", "fold_a", "fold_b", "a", "b",
    "output_a", "output_b", "voxels", *MEASURES, *(f"{name}_other_person" for name in MEASURES), "note",
]  # fmt: skip


_Key = tuple[Slot, str]  # and the output that is explained


class Comparison(NamedTuple):
    """Two maps of a person, and what they are called."""

    kind: str
    a: str
    b: str
    first: Loaded
    second: Loaded


def pairs_of(person: Person, main: str, kinds: Sequence[str]) -> Iterator[Comparison]:
    """Yield all pairs of a person's maps that differ in one thing only.

    ``explainers``: of one network and scan; ``folds``: several networks that tested one scan, one explainer;
    ``runs``: other seeds, the same network, scan and explainer; ``visits``: scans of one network and
    explainer. Explainers, folds and visits are those of the run ``main``.
    """
    for first, second in combinations(person.maps, 2):
        kind = _difference(first, second, main)
        if kind in kinds:
            names = [_name(kind, each) for each in (first, second)]
            yield Comparison(str(kind), names[0], names[1], first, second)


class Strangers:
    """Maps of other people, for the question how alike two maps are that share no person.

    A pair (a, b) of one person is also taken with the b of somebody else: of the person before with a map of the same
    run, repeat, explainer and visit *that explains the same output*, or of the next one where there was none before.
    """

    def __init__(self) -> None:
        self._last: dict[_Key, tuple[Person, Loaded]] = {}
        self._waiting: dict[_Key, list[tuple[dict[str, Any], Person, Loaded]]] = {}

    def come(self, person: Person) -> None:
        """Take in a person before its own pairs are asked for: those that waited for somebody get it."""
        for each in person.maps:
            for row, other, first in self._waiting.pop(_key(each), []):
                _fill(row, other, first, person, each)

    def go(self, person: Person) -> None:
        """Keep a person's maps for those that follow, after its own pairs."""
        self._last |= {_key(each): (person, each) for each in person.maps}

    def give(self, row: dict[str, Any], person: Person, pair: Comparison) -> None:
        """Fill in a row of ``pairs.tsv``, now or when somebody comes."""
        key = _key(pair.second)
        if key in self._last:
            _fill(row, person, pair.first, *self._last[key])
        else:
            self._waiting.setdefault(key, []).append((row, person, pair.first))


def compared(person: Person, strangers: Strangers, main: str, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """Compare all pairs of a person.

    Args:
        person: Whose maps.
        strangers: Other people; takes the person in.
        main: Name of the run that is analysed.
        kinds: Of comparisons.
    """
    rows = []
    strangers.come(person)
    for pair in pairs_of(person, main, kinds):
        row = _row(person, pair)
        strangers.give(row, person, pair)
        rows.append(row)
    strangers.go(person)
    return rows


def pairs_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return rows of ``compared`` as ``pairs.tsv`` has them."""
    table = pd.DataFrame(rows, columns=COLUMNS)
    numbers = [*MEASURES, *(f"{name}_other_person" for name in MEASURES)]
    table[numbers] = table[numbers].astype("float64")
    return table.sort_values(["comparison", "explainer", "a", "b", "subject_id"], kind="stable").reset_index(drop=True)


def _difference(first: Loaded, second: Loaded, main: str) -> str | None:
    a, b = first.about.slot, second.about.slot
    differing = [name for name in Slot._fields if getattr(a, name) != getattr(b, name)]
    if len(differing) != 1 or (differing[0] != "run" and a.run != main):
        return None
    kind = {"run": "runs", "network": "folds", "explainer": "explainers", "visit": "visits"}[differing[0]]
    return None if kind in ("explainers", "visits") and first.about.fold != second.about.fold else kind


def _name(kind: str | None, each: Loaded) -> str:
    slot = each.about.slot
    if kind == "visits":
        return each.about.session_id or each.about.record.scan_id
    return {"explainers": slot.explainer, "folds": f"network {slot.network + 1}"}.get(str(kind), slot.run)


def _key(each: Loaded) -> _Key:
    return each.about.slot, each.about.output


def _fill(row: dict[str, Any], person: Person, first: Loaded, other: Person, second: Loaded) -> None:
    if person.common and other.common and same_grid(person.grid, other.grid):
        apart = similarity(first.prepared, second.prepared)
        row |= {f"{name}_other_person": getattr(apart, name) for name in MEASURES}


def _row(person: Person, pair: Comparison) -> dict[str, Any]:
    first, second = pair.first, pair.second
    found = similarity(first.prepared, second.prepared)
    row: dict[str, Any] = {
        "comparison": pair.kind,
        "explainer": None if pair.kind == "explainers" else first.about.slot.explainer,
        "subject_id": person.subject_id, "a": pair.a, "b": pair.b, "voxels": person.voxels,
    }  # fmt: skip
    for side, each in (("a", first.about), ("b", second.about)):
        row |= {f"scan_{side}": each.record.scan_id, f"run_{side}": each.slot.run, f"fold_{side}": each.fold}
        row |= {f"output_{side}": each.output}
    row |= {name: getattr(found, name) for name in MEASURES}
    constant = [name for name, each in ((pair.a, first), (pair.b, second)) if each.prepared.unit is None]
    return row | {"note": f"constant within the brain: {', '.join(constant)}" if constant else None}
