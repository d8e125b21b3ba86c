"""Finished runs joined into an ensemble: other seeds, other images or other models of the same people and folds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..config.strictyaml import dump
from ..errors import InputError
from ..types import Task
from .derivative import describe_derivative
from .ensemblefiles import Combine
from .ensemblemaps import check_maps, common_explainers, map_ensemble
from .ensemblemembers import Member, members_of
from .ensemblevote import agreement_table, vote
from .hooks import Hooks
from .progress import log, log_to
from .repeats import averaged, is_repeated, repeats_of
from .results import ENSEMBLE, RunResults
from .runfolder import RESOLVED, run_lock
from .scoring import across_folds, save_metrics, save_tables, scores_of
from .stages import analyse, report
from .tables import tsv
from .units import Units, content_key, write_text
from .versions import slot_identity, software_versions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Combine", "join_runs"]


@dataclass(frozen=True)
class _Joined:
    """An ensemble as scores, analyses and reports see it: a study.

    Attributes:
        config: The first member's configuration, with the ensemble's name and the explainers that all have.
        folder: The ensemble's folder.
        task: Of all members.
        classes: Of all members.
        members: The runs.
        combine: How they vote.
    """

    config: Mapping[str, Any]
    folder: Path
    task: Task
    classes: Sequence[str] | None
    members: Sequence[Member]
    combine: Combine


def join_runs(
    runs: Sequence[str | Path], output: str | Path, combine: Combine | None = None, *, reports: bool = True
) -> RunResults:
    """Join finished runs into an ensemble, a folder that reads like a run's.

    ``predictions.tsv`` holds the members' common vote for every test scan, ``members.tsv`` what each of them said and
    ``agreement.tsv`` how far they agree; scores come from the first member's trainer. Where the members have relevance
    maps, ``derivatives`` holds their mean, median, standard deviation and agreement of sign. The idea of voting over
    folds and kinds of images, and of explaining the vote, is that of Hofmann et al. 2022 (multi-level ensembles).

    Args:
        runs: Two or more folders of runs. All test the same scans in the same folds.
        output: The ensemble's folder; one of the same members and the same vote is brought up to date.
        combine: How they vote; default: the unweighted mean.
        reports: Carry out the first member's analyses and write its reports, too.

    Raises:
        InputError: The runs cannot be joined (all reasons are told), or the folder holds something else.
    """
    combine, folder = combine or Combine(), Path(output)
    combine.check(len(runs))
    members = members_of([Path(run) for run in runs])
    explainers = common_explainers(members)
    check_maps(members, explainers)
    joined = _joined(members, explainers, folder, combine)
    _prepare(joined)
    with run_lock(folder), log_to(folder / "log.txt"):
        log.info("ensemble of %s in %s", ", ".join(member.name for member in members), folder)
        units = Units(folder)
        units.clear_scratch()
        _describe(joined)
        predictions = _predictions(joined)
        _score(joined, units, predictions)
        _held_out(joined, units)
        again = map_ensemble(members, predictions, explainers, combine, units, repeated=is_repeated(members[0].folds))
        if again:
            log.info("%d maps of members were made anew: they explained another class than the ensemble's", again)
        _describe_maps(joined)
        if reports:
            analyse(joined, units, Hooks())
            report(joined, units, Hooks())
    return RunResults(folder)


def _joined(members: Sequence[Member], explainers: Sequence[str], folder: Path, combine: Combine) -> _Joined:
    first = members[0]
    config = {
        **first.config,
        "name": folder.absolute().name,
        "output": str(folder.absolute().parent),
        "explainers": [slot for slot in first.config["explainers"] if slot["id"] in explainers],
        "evaluators": [],  # they need one network; an ensemble's map belongs to several
    }
    return _Joined(config, folder, first.results.task, first.results.classes, members, combine)


def _about(joined: _Joined) -> dict[str, Any]:
    members = [
        {
            "name": member.name,
            "folder": str(member.results.folder.absolute()),
            "seed": member.config["seed"],
            "model": member.config["model"],
            "data": member.config["data"]["name"],
        }
        for member in joined.members
    ]
    return {**joined.combine.as_json(), "members": members}


def _prepare(joined: _Joined) -> None:
    """Make the folder, or accept that of the same ensemble.

    Raises:
        InputError: Something else is there, or it cannot be written.
    """
    folder, text = joined.folder, json.dumps(_about(joined), indent=2, ensure_ascii=False) + "\n"
    marker = folder / ENSEMBLE
    if marker.is_file() and marker.read_text(encoding="utf-8") != text:
        raise InputError(f"{folder} holds an ensemble of other members or another vote. Give another --output.")
    if not marker.is_file() and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is no ensemble. Give another --output, or remove it first.")
    try:
        write_text(marker, text)
        write_text(folder / RESOLVED, dump(dict(joined.config)))
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}. Choose another --output.") from error


def _describe(joined: _Joined) -> None:
    """Write ``subjects.tsv``, ``splits.tsv`` and ``run.json``; the first member's scans stand for the others'."""
    first = joined.members[0].results
    infos = [member.results.info for member in joined.members]
    # Members of other images have other hashes and channels: none of them is the ensemble's.
    unknown: dict[str, Any] = {"hashes": {}, "voxel_hashes": {}, "channels": None}
    unknown = {key: none for key, none in unknown.items() if any(info.get(key) != infos[0].get(key) for info in infos)}
    info = {
        **infos[0],
        "name": joined.config["name"],
        "versions": software_versions(),
        **unknown,
        "ensemble": [member.name for member in joined.members],
    }
    write_text(joined.folder / "run.json", json.dumps(info, indent=2, ensure_ascii=False) + "\n")
    for name in ("subjects.tsv", "splits.tsv"):
        write_text(joined.folder / name, (first.folder / name).read_text(encoding="utf-8"))


def _predictions(joined: _Joined) -> pd.DataFrame:
    """Write and return the vote for every test scan; also what each member said, and how far they agree."""
    keys = ["fold", "scan_id"]
    rows = _rows(joined, [member.predictions for member in joined.members])
    voted = vote(rows, joined.classes, by=keys, how=joined.combine.how, weights=joined.combine.weights)
    write_text(joined.folder / "members.tsv", tsv(rows))
    write_text(joined.folder / "agreement.tsv", tsv(agreement_table(rows, voted, joined.classes, keys)))
    write_text(joined.folder / "predictions.tsv", tsv(voted))
    return voted


def _rows(joined: _Joined, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the members' rows with their names, in columns that all of them have."""
    import pandas as pd

    shared = [name for name in tables[0] if all(name in table for table in tables)]
    named = [
        table[shared].assign(member=member.name)[["member", *shared]]
        for member, table in zip(joined.members, tables, strict=True)
    ]
    return pd.concat(named, ignore_index=True)


