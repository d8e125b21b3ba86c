"""What is done with scans that cannot be used: all are told together, or ``--skip-bad`` leaves them out, on record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, XaiError
from .covariates import check_transforms
from .foldchecks import warn_of_lacking_classes
from .leakage import refuse_leaks
from .looks import Look, grids_text
from .progress import log
from .scans import ScanChecks, several
from .units import write_text

if TYPE_CHECKING:
    from .study import Study

__all__ = ["check_usable", "settle_scans", "skipped_rows", "skipped_scans"]

_SHOWN = 20
REASON = "unusable image"


def skipped_scans(folder: Path) -> dict[str, str]:
    """Return the scans that ``--skip-bad`` left out of a run, by name with the reason; none where it was not given."""
    try:
        record = json.loads(_record(folder).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{_record(folder)} cannot be read ({error}): it says whom --skip-bad left out of this run. Remove it and "
            "give --skip-bad again."
        ) from error
    return {str(name): str(problem) for name, problem in record.items()}


def _record(folder: Path) -> Path:
    return folder / ".xai" / "skipped.json"


def check_usable(looks: Sequence[Look]) -> None:
    """Raise InputError where scans cannot be used, with all of them in one message."""
    problems = [problem for look in looks for problem in look.problems]
    if problems:
        raise InputError(several(problems, "scans cannot be used", _SHOWN))


def settle_scans(study: Study, *, skip_bad: bool) -> Study:
    """Look at every scan before anything long starts, and decide what becomes of those that cannot be used.

    The decision of ``skip_bad`` is kept in the run folder and holds for later runs there. A scan that goes bad after
    it is refused; giving ``skip_bad`` again decides anew, for everybody.

    Args:
        study: As the dataset lists it, without the scans that an earlier decision left out.
        skip_bad: Leave out what cannot be used.

    Returns:
        The study without them.

    Raises:
        InputError: Scans cannot be used and ``skip_bad`` is not given; or what is left is no study.
    """
    if skip_bad:
        study = _decided(study)
    elif study.skipped:
        log.info(
            "%d scans stay left out, as --skip-bad decided before (see left-out.tsv; give it again to decide anew)",
            len(study.skipped),
        )
    _refuse_bad(study)
    refuse_leaks(study)
    grids = grids_text(study.looks)
    if grids:
        log.info("%s. Preprocessing must bring them to one", grids)
    warn_of_lacking_classes(study)
    return study


def _decided(study: Study) -> Study:
    checks = ScanChecks(study.folder / ".xai" / "scans.json")
    looks = checks.look(study.listed, study.listed_names)
    bad = {look.name: " ".join(look.problems) for look in looks if look.problems}
    if bad:
        told = several(list(bad.values()), "problems", _SHOWN)
        log.warning("--skip-bad leaves out %d of %d scans. %s", len(bad), len(looks), told)
    if bad == study.skipped:
        return study
    if study.skipped:
        log.warning("other scans are left out than before (%d, not %d): what they decide is made anew",
                    len(bad), len(study.skipped))  # fmt: skip
    write_text(_record(study.folder), json.dumps(bad, indent=2, ensure_ascii=False) + "\n")
    return type(study)(study.config, study.folder)


def _refuse_bad(study: Study) -> None:
    try:
        check_usable(study.looks)
    except InputError as error:
        others = _other_problem(study)
        besides = f"\nBesides, without regard to them: {others}" if others else ""
        raise InputError(
            f"{error}{besides}\nRepair or replace them, or give --skip-bad to go on without them (they are recorded "
            "in left-out.tsv)."
        ) from error


def _other_problem(study: Study) -> str | None:
    """What is wrong with folds or covariates is told at the same time, not after the scans are repaired."""
    try:
        _ = study.folds
        check_transforms(study)
    except XaiError as error:
        return str(error)
    return None


def skipped_rows(study: Study) -> list[Mapping[str, Any]]:
    """Return rows for ``left-out.tsv``."""
    by_name = dict(zip(study.listed_names, study.listed, strict=True))
    return [
        {
            "subject_id": str(by_name[name]["subject_id"]),
            "session_id": by_name[name].get("session_id"),
            "reason": REASON,
            "detail": problem,
        }
        for name, problem in study.skipped.items()
        if name in by_name
    ]
