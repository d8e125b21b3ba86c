"""A study from its configuration to its report, and the trained networks of a finished run."""

from __future__ import annotations

import operator
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from .. import registry
from ..config.resolve import resolve
from ..config.strictyaml import is_plain
from ..config.structure import slots_of
from ..errors import InputError, PluginError
from .cohort import drop_stale_maps
from .ensemblefiles import Combine
from .ensemblefolds import AllFolds
from .folds import pick_device
from .heldout import predict_held_out
from .hooks import Hooks
from .progress import log, log_to
from .results import ENSEMBLE, RunResults
from .runfolder import JOINED, RESOLVED, prepare_folder, run_lock
from .scoring import finish_training
from .single import Image, TrainedFold
from .skipping import settle_scans
from .stages import analyse, finish_explanations, report, run_folds, save_study
from .study import Study
from .units import Units

if TYPE_CHECKING:
    from .ensemblefiles import EnsembleExplanation
    from .explaining import Explanation

__all__ = ["Pipeline"]

Stage = Literal["train", "explain", "report"]


class Pipeline:
    """One study, from Python.

    Example::

        pipeline = Pipeline.from_file("pipeline.yaml", ["training.params.epochs=10"])
        results = pipeline.run()
        print(results.metrics()["test"])
        explanation = pipeline.explain("scan.nii.gz")["lrp"]
        explanation.image.to_filename("relevance.nii.gz")

    Args:
        config: A resolved configuration.
        hooks: The hook plugins; default: the installed ones.
    """

    def __init__(self, config: dict[str, Any], hooks: Hooks | None = None) -> None:
        self.config = config
        self.hooks = hooks or Hooks()

    @classmethod
    def from_file(cls, path: str | Path, sets: Sequence[str] = (), **options: Any) -> Pipeline:
        """Read a pipeline file.

        Args:
            path: The YAML file.
            sets: Changes such as ``"model.params.depth=10"``.
            options: ``name``, ``model``, ``data``, ``epochs``, ``device``, ``output``, as on the command line.

        Raises:
            ConfigError: The configuration is wrong; every problem is listed.
            PluginError: A chosen component or a hook plugin is broken.
        """
        pipeline = cls(resolve(path, sets, **options).value)
        pipeline.hooks.call("xai_config_resolved", config=pipeline.config)
        if not is_plain(pipeline.config):
            raise PluginError(
                "A hook plugin's xai_config_resolved put something into the configuration that YAML cannot hold. "
                "Use texts, numbers, lists and mappings only."
            )
        return pipeline

    @classmethod
    def from_folder(cls, folder: str | Path) -> Pipeline:
        """Open a run folder.

        Raises:
            InputError: It is not a run folder, or an ensemble's, which has no networks of its own.
        """
        results = RunResults(folder)
        if (results.folder / ENSEMBLE).is_file():
            raise InputError(JOINED.format(results.folder))
        config = resolve(results.folder / RESOLVED).value
        # A run folder may have been moved since; it is where it is now.
        config["output"], config["name"] = (
            str(results.folder.absolute().parent),
            results.folder.absolute().name,
        )
        return cls(config)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.config["output"], self.config["name"])

    @property
    def results(self) -> RunResults:
        """The run folder's content."""
        return RunResults(self.folder)

    def run(self, until: Stage = "report", *, skip_bad: bool = False) -> RunResults:
        """Do everything that is missing and return the results.

        Args:
            until: ``"train"``: training, predictions and metrics; ``"explain"``: also maps and evaluations;
                ``"report"``: everything.
            skip_bad: Go on without scans that cannot be used, and record them. The run folder keeps the decision.

        Raises:
            XaiError: What went wrong, in one message. What was finished before stays, and is not done again.
        """
        self.validate_components()
        is_new = not self.folder.exists()
        folder = prepare_folder(self.config)
        with run_lock(folder):
            try:
                with log_to(folder / "log.txt"), self._announced(folder):
                    self._stages(folder, until, skip_bad=skip_bad)
            except (InputError, PluginError):
                # Wrong input, or a broken plugin, found before anything was finished leaves nothing behind.
                if is_new and not Units(folder).any_done():
                    shutil.rmtree(folder, ignore_errors=True)
                    with suppress(OSError):
                        folder.parent.rmdir()  # only where it is empty
                raise
        return self.results

    def _stages(self, folder: Path, until: Stage, *, skip_bad: bool) -> None:
        log.info("run %s in %s", self.config["name"], folder)
        units = Units(folder)
        units.clear_scratch()
        study = Study(self.config, folder)
        self.hooks.call("xai_dataset_ready", config=self.config, subjects=study.listed, folder=folder)
        study = settle_scans(study, skip_bad=skip_bad)
        save_study(study, folder)
        run_folds(study, units, self.hooks, explain=until != "train")
        finish_training(study, units)
        predict_held_out(study, units)
        drop_stale_maps(study, units)
        if until != "train":
            finish_explanations(study, folder)
        if until == "report":
            analyse(study, units, self.hooks)
            report(study, units, self.hooks)

    def report_pages(self) -> list[Path]:
        """Return the pages to open of the reports that are written."""
        memories = [self.folder / ".xai" / "reports" / f"{slot['id']}.txt" for slot in self.config["reports"]]
        return [self.folder / memory.read_text(encoding="utf-8") for memory in memories if memory.is_file()]

    def forget_reports(self) -> None:
        """Have the reports written anew by the next run."""
        for slot in self.config["reports"]:
            (self.folder / ".xai" / "reports" / f"{slot['id']}.txt").unlink(missing_ok=True)

    def validate_components(self) -> None:
        """Build every component without reading data: what a constructor refuses is refused before any work.

        Raises:
            ConfigError, PluginError, InputError: What is wrong.
        """
        pick_device(self.config["device"])
        for slot, _path, choice in slots_of(self.config):
            component = registry.create(slot.kind, choice["name"], **choice["params"])
            if slot.kind == "transform":
                component.build()

    @contextmanager
    def _announced(self, folder: Path) -> Iterator[None]:
        try:
            self.hooks.call("xai_run_started", config=self.config, folder=folder)
            yield
        except BaseException as error:
            log.error("the run ended: %s: %s", type(error).__name__, error)
            self.hooks.call("xai_run_failed", config=self.config, folder=folder, error=error)
            raise
        self.hooks.call("xai_run_finished", config=self.config, folder=folder)

    def fold(self, index: int) -> TrainedFold:
        """Return a trained fold: its ``model``, ``predict`` and ``explain``.

        Raises:
            InputError: The fold is not trained.
        """
        try:
            number = operator.index(index)  # "0" would find the network, and nobody whom it was trained on
        except TypeError as error:
            raise InputError(f"There is no fold {index!r}. Give its number, such as 0.") from error
        return TrainedFold.load(self.config, self.folder, number, self.results.info["classes"])

    def all_folds(self, combine: Combine | None = None) -> AllFolds:
        """Return all trained folds as an ensemble: its ``predict`` and ``explain``.

        Args:
            combine: How they vote; default: the mean.
        """
        return AllFolds(self.config, self.folder, combine or Combine())

    def predict(self, image: Image, fold: int | Literal["all"] = 0, **options: Any) -> dict[str, Any]:
        """Predict one scan with a trained fold: ``prediction`` and ``probability_<class>``.

        Args:
            image: The scan.
            fold: Which fold's network; ``"all"``: they vote, see ``AllFolds.predict``.
            options: ``covariates`` and ``allow_training_people`` of ``TrainedFold.predict``.
        """
        return (self.all_folds() if fold == "all" else self.fold(fold)).predict(image, **options)

    @overload
    def explain(
        self, image: Image, explainers: str | Sequence[str] | None = ..., target: str | int | None = ...,
        fold: int = ..., **options: Any,
    ) -> dict[str, Explanation]: ...  # fmt: skip

    @overload
    def explain(
        self, image: Image, explainers: str | Sequence[str] | None = ..., target: str | int | None = ...,
        *, fold: Literal["all"], **options: Any,
    ) -> dict[str, EnsembleExplanation]: ...  # fmt: skip

    def explain(
        self,
        image: Image,
        explainers: str | Sequence[str] | None = None,
        target: str | int | None = None,
        fold: int | Literal["all"] = 0,
        **options: Any,
    ) -> dict[str, Explanation] | dict[str, EnsembleExplanation]:
        """Explain one scan with a trained fold; arguments and further options as in ``TrainedFold.explain``.

        With ``fold="all"`` every fold explains it, and the maps are aggregated: see ``AllFolds.explain``.
        """
        if fold == "all":
            return self.all_folds().explain(image, explainers, target, **options)
        return self.fold(fold).explain(image, explainers, target, **options)
