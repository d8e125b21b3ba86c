"""From a pipeline file to a resolved configuration: every problem reported at once, every default filled in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import registry
from ..errors import ConfigError, InputError, PluginError
from ..schemas import CommandLineText, fill_defaults, problems_of, resolve_paths
from .overrides import Override, apply_overrides, parse_set, short_options
from .strictyaml import Document, load_file
from .structure import NAME_PATTERN, STRUCTURE, slots_of

__all__ = ["Resolved", "bids_label", "resolve"]

PathTuple = tuple[str | int, ...]

_BRACES = re.compile(r"(\$?)\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-((?:(?!\$\{).)*))?", re.DOTALL)
_RESOLVED = ".resolved.yaml"


@dataclass(frozen=True)
class Resolved:
    """A valid configuration with every default filled in and every path absolute.

    Attributes:
        value: Plain mappings, lists and scalars; what ``pipeline.resolved.yaml`` holds.
        source: The file it comes from.
    """

    value: dict[str, Any]
    source: Path


def resolve(
    path: str | Path, sets: Sequence[str] = (), *, changes: Sequence[Override] = (), **options: Any
) -> Resolved:
    """Read, change, check and complete a pipeline file. Light: no torch, no data are read.

    Args:
        path: The YAML file. One named ``*.resolved.yaml`` is the work of this function: ``${...}`` in it is text.
        sets: ``section.key=value`` texts, applied in order after the short options.
        changes: Further changes, applied last; their paths are relative to the file, not to the working folder.
        options: Short options: ``name``, ``model``, ``data``, ``epochs``, ``device``, ``output``; None: not given.

    Raises:
        ConfigError: Every problem of the file, one line each.
        PluginError: A chosen component is broken and nothing else is wrong.
    """
    path = Path(path)
    document = load_file(path)
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else "does not hold a mapping"
        raise ConfigError(f"{path} {what}. A pipeline starts with 'version: 1'; see the README's example.")
    problems = _Problems(document)
    config = document.value
    # Variables come after the changes: one that a change replaces need not be set.
    as_is = _substituted(config, (), _Problems(document))
    problems.written = apply_overrides(config, [*short_options(options, as_is), *map(parse_set, sets), *changes])
    if not path.name.endswith(_RESOLVED):
        config = _substituted(config, (), problems)
    _check_structure(config, problems)
    _check_components(config, problems)
    _check_ids(config, problems)
    problems.raise_if_any()
    return Resolved(_completed(config, path), path)


class _Problems:
    """Collects problems and says where each one stands."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.written: dict[PathTuple, str] = {}
        self.found: list[tuple[int, str, bool]] = []

    def add(self, path: PathTuple, message: str, *, plugin: bool = False) -> None:
        line, place = self._place(path)
        dotted = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".") or "the file"
        self.found.append((line, f"{place}: {dotted}: {message}", plugin))

    def _place(self, path: PathTuple) -> tuple[int, str]:
        for changed, written in reversed(self.written.items()):
            # A change may also have begun what is wrong as a whole.
            begun = path not in self.document.lines and changed[: len(path)] == path
            if begun or path[: len(changed)] == changed:
                return 0, written
        for length in range(len(path), -1, -1):
            if path[:length] in self.document.lines:
                line = self.document.lines[path[:length]]
                return line, f"{self.document.name}:{line}"
        return 0, self.document.name

    def raise_if_any(self) -> None:
        if not self.found:
            return
        lines = list(dict.fromkeys(text for _, text, _ in sorted(self.found, key=lambda item: item[0])))
        if all(plugin for _, _, plugin in self.found):
            raise PluginError("\n".join(lines))
        raise ConfigError(lines)


def _substituted(value: Any, path: PathTuple, problems: _Problems) -> Any:
    """Replace ``${VAR}`` and ``${VAR:-default}`` in strings; ``$${`` stays as ``${``."""
    if isinstance(value, dict):
        return {key: _substituted(item, (*path, key), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, (*path, i), problems) for i, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        if match.group(1):
            return match.group(0)[1:]
        variable = _VARIABLE.fullmatch(match.group(2)) if match.group(3) else None
        if not variable:
            ways = "Write ${NAME} or ${NAME:-default}, or $${ for the text ${."
            problems.add(path, f"{match.group(0)!r} is no environment variable. {ways}")
            return match.group(0)
        name, default = variable.groups()
        found = os.environ.get(name) or default
        if found is None:
            state = "empty" if name in os.environ else "not set"
            problems.add(path, f"the environment variable {name} is {state}. Set it, or write ${{{name}:-default}}.")
            return match.group(0)
        return found

    return type(value)(_BRACES.sub(replacement, value))


def _check_structure(config: Any, problems: _Problems) -> None:
    for path, message in problems_of(STRUCTURE, config):
        is_slot = message.startswith("must be a mapping") and path
        hint = " Write it as {name: ..., params: {...}}." if is_slot and path[-1] != "params" else ""
        problems.add(path, message.replace("unknown parameter", "unknown key") + hint)


def _check_components(config: Any, problems: _Problems) -> None:
    for slot, path, choice in slots_of(config):
        try:
            schema = registry.schema(slot.kind, choice["name"])
        except (InputError, PluginError) as error:
            problems.add((*path, "name"), str(error), plugin=isinstance(error, PluginError))
            continue
        params = choice.get("params")
        if params is None or isinstance(params, Mapping):
            for inner, message in problems_of(schema, params or {}):
                problems.add((*path, "params", *inner), message)


def bids_label(text: str) -> str:
    """Return ``text`` as a BIDS label: letters and digits only."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


def _check_ids(config: Any, problems: _Problems) -> None:
    """Ids name files and folders: unique, also without regard to case and punctuation."""
    seen: dict[tuple[str, str], tuple[str, PathTuple]] = {}
    for slot, path, choice in slots_of(config):
        if not slot.many:
            continue
        name = str(choice.get("id", _default_id(choice)))
        if problems_of({"pattern": NAME_PATTERN}, name):
            if "id" not in choice:  # otherwise the structure is wrong, which has been said
                problems.add(path, f"{name!r} cannot name a file. Give an id of letters, digits, '.', '_' and '-'.")
            continue
        if slot.kind == "transform":
            continue  # a step may come twice and names no file
        label = bids_label(name).lower()
        first = seen.setdefault((slot.kind, label), (name, path))
        if first[1] != path:
            same = "" if first[0] == name else f" (too close to {first[0]!r})"
            problems.add(path, f"a second {slot.kind} with the id {name!r}{same}. Give one of them another id.")


def _default_id(choice: Mapping[str, Any]) -> str:
    return str(choice["name"]).rpartition(":")[2]


def _completed(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    base = path.absolute().parent
    for slot, _path, choice in slots_of(config):
        if slot.many:
            choice.setdefault("id", _default_id(choice))
    complete = fill_defaults(STRUCTURE, config)
    complete.setdefault(
        "name", re.sub(r"[^A-Za-z0-9._-]", "-", path.stem.removesuffix(".resolved")).lstrip("._-") or "run"
    )
    complete = resolve_paths(STRUCTURE, complete, base)
    for slot, _path, choice in slots_of(complete):
        schema = registry.schema(slot.kind, choice["name"])
        choice["params"] = resolve_paths(schema, fill_defaults(schema, choice["params"]), base)
    ordered = ["version", "name", "seed", "device", "output", *(key for key in complete)]
    return {key: _plain(complete[key]) for key in dict.fromkeys(ordered)}


def _plain(value: Any) -> Any:
    if isinstance(value, CommandLineText):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
