"""DeepLIFT against Captum on plain networks, cases worked by hand, and the sum that it must have."""

from __future__ import annotations

import captum.attr
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import InputError
from xai_explainers_gradcam.plugin_paths import DeepLIFT

SIZE = (6, 5, 8)


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(3, 1, *SIZE, generator=torch.Generator().manual_seed(5))


def plain(activation: nn.Module, *between: nn.Module) -> nn.Sequential:
    """A network that Captum's hooks can follow: each module is called once and nothing works in place."""
    torch.manual_seed(3)
    first, last = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
    norm = nn.BatchNorm3d(4)
    nn.init.normal_(norm.running_mean, std=0.3)  # type: ignore[arg-type]
    nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    middle = [first, norm, activation, *between, last, nn.Sigmoid()]
    features = nn.Sequential(*middle)
    size = features.eval()(torch.zeros(1, 1, *SIZE)).numel()
    return nn.Sequential(*middle, nn.Flatten(), nn.Linear(size, 5), nn.Tanh(), nn.Linear(5, 3)).eval()


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ELU(), nn.LeakyReLU(0.2), nn.Softplus(), nn.Tanh()], ids=repr)
@pytest.mark.parametrize("baseline", ["zero", 0.4])
def test_equals_captum_on_a_plain_network(volumes: Tensor, activation: nn.Module, baseline: str | float) -> None:
    model = plain(activation).double()
    target = torch.tensor([2, 0, 1])
    found = DeepLIFT(baseline=baseline, max_batch=2).explain(model, volumes, target)  # type: ignore[arg-type]
    start = torch.full_like(volumes, 0.0 if baseline == "zero" else float(baseline))
    expected = captum.attr.DeepLift(model).attribute(volumes.double(), start.double(), target=target)
    torch.testing.assert_close(found.relevance, expected.detach().float(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("activation", [nn.ELU, nn.Tanh, nn.Softplus, nn.Sigmoid])
def test_small_differences_keep_their_digits(volumes: Tensor, activation: type[nn.Module]) -> None:
    """A deep network that says almost the same of volume and baseline, in single precision as in double.

    With the quotient alone it is 35 % off for the sigmoid (Captum in single precision: 190 %).
    """
    torch.manual_seed(0)
    layers = [layer for i in range(6) for layer in (nn.Conv3d(4 if i else 1, 4, 3, padding=1), activation())]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    found = DeepLIFT(baseline="zero").explain(model, 0.02 * volumes[:1], torch.tensor([1])).relevance.double()
    exact = captum.attr.DeepLift(model.double()).attribute((0.02 * volumes[:1]).double(), target=1).detach()
    torch.testing.assert_close(found, exact, rtol=0, atol=5e-3 * float(exact.abs().max()))


def test_equals_captum_at_max_pooling_of_a_convolution(volumes: Tensor) -> None:
    """Captum is right there, as long as no window overlaps another one."""
    model, start = plain(nn.Identity(), nn.MaxPool3d(2)).double(), volumes[0].flip(1)
    expected = captum.attr.DeepLift(model).attribute(
        volumes.double(), start[None].expand_as(volumes).double(), target=1
    )
    explainer = DeepLIFT(baseline="controls")
    explainer.set_controls(start)
    found = explainer.explain(model, volumes, torch.tensor([1, 1, 1]))
    torch.testing.assert_close(found.relevance, expected.detach().float(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool3d(2), nn.MaxPool3d(3, 2, 1), nn.MaxPool3d((3, 2, 3), 1, ceil_mode=True),
        nn.MaxPool3d(2, 2, dilation=2),
        nn.AdaptiveMaxPool3d((2, 3, 5)), nn.AvgPool3d(3, 2, 1), nn.Upsample(scale_factor=2, mode="trilinear"),
    ],
    ids=repr,
)  # fmt: skip
def test_contributions_sum_up_with_pooling(volumes: Tensor, pool: nn.Module) -> None:
    model = plain(nn.ReLU(), pool)
    for baseline in ("zero", "blurred", "minimum"):
        found = DeepLIFT(baseline=baseline).explain(model, volumes, None)  # type: ignore[arg-type]
        assert found.details is not None
        for index, row in enumerate(found.details):
            total = float(found.relevance[index].double().sum())
            difference = float(found.output[index]) - row["baseline_output"]
            assert abs(total / difference - 1) < 1e-3
            assert row["convergence_delta"] == pytest.approx(total - difference, abs=1e-6)


@pytest.mark.parametrize(
    "between", [(nn.ReLU(), nn.MaxPool3d(2)), (nn.Identity(), nn.MaxPool3d(3, 2, 1))], ids=["activation", "overlap"]
)
def test_captum_is_wrong_at_other_max_pooling(volumes: Tensor, between: tuple[nn.Module, nn.Module]) -> None:
    """Behind an activation and with overlapping windows: the reason for a rule of our own."""
    model, start = plain(*between).double(), volumes.flip(2).double()
    captums = captum.attr.DeepLift(model).attribute(volumes.double(), start, target=1).detach()
    difference = (model(volumes.double()) - model(start))[:, 1].detach()
    assert float((captums.flatten(1).sum(1) / difference - 1).abs().max()) > 0.1


def test_max_pooling_by_hand() -> None:
    """Two overlapping windows of three voxels; a rise goes to the volume's maximum, a fall to the baseline's."""

    model = nn.Sequential(nn.MaxPool3d((3, 1, 1), (2, 1, 1)), nn.Flatten(), nn.Linear(2, 1, bias=False)).eval()
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, 10.0]]))
    # Windows (1, 5, 2) and (2, 3, 4) against (0, 2, 3) and (3, 6, 1): the maxima rise 3 -> 5 and fall 6 -> 4.
    volume, start = (torch.tensor(v).reshape(1, 1, 5, 1, 1) for v in ([1.0, 5, 2, 3, 4], [0.0, 2, 3, 6, 1]))
    explainer = DeepLIFT(baseline="controls")
    explainer.set_controls(start[0])
    found = explainer.explain(model, volume, None)
    # +2 at voxel 1, where the volume's first window has its maximum; -2 * 10 at voxel 3, where the baseline had its.
    torch.testing.assert_close(found.relevance.flatten(), torch.tensor([0.0, 2, 0, -20, 0]))


