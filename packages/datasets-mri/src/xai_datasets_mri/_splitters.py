"""Divides people into parts, stratum by stratum."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from xai_core import Fold
from xai_core.errors import InputError

from ._held_out import labels_of

__all__ = ["holdout", "sklearn_folds", "stratified_folds"]

# Ids of the people of each stratum (a class, or a stretch of a numeric target), in sorted order.
Strata = Mapping[str, list[str]]
# With more, smaller bins a numeric target is balanced better; people per bin must still fill every part.
_MAX_BINS = 10


def _people(table: pd.DataFrame) -> pd.Series:
    """Return one target for each person, by id in sorted order.

    Raises:
        InputError: The table is empty or a target is missing.
    """
    if table.empty:
        raise InputError("There are no people to split: the table of the study is empty.")
    missing = table.loc[table["target"].isna(), "subject_id"]
    if len(missing):
        listed = ", ".join(str(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(f"{len(missing)} scans have no target, so they cannot be split: {listed}. Leave them out.")
    groups = table.groupby(table["subject_id"].astype(str), sort=True)["target"]
    return groups.mean() if pd.api.types.is_numeric_dtype(table["target"]) else groups.last().astype(str)


def _strata(people: pd.Series, smallest: int) -> Strata:
    """Return the strata: classes, or bins of a numeric target with at least ``smallest`` people each.

    Raises:
        InputError: Everybody is of one class.
    """
    if not pd.api.types.is_numeric_dtype(people):
        classes = {str(name): sorted(members.index) for name, members in people.groupby(people)}
        if len(classes) == 1:
            raise InputError(
                f"All {len(people)} people are of the class {next(iter(classes))!r}. "
                "A classification needs two classes at least."
            )
        return classes
    ordered = people.sort_values(kind="stable")
    edges = np.linspace(0, len(ordered), max(1, min(_MAX_BINS, len(ordered) // smallest)) + 1).round().astype(int)
    stretches = [ordered.iloc[start:end] for start, end in itertools.pairwise(edges)]
    return {
        f"{number}. stretch of the target, {part.iloc[0]:g} to {part.iloc[-1]:g}": sorted(part.index)
        for number, part in enumerate(stretches, start=1)
    }


def _take(strata: Strata, shares: Mapping[str, float], leave: int, rng: np.random.Generator) -> list[str]:
    """Draw people: of each stratum its share, rounded up or down, at least one and all but ``leave`` at most.

    The total is the rounded sum of the shares; what rounding down leaves over goes to the strata with the largest
    remainders (Hamilton's method).
    """
    exact = np.array([shares[name] for name in strata])
    counts = np.floor(exact + 1e-9).astype(int)
    spare = int(np.floor(exact.sum() + 0.5)) - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[: max(spare, 0)]] += 1
    sizes = np.array([len(members) for members in strata.values()])
    counts = np.clip(counts, 1, np.maximum(sizes - leave, 1))
    drawn: list[str] = []
    for members, count in zip(strata.values(), counts, strict=True):
        drawn.extend(rng.permutation(np.array(members, dtype=object))[:count])
    return drawn


def _shares(strata: Strata, fraction: float) -> dict[str, float]:
    return {name: len(members) * fraction for name, members in strata.items()}


def _without(strata: Strata, people: Sequence[str]) -> Strata:
    gone = set(people)
    return {name: [person for person in members if person not in gone] for name, members in strata.items()}


def _fold(strata: Strata, val: Sequence[str], test: Sequence[str]) -> Fold:
    train = [person for members in _without(strata, [*val, *test]).values() for person in members]
    return Fold(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)))


def _require(strata: Strata, smallest: int, purpose: str, way: str) -> None:
    few = {name: len(members) for name, members in strata.items() if len(members) < smallest}
    if few:
        listed = ", ".join(f"{name}: {count}" for name, count in few.items())
        everything = ", ".join(f"{name}: {len(members)}" for name, members in strata.items())
        raise InputError(
            f"Too few people for {purpose}, which needs {smallest} of each class: {listed} (of {everything}). {way}"
        )


def holdout(table: pd.DataFrame, seed: int, *, test: float, validation: float, stratify: bool) -> Fold:
    """Return one fold; see :class:`xai_datasets_mri.splitters.Holdout`.

    Raises:
        InputError: A part, or a class in a part, would be empty.
    """
    parts = 2 + (validation > 0)
    people = _people(table)
    strata = _strata(people, 5 * parts)
    if not stratify:
        strata = {"all": sorted(people.index)}
    _require(strata, parts, f"{parts} parts", "Add people, leave the class out, or use other fractions.")
    rng = np.random.default_rng(seed)
    tested = _take(strata, _shares(strata, test), parts - 1, rng)
    rest = _without(strata, tested)
    chosen = _take(rest, _shares(strata, validation), 1, rng) if validation > 0 else []
    return _fold(strata, chosen, tested)


def stratified_folds(table: pd.DataFrame, seed: int, *, folds: int, validation: float) -> list[Fold]:
    """Return the folds of a cross-validation; see :class:`xai_datasets_mri.splitters.StratifiedKFold`.

    Raises:
        InputError: A class has fewer people than folds, or too few for the validation parts.
    """
    strata = _strata(_people(table), max(folds, 3))
    way = "Use fewer folds, add people, or leave the class out."
    _require(strata, folds, f"{folds} folds", way)
    # The largest test part of a stratum must leave one person to train on and one to validate with.
    if validation > 0:
        least = next(n for n in range(folds, folds + 3) if n - -(-n // folds) >= 2)
        _require(strata, least, f"{folds} folds with validation parts", f"{way[:-1]}, or set validation: 0.")
    rng = np.random.default_rng(seed)
    # Dealing one stratum after the other without starting anew evens out the sizes of the test parts, too.
    dealt = [person for members in strata.values() for person in rng.permutation(np.array(members, dtype=object))]
    result = []
    for number in range(folds):
        tested = dealt[number::folds]
        draw = np.random.default_rng([seed, number])
        rest = _without(strata, tested)
        chosen = _take(rest, _shares(rest, validation), 1, draw) if validation > 0 else []
        result.append(_fold(strata, chosen, tested))
    return result


def sklearn_folds(
    table: pd.DataFrame, seed: int, *, folds: int, shuffle_seed: int, column: str | None, validation: float
) -> list[Fold]:
    """Return scikit-learn's folds; see :class:`xai_datasets_mri.splitters.SklearnStratifiedKFold`.

    Raises:
        InputError: A class has fewer people than folds, or a label is missing.
    """
    from sklearn.model_selection import StratifiedKFold

    labels = labels_of(table, column)
    people = np.array(list(labels), dtype=object)
    strata = {label: sorted(p for p in labels if labels[p] == label) for label in dict.fromkeys(labels.values())}
    way = "Use fewer folds, join classes, or leave the class out."
    _require(strata, folds, f"{folds} folds", way)
    dealer = StratifiedKFold(n_splits=folds, shuffle=True, random_state=np.random.RandomState(shuffle_seed))
    result = []
    for number, (_, tested) in enumerate(dealer.split(people, list(labels.values()))):
        test = [str(person) for person in people[tested]]
        rest = _without(strata, test)
        draw = np.random.default_rng([seed, number])
        if validation > 0:
            _require(rest, 2, f"a validation part in each of {folds} folds", f"{way[:-1]}, or set validation: 0.")
        chosen = _take(rest, _shares(rest, validation), 1, draw) if validation > 0 else []
        result.append(_fold(strata, chosen, test))
    return result
