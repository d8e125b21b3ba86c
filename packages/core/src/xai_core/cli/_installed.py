"""Commands that installed packages bring, by entry points of the group ``xai.commands``.

    [project.entry-points."xai.commands"]
    my-command = "my_package.command:command"

The target is a ``click.Command`` in a module that imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

import click

from ..errors import PluginError

__all__ = ["ABSENT", "installed", "load", "summary"]

GROUP = "xai.commands"

# Commands of our own distributions, for the message about one that is not installed.
ABSENT: Mapping[str, str] = {
    "import-keras": "xai-models-keras",
    "compare-maps": "xai-analyses-atlas",
    "atlases": "xai-analyses-atlas",
    "segment": "xai-analyses-atlas",
    "qc": "xai-datasets-mri",
    "serve": "xai-reports-html",
    "cite": "xai-reports-html",
    "pdf": "xai-reports-html",
    "view": "xai-reports-html",
}


def installed() -> dict[str, list[EntryPoint]]:
    """Return the entry points of each name, sorted; one that two packages claim has several."""
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        # A distribution can be seen twice (an editable install beside its leftovers): one claim.
        found.setdefault(point.name, {}).setdefault((_package(point), point.value), point)
    return {name: [points[key] for key in sorted(points)] for name, points in sorted(found.items())}


def load(name: str, points: list[EntryPoint]) -> click.Command:
    """Return the command.

    Raises:
        PluginError: Two packages claim the name, it cannot be imported, or it is no ``click.Command``.
    """
    if len(points) > 1:
        both = " and ".join(_package(point) for point in points)
        raise PluginError(f"Several packages bring the command {name!r}: {both}. Uninstall all but one of them.")
    point = points[0]
    where = f"The command {name!r} of {_package(point)} ({point.value})"
    try:
        loaded = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{where} cannot be imported: {type(error).__name__}: {error}. Repair or uninstall the package."
        ) from error
    if not isinstance(loaded, click.Command):
        raise PluginError(f"{where} is not a click.Command but {type(loaded).__name__}.")
    return loaded


def summary(name: str, points: list[EntryPoint]) -> str:
    """Return one line for the list of commands; of a broken one, that it is broken."""
    try:
        return load(name, points).get_short_help_str(limit=90)
    except PluginError:
        return f"(broken; 'xai {name}' says why)"


def _package(point: EntryPoint) -> str:
    return "an unknown package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
