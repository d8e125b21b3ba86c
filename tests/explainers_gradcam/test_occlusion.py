"""Occlusion against Captum's, which runs a full pass for every window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import captum.attr
import pytest
import torch
import torch.fx
import torch.nn.functional as F
from torch import Tensor, nn

from xai_core import ConfigError, InputError, registry
from xai_core.testing import ExplainerConformance

LOCAL, FULL = "what a change reaches", "the whole network"


class TestOcclusionConformance(ExplainerConformance):
    name = "occlusion"
    params = {"window": 4, "stride": 3}  # noqa: RUF012


class Net(nn.Module):
    """Modules by name and a forward given as a function."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def head(channels: int, outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(channels, outputs))


def plain() -> nn.Module:
    """Strides, paddings and a dilation that differ by axis, and a dense layer on the whole map."""
    return nn.Sequential(
        nn.Conv3d(1, 4, (3, 5, 1), stride=(2, 1, 3), padding=(1, 0, 2)),
        nn.ReLU(inplace=True),
        nn.Conv3d(4, 5, 3, padding=(2, 3, 1), dilation=(2, 3, 1)),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


def poolings() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding="same"),
        nn.BatchNorm3d(4),
        nn.ELU(),
        nn.MaxPool3d(3, stride=2, padding=1, ceil_mode=True),
        nn.Conv3d(4, 4, (2, 4, 3), padding="same", dilation=(1, 2, 1)),
        nn.AvgPool3d(3, stride=2, padding=1, ceil_mode=True),
        nn.Conv3d(4, 4, 2, padding=1),
        nn.AvgPool3d((2, 3, 2), stride=1, padding=1, count_include_pad=False),
        nn.MaxPool3d(2, stride=1, dilation=2),
        nn.AvgPool3d(2, stride=1, divisor_override=3),
        head(4),
    )


def sparse() -> nn.Module:
    """A stride larger than the kernel leaves voxels out, so that some windows reach nothing."""
    return nn.Sequential(nn.Conv3d(1, 4, 1, stride=4), nn.ReLU(), nn.Conv3d(4, 4, 2, stride=3), nn.Tanh(), head(4))


def dense_block() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = F.relu(self.stem(F.pad(x, (1, 2, 0, 1, 2, 0))))
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        x = F.max_pool3d(x, 2)
        return self.fc(x.mean(dim=(2, 3, 4)))

    modules: dict[str, nn.Module] = {"stem": nn.Conv3d(1, 4, 3, stride=2), "fc": nn.Linear(10, 3)}
    for index, channels in ((1, 4), (2, 7)):
        modules[f"norm{index}"] = nn.BatchNorm3d(channels)
        modules[f"conv{index}"] = nn.Conv3d(channels, 3, 3, padding=1)
    return Net(forward, **modules)


def residual() -> nn.Module:
    """A grouped convolution, reuse, ``+=``, and a head that views with the size of the batch."""

    def forward(self: Any, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        shortcut = self.down(x)
        x = self.relu(self.norm(self.conv2(x)))
        x += shortcut
        x = self.relu(self.same(x) + x)
        return self.fc(x.view(x.size(0), -1))

    return Net(
        forward,
        conv1=nn.Conv3d(1, 4, 3, stride=2, padding=1, bias=False),
        conv2=nn.Conv3d(4, 6, 3, stride=2, padding=1, groups=2),
        norm=nn.BatchNorm3d(6),
        down=nn.Conv3d(4, 6, 1, stride=2),
        same=nn.Conv3d(6, 6, 3, padding=1),
        relu=nn.ReLU(inplace=True),
        fc=nn.LazyLinear(3),
    )


def gated() -> nn.Module:
    """Squeeze and excitation: all of the map depends on the gate, and the gate on all of the map."""

    def forward(self: Any, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool3d(x, 1)))
        return self.head(F.relu(self.conv2(x)))

    modules = {"conv1": nn.Conv3d(1, 4, 3, padding=1), "gate": nn.Conv3d(4, 4, 1), "conv2": nn.Conv3d(4, 5, 3)}
    return Net(forward, **modules, head=head(5))


