"""``xai compare``: is one run better than another?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ._common import echo_json, verbose_option

__all__ = ["command"]


@click.command("compare")
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option("--metric", "metrics", multiple=True, help="A score to compare (may be repeated). Default: all.")
@click.option("--shared", is_flag=True, help="Compare the scans that both tested, though others were tested by one.")
@click.option("--resamples", default=2000, show_default=True, type=click.IntRange(100), help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(run_a: Path, run_b: Path, metrics: tuple[str, ...], shared: bool, resamples: int, as_json: bool) -> None:
    """Compare the test predictions of RUN_A and RUN_B, two run folders, person by person.

    Differences are B less A, with bootstrap intervals over people; DeLong's test for the AUC, McNemar's for the
    accuracy, and, where both runs have the same folds, a t-test that allows for the overlap of their training parts.
    """
    from ..engine.comparing import compare
    from ..engine.results import RunResults

    found = compare(RunResults(run_a), RunResults(run_b), metrics, shared=shared, resamples=resamples)
    if as_json:
        echo_json(found)
        return
    click.echo(f"A: {found['A']}\nB: {found['B']}")
    divided = "the same divisions" if found["same_splits"] else "other divisions"
    click.echo(f"{found['scans']} scans of {found['people']} people, {divided}.")
    for note in found["notes"]:
        click.echo(f"Note: {note}")
    for line in _lines(found["metrics"]):
        click.echo(line)
    if len(found["metrics"]) > 1:
        click.echo("Among many scores one differs by chance: choose the score that counts (--metric) before looking.")
    click.echo("No evidence of a difference is no evidence that there is none.")


def _lines(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    width = max(len("score"), *map(len, metrics))
    lines = [f"  {'score':<{width}}  {'A':>8}  {'B':>8}  {'B - A':>8}  95 % interval"]
    for name, found in metrics.items():
        values = "  ".join(f"{_text(found[key], key == 'difference'):>8}" for key in ("A", "B", "difference"))
        interval = "" if found["low"] is None else f"[{found['low']:+.3f}, {found['high']:+.3f}]"
        lines.append(f"  {name:<{width}}  {values}  {interval}".rstrip())
    return [*lines, *(f"{name}: {found['verdict']}" for name, found in metrics.items())]


def _text(value: float | None, signed: bool) -> str:
    if value is None:
        return "n/a"
    return f"{value:+.3f}" if signed else f"{value:.3f}"
