"""One cohort as a user describes it: table, images, columns, rows. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ._files import ImageFiles

__all__ = ["Cohort", "Column", "Range", "Source", "Target", "columns_from", "values_from"]


@dataclass(frozen=True)
class Range:
    """Numbers from ``least`` to ``most``, both included, or any text but those of ``others``."""

    least: float | None = None
    most: float | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column under another name, in another unit, or with other values.

    Attributes:
        column: Its name in the table.
        scale: Factor of its numbers.
        divide_by: Divisor of its numbers.
        offset: Added to its numbers after that.
        recode: New values by old ones.
        unit: What it is in afterwards.
    """

    column: str
    scale: float = 1
    divide_by: float = 1
    offset: float = 0
    recode: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None

    @property
    def is_converted(self) -> bool:
        """Whether its numbers change."""
        return (self.scale, self.divide_by, self.offset) != (1, 1, 0)


@dataclass(frozen=True)
class Target:
    """What is to be predicted, and in which classes.

    Attributes:
        column: Its column.
        classes: Classes to use, or None.
        groups: Values of the column by class, or None.
        missing: What to do with rows without a value.
        recode: New names for its values.
        all_occur: Whether every class, value of a group and value to recode must occur in the table; where several
            tables make a study, each must be in one of them.
    """

    column: str
    classes: Sequence[str] | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    missing: Literal["error", "drop"] = "error"
    recode: Mapping[str, str] = field(default_factory=dict)
    all_occur: bool = True


@dataclass(frozen=True)
class Source:
    """One table and the images of its people.

    Attributes:
        table: The table; None: ``participants.tsv`` of ``bids``.
        bids: The BIDS folder, or None.
        images: The channels of ``image``, in their order.
        channel_names: Their names; None: there is one.
        further: Other images by their key in the subject (``mask``, ``ground_truth``, ``map_lesions``).
        subject: Column of the person's id.
        session: Column of the visit, or None.
        site: Column of the site, or None.
        person: Column with an id of the person that holds in other cohorts, too, or None.
        visits: Which visits of a person are used.
        columns: Columns that are renamed or converted, by their new name.
        where: Rows to use, by column.
        missing_image: What to do with rows without an image.
    """

    table: Path | None
    bids: Path | None
    images: tuple[ImageFiles, ...]
    channel_names: tuple[str, ...] | None = None
    further: Mapping[str, ImageFiles] = field(default_factory=dict)
    subject: str = "participant_id"
    session: str | None = None
    site: str | None = None
    person: str | None = None
    visits: Literal["table", "all", "first", "last"] = "table"
    columns: Mapping[str, Column] = field(default_factory=dict)
    where: Mapping[str, tuple[str, ...] | Range] = field(default_factory=dict)
    missing_image: Literal["error", "drop"] = "error"

    @property
    def table_path(self) -> Path:
        """The table, or the BIDS folder's own."""
        if self.table is not None:
            return self.table
        assert self.bids is not None
        return self.bids / "participants.tsv"


@dataclass(frozen=True)
class Cohort:
    """One of several cohorts.

    Attributes:
        name: Its name, the covariate ``cohort``.
        study: The study that it is a part of; cohorts of one study share people.
        source: Its table and its images.
    """

    name: str
    study: str
    source: Source


def columns_from(given: Mapping[str, Any] | None) -> dict[str, Column]:
    """Return the columns that a user described; a text is a name."""
    return {
        name: Column(about) if isinstance(about, str) else Column(**{**about, "recode": _texts(about.get("recode"))})
        for name, about in (given or {}).items()
    }


def _texts(recode: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(old): str(new) for old, new in (recode or {}).items()}


def values_from(given: Mapping[str, Any] | None) -> dict[str, tuple[str, ...] | Range]:
    """Return the conditions that a user wrote under ``where``."""
    return {
        name: Range(values.get("min"), values.get("max"), tuple(map(str, values.get("not", ()))))
        if isinstance(values, Mapping)
        else tuple(map(str, values))
        for name, values in (given or {}).items()
    }
