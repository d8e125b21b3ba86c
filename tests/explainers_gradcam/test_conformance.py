"""The conformance kit on every explainer of this package."""

from xai_core.testing import ExplainerConformance


class TestGradCAM(ExplainerConformance):
    name = "gradcam"


class TestSaliency(ExplainerConformance):
    name = "saliency"


class TestInputXGradient(ExplainerConformance):
    name = "input-x-gradient"


class TestIntegratedGradients(ExplainerConformance):
    name = "integrated-gradients"
