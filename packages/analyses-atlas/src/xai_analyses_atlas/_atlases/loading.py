"""Atlases by name or file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from xai_core import InputError

from .._maps import UNREADABLE
from .atlas import Atlas, Content, LeftOut, Region
from .contents import LabelImage, PersonImages, ProbabilityImages, distinct, numbered, unnamed_message, whole_labels
from .finding import Found, find_atlas
from .freesurfer import standard_names
from .geometry import check_sides, extents, sides_by_place
from .probabilities import scale_and_centres
from .sides import split_side
from .tables import atlas_names

__all__ = ["Unnamed", "load_atlas"]

Unnamed = Literal["error", "label", "leave-out"]


def load_atlas(
    name_or_path: str | Path | Mapping[str, Any],
    table: str | Path | None = None,
    *,
    space: str | None = None,
    folder: str | Path | None = None,
    unnamed: Unnamed = "error",
) -> Atlas:
    """Return an atlas. Nothing is downloaded.

    Args:
        name_or_path: A built-in name (see ``xai atlases``), the name of an image in ``folder`` or a folder of the
            environment variable ``XAI_ATLASES``, an image file (NIfTI or MGH), or a pattern of files in each person's
            own space with names in braces (``fs/{subject_id}/mri/aparc+aseg.mgz``). Or a mapping with ``image`` and,
            if wanted, ``table`` and ``space``, as in a pipeline file.
        table: File of the names; None: that which lies beside the image, and FreeSurfer's own names for its own files.
        space: See ``Atlas``; None: what is known of it, ``"mni"`` for a file, ``"subject"`` for a pattern.
        folder: Folder of the user's atlases.
        unnamed: What becomes of labels without a name: an error, regions called ``label 7``, or nothing (they count as
            outside of the atlas and are listed).

    Raises:
        InputError: There is no such atlas, it is not installed, or image and table do not fit together.
    """
    if isinstance(name_or_path, Mapping):
        table = table or name_or_path.get("table")
        space = space or name_or_path.get("space")
        name_or_path = str(name_or_path["image"])
    found = find_atlas(str(name_or_path), None if table is None else Path(table), folder, space)
    if found.pattern:
        return _of_persons(found, unnamed)
    volumes = _volumes(Path(found.image))
    return _of_labels(found, unnamed) if volumes is None else _of_probabilities(found, unnamed, volumes)


def _volumes(path: Path) -> int | None:
    """Return how many volumes an image has, None: one."""
    try:
        shape = nib.load(path).shape  # type: ignore[attr-defined]
    except (nib.filebasedimages.ImageFileError, *UNREADABLE) as error:
        raise InputError(f"The atlas {path} cannot be read as an image: {error}. Is it whole?") from error
    return int(shape[3]) if len(shape) == 4 and shape[3] > 1 else None


def _of_labels(found: Found, unnamed: Unnamed) -> Atlas:
    path = Path(found.image)
    labels, grid = whole_labels(path)
    present = distinct(labels)
    names = _names(found, [int(label) for label in present])
    unknown = np.asarray([label for label in present.tolist() if label not in names], dtype=np.int64)
    if unnamed == "error" and set(unknown.tolist()) - set(found.nameless):
        raise InputError(unnamed_message(f"The atlas {path}", unknown))
    if unnamed == "label":
        names |= {int(label): f"label {int(label)}" for label in unknown}
    kept = sorted(set(names) & set(present.tolist()))
    if not kept:
        raise InputError(f"The atlas {path}: its table names none of the {len(present)} labels in the image.")
    regions, alike = _told_apart([_region(label, names[label]) for label in kept])
    numbers = numbered(labels, tuple(kept))
    extent = extents(numbers, grid, len(kept))
    notes = alike + _notes(found, regions, extent[:, 1])
    if found.space != "scan":
        regions = sides_by_place(regions, extent)
    missing = [LeftOut(label, name, "in the table, but not in the image") for label, name in sorted(names.items())
               if label not in kept and label != 0]  # fmt: skip
    nameless = [] if unnamed == "label" else [
        LeftOut(int(label), None, "in the image, but not in the table: outside of the atlas") for label in unknown
    ]  # fmt: skip
    content = LabelImage(path, numbers, grid, len(kept))
    return _atlas(found, regions, content, "labels", [*nameless, *missing], notes)


def _of_probabilities(found: Found, unnamed: Unnamed, volumes: int) -> Atlas:
    path = Path(found.image)
    names = _names(found, None)
    first = 0 if set(names) >= {0} and volumes not in names else 1
    named = {index - first + 1: name for index, name in names.items()}
    beyond = sorted(index for index in named if not 1 <= index <= volumes)
    absent = np.asarray([number for number in range(1, volumes + 1) if number not in named])
    if beyond or (len(absent) and unnamed != "label"):
        raise InputError(
            f"The atlas {path} has {volumes} volumes and its table names {len(named)}: "
            f"{len(absent)} volumes have no name and {len(beyond)} names no volume. Each volume needs one, counted "
            "from 0 or from 1."
        )
    named |= {int(number): f"label {int(number)}" for number in absent}
    regions, alike = _told_apart([_region(number, named[number]) for number in range(1, volumes + 1)])
    scale, centres = scale_and_centres(path, volumes)
    notes = alike + _notes(found, regions, centres)
    return _atlas(found, regions, ProbabilityImages(path, scale, volumes), "probabilities", [], notes)


def _of_persons(found: Found, unnamed: Unnamed) -> Atlas:
    if unnamed == "label":
        raise InputError(
            f"The atlas {found.image} lies in each person's own space: its regions must be the same for everybody, so "
            "unnamed: label cannot be. Give a table, or set unnamed: leave-out."
        )
    names = {label: name for label, name in _names(found, None).items() if label != 0}
    regions, alike = _told_apart([_region(label, names[label]) for label in sorted(names)])
    content = PersonImages(found.image, tuple(sorted(names)), unnamed == "leave-out")
    return _atlas(found, regions, content, "labels", [], alike)


def _names(found: Found, present: list[int] | None) -> dict[int, str]:
    """Return the names of labels; those of ``present`` by their numbers where that is how the atlas calls them."""
    if found.table is not None:
        return {label: name for label, name in atlas_names(found.table).items() if name.strip()}
    if found.numbers is not None and present is not None:
        return {label: found.numbers.format(label) for label in present}
    standard = standard_names(found.image)
    if standard is None:
        if present is not None:
            return {}
        raise InputError(
            f"The atlas {found.image} has no table of names. Give one (table), or lay it beside the image under the "
            "same name with the ending .tsv, .csv, .txt or .xml."
        )
    return standard


def _region(index: int, name: str) -> Region:
    hemisphere, structure = split_side(name)
    return Region(index, name, hemisphere, structure)


def _told_apart(regions: Sequence[Region]) -> tuple[list[Region], list[str]]:
    """Add the label to names that several regions have, since tables are read by name; and say so."""
    counts = Counter(region.name for region in regions)
    found = [
        region if counts[region.name] == 1 else replace(
            region, name=f"{region.name} (label {region.index})", structure=f"{region.structure} (label {region.index})"
        ) for region in regions
    ]  # fmt: skip
    alike = [name for name, count in counts.items() if count > 1]
    return found, [f"have one name in its table, so that their label is added: {', '.join(alike)}"] if alike else []


def _notes(found: Found, regions: list[Region], centres: Any) -> list[str]:
    if found.space == "scan":
        return []
    wrong = check_sides(regions, centres, f"The atlas {found.image}")
    return [f"lie on the other side than their names say: {', '.join(wrong)}"] if wrong else []


def _atlas(
    found: Found, regions: list[Region], content: Content, kind: Literal["labels", "probabilities"],
    left_out: list[LeftOut], notes: list[str],
) -> Atlas:  # fmt: skip
    return Atlas(
        name=found.name, regions=tuple(regions), kind=kind, space=found.space, licence=found.licence,
        citation=found.citation, source=found.image, checksum=None if found.pattern else _sha256(Path(found.image)),
        content=content, table=None if found.table is None else str(found.table),
        table_checksum=None if found.table is None else _sha256(found.table), left_out=tuple(left_out),
        notes=tuple(notes),
    )  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
