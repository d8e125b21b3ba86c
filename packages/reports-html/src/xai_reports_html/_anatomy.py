"""What the anatomy analyses found: relevance by region, volumes, sentences; of a person and of groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._decisions import Decision
from ._reading import Notes, numbers, read_table
from ._summary import NONE, number
from ._texts import counted, plain

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

__all__ = ["Anatomy"]

Array = np.ndarray[Any, Any]
_KEYS = ("scan_id", "fold", "explainer", "region")
# The first one that a table has is shown. By shares the largest regions come first, whatever the network saw; neither
# a share nor its quotient with the region's size depends on the size of the output.
_MEASURES = ("size_corrected", "share", "absolute", "mean")
_MOST = 10  # regions of a person
_GROUP_REGIONS = 15


class _Regions:
    """One table of relevance by region, with the controls' values."""

    def __init__(self, name: str, table: pd.DataFrame, tested: Mapping[tuple[str, int], Decision], controls: set[str]):
        self.name = name
        self.measure = next(m for m in _MEASURES if m in table)
        keys = list(zip(table["scan_id"].astype(str), table["fold"].astype(int), strict=True))
        known = [tested.get(key) for key in keys]
        kept = np.array([one is not None for one in known], dtype=bool)
        found = [one for one in known if one is not None]
        columns: dict[str, Any] = {
            "key": [one.key for one in found], "true": [str(one.true) for one in found],
            "repeat": [one.repeat for one in found], "person": [one.subject for one in found],
        }  # fmt: skip
        table = table[kept].assign(**columns)
        outside = table["index"] == 0 if "index" in table else table["region"].str.startswith("(")
        self.outside, self.table = table[outside], table[~outside]
        self.of: dict[Any, pd.DataFrame] = dict(iter(self.table.groupby("key", sort=False)))
        self.beside: dict[Any, pd.DataFrame] = dict(iter(self.outside.groupby("key", sort=False)))
        rows = self.table[self.table["true"].isin(controls)] if controls else self.table
        # A person with several visits counts once.
        means = rows.groupby(["repeat", "explainer", "region", "person"], sort=False)[self.measure].mean().dropna()
        # Who they are, and their values: arrays, since every region of every page looks at all of them.
        self.controls: dict[Any, tuple[Array, Array]] = {
            key: (part.index.get_level_values("person").to_numpy(dtype=object), part.to_numpy(dtype=float))
            for key, part in means.groupby(level=[0, 1, 2], sort=False)
        }

    def others(self, one: Decision, explainer: str, region: str) -> Array:
        """Return the controls' values of a region without the person's own."""
        people, values = self.controls.get((one.repeat, explainer, region), (np.empty(0, dtype=object), np.empty(0)))
        kept: Array = values[people != one.subject]
        return kept


