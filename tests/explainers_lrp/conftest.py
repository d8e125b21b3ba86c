"""The reference for relevance and the zoo of networks, as fixtures."""

from __future__ import annotations

import importlib.util
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_explainers_lrp.plugin import LRP


def _load(name: str) -> ModuleType:
    """Import a module beside this file, where tests are not packages."""
    if f"lrp{name}" not in sys.modules:
        spec = importlib.util.spec_from_file_location(f"lrp{name}", Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[f"lrp{name}"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[f"lrp{name}"]


_nodes, _rules, _reference, _zoo = map(_load, ("_reference_nodes", "_reference_rules", "_reference", "_zoo"))


SMALL = ("functional-reused-in-place", "unet-encoder", "pre-activated-dilated-grouped-transposed")


class Case:
    """A network of the zoo with biases, and maps of it, each computed once.

    Attributes:
        network: float32, as is all but the reference.
        volumes: [N, C, D, H, W], small, with odd and unequal sides.
        target: int64 [N], the output of the largest magnitude.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.network: nn.Module = _zoo.make(name)
        self.volumes: Tensor = _zoo.volumes(name)
        with torch.no_grad():
            self.target = self.network(self.volumes).abs().argmax(1)
        self.relevance = cache(self._relevance)

    def _relevance(self, composite: str) -> Tensor:
        explainer = LRP(composite=composite, epsilon=1e-9)  # type: ignore[arg-type]
        return explainer.explain(self.network, self.volumes, self.target).relevance.double()

    def reference(self, composite: str, **settings: Any) -> Tensor:
        """Return what the reference makes of it, float64."""
        rules = _rules.Rules(composite, **settings)
        found: Tensor = _reference.explain(self.network, self.volumes, self.target, rules)
        return found

    def unbiased(self) -> nn.Module:
        """Return a copy without biases."""
        network: nn.Module = _zoo.without_biases(deepcopy(self.network))
        return network

    def conserving_volumes(self, composite: str) -> Tensor:
        """Return float32 volumes of a size for which a composite conserves relevance."""
        found: Tensor = _zoo.volumes(self.name, conserving=composite != "epsilon")
        return found


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """``explain(network, volumes, target, rules)``."""
    return _reference


@pytest.fixture(scope="session")
def reference_rules() -> ModuleType:
    """``Rules``, ``Layer`` and the rules."""
    return _rules


@pytest.fixture(scope="session")
def unknown_node() -> type[Exception]:
    """What the reference raises for what it does not know."""
    error: type[Exception] = _nodes.UnknownNodeError
    return error


@pytest.fixture(scope="module", params=list(_zoo.ZOO))
def case(request: Any) -> Case:
    """Each network of the zoo, one after the other."""
    return Case(request.param)


@pytest.fixture(scope="module", params=SMALL)
def small_case(request: Any) -> Case:
    """Small networks whose first layer takes the volume itself."""
    return Case(request.param)
