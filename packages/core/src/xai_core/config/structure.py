"""The structure of a pipeline file: which slots there are, and one composed schema for editors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from .. import registry
from ..errors import XaiError

__all__ = ["NAME_PATTERN", "SLOTS", "STRUCTURE", "Slot", "composed_schema", "slots_of"]

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


@dataclass(frozen=True)
class Slot:
    """A place in the file where a component is chosen.

    Attributes:
        path: Keys that lead to it.
        kind: Kind of the component.
        many: Whether it is a list.
        required: Whether a file must have it.
        description: For editors.
    """

    path: tuple[str, ...]
    kind: str
    many: bool
    required: bool
    description: str


SLOTS = (
    Slot(("data",), "dataset", False, True, "The study: people, scans and what is to be predicted."),
    Slot(("data", "transforms"), "transform", True, False, "Preprocessing and augmentation, in this order."),
    Slot(("split",), "splitter", False, True, "How people are divided into training, validation and test."),
    Slot(("model",), "model", False, True, "The network."),
    Slot(("training",), "trainer", False, True, "How the network is fitted."),
    Slot(("explainers",), "explainer", True, False, "How each test person's prediction is explained."),
    Slot(("evaluators",), "evaluator", True, False, "How the explanations are scored."),
    Slot(("analyses",), "analysis", True, False, "Tables, maps and figures from the relevance maps."),
    Slot(("reports",), "report", True, False, "Reports made from the finished run."),
    Slot(("executor",), "executor", False, False, "Where the units of work run. Default: in this process."),
)

_PER_FOLD = tuple(slot for slot in SLOTS if slot.kind in ("model", "trainer", "transform"))


def _slot_schema(slot: Slot) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "name": {"type": "string", "minLength": 1, "description": f"Registry name of the {slot.kind}."},
        "params": {"type": "object", "default": {}, "description": f"Parameters of the {slot.kind}."},
    }
    if slot.many:
        properties = {
            "id": {
                "type": "string",
                "pattern": NAME_PATTERN,
                "description": "Name in results. Default: the name.",
            },
            **properties,
        }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": properties,
        "description": slot.description,
    }


def _build_structure() -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["version", *(s.path[0] for s in SLOTS if s.required)],
        "properties": {
            "version": {"const": 1, "description": "Version of this file format."},
            "name": {
                "type": "string", "pattern": NAME_PATTERN,
                "description": "Name of the experiment and of its run folder. Default: the file's name.",
            },
            "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1, "default": 42,
                     "description": "Every random choice follows from it."},
            "device": {"type": "string", "pattern": r"^(auto|cpu|mps|cuda(:[0-9]+)?)$", "default": "auto",
                       "description": "auto (a GPU where there is one), cpu, cuda, cuda:1 or mps."},
            "output": {"type": "string", "minLength": 1, "format": "path", "default": "results",
                       "description": "Folder that run folders are made in, relative to this file."},
            "quality": {"type": "boolean", "default": True,
                        "description": "Whether plugins make their pages of image quality before training (the folder "
                        "quality of xai-datasets-mri)."},
        },
    }  # fmt: skip
    for slot in SLOTS:
        node = schema
        for key in slot.path[:-1]:
            node = node["properties"][key]
        one = _slot_schema(slot)
        node["properties"][slot.path[-1]] = (
            {"type": "array", "items": one, "default": [], "description": slot.description} if slot.many else one
        )
    schema["properties"]["per_fold"] = _per_fold_schema()
    return schema


def _per_fold_schema() -> dict[str, Any]:
    model, training, transforms = (
        _slot_schema(next(slot for slot in _PER_FOLD if slot.kind == kind))
        for kind in ("model", "trainer", "transform")
    )
    data = {
        "type": "object", "additionalProperties": False, "required": ["transforms"],
        "properties": {"transforms": {"type": "array", "items": transforms, "description": "Instead of the study's."}},
        "description": "Preprocessing of this fold.",
    }  # fmt: skip
    entry = {
        "type": "object", "additionalProperties": False, "description": "What differs in this fold; {} for nothing.",
        "properties": {"model": model, "training": training, "data": data},
    }  # fmt: skip
    # No default: configurations saved before there was this key are the same as without it.
    return {"type": "array", "items": entry, "minItems": 1,
            "description": "Other parts for single folds, one entry for each; 'xai sweep' writes it."}  # fmt: skip


STRUCTURE: Mapping[str, Any] = _build_structure()


def slots_of(config: Mapping[str, Any]) -> Iterator[tuple[Slot, tuple[str | int, ...], dict[str, Any]]]:
    """Yield (slot, path, choice) for every well-formed choice in a parsed file; malformed ones are skipped."""
    for slot in SLOTS:
        yield from _choices(config, slot, ())
    entries = config.get("per_fold")
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        for slot in _PER_FOLD:
            yield from _choices(entry, slot, ("per_fold", number))


def _choices(
    config: Any, slot: Slot, start: tuple[str | int, ...]
) -> Iterator[tuple[Slot, tuple[str | int, ...], dict[str, Any]]]:
    node = config
    for key in slot.path:
        node = node.get(key) if isinstance(node, Mapping) else None
    choices = list(enumerate(node)) if slot.many and isinstance(node, list) else [(None, node)]
    for index, choice in choices:
        if isinstance(choice, dict) and isinstance(choice.get("name"), str):
            yield slot, (*start, *slot.path) if index is None else (*start, *slot.path, index), choice


def composed_schema() -> dict[str, Any]:
    """Return one JSON Schema of a whole pipeline file with the parameters of every installed component."""
    schema = deepcopy(dict(STRUCTURE))
    for slot in SLOTS:
        node = schema
        for key in slot.path[:-1]:
            node = node["properties"][key]
        node = node["properties"][slot.path[-1]]
        one = node["items"] if slot.many else node
        names = []
        for info in registry.infos(slot.kind):
            name = info.qualified if info.conflict else info.name
            try:
                params = registry.schema(slot.kind, name)
            except XaiError:
                continue  # a broken plugin must not take the editor's help from the others
            names.append(name)
            names.append(info.qualified)
            then: dict[str, Any] = {"properties": {"params": dict(params)}}
            if params.get("required"):
                then["required"] = ["params"]
            condition = {
                "properties": {"name": {"enum": list(dict.fromkeys([name, info.qualified]))}},
                "required": ["name"],
            }
            one.setdefault("allOf", []).append({"if": condition, "then": then})
        if names:
            one["properties"]["name"]["enum"] = list(dict.fromkeys(names))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "xai pipeline", **schema}
