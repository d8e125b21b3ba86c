"""Two folders of maps, compared name by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from xai_core import InputError

from ._compare import Comparison, compare
from ._maps import SUFFIXES, archive_keys
from ._pairs import pair_of
from ._report import Found, Options, finite, number, verdict, within

__all__ = ["compare_folders"]


def compare_folders(a: Path, b: Path, options: Options) -> Found:
    """Compare the maps of two folders that have the same relative name; each array of a .npz file by itself.

    Raises:
        InputError: No name is in both, a pair cannot be compared (all of them in one message), or an option is given
            that is for two files.
    """
    if options.atlas is not None or options.output is not None:
        raise InputError("--atlas and --output are for two maps; A and B are folders. Give two files of them.")
    names, only = _matched(a, b)
    results, problems = {}, []
    for name in names:
        try:
            pair = pair_of(str(a / name), str(b / name), options.mask, resample=options.resample)
            results[name] = compare(*pair.values(), spearman=options.spearman)
        except InputError as error:
            problems.append(f"{name}: {error}")
    if problems:
        shown = "\n".join(problems[:5]) + (f"\nand {len(problems) - 5} more" if len(problems) > 5 else "")
        raise InputError(f"{len(problems)} of {len(names)} pairs of maps cannot be compared:\n{shown}")
    # A map that is missing on one side agrees with nothing: a script that asks must not pass.
    over = [
        name for name, found in results.items() if options.tolerance is not None and found.exceeds(options.tolerance)
    ]
    failed = options.tolerance is not None and bool(over or any(only.values()))
    worst = max(results, key=lambda name: _badness(results[name]))
    content = {
        "a": str(a), "b": str(b), "maps": [{"name": n, **finite(f.as_dict())} for n, f in results.items()],
        "only_in_a": only["A"], "only_in_b": only["B"], "worst": worst, **within(options.tolerance, failed),
    }  # fmt: skip
    lines = ["Note: A and B are one and the same folder."] if a.samefile(b) else []
    lines += _folder_lines(results, only, worst, options)
    if options.tolerance is not None:
        lines.append(f"{verdict(failed, options.tolerance)} {len(over)} of {len(results)} maps are above it.")
    return Found("\n".join(lines), content, failed)


def _badness(found: Comparison) -> float:
    return math.inf if found.largest_relative is None else found.largest_relative


def _folder_lines(
    results: Mapping[str, Comparison], only: Mapping[str, list[str]], worst: str, options: Options
) -> list[str]:
    head = ["map", "correlation", *(["Spearman"] if options.spearman else []), "L1", "largest", "sum A", "sum B"]
    rows = [head]
    for name, found in results.items():
        ranks = [number(found.spearman, "-", 6)] if options.spearman else []
        relative = [number(found.l1_relative, "-", 3), number(found.largest_relative, "-", 3)]
        rows.append(
            [name, number(found.pearson, "-", 6), *ranks, *relative, f"{found.sum_a:.4g}", f"{found.sum_b:.4g}"]
        )
        if found.identical:
            rows[-1].append("identical")
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], [*widths[1:], 9], strict=False))])
        for row in rows
    ]
    lines += [f"only in {side}: {name}" for side, names in only.items() for name in names]
    return [*lines, f"worst: {worst}, largest difference / largest |A| {number(results[worst].largest_relative, '-')}"]


def _matched(a: Path, b: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Return relative names that both folders have, and those that one has."""
    first, second = _names(a), _names(b)
    both = [name for name in first if name in set(second)]
    if not both:
        raise InputError(
            f"{a} ({len(first)} maps) and {b} ({len(second)} maps) have no map of the same relative name. Maps are "
            f"{', '.join(SUFFIXES)} files."
        )
    only = {"A": [n for n in first if n not in set(both)], "B": [n for n in second if n not in set(both)]}
    return both, only


def _names(folder: Path) -> list[str]:
    names: list[str] = []
    for path in sorted(folder.rglob("*")):
        if not (path.is_file() and path.name.lower().endswith(SUFFIXES)):
            continue
        name = path.relative_to(folder).as_posix()
        names += [f"{name}::{key}" for key in archive_keys(path)] if name.lower().endswith(".npz") else [name]
    return names
