"""What ``xai doctor`` looks at."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import registry
from ..errors import PluginError

__all__ = ["Check", "health_checks"]


@dataclass(frozen=True)
class Check:
    """One row: what was looked at, whether all is well, what was found and what to do."""

    name: str
    ok: bool
    found: str
    plugin: bool = False


def health_checks() -> list[Check]:
    """Run every check; one that fails unexpectedly is a row too."""
    checks: list[Check] = []
    for name, check in _CHECKS:
        try:
            checks.append(check())
        except Exception as error:
            checks.append(Check(name, False, f"{type(error).__name__}: {error}"))
    for problem in registry.problems():
        checks.append(Check(f"{problem.kind} {problem.name}", False, problem.message, plugin=True))
    return checks + _from_hooks()


def _from_hooks() -> list[Check]:
    from .hooks import Hooks

    try:
        hooks = Hooks()
        return [_row(row) for rows in hooks.call("xai_health_checks") for row in rows]
    except PluginError as error:
        return [Check("hooks", False, str(error), plugin=True)]


def _row(row: object) -> Check:
    if isinstance(row, tuple | list) and len(row) == 3:
        return Check(str(row[0]), bool(row[1]), str(row[2]))
    found = f"xai_health_checks gave {row!r}, not (name, whether all is well, what was found)"
    return Check("hooks", False, found, plugin=True)


def _python() -> Check:
    return Check("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}")


def _torch() -> Check:
    import torch

    return Check("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads")


def _device() -> Check:
    import torch

    from .folds import pick_device

    device = pick_device("auto")
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("device", True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    return Check("device", True, f"{device.type} (no GPU was found; training on full-size scans will be slow)")


def _torchvision() -> Check:
    from .torchvision_shim import ensure_torchvision

    ensure_torchvision()
    import torchvision

    return Check("torchvision", True, str(torchvision.__version__))


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Check("disk", free > 1, f"{free:.1f} GiB free in {Path.cwd()}" + ("" if free > 1 else ": make room"))


def _scratch() -> Check:
    with tempfile.NamedTemporaryFile(dir=Path.cwd() if os.access(Path.cwd(), os.W_OK) else None):
        pass
    writable = os.access(Path.cwd(), os.W_OK)
    return Check("working folder", writable, f"{Path.cwd()} is {'' if writable else 'not '}writable")


def _components() -> Check:
    return Check("components", bool(registry.infos()), f"{len(registry.infos())} installed; 'xai plugins' lists them")


_CHECKS: tuple[tuple[str, Callable[[], Check]], ...] = (
    ("python", _python), ("torch", _torch), ("torchvision", _torchvision), ("device", _device), ("disk", _disk),
    ("working folder", _scratch), ("components", _components),
)  # fmt: skip
