"""Figures of this package: each function returns a matplotlib ``Figure``, and ``save`` writes it with its caption.

Heavy (matplotlib, nilearn): import it inside of a method. Colours keep apart for people who are colour blind
(Okabe-Ito for groups, ColorBrewer's RdBu for signed values), groups also differ in marker or hatching, and the same
input gives the same bytes, whatever the user's own matplotlib settings are.
"""

from __future__ import annotations

from ._bars import bars
from ._glass import glass_brain
from ._linear import LinearFit, linear_fit
from ._matrix import matrix
from ._scatter import scatter
from ._style import GROUP_COLOURS, caption_text, save, unique_stem
from ._surface import surface, surface_values

__all__ = [
    "GROUP_COLOURS", "LinearFit", "bars", "caption_text", "glass_brain", "linear_fit", "matrix", "save", "scatter",
    "surface", "surface_values", "unique_stem",
]  # fmt: skip
