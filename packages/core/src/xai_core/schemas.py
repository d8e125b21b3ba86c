"""JSON Schema (2020-12) of parameters: problems in plain words, defaults, did-you-mean."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["CommandLineText", "did_you_mean", "fill_defaults", "problems_of", "resolve_paths", "schema_error"]

PathTuple = tuple[str | int, ...]


class CommandLineText(str):
    """A string from the command line: as a path it is relative to the working folder, not to the file."""

    __slots__ = ()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or an empty string where nothing is close to ``word``."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not close:
        folded = {name.lower().replace("_", "-"): name for name in known}
        close = [folded[m] for m in difflib.get_close_matches(word.lower().replace("_", "-"), folded, n=1, cutoff=0.6)]
    return f" Did you mean {close[0]!r}?" if close else ""


@cache
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # A YAML list is a list, but a default in a Python schema may be a tuple. JSON Schema takes 1e2 for an integer;
    # a component's range() does not.
    checker = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "array": lambda _checker, value: isinstance(value, list | tuple),
            "integer": lambda _checker, value: isinstance(value, int) and not isinstance(value, bool),
        }
    )
    return extend(Draft202012Validator, {"pattern": _pattern}, type_checker=checker)


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Mapping[str, Any]) -> Iterator[Any]:
    """Apply a pattern as JSON Schema means it: Python's $ would let a last line break pass."""
    from jsonschema import ValidationError

    strict = re.sub(r"(\\.|\[(?:\\.|[^\]])*\])|\$", lambda match: match.group(1) or r"\Z", pattern, flags=re.DOTALL)
    if validator.is_type(instance, "string") and not re.search(strict, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def schema_error(schema: object) -> str | None:
    """Return what is wrong with a component's schema itself, or None."""
    if not isinstance(schema, Mapping):
        return f"config_schema is {type(schema).__name__}, not a mapping"
    from jsonschema import SchemaError

    try:
        _validator_class().check_schema(schema)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.absolute_path) or "top level"
        return f"config_schema is no JSON Schema 2020-12 ({where}: {error.message})"
    if schema.get("type") != "object" or schema.get("additionalProperties") is not False:
        return "config_schema must be an object with additionalProperties: false"
    unknown = [name for name in schema.get("required", ()) if name not in schema.get("properties", {})]
    return f"config_schema requires {unknown[0]!r}, which is not among its properties" if unknown else None


def problems_of(schema: Mapping[str, Any], value: Any) -> list[tuple[PathTuple, str]]:
    """Return every problem of ``value`` as (path, message), in the order of the path."""
    found: list[tuple[PathTuple, str]] = []
    for error in _validator_class()(schema).iter_errors(value):
        found.extend(_explained(error))
    return sorted(dict.fromkeys(found), key=lambda problem: tuple(_sortable(part) for part in problem[0]))


def _sortable(part: str | int) -> tuple[int, str]:
    return (part, "") if isinstance(part, int) else (-1, part)


def _explained(error: Any) -> Iterator[tuple[PathTuple, str]]:
    path: PathTuple = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        known = list(error.schema.get("properties", {}))
        for name in error.instance:
            if name not in known:
                listed = f" Known here: {', '.join(sorted(known))}." if known else " Nothing is known here."
                yield (*path, name), f"unknown parameter.{did_you_mean(str(name), known)}{listed}"
    elif error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield (*path, name), "is required but missing."
    elif error.validator in ("anyOf", "oneOf") and error.context:
        yield path, _alternatives(error)
    else:
        yield path, _sentence(error)


def _alternatives(error: Any) -> str:
    """One sentence for a value that fits none of several alternatives."""
    if all(part.validator == "type" and not part.relative_path for part in error.context):
        types = [_types(part.validator_value) for part in error.context]
        return f"must be {' or '.join(dict.fromkeys(types))}, not {_shown(error.instance)}."
    deepest = max(error.context, key=lambda part: len(part.absolute_path))
    return _sentence(deepest) if deepest.validator != "type" or deepest.relative_path else (
        f"{_shown(error.instance)} fits none of the alternatives: "
        + "; ".join(dict.fromkeys(_sentence(part).rstrip(".") for part in error.context)) + "."
    )  # fmt: skip


