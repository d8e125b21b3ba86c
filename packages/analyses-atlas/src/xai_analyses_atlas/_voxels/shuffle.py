"""Whether people's relevance is closer to their own feature map than to the maps of other people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, permutations, product
from math import factorial, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from .._stack import Stack
from .measures import Measure

__all__ = ["OwnOrOther", "arrangements", "cross_scores", "own_or_other"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OwnOrOther:
    """Result of the permutation test.

    Attributes:
        own: Score of each person with the own map [P].
        others: Mean score of each person with the maps of those with whom it may be exchanged [P]; NaN: nobody.
        p: One-sided: own maps are closer; at least 1 / ``arrangements``.
        arrangements: How many assignments of maps to people were looked at, the true one among them.
        exact: Whether these are all there are.
    """

    own: Array
    others: Array
    p: float
    arrangements: int
    exact: bool


def cross_scores(measure: Measure, left: Stack, right: Stack) -> Array:
    """Return the score of each row's relevance with each row's feature map, float64 [N, M].

    Args:
        measure: Of the profiles in the stacks.
        left: Profiles of relevance [N, V].
        right: Profiles of feature maps [M, V], on the same voxels.
    """
    rows, columns = left.values.shape[0], right.values.shape[0]
    products, sums = np.zeros((rows, columns)), (np.zeros(rows), np.zeros(columns))
    for part, one in left.chunks():
        other = right.values[:, part].astype(np.float64)
        products += one @ other.T
        sums[0][...] += one.sum(axis=1)
        sums[1][...] += other.sum(axis=1)
    return measure.formula(products, sums[0][:, None], sums[1][None, :], left.values.shape[1])


def own_or_other(
    scores: Array,
    people: Sequence[str],
    scans: Sequence[str],
    blocks: Sequence[object] | None,
    count: int,
    generator: np.random.Generator,
) -> OwnOrOther:
    """Test whether scores with the own map are higher than with another's, by reassigning the maps among people.

    The statistic is the mean over people of the score with the assigned map. A person with several scans (or several
    networks that explain one scan) is one: the own score is the mean over the scans, each with its own map; that with
    another person's maps the mean over all pairs.

    Args:
        scores: [N, N], relevance of row i with the feature map of row j.
        people: Who row i is; at least two.
        scans: Which scan row i is.
        blocks: Maps are exchanged only between people of the same block (of row i); None: between all.
        count: Arrangements to draw; all are looked at where there are no more than that.
        generator: Of random numbers.
    """
    names = list(dict.fromkeys(people))
    table = _by_person(scores, names, people, scans)
    first = [list(people).index(name) for name in names]
    labels = [None if blocks is None else blocks[row] for row in first]
    members = [[k for k, label in enumerate(labels) if label == each] for each in dict.fromkeys(labels)]
    orders, exact = arrangements(members, count, generator)
    rows = np.arange(len(names))
    drawn = np.array([table[rows, order].sum() for order in orders])
    observed = table[rows, rows].sum()
    # The true assignment, met again among the others, must count as equal whatever the rounding.
    reached = int((drawn >= observed - 1e-9 * max(1.0, abs(observed))).sum())
    own = np.diag(table)
    exchanged = np.zeros(table.shape)
    for block in members:
        exchanged[np.ix_(block, block)] = 1
    np.fill_diagonal(exchanged, 0)
    count_of = exchanged.sum(axis=1)
    others = np.where(count_of > 0, (table * exchanged).sum(axis=1) / np.maximum(count_of, 1), np.nan)
    return OwnOrOther(own, others, reached / len(drawn), len(drawn), exact)


def arrangements(
    members: Sequence[Sequence[int]], count: int, generator: np.random.Generator
) -> tuple[list[Array], bool]:
    """Return orders of people who change places within their blocks, the order as it is first.

    Args:
        members: Indices of the people of each block.
        count: Orders to draw besides the one as it is.
        generator: Of random numbers.

    Returns:
        Orders [P], and whether they are all there are (then none twice).
    """
    total = sum(map(len, members))
    if prod(factorial(len(block)) for block in members) <= count + 1:
        return list(_all(members, total)), True
    drawn = islice(_random(members, total, generator), count)
    return [np.arange(total), *drawn], False


def _all(members: Sequence[Sequence[int]], total: int) -> Iterator[Array]:
    for choice in product(*(permutations(block) for block in members)):
        order = np.arange(total)
        for block, moved in zip(members, choice, strict=True):
            order[list(block)] = moved
        yield order


def _random(members: Sequence[Sequence[int]], total: int, generator: np.random.Generator) -> Iterator[Array]:
    while True:
        order = np.arange(total)
        for block in members:
            order[list(block)] = generator.permutation(np.asarray(block))
        yield order


def _by_person(scores: Array, names: Sequence[str], people: Sequence[str], scans: Sequence[str]) -> Array:
    index = np.array([names.index(person) for person in people])
    same_scan = np.array(scans)[:, None] == np.array(scans)[None, :]
    pairs = (index[:, None] != index[None, :]) | same_scan
    member = (index[:, None] == np.arange(len(names))[None, :]).astype(np.float64)
    counted = member.T @ pairs.astype(np.float64) @ member
    return np.asarray(member.T @ np.where(pairs, scores, 0.0) @ member / counted)
