"""Scores of everybody's relevance with the own feature map, and with the maps of others."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from xai_core import InputError

from .._grids import Grid
from .._stack import Stack, filled
from .cases import Case, LeftOut
from .features import NotUsableError
from .measures import Measure, density_ratio, measures_for, score
from .prepare import is_binary
from .reading import Reader, require_common, require_feature, require_variation
from .shuffle import OwnOrOther, cross_scores, own_or_other

if TYPE_CHECKING:
    from ..map_similarity import MapSimilarity

__all__ = ["Comparison", "Scored"]

Array = npt.NDArray[Any]
log = logging.getLogger("xai")


@dataclass(frozen=True)
class Scored:
    """What is found for the maps of one explainer.

    Attributes:
        cases: That could be compared.
        rows: Their scores, by column of the table.
        measures: That are defined.
        null: The permutation test by name of the measure, people in the order of their first case; empty: none made.
    """

    cases: list[Case]
    rows: list[dict[str, Any]]
    measures: list[Measure]
    null: dict[str, OwnOrOther]

    @property
    def people(self) -> list[str]:
        """Each once, in the order of the cases."""
        return list(dict.fromkeys(case.person for case in self.cases))


class Comparison:
    """Compares the maps of one explainer after another.

    Args:
        options: Of the analysis.
        left_out: Gets who cannot be compared.
    """

    def __init__(self, options: MapSimilarity, left_out: LeftOut) -> None:
        self.reader = Reader(options, options.feature_map)
        self._options = options
        self._left_out = left_out

    def of(self, cases: Sequence[Case]) -> Scored:
        """Score the maps of one explainer.

        Raises:
            InputError: Nobody can be compared, or the maps lie on several grids and a permutation test is wanted.
        """
        grid, options = self.reader.grid_of(cases), self._options
        if options.permutations:
            require_common(grid, "the permutation test compares them with other people's maps (permutations: 0: none)")
        usable: list[Case] = []
        rows: list[dict[str, Any]] = []
        shared: npt.NDArray[np.bool_] | None = None
        for case in self._with_block(cases):
            try:
                row, inside = self._scores(case, grid)
            except NotUsableError as reason:
                self._left_out.add(case, str(reason))
                continue
            usable.append(case)
            rows.append(row)
            shared = inside if shared is None or grid is None else shared & inside
        if not usable or shared is None:
            raise InputError(f"map-similarity: nobody can be compared: {self._left_out.in_words()}.")
        binary = all(row.pop("binary") for row in rows)
        measures = measures_for(binary=binary, signed=options.part == "signed")
        names = {measure.name for measure in measures}
        rows = [_defined(row, names, binary=binary) for row in rows]
        null = self._null(usable, measures, grid, shared) if options.permutations and grid is not None else {}
        return Scored(usable, rows, measures, null)

    def _with_block(self, cases: Sequence[Case]) -> list[Case]:
        """Return the cases whose person belongs to one block; the others are left out."""
        column = self._options.blocks
        if column is None:
            return list(cases)
        labels: dict[str, set[Any]] = {}
        for case in cases:
            labels.setdefault(case.person, set()).add(None if pd.isna(case.row[column]) else case.row[column])
        kept = []
        for case in cases:
            if None in labels[case.person]:
                self._left_out.add(case, f"has no {column}")
            elif len(labels[case.person]) > 1:
                self._left_out.add(case, f"{column} differs between visits")
            else:
                kept.append(case)
        return kept

    def _scores(self, case: Case, grid: Grid | None) -> tuple[dict[str, Any], npt.NDArray[np.bool_]]:
        pair = self.reader.pair(case, grid)
        relevance, feature = pair.relevance[pair.inside], require_feature(pair, self._options.feature_map)
        require_variation(relevance, "relevance")
        binary = is_binary(feature)
        row: dict[str, Any] = {"binary": binary, "voxels": relevance.size, "coverage": pair.coverage}
        row["feature_voxels"] = int(np.count_nonzero(feature))
        for measure in measures_for(binary=binary, signed=self._options.part == "signed"):
            row[measure.name] = score(measure, relevance, feature, self._options.top)
        if not binary:
            return row, pair.inside
        # Where another person's map is not binary, Dice is that of the top percent of both maps for everybody.
        general = next(measure for measure in measures_for(binary=False, signed=True) if measure.name == "dice")
        row["general_dice"] = score(general, relevance, feature, self._options.top)
        if "share" in row:
            row["density_ratio"] = density_ratio(row["share"], row["feature_voxels"], relevance.size)
        return row, pair.inside

    def _null(
        self, cases: list[Case], measures: list[Measure], grid: Grid, shared: npt.NDArray[np.bool_]
    ) -> dict[str, OwnOrOther]:
        column = self._options.blocks
        people = {case.person: None if column is None else case.row[column] for case in cases}
        if max(Counter(people.values()).values()) < 2:
            log.warning("map-similarity: nobody's map can be exchanged with another person's: no test is made.")
            return {}
        if not shared.any():
            raise InputError(
                "map-similarity: no voxel is compared in everybody, so maps cannot be exchanged between people. Set "
                "permutations: 0."
            )
        with tempfile.TemporaryDirectory(prefix="xai-voxels-") as folder:
            raw = self._raw(cases, grid, shared, Path(folder))
            return {measure.name: self._tested(measure, raw, cases, Path(folder)) for measure in measures}

    def _raw(self, cases: list[Case], grid: Grid, shared: npt.NDArray[np.bool_], folder: Path) -> tuple[Stack, Stack]:
        left, right = (
            filled(self.reader.rows(cases, grid, shared, features=features), len(cases), shared, grid, folder)
            for features in (False, True)
        )
        for stack, what in ((left, "relevance"), (right, f"map {self._options.feature_map}")):
            flat = [
                case.record.scan_id for case, row in zip(cases, stack.values, strict=True) if row.min() == row.max()
            ]
            if flat:
                raise InputError(
                    f"map-similarity: in the {int(shared.sum())} voxels that are compared in everybody the {what} is "
                    f"constant in {len(flat)} scans: {', '.join(flat[:5])}. Set permutations: 0, or compare wider."
                )
        return left, right

    def _tested(self, measure: Measure, raw: tuple[Stack, Stack], cases: list[Case], folder: Path) -> OwnOrOther:
        options, count = self._options, len(cases)
        profiles = []
        for stack, profile in zip(raw, (measure.left, measure.right), strict=True):
            rows = (profile(np.asarray(row, dtype=np.float64), options.top) for row in stack.values)
            profiles.append(filled(rows, count, stack.mask, stack.grid, folder))
        table = cross_scores(measure, profiles[0], profiles[1])
        for stack in profiles:
            stack.delete()
        blocks = None if options.blocks is None else [case.row[options.blocks] for case in cases]
        people, scans = [case.person for case in cases], [case.record.scan_id for case in cases]
        generator = np.random.default_rng(options.seed)
        return own_or_other(table, people, scans, blocks, options.permutations, generator)


def _defined(row: dict[str, Any], names: set[str], *, binary: bool) -> dict[str, Any]:
    """Return the columns that are defined for everybody."""
    general = row.pop("general_dice", None)
    if binary:
        return row
    if general is not None:
        row["dice"] = general
    about = {"voxels", "coverage"}
    return {name: value for name, value in row.items() if name in about | names}
