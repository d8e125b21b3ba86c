"""Within each person: how closely the relevance follows the person's own map. See ``MapSimilarity``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from .._groups import chosen_explainers
from .._voxel_params import check_columns, check_map
from .cases import LeftOut, cases_of, require_files
from .comparison import Comparison, Scored
from .measures import Measure
from .writing import write_json, write_table

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from ..map_similarity import MapSimilarity

__all__ = ["SUMMARY", "summarised", "write_map_similarity"]

log = logging.getLogger("xai")

SUMMARY = [
    "explainer", "measure", "people", "scans", "mean", "low", "high", "sd", "median", "exchangeable", "others",
    "difference", "p", "arrangements", "exact",
]  # fmt: skip
_HEAD = ["explainer", "scan_id", "subject_id", "session_id", "fold", "voxels", "feature_voxels", "coverage"]


def write_map_similarity(run: RunResults, output: Path, options: MapSimilarity) -> None:
    """See ``MapSimilarity.analyse``."""
    from .similarity_figures import draw

    names = chosen_explainers(run, options.explainers)
    subjects = run.subjects()
    maps = [options.feature_map] + ([] if options.within_map is None else [options.within_map])
    for name, parameter in zip(maps, ("feature_map", "within_map"), strict=False):
        check_map(subjects, name, parameter)
    cases = {name: cases_of(run, name) for name in names}
    rows = [case.row for found in cases.values() for case in found]
    check_columns(pd.DataFrame(rows[:1]), [] if options.blocks is None else [options.blocks], "blocks")
    require_files(rows, maps)
    left_out, found = LeftOut(), {}
    comparison = Comparison(options, left_out)
    for name in names:
        found[name] = comparison.of(cases[name])
    scores = pd.concat([_scores(name, scored) for name, scored in found.items()], ignore_index=True)
    summary = pd.DataFrame([row for name, scored in found.items() for row in summarised(name, scored)], columns=SUMMARY)
    write_table(output / "scores.tsv", scores)
    write_table(output / "summary.tsv", summary)
    write_table(output / "left-out.tsv", left_out.table())
    what = comparison.reader.domain.in_words
    write_json(output / "map-similarity.json", _about(options, what, found))
    if left_out.rows:
        log.warning("map-similarity: %d maps are left out: %s", len(left_out.rows), left_out.in_words())
    draw(scores, summary, options, what, output)


def summarised(explainer: str, scored: Scored) -> list[dict[str, Any]]:
    """Return the rows of the summary: a person with several maps counts once, with their mean.

    ``low`` and ``high`` are the 95 % interval of the mean by Student's t; with one person they are n/a.
    """
    table = pd.DataFrame(scored.rows)
    table["person"] = [case.person for case in scored.cases]
    rows = []
    for measure in scored.measures:
        values = table.groupby("person", sort=False)[measure.name].mean().to_numpy(dtype=np.float64)
        row: dict[str, Any] = {"explainer": explainer, "measure": measure.name, "people": len(values)}
        row |= {"scans": len({case.record.scan_id for case in scored.cases}), "mean": float(values.mean())}
        row["median"] = float(np.median(values))
        if len(values) > 1:
            sd = float(values.std(ddof=1))
            margin = float(stats.t.ppf(0.975, len(values) - 1)) * sd / np.sqrt(len(values))
            row |= {"sd": sd, "low": row["mean"] - margin, "high": row["mean"] + margin}
        test = scored.null.get(measure.name)
        if test is not None:
            known = np.isfinite(test.others)
            others = float(test.others[known].mean())
            row |= {"exchangeable": int(known.sum()), "others": others, "p": test.p}
            row |= {
                "difference": float(test.own[known].mean()) - others,
                "arrangements": test.arrangements,
                "exact": test.exact,
            }
        rows.append(row)
    return rows


def _scores(explainer: str, scored: Scored) -> pd.DataFrame:
    people = scored.people
    rows = []
    for case, scores in zip(scored.cases, scored.rows, strict=True):
        who = {"explainer": explainer, "scan_id": case.record.scan_id, "subject_id": case.person}
        row = who | {"session_id": case.row.get("session_id"), "fold": case.record.fold, **scores}
        for name, test in scored.null.items():
            row[f"{name}_others"] = float(test.others[people.index(case.person)])
        rows.append(row)
    table = pd.DataFrame(rows)
    first = [name for name in _HEAD if name in table]
    return table[first + [name for name in table.columns if name not in first]]


def _about(options: MapSimilarity, what: str, found: dict[str, Scored]) -> dict[str, Any]:
    def describe(measure: Measure) -> str:
        return measure.what.replace("top percent", f"top {options.top:g} percent")

    return {
        "feature_map": options.feature_map,
        "voxels compared": what,
        "relevance": options.part,
        "prepare": options.prepare,
        "prepare_relevance": options.prepare_relevance,
        "labels": options.labels,
        "measures": {name: {m.name: describe(m) for m in scored.measures} for name, scored in found.items()},
        "people": {name: len(scored.people) for name, scored in found.items()},
        "interval": "95 % of the mean over people, Student's t; a person with several maps counts once",
        "test": "maps reassigned among people, one-sided: own maps are closer; not corrected for several measures",
        "permutations": options.permutations,
        "blocks": options.blocks,
        "seed": options.seed,
    }
