"""The relevance of a residual network sums to the output that is explained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from xai_explainers_lrp import _propagate
from xai_explainers_lrp.plugin import LRP
from xai_models_resnet3d.plugin import ResNet3D

SIZE = (17, 19, 21)
VARIANTS = [(depth, shortcut) for depth in (10, 18, 34, 50) for shortcut in "AB"]
# Residual blocks of each depth: at each of them relevance doubles if the sum has no rule.
BLOCKS = {10: 4, 18: 8, 34: 16, 50: 16}


def resnet(depth: int, shortcut: str, *, biased: bool = False, width: int = 16) -> nn.Module:
    torch.manual_seed(depth)
    network = ResNet3D(depth=depth, shortcut=shortcut, width=width).build((1, *SIZE), 3).eval()  # type: ignore[arg-type]
    return randomise(network, biased=biased)


def randomise(network: nn.Module, *, biased: bool) -> nn.Module:
    """Draw all statistics; without ``biased`` their shifts cancel, so that no layer has a bias."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            with torch.no_grad():
                scale = module.weight / (module.running_var + module.eps).sqrt()
                module.bias.copy_(torch.randn_like(scale) * 0.1 if biased else module.running_mean * scale)
    nn.init.zeros_(network.fc.bias)  # type: ignore[arg-type]
    return network


def volumes(count: int = 2) -> Tensor:
    return torch.randn(count, 1, *SIZE, generator=torch.Generator().manual_seed(0))


def quotients(explainer: LRP, network: nn.Module, target: Tensor | None = None) -> Tensor:
    """Return sum R / f(x) for each volume, computed from the map and from a run of the network itself."""
    x = volumes()
    attribution = explainer.explain(network, x, target)
    with torch.no_grad():
        logits = network(x)
    chosen = logits.argmax(1) if target is None else target
    torch.testing.assert_close(attribution.target, chosen)
    explained = logits.gather(1, chosen[:, None])[:, 0]
    torch.testing.assert_close(attribution.output, explained, rtol=1e-4, atol=1e-6)
    assert attribution.details is not None
    result = attribution.relevance.double().sum((1, 2, 3, 4)) / explained
    found = torch.tensor([row["conservation"]["ratio"] for row in attribution.details])
    torch.testing.assert_close(found, result.float(), rtol=1e-4, atol=0)
    return result.float()


@pytest.mark.parametrize(("depth", "shortcut"), VARIANTS)
def test_relevance_sums_to_the_output(depth: int, shortcut: str) -> None:
    """Not too narrow: a network of few channels has neurons of negative value without any positive contribution.

    The relevance of those has nowhere to go under z+; at 16 channels this is a few thousandths.
    """
    network = resnet(depth, shortcut, width=32)
    for composite in ("epsilon", "epsilon-plus"):
        found = quotients(LRP(composite=composite), network)  # type: ignore[arg-type]
        torch.testing.assert_close(found, torch.ones(2), rtol=0, atol=1e-3, msg=f"{composite}: {found}")
    found = quotients(LRP(ignore_bias=True), randomise(network, biased=True))
    torch.testing.assert_close(found, torch.ones(2), rtol=0, atol=1e-3, msg=f"biases ignored: {found}")


@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-gamma-box", "epsilon-alpha2-beta1"])
def test_the_other_composites_conserve_too(composite: str) -> None:
    found = quotients(LRP(composite=composite), resnet(18, "B", width=32), torch.tensor([2, 0]))  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.ones(2), rtol=0, atol=1e-3)


def test_biases_take_relevance_where_they_are_not_ignored() -> None:
    found = quotients(LRP(), resnet(18, "B", biased=True))
    assert ((found - 1).abs() > 0.01).all()


@pytest.mark.parametrize("depth", [10, 18])
def test_without_the_rule_for_sums_relevance_doubles_at_each(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_propagate._Split, "apply", lambda first, second, _factors: first + second)
    found = quotients(LRP(), resnet(depth, "B"))
    torch.testing.assert_close(found, torch.full((2,), 2.0 ** BLOCKS[depth]), rtol=1e-2, atol=0)


@pytest.mark.parametrize("depth", [10, 18])
def test_zennit_alone_doubles_relevance_at_each_sum(depth: int) -> None:
    """The measurement that our canonisation is there for: 16 times on a ResNet10, 256 times on a ResNet18."""
    from xai_core.engine.torchvision_shim import ensure_torchvision

    ensure_torchvision()
    from zennit.composites import EpsilonPlus
    from zennit.torchvision import ResNetCanonizer

    network = resnet(depth, "B").requires_grad_(False)
    x = volumes(1).requires_grad_()
    composite = EpsilonPlus(canonizers=[ResNetCanonizer()])
    with composite.context(network) as modified:
        logits = modified(x)
        (relevance,) = torch.autograd.grad(logits[0, 0], x, grad_outputs=logits[0, 0].detach())
    assert float(relevance.sum() / logits[0, 0].detach()) == pytest.approx(2 ** BLOCKS[depth], rel=1e-2)
