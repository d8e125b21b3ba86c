"""On whom preprocessing was fitted and weights were trained: noted with each fold, and compared with its test part."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..types import Fold
from .leakage import Evidence, Finding, LeakageError, folds_text, listed
from .scans import paths_of
from .units import file_hash
from .watching import files_read

if TYPE_CHECKING:
    from .preprocessing import Preprocessing
    from .results import RunResults
    from .study import Study

__all__ = [
    "changed_states", "fit_watched", "fitted_elsewhere", "fitted_on_others", "note_people", "pretrained_on_test",
]  # fmt: skip

_KIND = "fitted-on-test"


def note_people(folder: Path, preprocessing: Preprocessing, fold: Fold) -> None:
    """Add to a fold's ``training.json`` on whom it was fitted and its weights were chosen.

    ``people``: SHA-256 of the sorted ids of the training and the validation part, and their numbers; ``fitted``: the
    transforms that learnt from the training part, and the SHA-256 of what they learnt.
    """
    path, state = folder / "training.json", folder / "transforms.pt"
    about = json.loads(path.read_text(encoding="utf-8"))
    parts = {"train": fold.train, "val": fold.val}
    about["people"] = {part: {"number": len(ids), "digest": digest_of(ids)} for part, ids in parts.items()}
    if state.is_file():
        pairs = zip(preprocessing.names, preprocessing.transforms, strict=True)
        names = [name for name, transform in pairs if hasattr(transform, "fit")]
        about["fitted"] = {"transforms": names, "fitted_on": digest_of(fold.train), "state": file_hash(state)}
    path.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def digest_of(people: Iterable[str]) -> str:
    """Return the SHA-256 of ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(people)).encode()).hexdigest()


