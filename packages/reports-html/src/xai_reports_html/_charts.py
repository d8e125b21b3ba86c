"""Charts of the test scores and of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ._texts import plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    Array = np.ndarray[Any, Any]

__all__ = ["COLOURS", "confusion_chart", "figure_of", "plain_text", "roc_chart", "scatter_chart", "training_chart"]

# Told apart by people with any colour vision (Okabe & Ito 2008), the darker ones first.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#3f4a5a")


_LONGEST = 24  # characters of a class in a chart


def figure_of(columns: int = 1, width: float = 4.6) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels side by side, in the page's style."""
    figure = Figure(figsize=(width * columns, 4.0), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    return figure, axes


def roc_chart(
    true: Sequence[str],
    probabilities: Mapping[str, Sequence[float]],
    classes: Sequence[str],
    folds: Sequence[int] = (),
    interval: str = "",
) -> Figure | None:
    """Draw the ROC curve of the last of two classes, with a thin one for each fold, or of several against the rest.

    Args:
        true: True class of each scan.
        probabilities: For each class, its probability for each scan.
        classes: Class names in the order of the logits.
        folds: The fold of each scan; the folds of two classes are drawn where there are several.
        interval: Of the area, for the legend; two classes.

    Returns:
        The figure, or None where there is no scan of a class or none of the others.
    """
    from sklearn.metrics import auc, roc_curve

    truth = np.asarray(true, dtype=object)
    figure, (ax,) = figure_of()
    drawn = 0
    for colour, name in zip(COLOURS * len(classes), classes[1:] if len(classes) == 2 else classes, strict=False):
        positive = truth == name
        if positive.all() or not positive.any():
            continue
        false_rate, true_rate, _ = roc_curve(positive, np.asarray(probabilities[name], dtype=float))
        label = f"{plain_text(name)}: AUC {auc(false_rate, true_rate):.3f}{interval if len(classes) == 2 else ''}"
        ax.plot(false_rate, true_rate, color=colour, linewidth=2, label=label)
        drawn += 1
    if len(classes) == 2:
        _fold_curves(ax, truth == classes[1], np.asarray(probabilities[classes[1]], dtype=float), np.asarray(folds))
    if not drawn:
        return None
    ax.plot([0, 1], [0, 1], color="0.6", linestyle=":", label=plain("chart.chance"))
    ax.set(xlabel=plain("chart.false_positives"), ylabel=plain("chart.true_positives"))
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.legend(loc="lower right", fontsize="small")
    return figure


def _fold_curves(ax: Axes, positive: Array, probability: Array, folds: Array) -> None:
    from sklearn.metrics import roc_curve

    label: str | None = plain("chart.each_fold")
    for fold in np.unique(folds) if len(np.unique(folds)) > 1 else ():
        own = folds == fold
        if positive[own].all() or not positive[own].any():
            continue
        false_rate, true_rate, _ = roc_curve(positive[own], probability[own])
        ax.plot(false_rate, true_rate, color="0.45", linewidth=0.8, alpha=0.8, label=label, zorder=1)
        label = None


def confusion_chart(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix: rows are true, columns predicted classes; shades are shares of a row."""
    counts = np.asarray(matrix, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (ax,) = figure_of()
    ax.grid(visible=False)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else "black"
        text = f"{counts[row, column]:.4g}\n{share:.0%}"
        ax.text(column, row, text, ha="center", va="center", color=colour)
    names = [plain_text(name) for name in classes]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel=plain("chart.predicted_class"), ylabel=plain("chart.true_class"))
    return figure


def scatter_chart(true: Sequence[float], predicted: Sequence[float]) -> Figure:
    """Draw predicted against true values with the line of equality."""
    x, y = np.asarray(true, dtype=float), np.asarray(predicted, dtype=float)
    figure, (ax,) = figure_of()
    low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
    margin = 0.04 * (high - low) or 1.0
    ends = (low - margin, high + margin)
    ax.plot(ends, ends, color="0.6", linestyle=":", label=plain("chart.equal"))
    ax.scatter(x, y, s=22, color=COLOURS[0], alpha=0.75, linewidths=0)
    ax.set(
        xlim=ends, ylim=ends, aspect="equal", xlabel=plain("chart.true_value"), ylabel=plain("chart.predicted_value")
    )
    ax.legend(loc="upper left", fontsize="small")
    return figure


def training_chart(histories: Mapping[int, pd.DataFrame]) -> Figure | None:
    """Draw losses and validation scores of all folds over the epochs, counted from 1.

    Args:
        histories: By fold; columns ``epoch`` and scalars.

    Returns:
        The figure, or None where no history holds a loss.
    """
    losses = {"train_loss": "-", "val_loss": "--"}
    present = {name for history in histories.values() for name in history.columns}
    scores = sorted(name for name in present if name.startswith("val_") and name != "val_loss")
    if not present & set(losses):
        return None
    figure, axes = figure_of(1 + len(scores), width=3.8)
    for colour, (fold, history) in zip(COLOURS * len(histories), sorted(histories.items()), strict=False):
        for name, style in losses.items():
            _line(axes[0], history, name, colour, style, plain(f"chart.{name}", fold=fold))
        for ax, name in zip(axes[1:], scores, strict=True):
            _line(ax, history, name, colour, "-", plain("chart.fold", fold=fold))
    axes[0].set(ylabel=plain("chart.loss"), title=plain("chart.loss"))
    for ax, name in zip(axes[1:], scores, strict=True):
        score = name.removeprefix("val_").replace("_", " ").replace("auc", "AUC")
        ax.set(title=plain("chart.validation", score=score))
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel(plain("chart.epoch"))
        if len(histories) <= 3 or ax is axes[-1]:
            ax.legend(fontsize="x-small")
    return figure


def _line(ax: Axes, history: pd.DataFrame, name: str, colour: str, style: str, label: str) -> None:
    if name not in history:
        return
    epochs: Any = history["epoch"] + 1
    ax.plot(epochs, history[name], color=colour, linestyle=style, linewidth=1.4, marker=".", label=label)


def plain_text(name: str) -> str:
    """Keep matplotlib from reading a formula into a name, from hiding one with an underscore, and short of a figure."""
    name = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return f" {name}".replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")
