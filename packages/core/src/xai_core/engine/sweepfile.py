"""The file of a sweep: what is varied, how, and by which validation score it is chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..config.overrides import parse_set
from ..config.strictyaml import Document, load_file
from ..config.structure import NAME_PATTERN
from ..errors import ConfigError
from ..schemas import did_you_mean, fill_defaults, problems_of

__all__ = ["SCHEMA", "Parameter", "SweepFile", "load_sweep"]

PathTuple = tuple[str | int, ...]
Problem = tuple[PathTuple, str]

_LARGEST_GRID = 1000
_SWEPT = ("model", "training", "data.transforms")
_TRIALS = 20  # of random and optuna, where the file does not say

_PARAMETER = {
    "type": "object", "additionalProperties": False,
    "properties": {
        "values": {"type": "array", "minItems": 1, "description": "The values to try."},
        "low": {"type": "number", "description": "Least value; integers where low and high are integers."},
        "high": {"type": "number", "description": "Greatest value."},
        "log": {"type": "boolean", "description": "Draw the logarithm evenly."},
    },
    "description": "{values: [...]}, or {low: ..., high: ..., log: true}.",
}  # fmt: skip

SCHEMA: Mapping[str, Any] = {
    "type": "object", "additionalProperties": False, "required": ["version", "parameters", "metric"],
    "properties": {
        "version": {"const": 1, "description": "Version of this file format."},
        "name": {"type": "string", "pattern": NAME_PATTERN,
                 "description": "Name of the sweep's folder. Default: the file's name."},
        "pipeline": {"type": "string", "minLength": 1, "default": "pipeline.yaml",
                     "description": "The study, relative to this file."},
        "search": {"enum": ["grid", "random", "optuna"], "default": "grid",
                   "description": "grid: every combination; random: trials combinations; optuna: trials combinations "
                   "for each outer fold, each proposed (TPE) from what the validation people of that fold scored."},
        "trials": {"type": "integer", "minimum": 1, "maximum": 10_000,
                   "description": f"Number of combinations, random and optuna (there {_TRIALS} by default)."},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1, "default": 42,
                 "description": "Of the drawn combinations. The pipeline's own seed stays that of the training."},
        "parameters": {"type": "object", "minProperties": 1, "additionalProperties": _PARAMETER,
                       "description": "What is varied: paths such as training.params.learning_rate."},
        "metric": {"type": "string", "minLength": 1, "description": "The trainer's score, of validation people."},
        "direction": {"enum": ["maximize", "minimize"],
                      "description": "Which is better. Default: as the metric's name tells (auc, mae, ...)."},
    },
}  # fmt: skip

_MINIMIZED = {"mae", "rmse", "mse", "brier", "ece", "mce", "nll", "loss", "log_loss"}
_MAXIMIZED = {
    "auc", "auc_delong", "balanced_accuracy", "accuracy", "sensitivity", "specificity", "f1", "mcc", "r", "r2",
    "average_precision", "npv", "ppv", "precision",
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One thing that is varied.

    Attributes:
        path: Such as ``training.params.learning_rate``.
        line: Where it stands, for messages.
        values: What is tried; None: a range.
        low: Least value of a range.
        high: Greatest value of a range.
        log: Whether the logarithm is drawn evenly.
    """

    path: str
    line: str
    values: tuple[Any, ...] | None = None
    low: float | int = 0
    high: float | int = 0
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether a range is one of integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class SweepFile:
    """A sweep as its file says. ``problems`` are those found in it, to be told with those of the combinations.

    Attributes:
        source: The file.
        value: Its content with defaults, what the sweep's folder keeps.
        name: Name of the sweep's folder.
        pipeline: The pipeline file.
        parameters: What is varied; only those that are well-formed.
        problems: What is wrong, one line each.
    """

    source: Path
    value: Mapping[str, Any]
    name: str
    pipeline: Path
    parameters: tuple[Parameter, ...]
    problems: tuple[str, ...]

    @property
    def trials(self) -> int:
        """Number of combinations to draw; nothing that a grid asks for."""
        return int(self.value.get("trials", _TRIALS))

    @property
    def sign(self) -> int:
        """1 where a greater score is better, else -1."""
        direction = self.value.get("direction")
        return -1 if direction == "minimize" or (direction is None and self.value["metric"] in _MINIMIZED) else 1


