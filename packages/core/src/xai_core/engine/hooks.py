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


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _key(point: EntryPoint) -> tuple[str, str]:
    """Two packages may give their plugins the same name."""
    return point.name, _package(point)


class Hooks:
    """The hook plugins of a process, called in the order of their entry points' names (pluggy's tryfirst and trylast
    come before and after the others).

    Args:
        find: Returns the entry points of a group.

    Raises:
        PluginError: A plugin cannot be imported, implements no hook or one that does not exist, or takes unknown
            arguments.
    """

    def __init__(self, find: Callable[[str], Iterable[EntryPoint]] = lambda group: entry_points(group=group)) -> None:
        self.manager = pluggy.PluginManager(PROJECT)
        self._names: dict[str, str] = {}
        for spec in SPECS:
            self.manager.add_hookspecs(spec)
        # One by one: load_setuptools_entrypoints stops at the first failure without saying whose it was.
        # Backwards, as pluggy calls the plugin first that was registered last.
        points = {_key(point): point for point in find(HOOK_GROUP)}
        for key in sorted(points, reverse=True):
            self._load(points[key], " ".join(key))

    def _load(self, point: EntryPoint, name: str) -> None:
        where = f"{point.name!r} of {_package(point)} ({point.value})"
        try:
            plugin = point.load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"The hook plugin {where} cannot be imported: {type(error).__name__}: {error}. "
                "Repair or uninstall the package."
            ) from error
        self.register(plugin, name, where)

    def register(self, plugin: object, name: str, where: str = "") -> None:
        """Add a plugin: a module or object with functions marked ``hookimpl``.

        Raises:
            PluginError: It implements no hook, or one that does not exist or takes unknown arguments.
        """
        where = where or repr(name)
        try:
            self.manager.register(plugin, name)
            self.manager.check_pending()
            self._check(plugin)
        except (pluggy.PluginValidationError, ValueError) as error:
            # pluggy keeps a plugin active whose later hooks failed to register.
            if self.manager.get_plugin(name) is plugin:
                self.manager.unregister(plugin)
            raise PluginError(f"The hook plugin {where} is not valid: {_first_line(error)}.") from error
        self._names[name] = where

    def _check(self, plugin: object) -> None:
        """Refuse what pluggy accepts and ``call`` cannot honour."""
        if isinstance(plugin, type):
            raise ValueError(f"{plugin.__name__} is a class; announce a module or an object")
        callers = self.manager.get_hookcallers(plugin) or []
        if not callers:
            raise ValueError("it implements no hook; mark its functions with xai_core.hookimpl")
        for caller in callers:
            if any(i.wrapper or i.hookwrapper for i in caller.get_hookimpls() if i.plugin is plugin):
                raise ValueError(f"its {caller.name} is a wrapper, which is not supported")

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
            except (Exception, SystemExit) as error:
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
