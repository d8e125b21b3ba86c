"""What is known of each scan of a run: covariates, features, and who the controls are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._people import in_order_of_visits
from .._statistics import Covariate, is_number

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["Feature", "LeftOut", "Scans", "control_names", "gathered", "require_covariates"]


class Feature(NamedTuple):
    """A feature of a region of the atlas."""

    region: str
    feature: str


@dataclass
class LeftOut:
    """Who and what is not in the result, and why."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    COLUMNS = ("what", "fold", "subject_id", "scan_id", "explainer", "region", "feature", "reason")

    def add(self, what: str, reason: str, **about: Any) -> None:
        """Record one: ``what`` is a control, a tested scan, a model, a region, a source or relevance."""
        self.rows.append({"what": what, "reason": reason, **about})

    def table(self) -> pd.DataFrame:
        """Return one row for each, each once."""
        return pd.DataFrame(self.rows, columns=list(self.COLUMNS)).drop_duplicates().reset_index(drop=True)


@dataclass(frozen=True)
class Scans:
    """Every scan of a run, trained on or tested.

    Attributes:
        people: One row for each scan, its index the row of ``values``: ``scan_id``, ``subject_id``, ``session_id``,
            ``target`` and the covariates.
        features: The F columns of ``values``.
        values: float64 [N, F]; NaN where there is none.
        units: [F], None where it is not known.
        sources: [F], where they come from.
    """

    people: pd.DataFrame
    features: tuple[Feature, ...]
    values: npt.NDArray[np.float64]
    units: tuple[str | None, ...]
    sources: tuple[str, ...]

    def first_visits(self, subjects: set[str]) -> pd.DataFrame:
        """Return the rows of people, one scan of each: the first by ``session_id``."""
        mine = self.people[self.people["subject_id"].isin(subjects)]
        return in_order_of_visits(mine).drop_duplicates("subject_id").sort_values("scan_id", kind="stable")


def gathered(run: RunResults, features: pd.DataFrame, covariates: Sequence[Covariate]) -> Scans:
    """Bring features and covariates to the scans of a run.

    Args:
        run: The run.
        features: Tidy, each value once: ``scan_id``, ``region`` (None: of the whole person), ``feature``, ``value``,
            ``unit``, ``source``; the table of ``gather_features``.
        covariates: Columns of the run's ``subjects.tsv``, or features of the whole person.

    Raises:
        InputError: A covariate is neither, or no feature belongs to a region.
    """
    people = run.subjects().reset_index(drop=True)
    if "session_id" not in people:
        people["session_id"] = None
    require_covariates(covariates, people, features)
    for name in [one.column for one in covariates if one.column in people and is_number(people[one.column])]:
        people[name] = people[name].where(np.isfinite(people[name].to_numpy(np.float64)))
    of_person, of_region = features[features["region"].isna()], features[features["region"].notna()]
    for name in [covariate.column for covariate in covariates if covariate.column not in people]:
        people[name] = _column(of_person[of_person["feature"] == name], people)
    if of_region.empty:
        raise InputError(
            "features: none of them belongs to a region of the atlas, so there is nothing to compare relevance with. "
            f"They are: {', '.join(sorted(of_person['feature'].unique())[:8])}."
        )
    groups = {Feature(*map(str, key)): rows for key, rows in of_region.groupby(["region", "feature"], sort=True)}
    table = np.column_stack([_column(rows, people) for rows in groups.values()])
    units = tuple(_text(rows["unit"].iloc[0]) for rows in groups.values())
    sources = tuple("; ".join(sorted(map(str, rows["source"].unique()))) for rows in groups.values())
    return Scans(people, tuple(groups), table, units, sources)


def require_covariates(covariates: Sequence[Covariate], people: pd.DataFrame, features: pd.DataFrame) -> None:
    """Refuse covariates that are neither a column nor a feature of the whole person.

    Raises:
        InputError: All of them are named.
    """
    of_person = [str(name) for name in features.loc[features["region"].isna(), "feature"].unique()]
    known = [*map(str, people.columns), *of_person]
    missing = [covariate.column for covariate in covariates if covariate.column not in known]
    if missing:
        raise InputError(
            f"covariates: neither the study nor the features of the whole person have {', '.join(missing)}."
            f"{did_you_mean(missing[0], known)} There are: {', '.join(known[:30])}."
        )


def control_names(controls: Sequence[str] | None, classes: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the classes that are controls; None: everybody, as in a regression.

    Raises:
        InputError: A class does not exist, or a regression has classes of controls.
    """
    if classes is None:
        if controls is not None:
            raise InputError("controls: a regression has no classes; everybody is a control. Leave 'controls' out.")
        return None
    for name in controls or ():
        if name not in classes:
            raise InputError(
                f"controls: there is no class {name!r}.{did_you_mean(name, classes)} There are: {', '.join(classes)}."
            )
    return (classes[0],) if controls is None else tuple(controls)


def _column(rows: pd.DataFrame, people: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return values [N] of a feature for the scans of ``people``."""
    by_scan: Mapping[Any, Any] = dict(zip(rows["scan_id"], rows["value"], strict=True))
    return np.asarray([by_scan.get(scan, np.nan) for scan in people["scan_id"]], dtype=np.float64)


def _text(value: Any) -> str | None:
    return None if value is None or pd.isna(value) or value == "" else str(value)
