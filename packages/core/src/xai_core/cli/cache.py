"""``xai cache``: the preprocessed scans that are kept between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ._common import echo_json, verbose_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..engine.cachefolder import CacheFolder

__all__ = ["command"]

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("cache", invoke_without_command=True)
@_json
@verbose_option
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show where preprocessed scans are kept and what they take; 'clear' removes them, 'limit' bounds them.

    A run preprocesses each scan once and keeps it for its other folds and for later runs; what is missing is made
    again. XAI_CACHE names the folder ('off': keep nothing); the default is xai below XDG_CACHE_HOME or ~/.cache.
    """
    context.obj = {**(context.obj or {}), "json": as_json}
    if context.invoked_subcommand is None:
        _show(as_json)


@command.command("clear")
@_json
@verbose_option
@click.pass_obj
def clear(options: Mapping[str, bool], as_json: bool) -> None:
    """Remove every preprocessed scan that is kept."""
    from ..engine.cachefolder import size_text

    folder = _folder()
    count, size = folder.clear()
    if as_json or options["json"]:
        echo_json({"folder": str(folder.root), "removed": count, "bytes": size})
    else:
        click.echo(f"Removed {count} files ({size_text(size)}) from {folder.root}.")


@command.command("limit")
@click.argument("size")
@_json
@verbose_option
@click.pass_obj
def limit(options: Mapping[str, bool], size: str, as_json: bool) -> None:
    """Set how much may be kept: SIZE such as 50GB, or 'default'. The longest unused scans above it are removed."""
    from ..engine.cachefolder import parse_size

    folder = _folder()
    folder.set_limit(None if size.strip().lower() == "default" else parse_size(size))
    _show(as_json or options["json"])


def _folder() -> CacheFolder:
    from ..engine.cachefolder import cache_folder

    folder = cache_folder()
    if folder is None:
        raise InputError("XAI_CACHE is off: there is no cache. Unset it, or set it to a folder.")
    return folder


def _show(as_json: bool) -> None:
    from ..engine.cachefolder import cache_folder, size_text

    folder = cache_folder()
    if folder is None:
        found: dict[str, str | int | None] = {"folder": None, "entries": 0, "bytes": 0, "limit": 0}
        text = "XAI_CACHE is off: nothing is kept between runs."
    else:
        entries = folder.entries()
        size, bound = sum(entry.size for entry in entries), folder.limit
        found = {"folder": str(folder.root), "entries": len(entries), "bytes": size, "limit": bound}
        text = (
            f"{folder.root}\n{len(entries)} preprocessed scans, {size_text(size)} of {size_text(bound)}\n"
            "'xai cache clear' removes them, 'xai cache limit 50GB' sets what they may take."
        )
    if as_json:
        echo_json(found)
    else:
        click.echo(text)
