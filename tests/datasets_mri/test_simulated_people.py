"""Who the simulated people are: balance, overlap of the groups, confounding, independence of the parameters."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from xai_datasets_mri._simulation_person import Cohort, Person, draw_person

PLAIN = Cohort(("CN", "MCI", "AD"), 4.0, 1.0, "none", 0)


@cache
def people(cohort: Cohort) -> list[Person]:
    return [draw_person(cohort, index) for index in range(450)]


def of(cohort: Cohort, group: str) -> list[Person]:
    return [person for person in people(cohort) if person.diagnosis == group]


def age_auc(cohort: Cohort) -> float:
    pair = of(cohort, "CN") + of(cohort, "AD")
    return float(roc_auc_score([p.diagnosis == "AD" for p in pair], [p.age for p in pair]))


def share_of_scanner_c(cohort: Cohort, group: str) -> float:
    return float(np.mean([person.site == "scanner-c" for person in of(cohort, group)]))


def test_groups_are_balanced_for_any_number() -> None:
    drawn = [person.diagnosis for person in people(PLAIN)]
    for count in (3, 30, 450):
        assert {drawn[:count].count(group) for group in PLAIN.groups} == {count // 3}
    assert drawn[:9] != drawn[:3] * 3  # and not in a fixed order


def test_severity_rises_with_the_diagnosis_and_overlaps() -> None:
    cn, mci, ad = (np.array([p.severity for p in of(PLAIN, group)]) for group in PLAIN.groups)
    assert cn.mean() < 0.15 < mci.mean() < 0.45 < ad.mean()
    assert ad.min() < np.quantile(cn, 0.95)
    auc = roc_auc_score([0] * len(cn) + [1] * len(ad), [*cn, *ad])
    assert 0.95 < auc < 0.99
    assert (cn == 0).mean() > 0.2


def test_ages_cover_the_range_and_widen_fluid() -> None:
    ages = np.array([p.age for p in people(PLAIN)])
    assert 55 <= ages.min() < 57
    assert 88 < ages.max() <= 90
    for widening in ("ventricle_widening", "sulcus_widening"):
        values = np.array([getattr(p, widening) for p in people(PLAIN)])
        assert values.min() >= 0
        assert 0.85 < np.corrcoef(ages, values)[0, 1] < 0.99


def test_nothing_goes_along_with_the_diagnosis_by_default() -> None:
    assert age_auc(PLAIN) == pytest.approx(0.5, abs=0.08)
    for group in ("CN", "AD"):
        assert share_of_scanner_c(PLAIN, group) == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("confounding", ["age", "scanner", "both"])
def test_confounders_can_be_switched_on(confounding: str) -> None:
    cohort = replace(PLAIN, confounding=confounding)
    # P(u1^(1/2) > u2^2) of two uniform numbers is 1 - 1/5.
    assert age_auc(cohort) == pytest.approx(0.5 if confounding == "scanner" else 0.8, abs=0.08)
    expected = (1 / 3, 1 / 3) if confounding == "age" else (0.1, 0.7)
    for group, share in zip(("CN", "AD"), expected, strict=True):
        assert share_of_scanner_c(cohort, group) == pytest.approx(share, abs=0.1)


@pytest.mark.parametrize("change", [{"severity": 0.0}, {"confounding": "both"}, {"resolution": 2.0}])
def test_a_parameter_changes_only_what_it_is_about(change: dict[str, object]) -> None:
    number = next(index for index in range(450) if people(PLAIN)[index].diagnosis == "AD")
    before, after = draw_person(PLAIN, number), draw_person(replace(PLAIN, **change), number)  # type: ignore[arg-type]
    assert np.array_equal(before.linear, after.linear)
    for (_, one), (_, other) in zip(before.deformation, after.deformation, strict=True):
        assert np.array_equal(one, other)
    assert before.diagnosis == after.diagnosis
    assert (before.severity == after.severity) == ("severity" not in change)
    assert (before.age == after.age) == ("confounding" not in change)


def test_people_differ() -> None:
    first, second = people(PLAIN)[:2]
    assert not np.array_equal(first.linear, second.linear)
    assert not np.array_equal(first.deformation[0][1], second.deformation[0][1])


def test_shape_variation_scales_how_people_differ() -> None:
    before, after = people(PLAIN)[7], draw_person(replace(PLAIN, shape_variation=0.25), 7)
    assert np.allclose(after.linear - np.eye(3), 0.25 * (before.linear - np.eye(3)))
    assert np.allclose(after.shift, 0.25 * before.shift)
    for (_, one), (_, other) in zip(before.deformation, after.deformation, strict=True):
        assert np.allclose(other, 0.25 * one)
    same = ("age", "sex", "site", "severity", "ventricle_widening", "sulcus_widening")
    assert all(getattr(before, name) == getattr(after, name) for name in same)


def test_men_have_larger_heads() -> None:
    volumes = {sex: np.mean([1 / np.linalg.det(p.linear) for p in people(PLAIN) if p.sex == sex]) for sex in ("F", "M")}
    assert volumes["M"] / volumes["F"] == pytest.approx(1.09, abs=0.03)
