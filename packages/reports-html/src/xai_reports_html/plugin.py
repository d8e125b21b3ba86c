"""The report ``html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from xai_core import Report

if TYPE_CHECKING:
    from nibabel import Nifti1Image

    from xai_core.engine.results import RunResults

__all__ = ["HtmlReport"]


class HtmlReport(Report):
    """What was done, scores, checks and every explained person; one page to mail, or a folder for thousands."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "mode": {
                "enum": ["single", "folder"],
                "default": "single",
                "description": "single: one page that needs no other file, with some people. folder: index.html and a "
                "page for each test scan, with pictures as files.",
            },
            "max_people": {
                "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}],
                "default": 40,
                "description": "Most scans that a single page shows, taken in turn from right and wrong decisions on "
                "each class; null: all of them. A folder has all.",
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
            "mosaic": {
                "type": "integer",
                "minimum": 0,
                "maximum": 60,
                "default": 18,
                "description": "Axial slices below the three planes of each map; 0: none.",
            },
            "unsure": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": 0.7,
                "description": "Decisions whose probability of the predicted class (calibrated where that is known) is "
                "below this are called unsure.",
            },
            "controls": {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
                    {"type": "null"},
                ],
                "default": None,
                "description": "Classes with which a person's relevance by region is compared; null: the first class, "
                "or everybody else in a regression.",
            },
            "viewer": {
                "type": "boolean",
                "default": False,
                "description": "Whether a folder also gets the viewer of 'xai view', with a link from each person. It "
                "holds scans and maps once more: half a megabyte for a person with two maps of 4 mm, 40 of 1 mm.",
            },
        },
    }

    def __init__(
        self,
        *,
        mode: Literal["single", "folder"] = "single",
        max_people: int | None = 40,
        threshold: float = 95,
        limit: float = 99.9,
        convention: Literal["neurological", "radiological"] = "neurological",
        mosaic: int = 18,
        unsure: float = 0.7,
        controls: Sequence[str] | None = None,
        viewer: bool = False,
    ) -> None:
        self.mode = mode
        self.max_people = max_people
        if limit <= threshold:
            raise ValueError(f"limit is {limit:g}, which is not above the threshold, {threshold:g}.")
        self.threshold = threshold
        self.limit = limit
        self.convention = convention
        self.mosaic = mosaic
        self.unsure = unsure
        self.controls = controls
        if viewer and mode != "folder":
            raise ValueError("viewer is for mode: folder. A single page has no room for it: look with 'xai view'.")
        self.viewer = viewer

    def write(self, run: RunResults, output: Path) -> Path:
        """Write ``index.html``, and beside it ``figures`` (PNG, SVG), ``tables`` (TSV) and what to cite.

        A single page needs none of these and no network; a folder also has ``people`` with a page for each test scan,
        and ``viewer`` where that is asked for.
        The same run gives the same bytes. What the run does not hold (scores, maps, histories) is left out, and the
        page says so; tables of analyses that cannot be read are named.

        Raises:
            InputError: A scan or a map cannot be read, or a map does not lie on its scan's grid; ``controls`` names
                no class of the run.
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
        from ._pictures import draw_scan

        return draw_scan(image, maps, prediction, output, self)
