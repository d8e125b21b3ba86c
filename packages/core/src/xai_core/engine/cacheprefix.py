"""Keys of preprocessed scans: a scan's content, and the transforms up to some position in the fold's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torchio as tio

from .cachekey import Contents, NoKeyError, below_versions, digest_of, step_identity
from .units import content_key

__all__ = ["PrefixKeys", "ScanKey", "Step"]


@dataclass(frozen=True)
class ScanKey:
    """What a preprocessed scan is kept under.

    Attributes:
        own: Tells it apart from the others of one fold; None: it is looked for on disk only.
        shared: SHA-256 over everything that decides it, or None where that cannot be written down.
        stamps: Of the files that the content in ``shared`` was read from.
    """

    own: tuple[Any, ...] | None
    shared: str | None
    stamps: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One transform of a fold.

    Attributes:
        slot: The slot of the configuration that it comes from.
        position: Its position in that slot, which may hold a chain.
        transform: The transform.
        random: Whether it augments.
        covariates: Names of what it reads of a subject besides the images.
    """

    slot: Mapping[str, Any]
    position: int
    transform: Any
    random: bool
    covariates: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Registry name of its component."""
        return str(self.slot["name"])


class PrefixKeys:
    """Keys of what the first so many of a fold's transforms make of a scan.

    Args:
        steps: The fold's transforms.
        contents: Of images.
    """

    def __init__(self, steps: Sequence[Step], contents: Contents) -> None:
        self._steps, self._contents = steps, contents
        self._keys: dict[tuple[Any, ...], ScanKey] = {}
        self._prefixes: dict[int, str] = {}

    def forget(self) -> None:
        """Forget the keys, as when a transform has learnt something else."""
        self._keys.clear()
        self._prefixes.clear()

    def key(self, index: int | None, subject: tio.Subject, images: Sequence[str], until: int) -> ScanKey:
        """Return the key of a scan after the deterministic ones of the first ``until`` transforms.

        Args:
            index: Its position in the study; by it the key is remembered, without looking at its files again.
            subject: The scan, before the transforms.
            images: Names of its images that are transformed.
            until: How many transforms; the random ones among them are left out.
        """
        own = None if index is None else (index, until, *images)
        if own is not None and own in self._keys:
            return self._keys[own]
        stamps: dict[Path, str] = {}
        try:
            prefix = self._prefix(until)  # first: it needs no file
            found = {name: self._content(subject, name, stamps) for name in images}
            values = digest_of(self._values(subject, until))
            key = ScanKey(own, content_key(images=found, values=values, prefix=prefix), stamps)
        except NoKeyError:
            key = ScanKey(own, None)
        if own is not None:
            self._keys[own] = key
        return key

    def _content(self, subject: tio.Subject, name: str, stamps: dict[Path, str]) -> str:
        digest, found = self._contents.of(cast(tio.Image, subject[name]))
        stamps.update(found)
        return digest

    def _values(self, subject: tio.Subject, until: int) -> dict[str, Any]:
        """Return what the transforms read of a scan besides its images."""
        names = {name for step in self._steps[:until] if not step.random for name in step.covariates}
        return {name: subject[name] for name in names if name in subject}

    def _prefix(self, until: int) -> str:
        """Return the digest of the transforms and of what those that learn have learnt.

        Raises:
            NoKeyError: One of them cannot be told from others of its name.
        """
        if until not in self._prefixes:
            steps = [step for step in self._steps[:until] if not step.random]
            self._prefixes[until] = content_key(
                below=below_versions(),
                steps=[[step_identity(step.slot), step.position, _learnt(step.transform)] for step in steps],
            )
        return self._prefixes[until]


def _learnt(transform: Any) -> str | None:
    if not hasattr(transform, "fit"):
        return None
    try:
        state = transform.state_dict()
    except Exception as error:  # before it is fitted: applying it will say so
        raise NoKeyError(str(error)) from error
    return digest_of(state)
