"""What ``agreement`` knows before anything is trained, and which files it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._hints import target_hint
from .._normative.checks import atlas_files, atlas_of, measures
from .._normative.relevance import require_named
from .._statistics import is_number
from .index import opened
from .reading import mask_file

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from ..agreement import Agreement

_LATER = {"prediction", "output", "explained", "correct"}  # known of a finished run

__all__ = ["adjusted_for", "check", "files", "related_to", "require_columns"]


def check(options: Agreement, table: pd.DataFrame) -> None:
    """See ``Agreement.check_study``.

    Raises:
        InputError: The study lacks something: all of it is told.
    """
    problems = []
    for attempt in (_runs, _mask, _atlas):
        try:
            attempt(options)
        except InputError as error:
            problems.append(str(error))
    problems += _columns(options, table)
    asked = options.compare or ()
    if "visits" in asked and not table["subject_id"].duplicated().any():
        problems.append("compare: visits: nobody has two scans.")
    if "sites" in asked and ("site" not in table or table["site"].dropna().nunique() < 2):
        problems.append("compare: sites: the study names fewer than two sites (column 'site').")
    if "runs" in asked and not options.runs:
        problems.append("compare: runs: no other runs are given (runs).")
    if problems:
        raise InputError("\n".join(problems))


def files(options: Agreement, run: RunResults) -> list[Path]:
    """Return the files that decide the outcome besides the run's own."""
    found: list[Path] = []
    for folder in map(Path, options.runs or ()):
        found += [folder / name for name in ("run.json", "predictions.tsv", "subjects.tsv", "splits.tsv")]
        found += sorted((folder / "derivatives").glob("sub-*/**/*_relevance.*"))
    if options.atlas is not None:
        atlas = atlas_of(options.atlas, options.space)
        found += atlas_files(atlas, run.subjects())
    return found


def related_to(options: Agreement, people: pd.DataFrame) -> list[str]:
    """Return the columns that numbers of maps are correlated with: numbers of people, prediction and output.

    Of two classes the prediction is the probability of the second; of more there is no one number.
    """
    chosen = [name for name in ("age",) if name in people] if options.relate is None else list(options.relate)
    chosen = [name for name in chosen if is_number(people[name])]
    probabilities = [name for name in people.columns if str(name).startswith("probability_")]
    if len(probabilities) == 2:
        chosen.append(probabilities[-1])
    elif "prediction" in people and is_number(people["prediction"]):
        chosen += ["target", "prediction"]
    return list(dict.fromkeys([*chosen, "output"]))


def require_columns(options: Agreement, tested: pd.DataFrame) -> None:
    """Refuse columns that the tested people of a finished run do not have, before any map is read.

    Raises:
        InputError: All of them are named.
    """
    # The network's output and its name come with the maps.
    problems = _columns(options, tested.assign(output=0.0, explained=""), finished=True)
    if problems:
        raise InputError("\n".join(problems))


def adjusted_for(options: Agreement, people: pd.DataFrame) -> list[str]:
    """Return the columns that sites are adjusted for; by default those in which people differ."""
    if options.covariates is not None:
        return list(options.covariates)
    usual = ("target", "explained", "age", "sex")
    return [name for name in usual if name in people and people[name].nunique(dropna=False) > 1]


def _runs(options: Agreement) -> None:
    for folder in options.runs or ():
        opened(Path(folder))


def _mask(options: Agreement) -> None:
    if options.mask is not None:
        mask_file(options.mask)


def _atlas(options: Agreement) -> None:
    if options.atlas is not None:
        atlas_of(options.atlas, options.space)
        require_named(options.measure, measures())


def _columns(options: Agreement, table: pd.DataFrame, *, finished: bool = False) -> list[str]:
    problems: list[str] = []
    for parameter, names in (("relate", options.relate or ()), ("covariates", options.covariates or ())):
        for name in names:
            problems += _column(parameter, name, table, finished=finished)
    return problems


def _column(parameter: str, name: str, table: pd.DataFrame, *, finished: bool) -> Sequence[str]:
    if name not in table and not finished and (name in _LATER or name.startswith("probability_")):
        return []
    known = [str(column) for column in table.columns]
    if name not in known:
        hint = did_you_mean(name, known) + target_hint(known)
        return [f"{parameter}: there is no column {name!r}.{hint} There are: {', '.join(known)}."]
    if parameter == "relate" and not is_number(table[name]):
        return [f"{parameter}: the column {name!r} holds no numbers (such as {table[name].iloc[0]!r})."]
    return []
