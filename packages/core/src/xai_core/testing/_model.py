"""The suite for models."""

from __future__ import annotations

import io
from typing import ClassVar

import torch
from torch import nn

from ..engine.seeding import seeded
from ._base import ComponentConformance
from ._networks import volumes

__all__ = ["ModelConformance"]


class ModelConformance(ComponentConformance):
    """Checks for models.

    Attributes:
        grids: Two shapes (D, H, W) that the model is built for.
        channels: Input channels.
        outputs: Number of outputs.
    """

    kind = "model"
    grids: ClassVar[tuple[tuple[int, int, int], tuple[int, int, int]]] = ((33, 38, 35), (40, 32, 36))
    channels: ClassVar[int] = 1
    outputs: ClassVar[int] = 3

    def build(self, grid: tuple[int, int, int], outputs: int | None = None, seed: int = 0) -> nn.Module:
        """Return the network for a grid, with the weights of a seed."""
        with seeded(seed):
            model = self.create().build((self.channels, *grid), self.outputs if outputs is None else outputs)
        assert isinstance(model, nn.Module), f"build returned {type(model).__name__}"
        return model

    def test_logits_for_two_grids(self) -> None:
        """[N, C, D, H, W] becomes finite float32 [N, outputs]."""
        for grid in self.grids:
            model = self.build(grid).eval()
            with torch.no_grad():
                result = model(volumes(2, self.channels, grid))
            assert result.shape == (2, self.outputs), f"{tuple(result.shape)} for grid {grid}"
            assert result.dtype == torch.float32, f"{result.dtype}, not float32"
            assert bool(torch.isfinite(result).all()), "outputs are NaN or infinite"

    def test_one_output_for_a_regression(self) -> None:
        """``outputs=1`` gives one value for each scan."""
        model = self.build(self.grids[0], outputs=1).eval()
        with torch.no_grad():
            shape = tuple(model(volumes(2, self.channels, self.grids[0])).shape)
        assert shape == (2, 1), f"{shape} for one output"

    def test_every_parameter_trains(self) -> None:
        """A loss reaches every parameter."""
        model = self.build(self.grids[0]).train()
        weights = torch.arange(1.0, self.outputs + 1)
        (model(volumes(4, self.channels, self.grids[0])) * weights).square().sum().backward()
        idle = [
            n
            for n, p in model.named_parameters()
            if p.requires_grad and (p.grad is None or not bool(p.grad.abs().sum() > 0))
        ]
        assert not idle, f"parameters without a gradient: {idle[:5]}"

    def test_state_dict_round_trip(self) -> None:
        """What training changes is saved, loads with ``weights_only=True`` and gives the same outputs to the bit."""
        model = self.build(self.grids[0]).train()
        with torch.no_grad():
            model(volumes(4, self.channels, self.grids[0], seed=8))  # moves running statistics
            for parameter in model.parameters():
                parameter.add_(0.01)
        model.eval()
        stream = io.BytesIO()
        torch.save(model.state_dict(), stream)
        stream.seek(0)
        other = self.build(self.grids[0], seed=1).eval()
        other.load_state_dict(torch.load(stream, weights_only=True))
        batch = volumes(1, self.channels, self.grids[0])
        with torch.no_grad():
            assert torch.equal(model(batch), other(batch)), "the loaded network computes something else"

    def test_same_seed_same_network(self) -> None:
        """Initial weights follow from the seed."""
        first, second = (self.build(self.grids[0]).state_dict() for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first), "two builds with one seed differ"

    def test_scans_of_a_batch_do_not_mix(self) -> None:
        """In evaluation mode a scan's output does not depend on the others."""
        model = self.build(self.grids[0]).eval()
        batch = volumes(2, self.channels, self.grids[0])
        with torch.no_grad():
            together, alone = model(batch)[:1], model(batch[:1])
        assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5), "a scan's output depends on its batch"
