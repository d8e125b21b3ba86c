"""The canonical form of a network: what explainers that have a rule for each layer work on.

``canonical_form(model, volumes)`` returns a copy in which every operation with a rule is a module of its own that is
called once, nothing works in place, dropout is gone and batch normalisation is part of the layer before it where one
is; it computes what the network computes, which is checked. Operations that it cannot follow are refused by name.
The user's network is neither changed nor kept.
"""

from __future__ import annotations

from .canonize import Canonical
from .form import canonical_form
from .operations import Part

__all__ = ["Canonical", "Part", "canonical_form"]
