"""Explainers that take parts of the volume away. Light: torch loads when ``explain`` is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from xai_core import Attribution, Explainer

from .parameters import BASELINE, BASELINE_FILE, SIGMA

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["FeatureAblation", "Occlusion"]

_VOXELS: list[Mapping[str, Any]] = [
    {"type": "integer", "minimum": 1},
    {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 3, "maxItems": 3},
]

_MAX_BATCH: Mapping[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "default": 4,
    "description": "Bounds the memory: that of a pass of so many volumes through the whole network. More changes are "
    "computed at once where only a part of it is run. Halved when memory runs out.",
}


class _Perturbation(Explainer):
    """What explainers share that compare a volume with a baseline."""

    def __init__(self, baseline: str | float, baseline_file: str | None, sigma: float, max_batch: int) -> None:
        self.baseline = baseline
        self.baseline_file = baseline_file
        self.sigma = sigma
        self.max_batch = max_batch
        self._controls: Tensor | None = None

    def uses_controls(self) -> bool:
        """Whether the baseline is the mean of the controls."""
        return self.baseline == "controls" and self.baseline_file is None

    def set_controls(self, mean: Tensor) -> None:
        """Take the mean of the controls, float32 [C, D, H, W]."""
        self._controls = mean

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Refuse a file that is no baseline of these volumes; see ``Explainer``."""
        del model
        from ._baselines import check_file

        check_file(self.baseline_file, volumes)

    def _baseline(self, volumes: Tensor) -> Tensor:
        """Return the baseline of each volume [N, C, D, H, W]."""
        from ._baselines import baseline_volumes

        return baseline_volumes(
            volumes, self.baseline, controls=self._controls, file=self.baseline_file, sigma=self.sigma
        )


class Occlusion(_Perturbation):
    """How much the output drops when a window of the volume is replaced by a baseline.

    A window slides over the volume. A voxel's relevance is the mean of output(volume) - output(volume with the window
    replaced) over the windows that hold it, the same in all channels, which are replaced together: positive where
    the tissue speaks for the explained output. The unit is that of the output. Values equal those of
    ``captum.attr.Occlusion``, also for the last windows, which may be cut off at the border.

    Windows in which the volume equals the baseline cost nothing, and for the others only what they reach of the
    network's features is computed again, which is exact but for rounding. A network that cannot be run in part (one
    that normalises by statistics of the volume, say) is run in full for each window from there on. ``details`` says
    which (``recomputed``), how many windows there are and how many change nothing, and by how much both ways differed
    for the windows that were tried (``difference_from_full_passes``).

    Source: Zeiler & Fergus, Visualizing and understanding convolutional networks, ECCV 2014.

    Args:
        window: Size in voxels, for all axes or for each of them.
        stride: Voxels from one window to the next; None: the window's size, blocks side by side. Half the window gives
            a finer map for eight times the work.
        baseline: ``"background"``, ``"minimum"``, ``"zero"``, ``"blurred"``, ``"controls"`` or an intensity.
        baseline_file: File taken as the baseline instead.
        sigma: Standard deviation in voxels of the Gaussian of ``"blurred"``.
        max_batch: Bounds the memory, in full passes of so many volumes.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "window": {
                "anyOf": _VOXELS,
                "default": 8,
                "description": "Size of the window in voxels, for all axes or for each of them.",
            },
            "stride": {
                "anyOf": [*_VOXELS, {"type": "null"}],
                "default": None,
                "description": "Voxels from one window to the next, at most the window; null: the window's size. Half "
                "of it gives a finer map for eight times the work.",
            },
            "baseline": BASELINE,
            "baseline_file": BASELINE_FILE,
            "sigma": SIGMA,
            "max_batch": _MAX_BATCH,
        },
    }

    def __init__(
        self,
        *,
        window: int | Sequence[int] = 8,
        stride: int | Sequence[int] | None = None,
        baseline: str | float = "background",
        baseline_file: str | None = None,
        sigma: float = 4.0,
        max_batch: int = 4,
    ) -> None:
        super().__init__(baseline, baseline_file, sigma, max_batch)
        self.window = window
        self.stride = stride

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return the mean drop [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained; the window is larger than
                the volume; the baseline cannot be used.
            ConfigError: The stride is larger than the window.
        """
        from ._occlusion import attribute

        return attribute(
            model,
            volumes,
            target,
            window=self.window,
            stride=self.stride,
            baseline=self._baseline,
            max_batch=self.max_batch,
        )

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Refuse windows that do not fit into the volume, and files; see ``Explainer``."""
        from ._occlusion import check_windows

        super().check_model(model, volumes)
        depth, height, width = volumes.shape[2:]
        check_windows((depth, height, width), self.window, self.stride)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compute the windows of some voxels again by plain full passes; see ``Explainer.self_check``."""
        from ._occlusion import check_windows
        from ._occlusion_check import check_windows_at

        volume = volumes[:1]
        depth, height, width = volume.shape[2:]
        sizes = check_windows((depth, height, width), self.window, self.stride)
        found = self.explain(model, volume, None)
        return check_windows_at(model, volume, self._baseline(volume), found, *sizes)