def doubled() -> nn.Module:
    """The same tensor is taken twice, by a sum and by a concatenation."""

    def forward(self: Any, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x + x))
        return self.head(torch.cat([x, x], 1))

    return Net(forward, conv1=nn.Conv3d(1, 4, 3), conv2=nn.Conv3d(4, 5, 3, stride=2), head=head(10))


def as_read_from_keras() -> nn.Module:
    """A traced graph with what TensorFlow's padding "same" becomes, and batch normalisation before the padding."""
    layers = nn.Sequential(
        nn.BatchNorm3d(1),
        nn.Conv3d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool3d(3, 2, (1, 0, 1), ceil_mode=True),
        nn.ConstantPad3d((0, 1, 0, 1, 1, 2), 0.0),
        nn.Conv3d(4, 5, (4, 2, 2)),
        nn.LeakyReLU(0.3),
        nn.BatchNorm3d(5),
        nn.Conv3d(5, 4, 3, stride=2, padding=(1, 0, 1)),
        nn.MaxPool3d(2, 1, 1),
        nn.ConstantPad3d((-1, 0, -1, 0, -1, 0), 0.0),
        nn.AvgPool3d(3, 2, (0, 1, 0), ceil_mode=True, count_include_pad=False),
        nn.Flatten(),
        nn.Dropout(),
        nn.LazyLinear(3),
    )
    return torch.fx.symbolic_trace(layers)


def resnet(shortcut: str) -> nn.Module:
    params = {"depth": 10, "width": 4, "shortcut": shortcut}
    return registry.create("model", "resnet3d", **params).build((1, 19, 15, 17), 3)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "poolings": poolings,
    "sparse": sparse,
    "dense block": dense_block,
    "residual": residual,
    "gated": gated,
    "doubled": doubled,
    "as read from Keras": as_read_from_keras,
    "resnet A": lambda: resnet("A"),
    "resnet B": lambda: resnet("B"),
}
GRID = (19, 15, 17)


