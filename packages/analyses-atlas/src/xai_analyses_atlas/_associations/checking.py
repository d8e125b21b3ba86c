"""What can be refused before training, and the files that decide the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from xai_core import InputError
from xai_core.schemas import did_you_mean

from .._atlases import load_atlas
from .._features import feature_files, gather_features
from .._hints import target_hint
from .._people import tested_people
from .._statistics import Design
from .cohort import first_visits, wanted_variables
from .variables import Vocabulary, covariates_of

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults
    from xai_core.types import Task

    from ..region_features import RegionFeatures

__all__ = ["check_study", "input_files"]


def check_study(options: RegionFeatures, table: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> None:
    """See ``RegionFeatures.check_study``."""
    options.region_table().check_study(table, task, classes)
    atlas = load_atlas(options.atlas, folder=options.folder, unnamed=options.unnamed)
    scans = table.reset_index(drop=True)
    features = gather_features(options.features, scans, atlas, maps=False)
    # What only a finished run knows: the values do not matter here, but that the columns will be there.
    coming = {f"probability_{name}": np.arange(len(scans)) / len(scans) for name in classes or ()}
    known = scans.assign(prediction=scans["target"], fold=np.arange(len(scans)) % 2, **coming)
    known = known.assign(correct=True) if task == "classification" else known
    vocabulary = Vocabulary(known, features)
    covariates = covariates_of(options.covariates)
    vocabulary.check(wanted_variables(options), "variables")
    vocabulary.check([one.column for one in covariates], "covariates")
    if options.by is not None and options.by not in known.columns:
        columns = list(map(str, known.columns))
        raise InputError(
            f"by: the study has no column {options.by!r}.{did_you_mean(options.by, columns)}{target_hint(columns)} "
            f"There are: {', '.join(columns)}."
        )
    adjusting = pd.DataFrame({one.column: vocabulary.column(one.column, "covariates") for one in covariates})
    if covariates:
        complete = adjusting.notna().all(axis=1).to_numpy()
        visit = known.assign(session_id=known.get("session_id"))
        counts = first_visits(visit, complete, last=options.visits == "last")
        Design(adjusting[counts], covariates)
    if "mixed" in options.methods and not scans["subject_id"].duplicated().any():
        raise InputError(
            "methods: mixed needs people with several visits, but everybody in the study has one. Take ols or hc3."
        )


def input_files(options: RegionFeatures, run: RunResults) -> list[Path]:
    """Return the atlas' files and those of the features of the tested people."""
    tested = tested_people(run).drop_duplicates("scan_id")
    return [*options.region_table().inputs(run), *feature_files(options.features, tested)]
