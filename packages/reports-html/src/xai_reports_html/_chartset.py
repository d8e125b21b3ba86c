"""The charts of a run: drawn into the folder of figures as PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._charts import confusion_chart, roc_chart, scatter_chart, training_chart
from ._files import Shelf, figure_files
from ._scores import first_repeat, score_charts
from ._summary import class_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from xai_core.engine.results import RunResults

    from ._material import Material
    from ._reading import Notes

__all__ = ["charts"]


def charts(material: Material, output: Path, shelf: Shelf) -> dict[str, str]:
    """Draw what the run has data for; addresses of the pictures by name."""
    run, metrics = material.run, material.metrics
    drawn: dict[str, Figure | None] = {}
    if material.predictions is not None and len(material.predictions):
        known = _known(run, material.predictions, material.notes)
        drawn |= _predicted(run, metrics, known) if len(known) else {}
    matrix = metrics.get("test", {}).get("confusion_matrix")
    if matrix and run.classes is not None:
        drawn["confusion"] = confusion_chart(matrix, run.classes)
    histories = {fold: history for fold in run.folds() if (history := _history(run, fold)) is not None}
    drawn["training"] = training_chart(histories) if histories else None
    found = {}
    for name, figure in drawn.items():
        if figure is not None:
            png = figure_files(figure, output / "figures", name)
            found[name] = shelf.put(name, png) if shelf.inline else f"figures/{name}.png"
    return found


def _known(run: RunResults, predictions: pd.DataFrame, notes: Notes) -> pd.DataFrame:
    """Return the predictions that are finite; the others are noted and not in any chart."""
    columns = ["prediction", "target"] if run.classes is None else [f"probability_{name}" for name in run.classes]
    there = [name for name in columns if name in predictions]
    finite = np.isfinite(predictions[there].to_numpy(dtype=float)).all(axis=1)
    if not finite.all():
        notes.add("predictions", n=int((~finite).sum()), columns=", ".join(there))
    known: pd.DataFrame = predictions[finite]
    return known


def _predicted(run: RunResults, metrics: Mapping[str, Any], predictions: pd.DataFrame) -> dict[str, Figure | None]:
    drawn: dict[str, Figure | None] = {}
    repeated, predictions = "repeat" in predictions, first_repeat(predictions)
    if run.classes is None:
        drawn["scatter"] = scatter_chart(predictions["target"].tolist(), predictions["prediction"].tolist())
    else:
        classes = run.classes
        true = [class_name(value, classes) for value in predictions["target"]]
        columns = {name: f"probability_{name}" for name in classes}
        if set(columns.values()) <= set(predictions.columns):
            found = {n: predictions[c].tolist() for n, c in columns.items()}
            folds = predictions["fold"].tolist() if "fold" in predictions else []
            drawn["roc"] = roc_chart(true, found, classes, folds, "" if repeated else _interval(metrics))
    return drawn | score_charts(run, predictions)


def _interval(metrics: Mapping[str, Any]) -> str:
    """The interval of the area as the legend shows it: DeLong's where there is one."""
    test = metrics.get("test", {})
    score = test.get("auc_delong") or test.get("auc") or {}
    if score.get("low") is None or score.get("high") is None:
        return ""
    return f" [{score['low']:.3f}, {score['high']:.3f}]"


def _history(run: RunResults, fold: int) -> Any:
    try:
        history = run.history(fold)
    except (OSError, ValueError):  # a trainer of another package may leave none
        return None
    return history if "epoch" in history and len(history) else None
