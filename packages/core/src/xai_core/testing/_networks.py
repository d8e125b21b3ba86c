"""A small network for the suites, and a record of all that an explainer must leave as it was."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["GRID", "TinyConvNet", "model_state", "volumes"]

GRID = (11, 9, 10)


class TinyConvNet(nn.Module):
    """Two convolutions with batch normalisation, global average pooling and a linear layer; fixed random weights.

    Args:
        channels: Input channels.
        outputs: Number of outputs.
        bias: Whether layers have biases (and batch normalisation a shift); without them LRP conserves exactly.
    """

    def __init__(self, channels: int = 1, outputs: int = 3, bias: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.conv1 = nn.Conv3d(channels, 4, 3, stride=2, padding=1, bias=bias)
            self.bn1 = nn.BatchNorm3d(4)
            self.relu1 = nn.ReLU()
            self.conv2 = nn.Conv3d(4, 6, 3, padding=1, bias=bias)
            self.relu2 = nn.ReLU()
            self.pool = nn.AdaptiveAvgPool3d(1)
            self.flatten = nn.Flatten()
            self.fc = nn.Linear(6, outputs, bias=bias)
            if bias:
                nn.init.normal_(self.bn1.running_mean, std=0.2)  # type: ignore[arg-type]
                nn.init.uniform_(self.bn1.running_var, 0.5, 1.5)  # type: ignore[arg-type]
                nn.init.normal_(self.bn1.bias, std=0.2)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, C, D, H, W] to [N, outputs]."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.conv2(x))
        result: Tensor = self.fc(self.flatten(self.pool(x)))
        return result


def volumes(number: int = 2, channels: int = 1, grid: tuple[int, int, int] = GRID, seed: int = 3) -> Tensor:
    """Return non-negative float32 [number, channels, *grid]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((number, channels, *grid), generator=generator)


def model_state(model: nn.Module) -> dict[str, Any]:
    """Return everything of a network that an explainer must leave as it was, for comparison by ``==``."""
    state: dict[str, Any] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        state[f"value {name}"] = tensor.detach().cpu().numpy().tobytes()
        state[f"requires_grad {name}"] = tensor.requires_grad
        state[f"grad {name}"] = None if tensor.grad is None else tensor.grad.cpu().numpy().tobytes()
    for name, module in model.named_modules():
        state[f"class {name}"] = type(module)
        state[f"training {name}"] = module.training
        state[f"inplace {name}"] = getattr(module, "inplace", None)
        state[f"attributes {name}"] = sorted(vars(module))
        hooks = [attribute for attribute in vars(module) if attribute.endswith("_hooks")]
        state[f"hooks {name}"] = {attribute: len(getattr(module, attribute)) for attribute in hooks}
    return state
