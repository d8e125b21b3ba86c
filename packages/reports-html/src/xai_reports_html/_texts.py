"""Every word of the page by key. A language is one file in ``texts``; English is the one that is there."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files

from markupsafe import Markup

__all__ = ["catalogue", "counted", "listed", "plain", "say"]

_LANGUAGE = "en"


@cache
def catalogue(language: str = _LANGUAGE) -> dict[str, str]:
    """Return the texts by ``section.key``; line breaks of the file are spaces."""
    source = (files(__package__) / "texts" / f"{language}.toml").read_text(encoding="utf-8")
    sections = tomllib.loads(source)
    texts = {f"{name}.{key}": text for name, found in sections.items() for key, text in found.items()}
    # A space at an end is meant: such a text goes on where another one ends.
    return {key: re.sub(r"\s*\n\s*", " ", text.strip("\n")) for key, text in texts.items()}


def say(key: str, /, **values: object) -> Markup:
    """Return a text for HTML: its own markup stays, what is put into it is escaped."""
    return Markup(catalogue()[key]).format(**values)


def plain(key: str, /, **values: object) -> str:
    """Return a text that is not HTML, for figures, TSV and ``xai cite``."""
    return catalogue()[key].format(**values)


def counted(key: str, n: int, /, **values: object) -> str:
    """Return ``1 person`` or ``3 people``, as plain text."""
    return plain(f"{key}_{'one' if n == 1 else 'many'}", n=n, **values)


def listed(words: list[str]) -> str:
    """Return ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {plain('word.and')} {words[-1]}"
