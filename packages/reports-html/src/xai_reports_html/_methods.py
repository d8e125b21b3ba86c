"""What the maps of each explainer mean, and what is known of its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Limit", "has_no_sign", "known_limits", "meaning"]

Params = Mapping[str, Any]


class Limit(NamedTuple):
    """A remark for the reader, and the short name of the paper that shows it (None: follows from the method)."""

    text: str
    paper: str | None


_FOR = "Warm: speaks for the explained output; cold: against it."
_COMPARED = f"{_FOR} Everything is compared with the baseline."
_REPLACED = "Warm: the output drops where the tissue is replaced by the baseline; cold: it rises."
_CAM = "Never below zero: the map shows only what speaks for the explained output."
_SLOPE = (
    "The sign is a slope's: warm where brighter tissue raises the output, cold where it lowers it. It does not say "
    "that the tissue speaks for the output or against it."
)
_STRENGTH = "Violet, without a sign: how strongly the output changes with the intensity, upwards or downwards."
_SCATTER = "Violet, without a sign: how much the gradient scatters among noisy copies, not how much a voxel counts."
_UNKNOWN = "Warm: above zero; cold: below zero. What the sign means is for the explainer's documentation to say."

_COARSE = Limit(
    "The map has the grid of a layer, a few voxels across the head with the last convolution, and is interpolated: "
    "fine detail in it is no information. The details below each map give the grid.",
    None,
)
_BASELINE = Limit("Another baseline gives another map, sometimes a very different one.", "Sturmfels 2020")
_UNSEEN = Limit("Heads with replaced parts are unlike anything in training; answers to them may be odd.", "Hooker 2019")
_SIEGEL = "In a comparison on 45,000 brain MRIs whose predictive features were known, "
_EDGES = Limit(
    "With the weights of late layers randomised it gave almost the same maps: they show edges of the image more than "
    "the network's reasons.",
    "Adebayo 2018",
)
_LIMITS: Mapping[str, tuple[Limit, ...]] = {
    "lrp": (Limit(_SIEGEL + "LRP gave extensive artefacts.", "Siegel 2025"),),
    "gradcam": (_COARSE, Limit(_SIEGEL + "Grad-CAM failed to find them.", "Siegel 2025")),
    "gradcam-plus-plus": (_COARSE,),
    "layer-cam": (_COARSE,),
    "guided-gradcam": (_EDGES, _COARSE),
    "guided-backpropagation": (
        _EDGES,
        Limit("In theory, too, it restores parts of the image, whatever the network decides.", "Nie 2018"),
    ),
    "deconvolution": (
        Limit("It restores parts of the image, whatever the network decides.", "Nie 2018"),
        Limit("The maps hardly depend on the weights of late layers.", "Sixt 2020"),
    ),
    "gradient": (Limit("Gradients of deep networks scatter from voxel to voxel.", "Smilkov 2017"),),
    "saliency": (Limit("Gradients of deep networks scatter from voxel to voxel.", "Smilkov 2017"),),
    "input-x-gradient": (Limit("Gradients of deep networks scatter from voxel to voxel.", "Smilkov 2017"),),
    "smoothgrad": (Limit(_SIEGEL + "SmoothGrad was consistently accurate.", "Siegel 2025"),),
    "integrated-gradients": (_BASELINE,),
    "gradient-shap": (_BASELINE,),
    "deeplift": (_BASELINE,),
    "occlusion": (_BASELINE, _UNSEEN),
    "feature-ablation": (_BASELINE, _UNSEEN),
}
_ZPLUS = Limit("Maps of the z+ rule hardly depend on the weights of late layers.", "Sixt 2020")

_ORIGINAL = Limit(
    "Computed as iNNvestigate 2.1.2 does, with its mistakes in batch normalisation and biases, to compare with "
    "published maps; the sum of such a map means nothing. The composites without innvestigate- are right.",
    None,
)


def _of_lrp(params: Params) -> str:
    reference = params.get("reference")
    if params.get("contrast") is not None:
        return "Warm: speaks for the explained output more than for what it is contrasted with; cold: less."
    if reference is None:
        return _FOR
    return (
        f"The division is that of the output, scaled to output - {reference:g}: where the prediction lies above "
        f"{reference:g}, warm speaks for a higher value; where it lies below, cold does."
    )


def _of_smoothgrad(params: Params) -> str:
    if params.get("statistic") == "variance":
        return _SCATTER
    if params.get("statistic") == "mean-square" or params.get("of", "saliency") == "saliency":
        return _STRENGTH
    return _FOR if params.get("of") == "input-x-gradient" else _SLOPE


_MEANINGS: Mapping[str, Callable[[Params], str]] = {
    "lrp": _of_lrp,
    "gradcam": lambda _: _CAM,
    "gradcam-plus-plus": lambda _: _CAM,
    "layer-cam": lambda _: _CAM,
    "guided-gradcam": lambda _: _SLOPE,
    "guided-backpropagation": lambda _: _SLOPE,
    "deconvolution": lambda _: _SLOPE,
    "gradient": lambda _: _SLOPE,
    "saliency": lambda params: _STRENGTH if params.get("absolute", True) else _SLOPE,
    "input-x-gradient": lambda _: _FOR,
    "smoothgrad": _of_smoothgrad,
    "integrated-gradients": lambda _: _COMPARED,
    "gradient-shap": lambda _: _COMPARED,
    "deeplift": lambda _: _COMPARED,
    "occlusion": lambda _: _REPLACED,
    "feature-ablation": lambda _: _REPLACED,
}


def meaning(name: str, params: Params) -> str:
    """Return what colour and sign say in the maps of an explainer, as a sentence.

    Args:
        name: Registry name, qualified by the package or not.
        params: As in the resolved configuration; what an older run does not hold has its default.
    """
    known = _MEANINGS.get(_bare(name))
    return _UNKNOWN if known is None else known(params)


def has_no_sign(name: str, params: Params) -> bool:
    """Whether an explainer gives a magnitude: never below zero, and without a word for or against the output."""
    return meaning(name, params) in (_STRENGTH, _SCATTER)


def known_limits(name: str, params: Params) -> list[Limit]:
    """Return what a reader of the maps of an explainer should know; see ``meaning`` for the arguments."""
    bare = _bare(name)
    found = list(_LIMITS.get(bare, ()))
    if bare == "lrp":
        composite = str(params.get("composite", "epsilon-plus"))
        found += [_ZPLUS] if composite.startswith(("epsilon-plus", "sequential-preset-a")) else []
        found += [_ORIGINAL] if composite.startswith("innvestigate-") else []
    # What was measured holds for the mean gradient only.
    return [] if bare == "smoothgrad" and params.get("statistic", "mean") != "mean" else found


def _bare(name: str) -> str:
    return name.rpartition(":")[2]
