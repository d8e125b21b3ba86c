"""``xai validate``: a pipeline file without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError, InputError, PluginError
from ._common import echo_json, pipeline_options

__all__ = ["command"]


@click.command("validate")
@pipeline_options
@click.option("--deep", is_flag=True, help="Also build every component (imports torch).")
@click.option("--resolved", is_flag=True, help="Print the configuration with every default filled in.")
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def command(pipeline: Path, sets: tuple[str, ...], deep: bool, resolved: bool, as_json: bool, **options: Any) -> None:
    """Check PIPELINE: its structure, then the parameters of every component; all problems at once."""
    from ..config.resolve import resolve
    from ..config.strictyaml import dump

    try:
        found = resolve(pipeline, sets, **options)
        if deep:
            from .. import Pipeline

            Pipeline(found.value).validate_components()
    except (InputError, PluginError) as error:
        if as_json:
            problems = error.problems if isinstance(error, ConfigError) else str(error).splitlines()
            echo_json({"valid": False, "problems": list(problems)})
            raise click.exceptions.Exit(error.exit_code) from None
        raise
    if as_json:
        echo_json({"valid": True, "problems": []})
    elif resolved:
        click.echo(dump(found.value), nl=False)
    else:
        click.echo(f"{pipeline} is valid.")
