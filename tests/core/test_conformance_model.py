"""Every check of the models' suite fails on a model that breaks what it checks, and passes on a good one."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import Model, registry
from xai_core.testing import ModelConformance

COUNT = itertools.count(1)


class Network(nn.Module):
    """Convolution, batch normalisation, pooling, linear layer."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, 4, 3, stride=3)
        self.bn = nn.BatchNorm3d(4)
        self.fc = nn.Linear(4, outputs)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x))).mean((2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.features(x))
        return result


class DoublePrecision(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).double()


class Spatial(Network):
    """Keeps an axis too many."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, None]


class MakesNan(Network):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0


class Unused(Network):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        self.auxiliary = nn.Linear(4, outputs)


class Detached(Network):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x).detach()


class TimesZero(Network):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        self.gate = nn.Parameter(torch.ones(4))

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + 0 * self.gate


class PlainAttribute(Network):
    """Random numbers that are neither parameter nor buffer."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        self.positions = torch.rand(4)

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) + self.positions


class NotPersistent(PlainAttribute):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        positions = self.positions
        del self.positions
        self.register_buffer("positions", positions, persistent=False)


class OwnStatistics(Network):
    """A running mean that is no buffer; the same at the start whatever the seed."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        self.mean = torch.zeros(4)

    def features(self, x: Tensor) -> Tensor:
        found = super().features(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * found.mean(0).detach()
        return found - self.mean


class OwnState(Network):
    """An object of its own in its state."""

    def get_extra_state(self) -> Any:
        return Setting()

    def set_extra_state(self, state: Any) -> None:
        assert isinstance(state, Setting)


class Setting:
    """Something that ``weights_only=True`` does not load."""


class Unseeded(Network):
    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs)
        with torch.no_grad():
            self.fc.bias.copy_(torch.rand(outputs, generator=torch.Generator().manual_seed(next(COUNT))))


class BatchStatistics(Network):
    def features(self, x: Tensor) -> Tensor:
        found = super().features(x)
        return found - found.mean(0)


class AlwaysTraining(Network):
    """Batch normalisation by the batch's own statistics, also in evaluation mode."""

    def features(self, x: Tensor) -> Tensor:
        normalised = nn.functional.batch_norm(self.conv(x), None, None, self.bn.weight, self.bn.bias, training=True)
        return torch.relu(normalised).mean((2, 3, 4))


class AlwaysDropout(Network):
    def features(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().features(x), 0.5, training=True)


def model(network: Any, outputs: int | None = None) -> type[Model]:
    class Given(Model):
        """What the test gives."""

        def build(self, input_shape: tuple[int, int, int, int], number: int | None) -> Any:
            return network(input_shape[0], outputs or number)

    return Given


Proof = tuple[type, str, type[Model], str, type[Exception]]
S, A = ModelConformance, AssertionError
PROOFS: list[Proof] = [
    (S, "test_logits_for_two_grids", model(Network, 4), r"\(2, 4\) for grid \(33, 38, 35\)", A),
    (S, "test_logits_for_two_grids", model(Spatial), r"\(2, 3, 1\) for grid", A),
    (S, "test_logits_for_two_grids", model(DoublePrecision), "torch.float64, not float32", A),
    (S, "test_logits_for_two_grids", model(MakesNan), "NaN or infinite", A),
    (S, "test_logits_for_two_grids", model(lambda *_: print), "build returned builtin_function", A),
    (S, "test_one_output_for_a_regression", model(Network, 2), r"\(2, 2\) for one output", A),
    (S, "test_every_parameter_trains", model(Unused), r"without a gradient: \['auxiliary\.weight', 'auxiliary\.", A),
    (S, "test_every_parameter_trains", model(Detached), "without a gradient: .*conv", A),
    (S, "test_every_parameter_trains", model(TimesZero), r"without a gradient: \['gate'\]", A),
    (S, "test_state_dict_round_trip", model(PlainAttribute), "computes something else", A),
    (S, "test_state_dict_round_trip", model(NotPersistent), "computes something else", A),
    (S, "test_state_dict_round_trip", model(OwnStatistics), "computes something else", A),
    (S, "test_state_dict_round_trip", model(OwnState), "Weights only load failed", pickle.UnpicklingError),
    (S, "test_same_seed_same_network", model(Unseeded), "two builds with one seed differ", A),
    (S, "test_scans_of_a_batch_do_not_mix", model(BatchStatistics), "depends on its batch", A),
    (S, "test_scans_of_a_batch_do_not_mix", model(AlwaysTraining), "depends on its batch", A),
    (S, "test_scans_of_a_batch_do_not_mix", model(AlwaysDropout), "depends on its batch", A),
]


@pytest.fixture(autouse=True)
def clean_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry._default, "_registered", {})
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


def check(suite: type, name: str, component: type[Model]) -> None:
    registry.register("model", "under-test", component)
    getattr(type("Suite", (suite,), {"name": "under-test"})(), name)()


@pytest.mark.parametrize("proof", PROOFS, ids=lambda p: f"{p[1]}-{p[3][:30]}")
def test_bad_model_fails(proof: Proof) -> None:
    suite, name, component, message, error = proof
    with pytest.raises(error, match=message):
        check(suite, name, component)


@pytest.mark.parametrize("name", sorted(n for n in vars(ModelConformance) if n.startswith("test_")))
def test_good_model_passes(name: str) -> None:
    check(ModelConformance, name, model(Network))


def test_channels_and_outputs_of_the_suite_are_used() -> None:
    asked: list[tuple[Any, ...]] = []

    class Given(Model):
        """Notes what it is asked for."""

        def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
            asked.append((input_shape, outputs))
            return Network(input_shape[0], outputs or 0)

    registry.register("model", "under-test", Given)
    suite: Any = type("Suite", (ModelConformance,), {"name": "under-test", "channels": 2, "outputs": 5})()
    suite.test_logits_for_two_grids()
    suite.test_one_output_for_a_regression()
    assert asked == [((2, 33, 38, 35), 5), ((2, 40, 32, 36), 5), ((2, 33, 38, 35), 1)]
