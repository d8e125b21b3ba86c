"""The runs of an ensemble, and everything that forbids to join them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..types import Fold
from .leakage import Scan, listed
from .leakstudy import folds_of_run, run_findings, scans_of_run
from .results import ENSEMBLE, MapRecord, RunResults
from .scans import several

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Member", "members_of"]

_KEYS = ["fold", "scan_id"]


@dataclass(frozen=True)
class Member:
    """One finished run.

    Attributes:
        name: Its folder's name, or the whole path where two have one name.
        results: Its content.
    """

    name: str
    results: RunResults

    @cached_property
    def config(self) -> dict[str, Any]:
        """Its resolved configuration."""
        return self.results.config

    @cached_property
    def folds(self) -> list[Fold]:
        """Its divisions of the people."""
        return folds_of_run(self.results.splits())

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Its predictions of the test people, by fold and scan."""
        return self.results.predictions().sort_values(_KEYS, ignore_index=True)

    @cached_property
    def scans(self) -> list[Scan]:
        """Its scans with the hashes of their content."""
        return scans_of_run(self.results)

    @cached_property
    def maps(self) -> Mapping[tuple[str, int, str], MapRecord]:
        """Its relevance maps by explainer, fold and scan."""
        return {(record.explainer, record.fold, record.scan_id): record for record in self.results.maps()}

    @property
    def explainers(self) -> dict[str, Mapping[str, Any]]:
        """The slots of its explainers by id."""
        return {slot["id"]: slot for slot in self.config["explainers"]}


def members_of(folders: Sequence[Path]) -> list[Member]:
    """Open the runs of an ensemble.

    Raises:
        InputError: They cannot be joined: every reason is told.
    """
    if len(folders) < 2:
        raise InputError(
            f"An ensemble has two members or more; {len(folders)} given. Give the folders of finished runs."
        )
    _check_folders(folders)
    names = [folder.absolute().name for folder in folders]
    members = [
        Member(name if names.count(name) == 1 else str(folder), RunResults(folder))
        for name, folder in zip(names, folders, strict=True)
    ]
    problems = [problem for member in members for problem in _unfinished(member)]
    if not problems:
        problems = [*_tasks(members), *_own_leaks(members)]
        for other in members[1:]:
            problems += _difference(members[0], other)
        for first, second in combinations(members, 2):
            problems += [*_leaks(first, second), *_identities(first, second), *_copies(first, second)]
        problems += _explainers(members)
    if problems:
        raise InputError("These runs are no ensemble. " + several(problems, "problems", shown=12))
    return members


def _check_folders(folders: Sequence[Path]) -> None:
    problems = []
    known: dict[Path, Path] = {}
    for folder in folders:
        first = known.setdefault(folder.resolve(), folder)
        if first is not folder:
            problems.append(f"{folder} and {first} are one and the same run: it has one vote.")
        if (folder / ENSEMBLE).is_file():
            problems.append(f"{folder} is an ensemble itself. Give its members ({ENSEMBLE} names them).")
        elif not (folder / "pipeline.resolved.yaml").is_file():
            problems.append(f"{folder} is not a run folder: it holds no pipeline.resolved.yaml.")
    if problems:
        raise InputError(several(problems, "folders cannot be members", shown=12))


def _unfinished(member: Member) -> list[str]:
    needed = ("run.json", "subjects.tsv", "splits.tsv", "predictions.tsv", "metrics.json")
    lacking = [name for name in needed if not (member.results.folder / name).is_file()]
    return [f"{member.name} is not finished (no {', '.join(lacking)}). Run it first."] if lacking else []


def _tasks(members: Sequence[Member]) -> Iterator[str]:
    tasks = {member.name: _task(member.results) for member in members}
    if len(set(tasks.values())) > 1:
        yield "They predict different things: " + "; ".join(f"{name} is {text}" for name, text in tasks.items()) + "."


def _task(run: RunResults) -> str:
    return "a regression" if run.classes is None else f"a classification of {', '.join(map(str, run.classes))}"


def _own_leaks(members: Sequence[Member]) -> Iterator[str]:
    """An ensemble with a member that leaks leaks."""
    for member in members:
        for finding in run_findings(member.results):
            if finding.leak:
                yield f"{member.name} leaks: {finding.message}"


