"""The run folder: made, locked, and refused where it belongs to another configuration."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.strictyaml import dump, load_file
from ..errors import InputError
from .results import ENSEMBLE
from .units import Units, write_text
from .versions import without_scoring

__all__ = ["JOINED", "RESOLVED", "differences", "prepare_folder", "run_lock"]

RESOLVED = "pipeline.resolved.yaml"

JOINED = (
    "{} is an ensemble of finished runs: it has no networks of its own. Use the folders of its members (ensemble.json "
    "names them), or join them again with 'xai ensemble'."
)
"""What is told of an ensemble's folder, the ``{}``, where networks are needed."""

# Where the units run decides nothing in the results.
_FREE = {"executor", "output", "name", "quality"}
_GROWING = {"explainers", "evaluators", "analyses", "reports"}


def prepare_folder(config: Mapping[str, Any]) -> Path:
    """Make the run folder of a configuration, or accept the one that is there, and save the configuration in it.

    A folder of the same configuration is gone on with. New explainers, evaluators, analyses and reports may join;
    any other difference would leave results of two configurations under one name and is refused, unless nothing has
    been finished there yet.

    Raises:
        InputError: The folder is somebody else's, belongs to another configuration, or cannot be written.
    """
    folder = Path(config["output"], config["name"])
    if (folder / ENSEMBLE).is_file():
        raise InputError(JOINED.format(folder))
    saved = folder / RESOLVED
    if saved.is_file():
        changed = differences(load_file(saved).value, config)
        if changed and Units(folder).any_done():
            listed = "\n  ".join(changed[:8]) + ("\n  ..." if len(changed) > 8 else "")
            raise InputError(
                f"{folder} holds a run of another configuration:\n  {listed}\n"
                "Give this run another --name, or remove that folder first."
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not a run folder. Give another --name or output, or remove it first.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(saved, dump(dict(config)))
    except OSError as error:
        raise InputError(
            f"The run folder {folder} cannot be written: {error.strerror}. Choose another output."
        ) from error
    return folder


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say where two resolved configurations differ in what decides results already there."""
    found: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        if key in _FREE:
            continue
        if key == "training" and key in old and old[key]["name"] == new[key]["name"]:
            found += _leaves(key, without_scoring(old[key]), without_scoring(new[key]))
        elif key in _GROWING:
            found += _changed_entries(key, old.get(key) or [], new.get(key) or [])
        else:
            found += _leaves(key, old.get(key), new.get(key))
    return found


def _changed_entries(section: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    now = {entry["id"]: entry for entry in new}
    found: list[str] = []
    for entry in old:
        path = f"{section}.{entry['id']}"
        found += _leaves(path, entry, now[entry["id"]]) if entry["id"] in now else [f"{path}: there, but not here"]
    return found


def _leaves(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line for key in dict.fromkeys([*old, *new]) for line in _leaves(f"{path}.{key}", old.get(key), new.get(key))
        ]
    return [] if old == new else [f"{path}: {old!r} there, {new!r} here"]


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the system lets go of it when the process ends in any way.

    Raises:
        InputError: Another process works on it.
    """
    private = folder / ".xai"
    try:
        private.mkdir(parents=True, exist_ok=True)
        stream = (private / "lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The run folder {folder} cannot be written: {error.strerror}. Choose another output."
        ) from error
    with stream:
        try:
            import fcntl
        except ImportError:  # Windows: no advisory locks of this kind
            yield
            return
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            raise InputError(
                f"{folder} is in use by another run (process {stream.read().strip() or 'unknown'}). Wait for it, or "
                "give this one another --name."
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
