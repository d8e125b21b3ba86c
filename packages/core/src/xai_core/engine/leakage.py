"""Looks for leaks: people, images and learnt preprocessing that training or selection shares with the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..types import Fold
from .leakids import look_alikes, might_be_alike
from .progress import log

if TYPE_CHECKING:
    from .study import Study

__all__ = [
    "PARTS", "Evidence", "Finding", "LeakageError", "Scan", "findings_of", "folds_text", "leaks_text", "listed",
    "refuse_leaks",
]  # fmt: skip

_SHOWN = 12
PARTS = ("train", "val", "test", "held_out")
_NAMES = {"train": "training", "val": "validation", "test": "test", "held_out": "held-out"}


@dataclass(frozen=True)
class Finding:
    """One leak, or something that may be one.

    Attributes:
        kind: Such as ``person-in-two-parts``.
        message: What is wrong, and what can be done.
        leak: Whether the study is refused for it; else it is a warning.
        people: Ids of everybody whom it is about.
        files: Images that it is about.
        folds: Indices of the folds.
    """

    kind: str
    message: str
    leak: bool
    people: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {name: value for name, value in asdict(self).items() if name != "leak"}


class LeakageError(InputError):
    """The study leaks.

    Args:
        findings: Every leak; warnings are not among them.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__(leaks_text(findings))

    def __reduce__(self) -> tuple[type[LeakageError], tuple[tuple[Finding, ...]]]:
        return type(self), (self.findings,)


@dataclass(frozen=True)
class Scan:
    """A scan as far as leaks go.

    Attributes:
        name: BIDS name.
        person: Id of the person.
        target: Class or value.
        file: The image, where it is one file.
        digest: SHA-256 of its content; empty where unknown.
        voxels: SHA-256 of its voxels, see ``voxel_digests``.
    """

    name: str
    person: str
    target: str
    file: str | None = None
    digest: str = ""
    voxels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What is looked at: the scans, and the folds as far as the splitter made any."""

    scans: Sequence[Scan]
    folds: Sequence[Fold]
    _parts: dict[str, list[str | None]] = field(default_factory=dict, compare=False)

    def parts_of(self, person: str) -> list[str | None]:
        """Return the part that a person is in, fold by fold; of several the first."""
        if not self._parts:
            for index, fold in enumerate(self.folds):
                for part in reversed(PARTS):
                    for one in getattr(fold, part):
                        self._parts.setdefault(one, [None] * len(self.folds))[index] = part
        return self._parts.get(person, [None] * len(self.folds))

    def apart(self, one: str, other: str) -> list[tuple[int, str, str]]:
        """Return the folds in which two people are in different parts: (index, part of one, part of the other)."""
        pairs = zip(self.parts_of(one), self.parts_of(other), strict=True)
        return [(i, first, second) for i, (first, second) in enumerate(pairs) if first and second and first != second]


def findings_of(evidence: Evidence) -> list[Finding]:
    """Return every leak and warning that people, ids and images give, leaks first."""
    found = [*_shared_people(evidence), *_alike(evidence), *_same_images(evidence)]
    return sorted(found, key=lambda finding: not finding.leak)


def refuse_leaks(study: Study) -> None:
    """Refuse a study that leaks, before anything is trained; warnings are logged.

    Raises:
        LeakageError: Every leak, with people and files.
        InputError: The splitter refuses the study.
    """
    from .leakstudy import study_findings

    findings, problem = study_findings(study)
    for finding in findings:
        if not finding.leak:
            log.warning("%s", finding.message)
    leaks = [finding for finding in findings if finding.leak]
    if problem is not None and leaks:
        raise InputError(f"{problem}\nBesides, {leaks_text(leaks)}") from problem
    if problem is not None:
        raise problem
    if leaks:
        raise LeakageError(leaks)


def leaks_text(findings: Sequence[Finding], what: str = "the study leaks") -> str:
    """Return findings as text, a line each."""
    lines = "\n  ".join(f"{finding.kind}: {finding.message}{_files_text(finding)}" for finding in findings)
    return f"{what} ({len(findings)} finding{'s' if len(findings) > 1 else ''}):\n  {lines}"


def _files_text(finding: Finding) -> str:
    """Name the files that the message does not name."""
    rest = [file for file in finding.files if file not in finding.message]
    return f" (files: {listed(rest, 6)})" if rest else ""


def listed(names: Iterable[str], shown: int = _SHOWN) -> str:
    """Return the first of many names."""
    all_of_them = list(names)
    rest = len(all_of_them) - shown
    return ", ".join(all_of_them[:shown]) + (f" and {rest} more" if rest > 0 else "")


def folds_text(folds: Iterable[int]) -> str:
    """Return ``fold 0`` or ``folds 0, 3``."""
    indices = sorted(set(folds))
    return f"fold{'s' if len(indices) > 1 else ''} {listed(map(str, indices), 8)}"


_WHY = {
    ("train", "test"): ("person-in-two-parts", "it is tested on whom it was trained on"),
    ("train", "val"): ("person-in-two-parts", "the weights are chosen by whom they were fitted to"),
    ("val", "test"): ("selection-on-test", "early stopping and the choice of the weights see the test"),
}


def _shared_people(evidence: Evidence) -> Iterator[Finding]:
    """People who are in two parts of a fold, or held out and in a part of any."""
    for first, second in combinations(PARTS, 2):
        where: dict[str, list[int]] = {}
        for index, fold in enumerate(evidence.folds):
            for person in sorted(set(getattr(fold, first)) & set(getattr(fold, second))):
                where.setdefault(person, []).append(index)
        if where:
            kind, why = _WHY.get((first, second), ("held-out-shared", "the held-out cohort takes part in the study"))
            folds = tuple(sorted({index for indices in where.values() for index in indices}))
            yield Finding(
                kind,
                f"{_count(where)} in the {_NAMES[first]} and in the {_NAMES[second]} part ({folds_text(folds)}), so "
                f"{why}: {listed(where)}",
                True,
                tuple(where),
                _files(evidence, where),
                folds,
            )


def _count(people: Mapping[str, Any]) -> str:
    return "1 person is" if len(people) == 1 else f"{len(people)} people are"


def _files(evidence: Evidence, people: Iterable[str]) -> tuple[str, ...]:
    wanted = set(people)
    return tuple(scan.file for scan in evidence.scans if scan.person in wanted and scan.file)


def _alike(evidence: Evidence) -> Iterator[Finding]:
    """Ids that look like one person's, and are in different parts."""
    people = sorted({scan.person for scan in evidence.scans})
    for group in look_alikes(people):
        apart = {pair: evidence.apart(*pair) for pair in combinations(group, 2)}
        separated = {pair: where for pair, where in apart.items() if where}
        named = f"the ids {listed(group)} look like one person (case, leading zeros, or a visit in the id)"
        files = _files(evidence, group)
        if separated:
            pair, where = next(iter(separated.items()))
            index, first, second = where[0]
            text = (
                f"{named}, and in {folds_text(i for w in separated.values() for i, *_ in w)} they are in different "
                f"parts ({pair[0]}: {_NAMES[first]}, {pair[1]}: {_NAMES[second]} in fold {index}). Give a person one "
                "id and name the column of visits (data.params.session); if they are two people, rename one"
            )
            folds = tuple(sorted({i for found in separated.values() for i, *_ in found}))
            yield Finding("person-in-two-parts", text, True, group, files, folds)
        else:
            yield Finding("similar-ids", f"{named}, but count as {len(group)}", False, group, files)
    hints = [pair for pair in might_be_alike(people) if evidence.apart(*pair)]
    if hints:
        shown = listed(f"{one} and {other}" for one, other in hints)
        text = f"{len(hints)} pairs of ids in different parts differ by a name in front only. Are they other people? "
        text += shown
        yield Finding("similar-ids", text, False, tuple(sorted({person for pair in hints for person in pair})))


