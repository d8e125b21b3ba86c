"""Finds components by name among the entry points of the installed packages.

The functions of this module work on one registry for the process: ``infos``, ``get``, ``create``, ``schema``,
``register``, ``problems`` and ``refresh``. Kinds are written in the singular (``"explainer"``).
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import ConfigError, InputError, PluginError, XaiError
from .interfaces import KINDS, Component, Kind
from .known import KNOWN_PLUGINS
from .schemas import did_you_mean, fill_defaults, problems_of, schema_error

__all__ = [
    "PluginInfo", "PluginInfos", "Problem", "Registry", "create", "get", "info", "infos", "problems", "refresh",
    "register", "schema",
]  # fmt: skip

_THIS_PROCESS = "(this process)"


@dataclass(frozen=True)
class PluginInfo:
    """What the metadata of an installed package says of one component; nothing is imported for it.

    Attributes:
        kind: Kind in the singular.
        name: Registry name.
        package: Distribution name, or ``"(this process)"`` for a registered class.
        version: Version of the distribution.
        target: ``module:Class``.
        conflict: Whether another package claims the same name.
    """

    kind: str
    name: str
    package: str
    version: str
    target: str
    conflict: bool = False

    @property
    def qualified(self) -> str:
        """The name that stays unambiguous: ``package:name``."""
        return f"{self.package}:{self.name}"


class PluginInfos(list[PluginInfo]):
    """What is installed; in a notebook a table."""

    def _repr_html_(self) -> str:
        from .engine.richdisplay import rows_html

        rows = [(i.kind, i.qualified if i.conflict else i.name, i.package, i.version) for i in self]
        return rows_html(["kind", "name", "package", "version"], rows, most=200)


@dataclass(frozen=True)
class Problem:
    """A conflict or a broken plugin, found without stopping anything else."""

    kind: str
    name: str
    packages: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class _Claim:
    info: PluginInfo
    load: Callable[[], object]


def _normalised(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _kind(name: str) -> Kind:
    for kind in KINDS.values():
        if name in (kind.name, kind.plural, kind.group):
            return kind
    raise InputError(
        f"There is no kind of component named {name!r}.{did_you_mean(name, KINDS)} Kinds: {', '.join(KINDS)}."
    )


class Registry:
    """Components by kind and name.

    Args:
        find: Returns the entry points of a group, as ``importlib.metadata.entry_points(group=...)`` does.
    """

    def __init__(self, find: Callable[[str], Iterable[EntryPoint]] = lambda group: entry_points(group=group)) -> None:
        self._find = find
        self._registered: dict[tuple[str, str], type[Component]] = {}
        self._claims: dict[str, dict[str, list[_Claim]]] = {}
        self._loaded: dict[PluginInfo, type[Component]] = {}

    def refresh(self) -> None:
        """Forget what was found and loaded; packages installed meanwhile appear. Registered classes stay."""
        importlib.invalidate_caches()
        self._claims.clear()
        self._loaded.clear()

    def register(self, kind: str, name: str, component: type[Component]) -> None:
        """Make a class available under ``name`` in this process, in place of an installed one of that name."""
        the_kind = _kind(kind)
        self._registered[(the_kind.name, name)] = _checked(component, the_kind, repr(component))
        self._claims.pop(the_kind.name, None)
        self._loaded = {info: loaded for info, loaded in self._loaded.items() if info.package != _THIS_PROCESS}

    def _of(self, kind: Kind) -> dict[str, list[_Claim]]:
        if kind.name not in self._claims:
            by_name: dict[str, dict[tuple[str, str], EntryPoint]] = {}
            for point in self._find(kind.group):
                package = _package(point)[0]
                # A distribution can be seen twice (an editable install beside its leftovers): one claim.
                by_name.setdefault(point.name, {}).setdefault((package, point.value), point)
            claims = {
                name: [_entry_claim(kind, points[key], len(points) > 1) for key in sorted(points)]
                for name, points in by_name.items()
            }
            for (registered_kind, name), component in self._registered.items():
                if registered_kind == kind.name:
                    target = f"{component.__module__}:{component.__qualname__}"
                    info = PluginInfo(kind.name, name, _THIS_PROCESS, "-", target)
                    claims[name] = [_Claim(info, lambda component=component: component)]  # type: ignore[misc]
            self._claims[kind.name] = dict(sorted(claims.items()))
        return self._claims[kind.name]

    def infos(self, kind: str | None = None) -> PluginInfos:
        """Return what is installed, by kind and name, without importing any of it."""
        kinds = KINDS.values() if kind is None else (_kind(kind),)
        return PluginInfos(claim.info for k in kinds for claims in self._of(k).values() for claim in claims)

    def _repr_html_(self) -> str:
        return self.infos()._repr_html_()

    def info(self, kind: str, name: str) -> PluginInfo:
        """Return the metadata of the component that ``name`` means.

        Raises:
            InputError: No such component, or two packages claim the name.
            PluginError: One package claims it twice.
        """
        return self._claim(_kind(kind), name).info

    def _claim(self, kind: Kind, name: str) -> _Claim:
        package, _, bare = name.rpartition(":")
        claims = self._of(kind).get(bare, [])
        if package:
            claims = [claim for claim in claims if claim.info.package == _normalised(package)]
        if not claims:
            raise InputError(self._unknown(kind, name))
        if len(claims) > 1:
            raise _conflict(kind, bare, [claim.info for claim in claims])
        return claims[0]

    def _unknown(self, kind: Kind, name: str) -> str:
        installed = list(self._of(kind))
        listed = (
            f"Installed {kind.plural}: {', '.join(installed)}." if installed else f"No {kind.plural} are installed."
        )
        package, _, bare = name.rpartition(":")
        absent = KNOWN_PLUGINS.get((kind.name, bare))
        here = {info.package for info in self.infos(kind.name)}
        if absent and absent not in here and (not package or _normalised(package) == absent):
            return f"The {kind.name} {name!r} is not installed. Install it: pip install {absent}. {listed}"
        near = [info.qualified for info in self.infos(kind.name)] if ":" in name else installed
        return f"There is no {kind.name} named {name!r}.{did_you_mean(name, near)} {listed}"

    def get(self, kind: str, name: str) -> type[Component]:
        """Return the component's class, imported and checked.

        Raises:
            InputError: No such component (the message says what is near and what is installed), or two packages claim
                the name.
            PluginError: It is broken; the message names package, version, target and cause.
        """
        the_kind = _kind(kind)
        claim = self._claim(the_kind, name)
        info = claim.info
        if info not in self._loaded:
            where = f"The {info.kind} {info.name!r} of {info.package} {info.version} ({info.target})"
            try:
                loaded = claim.load()
            except (Exception, SystemExit) as error:
                cause = f"{type(error).__name__}: {error}"
                raise PluginError(
                    f"{where} cannot be imported: {cause}. Repair or uninstall {info.package}."
                ) from error
            self._loaded[info] = _checked(loaded, the_kind, where)
        return self._loaded[info]

    def schema(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return the JSON Schema of the component's parameters."""
        return self.get(kind, name).config_schema

    def create(self, kind: str, name: str, /, **params: Any) -> Any:
        """Return a component, its parameters validated against its schema and defaults filled in.

        Raises:
            ConfigError: A parameter is unknown, missing or has a wrong value; every problem is listed.
            InputError, PluginError: As ``get``.
        """
        component = self.get(kind, name)
        found = problems_of(component.config_schema, params)
        if found:
            raise ConfigError([f"{name}: params.{'.'.join(str(p) for p in path)}: {text}" for path, text in found])
        try:
            return component(**fill_defaults(component.config_schema, params))
        except XaiError:
            raise
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
        except Exception as error:
            info = self.info(kind, name)
            raise PluginError(
                f"The {info.kind} {info.name!r} of {info.package} {info.version} ({info.target}) cannot be built: "
                f"{type(error).__name__}: {error}. Its constructor and its config_schema may disagree."
            ) from error

    def problems(self) -> list[Problem]:
        """Import every installed component and return the conflicts and the broken ones."""
        found: list[Problem] = []
        for kind in KINDS.values():
            for name, claims in self._of(kind).items():
                packages = tuple(claim.info.package for claim in claims)
                names = [name] if len(claims) == 1 else [name, *(claim.info.qualified for claim in claims)]
                for asked in names:
                    try:
                        self.get(kind.name, asked)
                    except (PluginError, InputError) as error:
                        found.append(Problem(kind.name, asked, packages, str(error)))
        return found


