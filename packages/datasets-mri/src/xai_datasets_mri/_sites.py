"""Leaves one site out at a time."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from xai_core import Fold
from xai_core.errors import InputError

from ._held_out import column_texts
from ._splitters import validated, validating
from ._strata import people_of, strata_of

__all__ = ["site_folds"]

_log = logging.getLogger("xai")
_SHOWN = 8


def site_folds(table: pd.DataFrame, seed: int, *, column: str, smallest: int, validation: float) -> list[Fold]:
    """Return one fold for each site, in sorted order; see :class:`xai_datasets_mri.cross_validation.LeaveOneSiteOut`.

    Raises:
        InputError: The column is not there, people have no site or several, there is one site only, or a class
            occurs at one site only.
    """
    people = people_of(table)
    tests = _joined(_sites(table, column), smallest, column)
    if len(tests) < 2:
        raise InputError(
            f"leave-one-site-out needs two sites, but the column {column!r} leaves {', '.join(tests) or 'none'} "
            f"(smallest: {smallest}). Use stratified-kfold."
        )
    strata = strata_of(table, max(5, validating(len(tests), validation)))
    classes = None if pd.api.types.is_numeric_dtype(people) else people
    if classes is not None:
        _check_classes(classes, tests, 1 + (validation > 0))
    found = []
    for number, (name, test) in enumerate(tests.items()):
        if classes is not None and classes[test].nunique() < classes.nunique():
            _log.warning(
                "fold %d tests %s, where there is only %s.", number, name, ", ".join(sorted(set(classes[test])))
            )
        _log.info("fold %d tests the %d people of %s", number, len(test), name)
        found.append(validated(strata, test, validation, np.random.default_rng([seed, number])))
    return found


def _sites(table: pd.DataFrame, column: str) -> dict[str, list[str]]:
    """Return the people of each site, sorted."""
    texts = column_texts(table, column, "column")
    ids = table["subject_id"].astype(str)
    missing = sorted(set(ids[texts.isna()]))
    seen = texts.groupby(ids).agg(lambda cells: sorted(set(cells.dropna())))
    moved = {str(person): sites for person, sites in seen.items() if len(sites) > 1}
    problems = []
    if missing:
        problems.append(f"{len(missing)} people have no {column}: {_listed(missing)}. Fill it in, or leave them out.")
    if moved:
        shown = [f"{person} ({', '.join(sites)})" for person, sites in moved.items()]
        problems.append(
            f"{len(moved)} people were seen at several sites; leaving one out would leave them in: {_listed(shown)}. "
            "Keep the scans of one site of each."
        )
    if problems:
        raise InputError("leave-one-site-out: " + "\n  ".join(problems))
    site_of = texts.groupby(ids).first()
    return {str(site): sorted(members.index) for site, members in site_of.groupby(site_of)}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _joined(sites: dict[str, list[str]], smallest: int, column: str) -> dict[str, list[str]]:
    """Return the test parts: the sites, those with few people as one."""
    small = {name: members for name, members in sites.items() if len(members) < smallest}
    if not small:
        return sites
    _log.info(
        "leave-one-site-out: %d values of %s have fewer than %d people and are left out together: %s",
        len(small), column, smallest, _listed(sorted(small)),
    )  # fmt: skip
    together = sorted(person for members in small.values() for person in members)
    rest = {name: members for name, members in sites.items() if name not in small}
    return rest | {" + ".join(sorted(small)): together}


def _check_classes(classes: pd.Series, tests: dict[str, list[str]], least: int) -> None:
    """Each training part needs people of every class, besides those to validate with."""
    short = []
    for name, test in tests.items():
        left = classes.drop(test).value_counts().reindex(sorted(set(classes)), fill_value=0)
        short += [f"{kind}: {count} without {name}" for kind, count in left.items() if count < least]
    if short:
        raise InputError(
            f"leave-one-site-out leaves fewer than {least} people of a class to train on: {_listed(short)}. "
            "Leave the class out, join sites, or use stratified-kfold."
        )