class FeatureAblation(_Perturbation):
    """How much the output drops when a region of the volume is replaced by a baseline.

    Regions are those of an atlas on the network's grid, or supervoxels of the volume itself: connected pieces of
    similar intensity (SLIC). Each voxel gets output(volume) - output(volume with its region replaced), the same in all
    channels, which are replaced together; a voxel of no region (label 0, background) gets 0. The unit is that of the
    output. Values equal those of ``captum.attr.FeatureAblation`` with the regions as its mask. ``details`` holds the
    drop of each region of an atlas; for the rest of it, and for what is computed, see ``Occlusion``.

    Sources: Zeiler & Fergus, ECCV 2014; supervoxels: Achanta et al., SLIC superpixels compared to state-of-the-art
    superpixel methods, TPAMI 2012.

    Args:
        atlas: Label image, NIfTI or .npy, on the network's grid [D, H, W]; None: supervoxels.
        size: Width of a supervoxel in voxels, about.
        baseline: ``"background"``, ``"minimum"``, ``"zero"``, ``"blurred"``, ``"controls"`` or an intensity.
        baseline_file: File taken as the baseline instead.
        sigma: Standard deviation in voxels of the Gaussian of ``"blurred"``.
        max_batch: Bounds the memory, in full passes of so many volumes.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "atlas": {
                "type": ["string", "null"],
                "format": "path",
                "default": None,
                "description": "Label image (NIfTI or .npy), already on the network's grid, regions numbered from 1; "
                "null: supervoxels of the volume.",
            },
            "size": {
                "type": "integer",
                "minimum": 2,
                "default": 10,
                "description": "Width of a supervoxel in voxels, about; not used with an atlas.",
            },
            "baseline": BASELINE,
            "baseline_file": BASELINE_FILE,
            "sigma": SIGMA,
            "max_batch": _MAX_BATCH,
        },
    }

    def __init__(
        self,
        *,
        atlas: str | None = None,
        size: int = 10,
        baseline: str | float = "background",
        baseline_file: str | None = None,
        sigma: float = 4.0,
        max_batch: int = 4,
    ) -> None:
        super().__init__(baseline, baseline_file, sigma, max_batch)
        self.atlas = atlas
        self.size = size

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return each region's drop [N, C, D, H, W]; see ``Explainer.explain``.

        Raises:
            InputError: The volumes, the target or the model's output cannot be explained; the atlas is missing, no
                label image or on another grid; the baseline cannot be used.
        """
        from ._ablation import attribute

        return attribute(
            model,
            volumes,
            target,
            atlas=self.atlas,
            size=self.size,
            baseline=self._baseline,
            max_batch=self.max_batch,
        )

    def check_model(self, model: nn.Module, volumes: Tensor) -> None:
        """Refuse files that do not fit these volumes; see ``Explainer``."""
        from ._ablation import labels_for

        super().check_model(model, volumes)
        if self.atlas is not None:
            labels_for(volumes[:1], self.atlas, self.size)

    def self_check(self, model: nn.Module, volumes: Tensor) -> str:
        """Compute the drops of some regions again by plain full passes; see ``Explainer.self_check``."""
        from ._ablation import labels_for
        from ._occlusion_check import check_regions

        volume = volumes[:1]
        found = self.explain(model, volume, None)
        labels = labels_for(volume, self.atlas, self.size)
        return check_regions(model, volume, self._baseline(volume), found, labels)
