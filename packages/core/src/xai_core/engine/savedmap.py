"""A relevance map of a run, read when it is looked at."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .mapplot import Convention, figure_png, plot_explanation
from .mapwidget import map_widget
from .richdisplay import facts_html, picture_html, rows_html

if TYPE_CHECKING:
    from ipyniivue import NiiVue
    from matplotlib.figure import Figure

    from .results import MapRecord

__all__ = ["SavedAttribution", "SavedAttributions"]


class SavedAttribution:
    """The relevance of one scan by one explainer, on the scan's own grid.

    ``numpy.asarray(attribution)`` and ``attribution[10:20]`` read the voxels: float32 [D, H, W], or [D, H, W, C] where
    the network has several channels. Until then only the header is read.

    Attributes:
        scan_id: ``sub-01`` or ``sub-01_ses-02``.
        subject: The person.
        explainer: ``id`` of the explainer.
        fold: Whose network is explained.
        path: The NIfTI file.
        sidecar: What the JSON file beside it holds.
    """

    def __init__(self, record: MapRecord) -> None:
        self._record = record
        self.scan_id, self.subject, self.explainer = record.scan_id, record.subject_id, record.explainer
        self.fold, self.path, self.sidecar = record.fold, record.path, record.sidecar

    @cached_property
    def _image(self) -> nib.Nifti1Image:
        return _read(self.path)

    @property
    def shape(self) -> tuple[int, ...]:
        """(D, H, W), or (D, H, W, C) with several channels."""
        shape = tuple(int(n) for n in self._image.shape)
        return shape if len(shape) < 5 else (*shape[:3], *(n for n in shape[3:] if n > 1))

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """Voxel index to millimetres (RAS+), 4 x 4."""
        return np.array(self._image.affine, dtype=np.float64)

    @property
    def data(self) -> npt.NDArray[np.float32]:
        """The voxels, read anew at each access: float32, of ``shape``."""
        return np.asarray(self._image.dataobj, dtype=np.float32).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("The voxels are read from disk, which makes a copy.")
        return self.data if dtype is None else self.data.astype(dtype)

    def __getitem__(self, where: Any) -> Any:
        if self._image.ndim > 4:
            return self.data[where]
        return np.asarray(self._image.dataobj[where], dtype=np.float32)

    @property
    def target(self) -> str | None:
        """Name of the explained class; None for a regression."""
        name = self.sidecar.get("target_name")
        return None if name in (None, "value") else str(name)

    @property
    def output(self) -> float:
        """The explained output of the network."""
        return float(self.sidecar["output"])

    @property
    def scan(self) -> nib.Nifti1Image | None:
        """The scan that is explained (its first channel); None where it was not read from one file."""
        return None if self._record.image is None else _read(self._record.image)

    def to_nifti(self) -> nib.Nifti1Image:
        """Return the map as an image in memory, on the grid of the scan."""
        return nib.Nifti1Image(np.asarray(self._image.dataobj), self._image.affine, self._image.header)

    def plot(
        self,
        *,
        cut: tuple[float, float, float] | None = None,
        threshold: float = 95,
        limit: float = 99.9,
        convention: Convention = "neurological",
    ) -> Figure:
        """Draw the map over its scan in three planes; arguments as of ``xai_core.engine.mapplot.plot_map``.

        Raises:
            InputError: The scan or the map cannot be read, or an argument is out of range.
        """
        return plot_explanation(
            self._image, self.scan, self.sidecar, cut=cut, threshold=threshold, limit=limit, convention=convention
        )

    def view(self, **options: Any) -> NiiVue:
        """Return an interactive viewer for a notebook; options as of ``xai_core.engine.mapwidget.map_widget``.

        Raises:
            InputError: ipyniivue is not installed, or as for ``plot``.
        """
        return map_widget(self._image, self.scan, **options)

    def __repr__(self) -> str:
        return f"<relevance of {self.scan_id} by {self.explainer}, fold {self.fold}, {self.path.name}>"

    def _repr_html_(self) -> str:
        facts = {
            "scan": self.scan_id, "explainer": self.explainer, "fold": self.fold, "explained": self.target or "value",
            "output": f"{self.output:.4g}", "shape": " x ".join(map(str, self.shape)),
        }  # fmt: skip
        try:
            picture = picture_html(figure_png(self.plot()), f"relevance of {self.scan_id}")
        except InputError as error:  # the study's scans may lie elsewhere: what is known is shown all the same
            return facts_html("Relevance", facts | {"no picture": error})
        return picture + facts_html("Relevance", facts)


class SavedAttributions(Sequence[SavedAttribution]):
    """Relevance maps of a run, by scan, explainer and fold. Slices are the same; a text is a scan's or person's id."""

    def __init__(self, found: Sequence[SavedAttribution]) -> None:
        self._found = tuple(found)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int | str) -> SavedAttribution: ...
    @overload
    def __getitem__(self, index: slice) -> SavedAttributions: ...
    def __getitem__(self, index: int | str | slice) -> SavedAttribution | SavedAttributions:
        if isinstance(index, slice):
            return SavedAttributions(self._found[index])
        if not isinstance(index, str):
            return self._found[operator.index(index)]  # NumPy's integers too
        found = [one for one in self._found if index in (one.scan_id, one.subject)]
        if len(found) != 1:
            known = ", ".join(dict.fromkeys(one.scan_id for one in self._found[:5])) or "nobody"
            raise InputError(
                f"{len(found)} of these {len(self)} maps are of {index!r}, not one. There are: {known} ..."
            )
        return found[0]

    def __iter__(self) -> Iterator[SavedAttribution]:
        return iter(self._found)

    def __repr__(self) -> str:
        return f"<{len(self)} relevance maps of {len({one.scan_id for one in self})} scans>"

    def _repr_html_(self) -> str:
        rows = [(a.scan_id, a.explainer, a.fold, a.target or "value", f"{a.output:.4g}") for a in self]
        return rows_html(["scan", "explainer", "fold", "explained", "output"], rows)


def _read(path: Path) -> nib.Nifti1Image:
    try:
        return cast(nib.Nifti1Image, nib.load(path))
    except (OSError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path} cannot be read as an image: {error}. Was it moved or cut off?") from error
