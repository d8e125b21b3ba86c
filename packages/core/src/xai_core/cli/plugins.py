"""``xai plugins``: what is installed."""

from __future__ import annotations

import inspect
from typing import Any

import click

from ..errors import XaiError
from ._common import echo_json, verbose_option

__all__ = ["command", "rows"]


@click.command("plugins")
@click.argument("kind", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(kind: str | None, as_json: bool) -> None:
    """List the installed components, of one KIND (such as explainers) or of all."""
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
