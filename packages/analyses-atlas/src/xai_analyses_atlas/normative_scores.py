"""The analysis ``normative-scores``. Light: everything heavy loads when ``analyse`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, Task

from ._atlas_params import ATLAS, AtlasChoice, require_absolute
from ._feature_params import COVARIATES, FEATURES
from ._params import EXPLAINERS, MISMATCH, SPACE

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = ["NormativeScores"]


class NormativeScores(Analysis):
    """How far each person's regions are from what is expected, beside their relevance, and a sentence in plain words.

    Each regional feature is fitted by least squares on the covariates, among the controls of a fold's *training* part
    only; the fold's tested people get a w-score, (observed - expected) / SD of the controls' residuals (Jack et al.,
    Neurology 1997; La Joie et al., Journal of Neuroscience 2012). The SD has n - p in its denominator. A person's
    relevance is ranked among the *tested* controls, the person left out, because only tested people have maps; n
    controls can show the top 1 / (n + 1) at best. By default an explainer explains the predicted class: where most of
    these controls' maps explain another one than the person's, the sentence says so (see ``reference``).

    Args:
        atlas: A name, or a mapping with ``image`` and, if wanted, ``table`` and ``space``.
        features: Where features of regions and people are; the form is that of ``region-features``.
        space: Whether the scans are registered to ``"mni"`` space or share a space of their own, ``"scan"``.
        mismatch: As in ``region-table``.
        explainers: Ids of explainers of the run; None: all.
        measure: Column of ``region-table`` that is ranked.
        covariates: Columns of the study, or features of the whole person: names, or mappings with ``column``,
            ``degree`` and ``coding``.
        controls: Classes that are controls; None: the first class; in a regression everybody is.
        minimum_controls: Training controls that a model needs.
        reference: Whether relevance is ranked among ``"all"`` tested controls, or among those whose map explains the
            ``"same-output"``.
        top: Relevance is unusual in the top share of controls, in (0, 1).
        deviation: A feature is unusual this many SD or more from expected.
        when: A region is worth a sentence where ``"both"`` are unusual, or ``"either"`` is.
        most: Regions named for one person.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["atlas", "features"],
        "properties": {
            "atlas": ATLAS,
            "features": {
                **FEATURES,
                "minItems": 1,
                "description": "Where the features of regions and people are.",
            },
            "space": SPACE,
            "mismatch": MISMATCH,
            "explainers": EXPLAINERS,
            "measure": {
                "type": "string",
                "minLength": 1,
                "default": "share",
                "description": "Column of region-table that is ranked. share, a region's part of the whole map's "
                "absolute relevance, does not depend on the size of the output.",
            },
            "covariates": {
                **COVARIATES,
                "default": ["age", "sex"],
                "description": "What a feature is expected from: columns of the study, or features of the whole "
                "person such as the intracranial volume.",
            },
            "controls": {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
                    {"type": "null"},
                ],
                "default": None,
                "description": "Classes that are controls; null: the first class, and in a regression everybody.",
            },
            "minimum_controls": {
                "type": "integer",
                "minimum": 3,
                "default": 20,
                "description": "Controls of a training part that a model needs; with fewer there is none, on record.",
            },
            "reference": {
                "enum": ["all", "same-output"],
                "default": "all",
                "description": "Among which controls relevance is ranked: all that were tested, or those whose map "
                "explains the same output (predicted class) as the person's.",
            },
            "top": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.05,
                "description": "Relevance is unusual in the top share of controls.",
            },
            "deviation": {
                "type": "number",
                "exclusiveMinimum": 0,
                "default": 2.0,
                "description": "A feature is unusual this many SD or more from what is expected.",
            },
            "when": {
                "enum": ["both", "either"],
                "default": "both",
                "description": "A region is worth a sentence where relevance and feature are unusual, or either.",
            },
            "most": {
                "type": "integer",
                "minimum": 1,
                "default": 5,
                "description": "Most regions that are named for one person.",
            },
        },
    }

    def __init__(
        self,
        *,
        atlas: AtlasChoice,
        features: Sequence[Mapping[str, Any]],
        space: Literal["mni", "scan"] = "mni",
        mismatch: Literal["error", "note"] = "error",
        explainers: Sequence[str] | None = None,
        measure: str = "share",
        covariates: Sequence[str | Mapping[str, Any]] = ("age", "sex"),
        controls: Sequence[str] | None = None,
        minimum_controls: int = 20,
        reference: Literal["all", "same-output"] = "all",
        top: float = 0.05,
        deviation: float = 2.0,
        when: Literal["both", "either"] = "both",
        most: int = 5,
    ) -> None:
        require_absolute("normative-scores", atlas)
        self.atlas = atlas
        self.features = features
        self.space = space
        self.mismatch = mismatch
        self.explainers = explainers
        self.measure = measure
        self.covariates = covariates
        self.controls = controls
        self.minimum_controls = minimum_controls
        self.reference: Literal["all", "same-output"] = reference
        self.top = top
        self.deviation = deviation
        self.when = when
        self.most = most

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:  # noqa: ARG002
        """Refuse an atlas, features, covariates or classes that do not exist, and too few people for the models."""
        from ._normative.checks import check

        check(self, table, classes)

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the files of the features and of the atlas."""
        from ._normative.checks import files

        return files(self, run)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``scores.tsv``, ``sentences.tsv``, ``relations.tsv``, ``left-out.tsv`` and ``models.json``.

        Raises:
            InputError: No model can be fitted, a covariate or a class does not exist or makes no model, features and
                atlas share no region, or a map or table cannot be read.
        """
        from ._normative.write import write_normative_scores

        write_normative_scores(run, output, self)
