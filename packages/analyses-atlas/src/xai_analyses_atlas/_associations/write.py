"""``region-features``: everything that it writes."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from xai_core import InputError

from .. import __version__
from .._atlases import load_atlas
from .._features.people import listed
from .._relevance.write import atlas_facts
from ..region_features import WITH_COVARIATES
from .cohort import Cohort, LeftOut, gathered
from .correcting import Tested, corrected
from .drawing import draw
from .samples import check_design, samples
from .testing import outcomes
from .words import in_words

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from ..region_features import Method, RegionFeatures

__all__ = ["write_region_features"]

log = logging.getLogger("xai")

COLUMNS = [
    "explainer", "group", "region", "hemisphere", "structure", "feature", "feature_region", "unit", "source", "method",
    "n", "people", "covariates", "estimate", "ci_low", "ci_high", "bootstrap_low", "bootstrap_high", "slope",
    "slope_error", "partial_r_squared", "statistic", "distribution", "df", "p", "p_adjusted", "correction", "family",
    "note",
]  # fmt: skip


def write_region_features(run: RunResults, output: Path, options: RegionFeatures) -> None:
    """See ``RegionFeatures.analyse``."""
    atlas = load_atlas(options.atlas, folder=options.folder, unnamed=options.unnamed)
    left_out = LeftOut()
    cohort = gathered(run, atlas, options, left_out)
    check_design(cohort)
    _check_visits(cohort, options)
    tested = {method: _tested(method, cohort, options) for method in options.methods}
    rows: list[dict[str, Any]] = []
    for method, parts in tested.items():
        rows += _rows(method, parts, cohort, options, len(rows), left_out)
    if not rows:
        reasons = Counter(str(row["reason"]) for row in left_out.table().to_dict("records") if row["what"] == "test")
        raise InputError(
            f"region-features: not one of {sum(reasons.values())} tests could be made. "
            + "; ".join(f"{count} times: {reason}" for reason, count in reasons.most_common(3))
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    _write_tables(output, table, cohort, left_out)
    figures = draw(output, table, tested, cohort, options) if options.figures else []
    about = _about(table, cohort, options, left_out, figures)
    text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (output / "models.json").write_text(text, encoding="utf-8", newline="")


def _check_visits(cohort: Cohort, options: RegionFeatures) -> None:
    if "mixed" in options.methods and not cohort.scans["subject_id"].duplicated().any():
        raise InputError(
            "methods: mixed needs people with several visits, but every tested person has one. Take ols or hc3."
        )


def _tested(method: Method, cohort: Cohort, options: RegionFeatures) -> list[Tested]:
    found = []
    for sample in samples(cohort, same_region=options.pairs == "same-region", all_visits=method == "mixed"):
        people = cohort.scans["subject_id"].iloc[sample.rows].to_numpy()
        found.append(Tested(sample, outcomes(method, sample, options, people)))
    return found


def _rows(
    method: Method, tested: Sequence[Tested], cohort: Cohort, options: RegionFeatures, first: int, left_out: LeftOut
) -> list[dict[str, Any]]:
    """Return the rows of the table and put what could not be tested on record."""
    corrected_p = corrected(method, tested, options)
    family = sum(len(part.made) for part in tested)
    rows: list[dict[str, Any]] = []
    for part, adjusted in zip(tested, corrected_p, strict=True):
        p = iter(adjusted.tolist())
        for one in part.outcomes:
            about = _identity(method, part, one.pair, cohort)
            if not one.values:
                left_out.add("test", one.reason, **{key: about.get(key) for key in LeftOut.COLUMNS[2:-1]})
                continue
            one.values["row"] = first + len(rows)
            rows.append(
                about | one.values | {"p_adjusted": next(p), "correction": options.correction, "family": family}
            )
    return rows


def _identity(method: Method, part: Tested, pair: int, cohort: Cohort) -> dict[str, Any]:
    place, number = part.sample.pairs[pair]
    region, variable = cohort.atlas.regions[part.sample.regions[place]], part.sample.variables[number]
    unit = variable.unit or None
    if variable.others is not None and method not in WITH_COVARIATES:
        unit = "against all others"  # only an adjusted category is compared with the first one
    return {
        "explainer": part.sample.explainer, "group": part.sample.group, "region": region.name,
        "hemisphere": region.hemisphere, "structure": region.structure, "feature": variable.feature,
        "feature_region": variable.region, "unit": unit, "source": variable.source, "method": method,
    }  # fmt: skip


def _write_tables(output: Path, table: pd.DataFrame, cohort: Cohort, left_out: LeftOut) -> None:
    for variable in cohort.variables:
        missing = np.flatnonzero(~np.isfinite(variable.values) & cohort.counts)
        if len(missing):
            whose = listed(cohort.scans["scan_id"].iloc[missing].astype(str), 20)
            why = f"{len(missing)} of {int(cohort.counts.sum())} people have no value: {whose}"
            left_out.add("feature", why, feature=variable.feature, region=variable.region)
    unmatched = cohort.features.matches[cohort.features.matches["region"].isna()]
    if len(unmatched):
        log.warning(
            "region-features: %d of %d names of regions in the sources are in no region of %s, such as %s. See "
            "matches.tsv.", len(unmatched), len(cohort.features.matches), cohort.atlas.name, unmatched["name"].iloc[0],
        )  # fmt: skip
    skipped = left_out.table()
    if len(skipped):
        counts = "; ".join(f"{count} {what}s" for what, count in skipped["what"].value_counts(sort=False).items())
        log.warning("region-features: left out: %s. See left-out.tsv.", counts)
    frames = {
        "associations": table,
        "features": _went_in(cohort),
        "matches": cohort.features.matches,
        "left-out": skipped,
    }
    for name, frame in frames.items():
        text = str(frame.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
        (output / f"{name}.tsv").write_text(text, encoding="utf-8", newline="")


def _went_in(cohort: Cohort) -> pd.DataFrame:
    """Return the features of the sources, and the variables and covariates of the study, one row for each value."""
    whole = cohort.features.table.drop(columns="scan_id")
    whole.insert(0, "scan_id", cohort.features.table["scan_id"])
    about = cohort.scans[["scan_id", "subject_id", "session_id"]]
    parts = [whole]
    for variable in cohort.variables:
        if variable.source == "study":
            parts.append(
                about.assign(feature=variable.feature, value=variable.values, unit=variable.unit, source="study")
            )
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else whole


def _about(
    table: pd.DataFrame, cohort: Cohort, options: RegionFeatures, left_out: LeftOut, figures: Sequence[str]
) -> dict[str, Any]:
    import scipy
    import statsmodels

    counted = left_out.table()["what"].value_counts(sort=False)
    families = table.groupby("method", sort=False).size()
    return {
        "what": "relevance by region related to features of the same people, each person counted once",
        "models": {method: in_words(method, options, int(families.get(method, 0))) for method in options.methods},
        "measure": options.measure,
        "scans": len(cohort.scans),
        "people": int(cohort.counts.sum()),
        "groups": {name: int((mine & cohort.counts).sum()) for name, mine in cohort.groups.items()},
        "visits": f"the {options.visits} visit of each person" + (
            "; mixed takes every visit" if "mixed" in options.methods else ""
        ),
        "folds": "one map of each scan" if cohort.folds == 1 else f"up to {cohort.folds} maps of a scan are averaged",
        "bootstrap": f"{options.bootstrap} resamples of people, {options.interval}" if options.bootstrap else None,
        "confidence": options.confidence,
        "seed": options.seed,
        "atlas": atlas_facts(cohort.atlas),
        "left_out": {str(what): int(count) for what, count in counted.items()},
        "figures": list(figures),
        "versions": {
            "xai-analyses-atlas": __version__, "numpy": np.__version__, "scipy": scipy.__version__,
            "statsmodels": statsmodels.__version__, "pandas": pd.__version__,
        },
    }  # fmt: skip
