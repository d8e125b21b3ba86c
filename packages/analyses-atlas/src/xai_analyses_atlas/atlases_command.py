"""``xai atlases``: which atlases a study can name. Light: everything heavy loads when it runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command("atlases")
@click.argument("name", required=False)
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of your own atlases.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, folder: Path | None, as_json: bool) -> None:
    """Show the atlases that a study can name, or the regions of one.

    Those that are not installed say how to get them; nothing is downloaded. Images in the folders of the environment
    variable XAI_ATLASES (separated as in PATH) are found by their names. NAME: list the regions of this atlas.
    """
    from ._atlases.listing import as_text, listed, regions_of

    if name is None:
        found = listed(folder)
        click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else as_text(found))
        return
    about = regions_of(name, folder)
    if as_json:
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    click.echo(as_text([about["atlas"]]))
    click.echo("")
    for region in about["regions"]:
        click.echo(f"{region['index']:>6}  {region['hemisphere'] or '-'}  {region['name']}")
