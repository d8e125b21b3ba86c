"""The report ``html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Report

if TYPE_CHECKING:
    from nibabel import Nifti1Image

    from xai_core.engine.results import RunResults

__all__ = ["HtmlReport"]


class HtmlReport(Report):
    """One self-contained page: scores, curves, and each explained scan with its relevance in three planes."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "max_people": {
                "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}],
                "default": 40,
                "description": "Most scans to show, taken in turn from right and wrong decisions on each class; "
                "null: all of them.",
            },
            "threshold": {
                "type": "number",
                "minimum": 0,
                "exclusiveMaximum": 100,
                "default": 95,
                "description": "Percentile of the absolute relevance, among voxels where it is not zero, below which "
                "nothing is drawn.",
            },
            "limit": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 100,
                "default": 99.9,
                "description": "Percentile of the same at which the colours end; 100: at the largest value.",
            },
            "convention": {
                "enum": ["neurological", "radiological"],
                "default": "neurological",
                "description": "Side of the picture on which the patient's left lies: left or right.",
            },
        },
    }

    def __init__(
        self,
        *,
        max_people: int | None = 40,
        threshold: float = 95,
        limit: float = 99.9,
        convention: Literal["neurological", "radiological"] = "neurological",
    ) -> None:
        self.max_people = max_people
        if limit <= threshold:
            raise ValueError(f"limit is {limit:g}, which is not above the threshold, {threshold:g}.")
        self.threshold = threshold
        self.limit = limit
        self.convention = convention

    def write(self, run: RunResults, output: Path) -> Path:
        """Write ``index.html``, which needs no other file and no network, and PNG files into ``figures``.

        The same run gives the same bytes. What the run does not hold (scores, maps, histories) is left out, and the
        page says so.

        Raises:
            InputError: A scan or a map cannot be read, or a map does not lie on its scan's grid.
        """
        from ._page import write_page

        return write_page(run, output, self)

    def picture(
        self, image: Path, maps: Mapping[str, Nifti1Image], prediction: Mapping[str, Any], output: Path
    ) -> Path | None:
        """Draw one scan, a row for each of its maps, into ``output`` and return the PNG file.

        Raises:
            InputError: The scan cannot be read, or a map does not lie on its grid.
        """
        from ._people import draw_scan

        return draw_scan(image, maps, prediction, output, self)
