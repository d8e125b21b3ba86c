"""A nested search for hyper-parameters: each outer fold chooses on its own validation people and is tested once."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from concurrent.futures import Executor as FuturesExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from .. import registry
from ..config.strictyaml import dump, load_file
from ..errors import InputError, RunError, XaiError
from .folds import training_key
from .progress import log, log_to
from .runfolder import RESOLVED, differences, run_lock
from .seeding import unit_seed
from .skipping import settle_scans
from .study import Study
from .sweepchoice import Choice, Trial, choose, outer_folds
from .sweepfile import SweepFile, load_sweep
from .sweepplan import check_study, combination, combinations
from .sweepresult import best_config, save_choices, save_trials, test_chosen
from .sweepspace import propose
from .sweeptrial import run_trial, trial_config
from .units import content_key, write_text
from .versions import slot_identity

__all__ = ["Sweep"]

_SAVED = "sweep.resolved.yaml"
_MAY_CHANGE = {"study", "trials", "pipeline"}


class Sweep:
    """One search, from its file to the test of what was chosen.

    Example::

        found = Sweep.from_file("sweep.yaml").run()
        print(found["nested"]["auc"], found["chosen"])

    Args:
        file: The sweep's file.
        planned: Its combinations with their configurations.
    """

    def __init__(self, file: SweepFile, planned: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        self.file, self.planned = file, planned
        self.base = planned[0][1]
        self.folder = Path(self.base["output"], file.name)
        self.configs: dict[int, dict[str, Any]] = {}

    @classmethod
    def from_file(cls, path: str | Path) -> Sweep:
        """Read a sweep's file and check every combination.

        Raises:
            ConfigError: Every problem of the file, of its pipeline and of its combinations.
            InputError, PluginError: A component refuses or is broken, or Optuna is not installed.
        """
        file = load_sweep(path)
        return cls(file, combinations(file))

    def run(self, *, jobs: int = 1, skip_bad: bool = False, retry_failed: bool = False) -> dict[str, Any]:
        """Do what is missing, choose, test the choice, and return the content of ``metrics.json``.

        Args:
            jobs: Trials at a time, each in a process of its own; 1: in this process, or by the pipeline's executor.
            skip_bad: Go on without scans that cannot be used, and record them.
            retry_failed: Try again what failed in an earlier call.

        Raises:
            XaiError: What went wrong. What was finished before stays.
        """
        self._prepare_folder()
        with run_lock(self.folder), log_to(self.folder / "log.txt"):
            write_text(self.folder / _SAVED, dump(self._saved()))
            self.study = settle_scans(Study(self.base, self.folder), skip_bad=skip_bad)
            self.groups = outer_folds(self.study.folds)
            check_study(self.study, self.file)
            trials: list[Trial] = []
            for round_ in self._rounds(trials):
                trials += round_
                self._carry_out([trial for trial in round_ if self._lacks(trial, retry_failed)], jobs)
                save_trials(self.folder, trials, self.groups)
            metric, sign = self.file.value["metric"], self.file.sign
            choices = choose(trials, self.groups, metric, sign)
            self._tell(choices)
            test_chosen(best_config(choices, self.configs, self.folder), choices, self.folder)
            return save_choices(self.folder, trials, choices, metric, sign)

    def _saved(self) -> dict[str, Any]:
        value = {**self.file.value, "pipeline": str(self.file.pipeline.absolute())}
        return {**value, "name": self.file.name, "study": self.base}

    def _prepare_folder(self) -> None:
        saved = self.folder / _SAVED
        if (self.folder / RESOLVED).is_file() or (self.folder.exists() and not saved.is_file() and self._is_full()):
            raise InputError(f"{self.folder} exists and is not a sweep's folder. Give the sweep another name.")
        if not saved.is_file():
            return
        old, new = load_file(saved).value, self._saved()
        changed = [key for key in {**old, **new} if key not in _MAY_CHANGE and old.get(key) != new.get(key)]
        # Trials are trained and validated only: nothing of them is explained, analysed or reported.
        changed += [f"study.{line}" for line in differences(old["study"], new["study"], lambda *_: False)]
        if changed and any((self.folder / "trials").glob("*/trial.json")):
            raise InputError(
                f"{self.folder} holds another sweep (different: {'; '.join(changed[:8])}). Give this one another "
                "name, or remove that folder first."
            )

    def _is_full(self) -> bool:
        return not self.folder.is_dir() or any(path.name != ".xai" for path in self.folder.iterdir())

    def _rounds(self, done: Sequence[Trial]) -> Iterator[list[Trial]]:
        """Yield trials that can be carried out at the same time."""
        if self.file.value["search"] != "optuna":
            folds = tuple(range(len(self.study.folds)))
            for number, (_, config) in enumerate(self.planned):
                self.configs[number] = config
            yield [Trial(number, values, folds) for number, (values, _) in enumerate(self.planned)]
            return
        # A search for each outer fold: a common one would propose by what the test people of one fold scored as
        # validation people of another.
        for turn in range(self.file.trials):
            yield [self._proposed(turn, outer, group, done) for outer, group in enumerate(self.groups)]

    def _proposed(self, turn: int, outer: int, group: tuple[int, ...], done: Sequence[Trial]) -> Trial:
        number = turn * len(self.groups) + outer
        history = [(trial.values, trial.score(group)) for trial in done if trial.folds == group]
        values = propose(self.file, history, unit_seed(self.file.value["seed"], "sweep", outer, turn))
        trial = Trial(number, values, group)
        try:
            self.configs[number] = combination(self.file, values)
        except XaiError as error:
            trial.results = {index: {"error": str(error)} for index in group}
        return trial

    def _path(self, trial: Trial) -> Path:
        return self.folder / "trials" / str(trial.number)

    def _keys(self, trial: Trial) -> dict[int, str]:
        """Return for each fold the key over everything that decides its score."""
        study = copy.copy(self.study)
        study.config = trial_config(self.configs[trial.number], self._path(trial))
        study.__dict__.pop("identities", None)
        trainer = slot_identity("trainer", study.config["training"])
        return {
            index: content_key(
                training=training_key(study, study.folds[index]), metric=self.file.value["metric"], trainer=trainer
            )
            for index in trial.folds
        }

    def _lacks(self, trial: Trial, retry_failed: bool) -> bool:
        """Take over what an earlier call has found, and say whether anything is missing."""
        if trial.number not in self.configs:
            return False  # refused before it could begin
        try:
            record = json.loads((self._path(trial) / "trial.json").read_text(encoding="utf-8"))["folds"]
        except (OSError, ValueError, KeyError):
            record = {}
        for index, key in self._keys(trial).items():
            found = record.get(str(index), {})
            trained = (self._path(trial) / f"fold-{index}" / "checkpoint.pt").is_file()
            if found.get("key") == key and (trained if "score" in found else not retry_failed):
                trial.results[index] = {name: value for name, value in found.items() if name != "key"}
        return set(trial.results) != set(trial.folds)

    def _carry_out(self, trials: Sequence[Trial], jobs: int) -> None:
        executor = self._executor(min(jobs, len(trials)) if jobs > 1 else 1)
        if executor is None:
            for trial in trials:
                self._record(trial, run_trial(*self._arguments(trial)))
            return
        with executor:
            futures = {executor.submit(run_trial, *self._arguments(trial)): trial for trial in trials}
            try:
                for future in as_completed(futures):
                    self._record(futures[future], future.result())
            except BrokenExecutor as error:
                raise RunError(
                    "A process of the sweep was killed (out of memory?). Run the same command again, with fewer "
                    "--jobs: it goes on from there."
                ) from error
            finally:
                for future in futures:
                    future.cancel()

    def _executor(self, jobs: int) -> FuturesExecutor | None:
        slot = self.base.get("executor")
        if jobs > 1:
            threads = max(1, (os.cpu_count() or 1) // jobs)
            return ProcessPoolExecutor(
                jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,)
            )
        built: FuturesExecutor | None = (
            registry.create("executor", slot["name"], **slot["params"]).build() if slot else None
        )
        return built

    def _arguments(self, trial: Trial) -> tuple[dict[str, Any], str, tuple[int, ...], str]:
        log.info("trial %d: %s", trial.number, _text(trial.values))
        missing = tuple(index for index in trial.folds if index not in trial.results)
        config = trial_config(self.configs[trial.number], self._path(trial))
        return config, str(self.folder / ".xai"), missing, self.file.value["metric"]

    def _record(self, trial: Trial, results: Mapping[int, dict[str, Any]]) -> None:
        trial.results.update(results)
        keys = self._keys(trial)
        record = {
            "trial": trial.number, "parameters": trial.values,
            "folds": {str(index): {**result, "key": keys[index]} for index, result in trial.results.items()},
        }  # fmt: skip
        write_text(self._path(trial) / "trial.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        failed = sum("error" in result for result in results.values())
        scores = [result["score"] for result in results.values() if result.get("score") is not None]
        shown = ", ".join(f"{score:.3f}" for score in scores) or "none"
        log.info("trial %d: validation %s %s%s", trial.number, self.file.value["metric"], shown,
                 f"; {failed} folds failed" if failed else "")  # fmt: skip

    def _tell(self, choices: Sequence[Choice]) -> None:
        for choice in choices:
            log.info("outer fold %d chooses trial %d: %s", choice.outer, choice.trial, _text(choice.values))


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in values.items())
