"""An atlas: regions with names, and an image that says where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .sides import Hemisphere

if TYPE_CHECKING:
    from .._grids import Grid
    from .placing import Entries, Placed

__all__ = ["Assign", "Atlas", "Content", "Kind", "LeftOut", "Region"]

Kind = Literal["labels", "probabilities"]
Assign = Literal["partial", "nearest"]


@dataclass(frozen=True)
class Region:
    """A region of an atlas.

    Attributes:
        index: Its label in the image; of a probabilistic atlas the number of its volume, from 1.
        name: As the atlas' table calls it.
        hemisphere: ``"L"``, ``"R"``, or None where it lies on both sides or its side is not known.
        structure: The name without the side, the same for both sides.
    """

    index: int
    name: str
    hemisphere: Hemisphere | None
    structure: str


@dataclass(frozen=True)
class LeftOut:
    """A label that is no region of the atlas, or a region that has no voxels.

    Attributes:
        index: The label.
        name: As the table calls it, or None.
        reason: Why, in plain words.
    """

    index: int
    name: str | None
    reason: str


class Content(Protocol):
    """Where the regions lie."""

    def entries(self, grid: Grid, person: Mapping[str, Any] | None, assign: Assign) -> Entries:
        """Return which voxels of a grid belong to which region, and by which share."""

    def file_of(self, person: Mapping[str, Any]) -> Path:
        """Return the image that says where the regions of a person lie."""


@dataclass(frozen=True)
class Atlas:
    """Regions and where they lie.

    Attributes:
        name: Of the built-in atlas, or the file's.
        regions: In the order of their index.
        kind: ``"labels"``: a voxel belongs to one region; ``"probabilities"``: to several, each with a weight.
        space: The template that it lies on, as BIDS names it (``MNI152NLin6Asym``, ``MNIColin27``), ``"mni"`` where
            only that is known, ``"scan"``: one space of the study, ``"subject"``: each person's own.
        licence: Of the atlas, in short, or None where it is not known.
        citation: The papers to cite, or None.
        source: The image file; of an atlas in each person's own space the pattern of its files.
        checksum: SHA-256 of the image file; None in each person's own space.
        table: The file of the names, or None where they are built in.
        table_checksum: SHA-256 of that file.
        left_out: Labels without a name and names without a label.
        notes: What the user should know, in plain words.
    """

    name: str
    regions: tuple[Region, ...]
    kind: Kind
    space: str
    licence: str | None
    citation: str | None
    source: str
    checksum: str | None
    content: Content = field(repr=False)
    table: str | None = None
    table_checksum: str | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> Literal["mni", "scan", "subject"]:
        """Which world coordinates the atlas is in, whatever template of MNI space it lies on."""
        return "scan" if self.space == "scan" else "subject" if self.space == "subject" else "mni"

    def file_for(self, person: Mapping[str, Any]) -> Path:
        """Return the image that says where the regions of a person lie: for everybody the same, or the person's own.

        Raises:
            InputError: The person has none, or the pattern names something that is not known of the person.
        """
        return self.content.file_of(person)

    @property
    def files(self) -> tuple[Path, ...]:
        """Image, what a JSON file beside it says, and table; of an atlas in each person's own space the table only."""
        from .finding import sidecar_of

        image = None if self.frame == "subject" else Path(self.source)
        named = (image, None if image is None else sidecar_of(image), self.table)
        return tuple(Path(name) for name in named if name is not None)

    def on(self, grid: Grid, person: Mapping[str, Any] | None = None, *, assign: Assign = "partial") -> Placed:
        """Lay the atlas on the grid of a map.

        Args:
            grid: Of the map, in the atlas' world coordinates.
            person: ``subject_id`` and whatever else the pattern of an atlas in each person's own space names.
            assign: ``"partial"``: each voxel belongs to a label by the share of its volume that the label fills, where
                the grid is coarser than the atlas; ``"nearest"``: to the label at its centre. Probabilities are
                averaged over the voxel in both cases.

        Raises:
            InputError: No region meets the grid, or a person's file is missing, is no label image, or holds labels
                without a name.
        """
        from .placing import placed

        return placed(self, grid, self.content.entries(grid, person, assign))
