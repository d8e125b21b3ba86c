"""Which code made a result."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING, Any, cast

from .. import registry
from ..config.structure import slots_of
from .paramfiles import param_files

if TYPE_CHECKING:
    from ..interfaces import Trainer

__all__ = ["component_versions", "slot_identity", "software_versions", "without_scoring"]

_SOFTWARE = (
    "xai-core",
    "torch",
    "torchio",
    "nibabel",
    "numpy",
    "captum",
    "pytorch-lightning",
    "scikit-learn",
)


@cache
def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide numbers."""
    found = {name: _version(name) for name in _SOFTWARE}
    return {"python": platform.python_version(), **{name: v for name, v in found.items() if v is not None}}


def component_versions(config: Mapping[str, Any]) -> dict[str, str]:
    """Return ``{"explainer lrp": "xai-explainers-lrp 0.1.0", ...}`` for every chosen component."""
    found = {}
    for slot, _path, choice in slots_of(config):
        info = registry.info(slot.kind, choice["name"])
        found[f"{slot.kind} {info.name}"] = f"{info.package} {info.version}"
    return found


def slot_identity(kind: str, slot: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides what a component computes: package, version, class, parameters, their files, libraries."""
    info, files = registry.info(kind, slot["name"]), param_files(kind, slot)
    return {
        "target": f"{info.package} {info.version} {info.target}",
        "params": slot["params"],
        "libraries": _libraries(info.package),
        **({"files": files} if files else {}),
    }


def without_scoring(slot: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trainer's ``{name, params}`` without the parameters that decide scores, but no weights."""
    scoring = cast("type[Trainer]", registry.get("trainer", slot["name"])).scoring_params
    return {**slot, "params": {key: value for key, value in slot["params"].items() if key not in scoring}}


@cache
def _libraries(distribution: str) -> dict[str, str | None]:
    """Versions of what a distribution requires directly; an upgraded Zennit makes new maps."""
    try:
        needed = requires(distribution) or []
    except PackageNotFoundError:
        return {}
    names = sorted({_bare(text) for text in needed if "extra ==" not in text})
    return {name: _version(name) for name in names}


def _bare(requirement: str) -> str:
    for position, character in enumerate(requirement):
        if not (character.isalnum() or character in "-_."):
            return requirement[:position]
    return requirement
