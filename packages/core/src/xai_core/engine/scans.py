"""Looks at every scan once before any long work: readable, three-dimensional, finite; and its content's hash."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torchio as tio

from ..errors import InputError
from .imagefile import ImageRead, content_hash, files_of, read_image_file, read_tensor
from .imageheader import grid_problem
from .looks import Look, grid_text, joined_digest
from .progress import track
from .units import write_text
from .voxels import voxel_digests

__all__ = [
    "ScanChecks", "Visit", "check_image_file", "content_hash", "image_of", "paths_of", "several", "stamp_of",
]  # fmt: skip

_SHOWN = 5
# Changes with every change of what is looked at: what an earlier version let through is looked at again.
_VERSION = 3

Visit = Callable[[int, int, ImageRead], None]
"""Called with a scan's position, the position of the file or channel in it and what was read, in some thread."""


def image_of(subject: tio.Subject) -> tio.ScalarImage:
    """Return a scan's image."""
    return cast(tio.ScalarImage, subject["image"])


def several(problems: Sequence[str], what: str, shown: int = _SHOWN) -> str:
    """Join the first problems of many into one message."""
    rest = len(problems) - shown
    lines = "\n  ".join(problems[:shown]) + (f"\n  and {rest} more" if rest > 0 else "")
    return problems[0] if len(problems) == 1 else f"{len(problems)} {what}:\n  {lines}"


def check_image_file(path: Path, name: str) -> str | None:
    """Return what makes an image file unusable, or None.

    Args:
        path: A NIfTI (or other nibabel) file, or something TorchIO reads (NRRD, a DICOM folder).
        name: Whose image it is, for the message.
    """
    with _quiet():
        return read_image_file(path, name).problem


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence a reader's complaints before the next one is tried; not in a thread, since filters are the process's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Record(NamedTuple):
    """What is remembered of a file; the first two are read by the cache of preprocessed scans, too."""

    stamp: str
    digest: str
    problem: str | None
    shape: Sequence[int] | None = None
    affine: Sequence[Sequence[float]] | None = None
    voxels: Sequence[str] = ()

    @classmethod
    def of(cls, read: ImageRead, stamp: str) -> _Record:
        shape = None if read.values is None else list(read.values.shape)
        usable = read.values is not None and read.problem is None
        voxels = voxel_digests(read.values, read.affine) if usable and read.values is not None else ()
        affine = None if read.affine is None else read.affine.tolist()
        return cls(stamp, read.digest, read.problem, shape, affine, voxels)


class ScanChecks:
    """Checks and hashes scans, and remembers both for files that have not changed since.

    Args:
        memory: JSON file to remember in: ``{path: [stamp, SHA-256, problem, shape, affine, SHA-256 of voxels]}``;
            None: remember nothing.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._known: dict[str, _Record] = {}
        if memory is not None:
            with suppress(OSError, ValueError, TypeError, AttributeError):
                rows = json.loads(memory.read_text(encoding="utf-8"))
                self._known = {key: _Record(*row) for key, row in rows.items()}

    def hashes(self, subjects: Sequence[tio.Subject], names: Sequence[str]) -> list[str]:
        """Return the SHA-256 of each scan's content.

        Raises:
            InputError: Scans that cannot be used, all in one message.
        """
        looks = self.look(subjects, names)
        problems = [problem for look in looks for problem in look.problems]
        if problems:
            raise InputError(several(problems, "scans cannot be used"))
        return [look.digest for look in looks]

    def look(
        self,
        subjects: Sequence[tio.Subject],
        names: Sequence[str],
        visit: Visit | None = None,
        wanted: Callable[[int, str], bool] = lambda _index, _digest: False,
    ) -> list[Look]:
        """Look at every scan, several at a time; a file that is known and unchanged is not read.

        Args:
            subjects: The scans.
            names: What to call them.
            visit: Called in a thread with everything that is read, also with what could not be.
            wanted: Whether to read a known scan all the same, for ``visit``; called with its position and digest.
        """
        scans = list(zip(subjects, names, strict=True))
        found = {i: self._recalled(*scan) for i, scan in enumerate(scans)}
        left = [i for i, look in found.items() if look is None or (visit is not None and wanted(i, look.digest))]
        with _quiet(), ThreadPoolExecutor(_threads()) as pool:
            try:
                jobs = {i: pool.submit(self._read, i, *scans[i], visit) for i in left}
                for i in track(left, "checking scans"):
                    found[i], learnt = jobs[i].result()
                    self._known |= learnt
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._remember()
        return [look for look in found.values() if look is not None]

    def _remember(self) -> None:
        if self._memory is not None:
            write_text(self._memory, json.dumps(self._known, sort_keys=True).replace('], "', '],\n"'))

    def _recalled(self, subject: tio.Subject, name: str) -> Look | None:
        """Return what is known of a scan; None where a file of it is new or has changed."""
        paths = paths_of(image_of(subject))
        records = [self._record(str(path), path) for path in paths]
        if not paths or None in records:
            return None
        known = [record for record in records if record is not None]
        problems = _problems(known, paths, name)
        for mask in () if problems else _masks_of(subject):
            record = self._record(_mask_key(mask, paths[0]), mask, paths[0])
            if record is None:
                return None
            problems += [record.problem] if record.problem else []
        return _look(name, known, problems)

    def _record(self, key: str, *paths: Path) -> _Record | None:
        record = self._known.get(key)
        return record if record is not None and record.stamp == stamp_of(*paths) else None

    def _read(
        self, index: int, subject: tio.Subject, name: str, visit: Visit | None
    ) -> tuple[Look, dict[str, _Record]]:
        paths = paths_of(image_of(subject))
        # Before anything is read: a file that changes meanwhile is looked at again.
        stamps = [stamp_of(path) for path in paths] or [""]
        learnt: dict[str, _Record] = {}
        records: list[_Record] = []
        # One file after the other: a scan of four channels need not be in memory whole.
        reads = (read_image_file(path, name) for path in paths) if paths else read_tensor(image_of(subject), name)
        for channel, read in enumerate(reads):
            if visit is not None:
                visit(index, channel, read)
            if read.path is not None or not records:
                records.append(_Record.of(read, stamps[len(records)]))
            if read.path is not None and read.lasting:
                learnt[str(read.path)] = records[-1]
        problems = _problems(records, paths, name)
        for mask in _masks_of(subject) if paths and not problems else ():
            stamp = stamp_of(mask, paths[0])
            problem, lasting = _mask_problem(mask, records[0], name)
            problems += [problem] if problem else []
            learnt |= {_mask_key(mask, paths[0]): _Record(stamp, "", problem)} if lasting else {}
        return _look(name, records, problems), learnt


def _threads() -> int:
    """One for each core, and two at least: while one waits for the disk, the other unpacks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores, 2), 8)


