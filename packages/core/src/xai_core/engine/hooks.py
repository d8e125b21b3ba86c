"""Loads the hook plugins and calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from ..errors import PluginError, XaiError
from ..hookspecs import GUARDED, PROJECT, SPECS

__all__ = ["HOOK_GROUP", "Hooks"]

HOOK_GROUP = "xai.hooks"
_log = logging.getLogger("xai")


def _describe(point: EntryPoint) -> str:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
    return f"{point.name!r} of {package} ({point.value})"


class Hooks:
    """The hook plugins of a process.

    Args:
        find: Returns the entry points of a group.

    Raises:
        PluginError: A plugin cannot be imported, or implements a hook that does not exist or takes unknown arguments.
    """

    def __init__(self, find: Callable[[str], Iterable[EntryPoint]] = lambda group: entry_points(group=group)) -> None:
        self.manager = pluggy.PluginManager(PROJECT)
        self._names: dict[str, str] = {}
        for spec in SPECS:
            self.manager.add_hookspecs(spec)
        # One by one: load_setuptools_entrypoints stops at the first failure without saying whose it was.
        for point in sorted(find(HOOK_GROUP), key=lambda point: point.name):
            self._load(point)

    def _load(self, point: EntryPoint) -> None:
        where = _describe(point)
        try:
            plugin = point.load()
        except Exception as error:
            raise PluginError(
                f"The hook plugin {where} cannot be imported: {type(error).__name__}: {error}. "
                "Repair or uninstall the package."
            ) from error
        self.register(plugin, point.name, where)

    def register(self, plugin: object, name: str, where: str = "") -> None:
        """Add a plugin: a module or object with functions marked ``hookimpl``."""
        where = where or repr(name)
        try:
            self.manager.register(plugin, name)
            self.manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            # pluggy keeps a plugin active whose later hooks failed to register.
            if self.manager.get_plugin(name) is plugin:
                self.manager.unregister(plugin)
            raise PluginError(f"The hook plugin {where} is not valid: {_first_line(error)}.") from error
        self._names[name] = where

    def call(self, hook: str, **arguments: Any) -> list[Any]:
        """Call a hook in every plugin and return the answers that are not None.

        Raises:
            PluginError: An implementation raised; the message names plugin and hook. Expected errors
                (``XaiError``) and interrupts pass as they are. Guarded hooks are logged and raise nothing.
        """
        results = []
        for implementation in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            chosen = {name: arguments[name] for name in implementation.argnames}
            try:
                result = implementation.function(**chosen)
            except Exception as error:
                where = self._names.get(implementation.plugin_name, implementation.plugin_name)
                message = f"The hook {hook} of the plugin {where} failed: {type(error).__name__}: {error}."
                if hook in GUARDED:
                    _log.warning(message)
                    continue
                if isinstance(error, XaiError):
                    raise
                raise PluginError(message) from error
            if result is not None:
                results.append(result)
        return results


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
