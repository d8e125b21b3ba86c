"""Tables, sentences and models of ``normative-scores``."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from xai_core import InputError

from .checks import atlas_of
from .coding import covariates_of
from .gather import LeftOut, Scans, control_names, gathered
from .people import findings
from .relations import relations
from .relevance import ranked
from .scores import FoldModels, fold_models, w_scores
from .sentences import Rule, sentences_of
from .words import ENGLISH, EVERYBODY, Words

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .._atlases import Atlas
    from ..normative_scores import NormativeScores

__all__ = ["score", "write_normative_scores"]

log = logging.getLogger("xai")

_COLUMNS = [
    "scan_id", "subject_id", "session_id", "fold", "repeat", "target", "prediction", "control", "explainer", "region",
    "hemisphere", "structure", "relevance", "explains", "reference_controls", "reference_same_output",
    "controls_as_high", "percentile", "top", "feature", "source", "unit", "observed", "expected", "w", "t", "p",
    "controls_fitted", "df", "outside_range",
]  # fmt: skip
_SENTENCES = [
    "scan_id", "subject_id", "session_id", "explainer", "region", "feature", "w", "top", "reference_controls",
    "outside_range", "sentence",
]  # fmt: skip


def write_normative_scores(run: RunResults, output: Path, options: NormativeScores) -> None:
    """See ``NormativeScores.analyse``."""
    from .._features import gather_features, registrations
    from .._relevance import region_table

    atlas = atlas_of(options.atlas, options.space)
    found = gather_features(options.features, run.subjects(), atlas, to_mni=registrations(run))
    regions = region_table(run, atlas, options.explainers, space=options.space, mismatch=options.mismatch)
    score(run, output, options, found.table, regions, atlas, found.left_out)


def score(
    run: RunResults,
    output: Path,
    options: NormativeScores,
    features: pd.DataFrame,
    regions: pd.DataFrame,
    atlas: Atlas | None = None,
    without: pd.DataFrame | None = None,
) -> None:
    """Write everything from tables of features and of relevance by region.

    Args:
        run: The run.
        output: An empty folder.
        options: Parameters of the analysis.
        features: See ``gathered``.
        regions: See ``ranked``.
        atlas: Is described in ``models.json``.
        without: Scans that a source of features lacks: ``source``, ``scan_id``, ``reason``.

    Raises:
        InputError: See ``NormativeScores.analyse``.
    """
    left_out, controls = LeftOut(), control_names(options.controls, run.classes)
    if without is not None:
        for row in without.itertuples():
            left_out.add("source", f"{row.source}: {row.reason}", scan_id=row.scan_id)
    covariates = covariates_of(options.covariates)
    scans = gathered(run, features, covariates)
    models = fold_models(run, scans, controls, covariates, options.minimum_controls, left_out)
    found = w_scores(run, scans, models, left_out)
    relevance = ranked(run, regions, options.measure, controls, left_out, options.reference)
    scores = _joined(found, relevance, left_out)
    rule = Rule(options.top, options.deviation, options.when, options.most)
    _write(output / "scores.tsv", scores[_COLUMNS])
    _write(output / "sentences.tsv", _sentences(scores, scans, models, rule, ENGLISH if run.classes else EVERYBODY))
    _write(output / "relations.tsv", relations(scores, run.classes))
    _write(output / "left-out.tsv", left_out.table())
    about = _about(run, options, scores, models, scans, atlas)
    text = json.dumps(about, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (output / "models.json").write_text(text, encoding="utf-8")
    _warn_of_other_outputs(scores)
    if left_out.rows:
        log.warning("normative-scores: %d entries in left-out.tsv say who and what is missing", len(left_out.table()))


def _warn_of_other_outputs(scores: pd.DataFrame) -> None:
    """Say how many people are ranked among controls of whom most have a map that explains another output."""
    people = scores.drop_duplicates(["scan_id", "fold", "explainer"])
    concerned = people[2 * people["reference_same_output"] < people["reference_controls"]]
    if len(concerned):
        log.warning(
            "normative-scores: %d of %d maps explain another output than those of most controls that they are ranked "
            "among, so unusual relevance may only say that (column explains; the sentences say so). reference: "
            "same-output ranks like with like.", len(concerned), len(people),
        )  # fmt: skip


def _joined(found: pd.DataFrame, relevance: pd.DataFrame, left_out: LeftOut) -> pd.DataFrame:
    """Return scores and relevance side by side; regions that only one of them has are recorded.

    Raises:
        InputError: They share no region.
    """
    scored, seen = set(found["region"]), set(relevance["region"])
    for name in sorted(scored - seen):
        left_out.add("region", "no relevance: the atlas has no such region with voxels", region=name)
    for name in sorted(seen - scored):
        left_out.add("region", "no feature was scored", region=name)
    table = relevance.merge(found, on=["scan_id", "fold", "region"], how="inner")
    if table.empty:
        raise InputError(
            "normative-scores: no person has both a score and relevance in any region. Features have: "
            f"{', '.join(sorted(scored)[:8])}. The atlas has: {', '.join(sorted(seen)[:8])}."
        )
    keys = ["scan_id", "fold", "explainer", "region", "feature"]
    return table.sort_values(keys, kind="stable").reset_index(drop=True)


def _sentences(scores: pd.DataFrame, scans: Scans, models: list[FoldModels], rule: Rule, words: Words) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    people = {str(row["scan_id"]): row for row in scans.people.to_dict("records")}
    for key, found in findings(scores, scans, models[0].coding, words).items():
        person = people[key.scan_id]
        head = {"subject_id": person["subject_id"], "session_id": person["session_id"], **key._asdict()}
        for sentence in sentences_of(found, rule, words):
            about = sentence.about
            numbers: dict[str, Any] = {} if about is None else {
                "region": about.region, "feature": about.feature, "w": about.w, "top": about.top,
                "reference_controls": about.controls, "outside_range": about.outside,
            }  # fmt: skip
            rows.append({**head, **numbers, "sentence": sentence.text})
    return pd.DataFrame(rows, columns=_SENTENCES)


def _about(
    run: RunResults,
    options: NormativeScores,
    scores: pd.DataFrame,
    models: list[FoldModels],
    scans: Scans,
    atlas: Atlas | None,
) -> dict[str, Any]:
    explained: dict[str, dict[str, int]] = {}
    tested = set(scores["scan_id"])
    for record in run.maps():
        if record.scan_id in tested:
            counts = explained.setdefault(record.explainer, {})
            name = str(record.sidecar.get("target_name", "unknown"))
            counts[name] = counts.get(name, 0) + 1
    regions = scores["region"].nunique()
    return {
        "what": "w = (observed - expected) / sd; expected from least squares among the controls of the fold's training "
        "part; sd = sqrt(sum of squared residuals / (n - coefficients)); t = w / sqrt(1 + leverage)",
        "relevance": f"{options.measure} by region of tested people, ranked among tested controls, the person left out;"
        " top = (controls with as much or more + 1) / (controls + 1)",
        "reference": options.reference,
        "controls": control_names(options.controls, run.classes),
        "covariates": [covariate.column for covariate in covariates_of(options.covariates)],
        "atlas": None if atlas is None else {"name": atlas.name, "checksum": atlas.checksum},
        "people": int(scores["subject_id"].nunique()),
        "regions": int(regions),
        "regions_above_top_by_chance": round(regions * options.top, 3),
        "explained_outputs": explained,
        "folds": [_fold_json(each, scans) for each in models],
    }


def _fold_json(each: FoldModels, scans: Scans) -> dict[str, Any]:
    origin = dict(zip(scans.features, zip(scans.units, scans.sources, strict=True), strict=True))
    return {
        "fold": each.fold,
        "controls": len(each.controls),
        "control_scans": list(each.controls),
        **each.coding.as_json(),
        "models": [
            {
                "region": key.region, "feature": key.feature, "unit": origin[key][0], "source": origin[key][1],
                "n": model.n, "df": model.df, "sd": model.sd, "r2": model.r2,
                "coefficients": model.coefficients.tolist(),
            }
            for key, model in each.models.items()
        ],
    }  # fmt: skip


def _write(path: Path, table: pd.DataFrame) -> None:
    text = str(table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    path.write_text(text, encoding="utf-8", newline="")
