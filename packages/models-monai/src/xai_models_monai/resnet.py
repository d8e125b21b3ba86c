"""The component ``monai-resnet``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from .base import MonaiModel, parameters, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from torch import nn

__all__ = ["MonaiResNet"]


class MonaiResNet(MonaiModel):
    """MONAI's 3D ResNet of depth 10 to 200; reads MedicalNet's pretrained weights.

    He et al. (2016) with 3D kernels, ``monai.networks.nets.resnet10`` to ``resnet200``. Any volume size works, down
    to a single voxel. MONAI's shortcut A cuts the gradient (it reads ``.data``), so that every gradient of the
    network is wrong; here the same shortcut lets the gradient through.

    Args:
        depth: Number of weighted layers: 10, 18, 34 (basic blocks), 50, 101, 152 or 200 (bottlenecks).
        widen_factor: The stages have 64, 128, 256 and 512 channels (bottlenecks four times as many) times this.
        shortcut: Where a block changes its shape: ``"A"`` subsamples and pads with zero channels (no
            parameters), ``"B"`` is a strided convolution of size 1 with batch normalisation.
        bias_downsample: Whether the convolution of shortcut B has a bias.
        conv1_kernel: Size of the first convolution in voxels: one number, or one for each axis.
        conv1_stride: Its stride, likewise. MONAI's own default is 1; its pretrained networks have 2.
        max_pool: Whether max pooling (kernel 3, stride 2) follows the first convolution.
        pretrained: A MedicalNet checkpoint, or the ``state_dict`` of a network of this kind.
    """

    label = "monai-resnet"
    head = "fc"
    unused_keys = r"conv_seg\."
    weights_hint = (
        "Check depth, widen_factor, shortcut and bias_downsample (MedicalNet: widen_factor 1, bias_downsample false; "
        "shortcut A for depth 18 and 34, B for the others)."
    )

    config_schema: ClassVar[Mapping[str, Any]] = parameters(
        depth={
            "type": "integer",
            "enum": [10, 18, 34, 50, 101, 152, 200],
            "default": 18,
            "description": "Number of weighted layers.",
        },
        widen_factor={
            "type": "number",
            "minimum": 0.015625,
            "default": 1.0,
            "description": "Factor of the number of channels; with 1 the first stage has 64.",
        },
        shortcut={
            "type": "string",
            "enum": ["A", "B"],
            "default": "B",
            "description": "Shortcut of a block that changes shape: A subsamples and pads with zero channels, B is a "
            "convolution. MedicalNet has A for depth 18 and 34, B for the others.",
        },
        bias_downsample={
            "type": "boolean",
            "default": False,
            "description": "Whether the convolution of shortcut B has a bias. MedicalNet has none.",
        },
        conv1_kernel={
            "anyOf": [{"type": "integer", "minimum": 1}, whole_numbers(3)],
            "default": 7,
            "description": "Size of the first convolution in voxels: one number, or one for each axis.",
        },
        conv1_stride={
            "anyOf": [{"type": "integer", "minimum": 1}, whole_numbers(3)],
            "default": 2,
            "description": "Stride of the first convolution: one number, or one for each axis. 1 keeps the resolution "
            "of small volumes (and is MONAI's own default); MedicalNet was trained with 2. Weights do not tell.",
        },
        max_pool={
            "type": "boolean",
            "default": True,
            "description": "Whether max pooling with stride 2 follows the first convolution.",
        },
    )

    def __init__(
        self,
        *,
        depth: Literal[10, 18, 34, 50, 101, 152, 200] = 18,
        widen_factor: float = 1.0,
        shortcut: Literal["A", "B"] = "B",
        bias_downsample: bool = False,
        conv1_kernel: int | Sequence[int] = 7,
        conv1_stride: int | Sequence[int] = 2,
        max_pool: bool = True,
        pretrained: str | Path | None = None,
    ) -> None:
        self.depth = depth
        self.widen_factor = widen_factor
        self.shortcut = shortcut
        self.bias_downsample = bias_downsample
        self.conv1_kernel = conv1_kernel
        self.conv1_stride = conv1_stride
        self.max_pool = max_pool
        self.pretrained = pretrained

    def network(self, input_shape: tuple[int, int, int, int], outputs: int) -> nn.Module:
        """Return the network; only the number of channels decides it."""
        from monai.networks import nets

        from ._shortcut import repair_shortcuts

        network: nn.Module = getattr(nets, f"resnet{self.depth}")(
            pretrained=False,
            spatial_dims=3,
            n_input_channels=input_shape[0],
            num_classes=outputs,
            widen_factor=self.widen_factor,
            shortcut_type=self.shortcut,
            bias_downsample=self.bias_downsample,
            conv1_t_size=self.conv1_kernel,
            conv1_t_stride=self.conv1_stride,
            no_max_pool=not self.max_pool,
        )
        repair_shortcuts(network)
        return network
