"""``xai doctor``: whether the installation is sound."""

from __future__ import annotations

import click

from ._common import echo_json, verbose_option

__all__ = ["command"]


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(as_json: bool) -> None:
    """Check Python, torch, the device, disk space and every installed plugin."""
    from ..engine.health import health_checks

    checks = health_checks()
    if as_json:
        echo_json([{"check": c.name, "ok": c.ok, "found": c.found} for c in checks])
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.found}")
    broken = [check for check in checks if not check.ok]
    if broken:
        raise click.exceptions.Exit(3 if any(check.plugin for check in broken) else 1)
