"""``voxel-features``. Light: everything heavy loads when ``analyse`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, ConfigError
from xai_core.types import Task

from ._atlas_params import AtlasChoice
from ._feature_params import COVARIATES
from ._params import MINIMAL_SIZE
from ._voxel_params import SHARED, Brain, Part, check_columns, check_map, check_options, covariate_columns

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = ["VoxelFeatures"]


class VoxelFeatures(Analysis):
    """Where relevance goes with a feature across people: a map of each person, or a column such as age.

    At each voxel relevance ~ feature + covariates by least squares: slope, (partial) correlation r, t and p, corrected
    for the search over voxels by the false discovery rate (Benjamini and Hochberg 1995) and by permutation (Freedman
    and Lane 1983; Winkler et al. 2014): the largest |t|, and threshold-free cluster enhancement (Smith and Nichols
    2009). The feature is the value of a map at the same voxel (lesions, FA, grey matter, ...), or a number of the
    person. Each person counts once: several visits, or the networks of several folds, are averaged.

    Args:
        feature_map: Name of the map, as in the dataset's ``maps``. Either this or ``column``.
        column: Column of subjects or predictions: a number, or two groups (the second is 1).
        covariates: Columns, or mappings with ``column``, ``degree`` and ``coding``.
        method: ``"pearson"`` or ``"spearman"`` (ranks over people, also of the covariates).
        explainers: Ids of explainers of the run; None: all.
        part: Of the relevance: as it is (``"signed"``), ``"absolute"``, ``"positive"`` or ``"negative"``.
        normalise: What each relevance map is divided by: nothing, or its ``"sum"`` of magnitudes over the voxels
            compared (then a voxel's share is related, not its amount).
        smoothing: Full width at half maximum in mm of a Gaussian over the relevance; 0: none.
        feature_smoothing: The same over the prepared feature map.
        prepare: Of the feature map: see ``MapSimilarity``.
        prepare_relevance: Of the relevance.
        labels: Labels that count as 1 where the feature map is a label image.
        brain: Voxels compared: ``"mni"``, ``"person"``, ``"none"`` or ``"auto"``.
        within: Mask file within which voxels are compared.
        within_map: Map of each person within which voxels are compared.
        within_labels: Labels of ``within_map`` that count.
        atlas: Names clusters; with ``regions`` also restricts the voxels.
        regions: Names of regions.
        space: Whether the scans are registered to ``"mni"`` space or share one of their own, ``"scan"``.
        resample: Compare on a common grid in MNI space.
        spacing: Of that grid, in mm.
        minimal_people: A voxel is tested where at least so many people have relevance, and a feature, other than 0.
        permutations: For the corrected p; 0: none.
        tfce: Whether threshold-free cluster enhancement is computed, too; slow on fine grids.
        blocks: Column of groups within which people are permuted, such as ``site``; None: all.
        alpha: Corrected p below which clusters are listed and drawn.
        minimal_size: Of clusters in the table, in mm3.
        seed: Of the permutations.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "feature_map": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Name of a map that each person brings along, as in the dataset's 'maps'. Either this "
                "or column.",
            },
            "column": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Column of subjects.tsv or predictions.tsv: a number or two groups.",
            },
            "covariates": {
                **COVARIATES,
                "default": [],
                "description": "Columns that are accounted for: names, or column, degree (2 adds the square) and "
                "coding (number, categories, auto).",
            },
            "method": {
                "enum": ["pearson", "spearman"],
                "default": "pearson",
                "description": "Linear model of the values, or of their ranks over people.",
            },
            "part": {
                "enum": ["signed", "absolute", "positive", "negative"],
                "default": "signed",
                "description": "Of the relevance: as it is, its magnitude, what is above zero, what is below.",
            },
            "normalise": {
                "enum": ["none", "sum"],
                "default": "none",
                "description": "Divide each relevance map by its sum of magnitudes over the voxels compared, or not.",
            },
            "smoothing": {
                "type": "number",
                "minimum": 0,
                "maximum": 30,
                "default": 0,
                "description": "Full width at half maximum (mm) of a Gaussian over the relevance; 0: none.",
            },
            "feature_smoothing": {
                "type": "number",
                "minimum": 0,
                "maximum": 30,
                "default": 0,
                "description": "The same over the prepared feature map.",
            },
            **SHARED,
            "minimal_people": {
                "type": "integer",
                "minimum": 1,
                "default": 5,
                "description": "A voxel is tested where at least so many people have relevance (and a feature) other "
                "than 0; of a feature of zeros and ones so many must have 0, too.",
            },
            "permutations": {
                "type": "integer",
                "minimum": 0,
                "default": 1000,
                "description": "For p corrected by the largest |t| (and TFCE); 0: none.",
            },
            "tfce": {
                "type": "boolean",
                "default": False,
                "description": "Threshold-free cluster enhancement, too; slow on fine grids.",
            },
            "blocks": {
                "type": ["string", "null"],
                "minLength": 1,
                "default": None,
                "description": "Column of groups within which people are permuted, such as site; null: all.",
            },
            "alpha": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.05,
                "description": "Corrected p at or below which voxels count as significant.",
            },
            "minimal_size": MINIMAL_SIZE,
        },
    }

    def __init__(
        self,
        *,
        feature_map: str | None = None,
        column: str | None = None,
        covariates: Sequence[str | Mapping[str, Any]] = (),
        method: Literal["pearson", "spearman"] = "pearson",
        explainers: Sequence[str] | None = None,
        part: Part = "signed",
        normalise: Literal["none", "sum"] = "none",
        smoothing: float = 0,
        feature_smoothing: float = 0,
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
        minimal_people: int = 5,
        permutations: int = 1000,
        tfce: bool = False,
        blocks: str | None = None,
        alpha: float = 0.05,
        minimal_size: float = 0,
        seed: int = 0,
    ) -> None:
        self.feature_map = feature_map
        self.column = column
        self.covariates = covariates
        self.method = method
        self.explainers = explainers
        self.part = part
        self.normalise = normalise
        self.smoothing = smoothing
        self.feature_smoothing = feature_smoothing
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
        self.minimal_people = minimal_people
        self.permutations = permutations
        self.tfce = tfce
        self.blocks = blocks
        self.alpha = alpha
        self.minimal_size = minimal_size
        self.seed = seed
        check_options("voxel-features", self)
        if (feature_map is None) == (column is None):
            raise ConfigError("voxel-features: give either feature_map or column: what the relevance is related to.")
        if tfce and not permutations:
            raise ConfigError("voxel-features: tfce needs permutations.")

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:  # noqa: ARG002
        """Refuse a study without the map or the columns, or with fewer people than covariates."""
        from ._voxels.checks import check_domain, check_people

        if self.feature_map is not None:
            check_map(table, self.feature_map, "feature_map")
        for parameter, name in (("column", self.column), ("blocks", self.blocks)):
            check_columns(table, [name] if name else [], parameter, trained=True)
        check_columns(table, covariate_columns(self.covariates), "covariates", trained=True)
        check_people(table, self.covariates)
        check_domain(table, self)

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the maps and masks of the tested people, and the atlas."""
        from ._voxels.checks import files_read

        return files_read(run, self, self.feature_map)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write NIfTI maps, ``voxel-features.tsv``, ``clusters.tsv``, ``left-out.tsv``, sidecars and figures.

        For each explainer float32 [D, H, W]: ``_r``, ``_slope``, ``_t``, ``_p``, ``_p-fdr``, ``_p-max-t``,
        ``_p-tfce`` (p is 1 and the others are 0 where nothing is tested) and ``_tested`` (0 or 1).

        Raises:
            InputError: There is no such map or column, too few people, no voxel to test, or maps on several grids.
        """
        from ._voxels.features_across import write_voxel_features

        write_voxel_features(run, output, self)
