"""The table of explainers and networks: what the user asked for, and how it is shown. Light; it runs nothing."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..config.strictyaml import load_text
from ..errors import ConfigError, InputError
from ..schemas import problems_of, resolve_paths

if TYPE_CHECKING:
    from ..engine.matrix import Cell, Column

__all__ = ["LEGEND", "as_json", "as_markdown", "as_text", "explainer_names", "parse_model"]

LEGEND = {
    "right": "The map has what every map must have (its shape, finite values, the network left as it was, the same map "
    "in a batch and alone, another map for another output and for other weights), and the explainer's own test of what "
    "the method promises passed.",
    "runs": "The former, but what the method promises could not be tested.",
    "not applicable": "The method is not defined for this kind of network, or needs parameters without a default.",
    "refused": "The explainer says that it cannot explain this network, and why.",
    "WRONG": "A check failed. Do not use it on this network, and tell its authors.",
    "failed": "It ended with an error that it does not explain. Tell its authors.",
}

_COMMAND = "xai plugins explainers --matrix"
_NEXT = re.compile(r",(?=\s*\w+\s*=)")  # a comma parts two parameters only before a name: blocks=[2,3],dropout=0.1
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/]+/)*?(?:(?:site-packages|src)/|(?=[^\s/]+(?:[\s:,)]|$)))")
_SCIENTIFIC = re.compile(r"\d(?:\.\d+)?e[-+]\d+")


def parse_model(text: str) -> tuple[str, str, dict[str, Any]]:
    """Parse ``resnet3d``, ``xai-models-resnet3d:resnet3d`` or ``resnet3d:depth=10,width=8``; the values are YAML.

    Returns:
        (text, registry name, parameters); a path is made absolute.

    Raises:
        InputError: There is no such model.
        ConfigError: A parameter is unknown or has a wrong value. That one is missing is for the table to say.
    """
    head, equals, rest = text.partition("=")
    name, colon, first = head.rpartition(":") if equals else (text, "", "")
    if equals and not colon:
        raise ConfigError(f"{text}: write the model's name first, as in resnet3d:depth=10,width=8.")
    schema = registry.schema("model", name)
    params: dict[str, Any] = {}
    for part in _NEXT.split(first + equals + rest) if equals else ():
        key, _, value = part.partition("=")
        params[key.strip()] = load_text(value, f"{text}: {key.strip()}").value
    problems = problems_of({**schema, "required": []}, params)
    if problems:
        raise ConfigError([f"{text}: {'.'.join(map(str, path))}: {problem}" for path, problem in problems])
    params = resolve_paths(schema, params, Path.cwd())
    if set(schema.get("required", ())) <= set(params):
        registry.create("model", name, **params)  # refuses parameters that do not fit each other; builds nothing yet
    return text, name, params


def explainer_names(chosen: Sequence[str]) -> list[str]:
    """Return the explainers of the table: those chosen, or all; two of one name by their packages' names.

    Raises:
        InputError: There is none of that name.
    """
    if chosen:
        return [name for name in dict.fromkeys(chosen) if registry.info("explainer", name)]
    found = [info.qualified if info.conflict else info.name for info in registry.infos("explainer")]
    if not found:
        raise InputError("No explainers are installed. Install some: pip install xai-explainers-lrp ...")
    return found


def as_json(columns: Sequence[Column]) -> dict[str, Any]:
    """Return the table for a program: models, and one entry for each cell."""
    return {
        "models": [{"model": c.model, "grid": c.grid, "parameters": c.parameters} for c in columns],
        "cells": [
            {"explainer": name, "model": column.model, "state": cell.state, "note": cell.note}
            for column in columns
            for name, cell in column.cells.items()
        ],
    }


def as_text(columns: Sequence[Column]) -> str:
    """Return the table for a terminal, what its words mean, the networks and the notes."""
    head, rows, notes = _table(columns)
    titles = zip_longest(*(_stacked(label) for label in head), fillvalue="")
    lines = [*titles, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    table = ["  ".join(f"{text:<{w}}" for text, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    numbered = [f"{number:>3}  {note}" for number, note in enumerate(notes, 1)]
    states = [f"{state}: {LEGEND[state]}" for state in _states(columns)]
    return "\n".join([*table, "", *numbered, "", *states, "", *_networks(columns)])


def as_markdown(columns: Sequence[Column], explainers: Sequence[str]) -> str:
    """Return the table as a page of the documentation, with the command that makes it."""
    head, rows, notes = _table(columns)
    command = " ".join([_COMMAND, "--markdown", *(f"--explainer {shlex.quote(name)}" for name in explainers)])
    command = " \\\n    ".join([command, *(shlex.quote(column.model) for column in columns)])
    titles = [f"`{label}`" if label else "" for label in head]
    lines = ["| " + " | ".join(line) + " |" for line in (titles, ["---"] * len(head), *rows)]
    return "\n".join([
        "# Which explainer works on which network", "",
        "Made by running every explainer, with its default parameters, on every network, with random weights:", "",
        "```bash", command, "```", "", *lines, "", "## What the words mean", "",
        *(f"* **{state}**: {LEGEND[state]}" for state in _states(columns)),
        "", "## Evidence and reasons", "", "Figures are rounded to powers of ten.", "",
        *(f"{number}. {_escaped(_FOLDERS.sub('', note))}" for number, note in enumerate(notes, 1)),
        "", "## Networks", "", *(f"* {_escaped(line)}" for line in _networks(columns)), "",
    ])  # fmt: skip


def _table(columns: Sequence[Column]) -> tuple[list[str], list[list[str]], list[str]]:
    """Return head, rows and notes; equal notes have one number."""
    notes: dict[str, int] = {}
    rows = []
    for name in columns[0].cells:
        cells = [column.cells[name] for column in columns]
        rows.append([name, *(f"{cell.state} ({_number(cell, notes)})" for cell in cells)])
    return ["", *(column.model for column in columns)], rows, list(notes)


def _stacked(label: str) -> list[str]:
    """Divide a model's name so that its column stays narrow."""
    head, colon, rest = label.partition(":")
    return [head + colon, *_NEXT.split(rest)]


def _number(cell: Cell, notes: dict[str, int]) -> int:
    return notes.setdefault(_SCIENTIFIC.sub(_power_of_ten, cell.note), len(notes) + 1)


def _power_of_ten(figure: re.Match[str]) -> str:
    value = float(figure.group())
    return f"~1e{round(math.log10(value)):+03d}" if value else "0"


def _states(columns: Iterable[Column]) -> list[str]:
    there = {cell.state for column in columns for cell in column.cells.values()}
    return [state for state in LEGEND if state in there]


def _networks(columns: Sequence[Column]) -> list[str]:
    return [f"{column.model}: {_described(column)}" for column in columns]


def _described(column: Column) -> str:
    if column.grid is None:
        return "could not be built."
    grid = " x ".join(map(str, column.grid))
    return f"volumes of {grid} voxels, {column.parameters:,} parameters."


def _escaped(text: str) -> str:
    return re.sub(r"([*_<|\[\]])", r"\\\1", text)
