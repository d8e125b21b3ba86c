"""``xai check-leakage``: what training or selection shares with the test, in a run or in a pipeline before it runs."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from ._common import echo_json, verbose_option

if TYPE_CHECKING:
    from ..engine.leakage import Evidence, Finding

__all__ = ["command"]


@click.command("check-leakage")
@click.argument("run_or_pipeline", type=click.Path(path_type=Path))
@click.option("--near-duplicates", is_flag=True, help="Also compare all images at low resolution (reads each of them).")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change anything in a pipeline file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(run_or_pipeline: Path, near_duplicates: bool, sets: tuple[str, ...], as_json: bool) -> None:
    """Look for leaks in a run folder, or in the study of a pipeline file without running it.

    People in two parts, also under ids that look alike; one image under two names; preprocessing or weights that have
    seen the test part; selection on it. Exit code 2 where there is one; warnings alone give 0. Every run does the same
    before it trains.
    """
    from ..engine.leakage import Finding, LeakageError, leaks_text

    problem = None
    if run_or_pipeline.is_dir():
        if sets:
            raise InputError("--set belongs to a pipeline file; a run folder has been carried out as it is.")
        evidence, findings = _of_run(run_or_pipeline)
    else:
        evidence, findings, problem = _of_pipeline(run_or_pipeline, sets)
    if near_duplicates:
        from ..engine.leaknear import near_duplicates as near

        findings = [*findings, *near(evidence)]
    leaks = [finding for finding in findings if finding.leak]
    if problem is not None and not as_json and not leaks:
        raise problem
    if problem is not None:
        leaks.insert(0, Finding("split-refused", str(problem), True))
    warnings = [finding for finding in findings if not finding.leak]
    checked = {
        "people": len({scan.person for scan in evidence.scans}),
        "scans": len(evidence.scans),
        "folds": len(evidence.folds),
        "file_hashes": sum(bool(scan.digest) for scan in evidence.scans),
        "voxel_hashes": sum(bool(scan.voxels) for scan in evidence.scans),
    }
    if as_json:
        about: dict[str, Any] = {"clean": not leaks, "leaks": [f.as_json() for f in leaks]}
        echo_json({**about, "warnings": [f.as_json() for f in warnings], "checked": checked})
        raise click.exceptions.Exit(InputError.exit_code if leaks else 0)
    if warnings:
        click.echo(leaks_text(warnings, "Warnings"))
    if leaks:
        raise LeakageError(leaks)
    click.echo(
        f"No leak found: {checked['people']} people, {checked['scans']} scans ({checked['voxel_hashes']} compared by "
        f"their voxels), {checked['folds']} fold{'s' if checked['folds'] != 1 else ''}."
    )


def _of_run(folder: Path) -> tuple[Evidence, list[Finding]]:
    from ..engine.leakstudy import evidence_of_run, run_findings
    from ..engine.results import RunResults

    results = RunResults(folder)
    return evidence_of_run(results), run_findings(results)


def _of_pipeline(path: Path, sets: tuple[str, ...]) -> tuple[Evidence, list[Finding], InputError | None]:
    """Look at a study as its run would, with what its run folder, if there is one, remembers of the scans."""
    from .. import Pipeline
    from ..engine.leakstudy import evidence_of, study_findings
    from ..engine.study import Study

    pipeline = Pipeline.from_file(path, sets)
    pipeline.validate_components()
    with tempfile.TemporaryDirectory() as name:
        private = Path(name, ".xai")
        private.mkdir()
        for file in ("scans.json", "skipped.json"):
            with suppress(OSError):
                shutil.copy(pipeline.folder / ".xai" / file, private)
        study = Study(pipeline.config, Path(name))
        findings, problem = study_findings(study)
        return evidence_of(study), findings, problem
