"""A study in memory: the scans of its dataset, what is to be predicted, and how people are divided."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torchio as tio

from .. import registry
from ..config.resolve import bids_label
from ..errors import InputError, PluginError
from ..types import Fold, Task
from .calls import at_work
from .covariates import scan_identities
from .foldchecks import check_fold, check_held_out, check_tested_once, check_training_parts
from .imagefiles import file_columns, with_masks
from .looks import Look
from .scans import ScanChecks
from .seeding import seeded, unit_seed
from .skipping import check_usable, skipped_scans
from .units import file_hash

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONTROL_NAMES", "Study", "part_of", "scan_name"]

_RESERVED = {"image", "ground_truth", "target", "scan_id", "subject_id", "session_id", "site"}

# How studies call those without the condition; they come first, so that the positive class is the condition.
CONTROL_NAMES = {
    "cn", "nc", "hc", "con", "ctl", "ctrl", "control", "controls", "healthy", "normal", "no", "0", "negative",
}  # fmt: skip


def scan_name(subject: Mapping[str, Any]) -> str:
    """Return the BIDS name of a scan: ``sub-01`` or ``sub-01_ses-02``."""
    name = "sub-" + bids_label(re.sub(r"^sub-", "", str(subject["subject_id"])))
    session = subject.get("session_id")
    return name if session in (None, "") else f"{name}_ses-{bids_label(re.sub('^ses-', '', str(session)))}"


@dataclass
class Study:
    """The scans of a configuration's dataset, checked.

    Args:
        config: The resolved configuration.
        folder: The run folder, for what is remembered of the scans.

    Attributes:
        subjects: One ``torchio.Subject`` for each scan, ordered as the dataset orders them.
        names: ``sub-01`` or ``sub-01_ses-02`` of each.
        listed: As ``subjects``, with those that ``--skip-bad`` left out; ``listed_names`` are theirs.
        skipped: The scans that it left out, by name with the reason.

    Raises:
        InputError: The study cannot be used; the message says what is wrong with which person.
    """

    config: Mapping[str, Any]
    folder: Path

    def __post_init__(self) -> None:
        slot = self.config["data"]
        self.dataset = registry.create("dataset", slot["name"], **slot["params"])
        with seeded(unit_seed(self.config["seed"], "dataset")), at_work("dataset", slot["name"], "listing its scans"):
            self.subjects: Sequence[tio.Subject] = self.dataset.subjects()
        if not len(self.subjects):
            raise InputError(f"The dataset {slot['name']} holds nobody. Look at its table and at data.params.")
        _check_subjects(self.subjects, slot["name"])
        self.names = [scan_name(subject) for subject in self.subjects]
        _check_names(self.subjects, self.names)
        self.listed, self.listed_names, self.skipped = self.subjects, self.names, skipped_scans(self.folder)
        if self.skipped:
            self._leave_out(self.skipped)
        self.task, self.classes = _task(self.subjects, self.dataset.class_order)

    def _leave_out(self, names: Collection[str]) -> None:
        kept = [index for index, name in enumerate(self.listed_names) if name not in names]
        if not kept:
            raise InputError(f"None of the {len(self.listed)} scans can be used; left-out.tsv or 'xai qc' says why.")
        self.subjects, self.names = [self.listed[i] for i in kept], [self.listed_names[i] for i in kept]

    @cached_property
    def looks(self) -> list[Look]:
        """What was found at each scan; every scan is looked at once for it."""
        return ScanChecks(self.folder / ".xai" / "scans.json").look(self.subjects, self.names)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each scan's content by name.

        Raises:
            InputError: Scans cannot be used, all in one message.
        """
        check_usable(self.looks)
        return {look.name: look.digest for look in self.looks}

    @cached_property
    def identities(self) -> list[str]:
        """What decides each prepared scan: the hash of its content, with what transforms read besides it."""
        hashes = with_masks(self.subjects, [self.hashes[name] for name in self.names])
        return scan_identities(self.config, self.subjects, hashes)

    @cached_property
    def truth_hashes(self) -> tuple[str | None, ...]:
        """SHA-256 of each scan's ground-truth mask; None where there is none, or it lies in memory only."""
        paths = [_file(subject.get("ground_truth")) for subject in self.subjects]
        return tuple(None if path is None else file_hash(Path(path)) for path in paths)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row for each scan: scan_id, subject_id, session_id, site, target, image, ground_truth, covariates.

        Where there are several channels, masks or maps, their files are further columns; see ``file_columns``.
        """
        import pandas as pd

        rows = []
        for name, subject in zip(self.names, self.subjects, strict=True):
            row: dict[str, Any] = {"scan_id": name, "subject_id": str(subject["subject_id"])}
            row |= {key: subject.get(key) for key in ("session_id", "site", "target")}
            row |= file_columns(subject, self.dataset.channel_names)
            row |= {k: v for k, v in subject.items() if k not in _RESERVED and not isinstance(v, tio.Image)}
            rows.append(row)
        return pd.DataFrame(rows)

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """The divisions of the people.

        Raises:
            InputError: The splitter puts a person into two parts, names somebody unknown, or leaves a part empty.
        """
        name, folds = self.config["split"]["name"], self.divided
        people = {str(subject["subject_id"]) for subject in self.subjects}
        for index, fold in enumerate(folds):
            check_fold(index, fold, people, name)
        check_held_out(folds, people, name)
        check_tested_once(folds, name)
        check_training_parts(self, folds, name)
        return folds

    @cached_property
    def divided(self) -> tuple[Fold, ...]:
        """What the splitter returned, before anybody looks for leaks in it: those are told all together.

        Raises:
            InputError, PluginError: The splitter refuses the study, or returns something else than folds.
        """
        slot = self.config["split"]
        splitter = registry.create("splitter", slot["name"], **slot["params"])
        with seeded(unit_seed(self.config["seed"], "split")), at_work("splitter", slot["name"], "dividing the study"):
            folds = tuple(splitter.split(self.table, unit_seed(self.config["seed"], "split")))
        if not folds:
            raise PluginError(f"The splitter {slot['name']} returned no fold.")
        for fold in folds:
            if not isinstance(fold, Fold):
                raise PluginError(
                    f"The splitter {slot['name']} returned a {type(fold).__name__}, not an xai_core.Fold."
                )
        return folds

    def part(self, people: Sequence[str]) -> list[int]:
        """Return the positions of every scan of these people."""
        wanted = set(people)
        return [i for i, subject in enumerate(self.subjects) if str(subject["subject_id"]) in wanted]

    def with_covariates(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Return rows that have a ``scan_id`` with the covariates of their scans as further columns."""
        names = self.dataset.channel_names
        known = {*predictions.columns, *(name for s in self.subjects for name in file_columns(s, names))}
        covariates = [name for name in self.table.columns if name not in known]
        return predictions.merge(self.table[["scan_id", *covariates]], on="scan_id", how="left", validate="m:1")

    def target_value(self, index: int) -> int | float:
        """Return a scan's class index, or its value in a regression."""
        target = self.subjects[index]["target"]
        return self.classes.index(target) if self.classes is not None else float(cast(float, target))

    @property
    def outputs(self) -> int:
        """Number of outputs that a network needs."""
        return 1 if self.classes is None else len(self.classes)


