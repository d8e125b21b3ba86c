"""Which rule each layer of a network gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from xai_core import InputError
from xai_core.canonical import Canonical, Part
from xai_core.schemas import did_you_mean

from ._rules import AlphaBeta, Epsilon, Flat, Gamma, Pass, Proportion, Rule, WSquare, ZBox

__all__ = ["ORIGINAL", "Settings", "passed_layers", "rules_of"]

# iNNvestigate's names for two of the composites.
_SAME = {"sequential-preset-a": "epsilon-plus", "sequential-preset-b": "epsilon-alpha2-beta1"}
ORIGINAL = "innvestigate-"  # begins the names of these composites
_DIVIDED = (Part.CONVOLUTION, Part.DENSE, Part.AFFINE)


@dataclass(frozen=True)
class Settings:
    """The parameters of ``plugin.LRP``."""

    composite: str = "epsilon-plus"
    epsilon: float = 1e-6
    gamma: float = 0.25
    low: float | None = None
    high: float | None = None
    ignore_bias: bool = False
    rules: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    start: str = "logit"
    contrast: int | str | None = None
    reference: float | None = None
    layer_sums: bool = False

    @property
    def is_original(self) -> bool:
        """Whether the composite is one of iNNvestigate's as it computes them; see ``_innvestigate``."""
        return self.composite.startswith(ORIGINAL)


def passed_layers(settings: Settings) -> tuple[str, ...]:
    """Return the patterns of names to which the user gave the rule pass."""
    return tuple(row["layers"] for row in settings.rules if row["rule"] == "pass")


def rules_of(canonical: Canonical, settings: Settings) -> dict[str, Rule]:
    """Return the rule of each layer that divides relevance, by name.

    Raises:
        InputError: A rule does not go with the network, or a pattern fits no layer.
    """
    flat, box = settings.composite.endswith("-flat"), settings.composite.endswith("-box")
    if box and not canonical.fed_by_input:
        raise InputError(
            f"LRP: the box rule of {settings.composite} needs a first layer that takes the volume itself; here "
            "something stands between. Choose another composite."
        )
    if flat and not canonical.fed_by_voxels:
        raise InputError(
            f"LRP: the flat rule of {settings.composite} needs a first layer that sees voxels; here an average, a sum "
            "or a batch normalisation stands before it. Choose another composite."
        )
    first = Flat() if flat else ZBox(settings.low, settings.high) if box else None
    by_part = {
        Part.CONVOLUTION: _convolution_rule(settings),
        Part.DENSE: Epsilon(settings.epsilon),
        Part.AFFINE: Epsilon(settings.epsilon),
        Part.AVERAGE: Proportion(),
    }
    rules = {
        name: first if first is not None and name in canonical.first else by_part[part]
        for name, part in canonical.parts.items()
        if part in by_part
    }
    for row in settings.rules:
        _override(rules, canonical, row, settings)
    return rules


def _convolution_rule(settings: Settings) -> Rule:
    kind = _SAME.get(settings.composite, settings.composite)
    kind = kind.removesuffix("-flat").removesuffix("-box").removeprefix("epsilon").removeprefix("-")
    rules: Mapping[str, Callable[[], Rule]] = {
        "": lambda: Epsilon(settings.epsilon),
        "plus": lambda: AlphaBeta(1, 0, settings.ignore_bias),
        "alpha2-beta1": lambda: AlphaBeta(2, 1, settings.ignore_bias),
        "gamma": lambda: Gamma(settings.gamma),
    }
    return rules[kind]()


def _override(rules: dict[str, Rule], canonical: Canonical, row: Mapping[str, Any], settings: Settings) -> None:
    pattern = row["layers"]
    named = {name: canonical.names[name] for name, part in canonical.parts.items() if part in _DIVIDED}
    chosen = [name for name, own in named.items() if fnmatchcase(own, pattern)]
    passed = row["rule"] == "pass" and any(fnmatchcase(own, pattern) for own in canonical.names.values())
    if not chosen and not passed:
        available = list(dict.fromkeys(reversed(named.values())))  # from the volumes to the output, each once
        raise InputError(
            f"LRP: rules: no layer is called {pattern!r}.{did_you_mean(pattern, available)} Layers with weights: "
            f"{', '.join(available[:20])}{' ...' if len(available) > 20 else ''}."
        )
    for name in chosen:
        rules[name] = _named_rule(row, settings)


def _named_rule(row: Mapping[str, Any], settings: Settings) -> Rule:
    def value(key: str) -> Any:
        return row.get(key, getattr(settings, key))

    rules: Mapping[str, Callable[[], Rule]] = {
        "epsilon": lambda: Epsilon(value("epsilon")),
        "gamma": lambda: Gamma(value("gamma")),
        "z-plus": lambda: AlphaBeta(1, 0, value("ignore_bias")),
        "alpha-beta": lambda: AlphaBeta(row.get("alpha", 2), row.get("beta", 1), value("ignore_bias")),
        "flat": Flat,
        "w-square": WSquare,
        "z-box": lambda: ZBox(value("low"), value("high")),
        "pass": Pass,
    }
    return rules[row["rule"]]()
