"""What to cite: behind the components and libraries of a run, and on the limits of its explainers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._methods import known_limits

__all__ = ["limits_of", "references"]

# By short name, which the page's remarks use.
_PAPERS = {
    "Bach 2015": "Bach S, Binder A, Montavon G, Klauschen F, Müller KR, Samek W. On pixel-wise explanations for "
    "non-linear classifier decisions by layer-wise relevance propagation. PLoS ONE 10(7): e0130140, 2015. "
    "doi:10.1371/journal.pone.0130140",
    "Montavon 2019": "Montavon G, Binder A, Lapuschkin S, Samek W, Müller KR. Layer-wise relevance propagation: an "
    "overview. In: Explainable AI: Interpreting, Explaining and Visualizing Deep Learning, LNCS 11700: 193-209, 2019. "
    "doi:10.1007/978-3-030-28954-6_10",
    "Montavon 2017": "Montavon G, Lapuschkin S, Binder A, Samek W, Müller KR. Explaining nonlinear classification "
    "decisions with deep Taylor decomposition. Pattern Recognition 65: 211-222, 2017. "
    "doi:10.1016/j.patcog.2016.11.008",
    "Kohlbrenner 2020": "Kohlbrenner M, Bauer A, Nakajima S, Binder A, Samek W, Lapuschkin S. Towards best practice in "
    "explaining neural network decisions with LRP. IJCNN 2020. arXiv:1910.09840",
    "Selvaraju 2017": "Selvaraju RR, Cogswell M, Das A, Vedantam R, Parikh D, Batra D. Grad-CAM: visual explanations "
    "from deep networks via gradient-based localization. ICCV 2017. doi:10.1109/ICCV.2017.74",
    "Chattopadhay 2018": "Chattopadhay A, Sarkar A, Howlader P, Balasubramanian VN. Grad-CAM++: generalized "
    "gradient-based visual explanations for deep convolutional networks. WACV 2018. doi:10.1109/WACV.2018.00097",
    "Jiang 2021": "Jiang PT, Zhang CB, Hou Q, Cheng MM, Wei Y. LayerCAM: exploring hierarchical class activation maps "
    "for localization. IEEE Trans Image Process 30: 5875-5888, 2021. doi:10.1109/TIP.2021.3089943",
    "Springenberg 2015": "Springenberg JT, Dosovitskiy A, Brox T, Riedmiller M. Striving for simplicity: the all "
    "convolutional net. ICLR workshop 2015. arXiv:1412.6806",
    "Zeiler 2014": "Zeiler MD, Fergus R. Visualizing and understanding convolutional networks. ECCV 2014, LNCS 8689: "
    "818-833. doi:10.1007/978-3-319-10590-1_53",
    "Simonyan 2014": "Simonyan K, Vedaldi A, Zisserman A. Deep inside convolutional networks: visualising image "
    "classification models and saliency maps. ICLR workshop 2014. arXiv:1312.6034",
    "Shrikumar 2016": "Shrikumar A, Greenside P, Shcherbina A, Kundaje A. Not just a black box: learning important "
    "features through propagating activation differences. arXiv:1605.01713, 2016",
    "Shrikumar 2017": "Shrikumar A, Greenside P, Kundaje A. Learning important features through propagating activation "
    "differences. ICML 2017, PMLR 70: 3145-3153. arXiv:1704.02685",
    "Smilkov 2017": "Smilkov D, Thorat N, Kim B, Viégas F, Wattenberg M. SmoothGrad: removing noise by adding noise. "
    "arXiv:1706.03825, 2017",
    "Adebayo 2018b": "Adebayo J, Gilmer J, Goodfellow I, Kim B. Local explanation methods for deep neural networks "
    "lack sensitivity to parameter values. ICLR workshop 2018. arXiv:1810.03307",
    "Hooker 2019": "Hooker S, Erhan D, Kindermans PJ, Kim B. A benchmark for interpretability methods in deep neural "
    "networks. NeurIPS 2019. arXiv:1806.10758",
    "Sundararajan 2017": "Sundararajan M, Taly A, Yan Q. Axiomatic attribution for deep networks. ICML 2017, PMLR 70: "
    "3319-3328. arXiv:1703.01365",
    "Lundberg 2017": "Lundberg SM, Lee SI. A unified approach to interpreting model predictions. NeurIPS 2017. "
    "arXiv:1705.07874",
    "Erion 2021": "Erion G, Janizek JD, Sturmfels P, Lundberg SM, Lee SI. Improving performance of deep learning "
    "models with axiomatic attribution priors and expected gradients. Nat Mach Intell 3: 620-631, 2021. "
    "doi:10.1038/s42256-021-00343-w",
    "Achanta 2012": "Achanta R, Shaji A, Smith K, Lucchi A, Fua P, Süsstrunk S. SLIC superpixels compared to "
    "state-of-the-art superpixel methods. IEEE Trans Pattern Anal Mach Intell 34(11): 2274-2282, 2012. "
    "doi:10.1109/TPAMI.2012.120",
    "Adebayo 2018": "Adebayo J, Gilmer J, Muelly M, Goodfellow I, Hardt M, Kim B. Sanity checks for saliency maps. "
    "NeurIPS 2018. arXiv:1810.03292",
    "Nie 2018": "Nie W, Zhang Y, Patel A. A theoretical explanation for perplexing behaviors of backpropagation-based "
    "visualizations. ICML 2018. arXiv:1805.07039",
    "Sixt 2020": "Sixt L, Granz M, Landgraf T. When explanations lie: why many modified BP attributions fail. ICML "
    "2020. arXiv:1912.09818",
    "Sturmfels 2020": "Sturmfels P, Lundberg S, Lee SI. Visualizing the impact of feature attribution baselines. "
    "Distill 2020. doi:10.23915/distill.00022",
    "Siegel 2025": "Siegel NT, Cole JH, Habes M, Haufe S, Ritter K, Schulz MA. Explainable AI methods for "
    "neuroimaging: systematic failures of common tools, the need for domain-specific validation, and a proposal for "
    "safe application. arXiv:2508.02560, 2025",
    "Alber 2019": "Alber M, Lapuschkin S, Seegerer P, et al. iNNvestigate neural networks! JMLR 20(93): 1-8, 2019",
    "Singh 2023": "Singh D, Dyrba M. Comparison of CNN architectures for detecting Alzheimer's disease using relevance "
    "maps. Bildverarbeitung für die Medizin 2023. doi:10.1007/978-3-658-41657-7_51",
    "Hofmann 2022": "Hofmann SM, Beyer F, Lapuschkin S, et al. Towards the interpretability of deep learning models "
    "for multi-modal neuroimaging. NeuroImage 261: 119504, 2022. doi:10.1016/j.neuroimage.2022.119504",
    "Dyrba 2021": "Dyrba M, Hanzig M, Altenstein S, et al. Improving 3D convolutional neural network comprehensibility "
    "via interactive visualization of relevance maps. Alzheimers Res Ther 13: 191, 2021. "
    "doi:10.1186/s13195-021-00924-2",
    "Peng 2021": "Peng H, Gong W, Beckmann CF, Vedaldi A, Smith SM. Accurate brain age prediction with lightweight "
    "deep neural networks. Med Image Anal 68: 101871, 2021. doi:10.1016/j.media.2020.101871",
    "He 2016": "He K, Zhang X, Ren S, Sun J. Deep residual learning for image recognition. CVPR 2016",
    "Chen 2019": "Chen S, Ma K, Zheng Y. Med3D: transfer learning for 3D medical image analysis. arXiv:1904.00625, "
    "2019",
}
_BY_COMPONENT: Mapping[str, tuple[str, ...]] = {
    "resnet3d": ("He 2016", "Chen 2019"),
    **{f"singh2023-{name}": ("Singh 2023",) for name in ("alexnet", "vgg", "resnet", "densenet")},
    "dyrba2021": ("Dyrba 2021",),
    "mrinet": ("Hofmann 2022",),
    "sfcn": ("Peng 2021",),
    "lrp": ("Bach 2015", "Montavon 2019"),
    "gradcam": ("Selvaraju 2017",),
    "gradcam-plus-plus": ("Chattopadhay 2018",),
    "layer-cam": ("Jiang 2021",),
    "guided-gradcam": ("Selvaraju 2017", "Springenberg 2015"),
    "guided-backpropagation": ("Springenberg 2015",),
    "deconvolution": ("Zeiler 2014",),
    "gradient": ("Simonyan 2014",),
    "saliency": ("Simonyan 2014",),
    "input-x-gradient": ("Shrikumar 2016",),
    "smoothgrad": ("Smilkov 2017",),
    "integrated-gradients": ("Sundararajan 2017",),
    "gradient-shap": ("Lundberg 2017", "Erion 2021"),
    "deeplift": ("Shrikumar 2017",),
    "occlusion": ("Zeiler 2014",),
    "feature-ablation": ("Zeiler 2014",),
}
# Papers behind one value of a parameter. LRP: z+ and box are deep Taylor decomposition's; by layer: a composite.
_BY_PARAMETER: Mapping[tuple[str, str, Any], tuple[str, ...]] = {
    ("lrp", "composite", "epsilon-plus"): ("Montavon 2017", "Kohlbrenner 2020"),
    ("lrp", "composite", "epsilon-plus-flat"): ("Montavon 2017", "Kohlbrenner 2020"),
    ("lrp", "composite", "epsilon-alpha2-beta1"): ("Kohlbrenner 2020",),
    ("lrp", "composite", "epsilon-alpha2-beta1-flat"): ("Kohlbrenner 2020",),
    ("lrp", "composite", "epsilon-gamma-box"): ("Montavon 2017",),
    ("lrp", "composite", "sequential-preset-a"): ("Montavon 2017", "Kohlbrenner 2020"),
    ("lrp", "composite", "sequential-preset-b"): ("Kohlbrenner 2020",),
    **{
        ("lrp", "composite", f"innvestigate-{name}"): ("Alber 2019",)
        for name in ("sequential-preset-a", "sequential-preset-b", "epsilon", "z", "alpha1-beta0")
    },
    ("smoothgrad", "statistic", "variance"): ("Adebayo 2018b",),
    ("smoothgrad", "statistic", "mean-square"): ("Hooker 2019",),
    ("feature-ablation", "atlas", None): ("Achanta 2012",),
}
_BY_LIBRARY = {
    "zennit": "Anders CJ, Neumann D, Samek W, Müller KR, Lapuschkin S. Software for dataset-wide XAI: from local "
    "explanations to global insights with Zennit, CoRelAy, and ViRelAy. arXiv:2106.13200, 2021",
    "captum": "Kokhlikyan N, Miglani V, Martin M, et al. Captum: a unified and generic model interpretability library "
    "for PyTorch. arXiv:2009.07896, 2020",
    "torchio": "Pérez-García F, Sparks R, Ourselin S. TorchIO: a Python library for efficient loading, preprocessing, "
    "augmentation and patch-based sampling of medical images in deep learning. Comput Methods Programs Biomed 208: "
    "106236, 2021. doi:10.1016/j.cmpb.2021.106236",
    "torch": "Paszke A, Gross S, Massa F, et al. PyTorch: an imperative style, high-performance deep learning library. "
    "NeurIPS 2019. arXiv:1912.01703",
    "scikit-learn": "Pedregosa F, Varoquaux G, Gramfort A, et al. Scikit-learn: machine learning in Python. JMLR 12: "
    "2825-2830, 2011",
}


def references(config: Mapping[str, Any], libraries: Iterable[str]) -> list[str]:
    """Return the publications behind the model, the explainers and the libraries of a run, in order of use."""
    keys = [key for slot in [config.get("model") or {}, *(config.get("explainers") or [])] for key in _behind(slot)]
    known = set(libraries)
    found = [_PAPERS[key] for key in keys] + [text for library, text in _BY_LIBRARY.items() if library in known]
    return list(dict.fromkeys(found))


def limits_of(config: Mapping[str, Any]) -> list[str]:
    """Return the publications that the remarks on a run's explainers name."""
    slots = config.get("explainers") or []
    limits = [known_limits(str(slot.get("name", "")), slot.get("params") or {}) for slot in slots]
    return list(dict.fromkeys(_PAPERS[limit.paper] for some in limits for limit in some if limit.paper))


def _behind(slot: Mapping[str, Any]) -> list[str]:
    # A name may be qualified by its package: xai-explainers-lrp:lrp.
    name, params = str(slot.get("name", "")).rpartition(":")[2], slot.get("params") or {}
    chosen = [keys for (of, key, value), keys in _BY_PARAMETER.items()
              if of == name and key in params and params[key] == value]  # fmt: skip
    return [*_BY_COMPONENT.get(name, ()), *(key for keys in chosen for key in keys)]