def _file(image: object) -> str | None:
    path = getattr(image, "path", None)
    return str(path) if path is not None and not isinstance(path, list | tuple) else None


def _check_subjects(subjects: Sequence[tio.Subject], dataset: str) -> None:
    for position, subject in enumerate(subjects):
        if not isinstance(subject, tio.Subject):
            raise PluginError(f"The dataset {dataset} gave a {type(subject).__name__}, not a torchio.Subject.")
        lacking = [key for key in ("image", "target", "subject_id") if key not in subject]
        if lacking:
            raise PluginError(f"The dataset {dataset}: scan {position + 1} has no {' and no '.join(lacking)}.")


def _check_names(subjects: Sequence[tio.Subject], names: Sequence[str]) -> None:
    people: dict[str, str] = {}
    visits: dict[str, str] = {}
    for subject, name in zip(subjects, names, strict=True):
        person, session = str(subject["subject_id"]), str(subject.get("session_id") or "")
        label, separator, visit = name.partition("_ses-")
        if label == "sub-":
            raise InputError(f"The person {person!r} has no letter or digit in the id.")
        if separator and not visit:
            raise InputError(f"The session {session!r} of {person!r} has no letter or digit.")
        same = people.setdefault(label, person)
        # Also where the sessions differ: one person under two ids could be in two parts.
        if same != person:
            raise InputError(f"The ids {same!r} and {person!r} both become {label} in file names. Rename one of them.")
        if name in visits:
            raise InputError(_twice(person, visits[name], session, name))
        visits[name] = session


