"""Covariates as the columns of a linear model: coded on the people it is fitted to, applied to anybody."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg

from xai_core.errors import InputError

__all__ = ["Category", "Design", "Numeric", "check_design", "is_missing", "level_of"]

Array = npt.NDArray[np.float64]
Row = Mapping[str, Any]

# A column is a combination of the others where less than this part of its length is left after a regression on them.
_DEPENDENT = 1e-8


def is_missing(value: object) -> bool:
    """Whether a table leaves this value open: None, an empty text, NaN or an infinite number."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    return isinstance(value, Real) and not math.isfinite(value)


def level_of(value: object) -> str:
    """Return a category's name; 3, 3.0 and "3" are one."""
    return f"{float(value):g}" if isinstance(value, Real) else str(value).strip()


@dataclass(frozen=True)
class Numeric:
    """A covariate that enters as a number, and as its powers.

    Attributes:
        name: Its name.
        mean: Mean over the people of the fit who have it; taken for those who have not.
        sd: Standard deviation over these; powers are those of (value - mean) / sd.
        low: Smallest value among them.
        high: Largest value among them.
        degree: Highest power.
    """

    name: str
    mean: float
    sd: float
    low: float
    high: float
    degree: int = 1

    @classmethod
    def fit(cls, name: str, values: Sequence[object], degree: int) -> Numeric:
        """Return the coding of a covariate; missing values do not count."""
        known = np.array([float(v) for v in values if isinstance(v, Real) and not is_missing(v)])
        low, high = float(known.min()), float(known.max())
        if low == high:  # the mean of equal numbers may differ from them in the last bit
            return cls(name, low, 0.0, low, high, degree)
        return cls(name, float(known.mean()), float(known.std()), low, high, degree)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, such as ``age`` and ``age^2``."""
        return [self.name, *(f"{self.name}^{power}" for power in range(2, self.degree + 1))]

    def code(self, value: object, unknown: str) -> list[float]:
        """Return a value's columns: its distance from the mean, then the powers."""
        del unknown
        if is_missing(value):
            distance = 0.0
        elif isinstance(value, Real):
            distance = float(value) - self.mean
        else:
            raise InputError(f"{self.name} is {value!r}, not a number as in the training part.")
        scaled = distance / self.sd if self.sd else 0.0
        return [distance, *(scaled**power for power in range(2, self.degree + 1))]


@dataclass(frozen=True)
class Category:
    """A covariate of names, coded by a column of 0 and 1 for every level but the first (treatment coding).

    Attributes:
        name: Its name.
        levels: The levels of the people of the fit, sorted.
        shares: Which part of these people has each level.
        mode: The most frequent level; taken for those without a value.
    """

    name: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]
    mode: str

    @classmethod
    def fit(cls, name: str, values: Sequence[object]) -> Category:
        """Return the coding of a covariate; missing values do not count."""
        counts = Counter(sorted(level_of(value) for value in values if not is_missing(value)))
        total, levels = sum(counts.values()), tuple(sorted(counts))
        return cls(name, levels, tuple(counts[level] / total for level in levels), counts.most_common(1)[0][0])

    @property
    def columns(self) -> list[str]:
        """Names of the columns, such as ``site=b``."""
        return [f"{self.name}={level}" for level in self.levels[1:]]

    def code(self, value: object, unknown: str) -> list[float]:
        """Return a value's columns; an unknown level is an error, or (``mean``) an average person."""
        level = self.mode if is_missing(value) else level_of(value)
        if level not in self.levels:
            if unknown == "mean":
                return list(self.shares[1:])
            raise InputError(
                f"{self.name} is {level!r}, which nobody has among the people whom the model was fitted to "
                f"({', '.join(self.levels)})."
            )
        return [float(level == other) for other in self.levels[1:]]


