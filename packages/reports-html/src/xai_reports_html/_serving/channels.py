"""Which channel a file is, by its name: two files that change places give a map that looks right."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["channel_words", "mismatches", "same_files"]


def channel_words(channels: Sequence[str], rows: Iterable[Mapping[Any, Any]]) -> list[list[str]]:
    """Return the words by which a file's name tells its channel: a list for each channel.

    They are the words of the channel's own name that no other channel's name has, and what all its files in the study
    have in their names and those of no other channel do (``mwp1`` and ``mwp2``); numbers are not taken for that, since
    they may be somebody's. Capitals do not matter.

    Args:
        channels: Their names.
        rows: The study's scans, with ``image_<channel>``.
    """
    found: list[set[str] | None] = [None] * len(channels)
    anywhere: list[set[str]] = [set() for _ in channels]
    for row in rows:
        for index, channel in enumerate(channels):
            path = row.get(f"image_{channel}")
            if isinstance(path, str) and path:
                words, known = _words(Path(path).name), found[index]
                found[index] = words if known is None else known & words
                anywhere[index] |= words
    return [
        sorted(own | {word for word in (found[i] or set()) - _others(anywhere, i) if not word.isdigit()})
        for i, own in enumerate(_own(channels))
    ]


def _own(channels: Sequence[str]) -> list[set[str]]:
    words = [_words(channel) for channel in channels]
    return [(words[i] - _others(words, i)) or {channel.casefold()} for i, channel in enumerate(channels)]


def _others(words: Sequence[set[str]], index: int) -> set[str]:
    return set().union(*(one for i, one in enumerate(words) if i != index))


def _words(name: str) -> set[str]:
    return {word for word in re.split(r"[^a-z0-9]+", re.sub(r"\.nii(\.gz)?$", "", name.casefold())) if word}


def mismatches(channels: Sequence[str], words: Sequence[Sequence[str]], names: Sequence[str]) -> list[str]:
    """Return a warning for each file whose name says that it is another channel than the one it is given as.

    Args:
        channels: Names of the channels.
        words: Of ``channel_words``.
        names: Of the files, in the order of the channels.
    """
    found = []
    for index, name in enumerate(names):
        said = [i for i, known in enumerate(words) if _words(name) & set(known)]
        if said and index not in said:
            found.append(
                f"{name} was given as the channel {channels[index]}, but its name says {channels[said[0]]}. If the "
                "files changed places, neither prediction nor map mean anything."
            )
    return found


def same_files(paths: Sequence[Path], channels: Sequence[str]) -> list[str]:
    """Return a warning for each channel whose file is that of an earlier one.

    Args:
        paths: Files, in the order of the channels.
        channels: Their names.
    """
    return [
        f"The channels {channels[first]} and {channels[second]} are the same file."
        for second in range(len(paths))
        for first in range(second)
        if filecmp.cmp(paths[first], paths[second], shallow=False)
    ]