def _package(point: EntryPoint) -> tuple[str, str]:
    """Return name and version of the entry point's package; what a failed installation left may have neither."""
    name, version = "(unknown package)", "?"
    if point.dist is not None:
        found = point.dist.metadata.json
        name, version = str(found.get("name", name)), str(found.get("version", version))
    return _normalised(name), version


def _entry_claim(kind: Kind, point: EntryPoint, conflict: bool) -> _Claim:
    return _Claim(PluginInfo(kind.name, point.name, *_package(point), point.value, conflict), point.load)


def _conflict(kind: Kind, name: str, infos: Sequence[PluginInfo]) -> XaiError:
    both = " and ".join(f"{info.package} {info.version} ({info.target})" for info in infos)
    if len({info.package for info in infos}) == 1:
        return PluginError(f"One package announces the {kind.name} {name!r} twice: {both}. Repair or uninstall it.")
    ways = " or ".join(f"name: {info.qualified}" for info in infos)
    many = "Two" if len(infos) == 2 else str(len(infos))
    return InputError(
        f"{many} packages claim the {kind.name} {name!r}: {both}. Write {ways}, or uninstall all but one of them."
    )


def _checked(loaded: object, kind: Kind, where: str) -> type[Component]:
    """Return ``loaded`` if it is a usable component class of this kind, and say what is wrong with it otherwise."""
    interface = f"xai_core.{kind.interface.__name__}"
    if not isinstance(loaded, type):
        raise PluginError(f"{where} is not a class but {type(loaded).__name__}. It must be a subclass of {interface}.")
    if not issubclass(loaded, kind.interface):
        others = [kind.name for kind in KINDS.values() if issubclass(loaded, kind.interface)]
        what = f" It is a component of the kind {others[0]}." if others else ""
        raise PluginError(f"{where} is not a subclass of {interface}.{what}")
    if inspect.isabstract(loaded):
        missing = ", ".join(sorted(loaded.__abstractmethods__))
        raise PluginError(f"{where} is abstract: it lacks {missing}.")
    wrong = schema_error(loaded.config_schema)
    if wrong:
        raise PluginError(f"{where}: {wrong}.")
    return loaded


_default = Registry()

infos = _default.infos
info = _default.info
get = _default.get
schema = _default.schema
create = _default.create
register = _default.register
problems = _default.problems
refresh = _default.refresh
