"""The tested scans of a run with everything that is related: relevance, variables, covariates, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._features import Features, gather_features, registrations
from .._groups import chosen_explainers
from .._hints import target_hint
from .._people import session_order, tested_people
from .._relevance import region_table
from .._statistics import Covariate
from .variables import Variable, Vocabulary, covariates_of, feature_variables, named_variables

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .._atlases import Atlas
    from ..region_features import RegionFeatures

__all__ = ["EVERYBODY", "Cohort", "LeftOut", "first_visits", "gathered", "wanted_variables"]

Array = npt.NDArray[np.float64]
EVERYBODY = "all"


class LeftOut:
    """Who and what is not in the result, and why."""

    COLUMNS = ("what", "scan_id", "explainer", "group", "region", "feature", "method", "reason")

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def add(self, what: str, reason: str, **about: Any) -> None:
        """Record one: ``what`` is a scan, a feature, a region or a test."""
        self._rows.append({"what": what, "reason": reason, **about})

    def table(self) -> pd.DataFrame:
        """Return one row for each, each once."""
        return pd.DataFrame(self._rows, columns=list(self.COLUMNS)).drop_duplicates(ignore_index=True)


@dataclass(frozen=True, eq=False)
class Cohort:
    """N tested scans.

    Attributes:
        scans: One row for each: ``scan_id``, ``subject_id``, ``session_id``, columns of the study and its predictions.
        atlas: R regions.
        relevance: [N, R] by explainer: the measure, averaged over the folds that tested the scan; NaN where a region
            is empty.
        variables: What it is related to.
        covariates: What is adjusted for.
        adjusting: Their values, one row for each scan.
        groups: bool [N] by name: everybody, and the groups of ``by``.
        counts: bool [N], the visit of each person that counts outside of mixed models.
        complete: bool [N], scans whose covariates are all known.
        features: What the sources say.
        folds: The most maps of one scan that were averaged.
    """

    scans: pd.DataFrame
    atlas: Atlas
    relevance: Mapping[str, Array]
    variables: Sequence[Variable]
    covariates: Sequence[Covariate]
    adjusting: pd.DataFrame
    groups: Mapping[str, npt.NDArray[np.bool_]]
    counts: npt.NDArray[np.bool_]
    complete: npt.NDArray[np.bool_]
    features: Features
    folds: int


def gathered(run: RunResults, atlas: Atlas, options: RegionFeatures, left_out: LeftOut) -> Cohort:
    """Bring together everything that is known of the tested scans.

    Raises:
        InputError: A column, an explainer, a measure or a file does not exist, or cannot be used.
    """
    explainers = chosen_explainers(run, options.explainers)
    scans, folds = _one_row_each(tested_people(run))
    features = gather_features(options.features, scans, atlas, to_mni=registrations(run))
    for row in features.left_out.to_dict("records"):
        left_out.add("scan", f"{row['source']}: {row['reason']}", scan_id=row["scan_id"])
    vocabulary = Vocabulary(scans, features)
    covariates = covariates_of(options.covariates)
    if folds > 1 and "fold" in [one.column for one in covariates]:
        raise InputError(
            f"covariates: {run.folder} tests a scan in {folds} folds, whose maps are averaged, so a scan has no fold "
            "of its own. Leave fold out."
        )
    vocabulary.check([one.column for one in covariates], "covariates")
    adjusting = pd.DataFrame({one.column: vocabulary.column(one.column, "covariates") for one in covariates})
    adjusting.index = scans.index
    complete = adjusting.notna().all(axis=1).to_numpy() if covariates else np.ones(len(scans), dtype=bool)
    for place in np.flatnonzero(~complete):
        lacking = ", ".join(name for name in map(str, adjusting.columns) if pd.isna(adjusting[name].iloc[place]))
        left_out.add("scan", f"has no {lacking}, which is adjusted for", scan_id=scans["scan_id"].iloc[place])
    counts = first_visits(scans, complete, last=options.visits == "last")
    variables = feature_variables(features, scans["scan_id"].tolist())
    variables += named_variables(wanted_variables(options), vocabulary, run.classes)
    relevance = _relevance(run, atlas, explainers, options, scans, left_out)
    groups = _groups(scans, options.by, run, left_out)
    return Cohort(
        scans, atlas, relevance, variables, covariates, adjusting, groups, counts, complete, features, folds
    )  # fmt: skip


def wanted_variables(options: RegionFeatures) -> list[str]:
    """Return the names of the parameter ``variables``, or what stands for null."""
    if options.variables is not None:
        return list(options.variables)
    if options.features:
        return []
    return list(dict.fromkeys(["target", *(one.column for one in covariates_of(options.covariates))]))


def first_visits(scans: pd.DataFrame, usable: npt.NDArray[np.bool_], *, last: bool) -> npt.NDArray[np.bool_]:
    """Return bool [N]: one usable scan of each person, the first or last by ``session_order``."""
    keys = [session_order(session) for session in scans["session_id"]]
    chosen: dict[str, int] = {}
    for place in sorted(np.flatnonzero(usable).tolist(), key=lambda place: (keys[place], place), reverse=last):
        chosen.setdefault(str(scans["subject_id"].iloc[place]), place)
    counts = np.zeros(len(scans), dtype=bool)
    counts[list(chosen.values())] = True
    return counts


def _one_row_each(tested: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return one row for each scan: numbers averaged over the folds that tested it, other columns where all agree."""
    if "session_id" not in tested:
        tested = tested.assign(session_id=None)
    folds = int(tested.groupby("scan_id").size().max())
    if folds == 1:
        return tested.reset_index(drop=True), 1
    grouped = tested.groupby("scan_id", sort=False)
    columns = {}
    for name in tested.columns.drop("scan_id"):
        numeric = pd.api.types.is_numeric_dtype(tested[name]) and not pd.api.types.is_bool_dtype(tested[name])
        columns[name] = grouped[name].mean() if numeric else grouped[name].agg(_agreed)
    return pd.DataFrame(columns).reset_index(), folds


