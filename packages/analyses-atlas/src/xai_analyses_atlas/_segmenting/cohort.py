"""A whole cohort through the networks, one person after the other."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import InputError
from xai_core.engine.tables import tsv
from xai_core.engine.units import content_key, file_hash, write_text

from .brain import check_extraction
from .clusters import by_region, find_clusters
from .networks import NetworkError, Networks
from .preparing import Recipe, on_scan, prepare
from .scans import Failure, Scan
from .writing import describe, files_of, finished, save

if TYPE_CHECKING:
    from .._atlases import Atlas

__all__ = ["Outcome", "Task", "segment"]

_FORMAT = 1  # of the output: another number makes everybody anew
_log = logging.getLogger("xai")


@dataclass(frozen=True)
class Task:
    """What is segmented, and how.

    Attributes:
        label: Name of what is segmented, letters and digits: ``PVS``.
        recipe: How the networks want their input.
        threshold: A voxel is segmented where the mean probability is above.
        smallest: Clusters of a smaller volume, in mm3, are left out of the mask and the counts.
        atlas: Regions to count by, or None.
    """

    label: str = "PVS"
    recipe: Recipe = field(default_factory=Recipe)
    threshold: float = 0.5
    smallest: float = 0.0
    atlas: Atlas | None = None

    def identity(self) -> dict[str, Any]:
        """Return what decides the outcome, besides networks and images."""
        found: dict[str, Any] = {"format": _FORMAT, "label": self.label, "recipe": asdict(self.recipe)}
        found |= {"threshold": self.threshold, "smallest": self.smallest, "atlas": None}
        if self.atlas is not None:
            found["atlas"] = [self.atlas.source, self.atlas.checksum, self.atlas.table_checksum]
        return found


@dataclass(frozen=True)
class Outcome:
    """What became of a cohort.

    Attributes:
        rows: One for each scan that was segmented.
        failures: Who was not, and why.
        made: How many were segmented now; the others had been before.
    """

    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[Failure, ...]
    made: int


def segment(
    scans: Sequence[Scan], failures: Sequence[Failure], networks: Networks, task: Task, output: Path
) -> Outcome:
    """Segment scans into a BIDS derivative; who was segmented before in the same way is left as they are.

    Args:
        scans: Of the cohort.
        failures: Who could not be found; they are listed with who cannot be segmented.
        networks: Trained.
        task: What and how.
        output: Folder of the derivative.

    Raises:
        NetworkError: The networks can be used for nobody.
        InputError: Brains are to be extracted, and what does that is not installed; the folder cannot be written.
    """
    if any(scan.mask == "extract" for scan in scans):
        check_extraction()
    try:
        output.mkdir(parents=True, exist_ok=True)
        describe(output, task.label, networks.paths)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror}. Give another --output.") from error
    known, failed, made = [], list(failures), 0
    for number, scan in enumerate(scans, start=1):
        files = files_of(output, scan, task.label)
        try:
            key = _key(scan, networks, task)
            about = finished(files, key)
            if about is None:
                _log.info("%d of %d: %s", number, len(scans), scan.name)
                about = _segmented(scan, networks, task, output, key)
                made += 1
        except NetworkError:
            raise
        except (InputError, OSError, MemoryError, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            _log.warning("%s: %s", scan.name, reason)
            failed.append(Failure(scan.name, reason))
            continue
        known.append((scan, files.probabilities.relative_to(output), about))
    rows = [_row(scan, path, about) for scan, path, about in known]
    _write_tables(output, rows, known, failed, task)
    return Outcome(tuple(rows), tuple(failed), made)


def _key(scan: Scan, networks: Networks, task: Task) -> str:
    files = [*scan.images, *([scan.mask] if isinstance(scan.mask, Path) else [])]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise InputError(f"there is no {', '.join(missing)}.")
    inputs = [file_hash(path) for path in files]
    rule = scan.mask if isinstance(scan.mask, str) else "file"
    return content_key(
        task=task.identity(),
        networks=sorted(networks.hashes.values()),
        channel=networks.channel,
        inputs=inputs,
        mask=rule,
        atlas_file=_own_atlas(scan, task),
    )


def _own_atlas(scan: Scan, task: Task) -> str | None:
    """Return the check sum of a person's own atlas, where the atlas is one file for each person."""
    from .._atlases.contents import PersonImages

    if task.atlas is None or not isinstance(task.atlas.content, PersonImages):
        return None
    return file_hash(task.atlas.content.file_of(_person(scan)))


def _person(scan: Scan) -> dict[str, Any]:
    return {"subject_id": scan.subject, "session_id": scan.session, "scan_id": scan.name}


def _segmented(scan: Scan, networks: Networks, task: Task, output: Path, key: str) -> dict[str, Any]:
    prepared = prepare(scan, task.recipe)
    if prepared.cut:
        _log.warning(
            "%s: %.2f %% of the brain lies outside of the box and was not seen.", scan.name, 100 * prepared.cut
        )
    probabilities = on_scan(networks.probabilities(prepared.volume), prepared)
    clusters = find_clusters(probabilities, prepared.scan, task.threshold, task.smallest)
    regions = None
    if task.atlas is not None:
        regions = by_region(clusters, task.atlas.on(prepared.scan, _person(scan)))
    about = {
        "Description": f"Mean probability of {task.label} by {len(networks.paths)} networks",
        "RawSources": [str(path) for path in scan.images],
        "mask": str(scan.mask),
        "networks": {Path(path).name: digest for path, digest in networks.hashes.items()},
        **task.identity(),
        "counts": {
            **clusters.row(),
            "expected_volume": round(float(probabilities.sum(dtype="float64")) * clusters.voxel, 6),
            "brain_volume": round(float(prepared.brain.sum()) * clusters.voxel, 6),
            "brain_outside_box": round(prepared.cut, 6),
        },
        "regions": regions,
        "key": key,
    }
    save(files_of(output, scan, task.label), scan, probabilities, clusters.mask, about, task.threshold)
    return about


def _row(scan: Scan, path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "participant_id": scan.subject,
        "session_id": scan.session,
        "scan": scan.name,
        **about["counts"],
        "threshold": about["threshold"],
        "smallest": about["smallest"],
        "probabilities": path.as_posix(),
        "image": str(scan.images[0]),
    }


def _write_tables(
    output: Path,
    rows: Sequence[Mapping[str, Any]],
    known: Sequence[tuple[Scan, Path, Mapping[str, Any]]],
    failed: Sequence[Failure],
    task: Task,
) -> None:
    import pandas as pd

    regions = [
        {"participant_id": scan.subject, "session_id": scan.session, "scan": scan.name, **region}
        for scan, _, about in known
        for region in about["regions"] or ()
    ]
    tables = {
        "segmentation.tsv": rows,
        "regions.tsv": regions if task.atlas is not None else [],
        "failed.tsv": [asdict(each) for each in failed],
    }
    for name, content in tables.items():
        if content:
            write_text(output / name, tsv(pd.DataFrame(content)))
        else:
            (output / name).unlink(missing_ok=True)
