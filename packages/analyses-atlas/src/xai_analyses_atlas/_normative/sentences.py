"""What to say of a person in plain words, and of which regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .percentiles import percent
from .words import ENGLISH, Words

__all__ = ["Finding", "Rule", "Sentence", "sentences_of"]


@dataclass(frozen=True)
class Finding:
    """One region of one person as an explainer sees it.

    Attributes:
        region: As the atlas calls it.
        structure: Its name without the side.
        hemisphere: ``L``, ``R`` or None.
        feature: Such as ``volume``.
        w: Mean over the models that tested the person.
        models: How many those are.
        controls: With whose relevance the person's is compared; 0: nobody, or the person has none.
        as_high: How many of them have as much or more; the most over several models.
        top: See ``Rank.top``; the largest over several models.
        covariates: What the expectation holds for, in words.
        outside: Where the model extrapolates, or None.
        explains: The output that the person's map explains.
        same: How many of the controls have a map that explains the same output; the fewest over several models.
    """

    region: str
    structure: str
    hemisphere: str | None
    feature: str
    w: float
    models: int
    controls: int
    as_high: int
    top: float
    covariates: tuple[str, ...]
    outside: str | None
    explains: str = ""
    same: int = 0


@dataclass(frozen=True)
class Rule:
    """When a region is worth a sentence.

    Attributes:
        top: Share of people, in (0, 1): relevance is unusual where ``Rank.top`` is not above it.
        deviation: A feature is unusual where |w| is not below it.
        when: Whether ``"both"`` must be, or ``"either"``.
        most: Regions named for one person.
    """

    top: float
    deviation: float
    when: Literal["both", "either"]
    most: int

    def judged(self, found: Finding) -> bool:
        """Return whether there are enough controls to call any relevance unusual."""
        return found.controls > 0 and 1 / (found.controls + 1) <= self.top

    def relevant(self, found: Finding) -> bool:
        """Return whether the region's relevance is unusual."""
        return self.judged(found) and found.top <= self.top

    def deviates(self, found: Finding) -> bool:
        """Return whether the region's feature is unusual."""
        return abs(found.w) >= self.deviation

    def chosen(self, found: Finding) -> bool:
        """Return whether the region is worth a sentence; where relevance cannot be judged, the feature decides."""
        if not self.judged(found):
            return self.deviates(found)
        pair = (self.relevant(found), self.deviates(found))
        return all(pair) if self.when == "both" else any(pair)


@dataclass(frozen=True)
class Sentence:
    """A text, and the region that it is about; None: about the person as a whole."""

    text: str
    about: Finding | None


def sentences_of(found: Sequence[Finding], rule: Rule, words: Words = ENGLISH) -> list[Sentence]:
    """Return at least one sentence for a person: the most unusual regions first, or that none stands out."""
    chosen = sorted((f for f in found if rule.chosen(f)), key=lambda f: (-abs(f.w), f.top, f.region, f.feature))
    if not chosen:
        return [Sentence(_nothing(found, rule, words), None)]
    sentences = [Sentence(_region(each, rule, words), each) for each in chosen[: rule.most]]
    rest = len(chosen) - len(sentences)
    more = words.one_more if rest == 1 else words.fill(words.more, regions=rest)
    return [*sentences, Sentence(more, None)] if rest else sentences


def _region(found: Finding, rule: Rule, words: Words) -> str:
    name = words.name(found.structure, found.hemisphere)
    outside = words.fill(words.outside, what=found.outside) if found.outside else ""
    averaged = words.fill(words.averaged, models=found.models) if found.models > 1 else ""
    return words.fill(
        words.region,
        region=name[:1].upper() + name[1:],
        relevance=_relevance(found, rule, words),
        feature=_feature(found, words),
        notes=averaged + _another(found, rule, words) + outside,
    )


def _relevance(found: Finding, rule: Rule, words: Words) -> str:
    if not rule.judged(found):
        return words.fill(words.unknown, why=_why(found, words))
    if not rule.relevant(found):
        return words.fill(words.usual, controls=found.controls)
    return words.fill(words.top, percent=percent(found.top), count=words.count(found.controls, found.as_high))


def _another(found: Finding, rule: Rule, words: Words) -> str:
    """Say it where the maps of most controls answer another question than the person's."""
    if not rule.judged(found) or not found.explains or 2 * found.same >= found.controls:
        return ""
    return words.fill(words.another, explains=found.explains, same=found.same, controls=found.controls)


def _why(found: Finding, words: Words) -> str:
    if not found.controls:
        return words.no_controls
    return words.fill(words.too_few, controls=found.controls, percent=percent(1 / (found.controls + 1)))


def _feature(found: Finding, words: Words) -> str:
    text = words.below if found.w < 0 else words.above
    if abs(found.w) < 0.05:
        text = words.expected
    given = words.fill(words.given, covariates=words.listed(list(found.covariates))) if found.covariates else ""
    return words.fill(text, feature=words.feature(found.feature), size=abs(found.w), given=given)


def _nothing(found: Sequence[Finding], rule: Rule, words: Words) -> str:
    features = words.either_joint.join(dict.fromkeys(words.feature(each.feature) for each in found))
    unjudged = [each for each in found if not rule.judged(each)]
    text = words.both if rule.when == "both" else words.either
    why = ""
    if len(unjudged) == len(found):
        text, why = words.blind, _why(min(unjudged, key=lambda each: each.controls), words)
    what = words.fill(text, percent=percent(rule.top), features=features, deviation=rule.deviation, why=why)
    return words.fill(words.nothing, regions=len({each.region for each in found}), rule=what)
