"""Tables as a run writes them, and where predictions wait until their folds are done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["predictions_path", "tsv"]


def tsv(rows: pd.DataFrame) -> str:
    """Return a table as BIDS writes them: tab-separated, ``n/a`` where nothing is known."""
    return str(rows.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))


def predictions_path(folder: Path, index: int, part: str = "test") -> Path:
    """Return where a fold's predictions of its ``test`` or ``val`` people lie."""
    return folder / ".xai" / {"test": "predictions", "val": "validation"}[part] / f"fold-{index}.json"
