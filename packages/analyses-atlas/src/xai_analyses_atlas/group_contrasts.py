"""The analysis ``group-contrasts``. Light: everything heavy loads when it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, ConfigError

from ._atlas_params import AtlasChoice, require_absolute
from ._contrast_params import PROPERTIES

if TYPE_CHECKING:
    import pandas as pd

    from xai_core import Task
    from xai_core.engine.results import RunResults

__all__ = ["GroupContrasts"]


class GroupContrasts(Analysis):
    """Differences between groups, explainers or folds in their relevance maps, with t, effect size and corrected p.

    Each person counts once: the maps of several networks of a repeated cross-validation are averaged for each scan, and
    those of several scans for each person (``visits``). Everything is voxel by voxel. Errors are corrected for the
    search over the voxels of one contrast of one explainer, not over several contrasts; tables, sidecars and captions
    say of how many it is one.

    A permutation test takes people as exchangeable under the null hypothesis. The maps of one study's folds come from
    networks that share training people, so that maps of different folds are not fully independent, which neither a t
    test nor a permutation knows of: the p values are those of people given these networks.

    Args:
        contrasts: What is compared; None: each pair of classes (the later minus the earlier), in a regression the slope
            on the target.
        explainers: Ids of explainers of the run; None: all.
        normalise: What each map is divided by before anything else: its ``"sum"`` of absolute relevance (asks where
            relevance lies), its ``"maximum"``, the explained ``"output"``, or ``"none"`` (asks how much there is, and
            lets people with large outputs weigh more).
        covariates: Columns that are regressed out: numbers as they are, texts by category.
        visits: Whether a person's scans are averaged (``"mean"``) or the ``"first"`` session's counts.
        variance: Whether two groups have ``"equal"`` variances (Student, linear model) or ``"unequal"`` ones (Welch);
            ``"auto"``: unequal without covariates, equal with them.
        two_sided: Whether both directions are tested; otherwise only first > second, above zero, or rising.
        inference: What is compared in the permutation test: ``"max-t"``, ``"tfce"`` (threshold-free cluster
            enhancement, much slower), or ``"none"``.
        permutations: At most this many; where fewer are possible, all of them.
        threshold: What makes a voxel count: a p value corrected for the family-wise error (``"fwe"``) or the false
            discovery rate (``"fdr"``), an uncorrected ``"p"``, ``"t"``, or the ``"top"`` percent of |t|.
        level: Where the threshold lies: p, t, or percent.
        minimal_size: Of clusters, in mm3.
        connectivity: Neighbours of a voxel: 6, 18 or 26.
        atlas: Names the regions of clusters: a built-in atlas or a mapping with ``image``, ``table`` and ``space``;
            None: no names.
        within: Voxels that are tested: the MNI ``"brain"``, or ``"everywhere"``.
        mask: A mask file instead.
        space: Whether the scans are registered to ``"mni"`` space or share a space of their own, ``"scan"``.
        template: What maps are drawn over: the T1 template of ``"mni"``, or the ``"mean-image"`` of the scans.
        resample: Bring maps of different grids to a common one in MNI space; otherwise they are an error.
        spacing: Distance of that grid's voxels in mm.
        convention: Side of the picture on which the patient's left lies: left (``"neurological"``) or right.
        seed: Of random permutations.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": PROPERTIES,
    }

    def __init__(
        self,
        *,
        contrasts: Sequence[Mapping[str, Any]] | None = None,
        explainers: Sequence[str] | None = None,
        normalise: Literal["none", "sum", "maximum", "output"] = "sum",
        covariates: Sequence[str] = (),
        visits: Literal["mean", "first"] = "mean",
        variance: Literal["auto", "equal", "unequal"] = "auto",
        two_sided: bool = True,
        inference: Literal["max-t", "tfce", "none"] = "max-t",
        permutations: int = 1000,
        threshold: Literal["fwe", "fdr", "p", "t", "top"] = "fwe",
        level: float = 0.05,
        minimal_size: float = 0,
        connectivity: Literal[6, 18, 26] = 6,
        atlas: AtlasChoice | None = None,
        within: Literal["brain", "everywhere"] = "brain",
        mask: str | None = None,
        space: Literal["mni", "scan"] = "mni",
        template: Literal["mni", "mean-image"] = "mni",
        resample: bool = False,
        spacing: float = 2,
        convention: Literal["neurological", "radiological"] = "neurological",
        seed: int = 0,
    ) -> None:
        from ._contrasts.spec import contrasts_of

        if atlas is not None:
            require_absolute("group-contrasts", atlas)
        self.contrasts = None if contrasts is None else contrasts_of(contrasts)
        self.explainers = explainers
        self.normalise = normalise
        self.covariates = list(covariates)
        self.visits = visits
        self.variance = variance
        self.two_sided = two_sided
        self.inference = inference
        self.permutations = permutations
        self.threshold = threshold
        self.level = level
        self.minimal_size = minimal_size
        self.connectivity = connectivity
        self.atlas = atlas
        self.within = within
        self.mask = mask
        self.space = space
        self.template = template
        self.resample = resample
        self.spacing = spacing
        self.convention = convention
        self.seed = seed
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        scan = self.space == "scan"
        wrong = {
            "template: mni needs scans in MNI space, but space is scan. Set template: mean-image.":
                scan and self.template == "mni",
            "resample: true needs scans in MNI space, but space is scan.": scan and self.resample,
            "within: brain is the MNI brain, but space is scan. Set within: everywhere, or give a mask.":
                scan and self.within == "brain" and self.mask is None,
            "atlas: the built-in atlases lie in MNI space, but space is scan. Give the image of one in that space.":
                scan and isinstance(self.atlas, str),
            "variance: unequal is Welch's test, which takes no covariates. Set variance: equal or auto.":
                self.variance == "unequal" and bool(self.covariates),
            "threshold: fwe needs permutations; inference is none.":
                self.threshold == "fwe" and self.inference == "none",
            f"level: {self.level:g} is no p value below 1.":
                self.threshold in ("fwe", "fdr", "p") and not self.level < 1,
            f"level: with {self.permutations} permutations no p value is below {1 / (self.permutations + 1):.3g}.":
                self.threshold == "fwe" and self.level < 1 / (self.permutations + 1),
        }  # fmt: skip
        found = [text for text, is_wrong in wrong.items() if is_wrong]
        if found:
            raise ConfigError("group-contrasts: " + "\n  ".join(found))

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
        """Refuse columns, groups, atlases and masks that do not exist.

        Raises:
            InputError: With what is there instead.
        """
        from ._contrasts.checks import check_study

        check_study(self, table, task, classes)

    def inputs(self, run: RunResults) -> Sequence[Path]:  # noqa: ARG002 - the same for every run
        """Return the files of the atlas; the mask is a parameter, and enters by itself."""
        from ._contrasts.checks import atlas_files

        return atlas_files(self)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``contrasts.tsv``, ``clusters.tsv`` and ``left-out.tsv``, and for each contrast NIfTI maps and figures.

        For each contrast of an explainer float32 [D, H, W]: ``_difference``, ``_t``, ``_g`` (Hedges; of a slope ``_r``,
        the partial correlation) with ``-low`` and ``-high`` of its 95 % interval, ``_logp``, ``_logp-fdr`` and
        ``_logp-fwe`` (minus log10 of p), ``_tfce``, ``_thresholded`` (t where it counts), each with a JSON sidecar.
        Where nothing is tested a map is 0.

        Raises:
            InputError: A column, group, explainer or file does not exist, a map is missing, not finite or on another
                grid, or no contrast can be tested.
        """
        from ._contrasts.analysis import write_contrasts

        write_contrasts(run, output, self)
