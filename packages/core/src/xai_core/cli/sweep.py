"""``xai sweep``: a nested search for hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ._common import echo_json, log_to_stderr, metric_lines, short, verbose_option
from .run import skip_bad_option

__all__ = ["command"]


@click.command("sweep")
@click.argument("sweep", type=click.Path(path_type=Path))
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Trials at a time.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed in an earlier call.")
@skip_bad_option
@click.option("--json", "as_json", is_flag=True, help="Print the folder and metrics.json as JSON.")
@verbose_option
def command(sweep: Path, jobs: int, retry_failed: bool, skip_bad: bool, as_json: bool) -> None:
    """Choose hyper-parameters as the file SWEEP says, in each outer fold on its own, and test each choice once.

    Only scores of validation people choose. On the same folder it does only what is missing, so an interrupted sweep
    goes on where it was. The chosen networks are in the run folder 'best', for explain, report and the like.
    """
    from ..engine.sweep import Sweep

    log_to_stderr()
    search = Sweep.from_file(sweep)
    found = search.run(jobs=jobs, skip_bad=skip_bad, retry_failed=retry_failed)
    if as_json:
        echo_json({"folder": str(search.folder), **found})
        return
    for line in _lines(found):
        click.echo(line)
    best = short(search.folder / "best")
    click.echo(f"Folder: {short(search.folder)}; the chosen networks: {best}")
    click.echo(f"Explain and report them: xai run {best}/pipeline.resolved.yaml")


def _lines(found: Mapping[str, Any]) -> list[str]:
    metric, optimistic = found["metric"], found["optimistic"]
    lines = [f"Chosen by the validation {metric} of each outer fold:"]
    for row in found["chosen"]:
        values = ", ".join(f"{path}: {value}" for path, value in row["parameters"].items())
        test = "not defined" if row["test"] is None else f"{row['test']:.3f}"
        ties = f" ({row['ties']} of {row['tried']} the same)" if row["ties"] > 1 else ""
        lines.append(
            f"  fold {row['outer_fold']}  trial {row['trial']} ({values})  validation {row['validation']:.3f}{ties}, "
            f"test {test}"
        )
    lines += ["Nested estimate (test people, each predicted by what was chosen without them; 95 % intervals):"]
    lines += metric_lines(found["nested"])
    lines.append("Optimistic, not for a paper (validation scores of what they chose):")
    lines.append(f"  the folds' choices       {metric} {optimistic['chosen_validation']:.3f}")
    single = optimistic["best_single"]
    if single is not None:
        values = ", ".join(f"{path}: {value}" for path, value in single["parameters"].items())
        lines.append(
            f"  best single combination  {metric} {single['validation']:.3f} (trial {single['trial']}: {values})"
        )
    return lines
