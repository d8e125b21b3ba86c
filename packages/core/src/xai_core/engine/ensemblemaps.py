"""The relevance maps of an ensemble: those of its members for each scan and explainer, aggregated."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from ..errors import InputError
from .ensemblefiles import Combine, MemberMap, explained
from .ensemblemembers import Member
from .explaining import explain_subject, map_path
from .folds import FoldModel
from .imagefiles import to_explain
from .imageheader import grid_problem
from .leakage import listed
from .progress import log, track
from .scans import ScanChecks, several
from .study import Study
from .units import Units, content_key, file_hash
from .versions import software_versions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_maps", "common_explainers", "map_ensemble"]

_GROUP = "ensemble-maps"
_Key = tuple[str, int, str]


@dataclass
class _Again:
    """Explains a member's test scans once more, where its own map answers another question.

    Attributes:
        member: The run.
    """

    member: Member
    _loaded: dict[int, FoldModel] = field(default_factory=dict)

    @cached_property
    def _study(self) -> Study:
        return Study(self.member.config, self.member.results.folder)

    def explain(self, slot: Mapping[str, Any], scan: str, fold: int, target: int) -> tuple[Any, Mapping[str, Any]]:
        """Return map (float32, on the scan's grid) and sidecar for the output ``target``.

        Raises:
            InputError: The scan is gone, or is not what it was when the run was made.
        """
        study = self._study
        if scan not in study.names:
            raise InputError(
                f"{self.member.name}: {scan} is no longer in its dataset, so it cannot be explained again."
            )
        position = study.names.index(scan)
        subject = deepcopy(to_explain(study.subjects[position]))
        look = ScanChecks(None).look([subject], [scan])[0]
        if look.problems or look.digest != self.member.results.info["hashes"].get(scan):
            raise InputError(f"{self.member.name}: the image of {scan} is not what it was when the run was made.")
        if fold not in self._loaded:
            self._loaded.clear()  # folds come one after another; one network at a time is enough
            folder, classes = self.member.results.folder, self.member.results.classes
            self._loaded[fold] = FoldModel.load(self.member.config, folder, fold, classes)
        model = self._loaded[fold]
        prepared = model.preprocessing.prepare(subject)
        found = explain_subject(model, slot, subject, prepared, seed=self.member.config["seed"], target=target)
        return np.asarray(found.image.dataobj), found.sidecar


def common_explainers(members: Sequence[Member]) -> list[str]:
    """Return the ids that every member has maps of; the log names the others."""
    made = [{explainer for explainer, _, _ in member.maps} & set(member.explainers) for member in members]
    everywhere = set.intersection(*made)
    left = sorted(set.union(*made) - everywhere)
    if left:
        log.warning("not every member has maps of %s: the ensemble has none of them", listed(left))
    return [name for name in members[0].explainers if name in everywhere]


def check_maps(members: Sequence[Member], explainers: Sequence[str]) -> None:
    """Refuse maps that are missing or do not lie on one grid, before anything is written.

    Raises:
        InputError: All of them.
    """
    problems = []
    for explainer in explainers:
        for fold, scan in _tested(members[0].predictions):
            key = explainer, fold, scan
            lacking = [member.name for member in members if key not in member.maps]
            if lacking:
                problems.append(f"{explainer}, {scan}: no map in {listed(lacking)}. Finish the run (xai explain).")
                continue
            problems += _grid_problems(members, key)
    if problems:
        raise InputError("The maps cannot be aggregated. " + several(problems, "problems", shown=12))


def _tested(predictions: pd.DataFrame) -> list[tuple[int, str]]:
    return [(int(row["fold"]), str(row["scan_id"])) for row in predictions[["fold", "scan_id"]].to_dict("records")]


def _nifti(path: Path) -> nib.Nifti1Image:
    """Open a map; its voxels are not read yet.

    Raises:
        InputError: It is no NIfTI file.
    """
    try:
        image = nib.load(path)
    except Exception as error:  # whatever the reader raises
        raise InputError(f"The map {path} cannot be read ({error}). Make it again (xai explain).") from error
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(f"{path} is not a NIfTI file.")
    return image


def _grid_problems(members: Sequence[Member], key: _Key) -> list[str]:
    paths = [member.maps[key].path for member in members]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        return [f"{path} is missing." for path in missing]
    first, *others = (_nifti(path) for path in paths)
    problems = []
    for member, other in zip(members[1:], others, strict=True):
        problem = grid_problem(other.shape, other.affine, first.shape, first.affine)
        if problem is not None:
            what = f"{' x '.join(map(str, other.shape))} for {' x '.join(map(str, first.shape))} voxels"
            told = what if other.shape != first.shape else "another place or spacing"
            problems.append(
                f"{key[0]}, {key[2]}: the map of {member.name} is not on the grid of {members[0].name}'s ({told}). "
                "Train on images that were resampled to one grid."
            )
    return problems


def map_ensemble(
    members: Sequence[Member],
    predictions: pd.DataFrame,
    explainers: Sequence[str],
    combine: Combine,
    units: Units,
    *,
    repeated: bool,
) -> int:
    """Write the ensemble's maps of every test scan and explainer, as far as they are not there.

    Every member must explain the same output, the class that the ensemble votes for: a mean of maps that answer
    different questions would look right and mean nothing. A member's map of another class is made anew.

    Returns:
        How many maps of members were made anew.
    """
    again = [_Again(member) for member in members]
    wanted: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    rows = predictions.sort_values(["fold", "scan_id"]).to_dict("records")
    for row in track(rows, "ensemble: relevance maps"):
        fold, scan = int(row["fold"]), str(row["scan_id"])
        classes = members[0].results.classes
        target = 0 if classes is None else classes.index(str(row["prediction"]))
        for explainer in explainers:
            key = explainer, fold, scan
            name = f"{_GROUP}/{scan}/{explainer}" + (f".fold-{fold}" if repeated else "")
            unit = _unit_key(members, key, target, combine)
            wanted.add((name, unit))
            if units.is_done(name, unit):
                continue
            path = map_path(scan, f"{explainer}{combine.how.capitalize()}", fold if repeated else None)
            with (
                units.make(name, unit, str(Path("derivatives") / path.parent)) as folder,
                tempfile.TemporaryDirectory(dir=folder.parent) as scratch,
            ):
                found = [
                    _member_map(one, key, target, Path(scratch) / f"{number}.npy") for number, one in enumerate(again)
                ]
                counts["again"] += sum(one.again for one in found)
                like = _nifti(members[0].maps[key].path)
                explained(found, combine, _about(members, key, row), like).save(folder / path.name)
    units.keep_only(_GROUP, wanted)
    return counts["again"]


def _unit_key(members: Sequence[Member], key: _Key, target: int, combine: Combine) -> str:
    maps = [[member.name, file_hash(member.maps[key].path), member.maps[key].sidecar["target"]] for member in members]
    versions = {name: software_versions().get(name) for name in ("xai-core", "numpy")}
    return content_key(maps=maps, target=target, combine=combine.as_json(), key=key, versions=versions)


def _member_map(again: _Again, key: _Key, target: int, scratch: Path) -> MemberMap:
    """Return a member's map of the output ``target``: its own where that explains it."""
    member, record = again.member, again.member.maps[key]
    about = {"member": member.name, "fold": key[1]}
    if int(record.sidecar["target"]) == target:
        stored = _nifti(record.path)
        return MemberMap({**about, "map": str(record.path)}, stored.dataobj, record.sidecar, again=False)
    values, sidecar = again.explain(member.explainers[key[0]], key[2], key[1], target)
    np.save(scratch, values)
    return MemberMap(about, np.load(scratch, mmap_mode="r"), sidecar, again=True)


def _about(members: Sequence[Member], key: _Key, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what the sidecars say of the scan and of what is explained."""
    sidecar = members[0].maps[key].sidecar
    classes = members[0].results.classes
    target = 0 if classes is None else classes.index(str(row["prediction"]))
    return {
        **{name: sidecar.get(name) for name in ("scan_id", "subject_id", "session_id", "explainer_id", "explainer")},
        "params": dict(members[0].explainers[key[0]]["params"]),
        "fold": key[1],
        "target": target,
        "target_name": "value" if classes is None else classes[target],
        **({"channels": sidecar["channels"]} if "channels" in sidecar else {}),  # of a map with several, in their order
    }
