"""``xai run``: a study from its configuration to its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._common import echo_json, log_to_stderr, metric_lines, pipeline_options, short

__all__ = ["command", "execute", "skip_bad_option"]


skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Go on without scans that cannot be used; left-out.tsv records them."
)


@click.command("run")
@pipeline_options
@skip_bad_option
@click.option("--json", "as_json", is_flag=True, help="Print metrics and paths as JSON.")
def command(pipeline: Path, sets: tuple[str, ...], skip_bad: bool, as_json: bool, **options: Any) -> None:
    """Train, evaluate, explain and report the study of PIPELINE.

    On the same run folder it does only what is missing, so an interrupted run goes on where it was.
    """
    execute(pipeline, sets, options, "report", as_json, skip_bad=skip_bad)


def _repeats(metrics: dict[str, Any]) -> str:
    several = metrics.get("repeats", [])
    return f", mean of {len(several)} repeats" if several else ""


def execute(
    pipeline: Path,
    sets: tuple[str, ...],
    options: dict[str, Any],
    until: Any,
    as_json: bool,
    *,
    skip_bad: bool = False,
) -> None:
    """Run a pipeline up to a stage and print what came out."""
    from .. import Pipeline

    log_to_stderr()
    study = Pipeline.from_file(pipeline, sets, **options)
    results = study.run(until, skip_bad=skip_bad)
    metrics = results.metrics()
    pages = study.report_pages() if until == "report" else []
    held_out = results.held_out_metrics() if results.has_held_out() else None
    skipped = len(results.info.get("skipped", {}))
    if as_json:
        answer = {
            "folder": str(results.folder),
            "skipped": skipped,
            "metrics": metrics["test"],
            "reports": [str(p) for p in pages],
        }
        echo_json(answer if held_out is None else answer | {"held_out": held_out["ensemble"]})
        return
    folds = len(metrics["folds"])
    click.echo(
        f"Test metrics ({results.predictions()['scan_id'].nunique()} scans, {folds} fold{'s' if folds > 1 else ''}"
        f"{_repeats(metrics)}; 95 % intervals):"
    )
    for line in metric_lines(metrics["test"]):
        click.echo(line)
    if held_out is not None:
        click.echo("Held-out cohort (mean prediction of the folds' networks; 95 % intervals):")
        for line in metric_lines(held_out["ensemble"]):
            click.echo(line)
    if skipped:
        click.echo(f"Left out: {skipped} scan{'s' if skipped > 1 else ''} that cannot be used (left-out.tsv)")
    click.echo(f"Results: {short(results.folder)}")
    for page in pages:
        click.echo(f"Report:  {short(page)}")
