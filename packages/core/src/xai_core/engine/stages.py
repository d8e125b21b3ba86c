"""The stages of a run, each made of units that are skipped where they are done."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor as FuturesExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import registry
from ..errors import PluginError
from .calls import at_work
from .cohort import evaluation_rows, explain_fold
from .controls import check_controls
from .covariates import check_transforms
from .derivative import describe_derivative
from .folds import FoldModel, pick_device, predict, rows_identity, train_fold, training_key
from .hooks import Hooks
from .leftout import write_left_out
from .mapwarnings import warn_of_maps
from .paramfiles import path_hash
from .progress import log, log_to
from .results import RunResults
from .seeding import seeded, unit_seed
from .skipping import skipped_rows
from .study import Study, part_of
from .tables import tsv
from .units import Units, content_key, write_text
from .validation import check_validation, predict_validation
from .versions import component_versions, slot_identity, software_versions

if TYPE_CHECKING:
    from ..interfaces import Trainer
    from .facts import StudyFacts

__all__ = [
    "analyse", "finish_explanations", "report", "run_folds", "save_study",
]  # fmt: skip


def save_study(study: Study, folder: Path) -> None:
    """Check scans and folds, and write ``subjects.tsv``, ``splits.tsv`` and ``run.json``."""
    import pandas as pd

    _check_trainer(study)
    check_transforms(study)
    _check_analyses(study)
    splits = [
        {"fold": index, "repeat": fold.repeat, "part": part, "subject_id": person}
        for index, fold in enumerate(study.folds)
        for part in ("train", "val", "test", "held_out")
        for person in part_of(fold, part)
    ]
    info = {
        "name": study.config["name"],
        "task": study.task,
        "classes": study.classes,
        "channels": study.dataset.channel_names,
        "people": int(study.table["subject_id"].nunique()),
        "scans": len(study.names),
        "folds": len(study.folds),
        "seed": study.config["seed"],
        "device": pick_device(study.config["device"]).type,
        "versions": software_versions(),
        "components": component_versions(study.config),
        "inputs": [str(path) for path in study.dataset.inputs()],
        "hashes": study.hashes,
        "skipped": study.skipped,
        "voxel_hashes": {look.name: look.voxels for look in study.looks},
    }
    write_text(folder / "subjects.tsv", tsv(study.table))
    write_left_out(folder, [*study.dataset.left_out(), *skipped_rows(study)])
    write_text(folder / "splits.tsv", tsv(pd.DataFrame(splits)))
    write_text(folder / "run.json", json.dumps(info, indent=2, ensure_ascii=False) + "\n")


def _check_trainer(study: Study) -> None:
    """Let the trainer refuse the study before anything is trained."""
    slot = study.config["training"]
    trainer: Trainer = registry.create("trainer", slot["name"], **slot["params"])
    with at_work("trainer", slot["name"], "checking the study"):
        trainer.check_study(study.table, study.task, study.classes)
        check_validation(study, trainer)


def _check_analyses(study: Study) -> None:
    """Let each analysis refuse the study now, not after days of training."""
    for slot in study.config["analyses"]:
        analysis = registry.create("analysis", slot["name"], **slot["params"])
        with at_work("analysis", slot["name"], "checking the study"):
            analysis.check_study(study.table, study.task, study.classes)


def run_folds(study: Study, units: Units, hooks: Hooks, *, explain: bool) -> None:
    """Train, predict and explain every fold, in this process or by the configured executor."""
    slot = study.config.get("executor")
    if not slot:
        for index in range(len(study.folds)):
            _run_fold(study, units, hooks, index, explain=explain)
        return
    executor: FuturesExecutor = registry.create("executor", slot["name"], **slot["params"]).build()
    with executor:
        futures = [
            executor.submit(fold_job, dict(study.config), str(study.folder), index, explain)
            for index in range(len(study.folds))
        ]
        for future in futures:
            future.result()


def fold_job(config: dict[str, Any], folder: str, index: int, explain: bool) -> None:
    """Do one fold in another process: everything it needs follows from the arguments."""
    path = Path(folder)
    with log_to(path / "log.txt"):
        _run_fold(Study(config, path), Units(path), Hooks(), index, explain=explain)


def _run_fold(study: Study, units: Units, hooks: Hooks, index: int, *, explain: bool) -> None:
    check_controls(study, index)
    train_fold(study, units, hooks, index)

    @cache
    def load() -> FoldModel:
        return FoldModel.load(study.config, study.folder, index, study.classes)

    _predict_fold(study, units, index, load)
    predict_validation(study, units, index, load)
    if explain:
        explain_fold(study, units, hooks, index, load)


def _predict_fold(study: Study, units: Units, index: int, load: Callable[[], FoldModel]) -> None:
    fold = study.folds[index]
    test = study.part(fold.test)
    key = content_key(training=training_key(study, fold), scans=rows_identity(study, index, test))
    name = f"fold-{index}/predictions"
    if units.is_done(name, key):
        return
    with units.make(name, key, ".xai/predictions") as temporary, seeded(0):
        rows = predict(study, load(), test)
        (temporary / f"fold-{index}.json").write_text(json.dumps(rows), encoding="utf-8")


def finish_explanations(study: Study, folder: Path) -> None:
    """Write the description of the BIDS derivative and the tables of the evaluators."""
    import pandas as pd

    if study.config["explainers"]:
        components = component_versions(study.config)
        description = {
            "Name": f"Relevance maps of {study.config['name']}",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": "xai-core", "Version": software_versions()["xai-core"]},
                *({"Name": package.split()[0], "Version": package.split()[1], "Description": name}
                  for name, package in components.items() if name.startswith("explainer ")),
            ],
        }  # fmt: skip
        describe_derivative(folder / "derivatives", description)
    warn_of_maps(RunResults(folder), [slot["id"] for slot in study.config["explainers"]])
    for evaluator in study.config["evaluators"]:
        rows = evaluation_rows(study, folder, evaluator)
        write_text(folder / "evaluation" / f"{evaluator['id']}.tsv", tsv(pd.DataFrame(rows)))


def analyse(study: StudyFacts, units: Units, hooks: Hooks) -> None:
    """Carry out every analysis that is not done already."""
    for slot in study.config["analyses"]:
        name = f"analysis/{slot['id']}"
        results, analysis = RunResults(study.folder), registry.create("analysis", slot["name"], **slot["params"])
        with at_work("analysis", slot["name"], "naming its files"):
            files = {str(path): path_hash(path) for path in analysis.inputs(results)}
        identity = slot_identity("analysis", slot)
        key = content_key(results=_results_key(study), slot=identity, **({"files": files} if files else {}))
        if units.is_done(name, key):
            log.info("analysis %s is done already", slot["id"])
            continue
        log.info("analysis %s", slot["id"])
        seed, at = unit_seed(study.config["seed"], name), at_work("analysis", slot["name"], "analysing the run")
        with _former(units, name, name), units.make(name, key, name) as folder, seeded(seed), at:
            analysis.analyse(results, folder)
        hooks.call("xai_analysis_finished", analysis=slot["id"], folder=study.folder / name)


@contextmanager
def _former(units: Units, name: str, target: str) -> Iterator[None]:
    """Say what is in a folder when the unit that should replace its content fails."""
    try:
        yield
    except Exception:
        group, _, one = name.partition("/")
        if units.has_files(group, lambda known: known == one):
            log.warning("%s holds what was made before the run or its configuration changed.", units.folder / target)
        raise


def report(study: StudyFacts, units: Units, hooks: Hooks) -> None:
    """Write every report that is not up to date."""
    slots: Sequence[Mapping[str, Any]] = study.config["reports"]
    for position, slot in enumerate(slots):
        # The first report is the run's page; further ones lie beside it under their ids.
        target = "report" if position == 0 else f"report-{slot['id']}"
        known = _results_key(study, besides={"report"})
        key = content_key(results=known, slot=slot_identity("report", slot), config=study.config)
        name = f"report/{slot['id']}"
        memory = study.folder / ".xai" / "reports" / f"{slot['id']}.txt"
        if not (units.is_done(name, key) and memory.is_file()):
            log.info("report %s", slot["id"])
            seed = unit_seed(study.config["seed"], name)
            with _former(units, name, target), units.make(name, key, target) as folder, seeded(seed):
                component = registry.create("report", slot["name"], **slot["params"])
                with at_work("report", slot["name"], "writing its files"):
                    page = Path(component.write(RunResults(study.folder), folder))
                if not (page.is_relative_to(folder) and page.is_file()):
                    raise PluginError(f"The report {slot['name']} returned {page}, which is no file in its folder.")
                write_text(memory, (Path(target) / page.relative_to(folder)).as_posix())
            hooks.call(
                "xai_report_written",
                report=slot["id"],
                page=study.folder / memory.read_text(encoding="utf-8"),
            )


def _results_key(study: StudyFacts, besides: Collection[str] = ("analysis", "report", "quality.json")) -> str:
    """Key over all that an analysis or a report can read: the keys of every unit but ``besides``, and the tables."""
    markers = sorted((study.folder / ".xai" / "units").rglob("*.json"))
    keys = [
        [str(path.relative_to(study.folder)), json.loads(path.read_text(encoding="utf-8"))["key"]]
        for path in markers
        if path.relative_to(study.folder / ".xai" / "units").parts[0] not in besides
    ]
    tables = [(study.folder / name).read_text(encoding="utf-8") for name in ("subjects.tsv", "splits.tsv")]
    return content_key(units=keys, tables=tables)