def load_sweep(path: str | Path) -> SweepFile:
    """Read a sweep's file. What is wrong in its content is kept as ``problems``.

    Raises:
        ConfigError: It is missing, not YAML, or holds no mapping.
    """
    path = Path(path)
    document = load_file(path)
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path} holds no mapping. A sweep starts with 'version: 1'; see 'xai sweep --help'.")
    value = fill_defaults(SCHEMA, document.value)
    found = [(place, text.replace("unknown parameter", "unknown key")) for place, text in problems_of(SCHEMA, value)]
    parameters = value["parameters"] if isinstance(value.get("parameters"), dict) else {}
    found += _of_parameters(parameters, {place[:2] for place, _ in found}, value.get("search"))
    found += _of_metric(value)
    wrong = {place[:2] for place, _ in found}
    sound = tuple(
        _parameter(name, entry, document) for name, entry in parameters.items() if ("parameters", name) not in wrong
    )
    if value.get("search") == "grid":
        found += _of_grid(value, sound)
    name = str(value.get("name", re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-") or "sweep"))
    told = sorted(found, key=lambda problem: _line(document, problem[0]))
    pipeline = path.parent / str(value["pipeline"])
    return SweepFile(path, value, name, pipeline, sound, tuple(_text(document, problem) for problem in told))


def _line(document: Document, place: PathTuple) -> int:
    known = [document.lines[place[:length]] for length in range(len(place) + 1) if place[:length] in document.lines]
    return known[-1] if known else 1


def _text(document: Document, problem: Problem) -> str:
    place, message = problem
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or "the file"
    return f"{document.name}:{_line(document, place)}: {dotted}: {message}"


def _parameter(name: str, entry: Mapping[str, Any], document: Document) -> Parameter:
    line = f"{document.name}:{_line(document, ('parameters', name))}"
    values = tuple(entry["values"]) if "values" in entry else None
    return Parameter(name, line, values, entry.get("low", 0), entry.get("high", 0), entry.get("log", False))


def _of_parameters(parameters: Mapping[str, Any], wrong: set[PathTuple], search: object) -> Iterator[Problem]:
    for name, entry in parameters.items():
        place = ("parameters", name)
        outside = _outside(name)
        if outside:
            yield place, outside
        elif place not in wrong:
            message = _of_entry(entry, search)
            if message:
                yield place, message
    for first, second in pairwise(sorted(parameters)):
        if second.startswith((f"{first}.", f"{first}[")):
            yield ("parameters", second), f"{first} is varied too, which holds it. Vary one of them."


def _outside(name: str) -> str | None:
    try:
        parse_set(f"{name}=0")
    except ConfigError:
        return "is no path. Write it as training.params.learning_rate."
    if any(name.startswith((f"{part}.", f"{part}[")) for part in _SWEPT):
        return None
    close = did_you_mean(re.split(r"[.\[]", name)[0], ["model", "training", "data"])
    # Other people, targets or divisions would give scores that cannot be compared.
    return f"cannot be varied: only what is below {', '.join(_SWEPT)} can.{close}"


def _of_entry(entry: Mapping[str, Any], search: object) -> str | None:
    ranged = {"low", "high", "log"} & set(entry)
    if ("values" in entry) == bool(ranged) or (ranged and not {"low", "high"} <= ranged):
        return "give either values: [...], or low: and high: (and log: true)."
    if "values" in entry:
        texts = [repr(value) for value in entry["values"]]
        return "a value is there twice." if len(set(texts)) < len(texts) else None
    if search == "grid":
        return "a grid needs values: [...]. Give them, or search: random."
    if not entry["low"] < entry["high"]:
        return f"low ({entry['low']}) must be less than high ({entry['high']})."
    return "log: true needs a low above 0." if entry.get("log") and entry["low"] <= 0 else None


def _of_metric(value: Mapping[str, Any]) -> Iterator[Problem]:
    metric = value.get("metric")
    if isinstance(metric, str) and "direction" not in value and metric not in _MINIMIZED | _MAXIMIZED:
        yield ("metric",), f"whether a greater {metric} is better is not known. Give direction: maximize, or minimize."


def _of_grid(value: Mapping[str, Any], parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    if "trials" in value:
        yield ("trials",), "a grid tries every combination. Leave trials out, or give search: random."
    size = 1
    for parameter in parameters:
        size *= len(parameter.values or ())
    if size > _LARGEST_GRID:
        way = "Give fewer values, or search: random with trials."
        yield ("parameters",), f"the grid has {size} combinations, more than {_LARGEST_GRID}. {way}"
