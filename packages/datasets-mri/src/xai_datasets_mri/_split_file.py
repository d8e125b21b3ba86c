"""Folds from a file: a table with fold, part and subject_id, such as a run's splits.tsv, or JSON."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from xai_core import Fold
from xai_core.errors import InputError
from xai_core.schemas import did_you_mean

__all__ = ["folds_from"]

_log = logging.getLogger("xai")
_SHOWN = 12
_NAMES = ("train", "val", "test", "held_out")
_PARTS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "held_out": "held_out", "held-out": "held_out", "heldout": "held_out",
}  # fmt: skip
_PURPOSE = {
    ("val", "test"): "the weights would be chosen on the test part",
    ("train", "test"): "the test part would be trained on",
    ("train", "val"): "the weights would be chosen on the training part",
}


@dataclass(frozen=True)
class _Entry:
    """One line of the file: where it stands, and what it says."""

    where: str
    repeat: int
    fold: str
    part: str
    person: str


def folds_from(path: Path, people: Sequence[str], study: str = "the study") -> list[Fold]:
    """Return the folds of a file, numbered in the order of (repeat, fold).

    Args:
        path: ``.tsv``, ``.csv`` or ``.json``.
        people: Ids of the study. ``sub-01`` and ``01`` are the same person unless the study has both.
        study: What these are, for messages.

    Raises:
        InputError: The file cannot be read; or it names people whom the study does not have, puts somebody twice
            into a part or into two parts of a fold, or leaves a part empty: all such problems in one message.
    """
    problems: list[str] = []
    ids = _Ids(people)
    parts: dict[tuple[int, Any], dict[str, list[str]]] = {}
    for entry in _entries(path, problems):
        part, person = _PARTS.get(entry.part.strip().casefold()), ids.find(entry.person)
        if part is None:
            problems.append(f"{entry.where}: {entry.part!r} is no part (train, val, test, held_out)")
        elif person is None:
            problems.append(f"{entry.where}: {study} has no {entry.person!r}{did_you_mean(entry.person, ids.known)}")
        else:
            fold = parts.setdefault((entry.repeat, _ordered(entry.fold)), {name: [] for name in _NAMES})
            fold[part].append(person)
    for (repeat, name), fold in sorted(parts.items()):
        where = f"fold {name[1]}" + (f" of repeat {repeat}" if repeat else "")
        problems += [f"{where}: {problem}" for problem in _fold_problems(fold)]
    if problems:
        shown = "\n  ".join(problems[:_SHOWN])
        rest = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise InputError(f"The split file {path} does not fit the study ({_count(problems)}):\n  {shown}{rest}")
    if not parts:
        raise InputError(f"The split file {path} names nobody.")
    folds = [_fold(repeat, fold) for (repeat, _), fold in sorted(parts.items())]
    unused = sorted(set(people) - {p for f in folds for p in (*f.train, *f.val, *f.test, *f.held_out)})
    if unused:
        shown = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        _log.warning("split: %d people of the study are in no part of %s: %s", len(unused), path.name, shown)
    return folds


class _Ids:
    """Finds the study's id for one of the file."""

    def __init__(self, people: Sequence[str]) -> None:
        self.known = set(people)
        self._plain = {_plain(person): person for person in people if _plain(person) not in self.known}

    def find(self, person: str) -> str | None:
        """Return the study's id of a person, or None."""
        person = person.strip()
        if person in self.known:
            return person
        return _plain(person) if _plain(person) in self.known else self._plain.get(_plain(person))


def _plain(person: str) -> str:
    return person.removeprefix("sub-")


def _ordered(fold: str) -> tuple[float, str]:
    """Return a key by which fold 2 comes before fold 10, and names come after numbers."""
    return (int(fold), fold) if fold.isdecimal() else (float("inf"), fold)


def _fold(repeat: int, parts: Mapping[str, Sequence[str]]) -> Fold:
    sorted_parts = {name: tuple(sorted(people)) for name, people in parts.items()}
    return Fold(**sorted_parts, repeat=repeat)


