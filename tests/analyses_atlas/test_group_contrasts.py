"""The analysis as a whole: files against SciPy, people who count once, and what is left out or refused."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
BLOB = (slice(2, 5), slice(4, 7), slice(3, 6))  # left: x from -12 to -4 mm


class TestGroupContrasts(AnalysisConformance):
    name = "group-contrasts"


class TestGroupContrastsOfScans(AnalysisConformance):
    name = "group-contrasts"
    params: ClassVar[dict[str, Any]] = {
        "space": "scan", "template": "mean-image", "within": "everywhere", "threshold": "p", "inference": "none",
        "contrasts": [{"kind": "covariate", "by": "age"}],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line keeps the run's messages from the root logger, which caplog reads."""
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)


def person(number: int, target: Any, prediction: Any = None, effect: float = 0.0, **more: Any) -> dict[str, Any]:
    relevance = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
    relevance[BLOB] += effect
    shown = {"scan": f"sub-{number:02d}", "target": target, "prediction": target if prediction is None else prediction}
    return {**shown, "map": relevance, **more}


@pytest.fixture
def people() -> list[dict[str, Any]]:
    rows = []
    for i in range(12):
        ill = i >= 6
        rows.append(person(i, "AD" if ill else "CN", effect=4.0 * ill, age=60 + (i * 7) % 12, sex="FM"[i % 2]))
    return rows


def analysed(run: RunResults, output: Path, draw: bool = False, **params: Any) -> pd.DataFrame:
    output.mkdir(parents=True)
    quick = {"permutations": 99, "normalise": "none", "within": "everywhere", **params}
    analysis = create("analysis", "group-contrasts", **quick)
    with nullcontext() if draw else patch("xai_analyses_atlas._contrasts.output.Pictures.draw"):
        analysis.analyse(run, output)
    return table(output, "contrasts").set_index("contrast")


