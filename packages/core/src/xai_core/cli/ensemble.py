"""``xai ensemble``: finished runs vote together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from ..errors import InputError
from ._common import echo_json, log_to_stderr, metric_lines, short, verbose_option

__all__ = ["command"]


@click.command("ensemble")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The ensemble's folder.")
@click.option("--combine", default="mean", show_default=True, type=click.Choice(["mean", "median"]),
              help="Of probabilities (values) and of relevance maps.")  # fmt: skip
@click.option("--weights", help="One number for each run, with commas, such as 2,1,1. Choose them before looking at "
              "test scores.")  # fmt: skip
@click.option("--normalise", default="none", show_default=True, type=click.Choice(["none", "sum", "max"]),
              help="Divide each run's map by its sum (of absolute values) or its maximum first.")  # fmt: skip
@click.option("--no-report", is_flag=True, help="Without the analyses and reports of the first run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(
    runs: tuple[Path, ...],
    output: Path,
    combine: str,
    weights: str | None,
    normalise: str,
    no_report: bool,
    as_json: bool,
) -> None:
    """Join RUNS, two or more folders of finished runs, into an ensemble.

    They may have other seeds, other images (modalities) or other models, but must test the same people in the same
    folds: runs whose networks have seen somebody whom another one tests are refused.
    """
    from ..engine.ensemble import Combine, join_runs

    log_to_stderr()
    how: Any = combine
    scale: Any = normalise
    results = join_runs(runs, output, Combine(how, _numbers(weights), scale), reports=not no_report)
    metrics = results.metrics()
    held_out = results.held_out_metrics()["ensemble"] if results.has_held_out() else None
    if as_json:
        answer = {"folder": str(results.folder), "maps": len(results.maps()), "test": metrics["test"]}
        echo_json(answer if held_out is None else answer | {"held_out": held_out})
        return
    click.echo(f"Ensemble of {len(runs)} runs, test people:")
    for line in metric_lines(cast("dict[str, Any]", metrics["test"])):
        click.echo(line)
    if held_out is not None:
        click.echo("Held-out cohort, all folds of all runs:")
        for line in metric_lines(held_out):
            click.echo(line)
    click.echo(f"{len(results.maps())} maps. Folder: {short(results.folder)}")


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--weights {text!r} are no numbers with commas between them, such as 2,1,1.") from None
