"""The run folder: made, locked, and refused where it belongs to another configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config.resolve import bids_label
from ..config.strictyaml import dump, load_file
from ..errors import InputError
from .results import ENSEMBLE
from .units import Units, write_text
from .versions import without_scoring

__all__ = ["GROWING", "JOINED", "RESOLVED", "conflicts", "differences", "prepare_folder", "run_lock", "saved_config"]

RESOLVED = "pipeline.resolved.yaml"

JOINED = (
    "{} is an ensemble of finished runs: it has no networks of its own. Use the folders of its members (ensemble.json "
    "names them), or join them again with 'xai ensemble'."
)
"""What is told of an ensemble's folder, the ``{}``, where networks are needed."""

# Where the units run decides nothing in the results.
_FREE = {"executor", "output", "name", "quality"}
# Units that stand at the end: their key tells that they are to be made anew, and nothing of worth is lost.
_REMADE = ("analyses", "reports")
GROWING = ("explainers", "evaluators", *_REMADE)
"""Sections whose entries may join a run that is done."""

Results = Callable[[str, str], bool]


def prepare_folder(config: Mapping[str, Any]) -> Path:
    """Make the run folder of a configuration, or accept the one that is there, and save the configuration in it.

    A folder of the same configuration is gone on with. New explainers, evaluators, analyses and reports may join,
    those without results yet may change and go, and changed analyses and reports are made anew; any other difference
    would leave results of two configurations under one name and is refused, unless nothing has been finished there yet.

    Raises:
        InputError: The folder is somebody else's, belongs to another configuration, or cannot be written.
    """
    folder = Path(config["output"], config["name"])
    if (folder / ENSEMBLE).is_file():
        raise InputError(JOINED.format(folder))
    saved = folder / RESOLVED
    if saved.is_file():
        changed = conflicts(folder, config)
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


def conflicts(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Say where a configuration differs from that of a run folder in what decides results that are there.

    Raises:
        ConfigError, InputError: See ``saved_config``.
    """
    units = Units(folder)
    return differences(saved_config(folder), config, lambda section, one: _has_results(units, section, one))


def saved_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a run folder, in which somebody may have written since.

    Raises:
        ConfigError: It is no YAML.
        InputError: It is no configuration.
    """
    path = folder / RESOLVED
    config = load_file(path).value
    refused = InputError(f"{path} is no configuration any more. Write it as it was, or remove that folder first.")
    if not isinstance(config, dict) or not all(_is_slot(config.get(key)) for key in ("data", "model", "training")):
        raise refused
    lists = {key: config.get(key) or [] for key in GROWING}
    if not all(isinstance(slots, list) and all(_is_slot(slot) for slot in slots) for slots in lists.values()):
        raise refused
    config["training"].setdefault("params", {})
    return {
        **config,
        **{key: [{"id": slot["name"], "params": {}, **slot} for slot in slots] for key, slots in lists.items()},
    }


def _is_slot(value: object) -> bool:
    return isinstance(value, dict) and "name" in value and isinstance(value.get("params", {}), dict)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], results: Results = lambda *_: True) -> list[str]:
    """Say where two resolved configurations differ in what decides results already there.

    Args:
        old: What made the results.
        new: What is to go on with them.
        results: Whether there are results of an entry: section (``explainers``) and id.
    """
    found: list[str] = []
    for key in dict.fromkeys([*old, *new]):
        if key in _FREE:
            continue
        if key == "training" and key in old and old[key]["name"] == new[key]["name"]:
            found += _leaves(key, without_scoring(old[key]), without_scoring(new[key]))
        elif key in GROWING:
            made = [entry for entry in old.get(key) or [] if results(key, entry["id"])]
            found += _changed_entries(key, made, new.get(key) or [])
        else:
            found += _leaves(key, old.get(key), new.get(key))
    return found


def _changed_entries(section: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[str]:
    now = {entry["id"]: entry for entry in new}
    found: list[str] = []
    for entry in old:
        path = f"{section}.{entry['id']}"
        if entry["id"] not in now:
            found.append(f"{path}: there with results, but not here; keep it{_removal(section, entry['id'])}")
        elif section not in _REMADE:
            lines = _leaves(path, entry, now[entry["id"]])
            found += [f"{line}; a changed entry needs an id of its own beside it{_removal(section, entry['id'])}"
                      for line in lines]  # fmt: skip
    return found


def _removal(section: str, one: str) -> str:
    """Return how an entry can be given up, above all one that failed in the middle."""
    label = bids_label(one)
    what = {
        "explainers": f"maps from derivatives (*_desc-{label}_relevance.*; of repeats *_desc-{label}Fold*_relevance.*)",
        "evaluators": f"folder .xai/evaluation/{one}",
        "analyses": f"folder analysis/{one}",
        "reports": f"folder (report-{one}, or report if it is the first)",
    }
    return f", or remove its {what[section]} first"


def _has_results(units: Units, section: str, one: str) -> bool:
    """Whether there are files of an explainer, evaluator, analysis or report."""
    if section == "explainers":  # of several folds: ``<id>.fold-0``
        return units.has_files("maps/*", lambda name: name == one or name.startswith(f"{one}.fold-"))
    if section == "evaluators":
        return units.has_files(f"evaluation/{one}/*", lambda _: True)
    return units.has_files({"analyses": "analysis", "reports": "report"}[section], lambda name: name == one)


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
