"""Sites made alike: against ComBat written out plainly, against neuroCombat where it is installed, and its errors."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
import torchio as tio

from xai_core import ConfigError, Fold, InputError, registry
from xai_core.engine.spatial import check_geometry
from xai_core.testing import TransformConformance
from xai_datasets_mri import _voxelwise
from xai_datasets_mri.harmonize import Harmonize

Floats = npt.NDArray[np.float64]

SHAPE = (1, 6, 5, 4)
SITES = ("a", "b", "c")
COUNTS = (14, 9, 12)


def people() -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    found = []
    for number, site in enumerate(np.repeat(SITES, COUNTS)):
        about = {
            "age": float(rng.uniform(55, 90)),
            "sex": "FM"[rng.integers(2)],
            "target": "AD" if number % 2 else "CN",
        }
        found.append({"subject_id": f"{number:02d}", "site": str(site), **about})
    return found


PEOPLE = people()


def study() -> list[tio.Subject]:
    rng = np.random.default_rng(1)
    size = int(np.prod(SHAPE))
    shift, spread = rng.normal(0, 2, (3, size)), rng.uniform(0.5, 2.0, (3, size))
    slope = rng.normal(0, 0.1, size)
    subjects = []
    for about in PEOPLE:
        site = SITES.index(about["site"])
        values = 50 + slope * about["age"] + shift[site] + spread[site] * rng.normal(0, 1, size)
        values[: size // 6] = 3.0  # background
        image = tio.ScalarImage(tensor=torch.from_numpy(values.reshape(SHAPE).astype(np.float32)))
        subjects.append(tio.Subject(image=image, **about))
    return subjects


def voxels(subjects: Sequence[tio.Subject]) -> Floats:
    return np.stack([cast(tio.ScalarImage, s["image"]).data.numpy().ravel() for s in subjects]).astype(np.float64)


def fitted(subjects: Sequence[tio.Subject], **params: Any) -> Any:
    transform: Any = Harmonize(**params).build()
    transform.fit(subjects)
    return transform


def covariates(rows: Sequence[Mapping[str, Any]]) -> Floats:
    return np.array([[row["age"], float(row["sex"] == "M")] for row in rows])


def plain_combat(values: Floats, mod: Floats, *, shrink: bool, scale: bool) -> Floats:
    """ComBat of [people, voxels] as the paper of 2007 writes it, one voxel and one site after the other."""
    site = np.array([SITES.index(about["site"]) for about in PEOPLE])
    design = np.column_stack([site == 0, site == 1, site == 2, mod]).astype(float)
    n = np.bincount(site)
    beta = np.linalg.lstsq(design, values, rcond=None)[0]
    alpha = n @ beta[:3] / n.sum()
    expected = alpha + mod @ beta[3:]
    sigma = np.sqrt(((values - design @ beta) ** 2).mean(axis=0))
    z = (values - expected) / sigma
    result = np.empty_like(values)
    for number in range(3):
        own = z[site == number]
        gamma_hat, delta_hat = own.mean(axis=0), own.var(axis=0, ddof=1)
        gamma, delta = gamma_hat.copy(), delta_hat.copy()
        if shrink:
            bar, tau2 = gamma_hat.mean(), gamma_hat.var(ddof=1)
            mean, var = delta_hat.mean(), delta_hat.var(ddof=1)
            lam, theta = mean**2 / var + 2, mean**3 / var + mean  # inverse gamma of this mean and variance
            for voxel in range(values.shape[1]):
                if not scale:
                    gamma[voxel] = (tau2 * gamma_hat[voxel] + bar) / (tau2 + 1)
                    continue
                for _ in range(100):
                    weight = n[number] * tau2
                    gamma[voxel] = (weight * gamma_hat[voxel] + delta[voxel] * bar) / (weight + delta[voxel])
                    squares = ((own[:, voxel] - gamma[voxel]) ** 2).sum()
                    delta[voxel] = (theta + squares / 2) / (n[number] / 2 + lam - 1)
        if not scale:
            delta[:] = 1.0
        result[site == number] = sigma * (own - gamma) / np.sqrt(delta) + expected[site == number]
    return result


@pytest.mark.parametrize(("shrink", "scale"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("preserve", [[], ["age", "sex"]])
def test_like_the_formula(shrink: bool, scale: bool, preserve: list[str]) -> None:
    subjects = study()
    values = voxels(subjects)
    varies = (values != values[0]).any(axis=0)
    mod = covariates(PEOPLE) if preserve else np.empty((len(PEOPLE), 0))
    expected = values.copy()
    expected[:, varies] = plain_combat(values[:, varies], mod, shrink=shrink, scale=scale)
    transform = fitted(subjects, preserve=preserve, empirical_bayes=shrink, scale=scale)
    found = voxels([transform(s) for s in subjects])
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-6
    assert np.abs(expected - values).max() > 1  # there was something to do


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [({}, {}), ({"eb": False}, {"empirical_bayes": False}), ({"mean_only": True}, {"scale": False})],
)
def test_like_neurocombat(theirs: dict[str, Any], ours: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    combat = pytest.importorskip("neuroCombat").neuroCombat
    source = sys.modules[combat.__module__]
    subjects = study()
    values = voxels(subjects)
    varies = (values != values[0]).any(axis=0)
    table = pd.DataFrame(PEOPLE)[["site", "age", "sex"]]
    # It ends when no estimate moves by more than 1e-4, and this package at 1e-8.
    monkeypatch.setattr(source.it_sol, "__defaults__", (1e-12,))
    expected = combat(values[:, varies].T, table, "site", ["sex"], ["age"], **theirs)["data"].T
    transform = fitted(subjects, preserve=["age", "sex"], **ours)
    found = voxels([transform(s) for s in subjects])[:, varies]
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-6


def test_sites_are_alike_and_the_effect_of_age_stays() -> None:
    subjects = study()
    found = voxels([fitted(subjects, preserve=["age"], empirical_bayes=False)(s) for s in subjects])
    before = voxels(subjects)
    varies = (before != before[0]).any(axis=0)
    site = np.array([about["site"] for about in PEOPLE])
    age = np.array([about["age"] for about in PEOPLE])

    def model(values: Floats) -> tuple[Floats, Floats]:
        design = np.column_stack([site == name for name in SITES] + [age]).astype(float)
        beta = np.linalg.lstsq(design, values[:, varies], rcond=None)[0]
        return beta[:3], beta[3]

    means, slope = model(found)
    assert np.ptp(means, axis=0).max() < 0.05 * np.ptp(model(before)[0], axis=0).mean()
    # Spreads are taken from the residuals, so that the slope is weighted differently, but not changed in the mean.
    assert np.corrcoef(slope, model(before)[1])[0, 1] > 0.95


def test_people_who_are_new_are_treated_like_those_of_the_fit() -> None:
    subjects = study()
    transform = fitted(subjects, preserve=["age"])
    twin = tio.Subject({**subjects[3], "subject_id": "new", "target": "?"})
    assert torch.equal(transform(twin)["image"].data, transform(subjects[3])["image"].data)
    older = tio.Subject({**subjects[3], "age": PEOPLE[3]["age"] + 10})
    assert not torch.equal(transform(older)["image"].data, transform(subjects[3])["image"].data)


def test_background_blocks_and_other_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = study()
    transform = fitted(subjects)
    scan = tio.Subject({**subjects[0], "fa": tio.ScalarImage(tensor=torch.ones(SHAPE))})
    after = transform(scan)
    assert bool((after["image"].data.flatten()[: int(np.prod(SHAPE)) // 6] == 3).all())
    assert torch.equal(after["fa"].data, scan["fa"].data)
    check_geometry(scan, transform)
    monkeypatch.setattr(_voxelwise, "BLOCK", 11)
    assert torch.equal(fitted(subjects)(scan)["image"].data, after["image"].data)


def test_others_than_those_of_the_fit_do_not_matter() -> None:
    subjects = study()
    for subject in subjects:
        if subject["target"] == "AD":
            subject["image"].set_data(torch.full(SHAPE, 1e9))
            subject["age"] = 1e9
    one = fitted(subjects, fit_on="controls", preserve=["age"]).state_dict()
    other = fitted(study(), fit_on="controls", preserve=["age"]).state_dict()
    for name in ("mask", "mean", "slopes", "shift", "spread"):
        assert torch.equal(one[name], other[name])


def test_what_was_learnt_is_saved() -> None:
    transform = fitted(study(), preserve=["age", "sex"])
    stream = io.BytesIO()
    torch.save(transform.state_dict(), stream)
    stream.seek(0)
    other: Any = Harmonize(preserve=["age", "sex"]).build()
    with pytest.raises(InputError, match="call fit"):
        other(study()[0])
    other.load_state_dict(torch.load(stream, weights_only=True))
    for scan in study()[::8]:
        assert torch.equal(transform(scan)["image"].data, other(scan)["image"].data)


def test_an_unknown_site_is_refused_or_left_alone() -> None:
    scan = study()[0]
    scan["site"] = "d"
    with pytest.raises(InputError, match=r"site is 'd', which nobody has .*\(a, b, c\)"):
        fitted(study())(scan)
    left = fitted(study(), unknown="leave")(scan)
    assert torch.equal(left["image"].data, study()[0]["image"].data)


def test_what_a_scan_lacks_is_told() -> None:
    transform = fitted(study(), preserve=["age"])
    scan = study()[0]
    scan["site"] = None
    with pytest.raises(InputError, match=r"site is not known .*--covariate site=\.\.\. \(known: a, b, c\)"):
        transform(scan)
    scan["site"], scan["age"] = "a", None
    with pytest.raises(InputError, match=r"--covariate age="):
        transform(scan)


def change(**values: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda about: {**about, **values}


@pytest.mark.parametrize(
    ("changed", "params", "message"),
    [
        (change(site="a"), {}, r"all 35 people are of one site \(a\)"),
        (lambda p: {**p, "site": "d" if p["subject_id"] == "00" else p["site"]}, {}, "site d has a single person"),
        (lambda p: {**p, "field": {"a": 1.5}.get(p["site"], 3.0)}, {"preserve": ["field"]}, "follows from"),
        (change(sex="F"), {"preserve": ["sex"]}, "sex is the same for all 35 people"),
        (lambda p: {**p, "site": None if p["subject_id"] == "01" else p["site"]}, {}, "of the people have no site"),
        (lambda p: {**p, "age": None if p["subject_id"] == "01" else 70.0}, {"preserve": ["age"]}, "lack a covariate"),
    ],
)  # fmt: skip
def test_what_cannot_be_harmonised(changed: Any, params: dict[str, Any], message: str) -> None:
    subjects = [tio.Subject({**s, **changed(about)}) for s, about in zip(study(), PEOPLE, strict=True)]
    with pytest.raises(InputError, match=message):
        fitted(subjects, **params)


def test_wrong_parameters() -> None:
    with pytest.raises(ConfigError, match="target is no covariate"):
        Harmonize(preserve=["target"])
    with pytest.raises(ConfigError, match="site is the site"):
        Harmonize(preserve=["site"])


def check(rows: Sequence[Mapping[str, Any]], test: Sequence[int], **params: Any) -> None:
    ids = [about["subject_id"] for about in PEOPLE]
    fold = Fold(tuple(p for i, p in enumerate(ids) if i not in test), (), tuple(ids[i] for i in test))
    Harmonize(**params).check_study(pd.DataFrame(rows), [fold], ("CN", "AD"))


def test_a_study_is_checked_before_anything_is_read() -> None:
    check(PEOPLE, range(0, 35, 5), preserve=["age"])
    last = range(sum(COUNTS[:2]), sum(COUNTS))
    with pytest.raises(InputError, match=r"harmonize: fold 0: site is 'c', which nobody.*23, 24, .*34"):
        check(PEOPLE, last)
    check(PEOPLE, last, unknown="leave")
    with pytest.raises(InputError, match=r"fold 0: site c has a single person among the people"):
        check(PEOPLE, last[:-1])
    gaps = [{**p, "site": None if p["subject_id"] == "03" else p["site"]} for p in PEOPLE]
    gaps = [{**p, "age": None if p["subject_id"] == "05" else p["age"]} for p in gaps]
    with pytest.raises(InputError, match=r"site: 03; age: 05"):
        check(gaps, [0], preserve=["age"])
    with pytest.raises(InputError, match=r"site gives the class away \(a: CN, b: AD\)"):
        check([{**p, "site": "b" if p["target"] == "AD" else "a"} for p in PEOPLE], [0])


def test_a_site_that_controls_would_write_into_the_scans_is_told(caplog: pytest.LogCaptureFixture) -> None:
    check(PEOPLE, [0], fit_on="controls")
    assert not caplog.text
    mixed = [{**p, "site": "ab"[number % 7 < 3]} for number, p in enumerate(PEOPLE)]
    rows = [{**p, "target": "AD" if (p["site"] == "a") == (number % 5 > 0) else "CN"} for number, p in enumerate(mixed)]
    check(rows, [0], fit_on="all")
    assert not caplog.text
    check(rows, [0], fit_on="controls")
    site, ill = (
        np.array([row[name] == value for row in rows[1:]]) for name, value in (("site", "a"), ("target", "AD"))
    )
    share = 100 * (1 - (1 - np.corrcoef(site, ill)[0, 1] ** 2) * 33 / 32)
    assert f"harmonize: what it removes tells {share:.0f} %" in caplog.text


class TestConformance(TransformConformance):
    name = "harmonize"
    params: ClassVar[Mapping[str, Any]] = {"preserve": ["age"]}

    def subject(self) -> tio.Subject:
        made = super().subject()
        made["age"], made["site"] = 71.0, "a"
        return made

    def built(self, *training: tio.Subject) -> tio.Transform:
        """Fit to the given scan and eleven that were made of it, of people with other covariates."""
        transform: Any = registry.create(self.kind, self.name, **self.params).build()
        first = training[0] if training else self.subject()
        rng = np.random.default_rng(0)
        subjects = [first]
        for number in range(1, 12):
            noise = torch.from_numpy(rng.normal(0, 0.1, first["image"].shape).astype(np.float32))
            image = tio.ScalarImage(tensor=first["image"].data + noise, affine=first["image"].affine)
            subjects.append(tio.Subject(image=image, age=60.0 + number % 7, site="abc"[number % 3], target="CN"))
        transform.fit(subjects)
        return cast(tio.Transform, transform)
