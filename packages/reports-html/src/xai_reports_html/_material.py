"""Everything that the pages of a run are made of, read once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_core import InputError
from xai_core.engine.results import ENSEMBLE

from ._analyses import analysis_folders
from ._anatomy import Anatomy
from ._case import Cases, Key
from ._decisions import Decision, decisions
from ._doubts import Doubts
from ._methods import known_limits, meaning
from ._reading import Notes, read_table
from ._scores import if_made
from ._sections import quality_rows

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord, RunResults

    from .plugin import HtmlReport

__all__ = ["Material", "explainer_slots"]


class Material:
    """What a run holds, for the template's parts.

    Attributes:
        run: The run.
        options: Of the report.
        notes: What could not be read.
        config: The resolved configuration.
        info: ``run.json``.
        metrics: ``metrics.json``, empty where there is none.
        predictions: ``predictions.tsv``, or None.
        tested: The decisions in it.
        records: All maps.
        maps: Maps of each decision, in the order of the configuration.
        quality: ``quality.tsv``, or None.
        evaluations: Tables of the evaluators, by id.
        anatomy: What the analyses found.
        cases: Makes the parts of people.

    Raises:
        InputError: ``controls`` names no class of the run.
    """

    def __init__(self, run: RunResults, options: HtmlReport) -> None:
        self.run, self.options, self.notes = run, options, Notes()
        self.config, self.info, self.classes = run.config, run.info, run.classes
        self.metrics: dict[str, Any] = if_made(run.metrics) or {}
        self._note_what_is_not_trained()
        self.predictions = if_made(run.predictions)
        rows = self.predictions if self.predictions is not None else pd.DataFrame()
        self.tested: list[Decision] = decisions(rows, self.classes, options.unsure)
        self.records = run.maps()
        self.maps = self._maps()
        self.quality = quality_rows(run, self.notes)
        self.evaluations = self._evaluations()
        self.anatomy = Anatomy(
            analysis_folders(run), self.tested, self.records, _controls(options.controls, self.classes), self.notes
        )
        doubts = Doubts(_by_scan(self.quality), self._votes(), options.unsure)
        self.cases = Cases(
            self.tested, self.maps, run.subjects(), list(self.evaluations.items()), doubts, self.anatomy, self.classes,
            options,
        )  # fmt: skip

    def _note_what_is_not_trained(self) -> None:
        if (self.run.folder / ENSEMBLE).is_file():  # has no networks of its own
            return
        splits = self.run.splits()
        lacking = [] if splits.empty else sorted({int(fold) for fold in splits["fold"]} - set(self.run.folds()))
        if lacking:
            self.notes.add("untrained", folds=", ".join(map(str, lacking)))

    @property
    def explained(self) -> list[Decision]:
        """Decisions that have a map."""
        return [one for one in self.tested if one.key in self.maps]

    def _maps(self) -> Mapping[Key, Sequence[MapRecord]]:
        rank = {slot["id"]: position for position, slot in enumerate(explainer_slots(self.config))}
        found: dict[Key, list[MapRecord]] = defaultdict(list)
        for record in self.records:
            found[record.scan_id, record.fold].append(record)
        for records in found.values():
            records.sort(key=lambda record: (rank.get(record.explainer, len(rank)), record.explainer))
        return found

    def _evaluations(self) -> dict[str, pd.DataFrame]:
        found = {}
        for slot in self.config.get("evaluators") or []:
            name = str(slot.get("id", slot.get("name")))
            table = if_made(lambda name=name: self.run.evaluation(name))  # type: ignore[misc]
            if table is not None and len(table):
                found[name] = table
        return found

    def _votes(self) -> dict[Key, Mapping[Any, Any]] | None:
        path = self.run.folder / "agreement.tsv"
        if not ((self.run.folder / ENSEMBLE).is_file() and path.is_file()):
            return None
        table = read_table(path, self.notes, ("scan_id", "fold"))
        if table is None:
            return None
        return {(str(row["scan_id"]), int(row["fold"])): row for row in table.to_dict("records")}

    def methods(self) -> list[dict[str, Any]]:
        """Return how the maps of each explainer are read, and its known limits."""
        return [
            {
                "id": slot["id"],
                "meaning": meaning(slot["name"], slot["params"]),
                "limits": known_limits(slot["name"], slot["params"]),
            }
            for slot in explainer_slots(self.config)
        ]


def explainer_slots(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the slots of the explainers with their ids and parameters."""
    slots = config.get("explainers") or []
    return [{**slot, "id": str(slot.get("id", slot["name"])), "params": slot.get("params") or {}} for slot in slots]


def _controls(wanted: Sequence[str] | None, classes: Sequence[str] | None) -> list[str] | None:
    if wanted is None:
        return None if classes is None else [classes[0]]
    unknown = [name for name in wanted if name not in (classes or ())]
    if unknown:
        known = f"The run has {', '.join(classes)}." if classes else "The run is a regression, which has none."
        raise InputError(f"report html: controls names no class: {', '.join(unknown)}. {known}")
    return list(wanted)


def _by_scan(table: pd.DataFrame | None) -> dict[str, list[dict[Any, Any]]] | None:
    if table is None:
        return None
    found: dict[str, list[dict[Any, Any]]] = defaultdict(list)
    for row in table.to_dict("records"):
        found[str(row["scan_id"])].append(row)
    return found
