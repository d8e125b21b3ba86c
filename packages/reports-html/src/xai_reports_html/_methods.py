"""What the maps of each explainer mean, and what is known of its limits. The words are in ``texts``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._texts import plain

__all__ = ["Limit", "has_no_sign", "known_limits", "meaning"]

Params = Mapping[str, Any]


class Limit(NamedTuple):
    """A remark for the reader, and the short name of the paper that shows it (None: follows from the method)."""

    key: str
    paper: str | None

    @property
    def text(self) -> str:
        """The remark."""
        return plain(f"limit.{self.key}")


_COARSE = Limit("coarse", None)
_BASELINE = Limit("baseline", "Sturmfels 2020")
_UNSEEN = Limit("unseen", "Hooker 2019")
_EDGES = Limit("edges", "Adebayo 2018")
_SCATTER = Limit("scatter", "Smilkov 2017")
_ZPLUS = Limit("zplus", "Sixt 2020")
_ORIGINAL = Limit("innvestigate", None)
_LIMITS: Mapping[str, tuple[Limit, ...]] = {
    "lrp": (Limit("siegel_lrp", "Siegel 2025"),),
    "gradcam": (_COARSE, Limit("siegel_gradcam", "Siegel 2025")),
    "gradcam-plus-plus": (_COARSE,),
    "layer-cam": (_COARSE,),
    "guided-gradcam": (_EDGES, _COARSE),
    "guided-backpropagation": (_EDGES, Limit("restores_too", "Nie 2018")),
    "deconvolution": (Limit("restores", "Nie 2018"), Limit("late_layers", "Sixt 2020")),
    "gradient": (_SCATTER,),
    "saliency": (_SCATTER,),
    "input-x-gradient": (_SCATTER,),
    "smoothgrad": (Limit("siegel_smoothgrad", "Siegel 2025"),),
    "integrated-gradients": (_BASELINE,),
    "gradient-shap": (_BASELINE,),
    "deeplift": (_BASELINE,),
    "occlusion": (_BASELINE, _UNSEEN),
    "feature-ablation": (_BASELINE, _UNSEEN),
}


def _of_lrp(params: Params) -> str:
    if params.get("contrast") is not None:
        return "contrast"
    return "for" if params.get("reference") is None else "reference"


def _of_smoothgrad(params: Params) -> str:
    if params.get("statistic") == "variance":
        return "variance"
    if params.get("statistic") == "mean-square" or params.get("of", "saliency") == "saliency":
        return "strength"
    return "for" if params.get("of") == "input-x-gradient" else "slope"


def _always(key: str) -> Callable[[Params], str]:
    return lambda _: key


_MEANINGS: Mapping[str, Callable[[Params], str]] = {
    "lrp": _of_lrp,
    "smoothgrad": _of_smoothgrad,
    "saliency": lambda params: "strength" if params.get("absolute", True) else "slope",
    "input-x-gradient": _always("for"),
    **dict.fromkeys(("gradcam", "gradcam-plus-plus", "layer-cam"), _always("cam")),
    **dict.fromkeys(("guided-gradcam", "guided-backpropagation", "deconvolution", "gradient"), _always("slope")),
    **dict.fromkeys(("integrated-gradients", "gradient-shap", "deeplift"), _always("compared")),
    **dict.fromkeys(("occlusion", "feature-ablation"), _always("replaced")),
}


def _meaning(name: str, params: Params) -> str:
    known = _MEANINGS.get(_bare(name))
    return "unknown" if known is None else known(params)


def meaning(name: str, params: Params) -> str:
    """Return what colour and sign say in the maps of an explainer, as a sentence.

    Args:
        name: Registry name, qualified by the package or not.
        params: As in the resolved configuration; what an older run does not hold has its default.
    """
    return plain(f"meaning.{_meaning(name, params)}", reference=f"{params.get('reference') or 0:g}")


def has_no_sign(name: str, params: Params) -> bool:
    """Whether an explainer gives a magnitude: never below zero, and without a word for or against the output."""
    return _meaning(name, params) in ("strength", "variance")


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
