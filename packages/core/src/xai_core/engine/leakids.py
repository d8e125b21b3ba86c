"""Ids that look like two names of one person."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["look_alikes", "might_be_alike"]

# A visit at the end of an id. Words for it say so by themselves; ADNI's _bl and _m12, OASIS' _MR1, a
# time (_year2, _12mo) and a date (_20140203) do after a number.
_VISIT_WORD = re.compile(
    r"^(?P<person>.*\d.*?)[_\W]?(?<![a-z])"
    r"(?:ses(?:sion)?[_\W]?\w+|(?:visit|timepoint|run|follow-?up)[_\W]?\d*|baseline)$",
    re.IGNORECASE,
)
_VISIT_CODE = re.compile(
    r"^(?P<person>.*\d{3}.*?)[_-](?:bl|sc|m\d{1,3}|mr_?d?\d+|v\d{1,2}|tp?\d{1,2}|wave\d+|fu\d*|y\d{1,2}|d\d{3,}"
    r"|(?:year|yr|month|mo|week|wk)_?\d{1,3}|\d{1,3}_?(?:years?|yrs?|months?|mos?|weeks?|wks?)"
    r"|(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01]))$",
    re.IGNORECASE,
)
# Labels of BIDS have no separators: sub-0012m12, sub-0012bl.
_VISIT_JOINED = re.compile(r"^(?P<person>.*\d{3})(?:bl|sc|m\d{2,3}|v\d{1,2}|mr\d{1,2}|d\d{4})$", re.IGNORECASE)


def look_alikes(people: Iterable[str]) -> list[tuple[str, ...]]:
    """Return groups of ids that differ in case, punctuation, leading zeros or a visit at the end only.

    ``sub-0012`` and ``12``; ``A7`` and ``a7``; ``0012_ses-1`` and ``0012_ses-2``; ``002_S_0295_bl`` and
    ``002_S_0295_m12``. They are one person unless the study's names are very unlucky.
    """
    found: dict[tuple[str, ...], set[str]] = {}
    for person in people:
        found.setdefault(_tokens(person), set()).add(person)
    return sorted(tuple(sorted(group)) for group in found.values() if len(group) > 1)


def might_be_alike(people: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of ids one of which is the number in the other, such as ``12`` and ``ADNI-0012``.

    Two cohorts that count from 1 give such pairs, too, so they are no more than a hint.
    """
    tokens = {person: _tokens(person) for person in people}
    bare = {key[0]: person for person, key in tokens.items() if len(key) == 1 and key[0].isdecimal()}
    named = {person: key[1] for person, key in tokens.items() if len(key) == 2 and not key[0].isdecimal()}
    return sorted((bare[number], person) for person, number in named.items() if number in bare)


def _tokens(person: str) -> tuple[str, ...]:
    """Return letters and numbers of an id, without ``sub-`` and the visit: ``sub-AD_007`` is ``("ad", "7")``."""
    for pattern in (_VISIT_WORD, _VISIT_CODE, _VISIT_JOINED):
        found = pattern.match(person)
        if found:
            person = found["person"]
    parts = re.findall(r"[^\W\d_]+|\d+", person.casefold().removeprefix("sub-"))
    return tuple(part.lstrip("0") or "0" if part.isdecimal() else part for part in parts)
