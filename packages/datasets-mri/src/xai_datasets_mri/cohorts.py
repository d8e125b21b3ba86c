"""The dataset ``cohorts``: the tables and images of several cohorts as one study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xai_core import ConfigError, Dataset

from ._parameters import CLASSES, GROUPS, IMAGES, MISSING_TARGET, RECODE, as_texts, source_from, source_problems
from ._schema import parameters
from ._source import Cohort, Target
from .participants import class_problems

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["Cohorts"]

_PERSON: Mapping[str, Mapping[str, Any]] = {
    "person": {
        "type": ["string", "null"],
        "default": None,
        "description": "Column with an id of the person that holds in every cohort of one study (as ADNI's RID); "
        "null: the subject's id.",
    },
    "study": {
        "type": ["string", "null"],
        "minLength": 1,
        "default": None,
        "description": "Study that the cohort is a part of, such as ADNI of ADNI2 and ADNI3: cohorts of one study "
        "share people. null: the cohort's own name.",
    },
}


class Cohorts(Dataset):
    """Several cohorts joined to one study, each with its own table, folder, column names, codes and units.

    Each cohort is described as for ``participants``; ``columns`` bring its columns to common names and units. Its name
    becomes the covariate ``cohort``. Ids get the study's name in front (``ADNI-0012``), and so do sites: the same id in
    two studies is not the same person. Cohorts of one ``study`` share people: somebody who is in ADNI2 and in ADNI3 is
    one person with scans of both, who cannot be in two parts of a split; the sessions then have the cohort's name in
    front (``ADNI2M12``). Refused are covariates that are texts in one cohort and numbers in another, and units that
    differ; told of are values that have nothing in common, and numbers of another size.
    """

    config_schema = parameters(
        {
            "cohorts": {
                "type": "object",
                "additionalProperties": parameters({**IMAGES, **_PERSON}),
                "propertyNames": {"pattern": "^[A-Za-z0-9][A-Za-z0-9-]*$"},
                "minProperties": 1,
                "description": "By name, a table and its images each, such as {AIBL: {bids: /data/aibl, columns: "
                "{diagnosis: {column: DX, recode: {HC: CN}}}}}; the parameters are those of participants.",
            },
            "target": {
                "type": "string",
                "minLength": 1,
                "description": "Column with what is to be predicted, by its common name.",
            },
            "covariates": {
                "type": ["array", "null"],
                "items": {"type": "string", "minLength": 1},
                "uniqueItems": True,
                "default": None,
                "description": "Columns to keep, by their common names; null: all. None where a cohort has none.",
            },
            "classes": CLASSES,
            "missing_target": MISSING_TARGET,
            "recode": RECODE,
            "groups": GROUPS,
        }
    )

    def __init__(
        self,
        *,
        cohorts: Mapping[str, Mapping[str, Any]],
        target: str,
        covariates: Sequence[str] | None = None,
        classes: Sequence[str | int] | None = None,
        missing_target: Literal["error", "drop"] = "error",
        recode: Mapping[str, str] | None = None,
        groups: Mapping[str, Sequence[str | int]] | None = None,
    ) -> None:
        problems = [problem for name, given in cohorts.items() for problem in source_problems(given, f"cohorts.{name}")]
        problems += class_problems(classes, groups, "cohorts")
        channels = {name: tuple(given.get("channels") or ()) for name, given in cohorts.items()}
        if len(set(channels.values())) > 1:
            listed = "; ".join(f"{name}: {', '.join(names) or 'one image'}" for name, names in channels.items())
            problems.append(f"cohorts: the channels are not the same everywhere ({listed}). Give them in one order.")
        if problems:
            raise ConfigError(problems)
        self.cohorts = tuple(_cohort(name, given) for name, given in cohorts.items())
        self.covariates = None if covariates is None else tuple(covariates)
        self.target = Target(
            target,
            None if classes is None else tuple(str(name) for name in classes),
            as_texts(groups),
            missing_target,
            recode or {},
            all_occur=False,
        )
        self._left_out: list[dict[str, str | None]] | None = None

    @property
    def class_order(self) -> Sequence[str] | None:
        """The classes, or the groups, as they were given."""
        return self.target.classes if self.target.groups is None else tuple(self.target.groups)

    @property
    def channel_names(self) -> Sequence[str] | None:
        """The names under ``channels``."""
        return self.cohorts[0].source.channel_names

    def subjects(self) -> Sequence[tio.Subject]:
        """Return the scans of all cohorts, in the order of the cohorts and of their tables.

        Raises:
            InputError: What is wrong with any of the tables, or between them, in one message.
        """
        from ._cohorts import read_cohorts

        subjects, self._left_out = read_cohorts(self.cohorts, self.target, self.covariates)
        return subjects

    def left_out(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows that are not used, with their ``cohort``."""
        if self._left_out is None:
            self.subjects()
        return self._left_out or ()

    def inputs(self) -> Sequence[Path]:
        """The cohorts' tables, and the JSON files beside them."""
        tables = [cohort.source.table_path for cohort in self.cohorts]
        return tuple(p for table in tables for p in (table, table.with_suffix(".json")) if p == table or p.is_file())


def _cohort(name: str, given: Mapping[str, Any]) -> Cohort:
    own = {key: value for key, value in given.items() if key in IMAGES}
    return Cohort(name, given.get("study") or name, source_from(own, person=given.get("person")))
