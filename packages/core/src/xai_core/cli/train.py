"""``xai train``: a study up to its metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._common import pipeline_options
from .run import execute, skip_bad_option

__all__ = ["command"]


@click.command("train")
@pipeline_options
@skip_bad_option
@click.option("--json", "as_json", is_flag=True, help="Print metrics and paths as JSON.")
def command(pipeline: Path, sets: tuple[str, ...], skip_bad: bool, as_json: bool, **options: Any) -> None:
    """Train and evaluate the study of PIPELINE; 'xai run' goes on from there."""
    execute(pipeline, sets, options, "train", as_json, skip_bad=skip_bad)
