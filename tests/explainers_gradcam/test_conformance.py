"""The conformance kit on every explainer of this package."""

from __future__ import annotations

from typing import Any, ClassVar

from xai_core.testing import ExplainerConformance


class TestGradCAM(ExplainerConformance):
    name = "gradcam"


class TestGradCAMPlusPlus(ExplainerConformance):
    name = "gradcam-plus-plus"


class TestLayerCAM(ExplainerConformance):
    name = "layer-cam"


class TestGuidedGradCAM(ExplainerConformance):
    name = "guided-gradcam"


class TestGuidedBackpropagation(ExplainerConformance):
    name = "guided-backpropagation"


class TestDeconvolution(ExplainerConformance):
    name = "deconvolution"


class TestGuidedBackpropagationOfTheLogit(ExplainerConformance):
    name = "guided-backpropagation"
    params: ClassVar[dict[str, Any]] = {"start": "logit", "other_activations": "differentiate"}


class TestGradient(ExplainerConformance):
    name = "gradient"


class TestSaliency(ExplainerConformance):
    name = "saliency"


class TestInputXGradient(ExplainerConformance):
    name = "input-x-gradient"
    conservation = 1e-4  # a network of ReLUs without biases is homogeneous


class TestSmoothGrad(ExplainerConformance):
    name = "smoothgrad"


class TestVarGrad(ExplainerConformance):
    name = "smoothgrad"
    params: ClassVar[dict[str, Any]] = {"of": "input-x-gradient", "statistic": "variance", "samples": 5}


class TestIntegratedGradients(ExplainerConformance):
    name = "integrated-gradients"


class TestGradientSHAP(ExplainerConformance):
    name = "gradient-shap"


class TestDeepLIFT(ExplainerConformance):
    name = "deeplift"
    params: ClassVar[dict[str, Any]] = {"baseline": "zero"}
    conservation = 1e-4
