"""Reads JSON that nobody vouches for."""

from __future__ import annotations

import json
from typing import Any, NoReturn

__all__ = ["MOST_CHARACTERS", "parse", "plain"]

MOST_CHARACTERS = 64 * 2**20
_DEEPEST = 200


def parse(text: str | bytes) -> dict[str, Any]:
    """Return the object in ``text``; ``ValueError`` says in a clause what is wrong with it.

    Bounded in length and depth: whoever walks the result may do so by recursion. NaN and infinity, which Python's
    own reader accepts, are none of JSON.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text)} characters, more than the {MOST_CHARACTERS} that any network needs")
    try:
        value = json.loads(text, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested without end") from None
    except UnicodeDecodeError:
        raise ValueError("it is no UTF-8 text") from None
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    if _deeper(value):
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    return value


def plain(value: Any) -> Any:
    """Return a value with lists and numbers in place of what some versions write for tuples, shapes and arrays."""
    if isinstance(value, dict):
        items = value.get("items")
        if value.get("class_name") in ("__tuple__", "TensorShape", "ListWrapper") and isinstance(items, list):
            return plain(items)
        if value.get("type") == "ndarray" and "value" in value:  # Keras 2.2, for the numbers of a ReLU
            return plain(value["value"])
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no JSON")


def _deeper(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True
