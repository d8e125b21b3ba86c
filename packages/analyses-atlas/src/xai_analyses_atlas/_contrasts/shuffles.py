"""Which people change places, or signs, under the null hypothesis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations, product
from math import comb, factorial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Kind", "Plan", "Shuffles", "plan"]

Array = npt.NDArray[np.float64]
Kind = Literal["groups", "orders", "signs"]


@dataclass(frozen=True)
class Shuffles:
    """Some shuffles of N people.

    Attributes:
        table: [P, N]: of orders, the person who takes each place; of signs, 1 or -1 for each person.
        orders: Whether they are orders.
    """

    table: npt.NDArray[Any]
    orders: bool

    def weights(self, vector: Array) -> Array:
        """Return [P, N] so that ``weights @ y`` is the product of ``vector`` [N] with each shuffled y."""
        if not self.orders:
            return self.table * vector
        weights = np.empty(self.table.shape)
        np.put_along_axis(weights, self.table, np.broadcast_to(vector, self.table.shape), axis=1)
        return weights


@dataclass(frozen=True)
class Plan:
    """The shuffles of a test; the people as they are come first and count as one of them.

    Attributes:
        table: See ``Shuffles``; [P, N].
        kind: ``"groups"`` (who is in which of two groups), ``"orders"`` or ``"signs"``.
        exhaustive: Whether it holds every one that is possible, each once.
        least_p: The smallest p value that the test can give.
    """

    table: npt.NDArray[Any]
    kind: Kind
    exhaustive: bool
    least_p: float

    def __len__(self) -> int:
        return len(self.table)

    def batches(self, size: int) -> Iterator[tuple[slice, Shuffles]]:
        """Yield all shuffles but the first, ``size`` at a time, and their places."""
        for start in range(1, len(self.table), size):
            part = slice(start, min(start + size, len(self.table)))
            yield part, Shuffles(self.table[part], self.kind != "signs")


def plan(kind: Kind, people: int, wanted: int, seed: int, *, first: int = 0, two_sided: bool = True) -> Plan:
    """Return every possible shuffle; where there are too many, ``wanted`` random ones and the people as they are.

    Args:
        kind: See ``Plan``. For ``"groups"`` the first ``first`` places are those of the first group.
        people: N.
        wanted: At most this many at random.
        seed: Of the random ones.
        first: Size of the first group.
        two_sided: Whether t and -t count alike: then mirrored shuffles give the same value, and the least p is larger.
    """
    possible = {"groups": comb(people, first), "orders": factorial(people), "signs": 2**people}[kind]
    mirrored = two_sided and (kind == "signs" or (kind == "groups" and 2 * first == people))
    if possible <= wanted + 1:
        return Plan(_all(kind, people, first), kind, True, (2 if mirrored else 1) / possible)
    generator = np.random.default_rng(seed)
    if kind == "signs":
        drawn = generator.integers(0, 2, (wanted, people)) * 2.0 - 1.0
        table: npt.NDArray[Any] = np.vstack([np.ones(people), drawn])
    else:
        drawn = np.stack([generator.permutation(people) for _ in range(wanted)])
        table = np.vstack([np.arange(people), drawn])
    return Plan(table, kind, False, 1 / (wanted + 1))


def _all(kind: Kind, people: int, first: int) -> npt.NDArray[Any]:
    if kind == "signs":
        return np.array(list(product((1.0, -1.0), repeat=people)))
    if kind == "orders":
        return np.array(list(permutations(range(people))))
    rows = []
    for chosen in combinations(range(people), first):
        rows.append([*chosen, *(person for person in range(people) if person not in chosen)])
    return np.array(rows)
