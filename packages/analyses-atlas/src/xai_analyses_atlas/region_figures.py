"""The analysis ``region-figures``. Light: everything heavy loads when it is carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, ConfigError

from ._atlas_params import ATLAS, AtlasChoice, require_absolute
from .region_table import PASSED_ON, RegionTable

if TYPE_CHECKING:
    import pandas as pd

    from xai_core import Task
    from xai_core.engine.results import RunResults

__all__ = ["MEASURES", "RegionFigures"]

MEASURES = ("size_corrected", "share", "density", "absolute", "positive", "negative", "sum", "mean")


class RegionFigures(Analysis):
    """Which regions have the most relevance: bars with intervals, ranks, glass brain and cortical surface.

    Every person counts once: several maps of a person (visits, folds of a repeated cross-validation) are averaged.
    Regions are ranked by the size of the mean over the people of a group; intervals of mean and rank are quantiles of
    resamples of these people (bootstrap). They hold the networks fixed: other networks would differ more.

    Args:
        atlas: As in ``region-table``.
        measure: Column of ``region-table``. ``size_corrected`` (share of the relevance over the region's share of the
            atlas' volume) follows neither the region's nor the output's size.
        by: Column of the predictions or the subjects that says who belongs together; None: everybody.
        most: Regions in the bars, those with the largest means; ``ranks.tsv`` has all.
        brains: Whether the mean maps are drawn through a glass brain and on the surface of the cortex, too; with
            ``space: mni`` only.
        bootstrap: Resamples of people.
        confidence: Level of the intervals.
        seed: Of the resamples.
        explainers: As in ``region-table``, like all that follow.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["atlas"],
        "properties": {
            "atlas": ATLAS,
            "measure": {
                "enum": list(MEASURES),
                "default": "size_corrected",
                "description": "Column of region-table. size_corrected and share do not follow the size of the output.",
            },
            "by": {
                "anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}],
                "default": None,
                "description": "Column of the predictions or the subjects that says who belongs together, such as "
                "target, sex or site; at most six groups; null: everybody is one group.",
            },
            "most": {
                "type": "integer",
                "minimum": 1,
                "maximum": 60,
                "default": 20,
                "description": "Regions in the bars, those with the largest means; ranks.tsv has all.",
            },
            "brains": {
                "type": "boolean",
                "default": True,
                "description": "Draw the mean maps through a glass brain and on the surface of the cortex, too; with "
                "space: mni only.",
            },
            "bootstrap": {
                "type": "integer",
                "minimum": 100,
                "default": 2000,
                "description": "Resamples of people for the intervals of means and ranks.",
            },
            "confidence": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.95,
                "description": "Level of the intervals.",
            },
            "seed": {"type": "integer", "minimum": 0, "default": 0, "description": "Of the resamples."},
            **{name: RegionTable.config_schema["properties"][name] for name in PASSED_ON},
        },
    }

    def __init__(
        self,
        *,
        atlas: AtlasChoice,
        measure: str = "size_corrected",
        by: str | None = None,
        most: int = 20,
        brains: bool = True,
        bootstrap: int = 2000,
        confidence: float = 0.95,
        seed: int = 0,
        explainers: Sequence[str] | None = None,
        space: Literal["mni", "scan"] = "mni",
        assign: Literal["partial", "nearest"] = "partial",
        channel: str | None = None,
        folder: str | None = None,
        unnamed: Literal["error", "label", "leave-out"] = "error",
        missing: Literal["error", "leave-out"] = "error",
        mismatch: Literal["error", "note"] = "error",
    ) -> None:
        require_absolute("region-figures", atlas)
        if channel is not None and brains:
            raise ConfigError(
                "region-figures: brains show all channels added up, but channel is set. Set brains: false, or leave "
                "channel out."
            )
        self.atlas = atlas
        self.measure = measure
        self.by = by
        self.most = most
        self.brains = brains
        self.bootstrap = bootstrap
        self.confidence = confidence
        self.seed = seed
        self.explainers = explainers
        self.space = space
        self.assign = assign
        self.channel = channel
        self.folder = folder
        self.unnamed = unnamed
        self.missing = missing
        self.mismatch = mismatch

    @property
    def region_table(self) -> RegionTable:
        """The analysis ``region-table`` with the parameters that both share."""
        return RegionTable(atlas=self.atlas, **{name: getattr(self, name) for name in PASSED_ON})

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
        """Refuse what ``region-table`` refuses."""
        self.region_table.check_study(table, task, classes)

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the files of the atlas and the masks of the brain."""
        return self.region_table.inputs(run)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``ranks.tsv`` and the figures, each as PNG, SVG and a text file with its caption.

        ``ranks.tsv`` has one row for each explainer, group and region: ``people`` (with a value), ``mean``, ``low``,
        ``high``, ``rank`` (1: the largest size of the mean), ``rank_low`` and ``rank_high``. A region without a value
        has ``people`` 0 and no rank, and is named in the log and in the figure's caption.

        Raises:
            InputError: As in ``region-table``, or the column does not exist, has more than six groups, or holds no
                group with people.
        """
        from ._ranks import write_region_figures

        write_region_figures(run, output, self)
