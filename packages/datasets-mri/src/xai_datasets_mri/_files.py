"""Which files a study takes its images from: a column of paths, or names in a BIDS folder. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ._patterns import pattern_problem
from ._schema import parameters

__all__ = ["ENTITIES", "FILES", "ImageFiles", "files_from", "files_problems"]

ENTITIES: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": {
        "type": ["string", "integer", "array", "null"],
        "items": {"type": ["string", "integer"]},
        "minItems": 1,
    },
    "default": None,
    "description": "BIDS: entities that the image's name must have, such as {space: MNI152NLin2009cAsym, res: 2, desc: "
    "preproc, ses: [M00, M12], run: 1}; a list: one of these; null as a value: the name must not have it.",
}

_SEVERAL: Mapping[str, Any] = {
    "enum": ["error", "first", "last"],
    "default": "error",
    "description": "BIDS: what to do where several files of a visit fit (runs): stop, take the first or the last one.",
}

_ONE: Mapping[str, Mapping[str, Any]] = {
    "column": {
        "type": ["string", "null"],
        "default": None,
        "description": "Column with paths, relative to the table's folder; in place of the names in a BIDS folder.",
    },
    "bids": {
        "type": ["string", "null"],
        "format": "path",
        "default": None,
        "description": "Folder to look in; null: the dataset's bids.",
    },
    "derivative": {
        "type": ["string", "null"],
        "default": None,
        "description": "Name of a folder in derivatives/ of the BIDS folder; null: the raw data.",
    },
    "layout": {
        "enum": ["bids", "caps"],
        "default": "bids",
        "description": "How folders are ordered: bids, or Clinica's caps (subjects/sub-*/ses-*/ and anything below).",
    },
    "pattern": {
        "type": ["string", "null"],
        "default": None,
        "description": "Path of a file below the folder where names are of another kind, such as "
        "'mri/mwp1sub-{subject}[_ses-{session}]_T1w.nii[.gz]'; [...] may be absent, * is any part, ** any folders.",
    },
    "suffix": {
        "type": ["string", "null"],
        "default": None,
        "description": "Last part of the name, such as T1w, FLAIR, probseg; null: T1w of a channel, mask of a mask.",
    },
    "datatype": {
        "type": "string",
        "minLength": 1,
        "default": "anat",
        "description": "Folder of the images below the person's or the session's (bids only).",
    },
    "entities": ENTITIES,
    "several": _SEVERAL,
}


def _described(**more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of one description of files: a mapping, or a text, which is a column."""
    whole = parameters({**_ONE, **more})
    return {"type": ["string", "object"], "minLength": 1, **{k: v for k, v in whole.items() if k != "type"}}


_REQUIRED: Mapping[str, Any] = {
    "type": "boolean",
    "default": True,
    "description": "Whether everybody must have one; false: who has none goes without.",
}
_LABELS: Mapping[str, Any] = {
    "type": ["boolean", "null"],
    "default": None,
    "description": "Whether the values are labels (interpolated by the nearest voxel); null: of suffix mask or dseg.",
}

FILES: Mapping[str, Mapping[str, Any]] = {
    "channels": {
        "type": ["object", "null"],
        "additionalProperties": _described(),
        "minProperties": 1,
        "default": None,
        "description": "Several images as channels of one, in this order, such as {t1w: {suffix: T1w}, flair: {suffix: "
        "FLAIR}}; a text is a column of paths. They must lie on one grid. In place of image, suffix and the like.",
    },
    "mask": {
        **_described(required=_REQUIRED),
        "type": ["object", "string", "null"],
        "default": None,
        "description": "Brain mask of each scan, such as {derivative: fmriprep, entities: {desc: brain}}; transforms "
        "may use it.",
    },
    "maps": {
        "type": ["object", "null"],
        "additionalProperties": _described(required={**_REQUIRED, "default": False}, labels=_LABELS),
        "default": None,
        "description": "Further images of a person for later analyses, not for the network, such as {lesions: "
        "{derivative: lst, suffix: mask}, fa: fa_path}; subjects.tsv has their paths as map_<name>.",
    },
    "several": _SEVERAL,
}


@dataclass(frozen=True)
class ImageFiles:
    """Where one image of each scan is.

    Attributes:
        name: What it is called in messages, such as ``channels.flair``.
        column: Column of the table with paths; None: names in a folder.
        root: The folder, or None with a column.
        derivative: Name of the derivative below ``root``.
        layout: How folders are ordered.
        pattern: Pattern of paths; None: of the layout.
        suffix: Last part of a BIDS name.
        datatype: Folder of BIDS.
        entities: Allowed labels by entity; None: the name must not have it.
        several: What to do where several files fit.
        required: Whether everybody must have one.
        labels: Whether its values are labels.
    """

    name: str
    column: str | None = None
    root: Path | None = None
    derivative: str | None = None
    layout: Literal["bids", "caps"] = "bids"
    pattern: str | None = None
    suffix: str = "T1w"
    datatype: str = "anat"
    entities: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    several: Literal["error", "first", "last"] = "error"
    required: bool = True
    labels: bool = False

    @property
    def what(self) -> str:
        """What is looked for, in words: ``T1w image (anat, space-MNI)``."""
        if self.pattern is not None:
            return f"image {self.pattern}"
        filters = "".join(
            f", no {key}" if values is None else f", {key}-{' or '.join(values)}"
            for key, values in self.entities.items()
        )
        place = self.datatype if self.layout == "bids" else "CAPS"
        return f"{self.suffix} image ({place}{filters})"


def files_from(
    name: str, given: str | Mapping[str, Any], bids: Path | None, *, suffix: str = "T1w", required: bool = True
) -> ImageFiles:
    """Return a description from what a user wrote.

    Args:
        name: What it is called in messages.
        given: A column, or the parameters.
        bids: The dataset's folder.
        suffix: Where none is given.
        required: Where it is not given.
    """
    if isinstance(given, str):
        given = {"column": given}
    about = {key: value for key, value in given.items() if value is not None}
    entities = {
        key: None if values is None else tuple(map(str, values)) if isinstance(values, list | tuple) else (str(values),)
        for key, values in (about.pop("entities", None) or {}).items()
    }
    own = about.pop("bids", None)
    root = None if "column" in about else Path(own) if own is not None else bids
    chosen = about.pop("suffix", suffix)
    labels = about.pop("labels", chosen in ("mask", "dseg"))
    return ImageFiles(
        name, root=root, suffix=chosen, entities=entities, labels=labels, **{"required": required, **about}
    )


def files_problems(name: str, given: str | Mapping[str, Any] | None, bids: str | None) -> list[str]:
    """Return what does not fit together in one description."""
    if given is None or isinstance(given, str):
        return []
    column, pattern = given.get("column"), given.get("pattern")
    by_name = [key for key in ("bids", "derivative", "pattern", "suffix", "entities") if given.get(key) is not None]
    problems = []
    if column is not None and by_name:
        problems.append(f"{name}: give 'column' or {', '.join(map(repr, by_name))}, not both.")
    if column is None and given.get("bids") is None and bids is None:
        problems.append(f"{name}: give a 'column' with paths, or a 'bids' folder.")
    if name.startswith("maps.") and not (column or pattern or given.get("suffix")):
        problems.append(f"{name}: say which files: 'column', 'suffix' or 'pattern'.")
    if pattern is not None:
        wrong = pattern_problem(pattern)
        problems += [f"{name}.pattern: {wrong}"] if wrong else []
        problems += [f"{name}: 'pattern' says the whole name; leave 'suffix' out."] if given.get("suffix") else []
    return problems
