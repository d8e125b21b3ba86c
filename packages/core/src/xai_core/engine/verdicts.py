"""What a comparison of two runs says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["verdict"]

_LOWER_IS_BETTER = frozenset({"mae", "rmse", "brier"})
_LEVEL = 0.05


def verdict(name: str, found: Mapping[str, Any]) -> str:
    """Return a sentence on one score.

    The score's own test decides: DeLong's for the AUC, McNemar's for the accuracy, else whether the bootstrap interval
    holds 0. The test over folds is told beside it.

    Args:
        name: Of the score.
        found: Its mapping in ``compare``.
    """
    if found["difference"] is None:
        return "not defined in one of the runs, so not compared."
    test, evidence = _decided(found)
    if evidence is None:
        return f"no statement: {test}."
    better = _better(name, found["difference"])
    says = f"{better} is better on people like these ({test})" if evidence else f"no evidence of a difference ({test})"
    return f"{says}; {_folds(name, found, better if evidence else None)}."


def _decided(found: Mapping[str, Any]) -> tuple[str, bool | None]:
    for key, title in (("delong", "DeLong"), ("mcnemar", "McNemar")):
        test = found.get(key)
        if test is not None and test["p"] is not None:
            return f"{title} p = {_p(test['p'])}", test["p"] < _LEVEL
    if found["low"] is None:
        return "the interval of the difference is not defined", None
    inside = found["low"] <= 0 <= found["high"]
    return f"the interval of the difference {'holds' if inside else 'leaves out'} 0", not inside


def _better(name: str, difference: float) -> str:
    return "B" if (difference > 0) != (name in _LOWER_IS_BETTER) else "A"


def _folds(name: str, found: Mapping[str, Any], better: str | None) -> str:
    """What the test over folds says beside a first one that found ``better`` the better run, or none."""
    test = found.get("over_folds")
    if test is None:
        return "no test over folds"
    if test["p"] is None:
        return "the folds' differences are all the same, which no test can use"
    of_folds = _better(name, test["mean"])
    if test["p"] >= _LEVEL:
        says = "no evidence over"
    else:
        says = "also over" if of_folds == better else f"but {of_folds} is better over"
    return f"{says} the folds, whose training parts overlap (corrected t-test p = {_p(test['p'])})"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
