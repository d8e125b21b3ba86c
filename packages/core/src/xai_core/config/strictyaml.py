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

__all__ = ["Document", "dump", "is_plain", "load_file", "load_scalar", "load_text"]

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
_PLAIN = ""  # a tag that no file can write
_TAGS: dict[type[yaml.Node], set[str]] = {
    yaml.MappingNode: {f"{_TAG_PREFIX}map"},
    yaml.SequenceNode: {f"{_TAG_PREFIX}seq"},
    yaml.ScalarNode: {_PLAIN, *(_TAG_PREFIX + name for name in ("null", "bool", "int", "float", "str"))},
}


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
    yaml_implicit_resolvers: dict[str | None, Any] = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012


def load_file(path: str | Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: It is missing, not readable, not UTF-8, or not YAML as described above.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, not a file. {_yaml_files(path)}") from None
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist. {_yaml_files(path.parent)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    return load_text(text, path.name)


def _yaml_files(folder: Path) -> str:
    if not folder.is_dir():
        return f"There is no folder {folder} either."
    near = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml"))
    return f"In {folder} there is: {', '.join(near)}." if near else f"{folder} holds no YAML file."


def load_text(text: str, name: str) -> Document:
    """Parse YAML text; ``name`` stands for the file in messages.

    Raises:
        ConfigError: It is not YAML as described above.
    """
    try:
        return _parsed(text, name)
    except RecursionError:
        raise ConfigError(f"{name}: lists or mappings are nested too deeply.") from None


def _parsed(text: str, name: str) -> Document:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = ", ".join(filter(None, (error.context, error.problem)))
        hint = " Indent with spaces, not tabs." if "'\\t'" in problem else ""
        raise ConfigError(f"{name}:{line}: not valid YAML: {problem}.{hint}") from None
    except yaml.reader.ReaderError as error:
        place = f"{name}:{text.count(chr(10), 0, error.position) + 1}"
        raise ConfigError(f"{place}: not valid YAML: the character U+{error.character:04X} is not allowed.") from None
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
        self.check_tag(node)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.construct(item, (*path, i)) for i, item in enumerate(node.value)]
            return self.scalar(node)
        finally:
            self.open.discard(id(node))

    def check_tag(self, node: yaml.Node) -> None:
        if node.tag not in _TAGS[type(node)]:
            raise self.fail(node, f"the tag {node.tag} is not allowed; a configuration holds plain values only.")

    def mapping(self, node: yaml.MappingNode, path: PathTuple) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.fail(key_node, "a key must be a plain text.")
            self.check_tag(key_node)
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
        try:
            value = load_scalar(text)
        except ValueError:  # Python refuses to read an integer of thousands of digits
            raise self.fail(node, f"{text[:20]}... has too many digits.") from None
        if node.tag != _PLAIN and not node.tag.endswith(f":{_type_name(value)}"):
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


_BREAKS = set("\x85\u2028\u2029")  # line breaks in YAML 1.1; PyYAML would fold them


class _Dumper(yaml.SafeDumper):
    """Writes what ``load_text`` reads back equal: a string that 1.2 takes for something else is quoted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if not isinstance(load_scalar(text), str) else None
    if set(text) & _BREAKS:
        style = '"'
    return dumper.represent_scalar(f"{_TAG_PREFIX}str", str(text), style=style)


_Dumper.add_representer(str, _represent_text)


def dump(value: Any) -> str:
    """Return ``value`` as YAML text that ``load_text`` reads back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def is_plain(value: Any) -> bool:
    """Whether ``dump`` writes ``value`` so that ``load_text`` reads it back equal."""
    try:
        return bool(load_text(dump(value), "configuration").value == value)
    except (yaml.YAMLError, ConfigError):
        return False
