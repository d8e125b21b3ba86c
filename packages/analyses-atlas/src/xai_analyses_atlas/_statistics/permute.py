"""Family-wise error by permutation: the largest |t| of all tests under the null hypothesis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .correlate import CorrelationMethod, student, unit_columns

__all__ = ["Block", "freedman_lane"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Tests of the same people with the same covariates.

    Attributes:
        people: int [n], which people of the cohort, as numbers from 0; one cohort for all blocks of a family.
        y: [n, R], what is explained (relevance).
        x: [n, F], what explains it.
        covariates: [n, k] or None.
        pairs: int [P, 2], columns of y and x that are tested.
        method: ``"pearson"`` (the t of a linear model) or ``"spearman"`` (the same with ranks).
    """

    people: npt.NDArray[np.int64]
    y: Array
    x: Array
    covariates: Array | None
    pairs: npt.NDArray[np.int64]
    method: CorrelationMethod = "pearson"


def freedman_lane(
    blocks: Sequence[Block], permutations: int | npt.NDArray[np.int64], generator: np.random.Generator | None = None
) -> list[Array]:
    """Return p values corrected for the family of all blocks by the largest |t| of each permutation.

    What the covariates leave of y is permuted and fitted anew (Freedman and Lane 1983; Winkler et al. 2014); the
    corrected p of a test is the share of permutations, the observed order among them, whose largest |t| over all tests
    is at least the test's own (Westfall and Young 1993). Where blocks hold different people, each follows the same
    permutation of the cohort, so that the tests' dependence is kept.

    Args:
        blocks: The family.
        permutations: How many, or the permutations [B, people of the cohort] themselves; the observed order is added.
        generator: Draws them; needed where ``permutations`` is a number.

    Returns:
        For each block float64 [P], in [1 / (B + 1), 1]; NaN where a correlation is not defined.
    """
    cohort = 1 + max((int(block.people.max()) for block in blocks), default=-1)
    prepared = [_prepared(block) for block in blocks]
    observed = [_sizes(one, None) for one in prepared]
    counts = [np.ones(t.shape) for t in observed]
    for keys in _keys(permutations, cohort, generator):
        largest = -np.inf
        for block, one in zip(blocks, prepared, strict=True):
            order = np.argsort(np.argsort(keys[block.people], kind="stable"), kind="stable")
            largest = max(largest, float(np.nan_to_num(_sizes(one, order), nan=-np.inf).max(initial=-np.inf)))
        for count, t in zip(counts, observed, strict=True):
            # Rounding must not make a permutation that gives the observed t a smaller one.
            count += largest >= t * (1 - 1e-9)
    total = 1 + (permutations if isinstance(permutations, int) else len(permutations))
    return [np.where(np.isnan(t), np.nan, count / total) for count, t in zip(counts, observed, strict=True)]


@dataclass(frozen=True)
class _Prepared:
    basis: Array | None  # of the covariates about their means, [n, k]
    y: Array  # what they leave, columns [n, R] of length one
    x: Array
    pairs: npt.NDArray[np.int64]
    df: int


def _prepared(block: Block) -> _Prepared:
    y, x = (unit_columns(values, block.covariates, block.method) for values in (block.y, block.x))
    basis, count = None, 0
    if block.covariates is not None and block.covariates.shape[1]:
        count = block.covariates.shape[1]
        basis = np.linalg.qr(block.covariates - block.covariates.mean(axis=0))[0]
    return _Prepared(basis, y, x, block.pairs, len(block.y) - 2 - count)


def _sizes(one: _Prepared, order: npt.NDArray[Any] | None) -> Array:
    """Return |t| [P] for the observed order (None) or a permuted one."""
    y = one.y
    if order is not None:
        y = y[order]
        if one.basis is not None:
            y = y - one.basis @ (one.basis.T @ y)
            y /= np.linalg.norm(y, axis=0)
    whole = np.clip(y.T @ one.x, -1, 1)
    return np.abs(student(whole[one.pairs[:, 0], one.pairs[:, 1]], one.df))


def _keys(
    permutations: int | npt.NDArray[np.int64], cohort: int, generator: np.random.Generator | None
) -> Iterator[npt.NDArray[np.int64]]:
    if not isinstance(permutations, int):
        yield from permutations
        return
    if generator is None:
        raise ValueError("a number of permutations needs a generator")
    for _ in range(permutations):
        yield generator.permutation(cohort)
