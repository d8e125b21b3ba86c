"""The combinations of a sweep as resolved configurations, every one checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ..config.overrides import parse_set
from ..config.resolve import resolve
from ..errors import ConfigError, InputError, PluginError
from .hooks import Hooks
from .pipeline import Pipeline
from .scoring import scores_of
from .sweepfile import SweepFile
from .sweepspace import check_optuna, corners, drawn, grid

if TYPE_CHECKING:
    from .study import Study

__all__ = ["check_study", "combination", "combinations"]

Values = dict[str, Any]


def combinations(sweep: SweepFile) -> list[tuple[Values, dict[str, Any]]]:
    """Return every combination with its configuration; for Optuna those that hold every value and end of a range.

    Raises:
        ConfigError: Every problem of the sweep's file, of the pipeline and of any combination.
        InputError: A component refuses its parameters, or Optuna is not installed.
        PluginError: A component or a hook plugin is broken.
    """
    problems, broken, found = list(sweep.problems), [], []
    if sweep.value.get("search") == "optuna":
        check_optuna()
    for values in _planned(sweep):
        try:
            found.append((values, combination(sweep, values)))
        except ConfigError as error:
            problems += error.problems
        except InputError as error:
            problems.append(f"{sweep.source.name}: with {_text(values)}: {error}")
        except PluginError as error:
            broken.append(error)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    if broken:
        raise broken[0]
    return found


def _planned(sweep: SweepFile) -> list[Values]:
    """In a file with problems each value is still checked once."""
    if sweep.problems or sweep.value["search"] == "optuna":
        return corners(sweep.parameters) or [{}]
    return grid(sweep.parameters) if sweep.value["search"] == "grid" else drawn(sweep)


def combination(sweep: SweepFile, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of one combination, checked against the components' schemas and constructors.

    Raises:
        ConfigError, InputError, PluginError: What is wrong with it.
    """
    lines = {parameter.path: parameter.line for parameter in sweep.parameters}
    changes = [
        (parse_set(f"{path}=0")[0], deepcopy(value), f"{lines[path]} ({path}: {value})")
        for path, value in values.items()
    ]
    config = resolve(sweep.pipeline, changes=changes).value
    if "per_fold" in config:
        raise ConfigError(f"{sweep.pipeline}: per_fold is what a sweep writes. Leave it out of a pipeline to be swept.")
    hooks = Hooks()
    hooks.call("xai_config_resolved", config=config)
    Pipeline(config, hooks).validate_components()
    return config


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{path}: {value}" for path, value in values.items()) or "the pipeline as it is"


def check_study(study: Study, sweep: SweepFile) -> None:
    """Refuse a study whose validation parts cannot give the score, before anything is trained.

    The trainer scores made-up predictions, each of them right: a score that is not defined for these never is.

    Raises:
        InputError: Folds without validation part, or without a class that the score needs.
        ConfigError: The trainer has no such score.
    """
    import pandas as pd

    without = [str(index) for index, fold in enumerate(study.folds) if not fold.val]
    if without:
        raise InputError(
            f"The splitter {study.config['split']['name']} gives no validation part in fold {', '.join(without[:8])}: "
            "parameters are chosen on validation people. Set validation in split.params, or use nested-kfold."
        )
    tables = [study.with_covariates(pd.DataFrame(_all_right(study, index))) for index in range(len(study.folds))]
    metric = sweep.value["metric"]
    undefined = []
    for index, scores in enumerate(scores_of(study, tables)):
        known = [name for name, score in scores.items() if isinstance(score, Mapping) and "value" in score]
        if metric not in known:
            raise ConfigError(_no_metric(metric, known, sweep, study))
        if scores[metric]["value"] is None:
            undefined.append(str(index))
    if undefined:
        raise InputError(
            f"{metric} is not defined for the validation people of fold {', '.join(undefined[:8])}: too few of them, "
            "or a class is lacking. Give a larger validation part in split.params, or another metric."
        )


def _no_metric(metric: str, known: Sequence[str], sweep: SweepFile, study: Study) -> str:
    from ..schemas import did_you_mean

    return (
        f"{sweep.source.name}: metric: the trainer {study.config['training']['name']} has no score {metric!r}."
        f"{did_you_mean(metric, known)} It has: {', '.join(known)}."
    )


def _all_right(study: Study, index: int) -> list[dict[str, Any]]:
    rows = []
    for scan in study.part(study.folds[index].val):
        subject = study.subjects[scan]
        row = {"fold": index, "scan_id": study.names[scan], "subject_id": str(subject["subject_id"])}
        row |= {"session_id": subject.get("session_id"), "site": subject.get("site")}
        row |= {"target": subject["target"], "prediction": subject["target"]}
        for name in study.classes or ():
            sure = 0.9 if name == subject["target"] else 0.1 / (len(study.classes or ()) - 1)
            row[f"probability_{name}"] = sure
        rows.append(row)
    return rows