def ready(make: Callable[[], nn.Module], channels: int = 1, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Return the network in evaluation mode with statistics and weights that are not trivial."""
    torch.manual_seed(1)
    network = make().eval()
    network(torch.rand(1, channels, *GRID))  # the lazy layers take their size
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
    return network.to(dtype)


def head_scan(number: int = 1, channels: int = 1, grid: tuple[int, int, int] = GRID) -> Tensor:
    """Return volumes whose border is 0."""
    values = torch.rand(number, channels, *grid, generator=torch.Generator().manual_seed(5)) + 0.5
    inside = torch.zeros(grid)
    inside[4:-4, 3:-3, 3:-5] = 1
    return values * inside


def occlusion(**params: Any) -> Any:
    return registry.create("explainer", "occlusion", **params)


def reference(
    network: nn.Module, volumes: Tensor, target: Tensor, window: Any, stride: Any, baseline: Any = 0
) -> Tensor:
    dtype = next(network.parameters()).dtype
    window, stride = ((each,) * 3 if isinstance(each, int) else tuple(each) for each in (window, stride))
    channels = volumes.shape[1]
    return captum.attr.Occlusion(network).attribute(
        volumes.to(dtype),
        (channels, *window),
        strides=(channels, *stride),
        baselines=baseline,
        target=target,
        perturbations_per_eval=16,
    )


def assert_same(found: Tensor, expected: Tensor, tolerance: float) -> None:
    scale = float(expected.abs().max())
    assert scale > 1e-4, "the reference map says nothing"
    assert float((found - expected).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("window", "stride"), [(4, 3), ((5, 2, 7), (2, 2, 4))])
def test_equals_captum_and_recomputes_only_a_part(name: str, window: Any, stride: Any) -> None:
    network, volumes = ready(NETWORKS[name]), head_scan()
    found = occlusion(window=window, stride=stride).explain(network, volumes, torch.tensor([1]))
    assert found.details[0]["recomputed"] == LOCAL
    assert found.details[0]["unchanged"] > 0
    # The map is float32.
    assert_same(found.relevance, reference(network, volumes, torch.tensor([1]), window, stride), 1e-6)


@pytest.mark.parametrize("name", ["poolings", "residual", "resnet B"])
def test_equals_captum_in_single_precision(name: str) -> None:
    network, volumes = ready(NETWORKS[name], dtype=torch.float32), head_scan()
    found = occlusion(window=5, stride=4).explain(network, volumes, torch.tensor([2]))
    assert found.details[0]["recomputed"] == LOCAL
    assert_same(found.relevance, reference(network, volumes, torch.tensor([2]), 5, 4), 1e-5)


def test_a_border_of_minus_infinity_is_followed_or_run_in_full() -> None:
    network = ready(
        lambda: nn.Sequential(
            nn.Conv3d(1, 4, 3),
            nn.ConstantPad3d((0, 1, 0, 1, 0, 1), -torch.inf),
            nn.MaxPool3d(2, 1),
            nn.Flatten(),
            nn.LazyLinear(3),
        )
    )
    found = occlusion(window=6, stride=5).explain(network, head_scan(), torch.tensor([2]))
    assert_same(found.relevance, reference(network, head_scan(), torch.tensor([2]), 6, 5), 1e-6)


def test_channels_go_together_and_each_volume_has_its_own_target() -> None:
    network = ready(lambda: nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), head(4)), channels=2)
    volumes, target = head_scan(3, 2), torch.tensor([2, 0, 1])
    found = occlusion(window=6, stride=5).explain(network, volumes, target)
    assert_same(found.relevance, reference(network, volumes, target, 6, 5), 1e-6)
    assert torch.equal(found.relevance[:, 0], found.relevance[:, 1])


def test_a_regression_and_a_baseline_that_is_not_zero() -> None:
    network, volumes = ready(lambda: nn.Sequential(nn.Conv3d(1, 4, 3, 2), nn.ReLU(), head(4, outputs=1))), head_scan()
    found = occlusion(window=5, stride=5, baseline=0.75).explain(network, volumes, None)
    assert found.details[0]["unchanged"] == 0  # no voxel has this value, the background neither
    assert_same(found.relevance, reference(network, volumes, torch.tensor([0]), 5, 5, 0.75), 1e-6)


def test_the_baseline_may_be_a_volume(tmp_path: Any) -> None:
    import numpy as np

    network, volumes = ready(plain), head_scan()
    baseline = torch.where(torch.rand(GRID) < 0.5, volumes[0, 0], torch.rand(GRID))
    np.save(tmp_path / "baseline.npy", baseline.numpy())
    found = occlusion(window=4, stride=2, baseline_file=str(tmp_path / "baseline.npy")).explain(network, volumes, None)
    assert_same(found.relevance, reference(network, volumes, found.target, 4, 2, baseline[None, None].double()), 1e-6)


def test_a_hand_worked_case() -> None:
    # f = the mean of the voxels, so a window's drop is the sum of its voxels / 8, here with a baseline of 0.
    network = nn.Sequential(nn.Conv3d(1, 1, 1, bias=False), head(1, outputs=1))
    nn.init.ones_(network[0].weight)
    nn.init.ones_(network[1][2].weight)
    nn.init.zeros_(network[1][2].bias)
    volumes = torch.tensor([1.0, 2, 0, 0, 5, 0, 0, 0]).reshape(1, 1, 8, 1, 1)
    found = occlusion(window=[3, 1, 1], stride=[2, 1, 1], baseline="zero").explain(network, volumes, None)
    # Windows: 0-2 (sum 3), 2-4 (5), 4-6 (5), 6-7 (0, cut off at the border).
    expected = torch.tensor([3, 3, (3 + 5) / 2, 5, (5 + 5) / 2, 5, (5 + 0) / 2, 0]) / 8
    assert torch.allclose(found.relevance.flatten(), expected, atol=1e-6)
    assert {key: found.details[0][key] for key in ("windows", "unchanged")} == {"windows": 4, "unchanged": 1}


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if float(x.detach().double().mean()) > 1e9:
            x = -x
        return self.fc(x.relu().mean((2, 3, 4)))


class Hooked(nn.Module):
    """Has a forward hook that changes what the graph does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.head = head(4)
        self.conv.register_forward_hook(lambda _module, _inputs, output: output * output)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.InstanceNorm3d(1), nn.Conv3d(1, 4, 3), nn.ReLU(), head(4)),
        lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), head(4)),
        lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
        Untraceable,
        Hooked,
    ],
    ids=["InstanceNorm", "GroupNorm", "dense only", "untraceable", "hook"],
)
def test_falls_back_to_full_passes(make: Callable[[], nn.Module]) -> None:
    network, volumes = ready(make), head_scan()
    found = occlusion(window=5, stride=4, max_batch=7).explain(network, volumes, torch.tensor([1]))
    # What stands before the normalisation by the volume's own statistics is recomputed in part all the same.
    has_local_part = any(isinstance(module, nn.GroupNorm) for module in network.modules())
    assert (found.details[0]["recomputed"] == FULL) != has_local_part
    assert found.details[0]["unchanged"] > 0
    assert_same(found.relevance, reference(network, volumes, torch.tensor([1]), 5, 4), 1e-6)