def _difference(first: Member, other: Member) -> Iterator[str]:
    """Say how what two runs tested differs."""
    pair = f"{first.name} and {other.name}"
    tested = [{(int(fold), scan) for fold, scan in member.predictions[_KEYS].to_numpy()} for member in (first, other)]
    scans = [{scan for _, scan in one} for one in tested]
    only = [sorted(scans[i] - scans[1 - i]) for i in (0, 1)]
    if any(only):
        told = [f"only {m.name}: {listed(names)}" for m, names in zip((first, other), only, strict=True) if names]
        yield f"{pair} tested different scans ({'; '.join(told)})."
    moved = sorted({scan for _, scan in tested[0] ^ tested[1]} & scans[0] & scans[1])
    if moved:
        yield (
            f"{pair} test {len(moved)} scans in different folds ({listed(moved)}). Train the members on one division: "
            "the splitter split-file reads another run's splits.tsv."
        )
    yield from _targets(first, other)
    held_out = [set(member.folds[0].held_out) for member in (first, other)]
    if held_out[0] != held_out[1]:
        yield f"{pair} hold out different people ({listed(sorted(held_out[0] ^ held_out[1]))})."
    elif first.results.has_held_out() and other.results.has_held_out():
        cohorts = [set(member.results.held_out_predictions()["scan_id"]) for member in (first, other)]
        if cohorts[0] != cohorts[1]:
            yield f"{pair} predict different scans of the held-out cohort ({listed(sorted(cohorts[0] ^ cohorts[1]))})."


def _targets(first: Member, other: Member) -> Iterator[str]:
    both = first.predictions.merge(other.predictions, on=_KEYS, suffixes=("_a", "_b"))
    people = both["subject_id_a"].astype(str) != both["subject_id_b"].astype(str)
    if first.results.classes is None and other.results.classes is None:
        targets = ~np.isclose(both["target_a"].astype(float), both["target_b"].astype(float))
    else:
        targets = (both["target_a"].astype(str) != both["target_b"].astype(str)).to_numpy()
    for wrong, what in ((people.to_numpy(), "person"), (targets, "target")):
        if wrong.any():
            names = listed(both.loc[wrong, "scan_id"])
            yield f"{first.name} and {other.name} differ in the {what} of {int(wrong.sum())} scans ({names})."


def _leaks(first: Member, second: Member) -> Iterator[str]:
    """A network of one member must not have seen whom the same fold of another one tests."""
    for one, other in ((first, second), (second, first)):
        for index, (fold, seen) in enumerate(zip(one.folds, other.folds, strict=False)):
            people = sorted({*fold.test, *fold.held_out} & {*seen.train, *seen.val})
            if people:
                yield (
                    f"A leak: fold {index} of {one.name} tests {listed(people)}, on whom fold {index} of {other.name} "
                    f"was trained or validated ({len(people)} people)."
                )
    if len(first.folds) != len(second.folds):
        yield f"{first.name} has {len(first.folds)} folds, {second.name} {len(second.folds)}."


def _identities(first: Member, second: Member) -> Iterator[str]:
    """One image under two ids would be tested here and trained on there without anybody seeing it."""
    owner = {digest: scan.person for scan in first.scans for digest in (scan.digest, *scan.voxels) if digest}
    twins = {
        f"{owner[digest]} = {scan.person}"
        for scan in second.scans
        for digest in (scan.digest, *scan.voxels)
        if digest in owner and owner[digest] != scan.person
    }
    if twins:
        yield f"The same images belong to other people in {first.name} than in {second.name}: {listed(sorted(twins))}."


def _copies(first: Member, second: Member) -> Iterator[str]:
    """A copy of a run would count its vote twice and make the ensemble look sure of itself."""
    tables = [
        member.predictions[
            [name for name in member.predictions if str(name).startswith(("probability_", "prediction"))]
        ]
        for member in (first, second)
    ]
    if tables[0].equals(tables[1]):
        yield (
            f"{first.name} and {second.name} predict exactly the same: one is a copy of the other, or was made with "
            "the same seed. Give another seed (--set seed=43), other images or another model."
        )


def _explainers(members: Sequence[Member]) -> Iterator[str]:
    for name in dict.fromkeys(name for member in members for name in member.explainers):
        methods = {member.name: member.explainers[name]["name"] for member in members if name in member.explainers}
        if len(set(methods.values())) > 1:
            told = ", ".join(f"{method} in {member}" for member, method in methods.items())
            yield f"The explainer {name!r} is not the same method: {told}. Give them other ids."
