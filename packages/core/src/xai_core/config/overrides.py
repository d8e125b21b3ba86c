"""Changes to a parsed file from the command line: ``--set model.params.depth=10`` and the short options."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..schemas import CommandLineText
from .strictyaml import load_text

__all__ = ["Override", "apply_overrides", "parse_set", "short_options"]

_SHORT = ("name", "model", "data", "epochs", "device", "output")

PathTuple = tuple[str | int, ...]
Override = tuple[PathTuple, Any, str]  # path, value, how the user wrote it


def _marked(value: Any) -> Any:
    if isinstance(value, str):
        return CommandLineText(value)
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    return value


def parse_set(text: str) -> Override:
    """Parse ``path=value``, such as ``explainers.lrp.params.epsilon=1e-3``; the value is YAML.

    A list entry is chosen by index or by id: ``explainers.0``, ``explainers[0]``, ``explainers[lrp]``.

    Raises:
        ConfigError: There is no ``=``, an empty part, or the value is not YAML.
    """
    path_text, equals, value_text = text.partition("=")
    parts = [part for part in re.split(r"\.|\[([^\[\]]+)\]\.?", path_text.strip()) if part is not None]
    if parts and parts[-1] == "" and path_text.endswith("]"):
        parts.pop()
    if not equals or not all(parts) or not parts or any(set(part) & set("[]") for part in parts):
        raise ConfigError(f"--set {text}: must have the form section.key=value, such as model.params.depth=10.")
    value = load_text(value_text, f"--set {path_text}").value
    return tuple(int(part) if part.isdecimal() else part for part in parts), _marked(value), f"--set {text}"


def short_options(options: Mapping[str, Any], config: Any) -> list[Override]:
    """Return the changes that ``--name``, ``--model``, ``--data``, ``--epochs``, ``--device`` and ``--output`` mean.

    Raises:
        TypeError: There is no such option.
    """
    unknown = [key for key in options if key not in _SHORT]
    if unknown:
        raise TypeError(f"no option is called {unknown[0]!r}; there are {', '.join(_SHORT)}, and changes by 'sets'")
    config = config if isinstance(config, dict) else {}
    changes: list[Override] = []
    for key in ("name", "device", "output"):
        if options.get(key) is not None:
            changes.append(((key,), CommandLineText(options[key]), f"--{key} {options[key]}"))
    if options.get("epochs") is not None:
        changes.append((("training", "params", "epochs"), options["epochs"], f"--epochs {options['epochs']}"))
    if options.get("model") is not None:
        changes.extend(_renamed(config, "model", options["model"]))
    if options.get("data") is not None:
        changes.extend(_data(config, options["data"]))
    return changes


def _renamed(config: Mapping[str, Any], section: str, name: str) -> list[Override]:
    """Another component of a section: parameters of the former one would not fit it."""
    written = f"--{section} {name}"
    old = config.get(section)
    changes: list[Override] = [((section, "name"), CommandLineText(name), written)]
    if not isinstance(old, Mapping) or old.get("name") != name:
        changes.append(((section, "params"), {}, written))
    return changes


def _data(config: Mapping[str, Any], value: str) -> list[Override]:
    """A study table, a BIDS folder, or the registry name of a dataset."""
    path, written = Path(os.path.expanduser(value)), f"--data {value}"  # noqa: PTH111 - leaves ~nobody as it is
    if path.is_file():
        return [(("data", "params", "table"), CommandLineText(value), written)]
    if path.is_dir():
        return [(("data", "params", "bids"), CommandLineText(value), written)]
    if "/" in value or "\\" in value or path.suffix:
        raise ConfigError(f"{written}: there is no such file or folder, and it is no name of a dataset either.")
    return _renamed(config, "data", value)


def apply_overrides(config: dict[str, Any], changes: Sequence[Override]) -> dict[PathTuple, str]:
    """Apply changes to a parsed file in place; the last one wins.

    Returns:
        How the user wrote each change, by its path with list entries by index, in the order of the changes.

    Raises:
        ConfigError: A path leads through something that is neither a mapping nor a list, or to an absent list entry.
    """
    done: dict[PathTuple, str] = {}
    for path, value, written in changes:
        node: Any = config
        place: PathTuple = ()
        for depth, part in enumerate(path):
            key = _key(node, part, path[: depth + 1], written)
            place = (*place, key)
            if depth == len(path) - 1:
                node[key] = value
            elif isinstance(node, dict) and node.get(key) is None:
                node[key] = {}  # --set may begin a section that the file leaves out
            node = node[key]
        done.pop(place, None)
        done[place] = written
    return done


def _key(node: Any, part: str | int, path: PathTuple, written: str) -> str | int:
    if isinstance(node, list):
        return _index(node, part, path, written)
    if isinstance(node, dict):
        return str(part)
    raise ConfigError(f"{written}: {_dotted(path[:-1])} is {node!r}, which has no parts.")


def _index(node: list[Any], key: str | int, path: PathTuple, written: str) -> int:
    if isinstance(key, int) and key < len(node):
        return key
    ids = [item.get("id", item.get("name")) if isinstance(item, dict) else None for item in node]
    if str(key) in ids:
        return ids.index(str(key))
    there = ", ".join(f"{i}: {name}" for i, name in enumerate(ids)) or "nothing"
    raise ConfigError(f"{written}: {_dotted(path[:-1])} has no entry {key!r}. There is {there}.")


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path) or "the file"
