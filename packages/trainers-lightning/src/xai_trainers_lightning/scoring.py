"""How test scores are made, the same for every trainer of this package. Light: texts and numbers only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from xai_core import Trainer

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.types import Task

__all__ = ["SCORING", "BiasCorrection", "Calibration", "ScoredTrainer"]

BiasCorrection = Literal["none", "beheshti", "cole"]
Calibration = Literal["none", "temperature"]
_NEEDED = 10  # validation scans: a line or a temperature from fewer says little

SCORING: Mapping[str, Any] = {
    "bootstrap": {
        "anyOf": [{"type": "integer", "minimum": 100}, {"const": 0}],
        "default": 1000,
        "description": "Resamples of the people behind each 95 % interval of the test scores; 0: none.",
    },
    "pairwise": {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            "column": {"type": "string", "minLength": 1, "description": "Covariate with the finer groups."},
            "against": {"type": ["string", "integer"], "description": "The group that the others are compared with."},
        },
        "required": ["column", "against"],
        "default": None,
        "description": "Test scores of two classes also for each finer group against one, such as {column: diagnosis, "
        "against: CN}: those of AD against CN, of MCI against CN.",
    },
    "by": {
        "anyOf": [
            {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True},
            {"type": "null"},
        ],
        "default": None,
        "description": "Covariates whose groups are scored apart (by-group.tsv); more than eight different numbers are "
        "cut into thirds. null: site and sex where the table has them; []: none.",
    },
    "permutations": {
        "anyOf": [{"type": "integer", "minimum": 100}, {"const": 0}],
        "default": 1000,
        "description": "Permutations of the test people's true values, within folds, behind the p-values against "
        "chance; 0: none. Networks are not trained anew.",
    },
    "calibration": {
        "enum": ["none", "temperature"],
        "default": "none",
        "description": "Classification. temperature: calibrated_<class> in predictions.tsv, probabilities at a "
        "temperature fitted to each fold's validation people (Guo et al. 2017). Decisions stay as they are.",
    },
    "bias_correction": {
        "enum": ["none", "beheshti", "cole"],
        "default": "none",
        "description": "Regression, such as brain age: correct predictions for their dependence on the true value, by "
        "a line predicted = a + b true fitted to each fold's validation people. beheshti: predicted + true - "
        "(a + b true), which holds the true value, so that only its gap is scored (Beheshti et al. 2019; de Lange & "
        "Cole 2020). cole: (predicted - a) / b, without the true value (Cole et al. 2018).",
    },
}


class ScoredTrainer(Trainer):
    """Scores, tables and calibration of a trainer whose constructor sets the parameters of ``SCORING``."""

    scoring_params = frozenset(SCORING)

    bootstrap: int
    pairwise: Mapping[str, Any] | None
    by: Sequence[str] | None
    permutations: int
    calibration: Calibration
    bias_correction: BiasCorrection

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:  # noqa: ARG002
        """Refuse a study that ``pairwise`` or ``by`` does not fit; see ``Trainer.check_study``."""
        if self.by is not None:
            from ._groups import group_columns

            group_columns(table, self.by)
        if self.pairwise is not None:
            from ._pairwise import finer_pairs

            finer_pairs(table, classes, **self.pairwise)

    def validation_needed(self, task: Task) -> int:
        """Return 10 where something is fitted to validation people, else 0."""
        fitted = self.calibration if task == "classification" else self.bias_correction
        return 0 if fitted == "none" else _NEEDED

    def calibrate(
        self, validation: pd.DataFrame, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None
    ) -> pd.DataFrame:
        """Add calibrated probabilities, or the gap between predicted and true value and its correction.

        Classification with ``calibration: temperature``: ``calibrated_<class>`` and the fold's ``temperature``.
        Regression: ``gap`` (predicted less true value); with a ``bias_correction`` also ``prediction_corrected``,
        ``gap_corrected``, ``bias_intercept`` and ``bias_slope``. Columns are NaN, and the log says so, where the
        validation people do not determine them.
        """
        if task == "regression":
            from ._agegap import add_gap

            return add_gap(validation, predictions, self.bias_correction)
        if self.calibration == "none" or classes is None:
            return predictions
        from ._calibration import calibrate

        return calibrate(validation, predictions, [str(name) for name in classes])

    def metrics(
        self, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int
    ) -> dict[str, Any]:
        """Return the scores of the test people with 95 % percentile bootstrap intervals over people.

        Classification: ``balanced_accuracy``, ``accuracy``, ``auc``, ``sensitivity``, ``specificity``, ``f1``,
        ``mcc`` (two classes: the last one is positive; more: each class against the rest, averaged over classes),
        ``auc_delong`` (two classes: the same area with the interval of DeLong et al. 1988), ``brier``, ``ece``
        (expected calibration error, no interval) and the same ``_calibrated``, ``auc_<first>_vs_<second>`` for each
        pair of more than two classes, ``confusion_matrix`` (rows: true class, columns: predicted class, in the order
        of ``classes``). Regression: ``mae``, ``rmse`` (target's units), ``r`` (Pearson), ``r2`` (coefficient of
        determination), ``gap``, ``gap_sd``, ``gap_r`` (mean, SD and correlation with the true value of predicted less
        true value) and the same ``_corrected``; of ``cole`` also ``mae_corrected`` and so on. Both: ``n`` scans of
        ``people``, and ``permutation``: ``{"auc": {"p": p, "chance": mean, "permutations": m}, ...}`` for ``auc`` and
        ``balanced_accuracy``, or ``r`` and ``mae``.

        With ``pairwise`` two classes are scored once more for each group of the column against one: among the scans of
        these two groups only, with names such as ``auc_AD_vs_CN``, and their number ``n_AD_vs_CN``. Scans without a
        group are in none of them.

        A score is ``{"value": v, "low": l, "high": h}``; each is None where it is not defined (an AUC of test
        people of one class, say). People are resampled, not scans, so that the scans of one person stay
        together (Efron & Tibshirani 1993, An Introduction to the Bootstrap).

        Raises:
            InputError: A target or prediction is not among ``classes``, or ``pairwise`` does not fit the study.
        """
        from ._metrics import scores

        return scores(predictions, task, classes, seed, self)

    def tables(
        self, predictions: pd.DataFrame, task: Task, classes: Sequence[str] | None, seed: int
    ) -> Mapping[str, pd.DataFrame]:
        """Return ``roc`` and ``calibration`` (classification) and ``by-group`` (where there are groups)."""
        from ._groups import group_columns
        from ._metrics import group_table

        found = {}
        if task == "classification" and classes is not None:
            from ._curvetables import calibration_table, roc_table

            names = [str(name) for name in classes]
            found = {"roc": roc_table(predictions, names), "calibration": calibration_table(predictions, names)}
        columns = group_columns(predictions, self.by)
        if columns:
            found["by-group"] = group_table(predictions, classes, seed, columns, self)
        return found
