"""The analysis ``agreement``. Light: everything heavy loads when ``analyse`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, ConfigError, Task

from ._atlas_params import ATLAS, AtlasChoice, require_absolute
from ._params import EXPLAINERS_OR_NULL, MISMATCH, RESAMPLE, SPACE, SPACING

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = ["KINDS", "Agreement"]

Kind = Literal["explainers", "folds", "runs", "visits", "sites"]
KINDS: tuple[Kind, ...] = ("explainers", "folds", "runs", "visits", "sites")


class Agreement(Analysis):
    """How far maps agree between explainers, networks, seeds, visits and scanners, and how they follow age and output.

    By person, over the voxels of the brain: Pearson's and Spearman's correlation and the Dice overlap of the top share
    of voxels, beside what a map of somebody else reaches: all brains are alike, and so are all maps of one network.
    Across people: intraclass correlations ICC(2,1) and ICC(3,1) (Shrout and Fleiss 1979; intervals of McGraw and Wong
    1996) of the sum of relevance, its positive share and, with an atlas, of its regions; whether people of one site
    have maps that are more alike; and the correlation of maps' sums, and of their likeness to the mean map of the
    group, with age and prediction. Explainers have scales of their own: only scale-free measures are compared.

    Args:
        explainers: Ids of explainers of the run; None: all.
        runs: Folders of finished runs of the same scans with other seeds.
        compare: Of ``"explainers"``, ``"folds"`` (repeats of a cross-validation: several networks explain a scan),
            ``"runs"``, ``"visits"`` and ``"sites"``; None: what the run allows.
        atlas: Whose regions get intraclass correlations; None: whole maps only.
        measure: Column of ``region-table``.
        space: Whether the scans are registered to ``"mni"`` space or share a space of their own, ``"scan"``.
        mismatch: As in ``region-table``.
        mask: The brain; None: nilearn's MNI mask, and in another space where one of a person's maps is not zero.
        resample: Bring maps to a common grid in MNI space.
        spacing: Distance of that grid's voxels in mm.
        sign: Whether relevance counts ``"signed"``, ``"absolute"`` or only ``"positive"``, voxel by voxel.
        top: Share of the brain's voxels with the largest values, for Dice.
        relate: Columns of numbers to correlate with, beside prediction and output; None: age, where the study has it.
        covariates: Sites are compared between people who are equally alike in these; None: target, explained output,
            age and sex.
        permutations: Of people, for sites.
        resamples: Of people, for intervals of means.
        seed: Of both.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "explainers": EXPLAINERS_OR_NULL,
            "runs": {
                "type": ["array", "null"],
                "items": {"type": "string", "minLength": 1, "format": "path"},
                "minItems": 1,
                "uniqueItems": True,
                "default": None,
                "description": "Folders of finished runs of the same scans with other seeds.",
            },
            "compare": {
                "type": ["array", "null"],
                "items": {"enum": list(KINDS)},
                "minItems": 1,
                "uniqueItems": True,
                "default": None,
                "description": "What is compared; null: all that the run allows. folds are the repeats of a "
                "cross-validation, in which several networks explain a scan.",
            },
            "atlas": {
                **ATLAS,
                "type": ["string", "object", "null"],
                "default": None,
                "description": "Atlas whose regions get intraclass correlations ('xai atlases' lists them), or image, "
                "table and space of files; null: whole maps only.",
            },
            "measure": {
                "type": "string",
                "minLength": 1,
                "default": "share",
                "description": "Column of region-table. share and size_corrected have no scale; others are not "
                "compared between explainers.",
            },
            "space": SPACE,
            "mismatch": MISMATCH,
            "mask": {
                "type": ["string", "null"],
                "minLength": 1,
                "format": "path",
                "default": None,
                "description": "The brain (NIfTI); null: the MNI brain mask, and in another space the voxels in which "
                "a map of the person is not zero.",
            },
            "resample": RESAMPLE,
            "spacing": SPACING,
            "sign": {
                "enum": ["signed", "absolute", "positive"],
                "default": "signed",
                "description": "Whether relevance is compared as it is, by its size, or only where it is above zero.",
            },
            "top": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.01,
                "description": "Share of the brain's voxels with the largest values whose Dice overlap is taken.",
            },
            "relate": {
                "type": ["array", "null"],
                "items": {"type": "string", "minLength": 1},
                "uniqueItems": True,
                "default": None,
                "description": "Columns of numbers that maps are related to, beside prediction and output; null: age.",
            },
            "covariates": {
                "type": ["array", "null"],
                "items": {"type": "string", "minLength": 1},
                "uniqueItems": True,
                "default": None,
                "description": "In which people of different sites may differ otherwise; null: target, the "
                "explained output, age and sex, as far as the study has them.",
            },
            "permutations": {
                "type": "integer",
                "minimum": 99,
                "default": 1000,
                "description": "Permutations of people, for sites.",
            },
            "resamples": {
                "type": "integer",
                "minimum": 100,
                "default": 2000,
                "description": "Bootstrap resamples of people, for the intervals of means.",
            },
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "Of permutations and resamples."},
        },
    }

    def __init__(
        self,
        *,
        explainers: Sequence[str] | None = None,
        runs: Sequence[str] | None = None,
        compare: Sequence[Kind] | None = None,
        atlas: AtlasChoice | None = None,
        measure: str = "share",
        space: Literal["mni", "scan"] = "mni",
        mismatch: Literal["error", "note"] = "error",
        mask: str | None = None,
        resample: bool = False,
        spacing: float = 2,
        sign: Literal["signed", "absolute", "positive"] = "signed",
        top: float = 0.01,
        relate: Sequence[str] | None = None,
        covariates: Sequence[str] | None = None,
        permutations: int = 1000,
        resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        if resample and space == "scan":
            raise ConfigError(
                "agreement: resample: true needs scans in MNI space, but space is scan. Set space: mni where the scans "
                "are registered to it, or resample: false."
            )
        self.explainers = explainers
        self.runs = runs
        self.compare = compare
        if atlas is not None:
            require_absolute("agreement", atlas)
        self.atlas = atlas
        self.measure = measure
        self.space = space
        self.mismatch = mismatch
        self.mask = mask
        self.resample = resample
        self.spacing = spacing
        self.sign = sign
        self.top = top
        self.relate = relate
        self.covariates = covariates
        self.permutations = permutations
        self.resamples = resamples
        self.seed = seed

    @property
    def wanted(self) -> tuple[Kind, ...]:
        """What is compared where the run allows it."""
        return KINDS if self.compare is None else tuple(self.compare)

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:  # noqa: ARG002
        """Refuse columns, runs, masks, an atlas and comparisons that the study does not have."""
        from ._agreement.checks import check

        check(self, table)

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the tables and maps of the other runs, and the files of the atlas."""
        from ._agreement.checks import files

        return files(self, run)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``pairs.tsv``, ``summary.tsv``, ``icc.tsv``, ``sites.tsv``, ``people.tsv``, ``relations.tsv``,
        ``left-out.tsv``, ``agreement.json`` and figures.

        The maps of one person are in memory at a time (those of two others for comparison); for what needs everybody
        they lie on disk.

        Raises:
            InputError: A comparison that was asked for is not possible, a run is of another study, a column does not
                exist or holds no numbers, or a map is missing, is not finite or lies on another grid.
        """
        from ._agreement.write import write_agreement

        write_agreement(run, output, self)
