"""Pictures of ``map-similarity``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .._figures import bars, caption_text, save, scatter
from .writing import stem_of

if TYPE_CHECKING:
    from ..map_similarity import MapSimilarity

__all__ = ["draw"]

_BETWEEN_ONES = ("pearson", "spearman", "cosine", "share", "auc", "dice")


def draw(scores: pd.DataFrame, summary: pd.DataFrame, options: MapSimilarity, what: str, output: Path) -> None:
    """Write for each explainer the mean scores as bars, and everybody's score over that with other people's maps."""
    for explainer, rows in summary.groupby("explainer", sort=False):
        name = stem_of(str(explainer))
        _means(str(explainer), name, rows[rows["measure"].isin(_BETWEEN_ONES)], options, what, output)
        mine = scores[scores["explainer"] == explainer]
        best = "auc" if "auc" in mine else "spearman"
        if f"{best}_others" in mine:
            _people(str(explainer), name, mine, rows[rows["measure"] == best].iloc[0], best, options, output)


def _means(explainer: str, name: str, rows: pd.DataFrame, options: MapSimilarity, what: str, output: Path) -> None:
    own = rows[["measure", "mean", "low", "high"]].assign(map="own map")
    shown, tested = [own], rows["others"].notna().any()
    if tested:
        shown.append(own.assign(map="other people's maps", mean=rows["others"], low=None, high=None))
    table = pd.concat(shown).sort_values("measure", kind="stable", key=lambda column: column.map(_BETWEEN_ONES.index))
    people = int(rows["people"].iloc[0])
    figure = bars(
        table.astype({"low": float, "high": float}),
        value="mean",
        value_label="mean over people (95 % interval)",
        heading=f"{explainer}: {options.part} relevance and {options.feature_map}, {people} people",
        name="measure",
        low="low",
        high="high",
        group="map" if tested else None,
    )
    ps = ", ".join(f"{row['measure']} p = {row['p']:.3g}" for row in rows.to_dict("records")) if tested else ""
    test = f"Maps reassigned among people, one-sided, uncorrected: {ps}" if tested else "no test"
    notes = ["Intervals are Student's t"] if people > 1 else []
    sentence = f"{explainer}: how closely each person's relevance follows the person's {options.feature_map} ({what})"
    save(figure, output, f"{name}_similarity", caption_text(sentence, n=people, test=test, notes=notes))


def _people(
    explainer: str, name: str, mine: pd.DataFrame, row: pd.Series, best: str, options: MapSimilarity, output: Path
) -> None:
    means = mine.groupby("subject_id", sort=False)[[best, f"{best}_others"]].mean()
    figure = scatter(
        means[f"{best}_others"].to_numpy(),
        means[best].to_numpy(),
        x_label=f"{best} with other people's maps (mean)",
        y_label=f"{best} with the own map",
        heading=f"{explainer}: {options.part} relevance and {options.feature_map}",
        fit=False,
        identity=True,
    )
    test = f"Maps reassigned among people, one-sided: p = {row['p']:.3g} ({row['arrangements']:.0f} arrangements)"
    sentence = f"{explainer}: {best} of relevance and {options.feature_map}; above the line the own map is closer"
    save(figure, output, f"{name}_{best}", caption_text(sentence, n=len(means), test=test))
