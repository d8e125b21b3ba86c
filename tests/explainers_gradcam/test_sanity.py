"""Properties that every explainer must have whatever its formula, and the checks that explainers make of themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import Attribution, Explainer, InputError, registry
from xai_core.engine.seeding import seeded

NAMES: dict[str, dict[str, Any]] = {
    "gradcam": {"layer": "conv2"},
    "gradcam-plus-plus": {"layer": "conv2"},
    "layer-cam": {"layer": "conv2"},
    "guided-gradcam": {"layer": "conv2"},
    "guided-backpropagation": {},
    "deconvolution": {},
    "gradient": {},
    "saliency": {},
    "input-x-gradient": {},
    "smoothgrad": {"samples": 4},
    "integrated-gradients": {"steps": 64},
    "gradient-shap": {"samples": 64, "baselines": ["background"]},
    "deeplift": {},
}


class Net(nn.Module):
    """Symmetric under a flip of the first axis where its kernels are: odd kernels, stride 1, pooling that tiles."""

    def __init__(self, seed: int = 0, outputs: int = 3, pool_first: bool = False) -> None:
        super().__init__()
        self.pool_first = pool_first
        torch.manual_seed(seed)
        self.conv1, self.conv2 = nn.Conv3d(1, 6, 3, padding=1), nn.Conv3d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.relu(F.max_pool3d(x, 2)) if self.pool_first else F.max_pool3d(self.relu(x), 2)
        return self.head(self.relu(self.conv2(x)).mean((2, 3, 4)))


@pytest.fixture
def volumes() -> Tensor:
    volumes = torch.zeros(2, 1, 8, 6, 10)
    volumes[:, :, 1:7, 1:5, 1:9] = torch.rand(2, 1, 6, 4, 8, generator=torch.Generator().manual_seed(1)) + 0.2
    return volumes


def explain(name: str, model: nn.Module, volumes: Tensor, target: Tensor, **params: Any) -> Attribution:
    with seeded(0):
        found: Attribution = registry.create("explainer", name, **NAMES[name], **params).explain(model, volumes, target)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_flipped_volume_has_the_flipped_map(name: str, volumes: Tensor) -> None:
    # Deconvolution sends gradient to the zeros behind a ReLU too, and of several maxima in a window the first has it.
    tied = name == "deconvolution"
    model, volumes = Net(pool_first=tied).eval(), torch.rand_like(volumes) if tied else volumes
    with torch.no_grad():
        for conv in (model.conv1, model.conv2):
            conv.weight.copy_((conv.weight + conv.weight.flip(2)) / 2)
    params: dict[str, Any] = {"noise": 0.0} if name == "smoothgrad" else {}  # noise is not flipped
    target = torch.tensor([1, 2])
    straight = explain(name, model, volumes, target, **params).relevance
    mirrored = explain(name, model, volumes.flip(2), target, **params).relevance
    assert float(straight.abs().max()) > 0
    assert not torch.allclose(straight, straight.flip(2), rtol=1e-2)
    torch.testing.assert_close(mirrored, straight.flip(2), rtol=1e-3, atol=1e-5 * float(straight.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_other_weights_give_another_map(name: str, volumes: Tensor) -> None:
    """Adebayo et al. 2018, also of the last layer alone."""
    model = Net().eval()
    target = torch.tensor([1, 2])
    before = explain(name, model, volumes, target).relevance
    head = Net().eval()
    head.head = Net(seed=5).head
    for other in (Net(seed=5).eval(), head):
        after = explain(name, other, volumes, target).relevance
        assert float((after - before).norm() / before.norm()) > 0.05


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_self_check_finds_it_right(name: str, outputs: int, volumes: Tensor) -> None:
    model = Net(outputs=outputs).eval()
    text = registry.create("explainer", name, **NAMES[name]).self_check(model, volumes)
    assert "off by" in text


@pytest.mark.parametrize("name", NAMES)
def test_self_check_finds_a_wrong_map(name: str, volumes: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that lies two voxels beside the right one, with a sum that is 10 % too small."""
    explainer = registry.create("explainer", name, **NAMES[name])
    explain = type(explainer).explain

    def wrong(self: Explainer, *args: Any) -> Attribution:
        found = explain(self, *args)
        return Attribution(0.9 * found.relevance.roll(2, 3), found.output, found.target, found.details)

    monkeypatch.setattr(type(explainer), "explain", wrong)
    with pytest.raises(AssertionError, match=r"differs from|misses|sum of relevance is wrong"):
        explainer.self_check(Net().eval(), volumes)


