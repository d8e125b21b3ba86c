"""Matrices of agreement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .._figures import matrix, save
from .summary import WHOLE

__all__ = ["write_figures"]

_MOST = 40


def write_figures(output: Path, summary: pd.DataFrame, icc: pd.DataFrame) -> None:
    """Draw how far explainers and runs agree, and intraclass correlations by region, where there are any."""
    for comparison in ("explainers", "runs"):
        chosen = summary[(summary["comparison"] == comparison) & (summary["measure"] == "spearman")]
        chosen = chosen[(chosen["output"] == "same") & chosen["mean"].notna()]
        for name, rows in chosen.groupby("explainer", dropna=False, sort=True):
            _pairs(output, comparison, name if isinstance(name, str) else None, rows)
    chosen = icc[(icc["icc"] == "ICC(2,1)") & (icc["region"] != WHOLE)]
    if len(chosen):
        _regions(output, chosen)


def _pairs(output: Path, comparison: str, explainer: str | None, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys([*map(str, rows["a"]), *map(str, rows["b"])]))
    cells = pd.DataFrame(np.nan, index=names, columns=names)
    for a, b, mean in zip(rows["a"], rows["b"], rows["mean"], strict=True):
        cells.loc[str(a), str(b)] = cells.loc[str(b), str(a)] = float(mean)
    whose = "" if explainer is None else f" of {explainer}"
    n = _people(rows)
    heading = f"Agreement between {comparison}{whose}"
    figure = matrix(cells, value_label="mean Spearman correlation over voxels", heading=heading, limit=1.0)
    stem = f"agreement-{comparison}" + (f"-{explainer}" if explainer else "")
    caption = (
        f"{heading}: Spearman's correlation of two maps of one scan over the voxels of the brain, mean over people; "
        f"{n}. No test is made; summary.tsv has the intervals and what maps of different people reach."
    )
    save(figure, output, stem, caption)


def _regions(output: Path, rows: pd.DataFrame) -> None:
    """Draw a column for each comparison and explainer, the regions that agree most first."""
    names = [
        comparison if pd.isna(explainer) else f"{comparison}, {explainer}"
        for comparison, explainer in zip(rows["comparison"], rows["explainer"], strict=True)
    ]
    cells = rows.assign(what=names).pivot(index="region", columns="what", values="value")
    cells = cells.loc[cells.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    measure = str(rows["measure"].iloc[0])
    heading = f"ICC of {measure} by region, highest first"
    figure = matrix(cells, value_label="ICC(2,1)", heading=heading, limit=1.0, most=_MOST)
    n = _people(rows)
    caption = (
        f"Intraclass correlation ICC(2,1), absolute agreement of single measurements (Shrout and Fleiss 1979), of the "
        f"{measure} of relevance by region; {n}. The {_MOST} regions with the highest mean are shown at most. icc.tsv "
        "has all of them with 95 % intervals and F tests."
    )
    save(figure, output, "icc-by-region", caption)


def _people(rows: pd.DataFrame) -> str:
    least, most = int(rows["people"].min()), int(rows["people"].max())
    return f"n = {most} people" if least == most else f"n = {least} to {most} people"
