"""``xai report``: the report of a run once more."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import log_to_stderr, short, verbose_option

__all__ = ["command"]


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@verbose_option
def command(run: Path) -> None:
    """Write the report of RUN, a run folder, again, doing what is missing before it."""
    from .. import Pipeline

    log_to_stderr()
    pipeline = Pipeline.from_folder(run)
    pipeline.forget_reports()
    pipeline.run()
    for page in pipeline.report_pages():
        click.echo(short(page))
