"""Short ways to write the JSON Schemas of this package. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["INTERPOLATION", "PROBABILITY", "count3", "number_or_range", "parameters", "spacing3"]

INTERPOLATION: Mapping[str, Any] = {
    "enum": ["linear", "nearest", "bspline", "lanczos"],
    "default": "linear",
    "description": "Interpolation of images; masks always take the nearest voxel.",
}

PROBABILITY: Mapping[str, Any] = {
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "default": 1,
    "description": "Probability that a training scan is changed at all.",
}


def parameters(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of an object with these properties; those without a default are required."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": dict(properties)}
    required = [name for name, prop in properties.items() if "default" not in prop]
    return {**schema, "required": required} if required else schema


def count3(description: str, *, minimum: int, lengths: tuple[int, ...] = (3,)) -> dict[str, Any]:
    """Return the schema of one integer, or of a list of as many as ``lengths`` allows."""
    item = {"type": "integer", "minimum": minimum}
    lists = [{"type": "array", "items": item, "minItems": n, "maxItems": n} for n in lengths]
    return {"anyOf": [item, *lists], "description": description}


def spacing3(description: str, **default: object) -> dict[str, Any]:
    """Return the schema of one positive number, or of three, one for each axis."""
    item = {"type": "number", "exclusiveMinimum": 0}
    three = {"type": "array", "items": item, "minItems": 3, "maxItems": 3}
    return {"anyOf": [item, three], **default, "description": description}


def number_or_range(description: str, default: object, lengths: tuple[int, ...] = (2, 3, 6)) -> dict[str, Any]:
    """Return the schema of one number, of a range, or of three values or ranges, one for each axis."""
    number = {"type": "number"}
    several = [{"type": "array", "items": number, "minItems": n, "maxItems": n} for n in lengths]
    return {"anyOf": [number, *several], "default": default, "description": description}
