"""Where the relevance stays that does not reach the voxels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Entry", "Ledger"]


@dataclass
class Entry:
    """One layer's account; all sums are [N].

    Attributes:
        name: The user's name of the layer.
        rule: What divided its relevance.
        stayed: By cause (``bias``, ``epsilon``): relevance that no input got.
        output: Sum of the relevance of its output; only if layers' sums are asked for.
        input: The same of its inputs.
    """

    name: str
    rule: str
    stayed: dict[str, Tensor] = field(default_factory=dict)
    output: Tensor | None = None
    input: Tensor | None = None

    def add(self, cause: str, amount: Tensor) -> None:
        """Enter relevance [N] that stays in the layer."""
        self.stayed[cause] = self.stayed[cause] + amount if cause in self.stayed else amount


class Ledger:
    """All accounts of one propagation.

    Args:
        volumes: N.
        layers: Whether the sums of each layer are kept.
    """

    def __init__(self, volumes: int, layers: bool) -> None:
        self.layers = layers
        self.entries: list[Entry] = []
        self._volumes = volumes

    def open(self, name: str, rule: str) -> Entry:
        """Return a new account; they are opened from the volumes to the output."""
        entry = Entry(name, rule)
        self.entries.append(entry)
        return entry

    def is_by_volume(self) -> bool:
        """Whether every sum belongs to one volume: not so where slices or patches are stacked along the batch axis."""
        sums = [amount for entry in self.entries for amount in (*entry.stayed.values(), entry.output, entry.input)]
        return self._volumes == 1 or all(amount is None or len(amount) == self._volumes for amount in sums)

    def stayed(self, cause: str, index: int) -> float:
        """Return what stayed in all layers by one cause, of one volume."""
        return sum(self._of(entry.stayed[cause], index) for entry in self.entries if cause in entry.stayed)

    def of_layers(self, index: int) -> list[dict[str, Any]]:
        """Return one row for each layer, from the output to the volumes, of one volume."""
        rows = []
        for entry in reversed(self.entries):
            if entry.output is not None and entry.input is not None:
                row: dict[str, Any] = {"layer": entry.name, "rule": entry.rule}
                row |= {"relevance_out": self._of(entry.output, index), "relevance_in": self._of(entry.input, index)}
                rows.append(row | {cause: self._of(amount, index) for cause, amount in entry.stayed.items()})
        return rows

    def _of(self, sums: Tensor, index: int) -> float:
        return float((sums if self._volumes == 1 else sums[index]).double().sum())
