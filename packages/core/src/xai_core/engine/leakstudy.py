"""What is looked at for leaks: a study before it runs, or what a run has recorded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from ..errors import InputError
from ..types import Fold
from .leakage import PARTS, Evidence, Finding, Scan, findings_of
from .leakfitted import changed_states, fitted_elsewhere, fitted_on_others, pretrained_on_test

if TYPE_CHECKING:
    import pandas as pd

    from .results import RunResults
    from .study import Study

__all__ = ["evidence_of", "evidence_of_run", "folds_of_run", "run_findings", "scans_of_run", "study_findings"]


def study_findings(study: Study) -> tuple[list[Finding], InputError | None]:
    """Return what is found in a study, and why the splitter refuses it, if it does.

    Raises:
        InputError: Scans cannot be used.
    """
    evidence, problem = evidence_of(study), None
    try:
        _ = study.divided
    except InputError as error:
        problem = error
    others = [*fitted_elsewhere(study.config, evidence), *pretrained_on_test(study.config, evidence)]
    return [*findings_of(evidence), *others, *changed_states(study.folder)], problem


def evidence_of(study: Study) -> Evidence:
    """Return the scans of a study and its folds; none where the splitter refuses it.

    Raises:
        InputError: Scans cannot be used.
    """
    folds: Sequence[Fold] = ()
    with suppress(InputError):
        folds = study.divided
    table, hashes = study.table, study.hashes
    rows = zip(study.names, table["subject_id"], table["target"], table["image"], study.looks, strict=True)
    scans = [
        Scan(name, str(person), str(target), None if file is None else str(file), hashes[name], look.voxels)
        for name, person, target, file, look in rows
    ]
    return Evidence(scans, folds)


def run_findings(results: RunResults) -> list[Finding]:
    """Return what is found in what a run recorded of itself: its scans may be elsewhere by now.

    Raises:
        InputError: The run has not got as far as its folds.
    """
    evidence = evidence_of_run(results)
    others = [*fitted_elsewhere(results.config, evidence), *pretrained_on_test(results.config, evidence)]
    fitted = [*fitted_on_others(results.folder, evidence.folds), *changed_states(results.folder)]
    return sorted([*findings_of(evidence), *others, *fitted], key=lambda finding: not finding.leak)


def evidence_of_run(results: RunResults) -> Evidence:
    """Return scans and folds as a run has recorded them."""
    return Evidence(scans_of_run(results), folds_of_run(results.splits()))


def scans_of_run(results: RunResults) -> list[Scan]:
    """Return the scans of a run with the hashes that it noted."""
    info = results.info
    hashes, voxels = info.get("hashes", {}), info.get("voxel_hashes", {})
    scans = []
    for row in cast("list[dict[str, Any]]", results.subjects().to_dict("records")):
        name, file = str(row["scan_id"]), row.get("image")
        known = hashes.get(name, ""), tuple(voxels.get(name, ()))
        path = file if isinstance(file, str) else None
        scans.append(Scan(name, str(row["subject_id"]), str(row["target"]), path, *known))
    return scans


def folds_of_run(splits: pd.DataFrame) -> list[Fold]:
    """Return the folds as ``splits.tsv`` has them; also those that no splitter would be let through with."""
    found = []
    for _, rows in splits.groupby("fold", sort=True):
        parts = {part: tuple(rows.loc[rows["part"] == part, "subject_id"]) for part in PARTS}
        repeat = int(rows["repeat"].iloc[0]) if "repeat" in rows else 0
        found.append(Fold(**parts, repeat=repeat))
    return found
