"""The dataset ``participants``: a study table with images from columns or BIDS folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xai_core import ConfigError, Dataset

from ._parameters import CLASSES, GROUPS, IMAGES, MISSING_TARGET, RECODE, as_texts, source_from, source_problems
from ._schema import parameters
from ._source import Source, Target

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["Participants", "class_problems"]


class Participants(Dataset):
    """A study table (TSV, CSV, XLSX) with an image column or a BIDS folder.

    The table has one row for each scan, or for each person where ``visits`` says so. A target of texts makes a
    classification, one of numbers a regression, unless ``classes`` is given. Other columns become covariates under
    their names: int, float or text, None where a cell is empty, n/a, NA or NaN. A column whose name has another meaning
    in a subject gets an underscore behind it. Ids are texts ("01" stays "01"); "sub-01" and "01" are the same person.
    ``columns`` come first, then rows are chosen by ``where``, then the target's values are renamed by ``recode``, then
    ``groups`` or ``classes`` make the classes; rows in none are left out, and ``visits`` chooses among what is left.

    A BIDS folder is read by its file names: ``sub-<id>[/ses-<label>]/<datatype>/..._<suffix>.nii[.gz]``; the names are
    kept in the user's cache (``$XDG_CACHE_HOME/xai``), and a folder that has changed is listed anew. Where the table is
    the folder's own participants.tsv, the columns of its sessions.tsv files are joined.
    """

    config_schema = parameters(
        {
            **{name: IMAGES[name] for name in ("table",)},
            "target": {
                "type": "string",
                "minLength": 1,
                "description": "Column with what is to be predicted: texts (classes) or numbers.",
            },
            **{name: schema for name, schema in IMAGES.items() if name != "table"},
            "classes": CLASSES,
            "missing_target": MISSING_TARGET,
            "recode": RECODE,
            "groups": GROUPS,
        }
    )

    def __init__(
        self,
        *,
        table: str | None = None,
        target: str,
        image: str | None = None,
        bids: str | None = None,
        derivative: str | None = None,
        layout: Literal["bids", "caps"] = "bids",
        pattern: str | None = None,
        suffix: str = "T1w",
        datatype: str = "anat",
        entities: Mapping[str, Any] | None = None,
        channels: Mapping[str, str | Mapping[str, Any]] | None = None,
        mask: str | Mapping[str, Any] | None = None,
        maps: Mapping[str, str | Mapping[str, Any]] | None = None,
        several: Literal["error", "first", "last"] = "error",
        subject: str = "participant_id",
        session: str | None = None,
        visits: Literal["table", "all", "first", "last"] = "table",
        site: str | None = None,
        ground_truth: str | None = None,
        ground_truth_derivative: str | None = None,
        missing_image: Literal["error", "drop"] = "error",
        columns: Mapping[str, str | Mapping[str, Any]] | None = None,
        where: Mapping[str, Any] | None = None,
        classes: Sequence[str | int] | None = None,
        missing_target: Literal["error", "drop"] = "error",
        recode: Mapping[str, str] | None = None,
        groups: Mapping[str, Sequence[str | int]] | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in IMAGES}
        problems = [*source_problems(given, "participants"), *class_problems(classes, groups, "participants")]
        if problems:
            raise ConfigError(problems)
        self.source: Source = source_from(given)
        self.target = Target(
            target,
            None if classes is None else tuple(str(name) for name in classes),
            as_texts(groups),
            missing_target,
            recode or {},
        )
        self._left_out: list[dict[str, str | None]] | None = None

    @property
    def class_order(self) -> Sequence[str] | None:
        """The classes, or the groups, as they were given."""
        return self.target.classes if self.target.groups is None else tuple(self.target.groups)

    @property
    def channel_names(self) -> Sequence[str] | None:
        """The names under ``channels``."""
        return self.source.channel_names

    def subjects(self) -> Sequence[tio.Subject]:
        """Return one subject for each row that is used, in the order of the table.

        Besides the keys of every dataset a subject holds ``mask`` (LabelMap) and ``map_<name>`` (ScalarImage or
        LabelMap) where they are asked for and the person has them.

        Raises:
            InputError: The table, a column, a value or a file is missing or wrong; the message names rows and column.
        """
        from ._participants import read_source

        subjects, self._left_out = read_source(self.source, self.target)
        return subjects

    def left_out(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows that are not used and the people who have an image, but no row."""
        if self._left_out is None:
            self.subjects()
        return self._left_out or ()

    def inputs(self) -> Sequence[Path]:
        """The study table, and the JSON file beside it where there is one."""
        table = self.source.table_path
        about = table.with_suffix(".json")
        return (table, about) if about.is_file() else (table,)


def class_problems(
    classes: Sequence[str | int] | None, groups: Mapping[str, Sequence[str | int]] | None, who: str
) -> list[str]:
    """Return what does not fit together between classes and groups."""
    names = [str(name) for name in classes or ()]
    problems = [f"{who}: 'classes' names a class twice: {', '.join(names)}."] if len(set(names)) < len(names) else []
    members = Counter(value for values in (as_texts(groups) or {}).values() for value in values)
    problems += [f"{who}: 'groups' has {value!r} in more than one group." for value, n in members.items() if n > 1]
    if groups is not None and classes is not None:
        problems.append(f"{who}: give 'groups' or 'classes', not both; the groups are the classes.")
    return problems
