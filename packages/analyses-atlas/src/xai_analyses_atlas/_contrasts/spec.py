"""Which contrasts a study asks for, as its configuration says it. Light: read before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from xai_core import ConfigError

__all__ = ["KINDS", "Contrast", "Kind", "contrasts_of"]

Kind = Literal["groups", "zero", "covariate", "explainers", "folds"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What each kind can do with the other entries; the rest must be left away.
_TAKES: Mapping[Kind, frozenset[str]] = {
    "groups": frozenset({"by", "first", "second", "paired"}),
    "zero": frozenset({"by", "first"}),
    "covariate": frozenset({"by"}),
    "explainers": frozenset({"first", "second"}),
    "folds": frozenset({"first", "second", "paired"}),
}


@dataclass(frozen=True)
class Contrast:
    """One entry of ``contrasts``.

    Attributes:
        kind: See ``group-contrasts``.
        by: Column, or None.
        first: Group, explainer or fold; None: see ``group-contrasts``.
        second: The same, of what is subtracted.
        paired: Whether people who are on both sides are compared with themselves.
        among: Values by column that a scan must have.
        id: Name of the files, or None.
    """

    kind: Kind = "groups"
    by: str | None = None
    first: str | None = None
    second: str | None = None
    paired: bool = False
    among: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    id: str | None = None


def contrasts_of(entries: Sequence[Mapping[str, Any]]) -> list[Contrast]:
    """Read ``contrasts``.

    Raises:
        ConfigError: Entries make no sense; all that is wrong is listed.
    """
    found, wrong = [], []
    for number, entry in enumerate(entries):
        contrast = Contrast(
            kind=entry.get("kind", "groups"),
            by=entry.get("by"),
            first=_text(entry.get("first")),
            second=_text(entry.get("second")),
            paired=bool(entry.get("paired", False)),
            among={str(column): _values(values) for column, values in (entry.get("among") or {}).items()},
            id=entry.get("id"),
        )
        wrong += [f"contrasts[{number}]: {problem}" for problem in _problems(contrast)]
        found.append(contrast)
    names = [contrast.id for contrast in found if contrast.id is not None]
    wrong += [
        f"contrasts: the id {name!r} is there twice." for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if wrong:
        raise ConfigError("group-contrasts:\n  " + "\n  ".join(wrong))
    return found


def _text(value: Any) -> str | None:
    """Return a group as ``label_of`` names it: a column of whole numbers with a gap is read as floats."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


def _values(values: Any) -> tuple[str, ...]:
    return tuple(str(_text(value)) for value in (values if isinstance(values, (list, tuple)) else [values]))


def _problems(contrast: Contrast) -> list[str]:
    """Return what is wrong with one entry."""
    kind, takes = contrast.kind, _TAKES[contrast.kind]
    given = {"by": contrast.by, "first": contrast.first, "second": contrast.second, "paired": contrast.paired or None}
    problems = [f"{kind} takes no {name}." for name, value in given.items() if value is not None and name not in takes]
    both = contrast.first is not None and contrast.second is not None
    checks: list[tuple[Callable[[], bool], str]] = [
        (lambda: kind in ("groups", "covariate") and contrast.by is None, f"{kind} needs by: a column."),
        (lambda: contrast.second is not None and contrast.first is None, "second needs first."),
        (lambda: both and contrast.first == contrast.second, f"first and second are both {contrast.first!r}."),
        (lambda: kind == "explainers" and contrast.first is not None and not both, "explainers needs second, too."),
        (lambda: contrast.paired and not both and "paired" in takes, "paired needs first and second."),
        (lambda: kind == "zero" and contrast.first is not None and contrast.by is None, "first needs by: a column."),
        (lambda: contrast.id is not None and not re.fullmatch(r"[A-Za-z0-9.-]+", contrast.id),
         f"the id {contrast.id!r} names files: letters, digits, dots and hyphens only."),
    ]  # fmt: skip
    return problems + [text for wrong, text in checks if wrong()]
