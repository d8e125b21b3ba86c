"""Parameters that a study table, alone or among several cohorts, is described by. Light."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._files import ENTITIES, FILES, ImageFiles, files_from, files_problems
from ._patterns import pattern_problem
from ._schema import parameters
from ._source import Source, columns_from, values_from

__all__ = ["CLASSES", "COLUMNS", "GROUPS", "IMAGES", "MISSING_TARGET", "RECODE", "WHERE", "as_texts", "source_from",
           "source_problems"]  # fmt: skip

_VALUES: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": ["string", "integer"]},
    "minItems": 1,
    "uniqueItems": True,
}

WHERE: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": {
        "type": ["array", "object"],
        **{key: value for key, value in _VALUES.items() if key != "type"},
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "min": {"type": "number", "description": "Smallest number."},
            "max": {"type": "number", "description": "Largest number."},
            "not": {**_VALUES, "description": "Values to leave out."},
        },
    },
    "default": None,
    "description": "Rows to use, by columns and their values or range, such as {visit: [M00], age: {min: 55, max: 90}, "
    "sex: {not: [X]}}; others, and rows without a value, are left out.",
}

CLASSES: Mapping[str, Any] = {
    **_VALUES,
    "type": ["array", "null"],
    "minItems": 2,
    "default": None,
    "description": "Classes to use, in this order (the last is the positive one); rows of others are left out. null: "
    "all, sorted, controls first.",
}

GROUPS: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": _VALUES,
    "minProperties": 2,
    "default": None,
    "description": "Classes made of values of the target, in this order (the last is the positive one), such as "
    "{controls: [CN], patients: [MCI, AD]}; the target's own column becomes a covariate. In place of classes.",
}

RECODE: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": {"type": "string", "minLength": 1},
    "default": None,
    "description": "New names for values of the target, such as {EMCI: MCI, LMCI: MCI} or {'1': CN}, before classes "
    "and groups.",
}

MISSING_TARGET: Mapping[str, Any] = {
    "enum": ["error", "drop"],
    "default": "error",
    "description": "What to do with rows without a target: stop, or leave them out.",
}

_COLUMN = parameters(
    {
        "column": {"type": "string", "minLength": 1, "description": "Its name in the table."},
        "scale": {"type": "number", "default": 1, "description": "Factor of its numbers (0.001: mm3 to ml)."},
        "divide_by": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 1,
            "description": "Divisor of its numbers (12: months to years).",
        },
        "offset": {"type": "number", "default": 0, "description": "Added to its numbers after that."},
        "recode": {
            "type": "object",
            "additionalProperties": {"type": ["string", "integer", "number"]},
            "default": {},
            "description": "New values by old ones, such as {Male: M, Female: F}.",
        },
        "unit": {"type": ["string", "null"], "default": None, "description": "The unit afterwards, such as year."},
    }
)

COLUMNS: Mapping[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": {**_COLUMN, "type": ["string", "object"]},
    "default": None,
    "description": "Columns under another name, in another unit or with other values, such as {age: {column: "
    "age_months, divide_by: 12}, tiv: {column: TIV_mm3, scale: 0.001}, sex: PTGENDER}; everything else uses the new "
    "names.",
}

# What one table and its images are described by: the parameters of participants, and of each cohort of cohorts.
IMAGES: Mapping[str, Mapping[str, Any]] = {
    "table": {
        "type": ["string", "null"],
        "format": "path",
        "default": None,
        "description": "Study table (.tsv, .csv, .xlsx); null: participants.tsv of the BIDS folder, with the "
        "sessions' tables.",
    },
    "image": {
        "type": ["string", "null"],
        "default": None,
        "description": "Column with the images' paths, relative to the table's folder. Give this, bids or channels.",
    },
    "bids": {
        "type": ["string", "null"],
        "format": "path",
        "default": None,
        "description": "BIDS folder that holds the images. Give this or image.",
    },
    "derivative": {
        "type": ["string", "null"],
        "default": None,
        "description": "BIDS: take the images from this folder in derivatives/, such as fmriprep; null: the raw ones.",
    },
    "layout": {
        "enum": ["bids", "caps"],
        "default": "bids",
        "description": "How the folders are ordered: bids, or Clinica's caps (subjects/sub-*/ses-*/ and anything "
        "below).",
    },
    "pattern": {
        "type": ["string", "null"],
        "default": None,
        "description": "Path of an image below the folder where names are of another kind, such as CAT12's "
        "'mri/mwp1sub-{subject}[_ses-{session}]_T1w.nii[.gz]': [...] may be absent, * is any part, ** any folders.",
    },
    "suffix": {
        "type": "string",
        "minLength": 1,
        "default": "T1w",
        "description": "BIDS: suffix of the images, such as T1w, FLAIR, probseg.",
    },
    "datatype": {
        "type": "string",
        "minLength": 1,
        "default": "anat",
        "description": "BIDS: folder of the images below the person's or the session's.",
    },
    "entities": ENTITIES,
    **FILES,
    "subject": {
        "type": "string",
        "minLength": 1,
        "default": "participant_id",
        "description": "Column with the person's id.",
    },
    "session": {
        "type": ["string", "null"],
        "default": None,
        "description": "Column with the visit; null: session_id where there is such a column.",
    },
    "visits": {
        "enum": ["table", "all", "first", "last"],
        "default": "table",
        "description": "Which visits are used: a row of the table is a scan (table); all sessions of each person, "
        "also of a table that has one row for a person; of each person the first or the last one that is left.",
    },
    "site": {
        "type": ["string", "null"],
        "default": None,
        "description": "Column with the site or scanner; null: site where there is such a column.",
    },
    "ground_truth": {
        "type": ["string", "null"],
        "default": None,
        "description": "Column with paths of masks, 1 where the truth says that the class shows; n/a: none.",
    },
    "ground_truth_derivative": {
        "type": ["string", "null"],
        "default": None,
        "description": "BIDS: name of the derivative whose ..._mask.nii[.gz] files are such masks.",
    },
    "missing_image": {
        "enum": ["error", "drop"],
        "default": "error",
        "description": "What to do with rows without an image, a channel or a mask: stop, or leave them out.",
    },
    "columns": COLUMNS,
    "where": WHERE,
}

_ONE_IMAGE = ("image", "derivative", "layout", "pattern", "suffix", "datatype", "entities")


def as_texts(mapping: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]] | None:
    """Return lists of values as texts."""
    return None if mapping is None else {key: tuple(str(value) for value in v) for key, v in mapping.items()}


def source_from(given: Mapping[str, Any], *, person: str | None = None) -> Source:
    """Return one table and its images as parameters describe them; those that lack have their defaults."""
    about: dict[str, Any] = {name: schema.get("default") for name, schema in IMAGES.items()} | dict(given)
    bids = None if about["bids"] is None else Path(about["bids"])
    channels = about["channels"]
    further = {f"map_{name}": files_from(f"maps.{name}", files, bids, required=False)
               for name, files in (about["maps"] or {}).items()}  # fmt: skip
    if about["mask"] is not None:
        further["mask"] = files_from("mask", about["mask"], bids, suffix="mask")
    truth = _truth(about, bids)
    return Source(
        table=None if about["table"] is None else Path(about["table"]),
        bids=bids,
        images=_images(about, bids),
        channel_names=None if channels is None else tuple(channels),
        further={**({} if truth is None else {"ground_truth": truth}), **further},
        columns=columns_from(about["columns"]),
        where=values_from(about["where"]),
        person=person,
        subject=about["subject"],
        session=about["session"],
        site=about["site"],
        visits=about["visits"],
        missing_image=about["missing_image"],
    )


def _images(about: Mapping[str, Any], bids: Path | None) -> tuple[ImageFiles, ...]:
    shared = {"several": about["several"]}
    if about["channels"] is not None:
        described = [(name, {"column": files} if isinstance(files, str) else files)
                     for name, files in about["channels"].items()]  # fmt: skip
        return tuple(files_from(f"channels.{name}", {**shared, **files}, bids) for name, files in described)
    if about["image"] is not None:
        return (files_from("image", about["image"], None),)
    one = {key: about[key] for key in _ONE_IMAGE if key != "image"}
    return (files_from("image", {**shared, **one}, bids),)


def _truth(about: Mapping[str, Any], bids: Path | None) -> ImageFiles | None:
    if about["ground_truth"] is not None:
        return ImageFiles("ground_truth", column=about["ground_truth"], required=False, labels=True)
    if about["ground_truth_derivative"] is None:
        return None
    return ImageFiles(
        "ground_truth_derivative", root=bids, derivative=about["ground_truth_derivative"], suffix="mask",
        datatype=about["datatype"], required=False, labels=True,
    )  # fmt: skip


def source_problems(given: Mapping[str, Any], who: str) -> list[str]:
    """Return what does not fit together among the parameters of one table.

    Args:
        given: The parameters; those that lack have their defaults.
        who: The component, or the cohort, for the messages.
    """
    about = {name: schema.get("default") for name, schema in IMAGES.items()} | dict(given)
    problems = _image_problems(about)
    if about["table"] is None and about["bids"] is None:
        problems.append("'table' (the study table) is needed where there is no 'bids' folder.")
    if about["ground_truth_derivative"] is not None and about["bids"] is None:
        problems.append("'ground_truth_derivative' needs 'bids'; for a column of masks use 'ground_truth'.")
    if about["ground_truth_derivative"] is not None and about["ground_truth"] is not None:
        problems.append("give 'ground_truth' or 'ground_truth_derivative', not both.")
    for kind in ("channels", "maps"):
        for name, files in (about[kind] or {}).items():
            problems += files_problems(f"{kind}.{name}", files, about["bids"])
    problems += files_problems("mask", about["mask"], about["bids"])
    names = [name for kind in ("channels", "maps") for name in about[kind] or ()]
    wrong = [name for name in names if not name.isidentifier()]
    problems += [f"{name!r} cannot name an image: use letters, digits and _." for name in wrong]
    return [f"{who}: {problem}" for problem in problems]


def _image_problems(about: Mapping[str, Any]) -> list[str]:
    if about["channels"] is not None:
        changed = [key for key in _ONE_IMAGE if about[key] != IMAGES[key]["default"]]
        listed = ", ".join(map(repr, changed))
        return [f"with 'channels', say {listed} in each channel instead."] if changed else []
    if (about["image"] is None) == (about["bids"] is None):
        given = "neither" if about["image"] is None else "both"
        return [f"give either 'image' (a column with paths) or 'bids' (a folder); {given} of them is given."]
    if about["pattern"] is None:
        return []
    wrong = pattern_problem(about["pattern"])
    return [f"pattern: {wrong}"] if wrong else []
