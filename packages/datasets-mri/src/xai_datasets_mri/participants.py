"""The dataset ``participants``: a study table with images from a column or a BIDS folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xai_core import ConfigError, Dataset

from ._schema import parameters

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["Participants"]

_VALUES = {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1, "uniqueItems": True}


class Participants(Dataset):
    """A study table (TSV, CSV, XLSX) with an image column or a BIDS folder.

    The table has one row for each scan. A target of texts makes a classification, one of numbers a regression, unless
    ``classes`` is given. Other columns become covariates under their names: int, float or text, None where a cell is
    empty, n/a, NA or NaN. A column whose name has another meaning in a subject gets an underscore behind it. Ids are
    texts ("01" stays "01"); "sub-01" and "01" are the same person. Rows are chosen by ``where``, then the target's
    values are renamed by ``recode``, then ``groups`` or ``classes`` make the classes; rows in none are left out.

    A BIDS folder is read by its file names: ``sub-<id>[/ses-<label>]/<datatype>/..._<suffix>.nii[.gz]``.
    """

    config_schema = parameters(
        {
            "table": {
                "type": ["string", "null"],
                "format": "path",
                "default": None,
                "description": "Study table (.tsv, .csv, .xlsx); null: participants.tsv of the BIDS folder.",
            },
            "target": {
                "type": "string",
                "minLength": 1,
                "description": "Column with what is to be predicted: texts (classes) or numbers.",
            },
            "image": {
                "type": ["string", "null"],
                "default": None,
                "description": "Column with the images' paths, relative to the table's folder. Give this or bids.",
            },
            "bids": {
                "type": ["string", "null"],
                "format": "path",
                "default": None,
                "description": "BIDS folder that holds the images. Give this or image.",
            },
            "suffix": {
                "type": "string",
                "minLength": 1,
                "default": "T1w",
                "description": "BIDS: suffix of the images.",
            },
            "datatype": {
                "type": "string",
                "minLength": 1,
                "default": "anat",
                "description": "BIDS: folder of the images below the person's or the session's.",
            },
            "entities": {
                "type": ["object", "null"],
                "additionalProperties": {"type": ["string", "null"]},
                "default": None,
                "description": "BIDS: entities that the image's name must have, such as {ses: M00, space: "
                "MNI152NLin2009cAsym, desc: preproc}; null as a value: the name must not have it.",
            },
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
            "classes": {
                "type": ["array", "null"],
                "items": {"type": ["string", "integer"]},
                "minItems": 2,
                "uniqueItems": True,
                "default": None,
                "description": "Classes to use, in this order (the last is the positive one); rows of others are left "
                "out. null: all, sorted, controls first.",
            },
            "missing_target": {
                "enum": ["error", "drop"],
                "default": "error",
                "description": "What to do with rows without a target: stop, or leave them out.",
            },
            "where": {
                "type": ["object", "null"],
                "additionalProperties": _VALUES,
                "default": None,
                "description": "Rows to use, by columns and their values, such as {cohort: [ADNI2, AIBL], visit: "
                "[M00]}; others are left out.",
            },
            "recode": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "string", "minLength": 1},
                "default": None,
                "description": "New names for values of the target, such as {EMCI: MCI, LMCI: MCI} or {'1': CN}, "
                "before anything else looks at it.",
            },
            "groups": {
                "type": ["object", "null"],
                "additionalProperties": _VALUES,
                "minProperties": 2,
                "default": None,
                "description": "Classes made of values of the target, in this order (the last is the positive one), "
                "such as {controls: [CN], patients: [MCI, AD]}; the target's own column becomes a covariate. In "
                "place of classes.",
            },
        }
    )

    def __init__(
        self,
        *,
        table: str | None = None,
        target: str,
        image: str | None = None,
        bids: str | None = None,
        suffix: str = "T1w",
        datatype: str = "anat",
        entities: Mapping[str, str | None] | None = None,
        subject: str = "participant_id",
        session: str | None = None,
        site: str | None = None,
        ground_truth: str | None = None,
        ground_truth_derivative: str | None = None,
        classes: Sequence[str | int] | None = None,
        missing_target: Literal["error", "drop"] = "error",
        where: Mapping[str, Sequence[str | int]] | None = None,
        recode: Mapping[str, str] | None = None,
        groups: Mapping[str, Sequence[str | int]] | None = None,
    ) -> None:
        names = None if classes is None else tuple(str(name) for name in classes)
        problems = _problems(table, image, bids, ground_truth, ground_truth_derivative)
        if names is not None and len(set(names)) < len(names):
            problems.append(f"participants: 'classes' names a class twice: {', '.join(names)}.")
        groups_as_texts = _as_texts(groups)
        problems += _group_problems(groups_as_texts, names)
        if problems:
            raise ConfigError(problems)
        self.table = None if table is None else Path(table)
        self.target = target
        self.image = image
        self.bids = None if bids is None else Path(bids)
        self.suffix = suffix
        self.datatype = datatype
        self.entities = entities
        self.subject = subject
        self.session = session
        self.site = site
        self.ground_truth = ground_truth
        self.ground_truth_derivative = ground_truth_derivative
        self.classes = names
        self.missing_target = missing_target
        self.where = _as_texts(where)
        self.recode = recode
        self.groups = groups_as_texts

    @property
    def class_order(self) -> Sequence[str] | None:
        """The classes, or the groups, as they were given."""
        return self.classes if self.groups is None else tuple(self.groups)

    def subjects(self) -> Sequence[tio.Subject]:
        """Return one subject for each row that is used, in the order of the table.

        Raises:
            InputError: The table, a column, a value or a file is missing or wrong; the message names rows and column.
        """
        from ._participants import read_participants

        return read_participants(
            table=self.table,
            target=self.target,
            image=self.image,
            bids=self.bids,
            suffix=self.suffix,
            datatype=self.datatype,
            entities=self.entities,
            subject=self.subject,
            session=self.session,
            site=self.site,
            ground_truth=self.ground_truth,
            ground_truth_derivative=self.ground_truth_derivative,
            classes=self.classes,
            missing_target=self.missing_target,
            where=self.where,
            recode=self.recode,
            groups=self.groups,
        )

    def inputs(self) -> Sequence[Path]:
        """The study table."""
        if self.table is not None:
            return (self.table,)
        return () if self.bids is None else (self.bids / "participants.tsv",)


def _problems(
    table: str | None, image: str | None, bids: str | None, ground_truth: str | None, derivative: str | None
) -> list[str]:
    """Return what does not fit together among the parameters."""
    problems = []
    if (image is None) == (bids is None):
        given = "neither" if image is None else "both"
        problems.append(
            f"participants: give either 'image' (a column with paths) or 'bids' (a folder); {given} of them is given."
        )
    if table is None and bids is None:
        problems.append("participants: 'table' (the study table) is needed where there is no 'bids' folder.")
    if derivative is not None and bids is None:
        problems.append(
            "participants: 'ground_truth_derivative' needs 'bids'; for a column of masks use 'ground_truth'."
        )
    if derivative is not None and ground_truth is not None:
        problems.append("participants: give 'ground_truth' or 'ground_truth_derivative', not both.")
    return problems


def _as_texts(mapping: Mapping[str, Sequence[str | int]] | None) -> dict[str, tuple[str, ...]] | None:
    return None if mapping is None else {key: tuple(str(value) for value in v) for key, v in mapping.items()}


def _group_problems(groups: Mapping[str, Sequence[str]] | None, classes: Sequence[str] | None) -> list[str]:
    if groups is None:
        return []
    members = [value for values in groups.values() for value in values]
    problems = [
        f"participants: 'groups' has {value!r} in more than one group."
        for value, count in Counter(members).items()
        if count > 1
    ]
    if classes is not None:
        problems.append("participants: give 'groups' or 'classes', not both; the groups are the classes.")
    return problems