def _look(name: str, records: Sequence[_Record], problems: Sequence[str]) -> Look:
    digest = joined_digest([record.digest for record in records])
    grid = grid_text(records[0].shape, records[0].affine)
    voxels = tuple(found for record in records for found in record.voxels)
    return Look(name, "" if problems else digest, tuple(problems), grid, () if problems else voxels)


def _problems(records: Sequence[_Record], paths: Sequence[Path], name: str) -> list[str]:
    """Return what is wrong with the files of an image, each by itself and beside the first."""
    found = [record.problem for record in records if record.problem]
    if found:
        return found
    first = records[0]
    for record, path in zip(records[1:], paths[1:], strict=True):
        off = _off_grid(record, first)
        if off:
            found.append(f"{name}: the image {path} is a channel beside {paths[0].name}, but {off}")
    return found


def _masks_of(subject: tio.Subject) -> list[Path]:
    """Return the files of the truth, which is opened only after the training otherwise, and of the brain mask."""
    masks = (subject.get(key) for key in ("ground_truth", "mask"))
    files = (paths_of(mask) for mask in masks if isinstance(mask, tio.Image))
    return [paths[0] for paths in files if len(paths) == 1]


def _mask_key(mask: Path, image: Path) -> str:
    return f"{mask} as the mask of {image}"


def _mask_problem(mask: Path, image: _Record, name: str) -> tuple[str | None, bool]:
    """Return what is wrong with a mask, and whether that lasts."""
    read = read_image_file(mask, name, mask=True)
    off = None if read.problem else _off_grid(_Record.of(read, ""), image)
    return f"{name}: the mask {mask} {off.removesuffix('.')} (nearest voxel)." if off else read.problem, read.lasting


def _off_grid(record: _Record, other: _Record) -> str | None:
    if None in (record.shape, record.affine, other.shape, other.affine):
        return None
    one, two = ((tuple(cast("Sequence[int]", r.shape)), np.array(r.affine, dtype=np.float64)) for r in (record, other))
    return grid_problem(*one, *two)


def paths_of(image: tio.Image) -> list[Path]:
    """Return the files of an image; none where it lies in memory only."""
    path = image.path
    if path is None:
        return []
    return [Path(p) for p in path] if isinstance(path, list | tuple) else [Path(path)]


def stamp_of(*paths: Path) -> str:
    """Return what changes when a file is written (also the time that no program can set back), or the checks are."""
    files = [file for path in paths for file in files_of(path)]
    found = [(str(p), p.stat()) for p in files if p.exists()]
    parts = [(name, about.st_size, about.st_mtime_ns, about.st_ctime_ns) for name, about in found]
    return hashlib.sha256(repr((_VERSION, parts)).encode()).hexdigest()
