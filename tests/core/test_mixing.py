"""Networks whose output for a volume depends on the rest of the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchio as tio
from torch import Tensor, nn

from xai_core import registry
from xai_core.engine.folds import FoldModel
from xai_core.engine.mixing import mixes_batch
from xai_core.engine.preprocessing import Preprocessing
from xai_core.engine.requests import explaining


class Net(nn.Module):
    """Mixes its batch in one of several ways, or not."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.conv = nn.Conv3d(1, 4, 3, stride=2)
        self.norm = nn.BatchNorm3d(4, track_running_stats=way != "statistics of the batch")
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "largest voxel":
            x = x / x.max()
        if self.way == "z-score":
            x = (x - x.mean()) / x.std()
        x = torch.relu(self.norm(self.conv(x))).flatten(2)
        return self.head(x.squeeze(0).mean(1)[None] if self.way == "one volume only" else x.mean(2))


MIXING = ("largest voxel", "z-score", "statistics of the batch", "one volume only")


@pytest.mark.parametrize("way", [*MIXING, "not at all"])
def test_found(way: str) -> None:
    assert mixes_batch(Net(way).eval(), torch.rand(1, 1, 7, 8, 9)) == (way != "not at all")


def test_a_network_that_says_nothing_yet_is_tried_again() -> None:
    network, volume = Net("z-score").eval(), torch.rand(1, 1, 7, 8, 9)
    weights = network.head.weight.detach().clone()
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    assert not mixes_batch(network, volume)
    network.head.weight.data.copy_(weights)
    assert mixes_batch(network, volume)


@pytest.mark.parametrize("way", MIXING)
def test_each_volume_is_run_by_itself(way: str) -> None:
    network, volumes = Net(way).eval(), torch.rand(3, 1, 7, 8, 9) * torch.tensor([1.0, 2, 3]).reshape(3, 1, 1, 1, 1)
    with explaining(network, volumes, None) as explained:
        alone = torch.cat([network(volume) for volume in volumes.split(1)])
        torch.testing.assert_close(explained.forward(volumes), alone)
        torch.testing.assert_close(explained.output, alone.amax(1))


@pytest.mark.parametrize("way", MIXING)
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("smoothgrad", {"samples": 6}),
        ("integrated-gradients", {"baseline": "blurred", "sigma": 1.0, "steps": 20}),
        ("gradient-shap", {"baselines": ["blurred"], "sigma": 1.0}),
        ("occlusion", {"window": 4, "baseline": 0.5}),
        ("feature-ablation", {"size": 4, "baseline": 0.5}),
        ("gradcam", {"layer": "norm"}),
        ("layer-cam", {}),
    ],
)
def test_a_map_does_not_depend_on_how_many_volumes_are_run_at_once(way: str, name: str, params: dict[str, Any]) -> None:
    network, volumes = Net(way).eval(), torch.rand(2, 1, 9, 10, 11, generator=torch.Generator().manual_seed(1))
    maps = []
    for given, size in ((volumes, 1), (volumes, 4), (volumes[1:], 4)):
        torch.manual_seed(2)
        explainer = registry.create("explainer", name, **params, max_batch=size)
        maps.append(explainer.explain(network, given, torch.ones(len(given), dtype=torch.int64)).relevance[-1])
    scale = float(maps[0].abs().max())
    assert scale > 0
    for other in maps[1:]:
        torch.testing.assert_close(other, maps[0], rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("way", [*MIXING, "not at all"])
def test_a_prediction_does_not_depend_on_who_is_predicted_beside(way: str) -> None:
    model = FoldModel(0, Net(way).eval(), Preprocessing([]), torch.device("cpu"), ("a", "b", "c"), (1, 7, 8, 9))
    prepared = [tio.Subject(image=tio.ScalarImage(tensor=scale * torch.rand(1, 7, 8, 9))) for scale in (1, 2, 3)]
    alone = torch.cat([model.outputs([one]) for one in prepared])
    torch.testing.assert_close(model.outputs(prepared), alone)
    assert not torch.allclose(alone[0], alone[1])