def test_unchanged_windows_cost_no_pass_and_a_background_volume_none_at_all() -> None:
    network, volumes = ready(Untraceable), head_scan()
    scan, occluded = volumes[0].double(), list[Tensor]()

    def record(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        occluded.extend(each for each in inputs[0] if torch.equal(each[each != 0], scan[each != 0]))

    network.register_forward_pre_hook(record)
    details = occlusion(window=5, stride=5).explain(network, volumes, None).details[0]
    occluded = [each for each in occluded if not torch.equal(each, scan)]
    assert len(occluded) == details["windows"] - details["unchanged"] > 0
    empty = occlusion(window=5).explain(network, torch.full_like(volumes, 0.3), None)
    assert not empty.relevance.any()
    assert empty.details[0]["windows"] == empty.details[0]["unchanged"] == 4 * 3 * 4


def test_the_size_of_the_batch_changes_nothing_and_memory_that_runs_out_is_halved() -> None:
    network, volumes = ready(residual), head_scan()
    one, many = (occlusion(window=4, stride=2, max_batch=n).explain(network, volumes, None) for n in (1, 40))
    assert torch.allclose(one.relevance, many.relevance, rtol=0, atol=1e-6)
    untraceable = ready(Untraceable)
    expected = occlusion(window=4).explain(untraceable, volumes, None).relevance

    def limited(_module: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    untraceable.register_forward_pre_hook(limited)
    found = occlusion(window=4, max_batch=32).explain(untraceable, volumes, None)
    assert torch.allclose(found.relevance, expected, rtol=0, atol=1e-6)


def test_a_window_larger_than_the_volume_is_refused() -> None:
    with pytest.raises(InputError, match=r"window \[16, 16, 16\] is larger than the volume \[19, 15, 17\]"):
        occlusion(window=16).explain(ready(plain), head_scan(), None)


def test_a_stride_larger_than_the_window_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stride \[5, 5, 5\] is larger than window \[4, 4, 4\]"):
        occlusion(window=4, stride=5).explain(ready(plain), head_scan(), None)


def test_a_network_that_breaks_down_without_a_window_is_an_error() -> None:
    class Dividing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1) > 0).float().sum(1, keepdim=True).log()

    volumes = torch.zeros(1, 1, 6, 6, 6)
    volumes[0, 0, 1, 1, 1] = 1
    with pytest.raises(InputError, match="not finite"):
        occlusion(window=3).explain(Dividing(), volumes, None)


@pytest.mark.parametrize("make", [plain, lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.GroupNorm(2, 4), head(4))])
def test_self_check_holds_and_finds_a_wrong_map(make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    network, volumes = ready(make, dtype=torch.float32), head_scan(2)
    explainer = occlusion(window=4, stride=3)
    assert "off by" in explainer.self_check(network, volumes)
    right = type(explainer).explain

    def wrong(self: Any, *args: Any) -> Any:
        found = right(self, *args)
        found.relevance.mul_(1.01)
        return found

    monkeypatch.setattr(type(explainer), "explain", wrong)
    with pytest.raises(AssertionError, match="off by"):
        explainer.self_check(network, volumes)
