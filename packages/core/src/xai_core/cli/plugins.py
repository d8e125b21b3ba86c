"""``xai plugins``: what is installed, and which explainer works on which network."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError, XaiError
from ._common import echo_json, log_to_stderr, verbose_option

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["command", "rows"]


@click.command("plugins")
@click.argument("kind", required=False)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--matrix", is_flag=True, help="Try every explainer on every MODEL, such as resnet3d:depth=10,width=8.")
@click.option("--explainer", "explainers", multiple=True, help="With --matrix: only this one (may be repeated).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", is_flag=True, help="With --matrix: print a page in Markdown.")
@verbose_option
def command(
    kind: str | None, models: tuple[str, ...], matrix: bool, explainers: tuple[str, ...], as_json: bool, markdown: bool
) -> None:
    """List the installed components, of one KIND (such as explainers) or of all.

    With --matrix: run every explainer on small volumes through networks with random weights, and say for each whether
    its map is right, and by which test, or why there is none. Takes minutes for a large network.
    """
    if matrix:
        _matrix(kind, models, explainers, as_json, markdown)
        return
    if models or explainers or markdown:
        raise InputError(
            "MODEL, --explainer and --markdown belong to --matrix: xai plugins explainers --matrix MODEL..."
        )
    _list(kind, as_json)


def _matrix(kind: str | None, models: Sequence[str], explainers: Sequence[str], as_json: bool, markdown: bool) -> None:
    from .. import registry
    from . import _matrix as table

    if kind not in ("explainer", "explainers", "xai.explainers"):
        raise InputError("--matrix is for explainers: xai plugins explainers --matrix MODEL...")
    if as_json and markdown:
        raise InputError("Give --json or --markdown, not both.")
    if not models:
        installed = ", ".join(info.name for info in registry.infos("model"))
        raise InputError(f"Which models? xai plugins explainers --matrix MODEL... Installed: {installed or 'none'}.")
    parsed = [table.parse_model(text) for text in dict.fromkeys(models)]
    names = table.explainer_names(explainers)
    from ..engine.matrix import matrix

    log_to_stderr()
    columns = matrix(parsed, names)
    if as_json:
        echo_json(table.as_json(columns))
    else:
        click.echo(table.as_markdown(columns, explainers) if markdown else table.as_text(columns), nl=not markdown)


def _list(kind: str | None, as_json: bool) -> None:
    found = rows(kind)
    if as_json:
        echo_json(found)
        return
    width = max((len(row["name"]) for row in found), default=0)
    group = None
    for row in found:
        if row["kind"] != group:
            group = row["kind"]
            click.echo(f"{group}:")
        about = f"! {row['problem']}" if row["problem"] else row["summary"]
        click.echo(f"  {row['name']:<{width}}  {about}  [{row['package']} {row['version']}]")
    if not found:
        click.echo("No components are installed. Install some: pip install xai-models-resnet3d xai-explainers-lrp ...")


def rows(kind: str | None) -> list[dict[str, Any]]:
    """Return one row for each component: kind, name, package, version, target, summary, problem."""
    from .. import registry

    found = []
    for info in registry.infos(kind):
        summary, problem = "", None
        try:
            component = registry.get(info.kind, info.qualified if info.conflict else info.name)
            summary = inspect.cleandoc(component.__doc__ or "").partition("\n")[0]
        except XaiError as error:
            problem = str(error)
        if info.conflict and problem is None:
            problem = f"another package claims this name too; write name: {info.qualified}"
        found.append({
            "kind": info.kind, "name": info.name, "package": info.package, "version": info.version,
            "target": info.target, "summary": summary, "problem": problem,
        })  # fmt: skip
    return found
