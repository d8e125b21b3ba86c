"""The interfaces of the components that a study can choose, one class for each kind.

A component is a light class with a JSON Schema (2020-12) beside it. Its constructor takes keyword-only
parameters, one for each property of the schema and with the same defaults, and does no work: torch and other
heavy libraries are imported inside the methods. An installed package announces it by an entry point::

    [project.entry-points."xai.explainers"]
    mine = "my_package.plugin:Mine"

The first line of the class's docstring is its summary in ``xai plugins``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .component import Component
from .trainer import Trainer
from .types import Attribution, Fold, Task

if TYPE_CHECKING:
    from concurrent.futures import Executor as FuturesExecutor

    import pandas as pd
    import torchio as tio
    from nibabel import Nifti1Image
    from torch import Tensor, nn

    from .engine.results import RunResults

__all__ = [
    "KINDS", "Analysis", "Component", "Dataset", "Evaluator", "Executor", "Explainer", "Kind", "Model", "Report",
    "Splitter", "Trainer", "Transform",
]  # fmt: skip


class Dataset(Component):
    """A study: people, their scans and what is to be predicted."""

    @property
    def class_order(self) -> Sequence[str] | None:
        """Class names in the order of the logits; the last one is the positive class of a binary study.

        None (the default): the names that occur, sorted, with usual names of controls (CN, HC, control ...) first.
        Only for targets that are strings.
        """
        return None

    @abstractmethod
    def subjects(self) -> Sequence[tio.Subject]:
        """Return one ``torchio.Subject`` for each scan. Images are read lazily.

        Each holds ``image`` (ScalarImage [C, D, H, W]), ``target`` (str: classification, float: regression) and
        ``subject_id`` (str); optionally ``session_id``, ``site``, any covariates (str, int, float or None) and
        ``ground_truth`` (LabelMap on the image's grid: 1 where the truth says that the class shows), ``mask``
        (LabelMap on that grid, for transforms) and ``map_<name>`` (images of any grid that no transform and no network
        sees; ``subjects.tsv`` has their paths).

        Raises:
            InputError: A table, a column or a file is missing or unreadable; the message names the row.
        """

    def inputs(self) -> Sequence[Path]:
        """Return the files besides the images (tables, parameters) whose content decides ``subjects()``."""
        return ()

    def left_out(self) -> Sequence[Mapping[str, Any]]:
        """Return who is in the study's tables or folders but not among ``subjects()``, and why. Default: nobody.

        Called after ``subjects()``. Each row holds ``subject_id``, ``session_id`` (None where it is not known) and
        ``reason``, and may hold more (``cohort``); the run writes them to ``left-out.tsv``.
        """
        return ()

    @property
    def channel_names(self) -> Sequence[str] | None:
        """Names of the channels of ``image`` in their order, such as ``("t1w", "flair")``; None: it has one."""
        return None


class Transform(Component):
    """A preprocessing or augmentation step."""

    @abstractmethod
    def build(self) -> tio.Transform:
        """Return the ``torchio.Transform``.

        A ``torchio.transforms.augmentation.RandomTransform`` is applied to training scans only. One that learns
        from data has ``fit(subjects)``, called with the training part of a fold only, ``state_dict()`` and
        ``load_state_dict(state)``. Geometry may change only together with the image's affine; a relevance map
        finds its way back to the scan through it. One whose attribute ``voxelwise`` is true learns each voxel by its
        place; augmentation that moves voxels is refused before it.

        The ``subjects`` of ``fit`` are a sequence that prepares a scan when it is asked for. Its attribute ``about``
        lists what is known of each (target, covariates) and reads no image. One that brings a state from elsewhere
        says on whom it was fitted (``fitted_on``, ids of people): a study that tests any of them is refused.
        """

    def covariates(self) -> Sequence[str]:
        """Return the entries of a subject, besides its images, that the transform reads. Default: none.

        What follows from a scan is made anew where one of them has changed. A deterministic transform sees no others
        when it is applied: what it makes of a scan is kept for later runs and must follow from what is known to
        decide it (its parameters and the files that they name, what it has learnt, ``image``, ``mask`` and these).
        """
        return ()

    def fit_covariates(self) -> Sequence[str]:
        """Return the entries of a subject, besides its images and the target, that only ``fit`` reads. Default: none.

        They decide what is learnt; a scan that is not in the study needs none of them.
        """
        return ()

    def check_study(self, table: pd.DataFrame, folds: Sequence[Fold], classes: Sequence[str] | None) -> None:
        """Refuse a study that the transform cannot be fitted or applied to; no scan is read. Default: nothing.

        Args:
            table: One row for each scan: ``scan_id``, ``subject_id``, ``target`` and the covariates.
            folds: The divisions of the people; a transform is fitted to the training part of each.
            classes: Class names, the controls first; None for a regression.

        Raises:
            InputError: It cannot; the message lists everybody whom it is about.
        """
        return


class Splitter(Component):
    """Divides the people of a study into training, validation and test parts."""

    @abstractmethod
    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Return the folds.

        Args:
            table: One row for each scan: ``subject_id`` (str), ``target``, where known ``session_id`` and
                ``site``, and the covariates. A person with several scans has several rows.
            seed: Seed of every random choice.

        Raises:
            InputError: The table cannot be divided as asked (too few people of a class, say).
        """


class Model(Component):
    """A network architecture."""

    @abstractmethod
    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        """Return a network mapping float32 [N, C, D, H, W] to logits or values [N, outputs].

        Args:
            input_shape: (C, D, H, W) of one volume; D, H and W are the image's first, second and third axis.
            outputs: Number of classes, 1 for a regression, None: as stored in the weights that it loads.
        """


class Explainer(Component):
    """Says which voxels a decision rests on."""

    @abstractmethod
    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Explain one output for each volume and leave the model as it was.

        Long work may tell how far it is by ``xai_core.progress.report``.

        Args:
            model: Maps [N, C, D, H, W] to [N, outputs]; in evaluation mode.
            volumes: float32 [N, C, D, H, W].
            target: int64 [N], index of the output to explain; None: the predicted class, or the regression output.

        Raises:
            InputError: The model or the target cannot be explained by this method; the message says why.
        """

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Refuse a network that this method cannot explain; called before training, so be quick. Default: nothing.

        Args:
            model: Untrained, in evaluation mode; leave it as it is.
            volumes: float32 [1, C, D, H, W], a prepared scan.

        Raises:
            InputError: It cannot be explained; the message names what in it, and what can be done.
        """

    def uses_controls(self) -> bool:
        """Whether ``set_controls`` must be called before ``explain`` (a baseline made of healthy people, say)."""
        return False

    def set_controls(self, mean: Tensor) -> None:
        """Take the mean volume of the controls in the training part of the fold that is explained.

        Called only if ``uses_controls()``. Controls are the people of the first class; in a regression, everybody.

        Args:
            mean: float32 [C, D, H, W], preprocessed, on the grid of the volumes to explain.
        """

    def self_check(self, model: nn.Module, volumes: Tensor) -> str | None:
        """Explain volumes and test by other means that the map is what this method promises for this network.

        ``xai plugins explainers --matrix`` calls it. None (the default): nothing is promised that could be tested.

        Args:
            model: In evaluation mode; may be copied, not changed.
            volumes: float32 [N, C, D, H, W].

        Returns:
            What was tested and found, such as ``"sums to the output: off by 3e-06"``.

        Raises:
            AssertionError: The promise is not kept; the message says by how much.
            InputError: The method refuses or does not apply to this network; the message says why.
        """
        return None


class Evaluator(Component):
    """Scores explanations."""

    @abstractmethod
    def evaluate(
        self, model: nn.Module, volumes: Tensor, attributions: Attribution, masks: Tensor | None
    ) -> Sequence[Mapping[str, float | None]]:
        """Return one row of scores for each volume; None where a score is not defined for it.

        Args:
            model: The network that was explained.
            volumes: float32 [N, C, D, H, W].
            attributions: What an explainer returned for these volumes.
            masks: bool [N, 1, D, H, W], the ground truth on the volumes' grid, or None where it is not known.
        """


class Analysis(Component):
    """Turns the relevance maps of a cohort into tables, maps and figures."""

    def check_study(self, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
        """Refuse what is sure to fail after days of training; called before anything is trained. Default: nothing.

        Args:
            table: One row for each scan: ``scan_id``, ``subject_id``, ``target``, the covariates and the paths of the
                images.
            task: ``"classification"`` or ``"regression"``.
            classes: Class names, the positive class of a binary study last; None for a regression.

        Raises:
            InputError: The study lacks what the analysis needs; the message names the parameter.
        """
        return

    def inputs(self, run: RunResults) -> Sequence[Path]:
        """Return the files besides the run's own results whose content decides the outcome. Default: none.

        An atlas, a table of brain features, a map that a person brings along: where one changed, the next run carries
        out the analysis anew. Files that a parameter of the format ``path`` names need not be returned.
        """
        return ()

    @abstractmethod
    def analyse(self, run: RunResults, output: Path) -> None:
        """Write tables (TSV), maps (NIfTI) and figures into ``output``, an empty folder.

        Args:
            run: The run folder with its subjects, predictions and relevance maps.
            output: Published whole as ``analysis/<id>`` afterwards.
        """


class Report(Component):
    """Makes files that a person opens from a finished run."""

    @abstractmethod
    def write(self, run: RunResults, output: Path) -> Path:
        """Write the report into ``output``, an empty folder, and return the file to open first."""

    def picture(
        self, image: Path, maps: Mapping[str, Nifti1Image], prediction: Mapping[str, Any], output: Path
    ) -> Path | None:
        """Draw one scan with its maps into ``output`` and return the file; None (the default): this report does not.

        Args:
            image: The scan's file.
            maps: Relevance by explainer id, on the scan's grid.
            prediction: ``prediction`` and, for a classification, ``probability_<class>``.
            output: An existing folder; other files may be in it.
        """


class Executor(Component):
    """Runs the units of a study, here or on a cluster."""

    @abstractmethod
    def build(self) -> FuturesExecutor:
        """Return a ``concurrent.futures.Executor``; functions and arguments submitted to it can be pickled."""


@dataclass(frozen=True)
class Kind:
    """A kind of component: its name in the singular, its entry-point group and its interface."""

    name: str
    plural: str
    interface: type[Component]

    @property
    def group(self) -> str:
        """The entry-point group, such as ``xai.explainers``."""
        return f"xai.{self.plural}"


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("dataset", "datasets", Dataset),
        Kind("transform", "transforms", Transform),
        Kind("splitter", "splitters", Splitter),
        Kind("model", "models", Model),
        Kind("trainer", "trainers", Trainer),
        Kind("explainer", "explainers", Explainer),
        Kind("evaluator", "evaluators", Evaluator),
        Kind("analysis", "analyses", Analysis),
        Kind("report", "reports", Report),
        Kind("executor", "executors", Executor),
    )
}
