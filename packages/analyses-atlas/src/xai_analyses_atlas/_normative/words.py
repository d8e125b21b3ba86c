"""Every text of the sentences, in one place: another language is another ``Words``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["ENGLISH", "EVERYBODY", "Words"]

_FEATURES = {
    "thickness": "cortical thickness", "volume": "volume", "gray_volume": "grey-matter volume", "area": "surface area",
    "curvature": "curvature", "fa": "FA", "md": "MD",
}  # fmt: skip


@dataclass(frozen=True)
class Words:
    """Texts with gaps; the names in braces are filled by ``sentences``."""

    who: str = "controls"
    sides: dict[str, str] = field(default_factory=lambda: {"L": "left", "R": "right"})
    features: dict[str, str] = field(default_factory=lambda: dict(_FEATURES))
    region: str = "{region}: {relevance}, {feature}{notes}."
    top: str = "relevance in the top {percent} % of {who} ({count})"
    usual: str = "relevance not unusual among {controls} {who}"
    unknown: str = "relevance not judged ({why})"
    too_few: str = "{controls} {who} cannot show less than the top {percent} %"
    no_controls: str = "nobody was tested to compare with"
    none_as_high: str = "none of {controls} has as much"
    some_as_high: str = "{as_high} of {controls} {verb} as much or more"
    below: str = "{feature} {size:.1f} SD below expected{given}"
    above: str = "{feature} {size:.1f} SD above expected{given}"
    expected: str = "{feature} as expected{given}"
    given: str = " for {covariates}"
    own: str = "the person's {name}"
    joined: tuple[str, str] = (", ", " and ")
    outside: str = " (outside of the range of the model: {what})"
    averaged: str = " (mean of {models} models)"
    another: str = " (the map explains {explains}, as those of only {same} of these {controls} {who} do)"
    nothing: str = "No region stands out: none of {regions} regions has {rule}."
    both: str = (
        "relevance in the top {percent} % of {who} together with {features} {deviation:g} SD or more from expected"
    )
    either: str = "relevance in the top {percent} % of {who} or {features} {deviation:g} SD or more from expected"
    blind: str = "{features} {deviation:g} SD or more from expected; relevance was not judged: {why}"
    one_more: str = "One more region stands out; it is in scores.tsv."
    more: str = "{regions} more regions stand out; they are in scores.tsv."
    either_joint: str = " or "

    def fill(self, text: str, **values: object) -> str:
        """Return one of the texts with its gaps filled."""
        return text.format(who=self.who, **values)

    def count(self, controls: int, as_high: int) -> str:
        """Return how many controls have as much relevance."""
        if not as_high:
            return self.fill(self.none_as_high, controls=controls)
        return self.fill(self.some_as_high, as_high=as_high, controls=controls, verb="has" if as_high == 1 else "have")

    def name(self, structure: str, hemisphere: str | None) -> str:
        """Return a region as it is written in a text: the side first, no underscores, no capital but in acronyms."""
        plain = re.sub(r"[_\s]+", " ", structure.removeprefix("ctx-").removeprefix("ctx_")).strip()  # FreeSurfer
        plain = " ".join(word.lower() if word.istitle() else word for word in plain.split(" "))
        side = self.sides.get(hemisphere or "")
        return f"{side} {plain}" if side else plain

    def feature(self, name: str) -> str:
        """Return a feature as it is written in a text."""
        return self.features.get(name.lower(), name.replace("_", " "))

    def listed(self, items: list[str]) -> str:
        """Return items with commas and a last "and"."""
        comma, last = self.joined
        return last.join([comma.join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


ENGLISH = Words()
EVERYBODY = Words(who="people")
"""Of a regression, in which everybody is a control."""
