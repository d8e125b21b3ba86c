"""Divides people into parts, stratum by stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil

import numpy as np
import pandas as pd

from xai_core import Fold
from xai_core.errors import InputError

from ._held_out import labels_of
from ._strata import Strata, people_of, strata_of

__all__ = ["holdout", "nested_folds", "repeated_folds", "sklearn_folds", "stratified_folds", "validated", "validating"]


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


def _deal(strata: Strata, rng: np.random.Generator) -> list[str]:
    """Return everybody, one stratum after the other, each in random order: every n-th person makes an even part.

    Dealing on without starting anew at the next stratum evens out the sizes of the parts, too.
    """
    return [person for members in strata.values() for person in rng.permutation(np.array(members, dtype=object))]


def validating(folds: int, validation: float) -> int:
    """Return how many people a stratum needs so that one of those left for training is the fraction to validate with.

    At least one person of each stratum validates, so that smaller ones make the part larger than asked for.
    """
    return max(folds, ceil(folds / (folds - 1) / validation)) if validation > 0 else folds


def validated(strata: Strata, test: Sequence[str], validation: float, draw: np.random.Generator) -> Fold:
    """Return the fold with this test part; of the rest a fraction, stratum by stratum, is the validation part."""
    rest = _without(strata, test)
    chosen = _take(rest, _shares(rest, validation), 1, draw) if validation > 0 else []
    return _fold(strata, chosen, test)


def _classes_of(strata: Strata, people: pd.Series) -> Strata:
    """Return the strata by target alone, for what is required of each class."""
    if pd.api.types.is_numeric_dtype(people):
        return strata
    return {str(name): sorted(members.index) for name, members in people.groupby(people)}


def _require(strata: Strata, smallest: int, purpose: str, way: str) -> None:
    few = {name: len(members) for name, members in strata.items() if len(members) < smallest}
    if few:
        listed = ", ".join(f"{name}: {count}" for name, count in few.items())
        everything = ", ".join(f"{name}: {len(members)}" for name, members in strata.items())
        raise InputError(
            f"Too few people for {purpose}, which needs {smallest} of each class: {listed} (of {everything}). {way}"
        )


def holdout(table: pd.DataFrame, seed: int, *, test: float, validation: float, stratify: bool | Sequence[str]) -> Fold:
    """Return one fold; see :class:`xai_datasets_mri.splitters.Holdout`.

    Raises:
        InputError: A part, or a class in a part, would be empty.
    """
    parts = 2 + (validation > 0)
    people = people_of(table)
    # In a smaller combination at least one person for each part would be more than the part's fraction.
    rare = max(parts, *(ceil(1 / fraction) for fraction in (test, validation) if fraction > 0))
    strata = strata_of(table, max(5 * parts, rare), [] if isinstance(stratify, bool) else stratify, rare)
    required = _classes_of(strata, people)
    if stratify is False:
        required = strata = {"all": sorted(people.index)}
    _require(required, parts, f"{parts} parts", "Add people, leave the class out, or use other fractions.")
    rng = np.random.default_rng(seed)
    tested = _take(strata, _shares(strata, test), parts - 1, rng)
    chosen = _take(_without(strata, tested), _shares(strata, validation), 1, rng) if validation > 0 else []
    return _fold(strata, chosen, tested)


def stratified_folds(
    table: pd.DataFrame, seed: int, *, folds: int, validation: float, stratify: Sequence[str] | None = None
) -> list[Fold]:
    """Return the folds of a cross-validation; see :class:`xai_datasets_mri.splitters.StratifiedKFold`.

    Raises:
        InputError: A class has fewer people than folds, or too few for the validation parts.
    """
    rare = validating(folds, validation)
    strata = strata_of(table, max(folds, 3), stratify or [], rare)
    # Test parts of numbers are dealt from finer stretches than can each give somebody for the validation.
    coarse = strata if stratify else strata_of(table, max(3, rare))
    required = _classes_of(strata, people_of(table))
    way = "Use fewer folds, add people, or leave the class out."
    _require(required, folds, f"{folds} folds", way)
    # The largest test part of a stratum must leave one person to train on and one to validate with.
    if validation > 0:
        least = next(n for n in range(folds, folds + 3) if n - -(-n // folds) >= 2)
        enough = _classes_of(coarse, people_of(table))
        _require(enough, least, f"{folds} folds with validation parts", f"{way[:-1]}, or set validation: 0.")
    dealt = _deal(strata, np.random.default_rng(seed))
    return [
        validated(coarse, dealt[number::folds], validation, np.random.default_rng([seed, number]))
        for number in range(folds)
    ]


def repeated_folds(
    table: pd.DataFrame, seed: int, *, repeats: int, folds: int, validation: float, stratify: Sequence[str] | None
) -> list[Fold]:
    """Return the folds of each repeat; see :class:`xai_datasets_mri.cross_validation.RepeatedKFold`.

    Raises:
        InputError: As ``stratified_folds``.
    """
    # The first repeat is stratified-kfold's division.
    seeds = [seed, *(int(np.random.SeedSequence([seed, n]).generate_state(1)[0]) for n in range(1, repeats))]
    return [
        replace(fold, repeat=repeat)
        for repeat, one in enumerate(seeds)
        for fold in stratified_folds(table, one, folds=folds, validation=validation, stratify=stratify)
    ]


def nested_folds(
    table: pd.DataFrame, seed: int, *, folds: int, inner: int, stratify: Sequence[str] | None
) -> list[Fold]:
    """Return inner x outer folds; see :class:`xai_datasets_mri.cross_validation.NestedKFold`.

    Raises:
        InputError: A class has too few people for the folds.
    """
    strata = strata_of(table, folds + inner, stratify or [], folds + inner)
    required = _classes_of(strata, people_of(table))
    least = next(n for n in range(folds, 2 * folds + inner + 2) if n - ceil(n / folds) >= max(inner, 2))
    way = "Use fewer folds, add people, or leave the class out."
    _require(required, least, f"{folds} outer and {inner} inner folds", way)
    dealt = _deal(strata, np.random.default_rng(seed))
    found = []
    for number in range(folds):
        test = dealt[number::folds]
        chosen = _deal(_without(strata, test), np.random.default_rng([seed, number]))
        found.append([_fold(strata, chosen[turn::inner], test) for turn in range(inner)])
    return [replace(found[outer][turn], repeat=turn) for turn in range(inner) for outer in range(folds)]


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
        if validation > 0:
            purpose = f"a validation part in each of {folds} folds"
            _require(_without(strata, test), 2, purpose, f"{way[:-1]}, or set validation: 0.")
        result.append(validated(strata, test, validation, np.random.default_rng([seed, number])))
    return result
