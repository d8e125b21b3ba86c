"""What holds for all explainers of gradients: the target, bad input, and a model that is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import Attribution, Explainer, InputError, registry
from xai_core.engine.seeding import seeded
from xai_explainers_gradcam.plugin_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from xai_explainers_gradcam.plugin_gradients import Gradient, InputXGradient, Saliency, SmoothGrad
from xai_explainers_gradcam.plugin_guided import Deconvolution, GuidedBackpropagation, GuidedGradCAM
from xai_explainers_gradcam.plugin_paths import DeepLIFT, GradientSHAP, IntegratedGradients

EXPLAINERS: list[Explainer] = [
    GradCAM(),
    GradCAM(layer="features.0"),
    GradCAMPlusPlus(),
    LayerCAM(max_batch=2),
    GuidedGradCAM(max_batch=1),
    Gradient(),
    Saliency(),
    InputXGradient(max_batch=2),
    SmoothGrad(samples=3, max_batch=2),
    IntegratedGradients(steps=20, max_batch=20),
    GradientSHAP(samples=40, noise=0.02, max_batch=40),
    DeepLIFT(max_batch=2),
    GuidedBackpropagation(max_batch=2),
    Deconvolution(),
]


class Net(nn.Module):
    """Begins with an in-place operation on its input and behaves differently in training."""

    def __init__(self, outputs: int = 2, wrap: Callable[[Tensor], Any] = lambda output: output) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.ReLU(inplace=True)
        self.features = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(inplace=True), nn.Dropout3d(0.5),
            nn.Conv3d(4, 4, 3, stride=2),
        )  # fmt: skip
        self.head = nn.Linear(4, outputs)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.head(self.features(self.first(x)).mean((2, 3, 4))))


@pytest.fixture(params=EXPLAINERS, ids=lambda explainer: type(explainer).__name__)
def explainer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Explainer:
    """An explainer that seeds torch itself before it explains, as a run does."""
    explain = request.param.explain

    def seeded_explain(*args: Any) -> Attribution:
        with seeded(0):
            found: Attribution = explain(*args)
        return found

    monkeypatch.setattr(request.param, "explain", seeded_explain)
    return request.param


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(3, 1, 7, 9, 5, generator=torch.Generator().manual_seed(3))


def state(model: nn.Module, volumes: Tensor) -> dict[str, Any]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "grads": [parameter.grad for parameter in model.parameters()],
        "frozen": [parameter.requires_grad for parameter in model.parameters()],
        "training": [module.training for module in model.modules()],
        "hooks": [[list(getattr(module, name)) for name in hooks] for module in model.modules()],
        "volumes": (volumes.clone(), volumes.requires_grad, volumes.grad),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name in ("grads", "frozen", "training", "hooks", "modes"):
        assert before[name] == after[name], name
    assert before["values"].keys() == after["values"].keys()
    assert all(torch.equal(before["values"][key], after["values"][key]) for key in before["values"])
    assert torch.equal(before["volumes"][0], after["volumes"][0])
    assert before["volumes"][1:] == after["volumes"][1:]


def test_target_none_is_the_predicted_class(explainer: Explainer, volumes: Tensor) -> None:
    model = Net(outputs=4).eval()
    logits = model(volumes.clone()).detach()
    result = explainer.explain(model, volumes, None)
    assert result.target.dtype == torch.int64
    assert torch.equal(result.target, logits.argmax(1))
    assert result.output.dtype == result.relevance.dtype == torch.float32
    torch.testing.assert_close(result.output, logits.max(1).values)
    given = explainer.explain(model, volumes, logits.argmax(1))
    assert torch.equal(result.relevance, given.relevance)


def test_a_chosen_target_is_explained(explainer: Explainer, volumes: Tensor) -> None:
    model = Net(outputs=4).eval()
    with torch.no_grad():  # an output that is three times another: three times its relevance
        model.head.weight[3] = 3 * model.head.weight[1]
    one = explainer.explain(model, volumes, torch.full((3,), 1))
    three = explainer.explain(model, volumes, torch.full((3,), 3))
    assert float(one.relevance.abs().max()) > 0
    if isinstance(explainer, GradCAMPlusPlus):  # its weights depend on the unit of the output
        assert not torch.allclose(three.relevance, 3 * one.relevance, rtol=1e-3)
    else:
        factor = 9 if isinstance(explainer, GuidedGradCAM) else 3  # it is a product of two maps
        torch.testing.assert_close(three.relevance, factor * one.relevance, rtol=1e-4, atol=1e-7)


def test_batch_equals_its_volumes_one_by_one(explainer: Explainer, volumes: Tensor) -> None:
    model, target = Net().eval(), torch.tensor([0, 1, 1])
    batch = explainer.explain(model, volumes, target)
    for index in range(3):
        one = explainer.explain(model, volumes[index : index + 1], target[index : index + 1])
        torch.testing.assert_close(batch.relevance[index], one.relevance[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("prepare", ["eval", "train", "mixed", "frozen", "user-hook"])
@pytest.mark.parametrize("caller", ["plain", "no_grad", "inference_mode"])
def test_model_is_left_as_it_was_whatever_its_state(
    explainer: Explainer, volumes: Tensor, prepare: str, caller: str
) -> None:
    model = Net().eval()
    expected = explainer.explain(model, volumes, None).relevance
    model.train(prepare == "train")
    model.features[3].train(prepare in ("train", "mixed"))
    model.requires_grad_(prepare != "frozen")
    if prepare == "user-hook":
        model.features[0].register_forward_hook(lambda *_: None)
    contexts = {"plain": torch.enable_grad, "no_grad": torch.no_grad, "inference_mode": torch.inference_mode}
    with contexts[caller]():
        before = state(model, volumes)
        result = explainer.explain(model, volumes, None)
        assert_same(before, state(model, volumes))
    assert torch.equal(result.relevance, expected)  # dropout and batch statistics were off
    assert not result.relevance.requires_grad
    assert not result.output.requires_grad


def test_model_is_left_as_it_was_after_an_exception(explainer: Explainer, volumes: Tensor) -> None:
    """The model fails in the second, third, ... forward pass, until it is not run as often as that."""
    for allowed in range(20):
        calls = [0]

        def fail_late(output: Tensor, calls: list[int] = calls, allowed: int = allowed) -> Tensor:
            calls[0] += 1
            if calls[0] > allowed:
                raise KeyError("broken")
            return output

        model = Net(wrap=fail_late).eval()
        model.features[1].train()
        before = state(model, volumes)
        try:
            explainer.explain(model, volumes, None)
        except (KeyError, InputError):  # the latter where the network could not be followed
            assert_same(before, state(model, volumes))
        else:
            break
    assert 2 <= allowed < 20


def test_a_module_that_stays_in_training_mode_is_refused(explainer: Explainer, volumes: Tensor) -> None:
    """Its running statistics would be changed by the explanation."""

    class Stubborn(nn.BatchNorm3d):
        def train(self, mode: bool = True) -> nn.Module:
            return super().train(True)

    model = Net()
    model.features[1] = Stubborn(4)
    model.eval()
    before = state(model, volumes)
    with pytest.raises(InputError, match=r"Module 'features.1' \(Stubborn\) stays in training mode"):
        explainer.explain(model, volumes, None)
    assert_same(before, state(model, volumes))


def test_gradients_that_were_there_stay(explainer: Explainer, volumes: Tensor) -> None:
    model = Net().eval()
    model(volumes.clone()).sum().backward()
    kept = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    explainer.explain(model, volumes, None)
    now = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(kept) == len(now) == 8
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 2, 1]), r"target\[1\] is 2, but the model has 2 outputs: give 0 to 1"),
        (torch.tensor([-1, 0, 1]), r"target\[0\] is -1, but the model has 2 outputs"),
        (
            torch.tensor([0, 1]),
            r"target must be int64 \[3\], one index for each volume, not torch.int64 \[2\]",
        ),
        (torch.tensor([0.0, 1.0, 0.0]), r"not torch.float32 \[3\]"),
        (torch.tensor([True, False, True]), r"not torch.bool \[3\]"),
        (1, "one index for each volume, not int"),
    ],
)
def test_bad_target(explainer: Explainer, volumes: Tensor, target: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        explainer.explain(Net().eval(), volumes, target)


def test_regression_has_one_target(explainer: Explainer, volumes: Tensor) -> None:
    model = Net(outputs=1).eval()
    assert explainer.explain(model, volumes, None).target.tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="the model has 1 output: only 0 can be explained"):
        explainer.explain(model, volumes, torch.tensor([0, 0, 1]))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda output: (output, output), "The model returns tuple"),
        (lambda output: {"logits": output}, "The model returns dict"),
        (lambda output: output[:, 0], r"returns a tensor \[3\] for 3 volumes"),
        (lambda output: output[:1], r"returns a tensor \[1, 2\] for 3 volumes"),
        (lambda output: output / 0, "The model's output is not finite"),
    ],
)
def test_bad_output(explainer: Explainer, volumes: Tensor, wrap: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        explainer.explain(Net(wrap=wrap).eval(), volumes, None)


def spoilt(volumes: Tensor) -> Tensor:
    volumes = volumes.clone()
    volumes[1, 0, 2, 3:5, 1] = float("nan")
    return volumes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda volumes: volumes[0], r"must be a tensor \[N, C, D, H, W\], not empty; this is a tensor \[1, 7, 9, 5\]"),
        (lambda volumes: volumes[:0], r"this is a tensor \[0, 1, 7, 9, 5\]"),
        (lambda volumes: volumes.numpy(), "this is ndarray"),
        (lambda volumes: volumes.long(), "must be float32, not torch.int64"),
        (spoilt, r"volumes\[1\] has 2 voxels that are NaN or infinite"),
    ],
)
def test_bad_volumes(explainer: Explainer, volumes: Tensor, change: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        explainer.explain(Net().eval(), change(volumes), None)


def test_gradient_that_is_not_finite(volumes: Tensor) -> None:
    """The output is finite, but the root has no gradient at 0."""

    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.abs().sqrt().mean((2, 3, 4))

    with pytest.raises(InputError, match=r"The map of volumes\[1\] is not finite"):
        Saliency().explain(Root(), volumes * torch.tensor([1, 0, 1]).reshape(3, 1, 1, 1, 1), None)


@pytest.mark.parametrize("size", [(1, 2, 7, 9, 5), (2, 1, 2, 9, 5)])
def test_volumes_that_the_network_does_not_take(explainer: Explainer, size: tuple[int, ...]) -> None:
    """Two channels where it takes one, and a volume smaller than a kernel: torch's own reason is told."""
    with pytest.raises(InputError, match=r"Net does not run on volumes of shape \[.*[Ii]nput") as raised:
        explainer.explain(Net().eval(), torch.randn(size), None)
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_precision(explainer: Explainer, volumes: Tensor) -> None:
    """Double precision is kept, a caller's autocast is not, half precision is refused."""
    expected = explainer.explain(Net().eval(), volumes, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(explainer.explain(Net().eval(), volumes, None).relevance, expected.relevance)
    for found in (
        explainer.explain(Net().eval().double(), volumes, None),
        explainer.explain(Net().eval(), volumes.double(), None),
    ):
        assert found.relevance.dtype == found.output.dtype == torch.float32
        torch.testing.assert_close(found.relevance, expected.relevance, rtol=1e-3, atol=1e-5)
    with pytest.raises(InputError, match=r"parameters are torch.float16, .* Convert it with model.float\(\)"):
        explainer.explain(Net().eval().half(), volumes, None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_volumes_and_model_on_different_devices(explainer: Explainer, volumes: Tensor) -> None:
    with pytest.raises(InputError, match="The volumes are on cuda:0, but the model is on cpu"):
        explainer.explain(Net().eval(), volumes.cuda(), None)
    result = explainer.explain(Net().eval().cuda(), volumes.cuda(), None)
    assert result.relevance.is_cuda
    assert result.output.is_cuda
    assert result.target.is_cuda


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("gradcam", {"layer": "features.4"}),
        ("saliency", {"absolute": False}),
        ("input-x-gradient", {}),
        ("integrated-gradients", {"steps": 30, "baseline": 0.5, "max_batch": 1}),
    ],
)
def test_created_by_name(name: str, params: dict[str, Any], volumes: Tensor) -> None:
    result = registry.create("explainer", name, **params).explain(Net().eval(), volumes, None)
    assert result.relevance.shape == volumes.shape