_TYPE_WORDS = {
    "integer": "an integer", "number": "a number", "string": "a text", "boolean": "true or false",
    "array": "a list", "object": "a mapping", "null": "null",
}  # fmt: skip


def _types(value: str | Sequence[str]) -> str:
    names = [value] if isinstance(value, str) else value
    return " or ".join(_TYPE_WORDS.get(name, name) for name in names)


def _shown(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_LIMITS: Mapping[str, str] = {
    "const": "must be {limit}, not {shown}.",
    "minimum": "must be at least {limit}, not {shown}.",
    "exclusiveMinimum": "must be greater than {limit}, not {shown}.",
    "maximum": "must be at most {limit}, not {shown}.",
    "exclusiveMaximum": "must be less than {limit}, not {shown}.",
    "minItems": "needs at least {limit} entries, not {length}.",
    "maxItems": "takes at most {limit} entries, not {length}.",
    "minLength": "needs at least {limit} characters, not {length}.",
    "pattern": "{shown} does not have the form {limit}.{about}",
}


def _sentence(error: Any) -> str:
    value, limit = error.instance, error.validator_value
    if error.validator == "type":
        return f"must be {_types(limit)}, not {_shown(value)}."
    if error.validator == "enum":
        close = did_you_mean(value, [v for v in limit if isinstance(v, str)]) if isinstance(value, str) else ""
        return f"{_shown(value)} is not one of {', '.join(_shown(v) for v in limit)}.{close}"
    if error.validator in _LIMITS:
        length = len(value) if isinstance(value, str | list | tuple | dict) else 0
        about = f" Expected: {error.schema['description']}" if "description" in error.schema else ""
        return _LIMITS[error.validator].format(limit=limit, shown=_shown(value), length=length, about=about)
    return str(error.message).rstrip(".") + "."


def fill_defaults(schema: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``params`` with the default of every property that it lacks, in the schema's order."""
    filled: dict[str, Any] = {}
    for name, prop in schema.get("properties", {}).items():
        if name in params:
            filled[name] = _filled(prop, deepcopy(params[name]))
        elif "default" in prop:
            filled[name] = deepcopy(prop["default"])
    filled.update({name: deepcopy(value) for name, value in params.items() if name not in filled})
    return filled


def _filled(prop: Mapping[str, Any], value: Any) -> Any:
    if isinstance(value, Mapping) and "properties" in prop:
        return fill_defaults(prop, value)
    if isinstance(value, list) and isinstance(prop.get("items"), Mapping):
        return [_filled(prop["items"], item) for item in value]
    return value


def resolve_paths(schema: Mapping[str, Any], params: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Return ``params`` with every string of ``"format": "path"`` made absolute from ``base``.

    A path from the command line starts at the working folder instead, where the user's shell completed it.
    """

    def resolved(prop: Mapping[str, Any], value: Any) -> Any:
        if isinstance(value, str) and prop.get("format") == "path":
            start = Path.cwd() if isinstance(value, CommandLineText) else base
            return os.path.normpath(start / os.path.expanduser(value))  # noqa: PTH111 - leaves ~nobody as it is
        if isinstance(value, list) and isinstance(prop.get("items"), Mapping):
            return [resolved(prop["items"], item) for item in value]
        if isinstance(value, Mapping):
            known, rest = prop.get("properties", {}), prop.get("additionalProperties")
            other = rest if isinstance(rest, Mapping) else {}
            return {name: resolved(known.get(name, other), item) for name, item in value.items()}
        return value

    return {name: resolved(schema.get("properties", {}).get(name, {}), value) for name, value in params.items()}
