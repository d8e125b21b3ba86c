"""Class names to indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core import InputError

if TYPE_CHECKING:
    import pandas as pd

    Array = np.ndarray[Any, Any]

__all__ = ["class_indices", "fold_of"]


def class_indices(predictions: pd.DataFrame, column: str, classes: Sequence[str]) -> Array:
    """Return the position in ``classes`` of each row's ``target`` or ``prediction``, int64 [n].

    Raises:
        InputError: A row holds something else.
    """
    names = predictions[column].astype(str)
    unknown = sorted(set(names) - set(classes))
    if unknown:
        raise InputError(
            f"predictions, column {column}: {unknown[0]!r} is not a class of this study ({', '.join(classes)})."
        )
    return names.map({name: index for index, name in enumerate(classes)}).to_numpy(dtype=np.int64)


def fold_of(predictions: pd.DataFrame) -> str:
    """Return the fold that predictions are of, for a message; ``?`` where they do not say."""
    return str(predictions["fold"].iloc[0]) if "fold" in predictions and len(predictions) else "?"
