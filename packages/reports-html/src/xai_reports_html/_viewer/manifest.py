"""What of a run the viewer shows: people, maps, an atlas."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._summary import class_name

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord, RunResults

__all__ = ["Viewed", "viewed"]

_MNI_CODE = 4  # of NIfTI's sform_code
_TO_MNI = {"mni-grid", "mni-brain"}  # transforms that take scans of MNI space
_Tested = tuple[str, int]


@dataclass(frozen=True)
class Viewed:
    """What the viewer shows.

    Attributes:
        manifest: As the page reads it.
        files: Image by the name of its script: ``p0-scan``, ``p0-truth``, ``p0-m1``, ``atlas``.
        names: Names of the atlas' labels.
    """

    manifest: dict[str, Any]
    files: Mapping[str, Path]
    names: Mapping[int, str]


def viewed(
    run: RunResults,
    scans: Sequence[str] | None = None,
    atlas: tuple[Path, Mapping[int, str]] | None = None,
    pages: Mapping[tuple[str, int], str] | None = None,
) -> Viewed:
    """Collect what there is to see; of a run that is not finished, what it has so far.

    A scan or a truth whose file is no longer there is left out, so that its maps can still be looked at.

    Args:
        run: A run with relevance maps.
        scans: Scan ids or people; None: all that were explained.
        atlas: An image of labels in the space of the scans (MNI where they were registered to it) and their names;
            None: none is shown.
        pages: Addresses of pages about people, as seen from the viewer, by scan id and fold.

    Raises:
        InputError: There are no maps, or none of a scan.
    """
    maps: dict[_Tested, dict[str, MapRecord]] = defaultdict(dict)
    for record in run.maps():
        maps[record.scan_id, record.fold][record.explainer] = record
    if not maps:
        raise InputError(_no_maps(run))
    explainers = _explainers(run, maps.values())
    chosen = _chosen(sorted(maps), maps, scans, run)
    rows = _predictions(run)
    files: dict[str, Path] = {}
    people = []
    for number, tested in enumerate(chosen):
        records = maps[tested]
        first = next(iter(records.values()))
        person = _person(tested, first, rows.get(tested, {}), run.classes)
        there = {"scan": _existing(first.image), "truth": _existing(first.ground_truth)}
        files |= {f"p{number}-{kind}": path for kind, path in there.items() if path is not None}
        if pages and tested in pages:
            person["page"] = pages[tested]
        for name, record in records.items():
            files[f"p{number}-m{explainers.index(name)}"] = record.path
        shown = [explainers.index(name) for name in records]
        if run.classes is not None:  # without it, nobody can tell for which class "for" and "against" are meant
            person["explained"] = {
                str(explainers.index(name)): str(record.sidecar.get("target_name", ""))
                for name, record in records.items()
            }
        people.append(person | {"maps": sorted(shown)} | {kind: path is not None for kind, path in there.items()})
    names = {} if atlas is None else dict(atlas[1])
    if atlas is not None:
        files["atlas"] = atlas[0]
    manifest = {
        "name": str(run.config.get("name", run.folder.name)),
        "task": run.task,
        "classes": None if run.classes is None else list(run.classes),
        "channels": list(run.channels or ()),
        "explainers": explainers,
        "people": people,
        "atlas": atlas is not None,
        "space": _space(run, next(iter(maps.values()))),
    }
    return Viewed(manifest, files, names)


def _no_maps(run: RunResults) -> str:
    if run.config.get("explainers"):
        return f"{run.folder} has no relevance maps yet. They come when a fold is trained and its people are explained."
    return f"{run.folder} has no relevance maps to look at. Add explainers and run 'xai run' again."


def _explainers(run: RunResults, maps: Iterable[Mapping[str, MapRecord]]) -> list[str]:
    """Return the explainers of the configuration, and then those whose maps an earlier one left."""
    known = [str(slot.get("id", slot["name"])) for slot in run.config.get("explainers") or []]
    return known + sorted({name for records in maps for name in records}.difference(known))


def _predictions(run: RunResults) -> dict[_Tested, Mapping[Any, Any]]:
    """Return the predictions; none while networks are still trained."""
    if not (run.folder / "predictions.tsv").is_file():
        return {}
    return {(str(row["scan_id"]), int(row["fold"])): row for row in run.predictions().to_dict("records")}


def _existing(path: Path | None) -> Path | None:
    return path if path is not None and path.is_file() else None


def _chosen(
    known: list[_Tested], maps: Mapping[_Tested, Mapping[str, MapRecord]], scans: Sequence[str] | None, run: RunResults
) -> list[_Tested]:
    if scans is None:
        return known
    ids = {tested: {tested[0], next(iter(maps[tested].values())).subject_id} for tested in known}
    every = sorted(set().union(*ids.values()))
    for scan in scans:
        if scan not in every:
            raise InputError(
                f"{run.folder} has no relevance map of {scan!r}.{did_you_mean(scan, every)} Only test people have maps."
            )
    return [tested for tested in known if ids[tested] & set(scans)]


def _person(
    tested: _Tested, record: MapRecord, row: Mapping[Any, Any], classes: Sequence[str] | None
) -> dict[str, Any]:
    found: dict[str, Any] = {"id": tested[0], "subject": record.subject_id, "fold": tested[1]}
    if "to_mni" in record.sidecar:
        found["to_mni"] = record.sidecar["to_mni"]
    if not row:
        return found
    if classes is None:
        return found | {"target": _number(row["target"]), "prediction": _number(row["prediction"])}
    target, prediction = class_name(row["target"], classes), class_name(row["prediction"], classes)
    chances = {name: _number(row[f"probability_{name}"]) for name in classes if f"probability_{name}" in row}
    return found | {
        "target": target, "prediction": prediction, "correct": target == prediction, "probabilities": chances,
    }  # fmt: skip


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _space(run: RunResults, records: Mapping[str, MapRecord]) -> str:
    """Return ``mni`` where coordinates are those of MNI space, as far as the run tells, or ``scan``."""
    record = next(iter(records.values()))
    if "to_mni" in record.sidecar or {t["name"] for t in run.config["data"].get("transforms") or []} & _TO_MNI:
        return "mni"
    if record.image is None or not record.image.is_file():
        return "scan"
    image: Any = nib.load(record.image)
    code = image.header.get("sform_code") if isinstance(image, nib.Nifti1Image) else None
    return "mni" if code is not None and int(code) == _MNI_CODE else "scan"