def _twice(person: str, first: str, second: str, name: str) -> str:
    if first != second:
        return f"The sessions {first!r} and {second!r} of {person!r} both become {name} in file names. Rename one."
    return (
        f"The person {person!r} is there twice. Remove one row, or name the column that tells the visits apart "
        "(data.params.session)."
    )


def _task(subjects: Sequence[tio.Subject], order: Sequence[str] | None) -> tuple[Task, tuple[str, ...] | None]:
    targets: list[Any] = [subject["target"] for subject in subjects]
    if all(isinstance(target, str) for target in targets):
        return "classification", _classes(targets, order)
    if all(isinstance(target, int | float) and not isinstance(target, bool) for target in targets):
        wrong = [str(s["subject_id"]) for s in subjects if not math.isfinite(cast(float, s["target"]))]
        if wrong:
            raise InputError(
                f"The target of {', '.join(wrong[:5])} is not a finite number. Fill it in or leave them out."
            )
        if len(set(targets)) == 1:
            raise InputError(f"The target is {targets[0]} for everybody; there is nothing to learn.")
        return "regression", None
    kinds = Counter(type(target).__name__ for target in targets)
    rarest = kinds.most_common()[-1][0]
    example = next(subject for subject in subjects if type(subject["target"]).__name__ == rarest)
    what = "mixed" if len(kinds) > 1 else "neither texts nor numbers"
    raise InputError(
        f"The targets are {what}: {_listed(kinds)}; {example['subject_id']} has {example['target']!r}. Give texts for "
        "classes (str) or numbers for a regression (int, float)."
    )


def _classes(targets: Sequence[str], order: Sequence[str] | None) -> tuple[str, ...]:
    counts = Counter(targets)
    classes = tuple(sorted(counts, key=_controls_first)) if order is None else tuple(order)
    unknown = sorted(set(counts) - set(classes))
    if unknown:
        raise InputError(f"The classes {', '.join(unknown)} occur, but the order of classes is {', '.join(classes)}.")
    absent = [name for name in classes if not counts[name]]
    if absent:
        raise InputError(f"Nobody has the class {', '.join(absent)}. There is: {_listed(counts)}.")
    if len(set(classes)) < len(classes):
        raise InputError(f"The order of classes names one twice: {', '.join(classes)}.")
    if len(classes) < 2:
        raise InputError(f"There is only one class: {_listed(counts)}. A classification needs two.")
    return classes


def _controls_first(name: str) -> tuple[bool, str]:
    return name.lower() not in CONTROL_NAMES, name


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))


def part_of(fold: Fold, part: str) -> tuple[str, ...]:
    """Return the people of ``train``, ``val``, ``test`` or ``held_out``."""
    return cast("tuple[str, ...]", getattr(fold, part))
