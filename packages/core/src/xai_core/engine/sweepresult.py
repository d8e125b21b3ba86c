"""What a sweep leaves: one run folder with the chosen networks, and the tables of the search."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .pipeline import Pipeline
from .progress import log
from .results import RunResults
from .runfolder import GROWING, RESOLVED, conflicts, differences, prepare_folder, saved_config
from .sweepchoice import Choice, Trial, best_single
from .tables import tsv
from .units import Units, write_text

__all__ = ["NOTE", "best_config", "save_choices", "save_trials", "test_chosen"]

NOTE = (
    "Validation scores of what was chosen by them: too good on average. Report the nested estimate; these only show by "
    "how much a score without an outer division would have flattered."
)


def best_config(choices: Sequence[Choice], configs: Mapping[int, Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Return the configuration of ``best``: that of the most-chosen trial, with ``per_fold`` where folds differ.

    Args:
        choices: What each outer fold chose.
        configs: Resolved configuration of each trial.
        folder: The sweep's folder.
    """
    votes = Counter(choice.trial for choice in choices)
    most = max(votes, key=lambda trial: (votes[trial], -trial))
    base = dict(configs[most]) | {"output": str(folder), "name": "best"}
    chosen = {index: configs[choice.trial] for choice in choices for index in choice.folds}
    entries = [_differing(base, chosen[index]) for index in sorted(chosen)]
    return base | {"per_fold": entries} if any(entries) else base


def _differing(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    entry = {key: config[key] for key in ("model", "training") if config[key] != base[key]}
    transforms = config["data"]["transforms"]
    if transforms != base["data"]["transforms"]:
        entry["data"] = {"transforms": transforms}
    return entry


def test_chosen(config: dict[str, Any], choices: Sequence[Choice], folder: Path) -> RunResults:
    """Put the chosen networks into one run folder and test each outer fold's once.

    Args:
        config: From ``best_config``.
        choices: What each outer fold chose.
        folder: The sweep's folder.
    """
    best = folder / "best"
    config = _beside_former(best, config)
    prepare_folder(config)
    _copy(folder / ".xai" / "scans.json", best / ".xai" / "scans.json")
    _copy(folder / ".xai" / "skipped.json", best / ".xai" / "skipped.json")
    for choice in choices:
        for index in choice.folds:
            _adopt(folder / "trials" / str(choice.trial), best, index)
    return Pipeline(config).run("train")


def _beside_former(best: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of ``best`` where there may be one already.

    More trials may choose otherwise; what was explained with the former choice is kept under another name. Where the
    choice is the same, ``best`` goes on with what it has been explained and analysed by since.
    """
    if not (best / RESOLVED).is_file() or not Units(best).any_done():
        return config
    former = saved_config(best)
    if not differences(former, config, lambda *_: False):
        return config | {key: former[key] for key in GROWING} if conflicts(best, config) else config
    number = 1
    while (aside := best.with_name(f"best-before-{number}")).exists():
        number += 1
    best.rename(aside)
    log.warning("the choice is another than before; the former one is kept in %s", aside)
    return config


def _adopt(trial: Path, best: Path, index: int) -> None:
    """Link a fold's network with the marks that say it is done; the run then has it to test only."""
    marks = [f".xai/units/fold-{index}/training.json", f".xai/units/validation/fold-{index}.json"]
    if all(_same(trial / mark, best / mark) for mark in marks):
        return
    for mark in marks:
        (best / mark).unlink(missing_ok=True)
    files = [path.relative_to(trial).as_posix() for path in (trial / f"fold-{index}").rglob("*") if path.is_file()]
    for name in [*sorted(files), f".xai/validation/fold-{index}.json", *marks]:  # the marks last, as Units does
        _copy(trial / name, best / name)


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def _copy(source: Path, target: Path) -> None:
    if not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    if target.parent.name.startswith("fold-") and target.name == "checkpoint.pt":
        try:
            temporary.hardlink_to(source)  # networks are large, and replaced as a whole but never written into
        except OSError:
            shutil.copy2(source, temporary)
    else:
        shutil.copy2(source, temporary)
    temporary.replace(target)


def save_trials(folder: Path, trials: Sequence[Trial], groups: Sequence[tuple[int, ...]]) -> None:
    """Write ``sweep.tsv``: a row for each trial and fold, with the validation score or what went wrong."""
    import pandas as pd

    outer = {index: number for number, group in enumerate(groups) for index in group}
    rows = []
    for trial in trials:
        for index, result in sorted(trial.results.items()):
            status = "failed" if "error" in result else "done" if result["score"] is not None else "not defined"
            about = {"trial": trial.number, **_cells(trial.values), "outer_fold": outer[index], "fold": index}
            rows.append(about | {
                "validation": result.get("score"), "status": status, "message": _one_line(result.get("error"))
            })  # fmt: skip
    write_text(folder / "sweep.tsv", tsv(pd.DataFrame(rows)))


def _cells(values: Mapping[str, Any]) -> dict[str, Any]:
    """A list or a text is written as JSON has it, so that "10" and 10 stay apart."""
    return {path: value if _is_number(value) else json.dumps(value) for path, value in values.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


def save_choices(
    folder: Path, trials: Sequence[Trial], choices: Sequence[Choice], metric: str, sign: int
) -> dict[str, Any]:
    """Write ``chosen.tsv`` and ``metrics.json`` and return the latter's content.

    Args:
        folder: The sweep's folder, whose ``best`` has been tested.
        trials: What was tried.
        choices: What each outer fold chose.
        metric: The score.
        sign: 1 where a greater score is better, else -1.
    """
    import pandas as pd

    tested = RunResults(folder / "best").metrics()
    groups = [choice.folds for choice in choices]
    chosen: list[dict[str, Any]] = [
        {
            "outer_fold": choice.outer, "folds": list(choice.folds), "trial": choice.trial,
            "parameters": dict(choice.values), "validation": choice.score, "tried": choice.tried,
            "ties": choice.ties, "test": _test_score(tested, choice, metric),
        }
        for choice in choices
    ]  # fmt: skip
    rows = [
        {
            **{key: value for key, value in row.items() if key != "parameters"},
            "folds": " ".join(map(str, row["folds"])), **_cells(row["parameters"]),
        }
        for row in chosen
    ]  # fmt: skip
    write_text(folder / "chosen.tsv", tsv(pd.DataFrame(rows)))
    found = {
        "metric": metric,
        "direction": "maximize" if sign > 0 else "minimize",
        "nested": tested["test"],
        "across_folds": tested["across_folds"],
        "chosen": chosen,
        "optimistic": {
            "note": NOTE,
            "chosen_validation": fmean(choice.score for choice in choices),
            "best_single": best_single(trials, groups, sign),
        },
    }
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(folder / "metrics.json", text)
    return found


def _test_score(tested: Mapping[str, Any], choice: Choice, metric: str) -> float | None:
    scores = [tested["folds"][index].get(metric, {}).get("value") for index in choice.folds]
    return None if None in scores else fmean(scores)
