"""Left and right: by a region's name, or by where it lies."""

from __future__ import annotations

import re
from typing import Literal

__all__ = ["Hemisphere", "split_side"]

Hemisphere = Literal["L", "R"]

_SIDES: dict[str, Hemisphere] = {"left": "L", "lh": "L", "l": "L", "right": "R", "rh": "R", "r": "R"}
# FreeSurfer's parcels: ctx-lh-precuneus, wm-rh-insula, ctx_lh_G_cuneus.
_BEFORE_A_SIDE = {"ctx", "wm"}


def split_side(name: str) -> tuple[Hemisphere | None, str]:
    """Return the hemisphere that a region's name says, and the name without it.

    Understood are ``left``, ``right``, ``lh``, ``rh``, ``l`` and ``r`` in any case, as the first or the last word, or
    after ``ctx`` or ``wm``: ``Left-Hippocampus``, ``ctx-lh-insula``, ``Precentral_R``, ``G_Frontal_Sup-1-L``.
    """
    words = re.findall(r"[A-Za-z0-9]+|[^A-Za-z0-9]+", name)
    places = [place for place, word in enumerate(words) if word.isalnum()]
    if len(places) < 2:
        return None, name
    second = [places[1]] if words[places[0]].lower() in _BEFORE_A_SIDE else []
    for place in (places[0], *second, places[-1]):
        side = _SIDES.get(words[place].lower())
        if side is not None:
            return side, _without(words, place)
    return None, name


def _without(words: list[str], place: int) -> str:
    """Join words but one and one separator beside it: the one before it, or after it where it is the first word."""
    leads = any(word.isalnum() for word in words[:place])
    start, end = (place - 1, place + 1) if leads else (place, place + 2)
    return "".join(words[:start] + words[end:]).strip(" -_.,;:()[]{}/")
