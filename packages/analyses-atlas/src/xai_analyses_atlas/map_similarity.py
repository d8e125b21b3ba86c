"""``map-similarity``. Light: everything heavy loads when ``analyse`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, ConfigError
from xai_core.types import Task

from ._atlas_params import AtlasChoice
from ._voxel_params import SHARED, Brain, Part, check_columns, check_map, check_options

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = ["MapSimilarity"]


class MapSimilarity(Analysis):
    """How closely each person's relevance follows a map of the same person, voxel by voxel.

    The map (lesions, perivascular spaces, FA, grey matter, ...) is a column ``map_<name>`` of the study. It is brought
    to the grid of the relevance, prepared, and compared within the brain: Pearson's and Spearman's correlation, cosine;
    for a map of zeros and ones the share of the relevance inside, its density relative to all voxels and to those
    outside, the area under the ROC curve, and Dice's coefficient of the top percent of the relevance.

    Two smooth maps of a brain correlate whatever they show. So each score is compared with the same person's relevance
    against *other people's* maps: the maps are reassigned among people, which keeps all that is common to brains.

    Args:
        feature_map: Name of the map, as in the dataset's ``maps``; also ``image`` or ``ground_truth``.
        explainers: Ids of explainers of the run; None: all.
        part: Of the relevance: as it is (``"signed"``), ``"absolute"``, ``"positive"`` or ``"negative"``. Shares of
            signed relevance are not defined and left out.
        prepare: ``threshold``, ``minimal_cluster`` (mm3), ``connectivity``, ``dilation`` (mm), ``border_only`` of the
            map, on the grid of the relevance.
        prepare_relevance: The same of the relevance.
        labels: Labels that count as 1 where the map is a label image.
        brain: Voxels compared: ``"mni"``, ``"person"``, ``"none"`` or ``"auto"``.
        within: Mask file within which voxels are compared.
        within_map: Map of each person within which voxels are compared.
        within_labels: Labels of ``within_map`` that count.
        atlas: Atlas within whose ``regions`` voxels are compared.
        regions: Names of regions.
        space: Whether the scans are registered to ``"mni"`` space or lie in their own, ``"scan"``.
        resample: Compare on a common grid in MNI space instead of the grid of the relevance.
        spacing: Of that grid, in mm.
        top: Percent of the voxels whose relevance is highest, for Dice.
        permutations: Reassignments of maps to people; 0: none (then maps may lie on different grids).
        blocks: Column of groups within which maps are reassigned, such as ``target``; None: among all.
        seed: Of the reassignments.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["feature_map"],
        "properties": {
            "feature_map": {
                "type": "string",
                "minLength": 1,
                "description": "Name of the map that each person brings along, as in the dataset's 'maps'.",
            },
            "explainers": SHARED["explainers"],
            "part": {
                "enum": ["signed", "absolute", "positive", "negative"],
                "default": "absolute",
                "description": "Of the relevance: as it is, its magnitude, what is above zero, what is below.",
            },
            **{name: prop for name, prop in SHARED.items() if name not in ("explainers", "seed")},
            "top": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 50,
                "default": 5,
                "description": "Percent of the voxels compared whose relevance is highest, for Dice.",
            },
            "permutations": {
                "type": "integer",
                "minimum": 0,
                "default": 1000,
                "description": "Reassignments of the maps among people, for p; 0: none.",
            },
            "blocks": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Column of groups within which maps are reassigned, such as target; null: among all.",
            },
            "seed": SHARED["seed"],
        },
    }

    def __init__(
        self,
        *,
        feature_map: str,
        explainers: Sequence[str] | None = None,
        part: Part = "absolute",
        prepare: Mapping[str, Any] | None = None,
        prepare_relevance: Mapping[str, Any] | None = None,
        labels: Sequence[int] | None = None,
        brain: Brain = "auto",
        within: str | None = None,
        within_map: str | None = None,
        within_labels: Sequence[int] | None = None,
        atlas: AtlasChoice | None = None,
        regions: Sequence[str] | None = None,
        space: Literal["mni", "scan"] = "mni",
        resample: bool = False,
        spacing: float = 2,
        top: float = 5,
        permutations: int = 1000,
        blocks: str | None = None,
        seed: int = 0,
    ) -> None:
        self.feature_map = feature_map
        self.explainers = explainers
        self.part = part
        self.prepare = prepare
        self.prepare_relevance = prepare_relevance
        self.labels = labels
        self.brain = brain
        self.within = within
        self.within_map = within_map
        self.within_labels = within_labels
        self.atlas = atlas
        self.regions = regions
        self.space = space
        self.resample = resample
        self.spacing = spacing
        self.top = top
        self.permutations = permutations
        self.blocks = blocks
        self.seed = seed
        check_options("map-similarity", self)
        if atlas is not None and regions is None:
            raise ConfigError("map-similarity: atlas needs regions: the names of those within which is compared.")

    def check_study(
        self,
        table: pd.DataFrame,
        task: Task,  # noqa: ARG002 - the interface's signature
        classes: Sequence[str] | None,  # noqa: ARG002
    ) -> None:
        """Refuse a study without the map, the column of the blocks, the mask or the atlas."""
        from ._voxels.checks import check_domain

        check_map(table, self.feature_map, "feature_map")
        check_columns(table, [self.blocks] if self.blocks else [], "blocks", trained=True)
        check_domain(table, self)

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the maps and masks of the tested people, and the atlas."""
        from ._voxels.checks import files_read

        return files_read(run, self, self.feature_map)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``scores.tsv`` (a row for each map), ``summary.tsv`` (across people), ``left-out.tsv`` and figures.

        Raises:
            InputError: There is no such map, nobody can be compared, a file is missing or has several volumes, or the
                maps lie on different grids and are to be reassigned among people.
        """
        from ._voxels.similarity import write_map_similarity

        write_map_similarity(run, output, self)
