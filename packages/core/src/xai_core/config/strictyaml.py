"""YAML as a configuration needs it: 1.2 core scalars, duplicate keys refused, line numbers kept.

PyYAML implements YAML 1.1, where ``on`` is a boolean and ``1e-4`` a string. Scalars are resolved here by the core
schema of YAML 1.2.2, section 10.3.2, and no tag beyond it is ever constructed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

__all__ = ["Document", "dump", "load_file", "load_scalar", "load_text"]

PathTuple = tuple[str | int, ...]

_MAX_NODES = 100_000  # aliases of aliases can grow without bound

_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]+\Z")
_OCT = re.compile(r"0o[0-7]+\Z")
_HEX = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")

_SCALARS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (_NULL, lambda _text: None),
    (_BOOL, lambda text: text.lower() == "true"),
    (_INT, int),
    (_OCT, lambda text: int(text[2:], 8)),
    (_HEX, lambda text: int(text[2:], 16)),
    (_FLOAT, float),
    (_NOT_FINITE, lambda text: float(text.replace(".", ""))),
)
_TAG_PREFIX = "tag:yaml.org,2002:"
_TAGS = {"!plain", *(_TAG_PREFIX + name for name in ("null", "bool", "int", "float", "str", "seq", "map"))}


@dataclass
class Document:
    """A parsed document.

    Attributes:
        value: Plain mappings, lists, strings, numbers, booleans and None.
        name: What messages call the file.
        lines: Line (from 1) of each value by its path, such as ``("model", "params", "depth")``.
    """

    value: Any
    name: str
    lines: dict[PathTuple, int] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """Composes nodes with every plain scalar left as it is written; this module gives them their meaning."""

    # One resolver for every plain scalar, so that it differs from a quoted one and from one tagged !!str.
    yaml_implicit_resolvers: dict[str | None, Any] = {None: [("!plain", re.compile(""))]}  # noqa: RUF012


def load_file(path: str | Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: It is missing, not readable, not UTF-8, or not YAML as described above.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, not a file. Give the pipeline file in it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        there = f"In {path.parent} there is: {', '.join(near)}." if near else f"{path.parent} holds no YAML file."
        raise ConfigError(f"{path} does not exist. {there}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    return load_text(text, path.name)


def load_text(text: str, name: str) -> Document:
    """Parse YAML text; ``name`` stands for the file in messages."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{name}:{line}: not valid YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {error}.") from None
    document = Document(None, name)
    if node is not None:
        document.value = _Construction(document).construct(node, ())
    return document


class _Construction:
    """Turns nodes into values, noting lines and refusing what a configuration must not hold."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.open: set[int] = set()
        self.count = 0

    def fail(self, node: yaml.Node, message: str) -> ConfigError:
        return ConfigError(f"{self.document.name}:{node.start_mark.line + 1}: {message}")

    def construct(self, node: yaml.Node, path: PathTuple) -> Any:
        self.count += 1
        if self.count > _MAX_NODES:
            raise self.fail(node, f"more than {_MAX_NODES} values; aliases that repeat aliases?")
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self.open:
            raise self.fail(node, "an alias that contains itself.")
        if node.tag not in _TAGS:
            raise self.fail(node, f"the tag {node.tag} is not allowed; a configuration holds plain values only.")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.construct(item, (*path, i)) for i, item in enumerate(node.value)]
            return self.scalar(node)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.MappingNode, path: PathTuple) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.fail(key_node, "a key must be a plain text.")
            key = str(key_node.value)
            if key in result:
                first = self.document.lines[(*path, key)]
                raise self.fail(key_node, f"the key {key!r} is there twice (first in line {first}).")
            self.document.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.construct(value_node, (*path, key))
        return result

    def scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if node.tag == f"{_TAG_PREFIX}str":
            return text
        value = load_scalar(text)
        if node.tag != "!plain" and not node.tag.endswith(f":{_type_name(value)}"):
            raise self.fail(node, f"{text!r} is no {node.tag.removeprefix(_TAG_PREFIX)}.")
        if isinstance(value, float) and not isfinite(value):
            raise self.fail(node, f"{text} is not a finite number.")
        return value


def _type_name(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def load_scalar(text: str) -> Any:
    """Return the value of a plain scalar by the core schema of YAML 1.2."""
    for pattern, convert in _SCALARS:
        if pattern.match(text):
            return convert(text)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes what ``load_text`` reads back equal: a string that 1.2 takes for something else is quoted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if not isinstance(load_scalar(text), str) else None
    return dumper.represent_scalar(f"{_TAG_PREFIX}str", str(text), style=style)


_Dumper.add_representer(str, _represent_text)


def dump(value: Any) -> str:
    """Return ``value`` as YAML text that ``load_text`` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
