"""Whether a scan is of somebody whom a fold's network was trained or validated on, and a scan's covariates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torchio as tio

from ..errors import InputError
from ..schemas import did_you_mean
from .covariates import covariates_read
from .imagefile import read_image_file, read_tensor
from .leakage import Scan, listed
from .leakstudy import scans_of_run
from .progress import log
from .results import RunResults
from .scans import image_of, paths_of
from .voxels import voxel_digests

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SEEN", "FoldPeople", "Value"]

SEEN = "seen_in_training"
"""What marks a prediction or the sidecar of a map of somebody whom the network was trained or validated on."""

_NOT_COVARIATES = {"image", "ground_truth", "target", "scan_id", "subject_id"}
_MISSING = {"", "n/a", "na", "nan"}

Value = str | int | float | None


@dataclass(frozen=True)
class FoldPeople:
    """The people of one fold of a run.

    Attributes:
        folder: The run folder.
        index: Index of the fold.
    """

    folder: Path
    index: int

    @cached_property
    def _splits(self) -> pd.DataFrame:
        return RunResults(self.folder).splits()

    @cached_property
    def _trained(self) -> list[Scan]:
        """The scans of the fold's training and validation part."""
        rows = self._splits[(self._splits["fold"] == self.index) & self._splits["part"].isin(["train", "val"])]
        people = set(rows["subject_id"])
        return [scan for scan in scans_of_run(RunResults(self.folder)) if scan.person in people]

    @cached_property
    def _by_digest(self) -> dict[str, str]:
        return {digest: scan.person for scan in self._trained for digest in (scan.digest, *scan.voxels) if digest}

    @cached_property
    def _by_folder(self) -> dict[Path, str]:
        folders = ((_person_folder(Path(scan.file)), scan.person) for scan in self._trained if scan.file)
        return {folder: person for folder, person in folders if folder is not None}

    @cached_property
    def _told(self) -> set[str]:
        return set()

    def admit(self, scan: tio.Subject, *, allow: bool) -> bool:
        """Return whether the network was trained or validated on this scan's person, as far as can be known.

        Known are images with the content or the voxels of one of the fold's, and those in such a person's BIDS folder.

        Args:
            scan: As it was read.
            allow: Warn instead of refusing it.

        Raises:
            InputError: It was, and ``allow`` is false.
        """
        found = self._seen(scan)
        name = str(scan["subject_id"])
        if found is None:
            self._warn_of_name(scan)
            return False
        person, how = found
        told = f"{name} is {how} {person}, whom the network of fold {self.index} was trained or validated on"
        if not allow:
            raise InputError(
                f"{told}: what it says of this scan holds for nobody else. {self._way_out(person)}give "
                "--allow-training-people (Python: allow_training_people=True); the output is marked then."
            )
        if name not in self._told:
            log.warning("%s; the output is marked (%s).", told, SEEN)
            self._told.add(name)
        return True

    def _seen(self, scan: tio.Subject) -> tuple[str, str] | None:
        """Return the person, and how that is known."""
        image = image_of(scan)
        paths = paths_of(image)
        name = str(scan["subject_id"])
        reads = [read_image_file(path, name) for path in paths] if paths else read_tensor(image, name)
        for read in reads:
            digests = [read.digest, *([] if read.values is None else voxel_digests(read.values, read.affine))]
            person = next((self._by_digest[digest] for digest in digests if digest in self._by_digest), None)
            if person is not None:
                return person, "an image of"
        for path in paths:
            folder = _person_folder(path)
            if folder in self._by_folder:
                return self._by_folder[folder], f"in {folder}, another image of"
        return None

    def _way_out(self, person: str) -> str:
        tested = self._splits[(self._splits["part"] == "test") & (self._splits["subject_id"] == person)]
        folds = [str(fold) for fold in tested["fold"]]
        if not folds:
            return "If you want it all the same, "
        return f"Take the network of fold {' or '.join(folds[:3])}, which has not seen this person, or "

    def _warn_of_name(self, scan: tio.Subject) -> None:
        """Every study has a sub-01: a name alone is a hint."""
        label = re.match(r"sub-[A-Za-z0-9]+", str(scan["subject_id"]))
        if label and label[0] in {one.name.partition("_")[0] for one in self._trained} and label[0] not in self._told:
            self._told.add(label[0])
            log.warning(
                "%s has the name of somebody whom the network of fold %d was trained or validated on. If it is the "
                "same person, this is no test.", scan["subject_id"], self.index,
            )  # fmt: skip

    def covariates(self, config: Mapping[str, Any], given: Mapping[str, Value] | None) -> dict[str, Value]:
        """Return a scan's covariates as the study's table would have them.

        Args:
            config: The resolved configuration.
            given: By name; texts are read as in the study's table.

        Raises:
            InputError: A name is no column of the study's table, or a value is no number where that holds numbers.
        """
        found: dict[str, Value] = {}
        problems: list[str] = []
        table = RunResults(self.folder).subjects() if given else None
        for name, value in (given or {}).items():
            assert table is not None
            columns = [column for column in table.columns if column not in _NOT_COVARIATES]
            if name not in columns:
                known = ", ".join(columns) or "none"
                problems.append(f"{name!r} is no covariate of the study.{did_you_mean(name, columns)} Known: {known}.")
                continue
            try:
                found[name] = _value(value, table[name])
            except ValueError:
                problems.append(f"{name}: {value!r} is no number, as the study has there.")
        if problems:
            raise InputError("covariate " + "\n  covariate ".join(problems))
        self._warn_of_missing(covariates_read(config), found)
        return found

    def _warn_of_missing(self, wanted: Sequence[str], found: Mapping[str, Value]) -> None:
        lacking = [name for name in wanted if found.get(name) is None and name not in self._told]
        if lacking:
            self._told.update(lacking)
            log.warning(
                "the preprocessing of this run reads %s, which is not known of this scan. Give --covariate %s=... "
                "(Python: covariates={...}).", listed(lacking), lacking[0],
            )  # fmt: skip


def _person_folder(path: Path) -> Path | None:
    """Return the BIDS folder of the person whose file it is."""
    return next((folder for folder in path.absolute().parents if folder.name.startswith("sub-")), None)


def _value(value: Value, column: pd.Series) -> Value:
    """Return a value with the type that the study's column has.

    Raises:
        ValueError: It is no finite number, but the column holds numbers.
    """
    import pandas as pd

    if value is None or (isinstance(value, str) and value.strip().casefold() in _MISSING):
        return None
    if not pd.api.types.is_numeric_dtype(column) or column.isna().all():
        return str(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number
