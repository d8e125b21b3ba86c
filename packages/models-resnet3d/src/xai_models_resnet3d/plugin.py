"""The component ``resnet3d``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from xai_core import InputError, Model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import nn

__all__ = ["ResNet3D"]


class ResNet3D(Model):
    """3D residual network of depth 10, 18, 34 or 50; reads MedicalNet's pretrained weights.

    The network is that of He et al. (2016) with 3D kernels, in the layout of MedicalNet (Chen et al. 2019,
    arXiv:1904.00625): the same ``state_dict`` keys, with global average pooling and a linear layer ``fc`` in
    place of the segmentation head. Any number of channels and any volume size works, down to a single voxel.

    Args:
        depth: Number of weighted layers: 10, 18, 34 (basic blocks) or 50 (bottlenecks).
        width: Channels of the first stage; the others have 2, 4 and 8 times as many. 64 in the publications.
        shortcut: Where a block changes its shape: ``"A"`` subsamples and pads with zero channels (no
            parameters), ``"B"`` is a strided convolution of size 1 with batch normalisation.
        conv1_stride: Stride of the first convolution (kernel 7); 1 keeps the resolution of small volumes.
        max_pool: Whether max pooling (kernel 3, stride 2) follows the first convolution.
        dilated: False: stages 3 and 4 halve the resolution. True: they keep that of stage 2 with kernels
            dilated by 2 and 4, as MedicalNet's networks were trained; feature maps are then four times finer.
        dropout: Probability of dropping a feature before ``fc``, in [0, 1).
        weights: A MedicalNet checkpoint (``resnet_18_23dataset.pth``, say), or a saved network of this kind.
    """

    config_schema: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "depth": {
                "type": "integer",
                "enum": [10, 18, 34, 50],
                "default": 18,
                "description": "Number of weighted layers.",
            },
            "width": {
                "type": "integer",
                "minimum": 1,
                "default": 64,
                "description": "Channels of the first stage; the others have 2, 4 and 8 times as many.",
            },
            "shortcut": {
                "type": "string",
                "enum": ["A", "B"],
                "default": "B",
                "description": "Shortcut of a block that changes shape: A subsamples and pads with zero "
                "channels, B is a convolution. MedicalNet's resnet_18 and resnet_34 use A, resnet_10 "
                "and resnet_50 B.",
            },
            "conv1_stride": {
                "type": "integer",
                "enum": [1, 2],
                "default": 2,
                "description": "Stride of the first convolution; 1 keeps the resolution of small volumes.",
            },
            "max_pool": {
                "type": "boolean",
                "default": True,
                "description": "Whether max pooling with stride 2 follows the first convolution.",
            },
            "dilated": {
                "type": "boolean",
                "default": False,
                "description": "Whether stages 3 and 4 keep the resolution with dilated kernels, as "
                "MedicalNet was trained, in place of halving it.",
            },
            "dropout": {
                "type": "number",
                "minimum": 0,
                "exclusiveMaximum": 1,
                "default": 0.0,
                "description": "Probability of dropping a feature before the last layer.",
            },
            "weights": {
                "type": ["string", "null"],
                "format": "path",
                "default": None,
                "description": "A MedicalNet checkpoint (.pth) or a saved state_dict of such a network. "
                "Its head is ignored where the number of outputs is given. A checkpoint of one channel also "
                "serves several: the first kernel is repeated and divided by their number.",
            },
        },
    }

    def __init__(
        self,
        *,
        depth: Literal[10, 18, 34, 50] = 18,
        width: int = 64,
        shortcut: Literal["A", "B"] = "B",
        conv1_stride: Literal[1, 2] = 2,
        max_pool: bool = True,
        dilated: bool = False,
        dropout: float = 0.0,
        weights: str | Path | None = None,
    ) -> None:
        self.depth = depth
        self.width = width
        self.shortcut = shortcut
        self.conv1_stride = conv1_stride
        self.max_pool = max_pool
        self.dilated = dilated
        self.dropout = dropout
        self.weights = weights

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        """Return the network, on the CPU, mapping float32 [N, C, D, H, W] to [N, outputs].

        Args:
            input_shape: (C, D, H, W); only C decides the architecture.
            outputs: Number of logits or values; None: as many as the ``fc`` layer stored in ``weights`` has,
                which is then loaded too.

        Raises:
            InputError: The shape is no (C, D, H, W), ``outputs`` is None without a stored ``fc``, or the
                weights cannot be read or do not fit; the message lists the keys.
        """
        if len(input_shape) != 4 or any(size < 1 for size in input_shape):
            raise InputError(
                f"resnet3d: input_shape is {tuple(input_shape)}; "
                "give (channels, depth, height, width), each at least 1."
            )
        from ._network import ResNet
        from ._weights import load, read_state, stored_outputs

        state = None if self.weights is None else read_state(Path(self.weights))
        with_head = outputs is None
        if outputs is None:
            outputs = stored_outputs(state, self.weights)
        network = ResNet(
            depth=self.depth,
            channels=input_shape[0],
            outputs=outputs,
            width=self.width,
            shortcut=self.shortcut,
            conv1_stride=self.conv1_stride,
            max_pool=self.max_pool,
            dilated=self.dilated,
            dropout=self.dropout,
        )
        if state is not None:
            load(network, state, source=str(self.weights), with_head=with_head)
        return network