def _fold_problems(parts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, people in parts.items():
        twice = sorted(person for person, count in Counter(people).items() if count > 1)
        if twice:
            yield f"{_listed(twice)} twice in {name}"
    for first, second in combinations(_NAMES, 2):
        both = sorted(set(parts[first]) & set(parts[second]))
        if both:
            why = _PURPOSE.get((first, second), "held-out people are in no other part")
            yield f"{len(both)} people are in {first} and in {second} ({why}): {_listed(both)}"
    for name in ("train", "test"):
        if not parts[name]:
            yield f"nobody is in {name}"


def _count(problems: Sequence[str]) -> str:
    return f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"


def _listed(people: Sequence[str]) -> str:
    rest = len(people) - _SHOWN
    return ", ".join(people[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _entries(path: Path, problems: list[str]) -> Iterator[_Entry]:
    text = _read(path)
    if path.suffix.lower() == ".json":
        yield from _json_entries(path, text, problems)
    else:
        yield from _table_entries(path, text, problems)


def _read(path: Path) -> str:
    if path.suffix.lower() not in (".tsv", ".csv", ".json"):
        raise InputError(f"The split file {path} is none that can be read: use .tsv, .csv or .json.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"The split file {path} does not exist. Give a table with fold, part and subject_id."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"The split file {path} is not UTF-8 text (byte {error.start + 1}).") from error
    except OSError as error:
        raise InputError(f"The split file {path} cannot be read: {error.strerror}.") from error


def _table_entries(path: Path, text: str, problems: list[str]) -> Iterator[_Entry]:
    header = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;", key=header.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"The split file {path} cannot be read: {error}.") from error
    columns = list(rows[0]) if rows else []
    lacking = [name for name in ("part", "subject_id") if name not in columns]
    if lacking:
        there = ", ".join(str(name) for name in columns) or "none"
        raise InputError(f"The split file {path} has no column {' and no '.join(lacking)}. Columns: {there}.")
    for number, row in enumerate(rows, start=2):
        yield from _entry(f"row {number}", row, problems)


def _entry(where: str, row: Mapping[Any, Any], problems: list[str]) -> Iterator[_Entry]:
    repeat, fold, person = (row.get(name) for name in ("repeat", "fold", "subject_id"))
    repeat, fold = ("0" if value in (None, "") else str(value).strip() for value in (repeat, fold))
    if not repeat.isdecimal():
        problems.append(f"{where}: the repeat {repeat!r} is no number from 0")
    elif person in (None, "") or isinstance(person, list | dict):
        problems.append(f"{where}: no subject_id")
    else:
        yield _Entry(where, int(repeat), fold, str(row.get("part") or ""), str(person))


def _json_entries(path: Path, text: str, problems: list[str]) -> Iterator[_Entry]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The split file {path} is no JSON: {error}.") from error
    folds = content.get("folds", content) if isinstance(content, Mapping) else content
    folds = [folds] if isinstance(folds, Mapping) else folds
    if not isinstance(folds, list) or not all(isinstance(fold, Mapping) for fold in folds):
        raise InputError(
            f"The split file {path} has another form. Give a list of folds {{train: [...], val: [...], test: [...]}}, "
            "or a list of rows {fold, part, subject_id}."
        )
    for index, fold in enumerate(folds):
        if "subject_id" in fold:
            yield from _entry(f"entry {index + 1}", fold, problems)
        else:
            yield from _fold_entries(index, fold, problems)


def _fold_entries(index: int, fold: Mapping[str, Any], problems: list[str]) -> Iterator[_Entry]:
    for part, people in fold.items():
        where = f"fold {index}, {part}"
        if part in ("repeat", "fold"):
            continue
        if not isinstance(people, list):
            problems.append(f"{where}: {people!r} is no list of ids")
            continue
        for person in people:
            yield from _entry(where, {**fold, "fold": str(index), "part": part, "subject_id": person}, problems)
