"""w-scores of the tested people, by models of each fold's own training controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xai_core import InputError

from .._statistics import Covariate
from .coding import Coding
from .gather import Feature, LeftOut, Scans
from .model import NormModel, fit

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["FoldModels", "fold_models", "w_scores"]


@dataclass(frozen=True)
class FoldModels:
    """What the controls of one fold's training part say.

    Attributes:
        fold: Its index.
        coding: Of the covariates.
        models: By feature; one that could not be fitted is missing.
        controls: Scans that went in (of some features fewer had a value: see ``NormModel.n``).
    """

    fold: int
    coding: Coding
    models: dict[Feature, NormModel]
    controls: tuple[str, ...]


def fold_models(
    run: RunResults,
    scans: Scans,
    controls: Sequence[str] | None,
    covariates: Sequence[Covariate],
    least: int,
    left_out: LeftOut,
) -> list[FoldModels]:
    """Fit every feature in every fold that tested somebody; nobody but the fold's training people is looked at.

    Args:
        run: Whose splits are used.
        scans: Covariates and features.
        controls: Classes; None: everybody.
        covariates: Of the models.
        least: Controls that a model needs; with fewer there is none.
        left_out: Takes who and what does not enter.

    Raises:
        InputError: No model can be fitted: the reasons are told.
    """
    splits = run.splits()
    tested = sorted(int(fold) for fold in run.predictions()["fold"].unique())
    found = []
    for fold in tested:
        part = splits[(splits["fold"] == fold) & (splits["part"] == "train")]
        mine = scans.first_visits(set(part["subject_id"].astype(str)))
        if controls is not None:
            mine = mine[mine["target"].isin(list(controls))]
        mine = _complete(mine, covariates, fold, left_out)
        if len(mine) < max(least, 2):
            who = "people" if controls is None else f"controls ({', '.join(controls)})"
            reason = f"{len(mine)} {who} in the training part; {max(least, 2)} are needed (minimum_controls)"
            left_out.add("model", reason, fold=fold)
            continue
        coding = Coding.of(mine, covariates, f"the {len(mine)} controls of fold {fold}'s training part")
        models = _fitted(mine, coding, scans, least, fold, left_out)
        found.append(FoldModels(fold, coding, models, tuple(mine["scan_id"])))
    if not any(each.models for each in found):
        reasons = left_out.table().query("what == 'model'")["reason"].value_counts()
        shown = "; ".join(f"{reason} ({count} times)" for reason, count in reasons.head(5).items())
        raise InputError(
            f"normative-scores: no model of the controls can be fitted in {run.folder}: {shown}. Give more training "
            "people, fewer 'covariates', or features of the people that the network was trained on, too."
        )
    return found


def w_scores(run: RunResults, scans: Scans, models: Sequence[FoldModels], left_out: LeftOut) -> pd.DataFrame:
    """Return the scores of every tested scan in each fold that tested it.

    Columns: ``scan_id``, ``fold``, ``region``, ``feature``, ``source``, ``unit``, ``observed``, ``expected``, ``w``,
    ``t``, ``p``, ``controls_fitted`` (whom the model was fitted on), ``df``, ``outside_range``.
    """
    predictions = run.predictions()
    parts = []
    for each in models:
        names = set(predictions.loc[predictions["fold"] == each.fold, "scan_id"])
        tested = scans.people[scans.people["scan_id"].isin(names)]
        rows: list[dict[str, Any]] = [
            {str(name): value for name, value in row.items()} for row in tested.to_dict("records")
        ]
        gaps = [each.coding.gap(row) for row in rows]
        for row, gap in zip(rows, gaps, strict=True):
            if gap:
                left_out.add("tested scan", gap, fold=each.fold, scan_id=row["scan_id"], subject_id=row["subject_id"])
        kept = [gap is None for gap in gaps]
        tested = tested[kept]
        if len(tested):
            outside = [each.coding.outside(row) for row, keep in zip(rows, kept, strict=True) if keep]
            parts += _of_fold(each, tested, outside, scans, left_out)
    if not parts:
        raise InputError(
            "normative-scores: no tested scan has the features and covariates that a score needs; left-out reasons: "
            + "; ".join(left_out.table()["reason"].value_counts().head(5).index)
        )
    return pd.concat(parts, ignore_index=True)


def _complete(mine: pd.DataFrame, covariates: Sequence[Covariate], fold: int, left_out: LeftOut) -> pd.DataFrame:
    names = [covariate.column for covariate in covariates]
    missing = mine[names].isna()
    for place in np.flatnonzero(missing.any(axis=1).to_numpy()):
        row = mine.iloc[place]
        lacking = ", ".join(name for name in names if missing.iloc[place][name])
        left_out.add("control", f"no {lacking}", fold=fold, subject_id=row["subject_id"], scan_id=row["scan_id"])
    return mine[~missing.any(axis=1)]


def _fitted(
    mine: pd.DataFrame, coding: Coding, scans: Scans, least: int, fold: int, left_out: LeftOut
) -> dict[Feature, NormModel]:
    design = coding.matrix(mine)
    models = {}
    for key, column in zip(scans.features, scans.values[mine.index].T, strict=True):
        about = {"fold": fold, "region": key.region, "feature": key.feature}
        there = np.isfinite(column)
        for place in np.flatnonzero(~there):
            row = mine.iloc[place]
            left_out.add("control", "no value", **about, subject_id=row["subject_id"], scan_id=row["scan_id"])
        count = int(there.sum())
        model: NormModel | str = f"{count} controls have a value; {least} are needed (minimum_controls)"
        if count >= least:
            model = fit(design[there], column[there])
        if isinstance(model, str):
            left_out.add("model", model, **about)
        else:
            models[key] = model
    return models


def _of_fold(
    each: FoldModels, tested: pd.DataFrame, outside: Sequence[str | None], scans: Scans, left_out: LeftOut
) -> list[pd.DataFrame]:
    design = each.coding.matrix(tested)
    parts = []
    for place, key in enumerate(scans.features):
        if key not in each.models:
            continue
        model, observed = each.models[key], scans.values[tested.index, place]
        there = np.isfinite(observed)
        about: dict[str, Any] = {"fold": each.fold, "region": key.region, "feature": key.feature}
        for row in tested[~there].itertuples():
            left_out.add("tested scan", "no value", **about, scan_id=row.scan_id, subject_id=row.subject_id)
        found = model.scores(design[there], observed[there])
        columns = {
            "scan_id": tested["scan_id"].to_numpy()[there], "fold": each.fold, "region": key.region,
            "feature": key.feature, "source": scans.sources[place], "unit": scans.units[place],
            "observed": observed[there], "expected": found.expected, "w": found.w, "t": found.t, "p": found.p,
            "controls_fitted": model.n,
            "df": model.df, "outside_range": np.asarray(outside, dtype=object)[there],
        }  # fmt: skip
        parts.append(pd.DataFrame(columns))
    return parts