class Gated(nn.Module):
    """f = sum of relu(x) * sigmoid(mean of relu(x))."""

    def forward(self, x: Tensor) -> Tensor:
        signal = F.relu(x)
        gate = torch.sigmoid(signal.mean((2, 3, 4)))[:, :, None, None, None]
        return (signal * gate).sum((2, 3, 4))


def test_gate_by_hand() -> None:
    """Signal (1, 3), gate s(2), from signal (0, 1) and gate s(0.5): each gets the mean of the other."""
    volume, start = (torch.tensor(v).reshape(1, 1, 2, 1, 1) for v in ([1.0, 3], [-2.0, 1]))
    explainer = DeepLIFT(baseline="controls")
    explainer.set_controls(start[0])
    found = explainer.explain(Gated().eval(), volume, None)
    gate, gate0 = (torch.tensor(v).sigmoid() for v in (2.0, 0.5))
    signal, signal0 = torch.tensor([1.0, 3]), torch.tensor([0.0, 1])
    to_signal = (signal - signal0) * (gate + gate0) / 2
    # The gate's share goes back in proportion to what each voxel added to the mean, 0.5 and 1 of 1.5.
    to_gate = (gate - gate0) * ((signal + signal0) / 2).sum() * torch.tensor([0.5, 1]) / 1.5
    torch.testing.assert_close(found.relevance.flatten(), to_signal + to_gate)
    assert float(found.relevance.sum()) == pytest.approx(float((signal * gate - signal0 * gate0).sum()))


class Reused(nn.Module):
    """One ReLU module three times, one convolution twice, functions, and a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        y = self.second(x)
        y += x
        x = F.max_pool3d(self.relu(y), 3, 2, 1)
        return self.head(torch.relu(self.second(self.relu(self.second(x)))).mean((2, 3, 4)))


class Unrolled(nn.Module):
    """The same with a module for each operation."""

    def __init__(self, model: Reused) -> None:
        super().__init__()
        self.first, self.second, self.third, self.fourth = (
            nn.Conv3d(*size, 3, padding=1) for size in ((1, 4), (4, 4), (4, 4), (4, 4))
        )
        self.first.load_state_dict(model.first.state_dict())
        for layer in (self.second, self.third, self.fourth):
            layer.load_state_dict(model.second.state_dict())
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))
        self.pool = nn.MaxPool3d(3, 2, 1)
        self.head = model.head

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.first(x))
        x = self.pool(self.relu2(self.second(x) + x))
        return self.head(self.relu4(self.fourth(self.relu3(self.third(x)))).mean((2, 3, 4)))


def test_reuse_functions_and_work_in_place_change_nothing(volumes: Tensor) -> None:
    model = Reused().eval()
    with pytest.raises(RuntimeError):
        captum.attr.DeepLift(model).attribute(volumes, 0 * volumes, target=1)
    found = DeepLIFT(baseline="zero").explain(model, volumes, torch.tensor([1, 1, 0]))
    expected = DeepLIFT(baseline="zero").explain(Unrolled(model).eval(), volumes, torch.tensor([1, 1, 0]))
    torch.testing.assert_close(found.relevance, expected.relevance, rtol=1e-4, atol=1e-7)
    difference = (model(volumes) - model(0 * volumes)).detach().gather(1, torch.tensor([[1], [1], [0]]))[:, 0]
    torch.testing.assert_close(found.relevance.flatten(1).sum(1), difference, rtol=1e-3, atol=1e-6)


def test_volume_that_is_the_baseline_gets_nothing() -> None:
    found = DeepLIFT(baseline=0.25).explain(plain(nn.ReLU(), nn.MaxPool3d(2)), torch.full((1, 1, *SIZE), 0.25), None)
    assert not found.relevance.any()
    assert found.details is not None
    assert found.details[0]["convergence_delta"] == pytest.approx(0, abs=1e-6)


def test_operations_without_a_rule() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)).sum((2, 3, 4))

    with pytest.raises(InputError, match=r"DeepLIFT has no rule for norm \(InstanceNorm3d\)"):
        DeepLIFT().explain(Normalised().eval(), torch.rand(1, 1, 5, 6, 4), None)

    class Largest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.amax((2, 3, 4))

    with pytest.raises(InputError, match=r"DeepLIFT has no rule for amax in this network\. Use integrated") as raised:
        DeepLIFT().explain(Largest().eval(), torch.rand(1, 1, 5, 6, 4), None)
    assert "While executing" not in str(raised.value)


def test_branch_on_the_data_that_the_baseline_does_not_take() -> None:
    """The graph holds for the volume; that it does not for the baseline is found by the sum."""

    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3, 4)) * (2.0 if float(x.detach().mean()) > 0.1 else -3.0) + 1

    with pytest.raises(
        InputError, match=r"contributions for volumes\[0\] do not sum up to the difference between output"
    ):
        DeepLIFT(baseline=-1.0).explain(Branch().eval(), torch.rand(1, 1, 5, 6, 4), None)