@dataclass(frozen=True)
class Design:
    """The columns of a linear model without its intercept, as distances from their means.

    Attributes:
        terms: The coded covariates.
        centre: Mean of every column over the people of the fit.
        imputed: How many of these people had no value, by covariate; only where there are any.
    """

    terms: tuple[Numeric | Category, ...]
    centre: tuple[float, ...] = ()
    imputed: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, rows: Sequence[Row], names: Sequence[str], categorical: Sequence[str], degrees: Mapping[str, int]
    ) -> Design:
        """Code covariates.

        Args:
            rows: The people of the fit.
            names: The covariates.
            categorical: Those that are categories although they are numbers.
            degrees: Highest power of the covariates that enter with powers.

        Raises:
            InputError: Nobody has a covariate, or texts and numbers are mixed.
        """
        terms = tuple(_term(name, [row.get(name) for row in rows], name in categorical, degrees) for name in names)
        lacking = {name: sum(is_missing(row.get(name)) for row in rows) for name in names}
        coded = cls(terms, imputed={name: count for name, count in lacking.items() if count})
        columns = [[x for term in terms for x in term.code(row.get(term.name), "error")] for row in rows]
        centre = np.array(columns, dtype=np.float64).reshape(len(rows), len(coded.columns)).mean(axis=0)
        return cls(terms, tuple(float(x) for x in centre), coded.imputed)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [name for term in self.terms for name in term.columns]

    def row(self, about: Row, unknown: str = "error") -> Array:
        """Return a person's columns, each as its distance from the mean.

        Args:
            about: What is known of the person. A missing covariate counts as its mean, or its most frequent level.
            unknown: What becomes of an unknown level: ``"error"`` or ``"mean"``.

        Raises:
            InputError: A covariate is of another type than in the fit, or has an unknown level.
        """
        values = [x for term in self.terms for x in term.code(about.get(term.name), unknown)]
        return np.subtract(np.array(values, dtype=np.float64), np.array(self.centre, dtype=np.float64))

    def matrix(self, rows: Sequence[Row]) -> Array:
        """Return the columns of several people [people, columns]."""
        return np.array([self.row(row) for row in rows]).reshape(len(rows), len(self.columns))

    def state(self) -> dict[str, Any]:
        """Return numbers, texts, lists and mappings from which ``restored`` makes the same."""
        numeric = [asdict(term) for term in self.terms if isinstance(term, Numeric)]
        categories = [
            {"name": t.name, "levels": list(t.levels), "shares": list(t.shares), "mode": t.mode}
            for t in self.terms
            if isinstance(t, Category)
        ]
        order = [term.name for term in self.terms]
        return {
            "order": order, "numeric": numeric, "categories": categories, "centre": list(self.centre),
            "imputed": dict(self.imputed), "columns": self.columns,
        }  # fmt: skip

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Design:
        """Return what ``state`` told."""
        found: dict[str, Numeric | Category] = {term["name"]: Numeric(**term) for term in state["numeric"]}
        for term in state["categories"]:
            found[term["name"]] = Category(term["name"], tuple(term["levels"]), tuple(term["shares"]), term["mode"])
        return cls(tuple(found[name] for name in state["order"]), tuple(state["centre"]), dict(state["imputed"]))


def _term(name: str, values: Sequence[object], named: bool, degrees: Mapping[str, int]) -> Numeric | Category:
    known = [value for value in values if not is_missing(value)]
    if not known:
        raise InputError(f"nobody among the {len(values)} people of the fit has the covariate {name}.")
    if named:
        return Category.fit(name, values)
    numbers = [isinstance(value, Real) for value in known]
    if any(numbers) and not all(numbers):
        text = next(value for value in known if not isinstance(value, Real))
        raise InputError(
            f"{name} is a number for some people and a text ({text!r}) for others. Repair the table, or name it in "
            "'categorical'."
        )
    if all(numbers):
        return Numeric.fit(name, values, degrees.get(name, 1))
    if name in degrees:
        raise InputError(f"{name} has powers in 'polynomial', but is a text ({known[0]!r}).")
    return Category.fit(name, values)


def check_design(design: Design, matrix: Array, who: str) -> None:
    """Refuse a design whose coefficients are not determined.

    Args:
        design: The coded covariates.
        matrix: Its columns for the people of the fit [people, columns].
        who: These people, such as ``controls``.

    Raises:
        InputError: Too few people, a constant covariate, or columns that are combinations of others.
    """
    people, count = matrix.shape
    if people < count + 2:
        listed = f" and {count} columns ({', '.join(design.columns)})" if count else ""
        raise InputError(
            f"there are {people} {who} for an intercept{listed}: at least {count + 2} are needed, and ten times as "
            "many are wise. Take fewer covariates, or larger parts."
        )
    constant = [term.name for term in design.terms if _is_constant(term)]
    if constant:
        raise InputError(
            f"{' and '.join(constant)} {'is' if len(constant) == 1 else 'are'} the same for all {people} {who}, so no "
            "effect can be learnt. Leave it out."
        )
    dependent = _combinations(matrix, design.columns)
    if dependent:
        raise InputError(f"among the {people} {who} {'; '.join(dependent)}. Leave one of them out.")


def _is_constant(term: Numeric | Category) -> bool:
    return term.low == term.high if isinstance(term, Numeric) else len(term.levels) == 1


def _combinations(matrix: Array, names: Sequence[str]) -> list[str]:
    """Return which columns follow from which others, in words."""
    if not names:
        return []
    length = np.linalg.norm(matrix, axis=0)
    matrix = matrix / np.where(length > 0, length, 1.0)
    _, triangle, order = linalg.qr(matrix, mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(triangle)) > _DEPENDENT).sum())
    kept, found = order[:rank], []
    for column in order[rank:]:
        weights = np.linalg.lstsq(matrix[:, kept], matrix[:, column], rcond=None)[0]
        others = [names[other] for other, weight in zip(kept, weights, strict=True) if abs(weight) > 1e-6]
        found.append(f"{names[column]} follows from {' and '.join(others)}")
    return found
