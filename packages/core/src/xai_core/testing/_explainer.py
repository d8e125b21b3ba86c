"""The suite for explainers."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..engine.seeding import seeded
from ..types import Attribution
from ._base import ComponentConformance
from ._networks import TinyConvNet, model_state, volumes

__all__ = ["ExplainerConformance"]


class _Broken(nn.Module):
    """Raises in the middle of its forward pass, as a network out of memory does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = TinyConvNet()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.inner.relu1(self.inner.bn1(self.inner.conv1(x)))
        raise RuntimeError("out of memory (a test's)")


class ExplainerConformance(ComponentConformance):
    """Checks for explainers.

    Attributes:
        conservation: Largest |sum of relevance / output - 1| on a network without biases that the explainer
            promises, or None where it promises none.
        tolerance: Largest difference between two ways to the same map, relative to its largest value.
        depends_on_target: Whether the map of one output differs from that of another; False for a method that explains
            none in particular.
        accelerator: Device that is compared with the CPU.
    """

    kind = "explainer"
    conservation: ClassVar[float | None] = None
    tolerance: ClassVar[float] = 1e-4
    depends_on_target: ClassVar[bool] = True
    accelerator: ClassVar[str] = "cuda"

    def network(self, outputs: int = 3, bias: bool = True) -> nn.Module:
        """Return a network in evaluation mode, the same at every call."""
        return TinyConvNet(outputs=outputs, bias=bias)

    def explain(self, model: nn.Module, batch: Tensor, target: Tensor | None = None) -> Attribution:
        """Explain with the unit's seed, as a run does."""
        with seeded(0):
            result = self.create().explain(model, batch, target)
        assert isinstance(result, Attribution), f"returned {type(result).__name__}, not an Attribution"
        return result

    def close(self, first: Tensor, second: Tensor, what: str) -> None:
        """Assert that two maps are the same up to ``tolerance``."""
        scale = float(torch.maximum(first.abs().max(), second.abs().max()))
        difference = float((first - second).abs().max())
        assert difference <= self.tolerance * scale, (
            f"{what}: they differ by {difference:.3g} where the maximum is {scale:.3g}"
        )

    def test_shape_type_and_finiteness(self) -> None:
        """Relevance has the volumes' shape, is float32 and finite, and is not all the same."""
        batch = volumes()
        found = self.explain(self.network(), batch)
        assert found.relevance.shape == batch.shape, f"{tuple(found.relevance.shape)} for {tuple(batch.shape)}"
        assert found.relevance.dtype == torch.float32, f"{found.relevance.dtype}, not float32"
        assert bool(torch.isfinite(found.relevance).all()), "relevance is NaN or infinite"
        assert not found.relevance.requires_grad, "relevance still hangs on the graph"
        assert float(found.relevance.std()) > 0, "relevance is the same everywhere"

    def test_odd_non_cubic_volumes(self) -> None:
        """Any three sides will do."""
        for grid in ((7, 12, 9), (13, 8, 11)):
            batch = volumes(1, grid=grid)
            found = self.explain(self.network(), batch)
            assert found.relevance.shape == batch.shape, f"{tuple(found.relevance.shape)} for {tuple(batch.shape)}"

    def test_explains_the_predicted_class_unless_told(self) -> None:
        """Target and output are those of the network."""
        model, batch = self.network(), volumes()
        with torch.no_grad():
            logits = model(batch)
        found = self.explain(model, batch)
        assert found.target.tolist() == logits.argmax(1).tolist(), "target None is not the predicted class"
        assert found.target.dtype == torch.int64, f"target is {found.target.dtype}, not int64"
        chosen = torch.tensor([2, 0])
        found = self.explain(model, batch, chosen)
        expected = logits.gather(1, chosen[:, None])[:, 0]
        assert found.target.tolist() == [2, 0], "the target asked for is not the one explained"
        assert found.output.shape == (2,), f"output has shape {tuple(found.output.shape)}, not (2,)"
        assert torch.allclose(found.output.cpu(), expected, rtol=1e-4, atol=1e-5), "output is not the network's output"

    def test_explains_a_regression(self) -> None:
        """One output, no classes."""
        batch = volumes()
        found = self.explain(self.network(outputs=1), batch)
        assert found.target.tolist() == [0, 0], f"target {found.target.tolist()} of a regression"
        assert found.relevance.shape == batch.shape, "relevance of a regression has another shape"

    def test_same_seed_same_map(self) -> None:
        """Twice the same is the same to the bit."""
        first, second = (self.explain(self.network(), volumes()).relevance for _ in range(2))
        assert torch.equal(first, second), "two runs with one seed differ"

    def test_batch_of_two_equals_two_of_one(self) -> None:
        """A person's map depends neither on who else is in the batch nor on the output explained for them."""
        model, batch = self.network(), volumes()
        for target in (None, torch.tensor([2, 0])):
            together = self.explain(model, batch, target).relevance
            for position in range(2):
                part = slice(position, position + 1)
                alone = self.explain(model, batch[part], None if target is None else target[part]).relevance[0]
                self.close(together[position], alone, "in a batch and alone")

    def test_explains_the_output_asked_for(self) -> None:
        """Another target is another map, and None is the predicted class's."""
        model, batch = self.network(), volumes()
        with torch.no_grad():
            predicted = model(batch).argmax(1).tolist()
        maps = [self.explain(model, batch, torch.full((2,), target)).relevance for target in range(3)]
        default = self.explain(model, batch).relevance
        for position in range(2):
            named = maps[predicted[position]][position]
            self.close(default[position], named, "the predicted class without a target and by its index")
            same = all(torch.equal(maps[0][position], other[position]) for other in maps[1:])
            assert not (same and self.depends_on_target), "the map is the same whatever target is asked for"

    def test_depends_on_the_network(self) -> None:
        """Other weights give another map (Adebayo et al. 2018)."""
        model, batch = self.network(), volumes()
        before = self.explain(model, batch).relevance
        other = self.network()
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        after = self.explain(other, batch).relevance
        assert not torch.allclose(before, after), "the map does not depend on the weights"

    def test_cpu_equals_gpu(self) -> None:
        """The device changes nothing; skipped where there is no GPU."""
        device = torch.device(self.accelerator)
        if device.type == "cuda" and not torch.cuda.is_available():
            import pytest

            pytest.skip("no CUDA device on this machine")
        model, batch = self.network(), volumes()
        on_cpu = self.explain(model, batch).relevance
        on_gpu = self.explain(model.to(device), batch.to(device)).relevance
        assert on_gpu.device.type == device.type, f"relevance is on {on_gpu.device}, the volumes are on {device}"
        self.close(on_cpu, on_gpu.cpu(), "CPU and GPU")

    def test_model_is_untouched(self) -> None:
        """Parameters, flags, hooks and gradients are as before, and so are the volumes."""
        model, batch = self.network(), volumes()
        before, copy = model_state(model), batch.clone()
        self.explain(model, batch)
        _assert_same(before, model_state(model))
        assert torch.equal(batch, copy), "the volumes were changed"
        assert not batch.requires_grad, "the volumes were left with requires_grad"
        assert batch.grad is None, "the volumes were left with a gradient"

    def test_works_on_a_frozen_model_and_without_grad(self) -> None:
        """A network whose parameters do not train, inside ``torch.no_grad()``, gives the same map."""
        model, batch = self.network(), volumes()
        expected = self.explain(model, batch).relevance
        model.requires_grad_(False)
        before = model_state(model)
        with torch.no_grad():
            found = self.explain(model, batch).relevance
        self.close(expected, found, "frozen and free")
        _assert_same(before, model_state(model))

    def test_model_is_untouched_after_an_exception(self) -> None:
        """A network that fails in the middle, or a target that is not there, leaves nothing behind."""
        # Any exception will do: a run checks the target itself before it asks.
        cases = [(_Broken(), None), (self.network(), torch.tensor([99, 0])), (self.network(), torch.tensor([0, -1]))]
        for model, target in cases:
            before = model_state(model)
            what = "a network that fails" if target is None else f"the target {target.tolist()} of 3 outputs"
            try:
                self.explain(model, volumes(), target)
            except Exception:
                _assert_same(before, model_state(model))
            else:
                raise AssertionError(f"{what} was explained")

    def test_conservation(self) -> None:
        """Where it is promised, relevance sums to the output of a network without biases."""
        if self.conservation is None:
            return
        found = self.explain(self.network(bias=False), volumes())
        ratio = found.relevance.double().flatten(1).sum(1) / found.output.double()
        worst = float((ratio - 1).abs().max())
        assert worst <= self.conservation, f"sum of relevance / output = {ratio.tolist()}"


def _assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    assert not changed, f"the model was changed: {sorted(changed)[:5]}"
