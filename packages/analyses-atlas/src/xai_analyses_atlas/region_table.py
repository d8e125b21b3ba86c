"""The analysis ``region-table``. Light: everything heavy loads when it is carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis

from ._atlas_params import ATLAS, AtlasChoice, require_absolute
from ._params import EXPLAINERS, MISMATCH

if TYPE_CHECKING:
    import pandas as pd

    from xai_core import Task
    from xai_core.engine.results import RunResults

__all__ = ["PASSED_ON", "RegionTable"]

PASSED_ON = ("explainers", "space", "assign", "channel", "folder", "unnamed", "missing", "mismatch")
"""Parameters that analyses of regions hand on to ``region-table``."""


class RegionTable(Analysis):
    """Relevance of every test person in every region of an atlas, as tidy tables.

    Each voxel's relevance goes to the regions that it lies in; where the map's voxels are larger than the atlas', by
    the share of its volume that each region fills (``assign: partial``), so that small regions are neither lost nor
    blown up, and a region's volume on the map's grid is that in the atlas. What no region holds is a row of its own:
    the rows of a map add up to the map.

    An atlas in MNI space needs scans that are registered to it, before the run or by the transform ``register-to-mni``.
    Templates of MNI space differ by millimetres (Evans et al., Brain templates and atlases, NeuroImage 2012); the
    atlas' own is written beside the tables. Whether scan and atlas lie in the same place is tested for each scan.

    Args:
        atlas: A name, or a mapping with ``image`` and, if wanted, ``table`` and ``space``.
        explainers: Ids of explainers of the run; None: all.
        space: Whether maps are taken in ``"mni"`` space, or where their ``"scan"`` lies: for an atlas in each person's
            own space, or in a space that all scans share.
        assign: ``"partial"``, or the label at the ``"nearest"`` voxel.
        channel: Name of one channel of the images; None: relevance of all channels added up.
        folder: Folder of your own atlases, found by the names of their images, besides those of ``XAI_ATLASES``.
        unnamed: Labels without a name in the table are an ``"error"``, get a ``"label"`` such as ``label 7``, or are
            counted as outside of the atlas (``"leave-out"``).
        missing: Whether a scan without a file of an atlas in each person's own space is an ``"error"``, or is left out
            on record.
        mismatch: Whether a scan whose head does not lie over the atlas is an ``"error"``, or a ``"note"`` in
            ``regions.json``.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["atlas"],
        "properties": {
            "atlas": ATLAS,
            "explainers": EXPLAINERS,
            "space": {
                "enum": ["mni", "scan"],
                "default": "mni",
                "description": "Whether maps are taken in MNI space (the scans are registered to it), or where their "
                "scan lies (an atlas in each person's own space, or in a space that all scans share).",
            },
            "assign": {
                "enum": ["partial", "nearest"],
                "default": "partial",
                "description": "Where the map's voxels are larger than the atlas': a voxel belongs to regions by the "
                "shares of its volume, or to the region at its centre.",
            },
            "channel": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Name of one channel of the images; null: relevance of all channels added up.",
            },
            "folder": {
                "type": ["string", "null"],
                "minLength": 1,
                "format": "path",
                "default": None,
                "description": "Folder of your own atlases, found by the names of their images, besides those of the "
                "environment variable XAI_ATLASES.",
            },
            "unnamed": {
                "enum": ["error", "label", "leave-out"],
                "default": "error",
                "description": "Labels without a name in the table: an error, regions called 'label 7', or outside of "
                "the atlas, on record.",
            },
            "missing": {
                "enum": ["error", "leave-out"],
                "default": "error",
                "description": "A scan without a file of an atlas in each person's own space: an error, or left out on "
                "record.",
            },
            "mismatch": {
                **MISMATCH,
                "description": "A scan whose head does not lie over the atlas, as if it were not registered: an error, "
                "or a note beside the tables.",
            },
        },
    }

    def __init__(
        self,
        *,
        atlas: AtlasChoice,
        explainers: Sequence[str] | None = None,
        space: Literal["mni", "scan"] = "mni",
        assign: Literal["partial", "nearest"] = "partial",
        channel: str | None = None,
        folder: str | None = None,
        unnamed: Literal["error", "label", "leave-out"] = "error",
        missing: Literal["error", "leave-out"] = "error",
        mismatch: Literal["error", "note"] = "error",
    ) -> None:
        require_absolute("region-table", atlas)
        self.atlas = atlas
        self.explainers = explainers
        self.space = space
        self.assign = assign
        self.channel = channel
        self.folder = folder
        self.unnamed = unnamed
        self.missing = missing
        self.mismatch = mismatch

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:  # noqa: ARG002
        """Refuse an atlas that does not exist, does not fit its table, or lies in another space.

        Raises:
            InputError: With what there is instead; all people without an atlas of their own are named.
        """
        from ._relevance.write import check_people

        check_people(self, table)

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the files of the atlas and the masks of the brain."""
        from ._relevance.write import input_files

        return input_files(self, run)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``regions.tsv``, ``asymmetry.tsv``, ``people.tsv``, ``regions-left-out.tsv`` and ``regions.json``.

        And ``left-out.tsv`` where scans are left out for want of an atlas, and of an atlas in MNI space its labels
        (``atlas_dseg.nii.gz``, ``.tsv``), which ``xai view`` finds. Columns and units are those of
        ``region_table``; values that do not exist are ``n/a``.

        Raises:
            InputError: There is no such atlas, an explainer or a map is missing, a map is not finite, or scan and atlas
                lie in different places.
        """
        from ._relevance.write import write_tables

        write_tables(self, run, output)
