"""``xai schema``: JSON Schema for editors and programs."""

from __future__ import annotations

import click

from ..errors import InputError
from ._common import echo_json, verbose_option

__all__ = ["command"]


@click.command("schema")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@verbose_option
def command(kind: str | None, name: str | None) -> None:
    """Print the schema of pipeline files, or of the parameters of the component KIND NAME.

    An editor that understands YAML completes and checks a file that starts with
    '# yaml-language-server: $schema=pipeline.schema.json'.
    """
    from .. import registry
    from ..config.structure import composed_schema

    if kind is None:
        echo_json(composed_schema())
        return
    if name is None:
        names = ", ".join(info.name for info in registry.infos(kind))
        raise InputError(f"Which {kind}? Installed: {names or 'none'}.")
    echo_json(registry.schema(kind, name))
