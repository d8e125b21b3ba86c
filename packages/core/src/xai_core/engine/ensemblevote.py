"""Predictions of several networks of the same scans, as one: each network has a vote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Vote", "agreement_table", "vote"]

Vote = Literal["mean", "median"]
Doubles = npt.NDArray[np.float64]

# Numbers or texts that do not come from a network, as a run writes them.
_OWN = frozenset({"fold", "repeat", "member", "scan_id", "subject_id", "session_id", "site", "target"})


def vote(
    predictions: pd.DataFrame,
    classes: Sequence[str] | None,
    *,
    by: Sequence[str] = ("scan_id",),
    how: Vote = "mean",
    weights: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Return one row for each scan: the mean or median over its rows of the probabilities, or of the predicted values.

    Numbers that the trainer added (calibrated probabilities, the age gap) are aggregated in the same way; they are NaN
    where one of the rows has none. The medians of the probabilities are divided by their sum.

    Args:
        predictions: Rows as a run writes them, several for each scan.
        classes: Class names in the order of the outputs, None for a regression.
        by: Columns that tell the scans apart.
        how: Mean or median.
        weights: Of the rows of each scan, in their order, for the mean; default: equal.
    """
    keys = list(by)
    names = _outputs(classes)
    names += [str(name) for name in predictions.select_dtypes("number") if name not in {*_OWN, *names, *keys}]
    table = predictions.drop_duplicates(keys)
    table = table.drop(columns=[name for name in ("fold", "member") if name not in keys], errors="ignore")
    central = _central(how, weights)
    groups = predictions.groupby(keys, sort=False)[names]
    table = table.reset_index(drop=True)
    table[names] = np.stack([central(rows.to_numpy(dtype=float)) for _, rows in groups])
    if classes is not None:
        outputs = names[: len(classes)]
        probabilities = table[outputs].to_numpy()
        if how == "median":
            table[outputs] = _adding_up(probabilities)
        table["prediction"] = [classes[position] for position in probabilities.argmax(axis=1)]
    return table


def _outputs(classes: Sequence[str] | None) -> list[str]:
    return ["prediction"] if classes is None else [f"probability_{name}" for name in classes]


def _central(how: Vote, weights: Sequence[float] | None) -> Callable[[Doubles], Doubles]:
    """Return a function of [rows, columns] to [columns]; NaN in a row stays NaN."""

    def central(rows: Doubles) -> Doubles:
        found = np.median(rows, axis=0) if how == "median" else np.average(rows, axis=0, weights=weights)
        return np.asarray(found, dtype=np.float64)

    return central


def _adding_up(probabilities: Doubles) -> Doubles:
    """Return rows whose sum is 1; medians of members that contradict each other fully are 0 in every class."""
    total = probabilities.sum(axis=1, keepdims=True)
    return np.where(total > 0, probabilities / np.where(total > 0, total, 1), 1 / probabilities.shape[1])


def agreement_table(
    predictions: pd.DataFrame, voted: pd.DataFrame, classes: Sequence[str] | None, by: Sequence[str]
) -> pd.DataFrame:
    """Return how far the members agree: ``sd`` and, for a classification, ``agreement``, one row for each of ``voted``.

    ``sd`` (n - 1) is of the predicted value, or of the probability of the voted class; ``agreement`` is the share of
    members whose own prediction is that class.
    """
    import pandas as pd

    keys = list(by)
    groups = dict(iter(predictions.groupby(keys if len(keys) > 1 else keys[0], sort=False)))
    rows: list[dict[str, Any]] = []
    for row in voted.to_dict("records"):
        own = groups[tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]]
        name = "prediction" if classes is None else f"probability_{row['prediction']}"
        found: dict[str, Any] = {key: row[key] for key in keys} | {"members": len(own)}
        found |= {"prediction": row["prediction"], "sd": float(own[name].std(ddof=1))}
        if classes is not None:
            found["agreement"] = float((own["prediction"].astype(str) == str(row["prediction"])).mean())
        rows.append(found)
    return pd.DataFrame(rows)
