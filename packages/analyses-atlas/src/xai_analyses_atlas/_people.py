"""Who was tested in a run, with everything that is known of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

__all__ = ["in_order_of_visits", "session_order", "tested_people"]

# The alphabet would put them behind months and years.
_BEGINNINGS = (("screening", "screen", "scr", "sc"), ("baseline", "base", "bl", "pre"))


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


def session_order(session: Any) -> tuple[int, tuple[tuple[int, int, str], ...]]:
    """Return a key by which no session comes first, then screening, baseline, and the rest by number: M6 before M12."""
    if not isinstance(session, str):
        return -1, ()
    name = session.casefold().removeprefix("ses-")
    stem = name.rstrip("0123456789") or name
    begins = next((place for place, names in enumerate(_BEGINNINGS) if stem in names), len(_BEGINNINGS))
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return begins, tuple((0, int(piece), "") if piece[0] in "0123456789" else (1, 0, piece) for piece in pieces)


def in_order_of_visits(table: pd.DataFrame) -> pd.DataFrame:
    """Return rows by ``session_id`` (see ``session_order``), and those of one session by ``scan_id``."""
    columns = zip(table["session_id"], table["scan_id"].astype(str), strict=True)
    keys = [(session_order(session), scan) for session, scan in columns]
    return table.iloc[sorted(range(len(table)), key=keys.__getitem__)]
