"""The learning curves of one fold as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw_curves"]


def draw_curves(history: Sequence[Mapping[str, float]], best_epoch: int, path: Path) -> None:
    """Draw losses and validation scores over the epochs, counted from 1; the best epoch is marked."""
    scores = [name for name in history[0] if name.startswith("val_") and name != "val_loss"]
    figure = Figure(figsize=(5 + 4 * bool(scores), 3.6), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + bool(scores), squeeze=False)[0]
    epochs = [row["epoch"] + 1 for row in history]
    groups = [[name for name in ("train_loss", "val_loss") if name in history[0]], scores]
    for ax, names in zip(axes, groups, strict=False):
        for name in names:
            ax.plot(epochs, [row[name] for row in history], marker=".", label=name.replace("_", " "))
        ax.axvline(best_epoch + 1, color="0.6", linestyle=":", label="weights kept")
        ax.set_xlabel("epoch")
        ax.legend(fontsize="small")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("loss")
    figure.savefig(path, metadata={"Software": None})
