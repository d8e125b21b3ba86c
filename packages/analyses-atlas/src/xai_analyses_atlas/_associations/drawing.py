"""Figures of the strongest relations and the matrix of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from .._figures import matrix, save, scatter
from .._statistics import residuals
from ..region_features import WITH_COVARIATES
from .cohort import EVERYBODY, Cohort
from .correcting import Tested
from .words import CORRECTED, method_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..region_features import Method, RegionFeatures
    from .samples import Sample

__all__ = ["draw"]

_LEVEL = 0.05
_COLUMNS = 40
_ROWS = 60
# Methods whose line and numbers are those of the figure's own least-squares fit.
_FITTED = frozenset({"pearson", "partial-pearson", "ols"})
_SYMBOL = {"spearman": "rho", "partial-spearman": "partial rho", "percentage-bend": "percentage-bend r"}


def draw(
    output: Path,
    table: pd.DataFrame,
    tested: Mapping[Method, Sequence[Tested]],
    cohort: Cohort,
    options: RegionFeatures,
) -> list[str]:
    """Draw the results of everybody together and return the names of the figures.

    Of each method the matrix; of the first one its strongest relations, too: those of the others are mostly the same.

    Args:
        output: Existing folder.
        table: ``associations.tsv``.
        tested: The samples of each of its methods.
        cohort: The people.
        options: What was asked for.
    """
    found = []
    together = table[table["group"] == EVERYBODY]
    for number, method in enumerate(options.methods):
        for explainer, mine in together[together["method"] == method].groupby("explainer", sort=False):
            found.append(_matrix(output, mine, str(explainer), method, cohort, options))
            if number == 0:
                found += _strongest_relations(output, mine, method, tested[method], cohort, options)
    return found


def _strongest_relations(
    output: Path, mine: pd.DataFrame, method: Method, tested: Sequence[Tested], cohort: Cohort, options: RegionFeatures
) -> list[str]:
    found, explainer = [], str(mine["explainer"].iloc[0])
    order = np.lexsort((np.arange(len(mine)), -mine["estimate"].abs(), mine["p"]))
    for rank, (_, row) in enumerate(mine.iloc[order[: options.figures]].iterrows(), 1):
        sample, place = _located(tested, explainer, row)
        stem = f"{_stem(explainer)}_{method}_{rank}"
        figure, about = _scatter(sample, place, row, method, cohort, options)
        save(figure, output, stem, about)
        found.append(stem)
    return found


def _matrix(
    output: Path, mine: pd.DataFrame, explainer: str, method: Method, cohort: Cohort, options: RegionFeatures
) -> str:
    labels = [
        _label(str(feature), region, options.pairs)
        for feature, region in zip(mine["feature"], mine["feature_region"], strict=True)
    ]
    wide = mine.assign(label=labels, size=mine["estimate"].abs())
    regions = [region.name for region in cohort.atlas.regions]
    rows, columns = _strongest(wide, "region", regions, _ROWS), _strongest(wide, "label", labels, _COLUMNS)
    estimates, p = (
        wide.pivot(index="region", columns="label", values=name).reindex(index=rows, columns=columns)
        for name in ("estimate", "p_adjusted")
    )
    whole = (wide["region"].nunique(), wide["label"].nunique())
    cut = ""
    if whole != (len(rows), len(columns)):
        cut = f"; the strongest {len(rows)} of {whole[0]} regions and {len(columns)} of {whole[1]} variables"
    n = f"n = {mine['people'].min()}" + (f" to {mine['people'].max()}" if mine["people"].nunique() > 1 else "")
    star = f"p < {_LEVEL:g} ({CORRECTED[options.correction]})"
    given = [one.column for one in cohort.covariates] if method in WITH_COVARIATES else []
    words = method_words(method, ", ".join(given))
    label = "standardised slope" if method in ("ols", "hc3", "rlm", "mixed") else "correlation"
    figure = matrix(
        estimates,
        value_label=label,
        heading=f"{explainer}: relevance ({options.measure}) by region\n{words}, {n} people{cut}",
        significant=p < _LEVEL,
        significance=star,
        limit=1.0 if label == "correlation" else None,
    )
    stem = f"{_stem(explainer)}_{method}_matrix"
    about = (
        f"{words[0].upper()}{words[1:]} of the relevance of {explainer} ({options.measure}) in each region of "
        f"{cohort.atlas.name} with each variable{cut}. {n} people, each counted once. A star: {star}."
    )
    save(figure, output, stem, about)
    return stem


def _strongest(table: pd.DataFrame, column: str, order: Sequence[str], most: int) -> list[str]:
    """Return the names in a column whose largest |estimate| is among the largest, in a given order."""
    sizes = table.groupby(column, sort=False)["size"].max().nlargest(most, keep="first")
    return [name for name in dict.fromkeys(order) if name in sizes.index]


def _label(feature: str, region: object, pairs: str) -> str:
    return f"{feature}, {region}" if pairs == "all" and isinstance(region, str) else feature


def _located(tested: Sequence[Tested], explainer: str, row: pd.Series) -> tuple[Sample, int]:
    """Return the sample and the pair that a row of the table came from."""
    for part in tested:
        if part.sample.explainer == explainer and part.sample.group == EVERYBODY:
            for outcome in part.made:
                if outcome.values.get("row") == row.name:
                    return part.sample, outcome.pair
    raise ValueError("the row is of none of these samples")


def _scatter(
    sample: Sample, pair: int, row: pd.Series, method: Method, cohort: Cohort, options: RegionFeatures
) -> tuple[Figure, str]:
    region, variable = sample.pairs[pair]
    y, x, of, shown = sample.y[:, region], sample.x[:, variable], "", "values"
    given = str(row["covariates"]) if isinstance(row["covariates"], str) else None
    adjusting, names = sample.adjusting() if given and method in _FITTED else (None, [])
    if method == "partial-spearman" and given:
        matrix = sample.adjusting(ranks=True)[0]
        y, x = (residuals(stats.rankdata(values)[:, None], matrix)[:, 0] for values in (y, x))
        of, shown = "rank of ", f"what {given} leave of the ranks"
    elif adjusting is not None:
        shown = "partial residuals"
    whose = str(row["feature"]) + (f", {row['feature_region']}" if isinstance(row["feature_region"], str) else "")
    unit = f" ({row['unit']})" if isinstance(row["unit"], str) and row["unit"] else ""
    numbers = _numbers(row)
    behind = f"\n(given {given})" if of else ""
    figure = scatter(
        x,
        y,
        x_label=f"{of}{whose}{unit}{behind}",
        y_label=f"{of}relevance, {row['region']} ({options.measure}){behind}",
        heading=f"{sample.explainer}: {row['region']} and {whose}"
        + ("" if method in _FITTED else f"\n{_SYMBOL.get(method, 'slope')} {numbers}"),
        groups=_colours(cohort, sample),
        covariates=adjusting,
        covariate_names=names,
        level=options.confidence,
        fit=method in _FITTED,
    )
    about = (
        f"Relevance of {sample.explainer} in {row['region']} ({options.measure}) and {whose}, one of the strongest "
        f"relations of the table (chosen after the fact), shown as {shown}. n = {row['people']} people. "
        f"{method_words(method, given)}: estimate {numbers}."
    )
    return figure, about


def _numbers(row: pd.Series) -> str:
    low, high = row["ci_low"], row["ci_high"]
    if not np.isfinite(low):
        low, high = row["bootstrap_low"], row["bootstrap_high"]
    interval = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    p = row["p_adjusted"]
    return f"{row['estimate']:.2f}{interval}, corrected p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def _colours(cohort: Cohort, sample: Sample) -> Sequence[object] | None:
    values = cohort.scans["target"].iloc[sample.rows]
    if pd.api.types.is_numeric_dtype(values) or values.nunique() > 6:
        return None
    return list(values)


def _stem(explainer: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in explainer)
