"""Which modules and functions of PyTorch have a rule, and of what sort it is.

Everything that is not listed here is refused: a layer whose gradient is taken for its relevance by mistake
gives a map that looks right and is not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ADDITIONS", "DROPOUTS", "FUNCTIONS", "FunctionModule", "Part", "Sum", "known_part"]


class Part(Enum):
    """What a module is to LRP."""

    CONVOLUTION = "convolution"
    DENSE = "dense layer"
    SUM = "sum"
    AVERAGE = "average"
    # Elementwise, of the sign of its input and zero at zero: the relevance passes unchanged.
    ACTIVATION = "activation"
    # Each output is one of the inputs, or zero: the gradient hands the relevance to the right one.
    SELECTION = "selection"
    # In evaluation mode an affine layer; merged into the layer before it where that is possible.
    BATCH_NORM = "batch normalisation"
    # Does nothing in evaluation mode.
    IDENTITY = "identity"


_MODULES: Mapping[Part, tuple[type[nn.Module], ...]] = {
    Part.CONVOLUTION: (
        nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    ),
    Part.DENSE: (nn.Linear,),
    Part.AVERAGE: (
        nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
        nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    ),
    Part.ACTIVATION: (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.Tanh, nn.Softsign),
    Part.SELECTION: (
        nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
        nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
        nn.Flatten, nn.Unflatten, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d,
        nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
    ),
    Part.BATCH_NORM: (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm),
    Part.IDENTITY: (
        nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    ),
}  # fmt: skip


def known_part(module: nn.Module) -> Part | None:
    """Return what a module is, or None for one without a rule.

    A subclass counts only if it computes what its base does.
    """
    if "forward" in vars(module):
        return None
    for part, types in _MODULES.items():
        for base in types:
            if isinstance(module, base) and _same_methods(type(module), base):
                return part
    return None


def _same_methods(cls: type[nn.Module], base: type[nn.Module]) -> bool:
    return all(getattr(cls, name, None) is getattr(base, name, None) for name in ("forward", "_conv_forward"))


ADDITIONS = frozenset([operator.add, operator.iadd, torch.add, "add", "add_"])

DROPOUTS = frozenset([F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout])

# Function or name of a method -> what it is, and the function called in its place, which never works in place.
FUNCTIONS: Mapping[Any, tuple[Part, Callable[..., Any]]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, "relu", "relu_"), (Part.ACTIVATION, F.relu)),
    F.leaky_relu: (Part.ACTIVATION, F.leaky_relu),
    F.elu: (Part.ACTIVATION, F.elu),
    F.relu6: (Part.ACTIVATION, F.relu6),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh", "tanh_"), (Part.ACTIVATION, torch.tanh)),
    **{
        f: (Part.AVERAGE, f)
        for f in (
            F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
            F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d,
        )
    },
    **dict.fromkeys((torch.mean, "mean"), (Part.AVERAGE, torch.mean)),
    **dict.fromkeys((torch.sum, "sum"), (Part.AVERAGE, torch.sum)),
    **{
        f: (Part.SELECTION, f)
        for f in (
            F.max_pool1d, F.max_pool2d, F.max_pool3d,
            F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d,
            torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.cat,
            torch.chunk, torch.split, F.pad, operator.getitem,
        )
    },
    **{
        name: (Part.SELECTION, getattr(Tensor, name))
        for name in (
            "flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "contiguous",
            "clone", "chunk", "split",
        )
    },
}  # fmt: skip


class Sum(nn.Module):
    """The sum of two tensors of one shape."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return ``first + second``."""
        return first + second


class FunctionModule(nn.Module):
    """A function with its settings as a module, so that a hook sees it.

    Args:
        function: Called with the tensor and the settings.
        args: Further positional arguments.
        kwargs: Keyword arguments.
    """

    def __init__(self, function: Callable[..., Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.args = args
        self.kwargs = dict(kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the function's value."""
        return self.function(x, *self.args, **self.kwargs)
