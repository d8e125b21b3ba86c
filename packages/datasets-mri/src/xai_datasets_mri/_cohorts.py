"""Joins the tables of several cohorts to one study."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torchio as tio

from xai_core.errors import InputError

from ._cohort_checks import check_covariates, check_occurring
from ._gather import Part, gather
from ._images import Scan
from ._participants import Value, covariates_of, reserved_keys, subject_of, targets_of
from ._source import Cohort, Target

__all__ = ["read_cohorts"]

_log = logging.getLogger("xai")
Row = dict[str, str | None]


def read_cohorts(
    cohorts: Sequence[Cohort], target: Target, covariates: Sequence[str] | None
) -> tuple[list[tio.Subject], list[Row]]:
    """Return the scans of all cohorts, and who is left out of each. Images are not opened.

    Args:
        cohorts: Their tables and images.
        target: What is to be predicted, by its common name.
        covariates: Columns to keep; None: all of them.

    Raises:
        InputError: What is wrong with the tables, or between them.
    """
    parts = _gathered(cohorts, target)
    check_occurring({name: part.occurring for name, part in parts.items()}, target)
    reserved = frozenset[str]().union(*(reserved_keys(cohort.source) for cohort in cohorts)) | {"cohort"}
    found = {cohort.name: covariates_of(parts[cohort.name], reserved) for cohort in cohorts}
    values = check_covariates(found, {name: part.study for name, part in parts.items()}, covariates)
    names = list(dict.fromkeys(name for columns in values.values() for name in columns))
    targets = {name: targets_of(part, target) for name, part in parts.items()}
    _check_kinds(targets, target)
    scans = _identified(cohorts, parts)
    subjects: list[tio.Subject] = []
    for cohort in cohorts:
        part = parts[cohort.name]
        sites = [None] * len(part.scans) if part.site is None else part.study.columns[part.site]
        for row, scan in enumerate(scans[cohort.name]):
            columns = values[cohort.name]
            own: dict[str, Value] = {"cohort": cohort.name}
            own |= {name: columns[name][row] if name in columns else None for name in names}
            site = sites[row]
            place = None if site is None else f"{cohort.study}-{site}"
            subjects.append(subject_of(scan, cohort.source, targets[cohort.name][row], place, own))
    return subjects, [{"cohort": c.name, **row} for c in cohorts for row in parts[c.name].left_out.rows]


def _gathered(cohorts: Sequence[Cohort], target: Target) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    problems: list[str] = []
    for cohort in cohorts:
        try:
            parts[cohort.name] = gather(cohort.source, target)
        except InputError as error:
            problems.append(f"cohort {cohort.name}: {error}")
    if problems:
        raise InputError("\n".join(problems))
    for cohort in cohorts:
        _log.info("cohort %s: %d scans of %s", cohort.name, len(parts[cohort.name].scans), cohort.source.table_path)
    return parts


def _check_kinds(targets: Mapping[str, Sequence[object]], target: Target) -> None:
    """Refuse a target that is a class in one cohort and a number in another."""
    kinds = {name: "numbers" if isinstance(values[0], float) else "texts" for name, values in targets.items() if values}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{kind} in {name}" for name, kind in kinds.items())
        raise InputError(
            f"The target {target.column!r} is not one kind of value: {listed}. Give the cohorts one coding with "
            "'columns' (recode), or list the 'classes'."
        )


def _identified(cohorts: Sequence[Cohort], parts: Mapping[str, Part]) -> dict[str, list[Scan]]:
    """Return the scans with ids that name a person in all cohorts, and sessions that do not meet.

    Raises:
        InputError: A person has no id, or two scans of one session.
    """
    shared = {study for study, count in Counter(cohort.study for cohort in cohorts).items() if count > 1}
    scans: dict[str, list[Scan]] = {}
    for cohort in cohorts:
        part = parts[cohort.name]
        people = _people(cohort, part)
        scans[cohort.name] = [
            replace(
                scan,
                subject=f"{cohort.study}-{person}",
                session=f"{cohort.name}{scan.session or ''}" if cohort.study in shared else scan.session,
            )
            for scan, person in zip(part.scans, people, strict=True)
        ]
        _check_unique(cohort, part, scans[cohort.name])
    _check_spelling(cohorts, scans)
    _tell_of_same_ids(cohorts, scans)
    return scans


def _people(cohort: Cohort, part: Part) -> list[str]:
    if cohort.source.person is None:
        return [scan.subject for scan in part.scans]
    cells = part.study.columns[cohort.source.person]
    rows = [row for row, cell in zip(part.study.rows, cells, strict=True) if cell is None]
    if rows:
        raise InputError(
            f"{part.study.path}: {len(rows)} rows, such as row {rows[0]}, have no value in the column "
            f"{cohort.source.person!r} (cohorts.{cohort.name}.person), which says who they are in other cohorts."
        )
    return [cell for cell in cells if cell is not None]


def _check_unique(cohort: Cohort, part: Part, scans: Sequence[Scan]) -> None:
    seen: dict[tuple[str, str | None], int] = {}
    for row, scan in zip(part.study.rows, scans, strict=True):
        first = seen.setdefault((scan.subject, scan.session), row)
        if first != row:
            raise InputError(
                f"{part.study.path}: rows {first} and {row} are the same person by the column "
                f"{cohort.source.person!r} (cohorts.{cohort.name}.person), with one session. Name the column of the "
                "visits with 'session', or keep one row."
            )


def _check_spelling(cohorts: Sequence[Cohort], scans: Mapping[str, Sequence[Scan]]) -> None:
    """Refuse one id in two spellings (11 and 0011) within a study: the person could be trained on and tested."""
    first: dict[str, tuple[str, str]] = {}
    for cohort in cohorts:
        for scan in scans[cohort.name]:
            person = scan.subject.removeprefix(f"{cohort.study}-")
            plain = re.sub(r"[^a-z0-9]", "", person.casefold()).lstrip("0")
            other, where = first.setdefault(f"{cohort.study}-{plain}", (person, cohort.name))
            if other != person:
                raise InputError(
                    f"The ids {other!r} (cohort {where}) and {person!r} (cohort {cohort.name}) of the study "
                    f"{cohort.study} differ in their spelling only. If they are one person, spell them alike (columns, "
                    "recode); if not, give the cohorts no common 'study'."
                )


def _tell_of_same_ids(cohorts: Sequence[Cohort], scans: Mapping[str, Sequence[Scan]]) -> None:
    """Tell of people in several cohorts: of one study, who are one person, and of several, who are not."""
    studies: dict[str, set[str]] = {}
    where: dict[str, set[str]] = {}
    for cohort in cohorts:
        for scan in scans[cohort.name]:
            studies.setdefault(scan.subject.removeprefix(f"{cohort.study}-"), set()).add(cohort.study)
            where.setdefault(scan.subject, set()).add(cohort.name)
    both = sorted(person for person, names in where.items() if len(names) > 1)
    if both:
        _log.info("%d people are in several cohorts of one study, such as %s: one person each.", len(both), both[0])
    same = sorted(person for person, names in studies.items() if len(names) > 1)
    if same:
        _log.warning(
            "%d ids, such as %s, are in several studies (%s) and are taken for different people. If they are the same "
            "ones, give these cohorts one 'study', and a 'person' column if need be: else somebody may be trained on "
            "and tested.",
            len(same), same[0], ", ".join(sorted(studies[same[0]])),
        )  # fmt: skip
