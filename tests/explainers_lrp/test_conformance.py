"""The component keeps the contract of an explainer, with each composite."""

from __future__ import annotations

from xai_core.testing import ExplainerConformance


class TestEpsilonPlus(ExplainerConformance):
    name = "lrp"
    conservation = 1e-3


class TestEpsilon(ExplainerConformance):
    name = "lrp"
    params = {"composite": "epsilon"}  # noqa: RUF012
    conservation = 1e-3


class TestEpsilonPlusFlat(ExplainerConformance):
    name = "lrp"
    params = {"composite": "epsilon-plus-flat", "ignore_bias": True}  # noqa: RUF012
    conservation = 1e-3


class TestEpsilonAlpha2Beta1(ExplainerConformance):
    name = "lrp"
    params = {"composite": "epsilon-alpha2-beta1"}  # noqa: RUF012


class TestEpsilonGammaBox(ExplainerConformance):
    name = "lrp"
    params = {"composite": "epsilon-gamma-box"}  # noqa: RUF012
    conservation = 1e-3
