"""Effects of covariates: against least squares, from controls of the training part alone, with gaps told early."""

from __future__ import annotations

import io
import weakref
from collections.abc import Iterator, Mapping, Sequence
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
from xai_datasets_mri.residualize import Residualize

SHAPE = (2, 5, 4, 3)
AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


def person(number: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    about = {
        "subject_id": f"{number:02d}",
        "target": "CN" if number % 3 else "AD",
        "age": float(rng.uniform(55, 90)),
        "sex": "FM"[rng.integers(2)],
        "site": "abc"[number % 3 if number > 5 else rng.integers(3)],
        "tiv": float(rng.normal(1500, 120)),
    }
    return {**about, **changes}


def subject(about: Mapping[str, Any], number: int, shape: Sequence[int] = SHAPE) -> tio.Subject:
    rng = np.random.default_rng(1000 + number)
    values = rng.normal(100, 5, tuple(shape))
    values += 0.4 * np.arange(values.size).reshape(values.shape) / values.size * (about["age"] or 70)
    values[:, 0] = 7.0  # background: the same in everybody
    return tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(values.astype(np.float32)), affine=AFFINE), **about
    )


PEOPLE = [person(number) for number in range(40)]
CONTROLS = [i for i, about in enumerate(PEOPLE) if about["target"] == "CN"]


def study(people: Sequence[Mapping[str, Any]] = PEOPLE) -> list[tio.Subject]:
    return [subject(about, number) for number, about in enumerate(people)]


def fitted(subjects: Sequence[tio.Subject], **params: Any) -> Any:
    transform: Any = Residualize(**{"covariates": ["age"], **params}).build()
    transform.fit(subjects)
    return transform


def voxels(subjects: Sequence[tio.Subject]) -> npt.NDArray[np.float64]:
    return np.stack([cast(tio.ScalarImage, s["image"]).data.numpy().ravel() for s in subjects]).astype(np.float64)


