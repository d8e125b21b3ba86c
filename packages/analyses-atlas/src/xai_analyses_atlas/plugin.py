"""The analyses of this package. Light: everything heavy loads when ``analyse`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, ConfigError

from ._params import CONVENTION, EXPLAINERS, RESAMPLE, SPACE, SPACING, TEMPLATE

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["GroupMaps"]


class GroupMaps(Analysis):
    """Mean, median and SD of the relevance maps of each group of test people, as NIfTI, table and picture.

    For each explainer and group the mean over the group's maps, each voxel by itself, of the values as they are
    (``normalise: none``): a person whose output is larger weighs more, and a person with two scans counts twice. By
    default an explainer explains the predicted class, so that the mean over a true class mixes maps for that class with
    maps for another where the network was wrong; the column ``explained`` counts them, and ``only: correct`` leaves the
    latter out.

    Colours of the pictures end at a quantile of the absolute mean relevance over all voxels, as in the viewer of Dyrba
    et al., Improving 3D convolutional neural network comprehensibility via interactive visualization of relevance
    maps: evaluation in Alzheimer's disease, Alzheimer's Research & Therapy 2021.

    Args:
        explainers: Ids of explainers of the run; None: all.
        by: Column of the predictions or the subjects that says who belongs together; None: everybody.
        statistics: ``"mean"``, ``"median"`` and ``"sd"`` (between maps, n - 1) over a group's maps.
        normalise: What each map is divided by first: nothing (``"none"``, asks how much relevance there is), its
            ``"sum"`` of absolute relevance (asks where it lies), its ``"maximum"`` or the explained ``"output"``.
        only: ``"all"`` test scans or the ``"correct"``-ly classified ones.
        space: Whether the scans are registered to ``"mni"`` space or share a space of their own, ``"scan"``.
        template: What the maps are drawn over: nilearn's T1 template of ``"mni"``, or the ``"mean-image"`` of the
            scans that were explained.
        resample: Bring maps of different grids to a common one in MNI space; otherwise they are an error.
        spacing: Distance of that grid's voxels in mm.
        quantile: Of the absolute mean relevance over all voxels, in (0, 1], where the colours end.
        convention: Side of the picture on which the patient's left lies: left (``"neurological"``) or right.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "explainers": EXPLAINERS,
            "by": {
                "anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}],
                "default": "target",
                "description": "Column of the predictions or the subjects that says who belongs together, such as "
                "target, prediction, sex or site; null: everybody is one group.",
            },
            "statistics": {
                "type": "array",
                "items": {"enum": ["mean", "median", "sd"]},
                "minItems": 1,
                "uniqueItems": True,
                "default": ["mean"],
                "description": "What is computed over the maps of a group: mean, median, sd (between maps, n - 1).",
            },
            "normalise": {
                "enum": ["none", "sum", "maximum", "output"],
                "default": "none",
                "description": "What each map is divided by first: nothing, its sum of absolute relevance, its largest "
                "absolute relevance, or the absolute value of the explained output.",
            },
            "only": {
                "enum": ["all", "correct"],
                "default": "all",
                "description": "Whose maps count: of all test scans, or of the correctly classified ones.",
            },
            "space": SPACE,
            "template": TEMPLATE,
            "resample": {
                **RESAMPLE,
                "description": f"{RESAMPLE['description']} Right only where every scan is registered to MNI space.",
            },
            "spacing": SPACING,
            "quantile": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 1,
                "default": 0.9999,
                "description": "Quantile of the absolute mean relevance over all voxels at which the colours end.",
            },
            "convention": CONVENTION,
        },
    }

    def __init__(
        self,
        *,
        explainers: Sequence[str] | None = None,
        by: str | None = "target",
        statistics: Sequence[Literal["mean", "median", "sd"]] = ("mean",),
        normalise: Literal["none", "sum", "maximum", "output"] = "none",
        only: Literal["all", "correct"] = "all",
        space: Literal["mni", "scan"] = "mni",
        template: Literal["mni", "mean-image"] = "mni",
        resample: bool = False,
        spacing: float = 2,
        quantile: float = 0.9999,
        convention: Literal["neurological", "radiological"] = "neurological",
    ) -> None:
        if space == "scan" and (template == "mni" or resample):
            wrong = "template: mni" if template == "mni" else "resample: true"
            raise ConfigError(
                f"group-maps: {wrong} needs scans in MNI space, but space is scan. Set template: mean-image and "
                "resample: false, or space: mni where the scans are registered to it."
            )
        self.explainers = explainers
        self.by = by
        self.statistics = list(statistics)
        self.normalise = normalise
        self.only = only
        self.space = space
        self.template = template
        self.resample = resample
        self.spacing = spacing
        self.quantile = quantile
        self.convention = convention

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``group-maps.tsv``, ``left-out.tsv``, and for each explainer and group NIfTI, its JSON sidecar and PNG.

        Maps are float32 [D, H, W] on the grid of the first map (or the common one), channels added up; sums are kept in
        float64, one map at a time, so that memory does not grow with the number of people. For a median, an SD or
        normalised maps the maps of a group lie in a temporary folder (4 bytes a voxel).

        Raises:
            InputError: The column or an explainer does not exist, every group is empty, a map is missing, is not
                finite or lies on another grid, or does not meet the MNI brain.
        """
        from ._group_maps import write_group_maps

        write_group_maps(run, output, self)