def _with_covariates(joined: _Joined, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the covariates of their scans, as the table of the first member has them."""
    subjects = joined.members[0].results.subjects()
    files = ("image", "ground_truth", "mask", "map_")
    names = [name for name in subjects if name not in predictions and not str(name).startswith(files)]
    return predictions.merge(subjects[["scan_id", *names]], on="scan_id", how="left", validate="m:1")


def _score(joined: _Joined, units: Units, predictions: pd.DataFrame) -> None:
    described, folds = _with_covariates(joined, predictions), joined.members[0].folds
    of_members = {member.name: member.results.metrics().get("test") for member in joined.members}
    key = _score_key(joined, described, members=of_members)
    if units.is_done("metrics", key):
        return
    with units.make("metrics", key, ".") as temporary:
        together = repeats_of(described)
        parts = [described[described["fold"] == index] for index in range(len(folds))]
        scores = scores_of(joined, [*together, *parts])
        repeats, of_folds = scores[: len(together)], scores[len(together) :]
        ratio = fmean(len(fold.test) / len(fold.train) for fold in folds)
        metrics = {"test": averaged(repeats), "folds": of_folds, "across_folds": across_folds(of_folds, ratio)}
        metrics |= {"repeats": repeats} if is_repeated(folds) else {}
        save_metrics(temporary, {**metrics, "members": of_members}, "all")
        save_tables(joined, temporary, together)


def _score_key(joined: _Joined, described: pd.DataFrame, **more: Any) -> str:
    identity = slot_identity("trainer", joined.config["training"])
    return content_key(
        table=tsv(described), classes=joined.classes, trainer=identity, seed=joined.config["seed"], **more
    )


def _held_out(joined: _Joined, units: Units) -> None:
    """Score the cohort that is only tested: for each fold its members vote, and for the whole all networks do."""
    runs = [member.results for member in joined.members]
    if not all(run.has_held_out() for run in runs):
        return
    rows = _rows(joined, [run.held_out_predictions().sort_values(["fold", "scan_id"]) for run in runs])
    weights, how = joined.combine.weights, joined.combine.how
    count = rows["fold"].nunique()
    of_all = None if weights is None else [weight for weight in weights for _ in range(count)]
    of_folds = vote(rows, joined.classes, by=["fold", "scan_id"], how=how, weights=weights)
    ensemble = vote(rows, joined.classes, by=["scan_id"], how=how, weights=of_all)
    described, merged = _with_covariates(joined, of_folds), _with_covariates(joined, ensemble)
    key = _score_key(joined, described, ensemble=tsv(merged))
    if units.is_done("held-out/metrics", key):
        return
    agreement = agreement_table(rows, ensemble, joined.classes, ["scan_id"])
    with units.make("held-out/metrics", key, "held-out") as folder:
        tables = {"predictions": of_folds, "ensemble": ensemble, "members": rows, "agreement": agreement}
        for name, table in tables.items():
            (folder / f"{name}.tsv").write_text(tsv(table), encoding="utf-8", newline="")
        parts = [described[described["fold"] == index] for index in sorted(described["fold"].unique())]
        together, *folds = scores_of(joined, [merged, *parts])
        save_metrics(
            folder, {"ensemble": together, "folds": folds, "across_folds": across_folds(folds, None)}, "ensemble"
        )
        save_tables(joined, folder, [merged])


def _describe_maps(joined: _Joined) -> None:
    if not joined.config["explainers"]:
        return
    description = {
        "Name": f"Relevance maps of the ensemble {joined.config['name']}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "xai-core", "Version": software_versions()["xai-core"]}],
        "SourceDatasets": [{"URL": member.results.folder.absolute().as_uri()} for member in joined.members],
    }
    describe_derivative(joined.folder / "derivatives", description)
