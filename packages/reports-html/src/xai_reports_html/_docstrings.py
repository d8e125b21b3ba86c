"""What components say of themselves, for readers who never see the code."""

from __future__ import annotations

import inspect
import re

from xai_core import registry

__all__ = ["account", "summary"]

_HEADING = re.compile(r"^(Args|Raises|Returns|Example|Examples|Attributes):", re.MULTILINE)


def summary(kind: str, name: str) -> str:
    """Return the first line of a component's docstring; empty where it has none or is not installed any more."""
    return _docstring(kind, name).partition("\n")[0]


def account(kind: str, name: str) -> str:
    """Return what a component's docstring says between its first line and its parameters, as plain text."""
    text = _HEADING.split(_docstring(kind, name).partition("\n")[2])[0]
    return text.replace("``", "").strip()


def _docstring(kind: str, name: str) -> str:
    try:
        component = registry.get(kind, name)
    except Exception:  # the plugin may no longer be installed where the report is written anew
        return ""
    return inspect.cleandoc(component.__doc__ or "")
