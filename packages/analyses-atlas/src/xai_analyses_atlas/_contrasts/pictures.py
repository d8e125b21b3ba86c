"""Figures of contrasts: t in slices, and what is above the threshold through a glass brain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._background import background_of
from .._figures import caption_text, glass_brain, save
from .._mosaic import Background, mosaic
from .words import n_text, test_text, threshold_text

if TYPE_CHECKING:
    from ..group_contrasts import GroupContrasts
    from .analysis import Outcome

__all__ = ["Pictures"]

Array = npt.NDArray[Any]


class Pictures:
    """Draws one outcome after the other over the same background.

    Args:
        output: Folder of the files.
        options: Of the analysis.
    """

    def __init__(self, output: Path, options: GroupContrasts) -> None:
        self._output = output
        self._options = options
        self._background: Background | None = None

    def draw(self, outcome: Outcome, stem: str, row: Mapping[str, Any]) -> None:
        """Write ``<stem>_t.png``, slices of t, and in MNI space ``<stem>_glass``, what passes the threshold."""
        found, mask, grid, significance = outcome.found, outcome.mask, outcome.grid, outcome.significance
        if found is None or mask is None or grid is None or significance is None:
            raise ValueError("the contrast is not tested")
        if self._background is None:
            records = [record for side in outcome.records for record in side]
            self._background = background_of(self._options, records, grid if self._options.resample else None)
        t, above = np.zeros(mask.shape), np.zeros(mask.shape)
        t[mask], above[mask] = found.t, np.where(significance.counts, found.t, 0.0)
        limit = float(np.abs(t).max())
        place = np.unravel_index(int(np.abs(t).argmax()), t.shape)
        peak = (int(place[0]), int(place[1]), int(place[2])) if limit > 0 else None
        lines = self._lines(outcome, row)
        picture = mosaic(t, grid, self._background, limit, peak, lines, self._options.convention, quantity="t")
        (self._output / f"{stem}_t.png").write_bytes(picture)
        caption = self._caption(outcome, row, f"t in axial slices, all voxels that are tested: {lines[0]}")
        (self._output / f"{stem}_t.txt").write_text(caption + "\n", encoding="utf-8", newline="")
        if significance.counts.any() and self._options.space == "mni":
            heading = "\n".join([lines[0], f"t where {threshold_text(self._options)}"])
            figure = glass_brain(above, grid, value_label="t", heading=heading)
            what = f"t where {threshold_text(self._options)}, the largest along each line of sight: {lines[0]}"
            save(figure, self._output, f"{stem}_glass", self._caption(outcome, row, what))

    def _lines(self, outcome: Outcome, row: Mapping[str, Any]) -> list[str]:
        contrast = outcome.contrast
        by = "" if contrast.explainers is not None or contrast.design == "slope" else f", by {contrast.by}"
        among = f", among {row['among']}" if row["among"] else ""
        found = f"{row['above_positive']} voxels above zero and {row['above_negative']} below it pass"
        what = f"{outcome.explainer}: {contrast.title}{by}{among}"
        return [
            f"{what} ({n_text(outcome)}), normalise: {self._options.normalise}",
            test_text(outcome, self._options),
            f"{found} {threshold_text(self._options)}",
        ]

    def _caption(self, outcome: Outcome, row: Mapping[str, Any], what: str) -> str:
        notes = [f"Threshold: {threshold_text(self._options)}"]
        if self._options.threshold in ("fwe", "fdr"):
            notes.append(f"Corrected over {row['corrected_over']}")
        notes += [row["cautions"]] if row["cautions"] else []
        return caption_text(what, n=row["n"], test=test_text(outcome, self._options), notes=notes)