class Anatomy:
    """The tables of the analyses of a run.

    Args:
        folders: Of the analyses, by id; those that do not exist are skipped.
        tested: All test scans.
        records: All maps.
        controls: Classes against which a person is compared; None: everybody else.
        notes: Takes what cannot be read.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        tested: Sequence[Decision],
        records: Iterable[MapRecord],
        controls: Sequence[str] | None,
        notes: Notes,
    ) -> None:
        self._tested = {one.key: one for one in tested}
        self._controls = list(controls or [])
        self._targets = {(r.scan_id, r.fold, r.explainer): str(r.sidecar.get("target_name", "")) for r in records}
        self._compared = self._counted()
        self.regions = [
            _Regions(name, found, self._tested, set(self._controls))
            for name, table in _tables(folders, "regions.tsv", _KEYS, notes)
            if (found := _usable(table, f"{name}/regions.tsv", notes)) is not None
        ]
        scores = _tables(folders, "scores.tsv", ("scan_id", "region", "feature", "w"), notes)
        self._scores = _by_scan(
            (name, numbers(table, ("w", "observed", "expected", "fold"), f"{name}/scores.tsv", notes))
            for name, table in scores
        )
        self._sentences = _by_scan(_tables(folders, "sentences.tsv", ("scan_id", "sentence"), notes))

    def _counted(self) -> dict[tuple[Any, ...], Counter[str]]:
        """Return how many controls' maps explain a class, of each repeat and explainer, and of each person in them.

        Counted once: the pages of thousands of people would else each go through all the others.
        """
        found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
        for (scan, fold, explainer), target in self._targets.items():
            other = self._tested.get((scan, fold))
            if other is not None and (not self._controls or str(other.true) in self._controls):
                found[other.repeat, explainer][target] += 1
                found[other.repeat, explainer, other.subject][target] += 1
        return found

    def sentences(self, one: Decision) -> list[dict[str, str]]:
        """Return the sentences on a scan, each with its explainer and analysis."""
        found = []
        for name, table in self._sentences.get(one.scan, []):
            if "fold" in table:  # of another network where it names another one
                folds = pd.to_numeric(table["fold"], errors="coerce")
                table = table[folds.isna() | (folds == one.fold)]
            texts = table["explainer"] if "explainer" in table else [""] * len(table)
            found += [
                {"analysis": name, "explainer": str(explainer), "text": str(text)}
                for explainer, text in zip(texts, table["sentence"], strict=True)
                if isinstance(text, str) and text
            ]
        return found

    def person(self, one: Decision, explainers: Sequence[str]) -> list[dict[str, Any]]:
        """Return a table of regions for each analysis and explainer: those with most relevance first."""
        found = [
            self._person(regions, one, name)
            for regions in self.regions
            for name in explainers
            if one.key in regions.of and (regions.of[one.key]["explainer"] == name).any()
        ]
        return [table for table in found if table["rows"]]  # a map that is zero everywhere has none

    def _person(self, regions: _Regions, one: Decision, explainer: str) -> dict[str, Any]:
        table = regions.of[one.key]
        table = table[table["explainer"] == explainer].dropna(subset=[regions.measure])
        table = table.sort_values(regions.measure, ascending=False, kind="stable").head(_MOST)
        most = max([abs(float(v)) for v in table[regions.measure]], default=0.0)
        rows = []
        shares = table["share"] if "share" in table else [np.nan] * len(table)
        values_of = zip(table["region"].astype(str), table[regions.measure].astype(float), shares, strict=True)
        for region, value, share in values_of:
            values = regions.others(one, explainer, region)
            rows.append({
                "region": region, "value": _amount(value, regions.measure), "share": _amount(float(share), "share"),
                "width": 0 if not most else round(100 * abs(value) / most, 1),
                **_against(value, values, regions.measure),
            })  # fmt: skip
        return {
            "analysis": regions.name, "explainer": explainer, "measure": plain(f"region.{regions.measure}"),
            "rows": rows, "outside": _outside(regions, one, explainer), "controls": self._controls_text(),
            "explained": self._explained(one, explainer),
        }  # fmt: skip

    def _controls_text(self) -> str:
        return ", ".join(self._controls) if self._controls else plain("region.all_others")

    def _explained(self, one: Decision, explainer: str) -> str | None:
        """Say so where the controls' maps explain another class: they answer another question."""
        own = self._targets.get((*one.key, explainer), "")
        counts = self._compared[one.repeat, explainer] - self._compared[one.repeat, explainer, one.subject]
        counts.pop("", None)
        if not own or set(counts) <= {own}:
            return None
        told = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        return plain("region.other_target", own=own, others=told)

    def volumes(self, one: Decision) -> list[dict[str, Any]]:
        """Return rows of observed and expected features of a scan, the most unusual first; each feature once."""
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for _, table in self._scores.get(one.scan, []):
            for row in table.to_dict("records"):
                w = row.get("w")
                if isinstance(w, int | float) and np.isfinite(w) and row.get("fold", one.fold) == one.fold:
                    rows.setdefault((str(row["region"]), str(row["feature"])), _volume(row, float(w)))
        return sorted(rows.values(), key=lambda row: -abs(row["size"]))[:_MOST]

    def groups(self, classes: Sequence[str] | None) -> list[dict[str, Any]]:
        """Return relevance by region over all test people, a table for each analysis and explainer."""
        found = []
        for regions in self.regions:
            for explainer, table in regions.table.groupby("explainer", sort=False):
                found.append(_groups(regions, str(explainer), table, classes))
        return [table for table in found if table["rows"]]


def _tables(
    folders: Mapping[str, Path], file: str, needed: Sequence[str], notes: Notes
) -> list[tuple[str, pd.DataFrame]]:
    there = [(name, folder / file) for name, folder in folders.items() if (folder / file).is_file()]
    found = [(name, read_table(path, notes, needed)) for name, path in there]
    return [(name, table) for name, table in found if table is not None]


