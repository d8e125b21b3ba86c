"""``xai run``: a study from its configuration to its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._common import echo_json, log_to_stderr, metric_lines, pipeline_options, short

__all__ = ["command", "execute"]


@click.command("run")
@pipeline_options
@click.option("--json", "as_json", is_flag=True, help="Print metrics and paths as JSON.")
def command(pipeline: Path, sets: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Train, evaluate, explain and report the study of PIPELINE.

    On the same run folder it does only what is missing, so an interrupted run goes on where it was.
    """
    execute(pipeline, sets, options, "report", as_json)


def execute(pipeline: Path, sets: tuple[str, ...], options: dict[str, Any], until: Any, as_json: bool) -> None:
    """Run a pipeline up to a stage and print what came out."""
    from .. import Pipeline

    log_to_stderr()
    study = Pipeline.from_file(pipeline, sets, **options)
    results = study.run(until)
    metrics = results.metrics()
    pages = study.report_pages() if until == "report" else []
    held_out = results.held_out_metrics() if results.has_held_out() else None
    if as_json:
        answer = {"folder": str(results.folder), "metrics": metrics["test"], "reports": [str(p) for p in pages]}
        echo_json(answer if held_out is None else answer | {"held_out": held_out["ensemble"]})
        return
    folds = len(metrics["folds"])
    click.echo(
        f"Test metrics ({len(results.predictions())} scans, {folds} fold{'s' if folds > 1 else ''}; 95 % intervals):"
    )
    for line in metric_lines(metrics["test"]):
        click.echo(line)
    if held_out is not None:
        click.echo("Held-out cohort (mean prediction of the folds' networks; 95 % intervals):")
        for line in metric_lines(held_out["ensemble"]):
            click.echo(line)
    click.echo(f"Results: {short(results.folder)}")
    for page in pages:
        click.echo(f"Report:  {short(page)}")
