"""What no kit can know: that the map is the right one."""

import torch
from torch import Tensor, nn

from xai_core import registry


class WeightedSum(nn.Module):
    """Two outputs: the weighted sum of the voxels, and its negative."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        total = (x * self.weights).flatten(1).sum(1)
        return torch.stack([total, -total], dim=1)


def test_cube_of_a_linear_network_gets_the_sum_of_its_voxels() -> None:
    """Taking away a cube lowers the output by sum w (x - least); grid 3 x 2 x 5 with cubes of edge 2."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 3, 2, 5, generator=generator)
    volume = torch.rand(1, 1, 3, 2, 5, generator=generator)
    explainer = registry.create("explainer", "cube-occlusion", size=2)
    relevance = explainer.explain(WeightedSum(weights), volume, torch.tensor([1])).relevance
    lost = -weights * (volume - volume.min())
    torch.testing.assert_close(relevance[0, 0, 0, 0, 0], lost[..., :2, :2, :2].sum())
    torch.testing.assert_close(relevance[0, 0, 2, 1, 4], lost[..., 2:, :2, 4:].sum())
    assert len(relevance.unique()) == 2 * 1 * 3