def table(output: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(output / f"{name}.tsv", sep="\t", na_values=["n/a"], keep_default_na=False)


def volume(output: Path, stem: str) -> Any:
    return nib.load(output / f"{stem}.nii.gz").get_fdata()


def maps(people: list[dict[str, Any]]) -> Any:
    return np.stack([person["map"] for person in people]).astype(np.float64)


def test_the_difference_of_the_classes_is_that_of_scipy_and_lies_where_it_was_planted(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    out = tmp_path / "out"
    found = analysed(make_run(people), out)
    assert list(found.index) == ["target-AD-minus-CN"]
    row, y, stem = found.iloc[0], maps(people), "lrp_target-AD-minus-CN"
    theirs = stats.ttest_ind(y[6:], y[:6], equal_var=False)
    np.testing.assert_allclose(volume(out, f"{stem}_t"), theirs.statistic, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(volume(out, f"{stem}_logp"), -np.log10(theirs.pvalue), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        volume(out, f"{stem}_difference"), y[6:].mean(axis=0) - y[:6].mean(axis=0), rtol=1e-5, atol=1e-6
    )
    fdr = stats.false_discovery_control(theirs.pvalue, axis=None).reshape(SHAPE)
    np.testing.assert_allclose(volume(out, f"{stem}_logp-fdr"), -np.log10(fdr), rtol=1e-4, atol=1e-6)
    g, low, high = (volume(out, f"{stem}_{name}") for name in ("g", "g-low", "g-high"))
    assert (low < g).all()
    assert (g < high).all()
    passed = volume(out, f"{stem}_thresholded") != 0
    assert passed[BLOB].any()
    assert not np.delete(passed.ravel(), np.flatnonzero(np.isin(np.arange(passed.size), inside()))).any()
    assert (row["n"], row["n_first"], row["n_second"], row["scans"], row["voxels"]) == (12, 6, 6, 12, 1287)
    assert (row["explained_first"], row["explained_second"]) == ("AD 6", "CN 6")
    assert "explain different outputs (AD 6 against CN 6)" in row["cautions"]
    assert row["above_positive"] == passed.sum()
    assert row["test"].startswith("Welch's t test (two groups, two-sided), family-wise error by the largest t of 99")
    clusters = table(out, "clusters")
    assert clusters["voxels"].sum() == passed.sum()
    assert set(clusters["hemisphere"]) == {"L"}
    assert clusters["peak"].max() == pytest.approx(row["peak_t"], rel=1e-6)


def inside() -> Any:
    box = np.zeros(SHAPE, dtype=bool)
    box[BLOB] = True
    return np.flatnonzero(box)


def test_sidecars_and_captions_say_n_and_the_test(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    out = tmp_path / "out"
    analysed(make_run(people), out, draw=True, covariates=["age"], inference="tfce", permutations=19)
    stem = "lrp_target-AD-minus-CN"
    names = {path.name.removeprefix(f"{stem}_").removesuffix(".nii.gz") for path in out.glob("*.nii.gz")}
    assert names == {
        "difference", "t", "g", "g-low", "g-high", "logp", "logp-fdr", "logp-fwe", "tfce", "thresholded",
    }  # fmt: skip
    for name in names:
        sidecar = json.loads((out / f"{stem}_{name}.json").read_text())
        assert (sidecar["n"], sidecar["covariates"], sidecar["permutations"]) == (12, "age", 19)
        assert sidecar["threshold"] == "p of at most 0.05, corrected for family-wise error"
        assert sidecar["map"]
        image = nib.load(out / f"{stem}_{name}.nii.gz")
        assert image.get_data_dtype() == np.float32
        assert np.array_equal(image.affine, RAS)
    for name in ("t", "glass"):
        assert (out / f"{stem}_{name}.png").stat().st_size > 1000
        caption = (out / f"{stem}_{name}.txt").read_text()
        assert "n = 12 people" in caption
        assert "t test of a linear model (two groups, two-sided), covariates age" in caption
        assert "largest TFCE value of 19 random permutations" in caption


def test_the_same_run_gives_the_same_bytes(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    run = make_run(people)
    for name in ("a", "b"):
        analysed(run, tmp_path / name, draw=True, seed=3)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_each_normalisation_by_hand(make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any]) -> None:
    run = make_run(people)
    for number, path in enumerate(sorted((run.folder / "derivatives").glob("*/anat/*.json"))):
        path.write_text(json.dumps({**json.loads(path.read_text()), "output": (number + 1) * (-1) ** number}))
    y = maps(people)
    divisors = {
        "sum": np.abs(y).sum(axis=(1, 2, 3)),
        "maximum": np.abs(y).max(axis=(1, 2, 3)),
        "output": np.arange(1.0, 13),
    }
    for how, sizes in divisors.items():
        analysed(run, tmp_path / how, normalise=how, inference="none", threshold="p")
        divided = y / sizes[:, None, None, None]
        wanted = divided[6:].mean(axis=0) - divided[:6].mean(axis=0)
        found = volume(tmp_path / how, "lrp_target-AD-minus-CN_difference")
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6 * np.abs(wanted).max())


def test_every_kind_of_contrast(make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any]) -> None:
    run = make_run(people, explainers=("lrp", "gradcam"))
    twice = sorted((run.folder / "derivatives").glob("*/anat/*gradcam_relevance.nii.gz"))
    for path in twice:
        nib.save(nib.Nifti1Image((2 * nib.load(path).get_fdata() + 1).astype(np.float32), RAS), path)
    out, y = tmp_path / "out", maps(people)
    found = analysed(
        run, out, inference="none", threshold="p", level=0.001,
        contrasts=[
            {"by": "sex", "first": "M", "second": "F"}, {"kind": "zero"},
            {"kind": "zero", "by": "target", "first": "AD"}, {"kind": "covariate", "by": "age"}, {"kind": "explainers"},
            {"by": "sex", "among": {"target": "AD"}, "id": "sex-of-the-ill"},
        ],
    )  # fmt: skip
    assert list(dict.fromkeys(found.index)) == [
        "sex-M-minus-F", "everybody-against-zero", "target-AD-against-zero", "age-slope", "lrp-minus-gradcam",
        "sex-of-the-ill",
    ]  # fmt: skip
    wanted = {
        "lrp_sex-M-minus-F": stats.ttest_ind(y[1::2], y[::2], equal_var=False).statistic,
        "lrp_everybody-against-zero": stats.ttest_1samp(y, 0).statistic,
        "gradcam_target-AD-against-zero": stats.ttest_1samp(2 * y[6:] + 1, 0).statistic,
        "lrp-minus-gradcam": stats.ttest_rel(y, 2 * y + 1).statistic,
        "lrp_sex-of-the-ill": stats.ttest_ind(y[7::2], y[6::2], equal_var=False).statistic,
    }
    for stem, t in wanted.items():
        np.testing.assert_allclose(volume(out, f"{stem}_t"), t, rtol=1e-4, atol=1e-5)
    ages = np.array([person["age"] for person in people])
    r = volume(out, "lrp_age-slope_r")
    assert r[3, 4, 5] == pytest.approx(np.corrcoef(ages, y[:, 3, 4, 5])[0, 1], rel=1e-5)
    assert volume(out, "lrp_age-slope_difference")[3, 4, 5] == pytest.approx(
        np.polyfit(ages, y[:, 3, 4, 5], 1)[0], rel=1e-5
    )
    assert "scales of their own" in found.loc["lrp-minus-gradcam", "cautions"]
    assert found.loc["lrp-minus-gradcam", "test"] == "Student's t test (paired, two-sided)"


def with_folds(run: RunResults, again: dict[str, Any]) -> None:
    """Let a second repeat's network, fold 1, test everybody of ``again``: its map is the given one."""
    for name in ("predictions", "splits"):
        path = run.folder / f"{name}.tsv"
        rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        second = rows[rows["subject_id"].isin(list(again))].assign(fold="1", repeat="1")
        pd.concat([rows.assign(repeat="0"), second]).to_csv(path, sep="\t", index=False)
    for scan, data in again.items():
        folder = run.folder / "derivatives" / scan / "anat"
        sidecar = json.loads((folder / f"{scan}_desc-lrp_relevance.json").read_text())
        nib.save(nib.Nifti1Image(data.astype(np.float32), RAS), folder / f"{scan}_desc-lrpFold1_relevance.nii.gz")
        (folder / f"{scan}_desc-lrpFold1_relevance.json").write_text(json.dumps({**sidecar, "fold": 1}))


def test_several_networks_and_visits_count_as_one_person(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    """Two scans of a person, one of them explained by two networks: the mean over networks, then over scans."""
    people[1] |= {"scan": "sub-00_ses-2", "subject": "sub-00", "session_id": "ses-2"}
    people[0] |= {"session_id": "ses-1", "subject": "sub-00"}
    run = make_run(people)
    other = np.random.default_rng(99).normal(size=SHAPE).astype(np.float32)
    for name in ("predictions", "splits"):
        path = run.folder / f"{name}.tsv"
        rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        second = rows[rows["subject_id"] == "sub-00"].assign(fold="1", repeat="1")
        if name == "predictions":
            second = second[second["scan_id"] == "sub-00"]
        pd.concat([rows.assign(repeat="0"), second]).to_csv(path, sep="\t", index=False)
    folder = run.folder / "derivatives" / "sub-00" / "anat"
    sidecar = json.loads((folder / "sub-00_desc-lrp_relevance.json").read_text())
    nib.save(nib.Nifti1Image(other, RAS), folder / "sub-00_desc-lrpFold1_relevance.nii.gz")
    (folder / "sub-00_desc-lrpFold1_relevance.json").write_text(json.dumps({**sidecar, "fold": 1}))
    y = maps(people)
    for visits, first in (("mean", ((y[0] + other) / 2 + y[1]) / 2), ("first", (y[0] + other) / 2)):
        row = analysed(run, tmp_path / visits, visits=visits).iloc[0]
        healthy = np.stack([first, *y[2:6]])
        assert (row["n_first"], row["n_second"]) == (6, 5)
        found = volume(tmp_path / visits, "lrp_target-AD-minus-CN_t")
        theirs = stats.ttest_ind(y[6:], healthy, equal_var=False).statistic
        np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-5)
        assert "share training people" in row["cautions"]


def test_people_on_both_sides_are_left_out_or_paired(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    people = []
    for i in range(10):
        subject = f"sub-{i % 5:02d}" if i < 8 else f"sub-{i:02d}"
        people.append(
            person(i, "CN", subject=subject, session_id=f"ses-{1 + (i >= 5)}")
            | {"scan": f"{subject}_ses-{1 + (i >= 5)}"}
        )
    run, y = make_run(people), maps(people)
    two = {"by": "session_id", "first": "ses-2", "second": "ses-1"}
    row = analysed(run, tmp_path / "apart", contrasts=[two]).iloc[0]
    assert (row["n_first"], row["n_second"], row["left_out"]) == (2, 2, 3)
    lost = table(tmp_path / "apart", "left-out")
    assert lost["subject_id"].tolist() == ["sub-00", "sub-01", "sub-02"]
    assert set(lost["reason"]) == {"is in both groups, ses-2 and ses-1"}
    row = analysed(run, tmp_path / "paired", contrasts=[{**two, "paired": True}]).iloc[0]
    assert (row["n"], row["left_out"]) == (3, 4)
    found = volume(tmp_path / "paired", "lrp_session-id-ses-2-minus-ses-1_t")
    np.testing.assert_allclose(found, stats.ttest_rel(y[5:8], y[:3]).statistic, rtol=1e-4, atol=1e-5)
    reasons = table(tmp_path / "paired", "left-out").set_index("subject_id")["reason"].to_dict()
    assert reasons == {"sub-03": "has no map of ses-2", "sub-04": "has no map of ses-2",
                       "sub-08": "has no map of ses-1", "sub-09": "has no map of ses-1"}  # fmt: skip


def test_folds_are_compared_with_a_caution(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    run, y = make_run(people), maps(people)
    again = {f"sub-{i:02d}": np.random.default_rng(50 + i).normal(size=SHAPE) for i in range(5)}
    with_folds(run, again)
    pair = [{"kind": "folds", "first": 1, "second": 0, "paired": True}]
    row = analysed(run, tmp_path / "paired", contrasts=pair).iloc[0]
    assert row["n"] == 5
    other = np.stack(list(again.values())).astype(np.float32)
    found = volume(tmp_path / "paired", "lrp_fold-1-minus-0_t")
    np.testing.assert_allclose(found, stats.ttest_rel(other, y[:5]).statistic, rtol=1e-4, atol=1e-4)
    assert "Two networks explain the same people" in row["cautions"]
    apart = [{"kind": "folds", "first": 1, "second": 0}]
    with pytest.raises(InputError, match="the group fold 1 has 0 people"):
        analysed(run, tmp_path / "apart", contrasts=apart)


def test_each_fold_against_the_others_is_descriptive(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    run, y = make_run(people), maps(people)
    for name in ("predictions", "splits"):
        path = run.folder / f"{name}.tsv"
        rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        rows["fold"] = [str(int(who[-2:]) % 3) for who in rows["subject_id"]]
        rows.to_csv(path, sep="\t", index=False)
    for path in (run.folder / "derivatives").glob("*/anat/*.json"):
        sidecar = json.loads(path.read_text())
        path.write_text(json.dumps({**sidecar, "fold": int(sidecar["subject_id"][-2:]) % 3}))
    found = analysed(run, tmp_path / "out", contrasts=[{"kind": "folds"}])
    assert list(found.index) == ["fold-0-minus-others", "fold-1-minus-others", "fold-2-minus-others"]
    assert (
        found["cautions"].str.startswith("Descriptive: another fold is another network as well as other people").all()
    )
    mine = np.arange(12) % 3 == 1
    theirs = stats.ttest_ind(y[mine], y[~mine], equal_var=False).statistic
    np.testing.assert_allclose(volume(tmp_path / "out", "lrp_fold-1-minus-others_t"), theirs, rtol=1e-4, atol=1e-5)


def test_correct_against_wrong(make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any]) -> None:
    for number in (1, 4, 8):
        people[number]["prediction"] = "AD" if number < 6 else "CN"
    row = analysed(
        make_run(people), tmp_path / "out", contrasts=[{"by": "correct", "first": "wrong", "second": "correct"}]
    ).iloc[0]
    assert (row["n_first"], row["n_second"]) == (3, 9)
    assert "predicted wrongly differ from the others in their class" in row["cautions"]


def test_covariates_and_who_lacks_them(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    people[2]["age"], people[7]["sex"] = None, None
    for one in people:
        one["site"] = "here"
    row = analysed(make_run(people), tmp_path / "out", covariates=["age", "sex", "site", "target"]).iloc[0]
    assert (row["n_first"], row["n_second"], row["left_out"]) == (5, 5, 2)
    assert row["covariates"] == "age, sex M"
    assert "site is the same for everybody and is left out of the model" in row["cautions"]
    assert "target is what is tested, so it is no covariate" in row["cautions"]
    reasons = table(tmp_path / "out", "left-out").set_index("subject_id")["reason"].to_dict()
    assert reasons == {"sub-02": "has no age", "sub-07": "has no sex"}
    import statsmodels.api as sm

    kept = [i for i in range(12) if i not in (2, 7)]
    design = np.column_stack([
        [float(i >= 6) for i in kept], np.ones(10), [people[i]["age"] for i in kept],
        [float(people[i]["sex"] == "M") for i in kept],
    ])  # fmt: skip
    fit = sm.OLS(maps(people)[kept][:, 3, 5, 4], design).fit()
    assert volume(tmp_path / "out", "lrp_target-AD-minus-CN_t")[3, 5, 4] == pytest.approx(fit.tvalues[0], rel=1e-5)


def test_maps_of_zeros_are_left_out_on_record(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    people[3]["map"] = np.zeros(SHAPE)
    run = make_run(people)
    row = analysed(run, tmp_path / "sum", normalise="sum").iloc[0]
    assert (row["n"], row["left_out"]) == (11, 1)
    lost = table(tmp_path / "sum", "left-out").iloc[0]
    assert (lost["subject_id"], lost["reason"]) == ("sub-03", "sub-03, fold 0: the map is zero everywhere")
    assert analysed(run, tmp_path / "none").iloc[0]["n"] == 12


def test_what_cannot_be_tested_is_named_and_the_rest_is_done(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    for number, one in enumerate(people):
        one["site"] = "alone" if number == 0 else "here" if number < 7 else None
    run = make_run(people, classes=("CN", "AD", "MCI"))
    with caplog.at_level(logging.WARNING, "xai"):
        found = analysed(run, tmp_path / "out", contrasts=[{"by": "site"}, {"by": "target"}])
    assert found.loc["target-AD-minus-CN", "n"] == 12
    assert found.loc["target-MCI-minus-AD", "not_tested"] == "the group MCI has 0 people; a variance needs at least 2."
    assert (
        found.loc["site-here-minus-alone", "not_tested"] == "the group alone has 1 person; a variance needs at least 2."
    )
    assert "site-here-minus-alone of lrp is not tested" in caplog.text
    lost = table(tmp_path / "out", "left-out")
    assert (lost["contrast"] == "site-here-minus-alone").sum() == 5
    with pytest.raises(
        InputError, match=r"no contrast of .* can be tested:\n  site-here-minus-alone of lrp: the group alone"
    ):
        analysed(run, tmp_path / "none", contrasts=[{"by": "site"}])


def test_too_few_people_for_any_finding_are_told_so(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run([*people[:3], *people[6:9]])
    with caplog.at_level(logging.WARNING, "xai"):
        row = analysed(run, tmp_path / "out").iloc[0]
    assert row["least_possible_p"] == pytest.approx(2 / 20)
    assert bool(row["exhaustive"])
    assert row["above_positive"] == 0
    assert "No p value below 0.1 is possible with 6 people (AD 3, CN 3)" in caplog.text


def test_maps_that_are_nowhere_below_zero_are_not_tested_against_zero_in_silence(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any]
) -> None:
    for one in people:
        one["map"] = np.abs(one["map"])
    row = analysed(make_run(people), tmp_path / "out", contrasts=[{"kind": "zero"}]).iloc[0]
    assert "No map has a value below zero" in row["cautions"]


def test_the_mask_decides_what_is_tested(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any], save_map: Callable[..., Path]
) -> None:
    from nilearn.datasets import load_mni152_brain_mask

    run = make_run(people)
    chosen = np.zeros(SHAPE)
    chosen[2:6, 3:9, 2:7] = 1
    path = save_map(
        "mask.nii.gz", chosen[::-1], RAS @ np.diag([-1.0, 1, 1, 1]) + np.array([[0, 0, 0, 40.0], *[[0] * 4] * 3])
    )
    row = analysed(run, tmp_path / "mask", mask=str(path)).iloc[0]
    assert row["voxels"] == chosen.sum()
    outside = volume(tmp_path / "mask", "lrp_target-AD-minus-CN_t")[chosen == 0]
    assert (outside == 0).all()
    row = analysed(run, tmp_path / "brain", within="brain").iloc[0]
    brain = load_mni152_brain_mask(resolution=1)
    centres = nib.affines.apply_affine(np.linalg.inv(brain.affine) @ RAS, np.moveaxis(np.indices(SHAPE), 0, -1))
    index = np.round(centres).astype(int)
    assert row["voxels"] == brain.get_fdata()[tuple(np.moveaxis(index, -1, 0))].sum()
    far = save_map("far.nii.gz", chosen, RAS + np.array([[0, 0, 0, 500.0], *[[0] * 4] * 3]))
    with pytest.raises(InputError, match=r"mask: .*far.nii.gz .* has no voxel on the maps' grid"):
        analysed(run, tmp_path / "far", mask=str(far))


def test_broken_maps_and_other_grids_are_refused(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any]
) -> None:
    shifted = RAS.copy()
    shifted[0, 3] += 1
    people[5]["affine"] = shifted
    run = make_run(people)
    with pytest.raises(InputError, match=r"sub-05(?s:.)*another grid"):
        analysed(run, tmp_path / "grid")
    found = analysed(run, tmp_path / "resampled", resample=True, spacing=8, within="brain")
    assert found.iloc[0]["n"] == 12
    broken = people[1]["map"].copy()
    broken[0, 0, 0] = np.nan
    path = next(record.path for record in run.maps() if record.scan_id == "sub-01")
    nib.save(nib.Nifti1Image(broken, RAS), path)
    with pytest.raises(InputError, match="1 voxels that are NaN"):
        analysed(run, tmp_path / "nan")
    path.unlink()
    with pytest.raises(InputError, match="1 of 12 maps are missing: sub-01"):
        analysed(run, tmp_path / "missing")


def test_regions_are_named(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any], save_map: Callable[..., Path]
) -> None:
    labels = np.zeros(SHAPE)
    labels[:5], labels[6:] = 1, 2
    atlas = {"image": str(save_map("atlas.nii.gz", labels)), "table": str(tmp_path / "atlas.tsv"), "space": "mni"}
    (tmp_path / "atlas.tsv").write_text("index\tname\n1\tLeft-Half\n2\tRight-Half\n")
    analysed(make_run(people), tmp_path / "out", atlas=atlas)
    clusters = table(tmp_path / "out", "clusters")
    assert set(clusters["region"]) == {"Left-Half"}
    assert set(clusters["regions"]) == {"Left-Half 100 %"}
    files = create("analysis", "group-contrasts", atlas=atlas).inputs(RunResults(tmp_path / "run"))
    assert [file.name for file in files] == ["atlas.nii.gz", "atlas.tsv"]


def test_all_that_is_wrong_with_a_run_is_named(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[Any]
) -> None:
    run = make_run(people)
    wrong = [
        {"by": "sxe"}, {"by": "sex", "first": "X"}, {"by": "target", "among": {"sex": "Q"}},
        {"kind": "covariate", "by": "sex"}, {"kind": "explainers"}, {"kind": "folds"},
    ]  # fmt: skip
    with pytest.raises(InputError) as error:
        analysed(run, tmp_path / "out", contrasts=wrong)
    for text in (
        r"contrasts[0]: by: there is no column 'sxe' Did you mean 'sex'?", "contrasts[1]: by: sex: there is no 'X'",
        "contrasts[2]: among: sex: there is no 'Q'", "contrasts[3]: by: sex holds no numbers",
        "contrasts[4]: there is only one explainer", "contrasts[5]: folds: one fold was tested",
    ):  # fmt: skip
        assert text in str(error.value)
    with pytest.raises(InputError, match=r"covariates: there is no column 'aeg'.* is the column 'target'"):
        analysed(run, tmp_path / "covariates", covariates=["aeg"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"space": "scan"}, "template: mni needs scans in MNI space"),
        ({"space": "scan", "template": "mean-image"}, "within: brain is the MNI brain"),
        ({"variance": "unequal", "covariates": ["age"]}, "takes no covariates"),
        ({"inference": "none"}, "threshold: fwe needs permutations"),
        ({"threshold": "p", "level": 2}, "no p value below 1"),
        ({"permutations": 19, "level": 0.01}, "with 19 permutations no p value is below 0.05"),
        ({"contrasts": [{"kind": "groups"}]}, r"contrasts\[0\]: groups needs by"),
        ({"contrasts": [{"kind": "zero", "second": "AD"}]}, "zero takes no second"),
        ({"contrasts": [{"kind": "covariate", "by": "age", "paired": True}]}, "covariate takes no paired"),
        ({"contrasts": [{"by": "a", "second": "b"}]}, "second needs first"),
        ({"contrasts": [{"by": "a", "first": "b", "second": "b"}]}, "first and second are both 'b'"),
        ({"contrasts": [{"by": "a", "id": "x"}, {"by": "b", "id": "x"}]}, "the id 'x' is there twice"),
        ({"contrasts": [{"by": "a", "id": "a/b"}]}, "names files"),
    ],
)  # fmt: skip
def test_contradictions_are_refused_before_any_work(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("analysis", "group-contrasts", **params)


def test_a_study_is_refused_before_training() -> None:
    people = pd.DataFrame({"scan_id": ["a", "b"], "subject_id": ["a", "b"], "target": ["CN", "AD"], "sex": ["F", "M"]})

    def check(**params: Any) -> None:
        create("analysis", "group-contrasts", **params).check_study(people, "classification", ("CN", "AD"))

    check()
    check(contrasts=[{"by": "correct"}, {"by": "prediction", "first": "AD"}, {"by": "sex", "among": {"target": "AD"}}])
    with pytest.raises(InputError) as error:
        check(
            covariates=["aeg"],
            contrasts=[{"by": "sxe"}, {"by": "sex", "first": "X"}],
            atlas="no-such",
            mask="/no/mask.nii",
        )
    for text in ("covariates: there is no column 'aeg'", "contrasts[0]:", "sex is never X. There are: F, M", "no-such",
                 "/no/mask.nii does not exist"):  # fmt: skip
        assert text in str(error.value)
    regression = create("analysis", "group-contrasts", contrasts=[{"by": "correct"}])
    with pytest.raises(InputError, match="predicts nobody correctly"):
        regression.check_study(people.assign(target=[1.0, 2.0]), "regression", None)


def test_a_regression_has_the_slope_on_its_target(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    people = [person(i, 50.0 + i, 50.5) for i in range(8)]
    found = analysed(make_run(people, classes=None), tmp_path / "out")
    assert list(found.index) == ["target-slope"]
    assert found.iloc[0]["effect"] == "partial correlation"


def test_a_group_called_others_is_not_everybody_else(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    people = [person(i, "CN", diagnosis=("A", "B", "others")[i % 3]) for i in range(15)]
    run, y = make_run(people), maps(people)
    named, rest = {"by": "diagnosis", "first": "A", "second": "others"}, {"by": "diagnosis", "first": "A"}
    rows = analysed(run, tmp_path / "out", contrasts=[{**named, "id": "named"}, {**rest, "id": "rest"}])
    assert rows["n_second"].tolist() == [5, 10]
    theirs = stats.ttest_ind(y[0::3], y[2::3], equal_var=False).statistic
    np.testing.assert_allclose(volume(tmp_path / "out", "lrp_named_t"), theirs, rtol=1e-4, atol=1e-5)


def test_the_first_visit_is_that_of_the_smallest_number(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    """The alphabet puts 10 before 2, and m06 before screening."""
    people, first = [], []
    for i, names in enumerate([("2", "10"), ("10", "2"), ("sc", "m06"), ("M12", "bl"), ("ses-9", "ses-11")]):
        for j, session in enumerate(names):
            about = {"subject": f"sub-{i}", "session_id": session}
            people.append(person(2 * i + j, "CN", **about) | {"scan": f"sub-{i}_ses-{session.removeprefix('ses-')}"})
        first.append(people[2 * i + (i in (1, 3))]["map"])
    analysed(make_run(people), tmp_path / "out", contrasts=[{"kind": "zero", "id": "mean"}], visits="first")
    theirs = stats.ttest_1samp(np.stack(first).astype(np.float64), 0).statistic
    np.testing.assert_allclose(volume(tmp_path / "out", "lrp_mean_t"), theirs, rtol=1e-4, atol=1e-5)


def test_an_infinite_covariate_is_a_missing_one(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    people[3]["age"] = np.inf
    row = analysed(make_run(people), tmp_path / "out", covariates=["age"]).iloc[0]
    assert (row["n"], row["n_second"], row["left_out"]) == (11, 5, 1)
    assert table(tmp_path / "out", "left-out")["reason"].tolist() == ["has no age"]


def test_too_few_people_are_told_with_the_reason(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    run = make_run([{**each, "education": None if each["target"] == "AD" else 12.0} for each in people])
    with pytest.raises(InputError, match=r"the group AD has 0 people; .* Left out: has no education \(6\)"):
        analysed(run, tmp_path / "out", covariates=["education"])


def test_the_first_visit_counts_even_where_it_is_on_no_side(
    make_run: Callable[..., RunResults], tmp_path: Path
) -> None:
    """Three classes by prediction: who is taken for MCI first and for AD later is nobody of AD - CN."""
    people, expected = [], {"CN": [], "AD": []}
    for i in range(8):
        group = ("CN", "AD")[i % 2]
        for visit, predicted in enumerate(("MCI", "AD") if i == 7 else (group, "MCI")):
            about = {"subject": f"sub-{i}", "session_id": f"M{6 * visit}"}
            row = person(20 * i + visit, group, predicted, **about)
            people.append(row | {"scan": f"sub-{i}_ses-M{6 * visit}"})
            if visit == 0 and predicted == group:
                expected[group].append(row["map"])
    run = make_run(people, classes=("CN", "MCI", "AD"))
    wanted = [{"by": "prediction", "first": "AD", "second": "CN", "id": "both"}]
    row = analysed(run, tmp_path / "out", contrasts=wanted, visits="first").iloc[0]
    assert (row["n_first"], row["n_second"], row["left_out"]) == (3, 4, 1)
    assert table(tmp_path / "out", "left-out")["reason"].tolist() == [
        "is here with a later visit only, and the first one counts"
    ]
    theirs = stats.ttest_ind(np.stack(expected["AD"]), np.stack(expected["CN"]), equal_var=False).statistic
    np.testing.assert_allclose(volume(tmp_path / "out", "lrp_both_t"), theirs, rtol=1e-4, atol=1e-5)
    # The first visit of those that are asked for, where only some are.
    later = [{**wanted[0], "first": "MCI", "second": "AD", "among": {"session_id": "M6"}}]
    with pytest.raises(InputError, match="the group AD has 1 person"):
        analysed(run, tmp_path / "later", contrasts=later, visits="first")


def test_what_is_corrected_over_is_said(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    found = analysed(make_run(people), tmp_path / "out", contrasts=[{"by": "target"}, {"by": "sex"}])
    voxels = int(np.prod(SHAPE))
    assert set(found["corrected_over"]) == {
        f"the {voxels} voxels of this contrast of lrp, not the 2 contrasts of the analysis"
    }
    np.testing.assert_allclose(found["least_p_fwe_all"], np.minimum(2 * found["least_p_fwe"], 1))
    one = analysed(RunResults(tmp_path / "run"), tmp_path / "one")
    assert one.iloc[0]["corrected_over"] == f"the {voxels} voxels of this contrast of lrp"
    assert one.iloc[0]["least_p_fwe_all"] == one.iloc[0]["least_p_fwe"]
    assert "n_first\t" in (tmp_path / "out" / "contrasts.tsv").read_text()
    assert "\t6\t6\t12\t12\t" in (tmp_path / "out" / "contrasts.tsv").read_text()  # whole numbers, not 6.0


def test_groups_without_any_spread_are_counted_by_themselves(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for each in people:
        each["map"][0, 0, :2] = each["target"] == "AD"
        each["map"][0, 1, 0] = 7.0
    row = analysed(make_run(people), tmp_path / "out").iloc[0]
    assert (row["separated_voxels"], row["constant_voxels"]) == (2, 1)
    assert "2 voxels are not tested, because all of a group are alike there, but the groups differ" in row["cautions"]


def test_peaks_of_equal_height_do_not_depend_on_how_scans_are_stored(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for each in people:
        each["map"][8, 9, 5] = each["map"][2, 4, 4] = 30 * (each["target"] == "AD") + each["map"][0, 0, 0]
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = SHAPE[0] - 1
    turned = [{**each, "map": each["map"][::-1].copy(), "affine": RAS @ mirror} for each in people]
    straight = analysed(make_run(people), tmp_path / "a").iloc[0]
    (tmp_path / "run").rename(tmp_path / "other")
    shutil.rmtree(tmp_path / "scans")
    mirrored = analysed(make_run(turned), tmp_path / "b").iloc[0]
    for axis in "xyz":
        assert straight[f"peak_{axis}"] == mirrored[f"peak_{axis}"]
    assert straight["peak_x"] == -12.0
