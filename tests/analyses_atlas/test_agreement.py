"""Agreement of maps against pingouin, SciPy and statsmodels, by hand, and what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from scipy import stats

from xai_analyses_atlas._agreement.icc import intraclass
from xai_analyses_atlas._agreement.similarity import prepared, similarity, top_weights
from xai_analyses_atlas._agreement.sites import covariation, site_test
from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance

SHAPE = (7, 8, 6)
AFFINE = np.diag([8.0, 8, 8, 1]) + np.array([[0, 0, 0, -24], [0, 0, 0, -40], [0, 0, 0, -16], [0, 0, 0, 0.0]])
# Shrout and Fleiss 1979, table 2: six people, four judges.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)


class TestAgreement(AnalysisConformance):
    name = "agreement"


class TestAgreementOfScans(AnalysisConformance):
    name = "agreement"
    params: ClassVar[dict[str, Any]] = {"space": "scan", "sign": "absolute", "compare": None}


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)


def study(
    folder: Path,
    people: int = 6,
    explainers: Sequence[str] = ("lrp", "gradcam"),
    repeats: int = 1,
    visits: int = 1,
    seed: int = 0,
    classes: Sequence[str] | None = ("CN", "AD"),
    **columns: Sequence[Any],
) -> RunResults:
    """A run of random maps that share a part by person, and columns of people."""
    folder.mkdir(parents=True)
    slots = [{"id": name, "name": name, "params": {}} for name in explainers]
    (folder / "pipeline.resolved.yaml").write_text(json.dumps({"version": 1, "explainers": slots}))
    info = {"task": "classification" if classes else "regression", "classes": classes}
    (folder / "run.json").write_text(json.dumps(info))
    subjects, predictions, splits = [], [], []
    for number in range(people):
        own = np.random.default_rng(number).normal(size=SHAPE)
        target = classes[number % 2] if classes else 50.0 + number
        for visit in range(visits):
            person = f"{number:02d}"
            scan = f"sub-{person}" if visits == 1 else f"sub-{person}_ses-{visit + 1}"
            more = {name: values[number] for name, values in columns.items()}
            session = None if visits == 1 else str(visit + 1)
            about = {"scan_id": scan, "subject_id": person, "target": target, "session_id": session}
            subjects.append({**about, **more, "age": 50 + 3.0 * number})
            for repeat in range(repeats):
                noise = np.random.default_rng([seed, number, visit, repeat])
                chance = 0.1 + 0.8 * noise.random()
                predicted = {"prediction": target, "probability_CN": 1 - chance, "probability_AD": chance}
                given = predicted if classes else {"prediction": target + noise.normal()}
                predictions.append({"fold": repeat, "repeat": repeat, "scan_id": scan, "subject_id": person,
                                    "target": target, **given})  # fmt: skip
                splits.append({"fold": repeat, "repeat": repeat, "part": "test", "subject_id": person})
                for explainer in explainers:
                    values = own + noise.normal(size=SHAPE)
                    write(folder, scan, person, explainer, repeat, values, repeats > 1, str(target))
    for name, rows in (("subjects", subjects), ("predictions", predictions), ("splits", splits)):
        pd.DataFrame(rows).drop_duplicates().to_csv(folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")
    return RunResults(folder)


def write(
    folder: Path, scan: str, person: str, explainer: str, fold: int, values: Any, several: bool, output: str,
    affine: Any = AFFINE,
) -> Path:  # fmt: skip
    suffix = f"_desc-{explainer}{f'fold{fold}' if several else ''}_relevance"
    path = folder / "derivatives" / f"sub-{person}" / f"{scan}{suffix}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values, dtype=np.float32), affine), path)
    sidecar = {"scan_id": scan, "subject_id": person, "explainer_id": explainer, "fold": fold, "target_name": output,
               "output": float(np.sum(values))}  # fmt: skip
    path.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def analysed(run: RunResults, output: Path, **params: Any) -> dict[str, pd.DataFrame]:
    output.mkdir(parents=True)
    params = {"resamples": 100, "permutations": 99, **params}
    create("analysis", "agreement", space="scan", **params).analyse(run, output)
    return {path.stem: read(path) for path in output.glob("*.tsv")}


def read(path: Path) -> pd.DataFrame:
    text = {"subject_id": str, "scan_a": str, "scan_b": str, "a": str, "b": str}
    return pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False, dtype=text)


def maps_of(run: RunResults) -> dict[tuple[str, str, int], np.ndarray]:
    return {(r.explainer, r.scan_id, r.fold): np.asarray(nib.load(r.path).dataobj, float) for r in run.maps()}


# Intraclass correlations


@pytest.mark.parametrize("shape", [(6, 4), (40, 2), (9, 3), (5, 5)])
def test_icc_is_pingouins(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(shape[0])
    values = JUDGES if shape == (6, 4) else generator.normal(size=(shape[0], 1)) + generator.normal(size=shape)
    if shape == (5, 5):  # raters who contradict each other
        values = np.array([[1.0, 5, 2, 4, 3], [5, 1, 4, 2, 3], [2, 3, 3, 4, 2], [4, 2, 3, 1, 5], [3, 4, 1, 5, 2]])
    values = values + np.arange(shape[1])  # raters differ in level, so that agreement is less than consistency
    long = pd.DataFrame(
        [(i, j, values[i, j]) for i in range(shape[0]) for j in range(shape[1])], columns=["who", "rater", "value"]
    )
    before = dict(pingouin.options)
    pingouin.options["round"] = None
    pingouin.options["round.column.CI95"] = None
    reference = pingouin.intraclass_corr(long, targets="who", raters="rater", ratings="value").set_index("Type")
    pingouin.options.update(before)
    found = intraclass(values)
    assert not isinstance(found, str)
    for mine, name in zip(found, ("ICC(A,1)", "ICC(C,1)"), strict=True):
        theirs = reference.loc[name]
        assert mine.value == pytest.approx(theirs["ICC"], abs=1e-9)
        assert (mine.f, mine.p) == pytest.approx((theirs["F"], theirs["pval"]), rel=1e-6)
        assert (mine.df1, mine.df2) == (theirs["df1"], theirs["df2"])
        assert (mine.low, mine.high) == pytest.approx(tuple(theirs["CI95"]), abs=1e-9)


def test_icc_of_the_published_example() -> None:
    found = intraclass(JUDGES)
    assert not isinstance(found, str)
    # Shrout and Fleiss 1979, table 4: .29 and .71; intervals as R's irr::icc prints them.
    assert [round(each.value, 2) for each in found] == [0.29, 0.71]
    assert (found[0].low, found[0].high) == pytest.approx((0.0188, 0.7611), abs=5e-5)
    assert (found[1].low, found[1].high) == pytest.approx((0.3425, 0.9459), abs=5e-5)


def test_icc_by_hand_and_at_its_ends() -> None:
    # Rows 1 2 / 3 4 / 5 6: people 8 each step, raters 1 apart, no error.
    first, second = intraclass([[1, 2], [3, 4], [5, 6]])
    assert second.value == second.low == second.high == 1
    assert first.value == pytest.approx(8 / (8 + 2 * 1.5 / 3), abs=1e-12)
    same = intraclass([[1, 1], [2, 2], [5, 5]])
    assert not isinstance(same, str)
    assert [each.value for each in same] == [1, 1]
    assert (same[0].low, same[0].high, same[0].p) == (1, 1, 0)
    tiny = intraclass(JUDGES * 1e-180)
    assert not isinstance(tiny, str)
    assert tiny[0].value == pytest.approx(0.28976, abs=1e-5)
    assert intraclass(np.full((5, 2), 3.0)) == "every value is 3"
    assert "2 people and 2 raters" in intraclass([[1, 2], [3, 4]])


# Two maps


def test_similarity_is_scipys_and_dice_counts_voxels() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=5000)
    b = 0.4 * a + np.round(generator.normal(size=5000), 1)
    found = similarity(prepared(a, 0.02), prepared(b, 0.02))
    assert found.pearson == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-7)
    assert found.spearman == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-7)
    c = a + generator.normal(size=5000)
    tops = [set(np.argsort(values)[-100:]) for values in (a, c)]
    shared = similarity(prepared(a, 0.02), prepared(c, 0.02))
    assert shared.dice == pytest.approx(len(tops[0] & tops[1]) / 100, abs=1e-7)
    scaled = similarity(prepared(a * 1e-30, 0.02), prepared(c * 1e20, 0.02))
    assert scaled.spearman == shared.spearman
    assert scaled.pearson == pytest.approx(shared.pearson, abs=1e-7)


def test_top_voxels_with_ties_share_their_places() -> None:
    weights = top_weights(np.array([5.0, 3, 3, 3, 3, 1, 0, 0, 0, 0]), 0.3)
    assert weights.tolist() == [1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0]
    coarse = prepared(np.array([2.0, 2, 2, 0, 0, 0, 0, 0, 0, 0]), 0.1)
    assert similarity(coarse, coarse).dice == 1
    assert top_weights(np.array([1.0, 2, 3]), 0.01).tolist() == [0, 0, 1]
    unrelated = [prepared(np.random.default_rng(seed).normal(size=40_000), 0.05) for seed in (1, 2)]
    assert similarity(*unrelated).dice == pytest.approx(0.05, abs=0.01)


def test_a_constant_map_agrees_with_nothing() -> None:
    found = similarity(prepared(np.full(9, 2.0), 0.2), prepared(np.arange(9.0), 0.2))
    assert (found.pearson, found.spearman, found.dice) == (None, None, None)


# The analysis


def test_pairs_summary_and_icc_are_those_of_scipy_and_pandas(tmp_path: Path) -> None:
    run = study(tmp_path / "run", people=8, repeats=3)
    tables = analysed(run, tmp_path / "out", resamples=300)
    maps, pairs = maps_of(run), tables["pairs"]
    assert (pairs["comparison"].value_counts().to_dict()) == {"explainers": 24, "folds": 48}
    for row in pairs.itertuples():
        names = (row.a, row.b) if row.comparison == "explainers" else (row.explainer, row.explainer)
        first, second = maps[names[0], row.scan_a, row.fold_a], maps[names[1], row.scan_b, row.fold_b]
        assert row.pearson == pytest.approx(stats.pearsonr(first.ravel(), second.ravel()).statistic, abs=1e-6)
        assert row.spearman == pytest.approx(stats.spearmanr(first.ravel(), second.ravel()).statistic, abs=1e-6)
    folds = pairs[(pairs["comparison"] == "folds") & (pairs["explainer"] == "lrp")]
    means = folds.groupby("subject_id")["pearson"].mean()
    summary = tables["summary"].set_index(["comparison", "explainer", "measure"])
    row = summary.loc[("folds", "lrp", "pearson")]
    assert (row["people"], row["pairs"], row["not_defined"]) == (8, 24, 0)
    assert row["mean"] == pytest.approx(means.mean(), rel=1e-9)
    assert row["sd"] == pytest.approx(means.std(), rel=1e-9)
    assert row["low"] < row["mean"] < row["high"]
    sums = pd.DataFrame({
        repeat: [maps["lrp", f"sub-{i:02d}", repeat].sum() for i in range(8)] for repeat in range(3)
    })  # fmt: skip
    expected = intraclass(sums.to_numpy())
    icc = tables["icc"].set_index(["comparison", "explainer", "measure", "icc"])
    for each in expected:
        assert icc.loc[("folds", "lrp", "sum", each.kind), "value"] == pytest.approx(each.value, rel=1e-6)
    between = tables["icc"].query("comparison == 'explainers'")
    assert set(between["measure"]) == {"positive_share"}  # sums of two explainers have different units


def test_other_people_are_the_baseline_without_a_mask_it_is_unknown(tmp_path: Path) -> None:
    run = study(tmp_path / "run")
    mask = tmp_path / "mask.nii.gz"
    inside = np.zeros(SHAPE)
    inside[1:6, 2:7, 1:5] = 1
    nib.save(nib.Nifti1Image(inside, AFFINE), mask)
    pairs = analysed(run, tmp_path / "out", mask=str(mask))["pairs"].set_index("subject_id")
    maps, chosen = maps_of(run), inside.astype(bool)
    assert set(pairs["voxels"]) == {100}
    # Person 02 after 00 (both CN), person 00, the first, with the next CN.
    for mine, other in (("02", "00"), ("00", "02"), ("03", "01"), ("01", "03")):
        a, b = pairs.loc[mine, ["a", "b"]]
        expected = stats.pearsonr(maps[a, f"sub-{mine}", 0][chosen], maps[b, f"sub-{other}", 0][chosen])
        assert pairs.loc[mine, "pearson_other_person"] == pytest.approx(expected.statistic, abs=1e-6)
    assert (pairs["pearson"] > pairs["pearson_other_person"]).all()
    unknown = analysed(run, tmp_path / "unknown")
    assert unknown["pairs"]["pearson_other_person"].isna().all()
    assert unknown["summary"]["above_other_person"].isna().all()


def test_runs_of_other_seeds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, other = study(tmp_path / "a"), study(tmp_path / "b", seed=1, people=5)
    tables = analysed(run, tmp_path / "out", runs=[str(other.folder)], explainers=["lrp"])
    runs = tables["pairs"]
    assert set(runs["comparison"]) == {"runs"}
    assert len(runs) == 5
    first, second = maps_of(run)["lrp", "sub-03", 0], maps_of(other)["lrp", "sub-03", 0]
    row = runs.set_index("subject_id").loc["03"]
    assert row["spearman"] == pytest.approx(stats.spearmanr(first.ravel(), second.ravel()).statistic, abs=1e-6)
    icc = tables["icc"].set_index(["measure", "icc"])
    assert set(icc["people"]) == {5}
    assert set(icc["left_out"]) == {1}  # the sixth person was explained by one run only
    copy = study(tmp_path / "copy")
    analysed(run, tmp_path / "same", runs=[str(copy.folder)])
    assert "the maps of all runs are the same" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "is there twice, or is the run itself"),
        (["b", "b"], "is there twice"),
        (["none"], "runs: .*none is not a run folder"),
    ],
)
def test_runs_that_are_none(tmp_path: Path, names: list[str], message: str) -> None:
    run = study(tmp_path / "a", people=3)
    study(tmp_path / "b", people=3)
    (tmp_path / "out").mkdir()
    analysis = create("analysis", "agreement", space="scan")
    analysis.runs = [str(tmp_path / name) for name in names]  # the schema refuses the same text twice
    with pytest.raises(InputError, match=message):
        analysis.analyse(run, tmp_path / "out")


def test_a_run_of_another_study_is_refused(tmp_path: Path) -> None:
    run, other = study(tmp_path / "a", people=3), study(tmp_path / "b", people=3)
    for folder, value in ((run.folder, "x"), (other.folder, "y")):
        info = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**info, "hashes": {"sub-00": value, "sub-01": "z"}}))
    with pytest.raises(InputError, match=r"1 scans of b are other files .* such as sub-00"):
        analysed(run, tmp_path / "hashes", runs=[str(other.folder)])
    regression = study(tmp_path / "c", people=3, classes=None)
    with pytest.raises(InputError, match="predicts something else"):
        analysed(run, tmp_path / "task", runs=[str(regression.folder)])
    without = study(tmp_path / "d", people=3, explainers=("occlusion",))
    with pytest.raises(InputError, match="has no explainer lrp, gradcam"):
        analysed(run, tmp_path / "explainer", runs=[str(without.folder)])


def test_visits_and_who_counts_once(tmp_path: Path) -> None:
    run = study(tmp_path / "run", visits=3, explainers=("lrp",))
    tables = analysed(run, tmp_path / "out")
    assert set(tables["pairs"]["comparison"]) == {"visits"}
    assert len(tables["pairs"]) == 18
    assert set(tables["icc"]["raters"]) == {2}  # the first two
    assert set(tables["icc"]["people"]) == {6}
    maps = maps_of(run)
    table = [[maps["lrp", f"sub-{i:02d}_ses-{v}", 0].sum() for v in (1, 2)] for i in range(6)]
    found = tables["icc"].query("measure == 'sum'").set_index("icc")["value"]
    for each in intraclass(np.asarray(table)):
        assert found[each.kind] == pytest.approx(each.value, rel=1e-6)
    assert tables["people"]["scan_id"].tolist() == [f"sub-{i:02d}_ses-1" for i in range(6)]
    assert set(tables["relations"]["n"]) == {6}


def test_relations_are_scipys(tmp_path: Path) -> None:
    run = study(tmp_path / "run", people=9, explainers=("lrp",), score=[3.0, 1, 4, 1, 5, 9, 2, np.nan, 6])
    tables = analysed(run, tmp_path / "out", relate=["age", "score"])
    maps = maps_of(run)
    names = [f"sub-{i:02d}" for i in range(9)]
    sums = np.array([maps["lrp", name, 0].sum() for name in names])
    rows = tables["relations"].set_index(["map", "person", "method"])
    expected = stats.pearsonr(sums, 50 + 3.0 * np.arange(9))
    row = rows.loc[("sum", "age", "pearson")]
    assert (row["r"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-6)
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval()), abs=1e-6)
    assert tuple(rows.loc[("sum", "score", "spearman"), ["n", "left_out"]]) == (8, 1)
    assert {"probability_AD", "output", "age", "score"} == set(tables["relations"]["person"])
    people = tables["people"].set_index("scan_id")
    cn = [f"sub-{i:02d}" for i in range(0, 9, 2)]
    others = np.mean([maps["lrp", name, 0] for name in cn[1:]], axis=0)
    mine = stats.pearsonr(maps["lrp", cn[0], 0].ravel(), others.ravel()).statistic
    assert people.loc[cn[0], "likeness"] == pytest.approx(mine, abs=1e-6)
    values = maps["lrp", cn[0], 0]
    assert people.loc[cn[0], "positive_share"] == pytest.approx(values[values > 0].sum() / np.abs(values).sum())
    regression = study(tmp_path / "regression", people=5, classes=None, explainers=("lrp",))
    found = analysed(regression, tmp_path / "age")["relations"]
    assert {"age", "target", "prediction", "output"} == set(found["person"])


def test_what_is_constant_or_missing_is_on_record(tmp_path: Path) -> None:
    run = study(tmp_path / "run", people=5)
    write(run.folder, "sub-02", "02", "lrp", 0, np.zeros(SHAPE), False, "CN")
    missing = write(run.folder, "sub-03", "03", "gradcam", 0, np.ones(SHAPE), False, "AD")
    missing.unlink()
    with pytest.raises(InputError, match="is missing"):
        analysed(run, tmp_path / "missing")
    missing.with_suffix("").with_suffix(".json").unlink()
    tables = analysed(run, tmp_path / "out")
    pairs = tables["pairs"].set_index("subject_id")
    assert pairs.loc["02", "note"] == "constant within the brain: lrp"
    assert np.isnan(pairs.loc["02", "pearson"])
    row = tables["summary"].set_index("measure").loc["pearson"]
    assert (row["people"], row["pairs"], row["not_defined"]) == (3, 4, 1)
    assert "no map of gradcam in fold 0" in set(tables["left-out"]["reason"])
    icc = tables["icc"].set_index("icc")
    assert set(icc["people"]) == {3}
    broken = np.ones(SHAPE)
    broken[0, 0, 0] = np.nan
    write(run.folder, "sub-04", "04", "lrp", 0, broken, False, "CN")
    with pytest.raises(InputError, match="1 voxels that are NaN"):
        analysed(run, tmp_path / "nan")


def test_a_map_without_negative_relevance_has_no_icc_of_its_share(tmp_path: Path) -> None:
    run = study(tmp_path / "run", people=5)
    for number in range(5):
        positive = np.abs(maps_of(run)["gradcam", f"sub-{number:02d}", 0])
        write(run.folder, f"sub-{number:02d}", f"{number:02d}", "gradcam", 0, positive, False, ("CN", "AD")[number % 2])
    tables = analysed(run, tmp_path / "out")
    assert tables["icc"].empty
    assert "gradcam has one value for everybody" in set(tables["left-out"]["reason"])


def test_maps_that_explain_different_outputs_are_apart(tmp_path: Path) -> None:
    run = study(tmp_path / "run", repeats=2, explainers=("lrp",))
    write(run.folder, "sub-00", "00", "lrp", 1, np.random.default_rng(5).normal(size=SHAPE), True, "AD")
    summary = analysed(run, tmp_path / "out")["summary"].query("measure == 'dice'").set_index("output")
    assert summary["people"].to_dict() == {"same": 5, "different": 1}


def test_one_explainer_alone_still_says_what_maps_depend_on(tmp_path: Path) -> None:
    run = study(tmp_path / "run", explainers=("lrp",))
    tables = analysed(run, tmp_path / "out")
    assert tables["pairs"].empty
    assert tables["summary"].empty
    assert len(tables["people"]) == 6
    about = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert set(about["not_compared"]) == {"explainers", "folds", "runs", "visits", "sites"}
    with pytest.raises(InputError, match="explainers: there is one explainer, lrp; two are needed"):
        analysed(run, tmp_path / "asked", compare=["explainers"])
    with pytest.raises(InputError, match="visits: no tested person has two scans"):
        analysed(run, tmp_path / "visits", compare=["visits"])
    with pytest.raises(InputError, match="no column 'agee'"):
        analysed(run, tmp_path / "column", relate=["agee"])
    with pytest.raises(InputError, match="'target' holds no numbers"):
        analysed(run, tmp_path / "text", relate=["target"])


def test_other_grids_are_refused_within_a_person_and_across_people(tmp_path: Path) -> None:
    run = study(tmp_path / "run")
    shifted = AFFINE.copy()
    shifted[0, 3] += 4
    write(run.folder, "sub-01", "01", "lrp", 0, np.ones(SHAPE), False, "AD", shifted)
    with pytest.raises(InputError, match="another grid"):
        analysed(run, tmp_path / "within")
    for explainer in ("lrp", "gradcam"):
        values = maps_of(run)[explainer, "sub-01", 0]
        write(run.folder, "sub-01", "01", explainer, 0, values + np.arange(6), False, "AD", shifted)
    with pytest.raises(InputError, match="another grid"):
        analysed(run, tmp_path / "across")
    tables = {}
    (tmp_path / "resampled").mkdir()
    create("analysis", "agreement", resample=True, spacing=8).analyse(run, tmp_path / "resampled")
    tables = read(tmp_path / "resampled" / "pairs.tsv")
    assert len(tables) == 6
    with pytest.raises(ConfigError, match="resample: true needs scans in MNI space"):
        create("analysis", "agreement", resample=True, space="scan")


def test_the_study_is_checked_before_training(tmp_path: Path) -> None:
    table = study(tmp_path / "run").subjects()
    analysis = create(
        "analysis", "agreement", compare=["visits", "sites", "runs"], mask=str(tmp_path / "none.nii"), relate=["agge"]
    )
    with pytest.raises(InputError) as error:
        analysis.check_study(table, "classification", ["CN", "AD"])
    for part in ("nobody has two scans", "fewer than two sites", "no other runs are given", "none.nii does not exist",
                 "no column 'agge'"):  # fmt: skip
        assert part in str(error.value)
    other = study(tmp_path / "other")
    fine = create("analysis", "agreement", runs=[str(other.folder)])
    fine.check_study(table, "classification", ["CN", "AD"])
    names = {path.name for path in fine.inputs(other)}
    assert {"run.json", "predictions.tsv", "sub-00_desc-lrp_relevance.nii.gz"} <= names


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    run = study(tmp_path / "run", people=8, repeats=2, site=list("aabbaabb"))
    for name in ("first", "second"):
        analysed(run, tmp_path / name, permutations=99, resamples=100)
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
    assert {"agreement-explainers.png", "agreement-explainers.svg"} <= {p.name for p in (tmp_path / "first").iterdir()}


# Sites


def confounded(seed: int, effect: float = 0.0) -> tuple[np.ndarray, pd.DataFrame]:
    """Correlations of maps that depend on the class; site A has most of one class, site B of the other."""
    generator = np.random.default_rng(seed)
    people = pd.DataFrame({"target": ["CN"] * 10 + ["AD"] * 10, "age": generator.uniform(60, 80, 20)})
    people["site"] = ["A"] * 8 + ["B"] * 2 + ["A"] * 2 + ["B"] * 8
    of_class, of_site = generator.normal(size=(2, 300)), generator.normal(size=(2, 300))
    noise = generator.normal(size=(20, 300))
    maps = (
        noise + of_class[(people["target"] == "AD").astype(int)] + effect * of_site[(people["site"] == "B").astype(int)]
    )
    return np.corrcoef(maps), people


def test_the_site_test_is_the_regression_of_statsmodels() -> None:
    similarity_, people = confounded(3)
    others = covariation(people, ["target", "age"])
    apart = others.pairs
    assert apart.shape == (190, 4)  # CN with AD, AD with AD, and two of age
    upper = np.triu_indices(20, 1)
    same = (people["site"].to_numpy()[upper[0]] == people["site"].to_numpy()[upper[1]]).astype(float)
    found = site_test(similarity_, people["site"].tolist(), others, 99, np.random.default_rng(0))
    reference = sm.OLS(similarity_[upper], sm.add_constant(np.column_stack([same, apart]))).fit()
    assert (found.adjusted, found.t) == pytest.approx((reference.params[1], reference.tvalues[1]), rel=1e-6)
    assert found.within == pytest.approx(similarity_[upper][same == 1].mean())
    assert found.between == pytest.approx(similarity_[upper][same == 0].mean())
    # The permutation by brute force: the residuals of "same site" as a matrix, rows and columns shuffled alike
    # within each class; categories sort as AD, CN.
    rest = sm.OLS(same, sm.add_constant(apart)).fit().resid
    square = np.zeros((20, 20))
    square[upper] = rest
    square += square.T
    generator, extreme = np.random.default_rng(0), 0
    for _ in range(99):
        order = np.concatenate([generator.permutation(np.arange(10, 20)), generator.permutation(np.arange(10))])[
            [*range(10, 20), *range(10)]
        ]
        columns = sm.add_constant(np.column_stack([square[np.ix_(order, order)][upper], apart]))
        extreme += abs(sm.OLS(similarity_[upper], columns).fit().tvalues[1]) >= abs(found.t)
    assert found.p == pytest.approx((extreme + 1) / 100)


def test_sites_of_different_patients_are_no_scanner_effect() -> None:
    plain, adjusted = [], []
    for seed in range(60):
        similarity_, people = confounded(seed)
        sites, none = people["site"].tolist(), covariation(people, [])
        generator = np.random.default_rng(seed)
        plain.append(site_test(similarity_, sites, none, 99, generator).p <= 0.05)
        adjusted.append(site_test(similarity_, sites, covariation(people, ["target"]), 99, generator).p <= 0.05)
    assert np.mean(plain) > 0.8  # the class looks like a scanner effect where nobody asks for it
    assert np.mean(adjusted) <= 0.12
    similarity_, people = confounded(0, effect=1.0)
    found = site_test(
        similarity_, people["site"].tolist(), covariation(people, ["target"]), 199, np.random.default_rng(0)
    )
    assert found is not None
    assert found.p <= 0.02
    assert found.adjusted > 0
    people["hospital"] = people["site"]
    assert site_test(similarity_, people["site"].tolist(), covariation(people, ["hospital"]), 99, generator) is None


def test_sites_in_the_analysis(tmp_path: Path) -> None:
    sites = ["a", "a", "b", "b", "a", "b", None, "a"]
    run = study(tmp_path / "run", people=8, explainers=("lrp",), site=sites)
    tables = analysed(run, tmp_path / "out", permutations=99)
    row = tables["sites"].iloc[0]
    assert (row["people"], row["sites"], row["adjusted_for"]) == (7, "a 4; b 3", "target, explained, age")
    maps = maps_of(run)
    kept = [i for i, site in enumerate(sites) if site]
    square = np.corrcoef([maps["lrp", f"sub-{i:02d}", 0].ravel() for i in kept])
    within = [square[i, j] for i in range(7) for j in range(i) if sites[kept[i]] == sites[kept[j]]]
    assert row["within"] == pytest.approx(np.mean(within), abs=1e-6)
    absolute = analysed(run, tmp_path / "absolute", sign="absolute")["sites"].iloc[0]
    square = np.corrcoef([np.abs(maps["lrp", f"sub-{i:02d}", 0]).ravel() for i in kept])
    within = [square[i, j] for i in range(7) for j in range(i) if sites[kept[i]] == sites[kept[j]]]
    assert absolute["within"] == pytest.approx(np.mean(within), abs=1e-6)
    assert "06" in set(tables["left-out"]["subject_id"])


def test_regions_of_an_atlas(tmp_path: Path) -> None:
    run, other = study(tmp_path / "a"), study(tmp_path / "b", seed=1)
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[:3], labels[4:] = 1, 2
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "atlas.nii.gz")
    (tmp_path / "atlas.tsv").write_text("index\tname\n1\tfirst\n2\tsecond\n")
    for folder in (run.folder, other.folder):
        subjects = pd.read_csv(folder / "subjects.tsv", sep="\t", dtype={"subject_id": str}, keep_default_na=False)
        for scan in subjects["scan_id"]:
            nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), AFFINE), tmp_path / f"{scan}.nii.gz")
        subjects["image"] = [str(tmp_path / f"{scan}.nii.gz") for scan in subjects["scan_id"]]
        subjects.to_csv(folder / "subjects.tsv", sep="\t", index=False)
    atlas = {"image": str(tmp_path / "atlas.nii.gz"), "space": "scan"}
    tables = analysed(run, tmp_path / "out", atlas=atlas, runs=[str(other.folder)])
    icc = tables["icc"].set_index(["comparison", "explainer", "region", "measure", "icc"]).sort_index()
    shares = []
    for each in (run, other):
        maps = maps_of(each)
        values = [np.abs(maps["lrp", f"sub-{i:02d}", 0]) for i in range(6)]
        shares.append([found[4:].sum() / found.sum() for found in values])
    expected = intraclass(np.transpose(shares))
    assert not isinstance(expected, str)
    for each in expected:
        row = icc.loc[("runs", "lrp", "second", "share", each.kind)]
        assert (row["value"], row["low"]) == pytest.approx((each.value, each.low), abs=1e-6)
    assert ("explainers", "first") in {(row.comparison, row.region) for row in tables["icc"].itertuples()}
    sums = analysed(run, tmp_path / "sums", atlas=atlas, measure="sum", runs=[str(other.folder)])["icc"]
    assert set(sums[sums["region"] == "first"]["comparison"]) == {"runs"}  # explainers have other units
    names = {path.name for path in create("analysis", "agreement", space="scan", atlas=atlas).inputs(run)}
    assert names == {"atlas.nii.gz", "atlas.tsv"}
    with pytest.raises(InputError, match="no 'shares'"):
        analysed(run, tmp_path / "typo", atlas=atlas, measure="shares")


def test_people_whom_every_network_tested_are_compared_between_networks(tmp_path: Path) -> None:
    run = study(tmp_path / "run", repeats=3, explainers=("lrp",))
    for name in ("predictions", "splits"):  # a cohort that is only tested: three folds, one repeat
        table = pd.read_csv(run.folder / f"{name}.tsv", sep="\t", dtype={"subject_id": str}).assign(repeat=0)
        table.to_csv(run.folder / f"{name}.tsv", sep="\t", index=False)
    tables = analysed(run, tmp_path / "out")
    assert tables["pairs"]["comparison"].value_counts().to_dict() == {"folds": 18}
    assert set(tables["icc"]["raters"]) == {3}


def test_sites_are_adjusted_for_the_output_and_only_for_people_who_have_it(tmp_path: Path) -> None:
    score = [np.inf, *(float(i**2 % 7) for i in range(1, 10))]
    run = study(tmp_path / "a", people=10, explainers=("lrp",), site=list("AB" * 5), score=score)
    tables = analysed(run, tmp_path / "output", covariates=["output"])
    assert (tables["sites"]["people"].tolist(), tables["sites"]["adjusted_for"].tolist()) == ([10], ["output"])
    tables = analysed(run, tmp_path / "score", covariates=["score"])
    assert tables["sites"]["people"].tolist() == [9]
    lost = tables["left-out"][tables["left-out"]["comparison"] == "sites"]
    assert lost[["subject_id", "reason"]].to_numpy().tolist() == [["00", "no score"]]
    regression = study(tmp_path / "b", people=6, classes=None, explainers=("lrp",), site=list("AB" * 3))
    with pytest.raises(InputError, match=r"covariates: there is no column 'correct'.* is the column 'target'"):
        analysed(regression, tmp_path / "none", covariates=["correct"])


def test_visits_are_numbered_by_their_number(tmp_path: Path) -> None:
    run = study(tmp_path / "a", people=4, explainers=("lrp",), visits=2)
    for name in ("subjects", "predictions"):
        path = run.folder / f"{name}.tsv"
        rows = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        if "session_id" in rows:
            rows["session_id"] = rows["session_id"].map({"1": "10", "2": "9"})
        rows.to_csv(path, sep="\t", index=False)
    people = analysed(run, tmp_path / "out", compare=["visits"])["people"]
    assert people["session_id"].astype(str).tolist() == ["9"] * 4
    assert people["scan_id"].tolist() == [f"sub-{i:02d}_ses-2" for i in range(4)]
