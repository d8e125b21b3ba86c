"""Scores of each person as findings, ready for sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from .coding import Coding
from .gather import Scans
from .sentences import Finding
from .words import ENGLISH, Words

__all__ = ["Key", "findings"]


class Key(NamedTuple):
    """Whose map of which explainer."""

    scan_id: str
    explainer: str


def findings(scores: pd.DataFrame, scans: Scans, coding: Coding, words: Words = ENGLISH) -> dict[Key, list[Finding]]:
    """Return a finding for each region and feature, by scan and explainer, sorted.

    Several folds that tested a scan count together: the mean of w, and the least that all of them say of relevance.

    Args:
        scores: Rows of ``scores.tsv``.
        scans: Where the covariates are.
        coding: Which of them are numbers.
        words: Texts.
    """
    grouped = scores.groupby(["scan_id", "explainer", "region", "feature"], sort=True)
    together = grouped.agg(
        structure=("structure", "first"), hemisphere=("hemisphere", "first"), w=("w", "mean"), models=("w", "size"),
        controls=("reference_controls", "min"), as_high=("controls_as_high", "max"), top=("top", "max"),
        outside=("outside_range", "first"), same=("reference_same_output", "min"),
    ).reset_index()  # fmt: skip
    maps = scores.drop_duplicates(["scan_id", "explainer", "fold"]).groupby(["scan_id", "explainer"])["explains"]
    explained = maps.agg(lambda names: " or ".join(sorted(set(names)))).to_dict()
    people = {str(row["scan_id"]): row for row in scans.people.to_dict("records")}
    given = {scan: _given(people[scan], coding, words) for scan in together["scan_id"].unique()}
    found: dict[Key, list[Finding]] = {}
    for row in together.to_dict("records"):
        finding = Finding(
            region=str(row["region"]),
            structure=str(row["structure"]),
            hemisphere=_text(row["hemisphere"]),
            feature=str(row["feature"]),
            w=float(row["w"]),
            models=int(row["models"]),
            controls=int(row["controls"]),
            as_high=int(row["as_high"]),
            top=float(row["top"]),
            covariates=given[row["scan_id"]],
            outside=_text(row["outside"]),
            explains=str(explained[row["scan_id"], row["explainer"]]),
            same=int(row["same"]),
        )
        found.setdefault(Key(row["scan_id"], row["explainer"]), []).append(finding)
    return found


def _given(person: Mapping[Any, Any], coding: Coding, words: Words) -> tuple[str, ...]:
    """Return what is expected for: an age in years, a category, and otherwise that it is the person's own number."""
    texts = []
    for covariate in coding.covariates:
        name, value = covariate.column, person[covariate.column]
        if name not in coding.numeric:
            texts.append(f"{name} {value}")
        elif name.lower() == "age":
            texts.append(f"{name} {int(value)}")  # as people say it: 74.9 years are 74
        else:
            texts.append(words.fill(words.own, name=name))
    return tuple(texts)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
