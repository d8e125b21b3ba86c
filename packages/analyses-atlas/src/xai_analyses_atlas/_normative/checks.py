"""What ``normative-scores`` knows before anything is trained, and which files it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd

from xai_core import InputError

from .coding import covariates_of
from .gather import control_names, require_covariates
from .relevance import require_named

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .._atlas_params import AtlasChoice
    from .._atlases import Atlas
    from ..normative_scores import NormativeScores

__all__ = ["atlas_files", "atlas_of", "check", "files", "measures"]


def check(options: NormativeScores, table: pd.DataFrame, classes: Sequence[str] | None) -> None:
    """See ``NormativeScores.check_study``.

    Raises:
        InputError: The study lacks something.
    """
    from .._features import gather_features

    controls = control_names(options.controls, classes)
    covariates = covariates_of(options.covariates)
    require_named(options.measure, measures())
    atlas = atlas_of(options.atlas, options.space)
    found = gather_features(options.features, table, atlas, maps=False)
    require_covariates(covariates, table, found.table)
    mine = table if controls is None else table[table["target"].astype(str).isin(controls)]
    people = mine["subject_id"].nunique()
    if people < options.minimum_controls:
        who = "people" if controls is None else f"controls ({', '.join(controls)})"
        raise InputError(
            f"normative-scores: the study has {people} {who}; {options.minimum_controls} are needed in each training "
            "part (minimum_controls). Name more classes in 'controls', or set fewer."
        )


def files(options: NormativeScores, run: RunResults) -> list[Path]:
    """Return the files that decide the outcome besides the run's own; trained people's features are among them."""
    from .._features import feature_files

    people = run.subjects()
    atlas = atlas_of(options.atlas, options.space)
    return [*atlas_files(atlas, people), *feature_files(options.features, people)]


def atlas_of(choice: AtlasChoice, space: Literal["mni", "scan"]) -> Atlas:
    """Return an atlas for maps in a space.

    Raises:
        InputError: There is none, or it lies in another space.
    """
    from .._atlases import load_atlas
    from .._relevance.cohort import require_space

    atlas = load_atlas(choice)
    require_space(atlas, space)
    return atlas


def measures() -> list[str]:
    """Return the columns of numbers of a region table."""
    from .._relevance import REGION_COLUMNS

    return list(REGION_COLUMNS)


def atlas_files(found: Atlas, people: pd.DataFrame) -> list[Path]:
    """Return the image and the names of an atlas, or each person's own image."""
    from .._features.people import files_of, people_of

    images = [Path(found.source)]
    if "{" in found.source:
        images = [path for person in people_of(people) for path in files_of(found.source, person)]
    return [*images, *([] if found.table is None else [Path(found.table)])]
