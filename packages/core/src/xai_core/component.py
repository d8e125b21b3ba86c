"""The base of every component."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = ["Component"]


class Component(ABC):
    """Base of every component.

    Attributes:
        config_schema: JSON Schema 2020-12 of the parameters: an object with ``additionalProperties: false``
            whose properties carry ``default`` and ``description``. A parameter without a default is in
            ``required``. A string property with ``"format": "path"`` is a file or folder: a relative one is
            relative to the configuration file.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {},
    }
