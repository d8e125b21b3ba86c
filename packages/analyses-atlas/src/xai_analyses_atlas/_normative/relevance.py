"""The regional relevance of tested people, ranked among controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._people import in_order_of_visits, tested_people
from .gather import LeftOut
from .percentiles import rank_among

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["ranked", "require_measure", "require_named"]

Reference = Literal["all", "same-output"]

_RANKS = ["reference_controls", "reference_same_output", "controls_as_high", "percentile", "top"]


def ranked(
    run: RunResults,
    regions: pd.DataFrame,
    measure: str,
    controls: Sequence[str] | None,
    left_out: LeftOut,
    reference: Reference = "all",
) -> pd.DataFrame:
    """Rank each tested scan's relevance in each region among the tested controls, the person left out.

    A control counts once in each repeat: by its first visit. Scans of one repeat are compared with each other; in a
    cross-validation the networks of its folds differ, which the ranks contain.

    Args:
        run: The run.
        regions: Of ``region_table``.
        measure: One of its columns.
        controls: Classes; None: everybody.
        left_out: Takes scans without a value.
        reference: Whether a person is ranked among all controls, or among those whose map explains the same output.

    Returns:
        ``scan_id``, ``fold``, ``explainer``, ``region``, ``hemisphere``, ``structure``, ``relevance`` (the measure),
        ``explains`` (name of the output that the map explains), ``reference_controls`` (how many),
        ``reference_same_output`` (how many controls have a map that explains the same output), ``controls_as_high``,
        ``percentile``, ``top`` (see ``Rank``) and, of the person, ``subject_id``, ``session_id``, ``repeat``,
        ``target``, ``prediction``, ``control`` (bool).

    Raises:
        InputError: The measure is no column of numbers, or two regions have one name.
    """
    require_measure(regions, measure)
    people = tested_people(run)
    if "session_id" not in people:
        people["session_id"] = None
    people["control"] = True if controls is None else people["target"].isin(list(controls))
    about = ["scan_id", "fold", "subject_id", "session_id", "repeat", "target", "prediction", "control"]
    columns = ["scan_id", "fold", "explainer", "region", "hemisphere", "structure", measure]
    table = regions.loc[regions["index"] != 0, columns].rename(columns={measure: "relevance"})
    table = table.merge(people[about], on=["scan_id", "fold"], how="inner", validate="m:1")
    twice = table.duplicated(["scan_id", "fold", "explainer", "region"])
    if twice.any():
        raise InputError(f"atlas: several regions are called {table.loc[twice, 'region'].iloc[0]!r}. Give each a name.")
    table = table.merge(_explained(run), on=["scan_id", "fold", "explainer"], how="left", validate="m:1")
    table["explains"] = table["explains"].fillna("unknown")
    without = ~np.isfinite(table["relevance"].to_numpy(np.float64))
    _record(table[without], measure, left_out)
    table = table[~without].reset_index(drop=True)
    groups = table.groupby(["repeat", "explainer", "region"], sort=False)
    ranks = pd.concat([_ranks(group, reference) for _key, group in groups])
    joined: pd.DataFrame = table.join(ranks)
    return joined


def require_measure(regions: pd.DataFrame, measure: str) -> None:
    """Refuse what is no column of numbers of a region table.

    Raises:
        InputError: With those that there are.
    """
    require_named(measure, [str(name) for name in regions.columns if pd.api.types.is_float_dtype(regions[name])])


def require_named(measure: str, numbers: Sequence[str]) -> None:
    """Refuse a measure that is not among the columns of numbers of a region table.

    Raises:
        InputError: With those that there are.
    """
    if measure not in numbers:
        raise InputError(
            f"measure: regions have no {measure!r}.{did_you_mean(measure, numbers)} They have: {', '.join(numbers)}."
        )


def _explained(run: RunResults) -> pd.DataFrame:
    """Return the output that each map explains."""
    rows = [
        (record.scan_id, record.fold, record.explainer, str(record.sidecar.get("target_name", "unknown")))
        for record in run.maps()
    ]
    return pd.DataFrame(rows, columns=["scan_id", "fold", "explainer", "explains"])


def _ranks(group: pd.DataFrame, reference: Reference) -> pd.DataFrame:
    """Return the ranks of scans of one repeat, explainer and region, under their index."""
    among = in_order_of_visits(group[group["control"]]).drop_duplicates("subject_id")
    values = among["relevance"].to_numpy(np.float64)
    names, explained = among["subject_id"].to_numpy(object), among["explains"].to_numpy(object)
    rows = []
    for value, person, output in zip(group["relevance"], group["subject_id"], group["explains"], strict=True):
        same = explained == output
        kept = same if reference == "same-output" else np.ones(len(values), dtype=bool)
        rank = rank_among(float(value), person, values[kept], names[kept])
        alike = int((same & (names != person)).sum())
        rows.append((rank.controls, alike, rank.as_high, rank.percentile, rank.top if rank.controls else np.nan))
    return pd.DataFrame(rows, columns=_RANKS, index=group.index)


def _record(without: pd.DataFrame, measure: str, left_out: LeftOut) -> None:
    for row in without.itertuples():
        about: dict[str, Any] = {"fold": row.fold, "subject_id": row.subject_id, "scan_id": row.scan_id}
        left_out.add("relevance", f"no {measure}", **about, explainer=row.explainer, region=row.region)
