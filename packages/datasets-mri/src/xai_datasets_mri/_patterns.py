"""Finds files by a pattern such as ``sub-{subject}/[ses-{session}/]anat/*_T1w.nii[.gz]``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ._index import Folders

__all__ = ["FilePattern", "Match", "pattern_problem"]

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_TOKEN = re.compile(r"\{[a-z_]+\}|\*|\?|\[|\]|[^{*?\[\]]+|.")


@dataclass(frozen=True)
class Match:
    """A file that a pattern fits.

    Attributes:
        path: Relative to the root, with slashes.
        values: What stands in the place of each ``{name}``.
    """

    path: str
    values: dict[str, str]


def pattern_problem(pattern: str) -> str | None:
    """Return what is wrong with a pattern, or None."""
    depth = 0
    for character in pattern:
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth not in (0, 1):
            break
    if depth != 0:
        return f"{pattern!r}: square brackets hold what may be absent, are closed, and not inside one another."
    if "{subject}" not in pattern:
        return f"{pattern!r} has no {{subject}}, the place of the person's id."
    if "{" in _PLACEHOLDER.sub("", pattern) or "}" in _PLACEHOLDER.sub("", pattern):
        return f"{pattern!r}: curly brackets hold a name of small letters, such as {{subject}} or {{session}}."
    if pattern.rpartition("/")[2] in ("", "**"):
        return f"{pattern!r} ends with a folder; its last part is the file's name."
    if pattern.startswith("/") or any(part in ("..", "") for part in re.sub(r"[\[\]]", "", pattern).split("/")):
        return f"{pattern!r} must be relative to its folder, without '..' and without an empty part."
    return None


def _variants(pattern: str) -> list[str]:
    """Return the pattern with each optional part that holds a slash there and not there."""
    for group in re.finditer(r"\[([^\]]*/[^\]]*)\]", pattern):
        before, after = pattern[: group.start()], pattern[group.end() :]
        return [variant for middle in (group.group(1), "") for variant in _variants(before + middle + after)]
    return [pattern]


def _regex(part: str, *, named: bool) -> str:
    """Return one name (between slashes) as a regular expression; ``named``: with groups for the placeholders."""
    text, seen = "", set()
    for token in _TOKEN.findall(part):
        if token.startswith("{"):
            name = token[1:-1]
            text += "[^/]+?" if not named else f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
            seen.add(name)
        else:
            text += {"*": "[^/]*", "?": "[^/]", "[": "(?:", "]": ")?"}.get(token) or re.escape(token)
    return text


@dataclass(frozen=True)
class FilePattern:
    """A pattern of file names below a root.

    ``{name}`` stands for a part of a name and gives its value, ``*`` for any part of a name, ``?`` for one character,
    ``**`` for any folders, ``[...]`` holds what may be absent (as in pybids' path patterns).

    Attributes:
        text: The pattern, with slashes.
    """

    text: str

    @cached_property
    def _parts(self) -> list[list[re.Pattern[str] | None]]:
        """For each variant the expressions of its folders and its file; None: any folders."""
        return [
            [None if part == "**" else re.compile(_regex(part, named=False)) for part in variant.split("/")]
            for variant in _variants(self.text)
        ]

    @cached_property
    def _whole(self) -> list[re.Pattern[str]]:
        return [re.compile(_whole_regex(variant)) for variant in _variants(self.text)]

    def find(self, folders: Folders) -> Iterator[Match]:
        """Yield the files that fit, folder by folder; only folders that the pattern leads to are looked at."""
        waiting = [("", [(variant, 0) for variant in range(len(self._parts))])]
        while waiting:
            place, states = waiting.pop()
            states = self._through_any(states)
            here = folders.listing(place)
            if folders.is_inside_itself(place):
                continue
            for name in here.files:
                match = self._matched(place, name, states)
                if match is not None:
                    yield match
            for name in reversed(here.folders):
                after = self._after(name, states)
                if after:
                    waiting.append((f"{place}/{name}" if place else name, after))

    def _through_any(self, states: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Add the positions that are reached where ``**`` stands for no folder."""
        reached = list(states)
        for variant, position in reached:  # grows while it is read
            if self._parts[variant][position] is None and (variant, position + 1) not in reached:
                reached.append((variant, position + 1))
        return reached

    def _after(self, folder: str, states: list[tuple[int, int]]) -> list[tuple[int, int]]:
        after = []
        for variant, position in states:
            parts = self._parts[variant]
            part = parts[position]
            if part is None:
                after.append((variant, position))
            elif position + 1 < len(parts) and part.fullmatch(folder):
                after.append((variant, position + 1))
        return after

    def _matched(self, place: str, name: str, states: list[tuple[int, int]]) -> Match | None:
        for variant, position in states:
            part = self._parts[variant][position]
            if part is None or position + 1 < len(self._parts[variant]) or not part.fullmatch(name):
                continue
            path = f"{place}/{name}" if place else name
            whole = self._whole[variant].fullmatch(path)
            if whole:
                return Match(path, {key: value for key, value in whole.groupdict().items() if value is not None})
        return None


def _whole_regex(variant: str) -> str:
    """Return a variant as one expression over a whole path; a name that comes twice must have one value."""
    parts, seen = [], set[str]()
    for part in variant.split("/"):
        if part == "**":
            parts.append("(?:[^/]+/)*")
            continue
        text = _regex(part, named=True)
        for name in seen & set(_PLACEHOLDER.findall(part)):
            text = text.replace(f"(?P<{name}>[^/]+?)", f"(?P={name})")
        seen |= set(_PLACEHOLDER.findall(part))
        parts.append(text + "/")
    return "".join(parts)[:-1]
