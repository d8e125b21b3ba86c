"""Who was tested in a run, with everything that is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = ["tested_people"]


def tested_people(run: RunResults) -> pd.DataFrame:
    """Return one row for each tested scan and each fold that tested it.

    Columns: those of ``predictions.tsv`` (``fold``, ``scan_id``, ``subject_id``, ``target``, ``prediction``,
    ``probability_<class>``), then those of ``subjects.tsv`` that are not among them (``session_id``, ``site``,
    covariates, ``image``, paths ``map_<name>``), ``repeat`` (0 where every person is tested once) and, for a
    classification, ``correct`` (bool).
    """
    predictions, subjects = run.predictions(), run.subjects()
    new = [column for column in subjects.columns if column not in predictions.columns or column == "scan_id"]
    table = predictions.merge(subjects[new], on="scan_id", how="left", validate="m:1")
    if "repeat" not in table:
        table["repeat"] = 0
    if run.task == "classification":
        table["correct"] = table["target"] == table["prediction"]
    return table
