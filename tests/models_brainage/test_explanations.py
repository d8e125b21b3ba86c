"""The networks can be explained: relevance is conserved, and gradients reach the volume."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from xai_core import NotApplicable, registry

NETWORKS: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("singh2023-alexnet", {}, (17, 19, 22)),
    ("singh2023-vgg", {}, (17, 19, 22)),
    ("singh2023-resnet", {}, (17, 19, 22)),
    ("singh2023-densenet", {}, (17, 20, 22)),
    ("dyrba2021", {}, (17, 19, 22)),
    ("mrinet", {"activation": "leaky-relu"}, (17, 20, 22)),
    ("mrinet", {"batch_norm": True}, (17, 20, 22)),
    ("sfcn", {"filters": [4, 4, 4, 4, 4, 4]}, (33, 40, 35)),
]


def ready(name: str, params: dict[str, Any], sides: tuple[int, int, int], biases: bool) -> nn.Module:
    """Return a network with statistics of its own; without biases its output is a sum over the voxels."""
    torch.manual_seed(6)
    network: nn.Module = registry.create("model", name, **params).build((1, *sides), 2)
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        if key.endswith(("bias", "running_mean")):
            value.normal_(std=0.2) if biases else value.zero_()
    return network.eval()


@pytest.mark.parametrize("composite", ["epsilon", "epsilon-plus"])
@pytest.mark.parametrize(("name", "params", "sides"), NETWORKS, ids=str)
def test_relevance_is_conserved(name: str, params: dict[str, Any], sides: tuple[int, int, int], composite: str) -> None:
    lrp = registry.create("explainer", "lrp", composite=composite)
    volumes = torch.rand(2, 1, *sides)
    network = ready(name, params, sides, biases=False).double()
    attribution = lrp.explain(network, volumes.double(), torch.tensor([0, 1]))
    sums = attribution.relevance.double().sum((1, 2, 3, 4))
    torch.testing.assert_close(sums, attribution.output.double(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("name", "params", "sides"), NETWORKS, ids=str)
def test_what_biases_take_is_accounted_for(name: str, params: dict[str, Any], sides: tuple[int, int, int]) -> None:
    network = ready(name, params, sides, biases=True)
    attribution = registry.create("explainer", "lrp").explain(network, torch.rand(2, 1, *sides), None)
    assert bool(torch.isfinite(attribution.relevance).all())
    for details in attribution.details or ():
        assert abs(details["conservation"]["unexplained_share"]) < 1e-4


@pytest.mark.parametrize("explainer", ["saliency", "input-x-gradient", "guided-backpropagation", "gradcam"])
@pytest.mark.parametrize(("name", "params", "sides"), NETWORKS, ids=str)
def test_other_explainers_run(name: str, params: dict[str, Any], sides: tuple[int, int, int], explainer: str) -> None:
    network = ready(name, params, sides, biases=True)
    volumes = torch.rand(1, 1, *sides)
    if explainer == "guided-backpropagation" and any(isinstance(m, nn.LeakyReLU) for m in network.modules()):
        with pytest.raises(NotApplicable, match="LeakyReLU"):
            registry.create("explainer", explainer).explain(network, volumes, None)
        return
    attribution = registry.create("explainer", explainer).explain(network, volumes, None)
    assert attribution.relevance.shape == volumes.shape
    assert bool(torch.isfinite(attribution.relevance).all())
