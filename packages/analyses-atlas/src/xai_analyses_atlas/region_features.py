"""The analysis ``region-features``. Light: everything heavy loads when a method is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Analysis, ConfigError

from ._atlas_params import ATLAS, AtlasChoice, require_absolute
from ._feature_params import COVARIATES, FEATURES, feature_problems
from .region_table import PASSED_ON, RegionTable

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults
    from xai_core.types import Task

__all__ = ["CORRECTIONS", "METHODS", "PERMUTABLE", "WITH_COVARIATES", "Correction", "Method", "RegionFeatures"]

Method = Literal[
    "pearson", "spearman", "percentage-bend", "partial-pearson", "partial-spearman", "ols", "hc3", "rlm", "mixed"
]
METHODS: tuple[Method, ...] = (
    "pearson", "spearman", "percentage-bend", "partial-pearson", "partial-spearman", "ols", "hc3", "rlm", "mixed",
)  # fmt: skip
WITH_COVARIATES = frozenset({"partial-pearson", "partial-spearman", "ols", "hc3", "rlm", "mixed"})
# t is a function of a correlation: only then Freedman and Lane's permutation is exact in what it permutes.
PERMUTABLE = frozenset({"pearson", "spearman", "partial-pearson", "partial-spearman", "ols"})
Correction = Literal["fdr-bh", "fdr-by", "holm", "bonferroni", "max-t", "none"]
CORRECTIONS: tuple[Correction, ...] = ("fdr-bh", "fdr-by", "holm", "bonferroni", "max-t", "none")


class RegionFeatures(Analysis):
    """How relevance in each region relates to brain features, covariates and groups, across the tested people.

    For each explainer, region and feature: correlations, partial correlations, linear and robust models, mixed models
    for repeated visits. Every person counts once: maps of several folds of one scan are averaged, and of several visits
    one is taken; a mixed model takes all of them. p values are corrected for all tests that one method makes, over
    all explainers, groups, regions and features. A person, region or test that cannot be used is in ``left-out.tsv``.

    A relation is no cause: a network that sees ventricles has relevance there that relates to their size.

    Args:
        atlas: A name, or a mapping with ``image`` and, if wanted, ``table`` and ``space``.
        features: Where brain features are; empty: relevance is related to ``variables`` alone.
        variables: Columns of the study or its predictions (``target``, ``age``, ``prediction``, ``probability_AD``),
            or features of the whole brain (``eTIV``), that relevance in every region is related to. None: where there
            are no features ``target`` and the covariates, otherwise none.
        covariates: What is adjusted for: names of such columns, or mappings with ``column``, ``degree``, ``coding``.
        methods: Kinds of statistics. None: ``spearman``; with covariates ``partial-spearman`` and ``ols``.
        pairs: A region's relevance with its own feature (``"same-region"``), or with those of all regions.
        measure: Column of ``region-table``. ``size_corrected``, a region's share of the absolute relevance over its
            share of the atlas' volume, does not follow the size of the output, nor the size of the region.
        by: Column of groups that are also analysed one by one, such as ``target``; None: only everybody together.
        visits: Which visit of a person counts, outside of mixed models.
        correction: Of the p values.
        permutations: For ``max-t``.
        bootstrap: Resamples of people for the bootstrap intervals; 0: none.
        interval: Kind of the bootstrap interval.
        confidence: Level of all intervals.
        figures: How many of the strongest relations of the first method are drawn beside the matrix of each method;
            0: no figures.
        explainers: As in ``region-table``.
        space: As in ``region-table``.
        assign: As in ``region-table``.
        channel: As in ``region-table``.
        folder: As in ``region-table``.
        unnamed: As in ``region-table``.
        missing: As in ``region-table``.
        mismatch: As in ``region-table``.
        seed: Of bootstrap and permutations.

    Raises:
        ConfigError: Parameters contradict each other.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["atlas"],
        "properties": {
            "atlas": ATLAS,
            "features": {
                **FEATURES,
                "default": [],
                "description": "Where brain features are; empty: relevance is related to variables alone.",
            },
            "variables": {
                "anyOf": [
                    {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True},
                    {"type": "null"},
                ],
                "default": None,
                "description": "Columns of the study or its predictions (target, age, probability_AD), or features of "
                "the whole brain, that relevance in every region is related to; null: target and the covariates where "
                "features is empty, otherwise none.",
            },
            "covariates": {
                **COVARIATES,
                "default": [],
                "description": "What is adjusted for: columns of the study, or features of the whole brain (eTIV).",
            },
            "methods": {
                "anyOf": [
                    {"type": "array", "items": {"enum": list(METHODS)}, "minItems": 1, "uniqueItems": True},
                    {"type": "null"},
                ],
                "default": None,
                "description": "Kinds of statistics: correlations, partial correlations given the covariates, linear "
                "models (ols, hc3: robust errors, rlm: Huber), mixed: random intercept of a person with several "
                "visits. null: spearman; with covariates partial-spearman and ols.",
            },
            "pairs": {
                "enum": ["same-region", "all"],
                "default": "same-region",
                "description": "A region's relevance with its own feature, or with the features of all regions.",
            },
            "measure": {
                "type": "string",
                "minLength": 1,
                "default": "size_corrected",
                "description": "Column of region-table. size_corrected and share do not follow the size of the output.",
            },
            "by": {
                "anyOf": [{"type": "string", "minLength": 1}, {"type": "null"}],
                "default": None,
                "description": "Column of groups that are also analysed one by one, such as target; null: none.",
            },
            "visits": {
                "enum": ["first", "last"],
                "default": "first",
                "description": "Which visit of a person counts, outside of mixed models.",
            },
            "correction": {
                "enum": list(CORRECTIONS),
                "default": "fdr-bh",
                "description": "Over all tests of one method: false discovery rate (fdr-bh, fdr-by), or family-wise "
                "error by Holm, Bonferroni or permutation of the largest |t| (max-t).",
            },
            "permutations": {
                "type": "integer",
                "minimum": 99,
                "default": 5000,
                "description": "Permutations of people for max-t.",
            },
            "bootstrap": {
                "type": "integer",
                "minimum": 0,
                "default": 2000,
                "description": "Resamples of people for the bootstrap intervals; 0: none.",
            },
            "interval": {
                "enum": ["bca", "percentile"],
                "default": "bca",
                "description": "Kind of the bootstrap interval.",
            },
            "confidence": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.95,
                "description": "Level of all intervals.",
            },
            "figures": {
                "type": "integer",
                "minimum": 0,
                "maximum": 20,
                "default": 3,
                "description": "How many of the strongest relations of the first method are drawn for each explainer, "
                "beside the matrix of each method; 0: no figures.",
            },
            **{name: RegionTable.config_schema["properties"][name] for name in PASSED_ON},
            "seed": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "Of bootstrap and permutations.",
            },
        },
    }

    def __init__(
        self,
        *,
        atlas: AtlasChoice,
        features: Sequence[Mapping[str, Any]] = (),
        variables: Sequence[str] | None = None,
        covariates: Sequence[str | Mapping[str, Any]] = (),
        methods: Sequence[Method] | None = None,
        pairs: Literal["same-region", "all"] = "same-region",
        measure: str = "size_corrected",
        by: str | None = None,
        visits: Literal["first", "last"] = "first",
        correction: Correction = "fdr-bh",
        permutations: int = 5000,
        bootstrap: int = 2000,
        interval: Literal["bca", "percentile"] = "bca",
        confidence: float = 0.95,
        figures: int = 3,
        explainers: Sequence[str] | None = None,
        space: Literal["mni", "scan"] = "mni",
        assign: Literal["partial", "nearest"] = "partial",
        channel: str | None = None,
        folder: str | None = None,
        unnamed: Literal["error", "label", "leave-out"] = "error",
        missing: Literal["error", "leave-out"] = "error",
        mismatch: Literal["error", "note"] = "error",
        seed: int = 0,
    ) -> None:
        require_absolute("region-features", atlas)
        self.atlas = atlas
        self.features = list(features)
        self.variables = variables
        self.covariates = list(covariates)
        self.methods: tuple[Method, ...] = _methods(methods, bool(covariates))
        self.pairs = pairs
        self.measure = measure
        self.by = by
        self.visits = visits
        self.correction = correction
        self.permutations = permutations
        self.bootstrap = bootstrap
        self.interval: Literal["bca", "percentile"] = interval
        self.confidence = confidence
        self.figures = figures
        self.explainers = explainers
        self.space = space
        self.assign = assign
        self.channel = channel
        self.folder = folder
        self.unnamed = unnamed
        self.missing = missing
        self.mismatch = mismatch
        self.seed = seed
        problems = feature_problems(self.features) + self._contradictions()
        if problems:
            raise ConfigError([f"region-features: {problem}" for problem in problems])

    def _contradictions(self) -> list[str]:
        problems = []
        if self.covariates and not WITH_COVARIATES & set(self.methods):
            problems.append(
                f"covariates are given, but {', '.join(self.methods)} cannot adjust for them. Take partial-pearson, "
                "partial-spearman, ols, hc3, rlm or mixed."
            )
        partial = [method for method in self.methods if method.startswith("partial-")]
        if partial and not self.covariates:
            problems.append(f"{' and '.join(partial)} need covariates.")
        fixed = [method for method in self.methods if method not in PERMUTABLE]
        if self.correction == "max-t" and fixed:
            problems.append(f"correction: max-t cannot correct {', '.join(fixed)}. Take holm or bonferroni.")
        if self.variables is not None and not self.variables and not self.features:
            problems.append("neither features nor variables are given: there is nothing to relate relevance to.")
        return problems

    def region_table(self) -> RegionTable:
        """Return ``region-table`` with the parameters that it shares."""
        return RegionTable(atlas=self.atlas, **{name: getattr(self, name) for name in PASSED_ON})

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
        """Refuse an atlas, a source of features, a variable, a covariate or a group column that is not there.

        Sources are read, but for maps.

        Raises:
            InputError: Something is missing, or the study has too few people for the covariates, or no person with
                several visits for a mixed model.
        """
        from ._associations.checking import check_study

        check_study(self, table, task, classes)

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the files of the atlas and the features."""
        from ._associations.checking import input_files

        return input_files(self, run)

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write ``associations.tsv``, ``features.tsv``, ``matches.tsv``, ``left-out.tsv``, ``models.json``, figures.

        Raises:
            InputError: A parameter names what is not there, a file cannot be read, or no test could be made.
        """
        from ._associations.write import write_region_features

        write_region_features(run, output, self)


def _methods(given: Sequence[Method] | None, covariates: bool) -> tuple[Method, ...]:
    if given is not None:
        return tuple(given)
    return ("partial-spearman", "ols") if covariates else ("spearman",)