def test_self_check_of_the_sign_and_the_statistics(volumes: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Net().eval()
    for params in ({"of": "gradient"}, {"of": "input-x-gradient", "statistic": "variance"}):
        assert registry.create("explainer", "smoothgrad", samples=3, **params).self_check(model, volumes)
    assert registry.create("explainer", "saliency", absolute=False).self_check(model, volumes)
    from xai_explainers_gradcam import _smoothgrad

    plain = _smoothgrad._statistic

    def wrong(*args: Any) -> Tensor:
        found = plain(*args)
        return 1.5 * found if "variance" in args else found

    monkeypatch.setattr(_smoothgrad, "_statistic", wrong)
    with pytest.raises(AssertionError, match=r"mean of squares - square of mean differs from the variance"):
        registry.create("explainer", "smoothgrad", samples=3).self_check(model, volumes)


class Deep(nn.Module):
    """A ReLU that is used three times, in place, and functional ones, in place and not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv1, self.conv2 = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        x = self.relu(self.conv2(x) + x)
        x = F.relu(self.conv2(F.max_pool3d(x, 3, 2, 1)), inplace=True)
        x = torch.relu_(self.conv2(x))
        return self.head(torch.clamp(self.relu(self.conv2(x)) - 0.01, min=0).mean((2, 3, 4)))


@pytest.mark.parametrize("name", ["guided-backpropagation", "deconvolution", "deeplift", "saliency"])
def test_self_check_on_reuse_and_functions(name: str, volumes: Tensor) -> None:
    assert "off by" in registry.create("explainer", name).self_check(Deep().eval(), volumes)


def test_self_check_takes_more_points_where_they_are_needed(volumes: Tensor) -> None:
    text = registry.create("explainer", "integrated-gradients", steps=1).self_check(Net().eval(), volumes)
    assert any(f" {number}: off by" in text for number in (4, 16))


def test_self_check_of_a_sampling_method_tells_its_standard_error(volumes: Tensor) -> None:
    text = registry.create("explainer", "gradient-shap", samples=8).self_check(Net().eval(), volumes)
    assert "8 runs with 8 samples: off by" in text
    assert "standard error" in text


@pytest.mark.parametrize("name", NAMES)
def test_memory_that_runs_out_halves_the_batch(name: str, volumes: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    """The network takes two volumes at once; four are asked for."""

    class Tight(Net):
        limit = 2

        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled() and len(x) > self.limit:
                raise torch.OutOfMemoryError("CUDA out of memory (a test's)")
            return super().forward(x)

    batch, target = volumes.repeat(2, 1, 1, 1, 1), torch.tensor([1, 2, 0, 1])
    expected = explain(name, Net().eval(), batch, target)
    found = explain(name, Tight().eval(), batch, target, max_batch=4)
    torch.testing.assert_close(found.relevance, expected.relevance, rtol=1e-3, atol=1e-6)
    on_the_copy = name in ("deeplift", "guided-backpropagation", "deconvolution")
    assert on_the_copy or "Memory ran out with a batch of 4" in caplog.text


@pytest.mark.parametrize("name", NAMES)
def test_quantised_network(name: str, volumes: Tensor) -> None:
    with pytest.warns(DeprecationWarning, match=r"torch\.ao\.quantization"):
        model = torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(InputError):
        explain(name, model, volumes, torch.tensor([0, 1]))
