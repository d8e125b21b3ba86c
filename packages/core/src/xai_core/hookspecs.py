"""The hooks: moments of a run at which an installed package is called.

A plugin is a module (or an object) with functions of these names, marked with ``xai_core.hookimpl`` and announced in
the entry-point group ``xai.hooks``. A function may take any subset of a hook's arguments. Plugins are called in the
order of their names there; ``hookimpl(tryfirst=True)`` or ``trylast=True`` changes that. An exception in a hook stops
the run and names plugin and hook, except in ``xai_run_failed`` and ``xai_run_finished``, where it is only logged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from .types import Attribution, RunContext, TrainingResult

if TYPE_CHECKING:
    import torchio as tio
    from torch import nn

__all__ = ["GUARDED", "PROJECT", "hookimpl", "hookspec"]

PROJECT = "xai"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# Hooks whose exceptions are logged instead of stopping the run: it is over already.
GUARDED = frozenset({"xai_run_failed", "xai_run_finished"})


class ConfigHooks:
    """Around the configuration."""

    @hookspec
    def xai_config_resolved(self, config: dict[str, Any]) -> None:
        """Called once, after defaults are filled in and before anything is read or written.

        Args:
            config: The resolved configuration; changes made here take effect and are saved with the run.

        The return value is ignored. Example::

            @hookimpl
            def xai_config_resolved(config):
                if config["name"] == "draft":
                    config["training"]["params"]["epochs"] = 1
        """

    @hookspec
    def xai_health_checks(self) -> Sequence[tuple[str, bool, str]] | None:
        """Called by ``xai doctor``.

        Returns:
            Rows (name of the check, whether all is well, what was found and what to do), added to the others.

        Example::

            @hookimpl
            def xai_health_checks():
                free = shutil.disk_usage(".").free / 1e9
                return [("disk space", free > 10, f"{free:.0f} GB free; a run needs about 10 GB")]
        """


class RunHooks:
    """Around a whole run."""

    @hookspec
    def xai_run_started(self, config: Mapping[str, Any], folder: Path) -> None:
        """Called when the run folder exists and before data are read.

        Args:
            config: The resolved configuration.
            folder: The run folder.

        The return value is ignored. Example::

            @hookimpl
            def xai_run_started(config, folder):
                mlflow.start_run(run_name=config["name"])
        """

    @hookspec
    def xai_run_failed(self, config: Mapping[str, Any], folder: Path, error: BaseException) -> None:
        """Called when the run ends with an exception (also an interrupt). Guarded: its own exceptions are logged.

        Args:
            config: The resolved configuration.
            folder: The run folder.
            error: What ended the run.

        The return value is ignored. Example::

            @hookimpl
            def xai_run_failed(folder, error):
                notify(f"{folder.name}: {error}")
        """

    @hookspec
    def xai_run_finished(self, config: Mapping[str, Any], folder: Path) -> None:
        """Called when everything is written. Guarded: its own exceptions are logged.

        Args:
            config: The resolved configuration.
            folder: The run folder.

        The return value is ignored. Example::

            @hookimpl
            def xai_run_finished(folder):
                shutil.make_archive(str(folder), "zip", folder)
        """


class DataHooks:
    """Around the data."""

    @hookspec
    def xai_dataset_ready(self, config: Mapping[str, Any], subjects: Sequence[tio.Subject], folder: Path) -> None:
        """Called when the dataset component has listed its scans; images are still unread.

        Args:
            config: The resolved configuration.
            subjects: One ``torchio.Subject`` for each scan, also for those that ``--skip-bad`` leaves out afterwards.
            folder: The run folder.

        The return value is ignored; raise ``xai_core.InputError`` to refuse a study. Example::

            @hookimpl
            def xai_dataset_ready(subjects):
                if len(subjects) < 20:
                    raise InputError(f"{len(subjects)} scans are too few for this protocol.")
        """


class TrainingHooks:
    """Around the training of one fold."""

    @hookspec
    def xai_model_built(self, model: nn.Module, fold: int) -> None:
        """Called with each freshly built network, before training.

        Args:
            model: The network, on the CPU; it may be changed in place (freeze layers, say).
            fold: Index of the fold.

        The return value is ignored. Example::

            @hookimpl
            def xai_model_built(model, fold):
                for parameter in model.conv1.parameters():
                    parameter.requires_grad_(False)
        """

    @hookspec
    def xai_epoch_finished(self, fold: int, epoch: int, scalars: Mapping[str, float]) -> bool | None:
        """Called after each epoch.

        Args:
            fold: Index of the fold.
            epoch: Index of the epoch, from 0.
            scalars: ``train_loss``, ``val_loss`` and what else the trainer measures.

        Returns:
            False stops training after this epoch; anything else goes on.

        Example::

            @hookimpl
            def xai_epoch_finished(epoch, scalars):
                return not (epoch > 5 and scalars["train_loss"] < 0.01)
        """

    @hookspec
    def xai_training_finished(self, model: nn.Module, fold: int, result: TrainingResult, context: RunContext) -> None:
        """Called when a fold's network holds its best weights, before they are saved.

        Args:
            model: The trained network.
            fold: Index of the fold.
            result: History and best epoch.
            context: The trainer's context; files written to ``context.folder`` are kept with the fold.

        The return value is ignored. Example::

            @hookimpl
            def xai_training_finished(result, context):
                (context.folder / "note.txt").write_text(f"best epoch: {result.best_epoch}")
        """


class ExplanationHooks:
    """Around the explanation of one scan."""

    @hookspec
    def xai_before_explain(self, model: nn.Module, subject: tio.Subject, explainer: str) -> None:
        """Called before each explainer of each scan.

        Args:
            model: The trained network, in evaluation mode.
            subject: The preprocessed scan.
            explainer: The ``id`` of the explainer.

        The return value is ignored. Example::

            @hookimpl
            def xai_before_explain(subject, explainer):
                print(f"{explainer}: {subject['subject_id']}")
        """

    @hookspec
    def xai_explanation_computed(self, attribution: Attribution, subject: tio.Subject, explainer: str) -> None:
        """Called with each explanation, before it is brought to the scan's grid and saved.

        Args:
            attribution: A batch of one, on the preprocessed grid.
            subject: The preprocessed scan.
            explainer: The ``id`` of the explainer.

        The return value is ignored. Example::

            @hookimpl
            def xai_explanation_computed(attribution, subject):
                print(subject["subject_id"], float(attribution.relevance.sum()))
        """


class ResultHooks:
    """Around what is made from the maps."""

    @hookspec
    def xai_analysis_finished(self, analysis: str, folder: Path) -> None:
        """Called when an analysis has been published.

        Args:
            analysis: The ``id`` of the analysis.
            folder: Its folder, ``analysis/<id>``.

        The return value is ignored. Example::

            @hookimpl
            def xai_analysis_finished(analysis, folder):
                upload(folder)
        """

    @hookspec
    def xai_report_written(self, report: str, page: Path) -> None:
        """Called when a report has been published.

        Args:
            report: The ``id`` of the report.
            page: The file to open first.

        The return value is ignored. Example::

            @hookimpl
            def xai_report_written(page):
                webbrowser.open(page.as_uri())
        """


SPECS = (ConfigHooks, RunHooks, DataHooks, TrainingHooks, ExplanationHooks, ResultHooks)