def _same_images(evidence: Evidence) -> Iterator[Finding]:
    """Scans that share a file's content or its voxels."""
    for group in _same(evidence.scans):
        scans = [evidence.scans[i] for i in group]
        people = tuple(sorted({scan.person for scan in scans}))
        apart = [(pair, where) for pair in combinations(people, 2) if (where := evidence.apart(*pair))]
        shown = listed((f"{scan.name} ({scan.file})" if scan.file else scan.name for scan in scans), 6)
        alike = len({scan.digest for scan in scans}) == 1 and bool(scans[0].digest)
        what = "the same file content" if alike else "the same voxels (other compression, header or axes)"
        text = f"{shown} hold {what}"
        files = tuple(scan.file for scan in scans if scan.file)
        if apart:
            (one, other), where = apart[0]
            index, first, second = where[0]
            folds = tuple(sorted({i for _, found in apart for i, *_ in found}))
            text += (
                f", and in {folds_text(folds)} they are in different parts ({one}: {_NAMES[first]}, {other}: "
                f"{_NAMES[second]} in fold {index}). Find out whose it is, and leave out the others"
            )
            yield Finding("same-image", text, True, people, files, folds)
        elif len(people) > 1 and len({scan.target for scan in scans}) > 1:
            targets = listed(f"{scan.person} is {scan.target}" for scan in scans)
            text += f", but {targets}. One image cannot be both: find out whose it is"
            yield Finding("same-image", text, True, people, files)
        else:
            whose = "one person" if len(people) == 1 else f"{len(people)} people, never in different parts"
            yield Finding("same-image", f"{text}; they are of {whose}, and count twice", False, people, files)


def _same(scans: Sequence[Scan]) -> list[list[int]]:
    """Return the positions of scans that share a digest, directly or through others."""
    first: dict[str, int] = {}
    group = list(range(len(scans)))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for i, scan in enumerate(scans):
        for digest in (scan.digest, *scan.voxels):
            if digest:
                group[root(i)] = root(first.setdefault(digest, i))
    found: dict[int, list[int]] = {}
    for i in range(len(scans)):
        found.setdefault(root(i), []).append(i)
    return [members for members in found.values() if len(members) > 1]
