"""Where the relevance of one volume stays that does not reach its voxels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Entry", "Ledger"]


@dataclass
class Entry:
    """One layer's account.

    Attributes:
        name: The user's name of the layer.
        rule: What divided its relevance.
        stayed: By cause: relevance that no input got, 0-d. ``bias``, ``epsilon``, and ``lost``: that of outputs without
            any contribution of the sign that the rule asks for.
        sums: Whether the following sums are asked for, and what is lost.
        output: Sum of the relevance of its output, 0-d; only if layers' sums are asked for.
        input: The same of its inputs.
    """

    name: str
    rule: str
    sums: bool = False
    stayed: dict[str, Tensor] = field(default_factory=dict)
    output: Tensor | None = None
    input: Tensor | None = None

    def add(self, cause: str, amount: Tensor) -> None:
        """Enter relevance that stays in the layer, 0-d."""
        self.stayed[cause] = self.stayed[cause] + amount if cause in self.stayed else amount


class Ledger:
    """All accounts of one propagation.

    Args:
        layers: Whether the sums of each layer are kept.
    """

    def __init__(self, layers: bool) -> None:
        self.layers = layers
        self.entries: list[Entry] = []

    def open(self, name: str, rule: str) -> Entry:
        """Return a new account; they are opened from the volume to the output."""
        entry = Entry(name, rule, self.layers)
        self.entries.append(entry)
        return entry

    def stayed(self, cause: str) -> float:
        """Return what stayed in all layers by one cause."""
        return sum(float(entry.stayed[cause].double()) for entry in self.entries if cause in entry.stayed)

    def of_layers(self) -> list[dict[str, Any]]:
        """Return one row for each layer, from the output to the volume."""
        rows = []
        for entry in reversed(self.entries):
            if entry.output is not None and entry.input is not None:
                row: dict[str, Any] = {"layer": entry.name, "rule": entry.rule}
                row |= {"relevance_out": float(entry.output), "relevance_in": float(entry.input)}
                rows.append(row | {cause: float(amount) for cause, amount in entry.stayed.items()})
        return rows
