"""All that is said of one test scan, for its page or its section."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ._agreement import Pair
from ._anatomy import Anatomy
from ._artists import Request, drawn
from ._decisions import Decision, decimals
from ._doubts import Doubts
from ._files import Shelf, names_of
from ._pictures import Drawn
from ._sections import covariates
from ._strip import Strips
from ._summary import NOT_SCORES, number
from ._texts import plain

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

    from .plugin import HtmlReport

__all__ = ["Cases", "chosen"]

Key = tuple[str, int]


def chosen(tested: Sequence[Decision], most: int | None) -> list[Decision]:
    """Take scans in turn from each true class, right and wrong, in the order of their names."""
    if most is None or len(tested) <= most:
        return list(tested)
    groups: dict[tuple[str, bool], list[Decision]] = defaultdict(list)
    for one in tested:
        groups["" if one.correct is None else str(one.true), one.correct is not False].append(one)
    turns = zip_longest(*(groups[key] for key in sorted(groups)))
    in_turn = [one for turn in turns for one in turn if one is not None]
    return sorted(in_turn[:most], key=lambda one: one.key)


class Cases:
    """Makes the content of the sections or pages of test scans.

    Attributes:
        names: File name of each scan and network.
        pairs: How far explainers agree, of each scan drawn so far.
        remarks: What is known against trusting each decision, of all test scans; those that follow from the maps
            join when a scan is drawn.

    Args:
        tested: All test scans.
        records: Maps of each, in the order to show them.
        subjects: ``subjects.tsv``.
        scores: Rows of the evaluators by scan: name and table.
        doubts: Says what is known against trusting them.
        anatomy: What the analyses found.
        classes: Of the run; None: a regression.
        options: Of the report.
    """

    def __init__(
        self,
        tested: Sequence[Decision],
        records: Mapping[Key, Sequence[MapRecord]],
        subjects: pd.DataFrame,
        scores: Sequence[tuple[str, pd.DataFrame]],
        doubts: Doubts,
        anatomy: Anatomy,
        classes: Sequence[str] | None,
        options: HtmlReport,
    ) -> None:
        self._records, self._doubts, self._anatomy = records, doubts, anatomy
        self._classes, self._options = classes, options
        self._strips, self._digits = Strips(tested, classes), decimals(tested)
        self._covariates = covariates(subjects)
        self._subjects = subjects.drop_duplicates("scan_id").set_index("scan_id")
        self._scores = [(name, dict(iter(table.groupby("scan_id")))) for name, table in scores if "scan_id" in table]
        several = len({one.scan for one in tested}) < len(tested)
        ids = {one.key: f"{one.scan}_fold-{one.fold}" if several else one.scan for one in tested}
        names = names_of(ids.values())
        self.names: dict[Key, str] = {key: names[text] for key, text in ids.items()}
        self.pairs: dict[Key, list[Pair]] = {}
        self.remarks: dict[Key, list[str]] = {one.key: doubts.known(one, records.get(one.key, ())) for one in tested}

    def make(self, ones: Sequence[Decision], shelf: Shelf, folder: Path | None) -> Iterator[dict[str, Any]]:
        """Draw scans and yield what their sections show, in order; see ``draw_maps`` for the arguments."""
        requests = (
            Request(list(self._records.get(one.key, ())), self.names[one.key], shelf, folder, self._options)
            for one in ones
        )
        for one, pictures in zip(ones, drawn(requests, len(ones)), strict=True):
            yield self._make(one, pictures)

    def _make(self, one: Decision, drawn: Drawn | None) -> dict[str, Any]:
        records, name = list(self._records.get(one.key, ())), self.names[one.key]
        if drawn is not None:
            self.pairs[one.key] = drawn.pairs
            self.remarks[one.key] += self._doubts.drawn(drawn)
        explainers = [record.explainer for record in records]
        return {
            "name": name,
            "scan": one.scan,
            "one": one,
            "true": self._value(one.true),
            "predicted": self._value(one.predicted),
            "error": None if one.error is None else f"{one.error:+.{self._digits}f}",
            "corrected": None if one.corrected is None else f"{one.corrected:+.{self._digits}f}",
            "about": self._about(one),
            "strip": self._strips.of(one),
            "drawn": drawn,
            "maps": drawn.maps if drawn is not None else [],
            "pairs": [_pair(pair) for pair in drawn.pairs] if drawn is not None else [],
            "sentences": self._anatomy.sentences(one),
            "regions": self._anatomy.person(one, explainers),
            "volumes": self._anatomy.volumes(one),
            "scores": self._evaluated(one),
            "remarks": list(self.remarks[one.key]),
            "checked": self._doubts.made(one, records, drawn is not None),
        }

    def _value(self, value: str | float) -> str:
        return value if isinstance(value, str) else f"{value:.{self._digits}f}"

    def _about(self, one: Decision) -> list[tuple[str, str]]:
        found = [(plain("table.person"), one.subject)]
        # Predictions of early versions do not name the visit; the sidecars do.
        session = one.session or next((r.sidecar.get("session_id") for r in self._records.get(one.key, ())), None)
        if session:
            found.append((plain("table.session"), str(session)))
        if one.scan in self._subjects.index:
            row = self._subjects.loc[one.scan]
            found += [(name, _brief(row[name])) for name in self._covariates if not pd.isna(row[name])]
        return [*found, (plain("table.fold"), str(one.fold))]

    def _evaluated(self, one: Decision) -> list[tuple[str, str, str, str]]:
        """Evaluator, explainer, score and value of the scan's maps."""
        found = []
        for name, tables in self._scores:
            for row in tables[one.scan].to_dict("records") if one.scan in tables else []:
                if row.get("fold", one.fold) != one.fold:
                    continue
                explainer = str(row.get("explainer", ""))
                values = {str(k): value for k, value in row.items() if k not in NOT_SCORES and not pd.isna(value)}
                found += [(name, explainer, key.replace("_", " "), number(value)) for key, value in values.items()]
        return found


def _brief(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pair(pair: Pair) -> dict[str, str]:
    return {"first": pair.first, "second": pair.second, "rank": number(pair.rank, 2), "dice": number(pair.dice, 2)}
