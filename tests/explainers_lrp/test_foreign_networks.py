"""Networks written by others: explained as their clean counterpart is, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from xai_core import InputError
from xai_explainers_lrp.plugin import LRP

COMPOSITES = ["epsilon", "epsilon-plus", "epsilon-gamma-box"]
X = torch.randn(2, 2, 6, 7, 5, generator=torch.Generator().manual_seed(0))


class Layers(nn.Module):
    """The layers of every network below. Registered in another order than they run in."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.norm2 = nn.BatchNorm3d(4)
        self.conv2 = nn.Conv3d(4, 4, 3, padding=1)
        self.conv1 = nn.Conv3d(2, 4, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(4)
        self.relu = nn.ReLU()
        self.loud = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.wide = nn.Linear(8, 3)


class Clean(Layers):
    """The form that hooks are right for, but for the explicit sum."""

    def __init__(self) -> None:
        super().__init__()
        self.relu1, self.relu2, self.flatten, self.average = nn.ReLU(), nn.ReLU(), nn.Flatten(), nn.AdaptiveAvgPool3d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(x))
        return self.head(self.flatten(self.average(self.relu2(y + x))))


class Functional(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = torch.relu(torch.add(self.norm2(self.conv2(x)), x))
        return self.head(torch.flatten(F.adaptive_avg_pool3d(x, 1), 1))


class Methods(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.conv1(x)).relu()
        x = self.norm2(self.conv2(x)).add(x).relu()
        return self.head(x.mean((2, 3, 4), keepdim=True).view(x.size(0), -1))


class InPlace(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = self.norm2(self.conv2(x))
        y += x
        return self.head(y.relu_().mean(dim=[-1, -2, -3]))


class Repeated(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.relu(self.norm1(self.conv1(x))))
        x = self.relu(self.norm2(self.conv2(x)) + x)
        return self.head(F.dropout(F.avg_pool3d(x, x.shape[2:]), training=self.training).reshape(x.size(0), -1))


class Summed(Layers):
    """Python's sum, a result that is thrown away, an argument with a default, and a branch on it."""

    def forward(self, x: Tensor, flag: bool = False, mask: Tensor | None = None) -> Tensor:
        x = self.loud(self.norm1(self.conv1(x)))
        self.conv2(x)
        if flag or mask is not None:
            x = torch.sigmoid(x)
        x = self.relu(sum([self.norm2(self.conv2(x)), x]))
        return self.head(x.mean((2, 3, 4)))


class SplitAndJoined(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        first, second = x.chunk(2, dim=1)
        x = torch.cat([first, second], dim=1)
        y = self.norm2(self.conv2(F.pad(x, (1, 1, 1, 1, 1, 1)))[:, :, 1:-1, 1:-1, 1:-1])
        return self.head(F.relu(y + x).mean((2, 3, 4)))


def ready(network: nn.Module) -> nn.Module:
    """Give equal values to equal names, none of them a default."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            generator = torch.Generator().manual_seed(sum(map(ord, name)))
            spread = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(spread + 0.5 if "norm" in name and name.endswith(("weight", "var")) else spread - 0.45)
    return network.eval()


def explained(network: nn.Module, x: Tensor = X, composite: str = "epsilon-plus", **params: Any) -> Tensor:
    return LRP(composite=composite, **params).explain(network, x, None).relevance  # type: ignore[arg-type]


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("kind", [Functional, Methods, InPlace, Repeated, Summed])
def test_a_network_gets_the_relevance_of_its_clean_form(kind: type[Layers], composite: str) -> None:
    network, clean = ready(kind()), ready(Clean())
    torch.testing.assert_close(network(X), clean(X))
    expected = explained(clean, composite=composite)
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(explained(network, composite=composite), expected, rtol=1e-4, atol=1e-7)


def test_the_clean_form_is_explained_as_zennit_does_where_zennit_is_right() -> None:
    """Without the shortcut, Zennit's own composite and canonizer are right for this order of layers."""
    from xai_core.engine.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonPlus

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2),
        nn.Conv3d(4, 5, 3, padding=1, bias=False), nn.BatchNorm3d(5), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(5, 1),
    ).eval()  # fmt: skip
    found = explained(network)
    x = X.clone().requires_grad_()
    composite = EpsilonPlus(canonizers=[SequentialMergeBatchNorm()], stabilizer=1e-9)
    with composite.context(network) as modified:
        out = modified(x)
        (expected,) = torch.autograd.grad(out, x, grad_outputs=out.detach())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_operations_that_select_are_transparent() -> None:
    network = ready(SplitAndJoined())
    for layer in (network.conv1, network.conv2, network.head):
        nn.init.zeros_(layer.bias)  # type: ignore[union-attr, arg-type]
    for norm in (network.norm1, network.norm2):
        nn.init.zeros_(norm.bias), nn.init.zeros_(norm.running_mean)  # type: ignore[union-attr, arg-type]
    attribution = LRP(composite="epsilon").explain(network, X, None)
    torch.testing.assert_close(attribution.relevance.sum((1, 2, 3, 4)), attribution.output, rtol=1e-3, atol=1e-5)


class PreActivation(Layers):
    """In place on a tensor that the shortcut reads afterwards: the shortcut gets the rectified values."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        y = self.conv2(self.loud(x))
        return self.head((y + x).mean((2, 3, 4)))


class PreActivationClean(Layers):
    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        return self.head((self.conv2(x) + x).mean((2, 3, 4)))


@pytest.mark.parametrize("composite", COMPOSITES)
def test_what_was_changed_in_place_is_read_changed(composite: str) -> None:
    network, clean = ready(PreActivation()), ready(PreActivationClean())
    torch.testing.assert_close(network(X), clean(X))
    found = explained(network, composite=composite)
    torch.testing.assert_close(found, explained(clean, composite=composite), rtol=1e-4, atol=1e-7)


class Forward(Layers):
    """Runs a function of the layers, with everything at hand that the cases below need."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.gelu, self.sigmoid, self.softmax = nn.GELU(), nn.Sigmoid(), nn.Softmax(1)
        self.instance, self.layer = nn.InstanceNorm3d(4), nn.LayerNorm(4)
        self.scale = nn.Parameter(torch.ones(1))
        self.weighted = parametrizations.weight_norm(nn.Conv3d(4, 4, 1))
        self.batch = nn.BatchNorm3d(4, track_running_stats=False)
        self.peaks = nn.MaxPool3d(2, return_indices=True)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def pooled(m: Any, x: Tensor) -> Tensor:
    return m.head(x.mean((2, 3, 4)))


def written_into(m: Any, x: Tensor) -> Tensor:
    y = m.conv1(x)
    y[:, 0] = 0
    return pooled(m, y)


Case = tuple[str, Callable[[Any, Tensor], Any], str]
REFUSED: list[Case] = [
    ("product", lambda m, x: pooled(m, (y := m.conv1(x)) * m.conv2(y)), "not just one of them is a gate"),
    ("two gates", lambda m, x: pooled(m, m.sigmoid(y := m.conv1(x)) * m.sigmoid(-y)), "mul in the forward"),
    ("quotient", lambda m, x: pooled(m, (y := m.conv1(x)) / (1 + y.abs())), "divided"),
    ("reciprocal", lambda m, x: pooled(m, 1 / m.conv1(x)), "only the product of a tensor with a constant or"),
    ("square", lambda m, x: pooled(m, m.conv1(x) ** 2), r"pow in the forward of the network \(.*\): there is no rule"),
    ("sigmoid", lambda m, x: pooled(m, m.sigmoid(m.conv1(x))), r"module sigmoid \(Sigmoid, .*py:\d+\)[\s\S]*logits"),
    ("softmax", lambda m, x: m.softmax(pooled(m, m.conv1(x))), r"module softmax \(Softmax, .*py:\d+\)[\s\S]*logits"),
    ("functional softmax", lambda m, x: F.softmax(pooled(m, m.conv1(x)), 1), r"softmax in the .*py:\d+\): "),
    ("instance norm", lambda m, x: pooled(m, m.instance(m.conv1(x))), r"instance \(Inst.*pass it unchanged"),
    ("layer norm", lambda m, x: m.head(m.layer(m.conv1(x).mean((2, 3, 4)))), r"module layer \(LayerNorm, .*py:\d+\)"),
    ("batch statistics", lambda m, x: pooled(m, m.batch(m.conv1(x))), r"module batch .* statistics of the batch"),
    ("joined ones", lambda m, x: m.wide(torch.cat([y := m.conv1(x).sum((2, 3, 4)), torch.ones_like(y)], 1)), "const"),
    ("chosen one", lambda m, x: pooled(m, (y := m.conv1(x)).masked_fill(y < 0, 1.0)), "a constant that is not zero"),
    ("joined grid", lambda m, x: m.wide(torch.cat([y := m.conv1(x), (torch.arange(5) * 1.0).expand_as(y)], 1).mean(
        (2, 3, 4))), "joins a constant that is not zero"),
    ("stacked batch", lambda m, x: pooled(m, torch.stack([m.conv1(x)]).mean(1)), "reduces over the batch"),
    ("mean of all", lambda m, x: pooled(m, m.conv1(x)) + m.conv1(x).mean(), "reduces over the batch"),
    ("mean of batch", lambda m, x: pooled(m, (y := m.conv1(x)) - y.mean((0, 2), keepdim=True)), "over the batch"),
    ("active dropout", lambda m, x: pooled(m, F.dropout(m.conv1(x), 0.0)), "dropout is active in evaluation mode"),
    ("padding with ones", lambda m, x: pooled(m, F.pad(m.conv1(x), (1,) * 6, value=1.0)), "only padding with zeros"),
    ("indices", lambda m, x: pooled(m, m.peaks(m.conv1(x))[0]), r"module peaks .*more than one tensor"),
    ("indices of a function", lambda m, x: pooled(m, F.max_pool3d(m.conv1(x), 2, return_indices=True)[0]), "rule"),
    ("clamp above zero", lambda m, x: pooled(m, m.conv1(x).clamp(min=0.1)), "clamp in the forward"),
    ("numpy", lambda m, x: pooled(m, m.conv1(torch.from_numpy(x.numpy() * 2))), "cannot be seen|cannot follow"),
    ("written into", written_into, "gives other outputs|cannot follow|no rule"),
    ("pair", lambda m, x: (pooled(m, m.conv1(x)), x), "The model returns tuple"),
    ("dict", lambda m, x: {"logits": pooled(m, m.conv1(x))}, "The model returns dict"),
    ("one axis", lambda m, x: pooled(m, m.conv1(x))[:, 0], r"an explainer needs \[N, outputs\]"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_has_no_rule_is_refused_by_name(function: Callable[[Any, Tensor], Any], message: str) -> None:
    network = ready(Forward(function))
    network(X)  # it does run
    with pytest.raises(InputError, match=message):
        explained(network)


def test_all_parts_without_a_rule_are_named_at_once() -> None:
    network = ready(Forward(lambda m, x: m.softmax(pooled(m, m.instance(m.conv1(x))))))
    with pytest.raises(InputError, match=r"2 of its operations have no rule[\s\S]*instance[\s\S]*softmax"):
        explained(network)


def test_a_repeated_convolution_is_explained_as_two() -> None:
    class Twice(Layers):
        def forward(self, x: Tensor) -> Tensor:
            return pooled(self, self.relu(self.conv2(self.relu(self.norm2(self.conv2(self.conv1(x)))))))

    class Two(Layers):
        def __init__(self) -> None:
            super().__init__()
            self.copy = nn.Conv3d(4, 4, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return pooled(self, self.relu(self.conv2(self.relu(self.norm2(self.copy(self.conv1(x)))))))

    network, two = ready(Twice()), ready(Two())
    two.copy.load_state_dict(network.conv2.state_dict())  # type: ignore[union-attr, operator]
    torch.testing.assert_close(explained(network), explained(two))


def test_a_hook_that_changes_the_output_is_found_out() -> None:
    network = ready(Clean())
    network.relu1.register_forward_hook(lambda _module, _inputs, output: output * 2)
    with pytest.raises(InputError, match="gives other outputs than the network itself"):
        explained(network)
    plain = nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(240, 2)).eval()  # nothing to merge
    plain[1].register_forward_hook(lambda _module, _inputs, output: output * 2)
    with pytest.raises(InputError, match="gives other outputs than the network itself"):
        explained(plain)


def test_subclasses_count_only_if_they_compute_the_same() -> None:
    class Named(nn.Conv3d):
        pass

    class Other(nn.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).abs()

    plain = nn.Sequential(nn.Conv3d(2, 2, (6, 7, 5)), nn.Flatten())
    named = nn.Sequential(Named(2, 2, (6, 7, 5)), nn.Flatten())
    named.load_state_dict(plain.state_dict())
    assert torch.equal(explained(named.eval()), explained(plain.eval()))
    with pytest.raises(InputError, match="abs in module 0"):
        explained(nn.Sequential(Other(2, 2, (6, 7, 5)), nn.Flatten()).eval())
