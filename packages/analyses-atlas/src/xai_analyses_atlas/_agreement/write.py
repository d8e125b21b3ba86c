"""Tables and figures of ``agreement``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .across import across_people
from .available import require_available, unavailable
from .checks import related_to, require_columns
from .figures import write_figures
from .index import Explained, Index, index_of, opened
from .pairs import WITHIN, Strangers, compared, pairs_table
from .reading import Brain, load_person
from .relations import person_table, relations
from .summary import SCALE_FREE, WHOLE, icc_rows, summarised

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from ..agreement import Agreement

__all__ = ["write_agreement"]

log = logging.getLogger("xai")

_ICC = [
    "comparison", "explainer", "region", "measure", "icc", "people", "raters", "left_out", "value", "low", "high", "f",
    "df1", "df2", "p",
]  # fmt: skip
_SITES = [
    "explainer", "people", "sites", "within", "between", "difference", "adjusted_difference", "adjusted_for", "t", "p",
    "permutations",
]  # fmt: skip
_LEFT_OUT = ["comparison", "explainer", "run", "region", "measure", "subject_id", "scan_id", "people", "reason"]


def write_agreement(run: RunResults, output: Path, options: Agreement) -> None:
    """See ``Agreement.analyse``."""
    index = index_of(run, [opened(Path(folder)) for folder in options.runs or ()], options.explainers)
    reasons = unavailable(index)
    require_available(reasons, options)
    require_columns(options, index.table)
    kinds = [kind for kind in WITHIN if kind in options.wanted and kind not in reasons]
    brain = Brain(options.mask, mni=options.space == "mni")
    rows, totals = _people(index, brain, options, kinds)
    pairs = pairs_table(rows)
    _write(output / "pairs.tsv", pairs)
    summary = summarised(pairs, options.resamples, options.seed)
    _write(output / "summary.tsv", summary)
    icc, without = icc_rows(_rated_values(index, totals, options), index.main, kinds)
    icc_table = pd.DataFrame(icc, columns=_ICC)
    _write(output / "icc.tsv", icc_table)
    likeness, sites, lost = across_people(
        index, output, brain, options, sites_wanted="sites" in options.wanted and "sites" not in reasons
    )
    _write(output / "sites.tsv", pd.DataFrame(sites, columns=_SITES))
    people = person_table(index, {key[1:]: value for key, value in totals.items() if key[0] == index.main}, likeness)
    _write(output / "people.tsv", people)
    related = relations(people, related_to(options, people))
    _write(output / "relations.tsv", related)
    left_out = pd.DataFrame([*index.left_out, *without, *lost], columns=_LEFT_OUT)
    _write(output / "left-out.tsv", left_out)
    _say(left_out, pairs)
    about = _about(index, options, kinds, reasons, people)
    (output / "agreement.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    write_figures(output, summary, icc_table)


def _people(
    index: Index, brain: Brain, options: Agreement, kinds: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[tuple[str, str, str, int], dict[str, float]]]:
    """Compare the maps of one person after another, within the person and with somebody else's.

    Returns:
        Rows of ``compared``, and totals by run, explainer, scan and fold.
    """
    rows: list[dict[str, Any]] = []
    totals: dict[tuple[str, str, str, int], dict[str, float]] = {}
    strangers = Strangers()
    for subject in sorted(index.people):
        person = load_person(subject, index.people[subject], brain, options)
        for each in person.maps:
            slot = each.about.slot
            totals[slot.run, slot.explainer, each.about.record.scan_id, each.about.fold] = each.totals
        rows += compared(person, strangers, index.main, kinds)
    return rows, totals


def _rated_values(
    index: Index, totals: Mapping[tuple[str, str, str, int], Mapping[str, float]], options: Agreement
) -> dict[tuple[str, str], dict[Explained, float]]:
    """Return what intraclass correlations are taken of, by measure and region, in the order of the regions."""
    regional = _regional(index, options)
    found: dict[tuple[str, str], dict[Explained, float]] = {}
    for maps in index.people.values():
        for each in maps:
            key = (each.slot.run, each.slot.explainer, each.record.scan_id, each.fold)
            for name, value in totals[key].items():
                found.setdefault((name, WHOLE), {})[each] = value
    for region, values in regional.items():
        for maps in index.people.values():
            for each in maps:
                key = (each.slot.run, each.slot.explainer, each.record.scan_id, each.fold)
                found.setdefault((options.measure, region), {})[each] = values.get(key, float("nan"))
    return found


def _regional(index: Index, options: Agreement) -> dict[str, dict[tuple[str, str, str, int], float]]:
    """Return the measure by region, and run, explainer, scan and fold."""
    if options.atlas is None:
        return {}
    from .._normative.checks import atlas_of
    from .._normative.relevance import require_measure
    from .._relevance import region_table

    atlas = atlas_of(options.atlas, options.space)
    found: dict[str, dict[tuple[str, str, str, int], float]] = {}
    for name, run in index.runs.items():
        theirs = None if options.explainers is None else list(index.explainers)
        table = region_table(run, atlas, theirs, space=options.space, mismatch=options.mismatch)
        require_measure(table, options.measure)
        for row in table[table["index"] != 0].to_dict("records"):
            key = (name, str(row["explainer"]), str(row["scan_id"]), int(row["fold"]))
            found.setdefault(str(row["region"]), {})[key] = float(row[options.measure])
    return found


def _say(left_out: pd.DataFrame, pairs: pd.DataFrame) -> None:
    if len(left_out):
        log.warning("agreement: %d entries in left-out.tsv say who and what is missing", len(left_out))
    runs = pairs[pairs["comparison"] == "runs"]
    if len(runs) and (runs["spearman"].dropna() > 1 - 1e-6).all():
        log.warning("agreement: the maps of all runs are the same. Is one a copy of the other?")


def _about(
    index: Index, options: Agreement, kinds: Sequence[str], reasons: Mapping[str, str], people: pd.DataFrame
) -> dict[str, Any]:
    return {
        "what": "similarity of maps within the brain, voxel by voxel, by person; intraclass correlations of numbers of "
        "maps and regions; relation of maps to age and prediction",
        "runs": list(index.runs),
        "explainers": list(index.explainers),
        "compared": list(kinds),
        "not_compared": {name: why for name, why in reasons.items() if name in options.wanted},
        "people": int(people["subject_id"].nunique()),
        "sign": options.sign,
        "top": options.top,
        "dice_by_chance": options.top,
        "scale_free_measures": list(SCALE_FREE),
        "icc": "ICC(2,1): absolute agreement; ICC(3,1): consistency; one map of each person and rater",
        "other_person": "the second map of each pair is somebody else's that explains the same output",
    }


def _write(path: Path, table: pd.DataFrame) -> None:
    text = str(table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    path.write_text(text, encoding="utf-8", newline="")
