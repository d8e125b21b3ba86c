"""Parameters that analyses share: where brain features are, and covariates. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

__all__ = ["COVARIATES", "FEATURES", "FeatureSource", "feature_problems", "feature_sources"]

Kind = Literal["freesurfer", "freesurfer-table", "cat12", "table", "map"]

_TEXT: Mapping[str, Any] = {"type": ["string", "null"], "minLength": 1, "default": None}
_NAMES: Mapping[str, Any] = {
    "type": ["array", "null"],
    "items": {"type": "string", "minLength": 1},
    "minItems": 1,
    "uniqueItems": True,
    "default": None,
}

_PROPERTIES: Mapping[str, Any] = {
    "source": {
        "enum": ["freesurfer", "freesurfer-table", "cat12", "table", "map"],
        "description": "What it is: a stats file of FreeSurfer for each person; a table of asegstats2table or "
        "aparcstats2table; CAT12's catROI or cat file for each person; any TSV or CSV; a map (map_<name>) that each "
        "person of the study brings along, summed up by region.",
    },
    "file": {
        "type": ["string", "null"],
        "minLength": 1,
        "format": "path",
        "default": None,
        "description": "The table; or a pattern such as 'fs/sub-{subject_id}[_ses-{session_id}]/stats/{hemi}.aparc."
        "stats': {hemi} is lh and rh, [...] is left out for a scan without a session, * is any part of a name. Labels "
        "are tried with and without sub- and ses-. Not for a map.",
    },
    "columns": {
        **_NAMES,
        "description": "What to take: columns of a stats file (null: ThickAvg or Volume_mm3), measures of CAT12 (null: "
        "Vgm or thickness), columns of regions in a wide table (null: all that hold numbers) or of values in a long "
        "one (null: value).",
    },
    "measures": {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "uniqueItems": True,
        "default": [],
        "description": "freesurfer: measures of the whole brain from the header, such as eTIV, as covariates.",
    },
    "roi_atlas": {**_TEXT, "description": "cat12: which of the atlases in the file; null: its only one."},
    "feature": {**_TEXT, "description": "table: what the values measure, such as thickness; null: the file's name."},
    "unit": {"type": "string", "default": "", "description": "table: unit of the values."},
    "people": {**_TEXT, "description": "table: column of ids; null: participant_id, subject_id, subject, sub or id."},
    "session": {**_TEXT, "description": "table: column of visits; null: session_id, session, ses or visit, if any."},
    "region": {**_TEXT, "description": "table: column of regions, in a long table; null: it is wide."},
    "map": {**_TEXT, "description": "map: its name, as the study's dataset calls it (map_<name> in subjects.tsv)."},
    "statistic": {
        "enum": ["volume", "mean", "share"],
        "default": "volume",
        "description": "map: volume (mm3; sum of probabilities times the voxel), mean in the region, or share of the "
        "region above the threshold.",
    },
    "threshold": {
        "type": ["number", "null"],
        "default": None,
        "description": "map: values above it count as 1 and the others as 0 (volume, share).",
    },
    "regions": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "default": {},
        "description": "Names of the atlas' regions by names in the source, where spelling does not tell.",
    },
}

FEATURES: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["source"],
        "properties": _PROPERTIES,
    },
}
"""Schema of a list of sources of brain features; add ``default`` and ``description``."""

COVARIATES: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "anyOf": [
            {"type": "string", "minLength": 1},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["column"],
                "properties": {
                    "column": {"type": "string", "minLength": 1, "description": "Name of the column."},
                    "degree": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 4,
                        "default": 1,
                        "description": "Highest power of a number that enters: 2 adds its square.",
                    },
                    "coding": {
                        "enum": ["auto", "number", "categories"],
                        "default": "auto",
                        "description": "Whether values are measured or name categories; auto: text does.",
                    },
                },
            },
        ],
    },
}
"""Schema of a list of covariates; add ``default`` and ``description``."""


@dataclass(frozen=True)
class FeatureSource:
    """One entry of ``features``; the attributes are those of its schema."""

    source: Kind
    file: str | None = None
    columns: Sequence[str] | None = None
    measures: Sequence[str] = ()
    roi_atlas: str | None = None
    feature: str | None = None
    unit: str = ""
    people: str | None = None
    session: str | None = None
    region: str | None = None
    map: str | None = None
    statistic: Literal["volume", "mean", "share"] = "volume"
    threshold: float | None = None
    regions: Mapping[str, str] | None = None

    @property
    def title(self) -> str:
        """What messages and tables call it: the source and its file or map."""
        return f"{self.source}: {self.map if self.source == 'map' else self.file}"


_FOR: Mapping[str, frozenset[str]] = {
    "freesurfer": frozenset({"file", "columns", "measures"}),
    "freesurfer-table": frozenset({"file"}),
    "cat12": frozenset({"file", "columns", "roi_atlas"}),
    "table": frozenset({"file", "columns", "feature", "unit", "people", "session", "region"}),
    "map": frozenset({"map", "statistic", "threshold"}),
}


def feature_sources(given: Sequence[Mapping[str, Any]]) -> tuple[FeatureSource, ...]:
    """Return a list of sources as objects; ``feature_problems`` says what is wrong with it."""
    return tuple(FeatureSource(**entry) for entry in given)


def feature_problems(given: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what is wrong with a list of sources beyond its schema, one line for each problem."""
    problems = []
    for position, source in enumerate(feature_sources(given)):
        where = f"features[{position}]"
        astray = [name for name in _set(source) if name not in _FOR[source.source]]
        if astray:
            known = ", ".join(sorted(_FOR[source.source] | {"regions"}))
            problems.append(
                f"{where}: {', '.join(astray)} does not belong to source: {source.source} (it has {known})."
            )
        problems += [f"{where}: {problem}" for problem in _lacking(source)]
    return problems


def _set(source: FeatureSource) -> list[str]:
    """Return the names of parameters that are not at their defaults."""
    found = []
    for field in fields(source):
        value = getattr(source, field.name)
        if (
            field.name not in ("source", "regions")
            and value != field.default
            and not (value == [] and not field.default)
        ):
            found.append(field.name)
    return found


def _lacking(source: FeatureSource) -> list[str]:
    if source.source == "map":
        problems = [] if source.map else ["source: map needs map, the name of a map of the study."]
        if source.statistic == "share" and source.threshold is None:
            problems.append("statistic: share needs a threshold.")
        if source.statistic == "mean" and source.threshold is not None:
            problems.append("statistic: mean has no threshold; take statistic: share.")
        return problems
    if not source.file:
        return [f"source: {source.source} needs file."]
    each = source.source in ("freesurfer", "cat12")
    if each and "{subject_id}" not in source.file and "{scan_id}" not in source.file:
        return [f"file: {source.file!r} has no {{subject_id}}, the place of the person's id."]
    return []