def _agreed(values: pd.Series[Any]) -> Any:
    return values.iloc[0] if values.nunique(dropna=False) == 1 else None


def _relevance(
    run: RunResults,
    atlas: Atlas,
    explainers: Sequence[str],
    options: RegionFeatures,
    scans: pd.DataFrame,
    left_out: LeftOut,
) -> dict[str, Array]:
    table = region_table(
        run, atlas, explainers, space=options.space, assign=options.assign, channel=options.channel,
        missing=options.missing, mismatch=options.mismatch,
    )  # fmt: skip
    known = [str(name) for name in table.select_dtypes("number").columns if name not in ("fold", "index")]
    if options.measure not in known:
        raise InputError(
            f"measure: region-table has no column of numbers {options.measure!r}."
            f"{did_you_mean(options.measure, known)} There are: {', '.join(known)}."
        )
    names = [region.name for region in atlas.regions]
    found = {}
    for explainer in explainers:
        mine = table[(table["explainer"] == explainer) & (table["index"] != 0)]
        wide = mine.pivot_table(
            index="scan_id", columns="region", values=options.measure, aggfunc="mean", dropna=False, observed=False
        )
        values = wide.reindex(index=scans["scan_id"], columns=names).to_numpy(dtype=np.float64)
        found[explainer] = np.where(np.isfinite(values), values, np.nan)
        for place in np.flatnonzero(np.isnan(found[explainer]).all(axis=0)):
            left_out.add("region", f"has no {options.measure} of any scan", explainer=explainer, region=names[place])
        for place in np.flatnonzero(np.isnan(found[explainer]).all(axis=1)):
            left_out.add("scan", "has no relevance", explainer=explainer, scan_id=scans["scan_id"].iloc[place])
    return found


def _groups(
    scans: pd.DataFrame, by: str | None, run: RunResults, left_out: LeftOut
) -> dict[str, npt.NDArray[np.bool_]]:
    groups = {EVERYBODY: np.ones(len(scans), dtype=bool)}
    if by is None:
        return groups
    if by not in scans.columns:
        known = list(map(str, scans.columns))
        raise InputError(
            f"by: the study has no column {by!r}.{did_you_mean(by, known)}{target_hint(known)} "
            f"There are: {', '.join(known)}."
        )
    values = scans[by]
    for scan in scans.loc[values.isna(), "scan_id"]:
        left_out.add("scan", f"has no {by}, so it is in no group of it", scan_id=scan)
    names = sorted({str(value) for value in values.dropna()})
    if run.classes is not None and set(names) <= set(run.classes):
        names = [name for name in run.classes if name in names]
    if len(names) > 20:
        raise InputError(f"by: the column {by!r} has {len(names)} different values; at most 20 groups are analysed.")
    if EVERYBODY in names:
        raise InputError(f"by: a group of {by!r} is called {EVERYBODY!r}, as everybody together is. Call it otherwise.")
    return groups | {name: (values.astype(str) == name).to_numpy() & values.notna().to_numpy() for name in names}
