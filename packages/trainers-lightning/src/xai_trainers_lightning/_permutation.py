"""Are scores better than chance? Test people's true values are permuted, their predictions stay.

The hypothesis is that the predictions know nothing of the true values: that within a fold any person's value would fit
any other person's prediction as well. The networks are not trained anew, so nothing is said of how scores vary with
training; and a small p does not say what was learnt, since confounds and leaks are better than chance, too.
p = (b + 1) / (m + 1) (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39), with b of m permutations as good as
the truth: one-sided, and never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

__all__ = ["permutation_tests", "permuted"]

Scorer = Callable[["Array"], "Array"]
_CHUNK = 100  # permutations at once


def permutation_tests(
    scorers: dict[str, tuple[Scorer, int]], target: Array, folds: Array, people: Array, count: int, seed: int
) -> dict[str, dict[str, float | int]]:
    """Return for each score ``p``, its mean by ``chance``, and the number of ``permutations``.

    Args:
        scorers: Functions of true values [B, n] that return a score [B], and 1 where higher is better, else -1.
        target: True values [n], numbers.
        folds: The fold of each scan [n]; values are permuted within folds only.
        people: The person of each scan [n]; see ``permuted``.
        count: Number of permutations.
        seed: Seed of them.
    """
    chance: dict[str, list[Array]] = {name: [] for name in scorers}
    draws = permuted(target, folds, people, count, seed)
    while chunk := list(islice(draws, _CHUNK)):
        values = target[np.stack(chunk)]
        for name, (scorer, _sign) in scorers.items():
            chance[name].append(scorer(values))
    found = {}
    for name, (scorer, sign) in scorers.items():
        observed, null = float(scorer(target[None])[0]), np.concatenate(chance[name])
        if not np.isfinite(observed):
            continue
        # A permutation for which a score is not defined counts as one that is as good as the truth.
        better = ~(sign * null < sign * observed - 1e-12)
        found[name] = {
            "p": (int(better.sum()) + 1) / (count + 1),
            "chance": float(np.nanmean(null)),
            "permutations": count,
        }
    return found


def permuted(target: Array, folds: Array, people: Array, count: int, seed: int) -> Iterator[Array]:
    """Yield rows [n]: scan i is given the true value of scan rows[i].

    People are permuted, not scans, since the scans of one person belong together. Where nobody's value changes between
    scans a person is given another one's value for all scans; otherwise the values of all scans change places as a
    whole, among people with equally many scans in the fold (exchangeability blocks, Winkler et al. 2015).
    """
    rng = np.random.default_rng(seed)
    blocks = [block for fold in np.unique(folds) for block in _blocks(np.flatnonzero(folds == fold), target, people)]
    for _ in range(count):
        rows = np.arange(len(target))
        for to, person, scan, values in blocks:
            rows[to] = values[rng.permutation(len(values))][person, scan]
        yield rows


Block = tuple["Array", "Array", "Array", "Array"]


def _blocks(rows: Array, target: Array, people: Array) -> list[Block]:
    """People who may change places: rows [k], their person and scan [k], and the rows [P, scans] of each person."""
    scans = [rows[people[rows] == person] for person in dict.fromkeys(people[rows].tolist())]
    if all(np.ptp(target[own]) == 0 for own in scans):
        person = np.repeat(np.arange(len(scans)), [len(own) for own in scans])
        return [(np.concatenate(scans), person, np.zeros_like(person), np.array([own[:1] for own in scans]))]
    found = []
    for size in sorted({len(own) for own in scans}):
        values = np.stack([own for own in scans if len(own) == size])
        person, scan = np.indices(values.shape).reshape(2, -1)
        found.append((values.reshape(-1), person, scan, values))
    return found
