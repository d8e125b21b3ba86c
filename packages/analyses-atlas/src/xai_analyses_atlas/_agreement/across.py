"""Maps of different people: likeness to the group's mean map, and to those of the same scanner."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._compare import pearson
from .._grids import mni_grid
from .._mean import relevance_on
from .._stack import Stack, stack_maps
from .checks import adjusted_for
from .index import Explained, Index
from .reading import Brain
from .similarity import signed
from .sites import correlations_between, covariation, site_test

if TYPE_CHECKING:
    from ..agreement import Agreement

__all__ = ["across_people", "likeness_to_mean", "one_map_each"]

Array = npt.NDArray[np.float64]
_LEAST_GROUP = 3


def across_people(
    index: Index, output: Path, brain: Brain, options: Agreement, *, sites_wanted: bool
) -> tuple[dict[tuple[str, str], float], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return likeness to the group's mean map by explainer and scan, rows of ``sites.tsv``, and what is left out.

    Raises:
        InputError: The maps lie on different grids.
    """
    likeness: dict[tuple[str, str], float] = {}
    sites: list[dict[str, Any]] = []
    without: list[dict[str, Any]] = []
    table = index.table.drop_duplicates("scan_id").set_index("scan_id", drop=False)
    for explainer in index.explainers:
        chosen = one_map_each(index, explainer)
        if len(chosen) < 2:
            continue
        people = table.loc[[each.record.scan_id for each in chosen]].reset_index(drop=True)
        with tempfile.TemporaryDirectory(dir=output) as scratch:
            stack = _stacked(chosen, brain, options, Path(scratch))
            people["explained"] = [each.output for each in chosen]
            people["output"] = [each.record.sidecar.get("output", np.nan) for each in chosen]
            found = likeness_to_mean(stack, people["explained"].tolist(), options)
            likeness |= {(explainer, scan): value for scan, value in zip(people["scan_id"], found, strict=True)}
            if sites_wanted:
                row, lost = _sites(stack, people, explainer, options)
                sites += row
                without += lost
            del stack  # its file is about to go
    return likeness, sites, without


def one_map_each(index: Index, explainer: str) -> list[Explained]:
    """Return the maps of the run itself: first visit and first network of each person."""
    found = []
    for maps in index.people.values():
        mine = [m for m in maps if m.slot.run == index.main and m.slot.explainer == explainer]
        found += sorted(mine, key=lambda m: (m.slot.visit, m.slot.network))[:1]
    return found


def likeness_to_mean(stack: Stack, groups: Sequence[str], options: Agreement) -> list[float]:
    """Return the correlation [N] of each map with the mean map of the others that explain the same output.

    NaN where a map is constant, or the group of an output has fewer than three people.
    """
    names = np.asarray(groups, dtype=object)
    found = np.full(len(names), np.nan)
    for name in dict.fromkeys(groups):
        rows = np.flatnonzero(names == name)
        if len(rows) < _LEAST_GROUP:
            continue
        total = np.zeros(stack.values.shape[1])
        for row in rows:
            total += signed(stack.values[row].astype(np.float64), options.sign)
        for row in rows:
            mine = signed(stack.values[row].astype(np.float64), options.sign)
            value = pearson(mine, (total - mine) / (len(rows) - 1))
            found[row] = np.nan if value is None else value
    return [float(value) for value in found]


def _stacked(chosen: Sequence[Explained], brain: Brain, options: Agreement, scratch: Path) -> Stack:
    records = [each.record for each in chosen]
    grid = mni_grid(options.spacing) if options.resample else None
    mni = options.space == "mni"
    grid = grid or relevance_on(records[0], None, resample=False, mni=mni)[1]
    mask = brain.on(grid)
    if mask is None:  # as within a person: where any map is not zero
        mask = np.zeros(grid.shape, dtype=bool)
        for record in records:
            mask |= relevance_on(record, grid, resample=options.resample, mni=mni)[0] != 0
        mask = mask if mask.any() else None
    return stack_maps(records, mask, grid, scratch, resample=options.resample, mni=mni)


def _sites(
    stack: Stack, people: pd.DataFrame, explainer: str, options: Agreement
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    similarity = correlations_between(stack, options.sign)
    names = adjusted_for(options, people)
    known = people[["site", *names]].replace([np.inf, -np.inf], np.nan).notna().all(axis=1).to_numpy()
    usable = known & np.isfinite(np.diag(similarity))
    head = {"comparison": "sites", "explainer": explainer}
    without = [
        {**head, "subject_id": row.subject_id, "scan_id": row.scan_id, "reason": why}
        for row, why in zip(people[~usable].itertuples(), _reasons(people[~usable], names), strict=True)
    ]
    kept = people[usable].reset_index(drop=True)
    counts = kept["site"].value_counts().sort_index()
    if len(counts) < 2 or counts.max() < 2:
        return [], [*without, {**head, "reason": f"{len(counts)} sites with maps; two are needed, one with two people"}]
    places = np.flatnonzero(usable)
    generator = np.random.default_rng(options.seed)
    square = similarity[np.ix_(places, places)]
    found = site_test(
        square, kept["site"].astype(str).tolist(), covariation(kept, names), options.permutations, generator
    )
    if found is None:
        return [], [*without, {**head, "reason": f"{', '.join(names)} already say who is of one site"}]
    row = {
        "explainer": explainer, "people": len(kept), "sites": "; ".join(f"{k} {v}" for k, v in counts.items()),
        "within": found.within, "between": found.between, "difference": found.within - found.between,
        "adjusted_difference": found.adjusted, "adjusted_for": ", ".join(names) or None, "t": found.t, "p": found.p,
        "permutations": options.permutations,
    }  # fmt: skip
    return [row], without


def _reasons(people: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return what each of these people lacks; where nothing is, the map is constant within the brain."""
    missing = people[["site", *names]].replace([np.inf, -np.inf], np.nan).isna()
    lacking = [[name for name in missing.columns if row[name]] for row in missing.to_dict("records")]
    return [f"no {', '.join(each)}" if each else "the map is constant within the brain" for each in lacking]
