"""``xai cite``: the methods of a run as a paragraph, and what to cite."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command("cite")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format", "kind", type=click.Choice(["text", "bibtex", "json"]), default="text", show_default=True,
    help="text: paragraph and references; bibtex: the references; json: both, references as CSL-JSON.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(run: Path, kind: str) -> None:
    """Print the methods paragraph of RUN, a run folder, and what to cite, ready to paste.

    Components with the parameters that differ from their defaults, versions of the software, test scores, and the
    publications behind components, libraries and atlases. Read it before you submit it: what a study is about, only
    you know.
    """
    from xai_core.engine.results import RunResults

    from ._citation import citation_of
    from ._reading import Notes

    notes = Notes()
    citation = citation_of(RunResults(run), notes)
    for line in notes.lines:
        click.echo(line, err=True)
    if kind == "bibtex":
        click.echo(citation.bibtex, nl=False)
    elif kind == "json":
        click.echo(json.dumps(citation.as_json(), indent=2, ensure_ascii=False))
    else:
        click.echo(citation.text, nl=False)