def _about(folder: Path, index: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / f"fold-{index}" / "training.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def fitted_on_others(folder: Path, folds: Sequence[Fold]) -> Iterator[Finding]:
    """Folds of a run whose network or transforms were made with other people than the folds' training parts."""
    for index, fold in enumerate(folds):
        about = _about(folder, index)
        noted = {part: entry.get("digest") for part, entry in about.get("people", {}).items()}
        for part, ids in (("train", fold.train), ("val", fold.val)):
            if part in noted and noted[part] != digest_of(ids):
                what, kind = ("trained", "trained-on-others") if part == "train" else ("chosen", "selected-on-others")
                text = (
                    f"the weights of fold {index} were {what} on other people ({about['people'][part]['number']}) than "
                    f"splits.tsv has in its {part} part ({len(ids)}). Run the study anew"
                )
                yield Finding(kind, text, True, (), (), (index,))
        fitted = about.get("fitted", {})
        if "fitted_on" in fitted and fitted["fitted_on"] != digest_of(fold.train):
            text = (
                f"{listed(fitted['transforms'])} of fold {index} learnt from other people than its training part. "
                "Run the study anew"
            )
            yield Finding(_KIND, text, True, (), (), (index,))


def changed_states(folder: Path) -> Iterator[Finding]:
    """Folds whose transforms hold something else than what they learnt in the run: another fold's state, say."""
    for path in sorted(folder.glob("fold-*/transforms.pt")):
        index = int(path.parent.name.removeprefix("fold-"))
        noted = _about(folder, index).get("fitted", {}).get("state")
        if noted is not None and noted != file_hash(path):
            text = (
                f"{path} is not what the transforms of fold {index} learnt from its training part: the file was "
                f"changed or exchanged afterwards. Remove {path.parent} and run again"
            )
            yield Finding(_KIND, text, True, (), (str(path),), (index,))


def fitted_elsewhere(config: Mapping[str, Any], evidence: Evidence) -> Iterator[Finding]:
    """Transforms that bring a state which people of a test part have gone into, or read their scans to make one.

    The former say on whom they were fitted: ``fitted_on``, ids of people, once ``build`` has made them. The latter
    open the files of several people before any fold has begun; a single one may be the reference of a grid.
    """
    owners = {os.path.abspath(scan.file): scan.person for scan in evidence.scans if scan.file}  # noqa: PTH100
    for slot in config["data"]["transforms"]:
        with files_read() as files:
            transform = registry.create("transform", slot["name"], **slot["params"]).build()
        ids = getattr(transform, "fitted_on", None)
        if ids:
            yield from _seen(f"the transform {slot['name']} was fitted", map(str, ids), evidence.folds, _KIND)
        read = {owners[file] for file in files if file in owners}
        if len(read) > 1:
            what = f"the transform {slot['name']} reads scans outside of any fold, when it is made, and so depends"
            yield from _seen(what, read, evidence.folds, _KIND)


def fit_watched(study: Study, preprocessing: Preprocessing, fold: Fold) -> None:
    """Fit the transforms of a fold to its training part, and see that they read the scans of nobody else.

    Raises:
        LeakageError: One has read scans of several people besides.
    """
    owners = {
        os.path.abspath(path): str(subject["subject_id"])  # noqa: PTH100
        for subject in study.subjects
        for image in subject.get_images(intensity_only=False)
        for path in paths_of(image)
    }
    with files_read() as files:
        preprocessing.fit([study.subjects[i] for i in study.part(fold.train)])
    others = {owners[file] for file in files if file in owners} - set(fold.train)
    if len(others) > 1:
        names = [name for name, step in zip(preprocessing.names, preprocessing.transforms, strict=True)
                 if hasattr(step, "fit")]  # fmt: skip
        text = (
            f"{listed(names)} read scans of {len(others)} people outside of the training part while it was fitted: "
            f"{listed(sorted(others))}. A transform may learn from the subjects that fit is given only"
        )
        raise LeakageError([Finding(_KIND, text, True, tuple(sorted(others)))])


def _seen(what: str, ids: Iterable[str], folds: Sequence[Fold], kind: str) -> Iterator[Finding]:
    known = {person.removeprefix("sub-") for person in ids}
    seen: dict[str, list[int]] = {}
    for index, fold in enumerate(folds):
        for person in (*fold.val, *fold.test, *fold.held_out):
            if person.removeprefix("sub-") in known:
                seen.setdefault(person, []).append(index)
    if seen:
        indices = {index for found in seen.values() for index in found}
        text = (
            f"{what} on {len(seen)} people who are in a validation, test or held-out part ({folds_text(indices)}): "
            f"{listed(sorted(seen))}. Fit it in each fold, or with other people"
        )
        yield Finding(kind, text, True, tuple(sorted(seen)), (), tuple(sorted(indices)))


def pretrained_on_test(config: Mapping[str, Any], evidence: Evidence) -> Iterator[Finding]:
    """Weights that the study begins with, of a fold of another run which was trained on people that are tested here.

    Their files are known by the run folder that they lie in; people by their ids and by their images.
    """
    for named, run, index in _origins(config, set()):
        splits = run.splits()
        rows = splits[(splits["fold"] == index) & splits["part"].isin(["train", "val"])]
        people = set(rows["subject_id"].astype(str))
        people |= _same_images(run, people, evidence)
        yield from _seen(f"{named} holds weights that were trained", people, evidence.folds, "pretrained-on-test")


def _origins(config: Mapping[str, Any], known: set[tuple[Path, int]]) -> Iterator[tuple[str, RunResults, int]]:
    """Yield the folds (what names them, run, index) whose weights a study begins with, and those that these began with.

    What a network learnt stays in it through any number of trainings.
    """
    from .results import RunResults

    for kind in ("model", "training"):
        for path in _paths(config[kind]["params"]):
            found = _run_of(path)
            if found is None or (found[0].resolve(), found[1]) in known:
                continue
            known.add((found[0].resolve(), found[1]))
            run = RunResults(found[0])
            yield f"{path} ({kind}.params)", run, found[1]
            for named, earlier, index in _origins(run.config, known):
                yield f"{named}, with which {path} began,", earlier, index


def _paths(params: Any) -> Iterator[Path]:
    """Yield the files and folders that parameters name."""
    if isinstance(params, Mapping):
        for value in params.values():
            yield from _paths(value)
    elif isinstance(params, list | tuple):
        for value in params:
            yield from _paths(value)
    elif isinstance(params, str) and params and len(params) < 4096 and "\0" not in params and Path(params).exists():
        yield Path(params)


def _run_of(path: Path) -> tuple[Path, int] | None:
    """Return run folder and fold that a path lies in, or None."""
    for folder in (path.absolute(), *path.absolute().parents):
        number = folder.name.removeprefix("fold-")
        files = [folder.parent / name for name in ("pipeline.resolved.yaml", "run.json", "splits.tsv")]
        if number.isdecimal() and folder.name.startswith("fold-") and all(file.is_file() for file in files):
            return folder.parent, int(number)
    return None


def _same_images(run: Any, people: set[str], evidence: Evidence) -> set[str]:
    """Return the people of the study whose images are those of people of another run."""
    from .leakstudy import scans_of_run

    known = {
        digest
        for scan in scans_of_run(run)
        if scan.person in people
        for digest in (scan.digest, *scan.voxels)
        if digest
    }
    return {scan.person for scan in evidence.scans if known & {scan.digest, *scan.voxels}}
