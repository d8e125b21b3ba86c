"""What a contrast is, in words: the test, and what speaks against reading too much into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .normalise import MEANING

if TYPE_CHECKING:
    from ..group_contrasts import GroupContrasts
    from .analysis import Outcome

__all__ = ["cautions", "family_text", "n_text", "test_text", "threshold_text", "voxel_counts"]

_FEW = 10
_NEARLY_ALIKE = 0.1  # of the maps would have to explain another output


def n_text(outcome: Outcome) -> str:
    """Return how many people there are, such as ``40 people (AD 18, CN 22)``."""
    sample, contrast = outcome.sample, outcome.contrast
    if sample is None:
        return "0 people"
    total = len(sample.people)
    if sample.design != "groups":
        return f"{total} people"
    return f"{total} people ({contrast.first} {sample.first}, {contrast.second} {total - sample.first})"


def test_text(outcome: Outcome, options: GroupContrasts) -> str:
    """Return the test, its covariates and the correction."""
    sample, model = outcome.sample, outcome.model
    if sample is None or model is None:
        return "no test"
    kinds = {"groups": "two groups", "paired": "paired", "zero": "mean against zero", "slope": "slope"}
    parts = [f"{model.name} ({kinds[sample.design]}, {'two' if options.two_sided else 'one'}-sided)"]
    covariates = [name for name in sample.names if name != "intercept"]
    if covariates:
        parts.append(f"covariates {', '.join(covariates)}")
    if outcome.plan is not None:
        drawn = len(outcome.plan)
        what = "sign flips" if outcome.plan.kind == "signs" else "permutations"
        how = f"all {drawn} {what}" if outcome.plan.exhaustive else f"{drawn - 1} random {what}"
        statistic = "largest TFCE value" if options.inference == "tfce" else "largest t"
        parts.append(f"family-wise error by the {statistic} of {how}")
    return ", ".join(parts)


def threshold_text(options: GroupContrasts) -> str:
    """Return what makes a voxel count."""
    sided = "|t|" if options.two_sided else "t"
    return {
        "fwe": f"p of at most {options.level:g}, corrected for family-wise error",
        "fdr": f"p of at most {options.level:g}, corrected for the false discovery rate (Benjamini-Hochberg)",
        "p": f"p of at most {options.level:g}, not corrected",
        "t": f"{sided} of {options.level:g} or more, not corrected",
        "top": f"the top {options.level:g} percent of {sided}, no test",
    }[options.threshold]


def family_text(outcome: Outcome, contrasts: int) -> str:
    """Return over what errors are corrected, and over what they are not.

    Args:
        outcome: Of a contrast of an explainer.
        contrasts: How many of those the analysis has.
    """
    voxels = 0 if outcome.found is None else int(outcome.found.tested.sum())
    text = f"the {voxels} voxels of this contrast of {outcome.explainer}"
    return text if contrasts == 1 else f"{text}, not the {contrasts} contrasts of the analysis"


def voxel_counts(outcome: Outcome) -> dict[str, int]:
    """Return how many voxels are tested, constant, and above the threshold on each side."""
    found, significance = outcome.found, outcome.significance
    if found is None or significance is None:
        return {}
    return {
        "voxels": int(found.tested.sum()),
        "constant_voxels": int((~found.tested & ~found.separated).sum()),
        "separated_voxels": int(found.separated.sum()),
        "above_positive": int((significance.counts & (found.t > 0)).sum()),
        "above_negative": int((significance.counts & (found.t < 0)).sum()),
    }


def cautions(outcome: Outcome, options: GroupContrasts, explained: tuple[dict[str, int], dict[str, int]]) -> list[str]:
    """Return what a reader must know before the maps are believed."""
    contrast, sample = outcome.contrast, outcome.sample
    if sample is None:
        return []
    found = list(sample.notes)
    if contrast.spec.kind == "folds":
        found.append(
            "Descriptive: another fold is another network as well as other people, and nothing tells the two apart"
            if sample.design == "groups"
            else "Two networks explain the same people; p speaks of these people given these two networks"
        )
    elif len({fold for scans in (*sample.plus, *sample.minus) for _, fold in scans}) > 1:
        found.append(
            "Maps of several folds' networks are taken for independent, although the networks share training people"
        )
    if contrast.by == "correct" or "correct" in contrast.spec.among:
        found.append(
            "People who are predicted wrongly differ from the others in their class and in the output that is explained"
        )
    if sample.design == "zero" and outcome.found is not None and not outcome.negative:
        found.append("No map has a value below zero, so a mean above zero says nothing")
    found += _separated(outcome)
    if contrast.explainers is not None and options.normalise == "none":
        found.append("Explainers have scales of their own: without normalisation their difference has no meaning")
    if contrast.explainers is None and _differ(*explained):
        sides = " against ".join(", ".join(f"{name} {n}" for name, n in side.items()) for side in explained)
        advice = "" if contrast.by == "prediction" else "; with among: prediction they answer one"
        found.append(f"The two sides explain different outputs ({sides}): the maps answer different questions{advice}")
    if options.threshold in ("p", "fdr") and _smallest(outcome) < _FEW:
        found.append(
            f"p values of the t distribution are rough for relevance maps of few people ({n_text(outcome)}); those of "
            "the permutation test (fwe) are not"
        )
    if outcome.plan is not None and options.threshold == "fwe" and outcome.plan.least_p > options.level:
        found.append(
            f"No p value below {outcome.plan.least_p:.3g} is possible with {n_text(outcome)}: nothing can be found "
            f"at {options.level:g}"
        )
    return found


def _separated(outcome: Outcome) -> list[str]:
    number = 0 if outcome.found is None else int(outcome.found.separated.sum())
    why = {
        "groups": "all of a group are alike there, but the groups differ",
        "paired": "everybody has the same difference there",
        "zero": "everybody has the same value there",
        "slope": "everybody lies on the line there",
    }
    design = None if outcome.sample is None else outcome.sample.design
    return [f"{number} voxels are not tested, because {why[design]}: no t exists"] if number and design else []


def _smallest(outcome: Outcome) -> int:
    """Return how many people the smaller group has."""
    sample = outcome.sample
    if sample is None:
        return 0
    total = len(sample.people)
    return min(sample.first, total - sample.first) if sample.design == "groups" else total


def _differ(first: dict[str, int], second: dict[str, int]) -> bool:
    """Return whether two sides explain their outputs in other shares."""
    if not first or not second:
        return False
    totals = sum(first.values()), sum(second.values())
    names = {*first, *second}
    distance = sum(abs(first.get(name, 0) / totals[0] - second.get(name, 0) / totals[1]) for name in names) / 2
    return distance > _NEARLY_ALIKE


def meaning_of_values(options: GroupContrasts) -> str:
    """Return what the maps' values are before people are compared."""
    meaning: Any = MEANING[options.normalise]
    return str(meaning)
