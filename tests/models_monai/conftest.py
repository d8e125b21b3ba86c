"""What the tests of this folder share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import registry

# One small network of each kind of layer, as (name, parameters).
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet10-A": ("monai-resnet", {"depth": 10, "widen_factor": 0.125, "shortcut": "A"}),
    "resnet50-A": ("monai-resnet", {"depth": 50, "widen_factor": 0.0625, "shortcut": "A", "conv1_stride": 1}),
    "resnet18-B": ("monai-resnet", {"depth": 18, "widen_factor": 0.125, "conv1_kernel": [3, 5, 7], "max_pool": False}),
    "densenet": ("monai-densenet", {"blocks": [2, 3, 2], "growth_rate": 4, "init_features": 8}),
    "se-resnext50": ("monai-senet", {"variant": "se-resnext50", "layers": [1, 1, 1, 1]}),
    "efficientnet": ("monai-efficientnet", {}),
    "vit": ("monai-vit", {"patch_size": 8, "hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 4}),
    "classifier": ("monai-classifier", {"channels": [4, 8], "strides": [2, 2]}),
    "regressor": ("monai-regressor", {"channels": [4, 8], "strides": [2, 3], "norm": "batch", "act": "elu"}),
}


@pytest.fixture(params=list(SMALL.values()), ids=list(SMALL))
def component(request: pytest.FixtureRequest) -> Any:
    """Return a component of each kind, with few parameters."""
    name, params = request.param
    return registry.create("model", name, **params)


@pytest.fixture
def randomised() -> Any:
    """Return a function that gives a network values that no default hides, and lets each layer matter."""

    def randomise(network: nn.Module, volumes: Tensor) -> nn.Module:
        generator = torch.Generator().manual_seed(11)
        for name, value in network.state_dict().items():
            if name.endswith("weight") and value.ndim == 1:
                value.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith(("bias", "cls_token")):
                value.normal_(std=0.2, generator=generator)
        # With the statistics of no data EfficientNet's values fade to nothing before the last layer.
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = 1.0
        with torch.no_grad():
            network.train()(volumes)
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):  # a channel that is off in all volumes would be blown up
                value.clamp_(min=1e-3)
        return network.eval()

    return randomise
