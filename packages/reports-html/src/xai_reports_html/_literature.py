"""What to cite, by the name of the component or the library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["references"]

_BY_COMPONENT = {
    "lrp": "Bach S, Binder A, Montavon G, et al. On pixel-wise explanations for non-linear classifier decisions by "
    "layer-wise relevance propagation. PLoS ONE 10(7): e0130140, 2015.",
    "gradcam": "Selvaraju RR, Cogswell M, Das A, et al. Grad-CAM: visual explanations from deep networks via "
    "gradient-based localization. ICCV 2017.",
    "saliency": "Simonyan K, Vedaldi A, Zisserman A. Deep inside convolutional networks: visualising image "
    "classification models and saliency maps. arXiv:1312.6034, 2013.",
    "input-x-gradient": "Shrikumar A, Greenside P, Shcherbina A, Kundaje A. Not just a black box: learning important "
    "features through propagating activation differences. arXiv:1605.01713, 2016.",
    "integrated-gradients": "Sundararajan M, Taly A, Yan Q. Axiomatic attribution for deep networks. ICML 2017.",
    "resnet3d": "He K, Zhang X, Ren S, Sun J. Deep residual learning for image recognition. CVPR 2016; Chen S, Ma K, "
    "Zheng Y. Med3D: transfer learning for 3D medical image analysis. arXiv:1904.00625, 2019.",
}
_BY_LIBRARY = {
    "zennit": "Anders CJ, Neumann D, Samek W, Müller KR, Lapuschkin S. Software for dataset-wide XAI: from local "
    "explanations to global insights with Zennit, CoRelAy, and ViRelAy. arXiv:2106.13200, 2021.",
    "captum": "Kokhlikyan N, Miglani V, Martin M, et al. Captum: a unified and generic model interpretability library "
    "for PyTorch. arXiv:2009.07896, 2020.",
    "torchio": "Pérez-García F, Sparks R, Ourselin S. TorchIO: a Python library for efficient loading, preprocessing, "
    "augmentation and patch-based sampling of medical images in deep learning. Comput Methods Programs Biomed 208: "
    "106236, 2021.",
    "torch": "Paszke A, Gross S, Massa F, et al. PyTorch: an imperative style, high-performance deep learning library. "
    "NeurIPS 2019.",
    "scikit-learn": "Pedregosa F, Varoquaux G, Gramfort A, et al. Scikit-learn: machine learning in Python. JMLR 12: "
    "2825-2830, 2011.",
}


def references(config: Mapping[str, Any], libraries: Iterable[str]) -> list[str]:
    """Return the publications behind the model, the explainers and the libraries of a run, in order of use."""
    slots = [config.get("model") or {}, *(config.get("explainers") or [])]
    # A name may be qualified by its package: xai-explainers-lrp:lrp.
    names = [str(slot.get("name", "")).rpartition(":")[2] for slot in slots]
    found = [_BY_COMPONENT[name] for name in names if name in _BY_COMPONENT]
    known = set(libraries)
    found += [text for library, text in _BY_LIBRARY.items() if library in known]
    return list(dict.fromkeys(found))
