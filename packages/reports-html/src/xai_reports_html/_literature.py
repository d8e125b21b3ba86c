"""What to cite: behind the components and libraries of a run, and on the limits of its explainers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._methods import known_limits
from ._papers import Paper, papers

__all__ = ["limits_of", "papers_behind", "references"]

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
    "n4-bias-correction": ("Tustison 2010",),
    "histogram-standardization": ("Nyúl 2000",),
    "harmonize": ("Johnson 2007", "Fortin 2018"),
    "mni-grid": ("Fonov 2011",),
    "mni-brain": ("Fonov 2011",),
    "register-to-mni": ("Fonov 2011",),
    "simulated-atrophy": ("Fonov 2011",),
    "repeated-kfold": ("Nadeau 2003",),
    "normative-scores": ("Jack 1997", "La Joie 2012"),
    "ground-truth": ("Arras 2022", "Zhang 2016"),
    "region-perturbation": ("Samek 2017", "Ancona 2018"),
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
    ("group-contrasts", "inference", "tfce"): ("Smith 2009",),
    ("group-contrasts", "threshold", "fdr"): ("Benjamini 1995",),
    ("region-features", "correction", "fdr-bh"): ("Benjamini 1995",),
    ("lightning", "calibration", "temperature"): ("Guo 2017",),
    ("lightning", "bias_correction", "beheshti"): ("Beheshti 2019",),
    ("lightning", "bias_correction", "cole"): ("Cole 2018",),
}
_BY_LIBRARY: Mapping[str, str] = {
    "zennit": "Anders 2021",
    "captum": "Kokhlikyan 2020",
    "torchio": "Pérez-García 2021",
    "torch": "Paszke 2019",
    "scikit-learn": "Pedregosa 2011",
    "nilearn": "Abraham 2014",
    "numpy": "Harris 2020",
    "scipy": "Virtanen 2020",
    "monai": "Cardoso 2022",
}


def references(config: Mapping[str, Any], libraries: Iterable[str]) -> list[Paper]:
    """Return the publications behind all components and libraries of a run, in order of use."""
    keys = [key for slot in _slots(config) for key in papers_behind(slot)]
    known = set(libraries)
    keys += [key for library, key in _BY_LIBRARY.items() if library in known]
    return [papers()[key] for key in dict.fromkeys(keys)]


def limits_of(config: Mapping[str, Any]) -> list[Paper]:
    """Return the publications that the remarks on a run's explainers name."""
    slots = config.get("explainers") or []
    limits = [known_limits(str(slot.get("name", "")), slot.get("params") or {}) for slot in slots]
    keys = [limit.paper for some in limits for limit in some if limit.paper]
    return [papers()[key] for key in dict.fromkeys(keys)]


def _slots(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = config.get("data") or {}
    one = [data, *(data.get("transforms") or []), config.get("split") or {}, config.get("model") or {}]
    many = [slot for kind in ("explainers", "evaluators", "analyses") for slot in config.get(kind) or []]
    return [*one, config.get("training") or {}, *many]


def papers_behind(slot: Mapping[str, Any]) -> list[str]:
    """Return the short names of the publications behind a component with its parameters."""
    # A name may be qualified by its package: xai-explainers-lrp:lrp.
    name, params = str(slot.get("name", "")).rpartition(":")[2], slot.get("params") or {}
    chosen = [keys for (of, key, value), keys in _BY_PARAMETER.items()
              if of == name and key in params and params[key] == value]  # fmt: skip
    return list(dict.fromkeys([*_BY_COMPONENT.get(name, ()), *(key for keys in chosen for key in keys)]))
