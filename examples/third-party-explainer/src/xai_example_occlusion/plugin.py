"""The component. Light: ``xai plugins`` and ``xai validate`` import this file, so torch stays out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from xai_core import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor, nn


class CubeOcclusion(Explainer):
    """How much the output falls when a cube of the volume is replaced by background."""

    config_schema: ClassVar = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "size": {"type": "integer", "minimum": 1, "default": 8, "description": "Edge of a cube in voxels."},
        },
    }

    def __init__(self, *, size: int = 8) -> None:
        self.size = size

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        from ._attribute import attribute

        return attribute(model, volumes, target, self.size)