def by_hand(people: Sequence[Mapping[str, Any]], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Plain columns: intercept, numbers as they are, age squared, treatment coding by comparison with each level."""
    columns = [np.ones(len(people))]
    for name in names:
        if name == "age^2":
            columns.append(np.array([about["age"] ** 2 for about in people]))
        elif isinstance(people[0][name], str):
            levels = sorted({about[name] for about in people})[1:]
            columns += [np.array([float(about[name] == level) for about in people]) for level in levels]
        else:
            columns.append(np.array([float(about[name]) for about in people]))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize(
    ("names", "params"),
    [
        (["age"], {"covariates": ["age"]}),
        (["age", "sex", "tiv"], {"covariates": ["age", "sex", "tiv"]}),
        (["site", "age", "age^2"], {"covariates": ["site", "age"], "polynomial": {"age": 2}}),
    ],
)
@pytest.mark.parametrize("fit_on", ["controls", "all", {"column": "target", "values": ["CN"]}])
def test_like_least_squares(names: list[str], params: dict[str, Any], fit_on: Any) -> None:
    subjects, design = study(), by_hand(PEOPLE, names)
    people = list(range(len(PEOPLE))) if fit_on == "all" else CONTROLS
    transform = fitted(subjects, fit_on=fit_on, **params)
    values = voxels(subjects)
    coefficients = np.linalg.lstsq(design[people], values[people], rcond=None)[0]
    # A corrected scan is its residual upon the mean of the people of the fit, whatever the coding.
    expected = values - design @ coefficients + values[people].mean(axis=0)
    found = voxels([transform(s) for s in subjects])
    assert np.abs(found - expected).max() / np.abs(expected).max() < 1e-6
    slope = names.index("age") if names[0] != "site" else 2
    stored = transform.state_dict()
    assert stored["design"]["columns"][slope] == "age"
    if "age^2" not in names:  # a linear term is in the units of the covariate
        plain = coefficients[1 + slope][stored["mask"].numpy()]
        assert np.abs(stored["coefficients"][slope].numpy() - plain).max() < 1e-6 * np.abs(plain).max()


def test_nothing_of_the_covariate_is_left_in_the_people_of_the_fit() -> None:
    subjects = study()
    transform = fitted(subjects)
    left = voxels([transform(subjects[i]) for i in CONTROLS])
    ages = np.array([PEOPLE[i]["age"] for i in CONTROLS])
    before = voxels([subjects[i] for i in CONTROLS])

    def strongest(values: npt.NDArray[np.float64]) -> float:
        centred = values - values.mean(axis=0)
        return float(np.abs((ages - ages.mean()) @ centred).max())

    assert strongest(left) < 1e-3 * strongest(before)
    assert np.allclose(left.mean(axis=0), before.mean(axis=0), rtol=1e-6)


def test_voxels_without_variance_stay_as_they_are() -> None:
    subjects = study()
    transform = fitted(subjects)
    assert not transform.state_dict()["mask"].reshape(SHAPE)[:, 0].any()
    assert bool((transform(subjects[3])["image"].data[:, 0] == 7).all())


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(study()).state_dict()["coefficients"]
    monkeypatch.setattr(_voxelwise, "BLOCK", 7)
    assert torch.equal(fitted(study()).state_dict()["coefficients"], whole)


class Lazy(Sequence[tio.Subject]):
    """As the core hands over a training part; counts what is read, and refuses those who may not be."""

    def __init__(self, subjects: Sequence[tio.Subject], allowed: Sequence[int]) -> None:
        self._subjects, self._allowed, self.read = subjects, allowed, 0

    @property
    def about(self) -> list[dict[str, Any]]:
        return [{k: v for k, v in s.items() if k != "image"} for s in self._subjects]

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, index: Any) -> Any:
        assert index in self._allowed, f"the scan of {PEOPLE[index]['subject_id']} is read"
        self.read += 1
        return self._subjects[index]

    def __iter__(self) -> Iterator[tio.Subject]:
        raise AssertionError("all scans are read")


def test_controls_alone_are_read_and_once() -> None:
    lazy = Lazy(study(), CONTROLS)
    transform = fitted(lazy)
    assert lazy.read == len(CONTROLS)
    assert torch.equal(transform.state_dict()["coefficients"], fitted(study()).state_dict()["coefficients"])


def test_one_scan_is_in_memory_at_a_time() -> None:
    made_so_far: list[weakref.ref[tio.Image]] = []
    most = 0

    class Made(Lazy):
        def __getitem__(self, index: Any) -> Any:
            nonlocal most
            made = subject(PEOPLE[index], index)
            made_so_far.append(weakref.ref(made["image"]))
            most = max(most, sum(reference() is not None for reference in made_so_far))
            return made

    transform = fitted(Made(study(), CONTROLS))
    assert most <= 2  # the last one goes once the next is there
    assert torch.equal(transform.state_dict()["coefficients"], fitted(study()).state_dict()["coefficients"])


def test_patients_do_not_matter() -> None:
    people = [a if a["target"] == "CN" else {**a, "age": 1e6, "sex": "?"} for a in PEOPLE]
    subjects = study(people)
    for subject_, about in zip(subjects, people, strict=True):
        if about["target"] == "AD":
            subject_["image"].set_data(torch.full(SHAPE, 1e9))
    params: dict[str, Any] = {"covariates": ["age", "sex"]}
    assert torch.equal(
        fitted(subjects, **params).state_dict()["coefficients"], fitted(study(), **params).state_dict()["coefficients"]
    )


def test_geometry_and_maps_stay() -> None:
    subjects = study()
    transform = fitted(subjects)
    one = tio.Subject({**subjects[0], "fa": tio.ScalarImage(tensor=torch.ones(1, *SHAPE[1:]), affine=AFFINE)})
    check_geometry(one, transform)
    after = transform(one)
    assert np.array_equal(after["image"].affine, AFFINE)
    assert torch.equal(after["fa"].data, one["fa"].data)
    assert not torch.equal(after["image"].data, one["image"].data)


def gaps(**lacking: list[int]) -> list[dict[str, Any]]:
    people = [dict(about) for about in PEOPLE]
    for name, numbers in lacking.items():
        for number in numbers:
            people[number][name] = None
    return people


def test_a_mean_is_taken_for_a_missing_number_and_the_mode_for_a_category() -> None:
    some = CONTROLS[:2]
    people = gaps(age=some, sex=[CONTROLS[3]])
    filled = [dict(about) for about in people]
    known = [about["age"] for i, about in enumerate(people) if i in CONTROLS and about["age"] is not None]
    sexes = [about["sex"] for i, about in enumerate(people) if i in CONTROLS and about["sex"]]
    for number in some:
        filled[number]["age"] = float(np.mean(known))
    filled[CONTROLS[3]]["sex"] = max("FM", key=sexes.count)
    images = study()
    subjects = [tio.Subject({**s, **about}) for s, about in zip(images, people, strict=True)]
    complete = [tio.Subject({**s, **about}) for s, about in zip(images, filled, strict=True)]
    params: dict[str, Any] = {"covariates": ["age", "sex"], "missing": "mean"}
    transform, other = fitted(subjects, **params), fitted(complete, **params)
    assert torch.allclose(transform.state_dict()["coefficients"], other.state_dict()["coefficients"], rtol=1e-5)
    assert transform.state_dict()["design"]["imputed"] == {"age": 2, "sex": 1}
    for number in (some[0], CONTROLS[3], 0):
        same = transform(subjects[number])["image"].data, other(complete[number])["image"].data
        assert torch.allclose(*same, rtol=1e-6)


def test_people_without_a_value_can_be_left_out_of_the_fit() -> None:
    people, images = gaps(age=CONTROLS[:3]), study()
    subjects = [tio.Subject({**s, **about}) for s, about in zip(images, people, strict=True)]
    dropped = fitted(subjects, missing="drop").state_dict()["coefficients"]
    without = [s for i, s in enumerate(images) if i not in CONTROLS[:3]]
    assert torch.equal(dropped, fitted(without).state_dict()["coefficients"])


@pytest.mark.parametrize("value", [None, float("nan"), "", float("inf")])
def test_a_scan_without_a_covariate_is_told_how_to_give_it(value: Any) -> None:
    transform = fitted(study(), covariates=["age", "sex"])
    scan = study()[0]
    scan["age"] = value
    del scan["sex"]
    message = r"needs age \(\d.* to \d.* in the fit\) and sex \(F or M\).*--covariate age=\.\.\. --covariate sex=\.\.\."
    with pytest.raises(InputError, match=message):
        transform(scan)


def test_a_new_scan_without_a_covariate_is_told_what_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    transform = fitted(study(), covariates=["age", "sex"], missing="mean")
    scan = study()[0]
    del scan["age"]
    transform(scan)
    assert "age = 7" in caplog.text
    caplog.clear()
    scan["age"] = None  # an empty cell of the study's table, which was told of before the run
    transform(scan)
    assert not caplog.text


def test_an_unknown_level_is_refused_or_counts_as_the_average() -> None:
    subjects = study()
    scan = subjects[0]
    scan["site"] = "d"
    with pytest.raises(InputError, match=r"site is 'd', which nobody has.*\(a, b, c\)"):
        fitted(subjects[1:], covariates=["site", "age"])(scan)
    adjusted = fitted(subjects[1:], covariates=["site", "age"], unknown="mean")(scan)["image"].data
    design = by_hand(PEOPLE[1:], ["site", "age"])
    controls = [i - 1 for i in CONTROLS if i]
    coefficients = np.linalg.lstsq(design[controls], voxels(subjects[1:])[controls], rcond=None)[0]
    average = design[controls].mean(axis=0)
    row = np.array([1.0, *average[1:3], PEOPLE[0]["age"]])
    expected = voxels([scan])[0] - (row - average) @ coefficients
    assert np.allclose(adjusted.numpy().ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("people", "params", "message"),
    [
        ([*PEOPLE[:5]], {"covariates": ["age", "sex", "tiv"]}, r"3 controls for an intercept and 3 columns \(age, "),
        ([{**a, "sex": "F"} for a in PEOPLE], {"covariates": ["age", "sex"]}, r"sex is the same for all 26 controls"),
        ([{**a, "field": 3} for a in PEOPLE], {"covariates": ["field"]}, r"field is the same for all 26 controls"),
        (
            [{**a, "months": 12 * a["age"]} for a in PEOPLE], {"covariates": ["age", "sex", "months"]},
            r"(months follows from age|age follows from months)",
        ),
        (
            [{**a, "scanner": a["site"].upper()} for a in PEOPLE], {"covariates": ["site", "scanner"]},
            r"scanner=C follows from site=c|site=c follows from scanner=C",
        ),
        (
            [{**a, "old": float(a["age"] > 70)} for a in PEOPLE],
            {"covariates": ["old"], "polynomial": {"old": 2}},
            r"old\^2 follows from old|old follows from old\^2",
        ),
        ([{**a, "age": str(a["age"]) if i == 4 else a["age"]} for i, a in enumerate(PEOPLE)], {}, "age is a number"),
        ([{**a, "age": None} for a in PEOPLE], {"missing": "mean"}, "nobody among the 26 people of the fit has the"),
        ([{**a, "age": None} for a in PEOPLE], {"missing": "drop"}, "nobody among the controls has all of age"),
        ([{**a, "age": None if i == 1 else 70 + i} for i, a in enumerate(PEOPLE)], {}, "1 of the people of the fit"),
        ([{**a, "target": "x" + a["target"]} for a in PEOPLE], {}, r"cannot tell who the controls are.*xAD, xCN"),
        ([{**a, "target": "HC" if a["target"] == "AD" else "CN"} for a in PEOPLE], {}, "more than one of them is"),
        (PEOPLE, {"fit_on": {"column": "group", "values": [1]}}, r"the column 'group', which the study does not have"),
        (PEOPLE, {"fit_on": {"column": "site", "values": ["e"]}}, r"nobody .* has site e\. There is: a, b, c"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted(people: Sequence[Mapping[str, Any]], params: dict[str, Any], message: str) -> None:
    images = study()
    subjects = [tio.Subject({"image": s["image"], **about}) for s, about in zip(images, people, strict=False)]
    with pytest.raises(InputError, match=message):
        fitted(subjects, **params)


def test_scans_on_different_grids_are_refused() -> None:
    subjects = study()
    moved = AFFINE.copy()
    moved[0, 3] = 1.0
    subjects[CONTROLS[4]]["image"] = tio.ScalarImage(tensor=subjects[CONTROLS[4]]["image"].data, affine=moved)
    with pytest.raises(InputError, match=rf"{PEOPLE[CONTROLS[4]]['subject_id']}: .*needs every scan on one grid.*1\.0"):
        fitted(subjects)
    with pytest.raises(InputError, match="one grid"):
        fitted(study())(subject(PEOPLE[0], 0, (2, 5, 4, 4)))


def test_what_was_learnt_is_saved_in_tensors_numbers_and_texts() -> None:
    transform = fitted(study(), covariates=["site", "age"], polynomial={"age": 2})
    stream = io.BytesIO()
    torch.save(transform.state_dict(), stream)
    stream.seek(0)
    other: Any = Residualize(covariates=["site", "age"], polynomial={"age": 2}).build()
    with pytest.raises(InputError, match="call fit"):
        other(study()[0])
    other.load_state_dict(torch.load(stream, weights_only=True))
    for scan in study()[:4]:
        assert torch.equal(transform(scan)["image"].data, other(scan)["image"].data)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"covariates": ["age", "target"]}, "target is no covariate"),
        ({"covariates": ["age"], "categorical": ["site"]}, "categorical names site"),
        ({"covariates": ["age"], "polynomial": {"tiv": 2}}, "polynomial names tiv"),
        ({"covariates": ["age"], "categorical": ["age"], "polynomial": {"age": 2}}, "polynomial names age"),
    ],
)
def test_wrong_parameters(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Residualize(**params)


def folds(test: Sequence[int] = range(30, 40)) -> list[Fold]:
    parts = [[i for i in range(40) if i not in test], list(test)]
    train, tested = (tuple(PEOPLE[i]["subject_id"] for i in part) for part in parts)
    return [Fold(train, (), tested)]


def table(people: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([{"scan_id": f"sub-{about['subject_id']}", **about} for about in people])


def check(people: Sequence[Mapping[str, Any]], **params: Any) -> None:
    Residualize(**{"covariates": ["age"], **params}).check_study(table(people), folds(), ("CN", "AD"))


def test_everybody_without_a_covariate_is_listed_before_anything_is_read() -> None:
    people = gaps(age=[3, 38], sex=[5])
    with pytest.raises(InputError, match=r"residualize: some people lack .*age: sub-03, sub-38; sex: sub-05"):
        check(people, covariates=["age", "sex"])
    check(people, covariates=["age", "sex"], missing="mean")
    with pytest.raises(InputError, match=r"no covariate 'weight'\. It has: .*age"):
        check(PEOPLE, covariates=["weight"])


def test_everybody_with_an_unknown_level_is_listed() -> None:
    people = [{**about, "site": "z"} if number in (33, 35) else about for number, about in enumerate(PEOPLE)]
    with pytest.raises(InputError, match=r"fold 0: site is 'z', which nobody.*sub-33, sub-35"):
        check(people, covariates=["site"])
    check(people, covariates=["site"], unknown="mean")


def test_a_fold_that_cannot_be_fitted_is_refused_early() -> None:
    people = [{**about, "sex": "F"} if number < 30 else about for number, about in enumerate(PEOPLE)]
    with pytest.raises(InputError, match=r"fold 0: sex is the same for all 20 controls"):
        check(people, covariates=["sex"])


def test_a_covariate_that_gives_the_class_away_is_refused() -> None:
    people = [
        {**about, "stage": "late" if about["target"] == "AD" else "early" if number % 2 else "none"}
        for number, about in enumerate(PEOPLE)
    ]
    with pytest.raises(InputError, match=r"stage gives the class away \(early: CN, late: AD, none: CN\)"):
        check(people, covariates=["stage"])


def test_a_confound_that_slopes_of_controls_would_write_into_the_scans_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check(PEOPLE)
    assert not caplog.text
    people = [{**about, "age": about["age"] + 15 * (about["target"] == "AD")} for about in PEOPLE]
    check(people, fit_on="all")
    assert not caplog.text
    check(people)
    train = people[:30]
    y, x = np.array([a["target"] == "AD" for a in train]), np.array([a["age"] for a in train])
    share = 100 * (1 - (1 - np.corrcoef(x, y)[0, 1] ** 2) * 29 / 28)  # adjusted R2 of one regressor
    assert f"residualize: what it removes tells {share:.0f} % of the target's variance" in caplog.text
    assert "fit_on: all" in caplog.text


def test_extrapolation_is_told(caplog: pytest.LogCaptureFixture) -> None:
    people = [{**about, "age": about["age"] + 15 * (about["target"] == "AD")} for about in PEOPLE]
    oldest = max(people[i]["age"] for i in CONTROLS)
    beyond = sum(about["age"] > oldest for about in people)
    assert beyond > 2
    fitted([tio.Subject({**s, **about}) for s, about in zip(study(), people, strict=True)])
    assert f"age of {beyond} of 40 people of the training part lies outside of the range of the controls" in caplog.text


class TestConformance(TransformConformance):
    name = "residualize"
    params: ClassVar[Mapping[str, Any]] = {"covariates": ["age", "sex"]}

    def subject(self) -> tio.Subject:
        made = super().subject()
        made["age"], made["sex"] = 71.0, "F"
        return made

    def built(self, *training: tio.Subject) -> tio.Transform:
        """Fit to the given scan and seven that were made of it, of people with other covariates."""
        transform: Any = registry.create(self.kind, self.name, **self.params).build()
        first = training[0] if training else self.subject()
        first["target"] = "CN"
        people = [first]
        for number in range(1, 8):
            image = tio.ScalarImage(
                tensor=first["image"].data * (1 + 0.05 * number * (number - 3)), affine=first["image"].affine
            )
            about = {"age": 60.0 + number, "sex": "FM"[number % 3 == 0], "target": "CN"}
            people.append(tio.Subject(image=image, **about))
        transform.fit(people)
        return cast(tio.Transform, transform)