def _usable(table: pd.DataFrame, what: str, notes: Notes) -> pd.DataFrame | None:
    """Return a table of relevance by region that names scan and fold in each row, or None without any measure."""
    if not any(measure in table for measure in _MEASURES):
        notes.add("measure", file=what)
        return None
    table = numbers(table, (*_MEASURES, "fold", "index"), what, notes)
    named = table[list(_KEYS)].notna().all(axis=1)
    if not named.all():
        notes.add("unnamed", file=what, n=int((~named).sum()), columns=", ".join(_KEYS))
    return table[named]


def _by_scan(tables: Iterable[tuple[str, pd.DataFrame]]) -> dict[str, list[tuple[str, pd.DataFrame]]]:
    found: dict[str, list[tuple[str, pd.DataFrame]]] = {}
    for name, table in tables:
        for scan, part in table.groupby("scan_id", sort=False):
            found.setdefault(str(scan), []).append((name, part))
    return found


def _amount(value: float, measure: str) -> str:
    if not np.isfinite(value):
        return NONE
    if measure == "size_corrected":
        return f"{value:.2f} \N{MULTIPLICATION SIGN}"
    return f"{100 * value:.2f} %" if measure == "share" else number(value)


def _against(value: float, controls: Array, measure: str) -> dict[str, str]:
    if not len(controls):
        return {"middle": NONE, "range": "", "rank": plain("region.no_controls")}
    low, middle, high = (float(v) for v in np.percentile(controls, [5, 50, 95]))
    as_high = int((controls >= value).sum())
    return {
        "middle": _amount(middle, measure),
        "range": f"{_amount(low, measure)} \N{EN DASH} {_amount(high, measure)}",
        "rank": plain("region.rank", as_high=as_high, n=len(controls)),
    }


def _outside(regions: _Regions, one: Decision, explainer: str) -> str | None:
    table = regions.beside.get(one.key)
    if table is None:
        return None
    measure = "share" if "share" in table else regions.measure
    values = table.loc[table["explainer"] == explainer, measure].dropna()
    return _amount(float(values.iloc[0]), measure) if len(values) else None


def _volume(row: Mapping[Any, Any], w: float) -> dict[str, Any]:
    unit = "" if not isinstance(row.get("unit"), str) else f" {row['unit']}"
    outside = row.get("outside_range")
    return {
        "region": str(row["region"]), "feature": str(row["feature"]), "size": w, "w": f"{w:+.2f}",
        "observed": f"{number(_float(row.get('observed')))}{unit}",
        "expected": f"{number(_float(row.get('expected')))}{unit}",
        "outside": outside if isinstance(outside, str) and outside.casefold() not in ("", "false", "no") else "",
    }  # fmt: skip


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None


def _groups(regions: _Regions, explainer: str, table: pd.DataFrame, classes: Sequence[str] | None) -> dict[str, Any]:
    """Means by true class over people: visits and repeats of a person are averaged first."""
    measure, names = regions.measure, [str(name) for name in classes or []]
    table = table.dropna(subset=[measure])  # a map that is zero everywhere is in no mean
    people = table.groupby(["region", "true", "person"] if names else ["region", "person"])[measure].mean()
    everybody = people.groupby(level=[0, people.index.nlevels - 1]).mean().groupby(level=0).agg(["mean", "std"])
    order = everybody["mean"].sort_values(ascending=False, kind="stable").head(_GROUP_REGIONS)
    by_class = people.groupby(level=[0, 1]).agg(["mean", "std"]) if names else None
    rows = []
    for region in order.index:
        cells = [_mean_sd(by_class, (region, name), measure) for name in names]
        rows.append({"region": str(region), "all": _mean_sd(everybody, region, measure), "cells": cells})
    counts = {name: table.loc[table["true"] == name, "person"].nunique() for name in names}
    return {
        "analysis": regions.name, "explainer": explainer, "measure": plain(f"region.{measure}"), "rows": rows,
        "columns": [f"{name} (n = {counts[name]})" for name in names],
        "people": counted("count.people", int(table["person"].nunique())), "regions": int(table["region"].nunique()),
    }  # fmt: skip


def _mean_sd(table: pd.DataFrame | None, key: Any, measure: str) -> str:
    if table is None or key not in table.index:
        return NONE
    mean, sd = (float(v) for v in table.loc[key])
    return _amount(mean, measure) + (f" ± {_amount(sd, measure)}" if np.isfinite(sd) else "")
