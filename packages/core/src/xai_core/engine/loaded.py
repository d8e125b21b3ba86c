"""A finished run in Python: ``xai_core.load``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..schemas import did_you_mean
from ..types import Task
from .results import ENSEMBLE, RunResults
from .richdisplay import facts_html
from .savedmap import SavedAttribution, SavedAttributions

if TYPE_CHECKING:
    import pandas as pd

    from .explaining import Explanation
    from .pipeline import Pipeline
    from .single import TrainedFold

__all__ = ["Run", "load"]


def load(folder: str | Path) -> Run:
    """Open the folder of a run, or of an ensemble of runs.

    Raises:
        InputError: It is not a run folder.
    """
    return Run(folder)


class Run:
    """A run folder: scores and tables, trained networks, relevance maps. Nothing is written; tables are read anew.

    Attributes:
        folder: The run folder.
        results: Everything in it, table by table.
    """

    def __init__(self, folder: str | Path) -> None:
        self.results = RunResults(folder)
        self.folder = self.results.folder

    @property
    def name(self) -> str:
        """Name of the run."""
        return str(self.config["name"])

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        return self.results.config

    @property
    def task(self) -> Task:
        """``"classification"`` or ``"regression"``."""
        return self.results.task

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the outputs; None for a regression."""
        return self.results.classes

    @property
    def metrics(self) -> pd.DataFrame:
        """Scores on the test people: one row for each, columns ``value``, ``low`` and ``high`` (NaN: no interval).

        ``run.metrics.loc["auc", "value"]``. Those of each fold are in ``run.fold_metrics``; confusion matrix,
        permutation test and the rest in ``run.results.metrics()``.
        """
        table = self.fold_metrics
        return table[table["fold"] == "all"].drop(columns="fold").set_index("metric")

    @property
    def fold_metrics(self) -> pd.DataFrame:
        """``metrics.tsv``: ``fold`` (``"all"``: all test people), ``metric``, ``value``, ``low``, ``high``."""
        import pandas as pd

        path = self.folder / "metrics.tsv"
        if not path.is_file():
            raise InputError(f"{self.folder} has no scores yet. Run 'xai run' on its pipeline.resolved.yaml.")
        return pd.read_csv(path, sep="\t", na_values=["n/a"], dtype={"fold": str})

    @property
    def predictions(self) -> pd.DataFrame:
        """One row for each test scan: target, prediction, probabilities."""
        return self.results.predictions()

    @property
    def subjects(self) -> pd.DataFrame:
        """One row for each scan: person, session, target, files, covariates."""
        return self.results.subjects()

    @property
    def splits(self) -> pd.DataFrame:
        """Who is in which part of which fold."""
        return self.results.splits()

    @cached_property
    def pipeline(self) -> Pipeline:
        """The run as a ``Pipeline``, for everything that needs a network.

        Raises:
            InputError: The folder is an ensemble's, which has no networks of its own.
        """
        from .pipeline import Pipeline

        return Pipeline.from_folder(self.folder)

    @property
    def folds(self) -> list[int]:
        """Indices of the folds whose training is done."""
        return self.results.folds()

    def fold(self, index: int = 0) -> TrainedFold:
        """Return a trained fold: its ``model``, ``predict`` and ``explain``.

        Raises:
            InputError: The fold is not trained.
        """
        return self.pipeline.fold(index)

    @property
    def explainers(self) -> list[str]:
        """Ids of the explainers."""
        return [str(slot["id"]) for slot in self.config.get("explainers") or []]

    def attributions(self, explainer: str | None = None) -> SavedAttributions:
        """Return the relevance maps of the test scans, read lazily.

        Args:
            explainer: Id of an explainer; None: of all.

        Raises:
            InputError: The run has no such explainer.
        """
        if explainer is not None and explainer not in self.explainers:
            raise InputError(
                f"{self.folder} has no explainer {explainer!r}.{did_you_mean(explainer, self.explainers)} "
                f"It has: {', '.join(self.explainers) or 'none'}."
            )
        return SavedAttributions([SavedAttribution(record) for record in self.results.maps(explainer)])

    def predict(self, image: Any, fold: Any = 0, **options: Any) -> dict[str, Any]:
        """Predict a scan; arguments as of ``Pipeline.predict``."""
        return self.pipeline.predict(image, fold, **options)

    def explain(
        self,
        image: Any,
        explainers: str | Sequence[str] | None = None,
        target: str | int | None = None,
        fold: Any = 0,
        **options: Any,
    ) -> Mapping[str, Explanation]:
        """Explain a scan; by explainer id what has ``plot()``, ``to_nifti()``, ``image`` and ``sidecar``.

        Arguments as of ``Pipeline.explain``.
        """
        return self.pipeline.explain(image, explainers, target, fold, **options)

    def __repr__(self) -> str:
        return f"<run {self.name} in {self.folder}>"

    def _repr_html_(self) -> str:
        subjects, splits = self.subjects, self.splits
        facts = {
            "folder": self.folder,
            "task": self.task + ("" if self.classes is None else f": {', '.join(self.classes)}"),
            "people": subjects["subject_id"].nunique(),
            "scans": len(subjects),
            "folds": splits["fold"].nunique(),
            "model": self.config["model"]["name"],
            "explainers": ", ".join(self.explainers) or "none",
        }
        if (self.folder / ENSEMBLE).is_file():
            facts["kind"] = "ensemble of finished runs"
        scores = "<p>no scores yet</p>"
        if (self.folder / "metrics.tsv").is_file():
            scores = str(self.metrics.to_html(float_format="{:.3f}".format, na_rep="", escape=True))
        return facts_html(f"Run {self.name}", facts) + scores
