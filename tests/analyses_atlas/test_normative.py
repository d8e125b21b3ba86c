"""w-scores against statsmodels and by hand, ranks against SciPy, and what a sentence may say."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import stats

from xai_analyses_atlas._normative.model import NormModel, fit
from xai_analyses_atlas._normative.percentiles import percent, rank_among
from xai_analyses_atlas._normative.sentences import Finding, Rule, sentences_of
from xai_analyses_atlas._normative.words import ENGLISH
from xai_analyses_atlas._normative.write import score
from xai_analyses_atlas.normative_scores import NormativeScores
from xai_core import InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance, example_run

REGIONS = (("Left-Hippocampus", "L", "Hippocampus"), ("Right-Hippocampus", "R", "Hippocampus"))


def study(
    folder: Path, classes: tuple[str, str] | None = ("CN", "AD"), train: int = 60, tested: int = 40
) -> tuple[RunResults, pd.DataFrame, pd.DataFrame]:
    """A run with people that it was trained on, features of all, and relevance by region of the tested ones."""
    generator = np.random.default_rng(4)
    people = [
        {
            "scan_id": f"sub-{i:03d}", "subject_id": f"sub-{i:03d}", "target": ("CN", "AD")[i % 2],
            "age": 60 + 25 * generator.random(), "sex": ("F", "M")[i % 3 == 0],
        }
        for i in range(train + tested)
    ]  # fmt: skip
    run = folder / "run"
    run.mkdir(parents=True)
    (run / "pipeline.resolved.yaml").write_text("version: 1\nexplainers: [{id: lrp, name: lrp, params: {}}]\n")
    task = "regression" if classes is None else "classification"
    (run / "run.json").write_text(json.dumps({"task": task, "classes": classes}))
    everybody = pd.DataFrame(people)
    everybody.to_csv(run / "subjects.tsv", sep="\t", index=False)
    predictions = everybody.iloc[train:].assign(fold=0, prediction=everybody["target"])
    predictions[["fold", "scan_id", "subject_id", "target", "prediction"]].to_csv(
        run / "predictions.tsv", sep="\t", index=False
    )
    parts = ["test" if i >= train else "train" for i in range(len(people))]
    splits = pd.DataFrame({"fold": 0, "part": parts, "subject_id": everybody["subject_id"]})
    splits.to_csv(run / "splits.tsv", sep="\t", index=False)
    features = []
    for person in everybody.itertuples():
        tiv = 1500 + 100 * generator.normal()
        ill = 600 * (person.target == "AD")
        features.append({"region": None, "feature": "eTIV", "value": tiv, "subject_id": person.subject_id})
        for name, *_ in REGIONS:
            value = 4000 - 20 * (person.age - 70) + tiv + 100 * (person.sex == "M") + 150 * generator.normal() - ill
            features.append({"region": name, "feature": "volume", "value": value, "subject_id": person.subject_id})
    regions = []
    for person in people[train:]:
        for number, (name, side, structure) in enumerate(REGIONS, 1):
            regions.append({
                "scan_id": person["scan_id"], "subject_id": person["scan_id"], "session_id": None, "fold": 0,
                "explainer": "lrp", "index": number, "region": name, "hemisphere": side, "structure": structure,
                "share": 0.1 + generator.random() * 0.1 + 0.05 * (person["target"] == "AD"),
            })  # fmt: skip
    table = pd.DataFrame(features).assign(session_id=None, unit="mm3", source="stats.tsv")
    table["scan_id"] = table["subject_id"]
    return RunResults(run), table, pd.DataFrame(regions)


def whole(folder: Path) -> tuple[RunResults, dict[str, Any]]:
    """The same with maps of the tested people, an atlas and a table of features, and the parameters for them."""
    run, features, _regions = study(folder, train=30, tested=12)
    labels = np.zeros((4, 5, 3))
    labels[0], labels[2:] = 1, 2
    affine = np.diag([4.0, 4, 4, 1])
    nib.save(nib.Nifti1Image(labels.astype(np.int16), affine), folder / "atlas.nii.gz")
    names = "".join(f"{number}\t{name}\n" for number, (name, *_) in enumerate(REGIONS, 1))
    (folder / "atlas.tsv").write_text(f"index\tname\n{names}")
    wide = features.assign(region=features["region"].fillna("eTIV")).pivot(
        index="scan_id", columns="region", values="value"
    )
    wide.rename_axis("participant_id").to_csv(folder / "volumes.tsv", sep="\t")
    subjects = run.subjects()
    for number, scan in enumerate(run.predictions()["scan_id"]):
        values = np.random.default_rng(number).normal(size=labels.shape).astype(np.float32)
        path = run.folder / "derivatives" / scan / f"{scan}_desc-lrp_relevance.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, affine), path)
        sidecar = {"scan_id": scan, "subject_id": scan, "explainer_id": "lrp", "fold": 0, "target_name": "AD"}
        path.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar))
        image = folder / "scans" / f"{scan}.nii.gz"
        image.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones(labels.shape, np.float32), affine), image)
        subjects.loc[subjects["scan_id"] == scan, "image"] = str(image)
    subjects.to_csv(run.folder / "subjects.tsv", sep="\t", index=False, na_rep="n/a")
    source = {"source": "table", "file": str(folder / "volumes.tsv"), "feature": "volume", "unit": "mm3"}
    params = {
        "atlas": {"image": str(folder / "atlas.nii.gz"), "space": "scan"}, "features": [source], "space": "scan",
        "minimum_controls": 10,
        "covariates": ["age", "sex", "volume of eTIV"],
    }  # fmt: skip
    return run, params


class TestNormativeScores(AnalysisConformance):
    name = "normative-scores"
    params: ClassVar[dict[str, Any]] = {"atlas": "a", "features": [{"source": "map", "map": "gm"}]}

    def test_writes_into_its_folder_only(self, tmp_path: Path) -> None:
        """The example run of the suite was trained on nobody, so that nothing can be expected of anybody."""
        run, params = whole(tmp_path)
        before = sorted(tmp_path.rglob("*"))
        (tmp_path / "output").mkdir()
        create("analysis", self.name, **params).analyse(run, tmp_path / "output")
        after = [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(tmp_path / "output")]
        assert after == before
        example = example_run(tmp_path / "example" / "run")
        (tmp_path / "example.tsv").write_text("id\tLeft-Hippocampus\n01\t5\n02\t6\n04\t7\n")
        params["features"][0]["file"] = str(tmp_path / "example.tsv")
        analysis = create("analysis", self.name, **{**params, "covariates": ["age"]})
        with pytest.raises(InputError, match="no model of the controls can be fitted"):
            analysis.analyse(example, tmp_path / "output")


def test_from_files_to_sentences(tmp_path: Path) -> None:
    run, params = whole(tmp_path)
    analysis = create("analysis", "normative-scores", **params)
    analysis.check_study(run.subjects(), "classification", ("CN", "AD"))
    assert {path.name for path in analysis.inputs(run)} == {"atlas.nii.gz", "atlas.tsv", "volumes.tsv"}
    output = tmp_path / "out"
    output.mkdir()
    analysis.analyse(run, output)
    table = read(output / "scores.tsv")
    assert len(table) == 24
    row = table[(table["scan_id"] == "sub-030") & (table["region"] == "Right-Hippocampus")].iloc[0]
    values = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32).astype(float)
    assert row["relevance"] == pytest.approx(np.abs(values[2:]).sum() / np.abs(values).sum(), rel=1e-6)
    people = run.subjects().set_index("scan_id").join(pd.read_csv(tmp_path / "volumes.tsv", sep="\t", index_col=0))
    people["y"] = people["Right-Hippocampus"]
    model = smf.ols("y ~ age + sex + eTIV", people.iloc[:30].query("target == 'CN'")).fit()
    expected = (people.loc["sub-030", "y"] - model.predict(people.loc[["sub-030"]]).iloc[0]) / np.sqrt(model.scale)
    assert row["w"] == pytest.approx(expected, rel=1e-6)
    about = json.loads((output / "models.json").read_text())
    assert about["explained_outputs"] == {"lrp": {"AD": 12}}
    # Six tested controls show the top 14 % at best: whatever is said, it is not of relevance.
    sentences = read(output / "sentences.tsv")
    assert set(sentences["scan_id"]) == set(run.predictions()["scan_id"])
    assert not sentences["sentence"].str.contains("relevance in the top").any()
    assert sentences["sentence"].str.contains("cannot show less than the top 1[57] %").all()


def test_the_study_is_checked_before_training(tmp_path: Path) -> None:
    run, params = whole(tmp_path)
    for changed, message in (
        ({"covariates": ["age", "ses"]}, "have ses"),
        ({"atlas": {"image": str(tmp_path / "none.nii.gz")}}, "none.nii.gz"),
        ({"atlas": str(tmp_path / "atlas.nii.gz")}, "set the atlas' space to scan"),
        ({"controls": ["XY"]}, "no class 'XY'"),
        ({"measure": "shared"}, "regions have no 'shared'"),
        ({"minimum_controls": 40}, "the study has 21 controls .CN.; 40 are needed"),
    ):
        analysis = create("analysis", "normative-scores", **{**params, **changed})
        with pytest.raises(InputError, match=message):
            analysis.check_study(run.subjects(), "classification", ("CN", "AD"))


def scored(run: RunResults, features: pd.DataFrame, regions: pd.DataFrame, output: Path, **params: Any) -> pd.DataFrame:
    output.mkdir(parents=True)
    score(run, output, NormativeScores(atlas="a", features=[{}], **params), features, regions)
    return read(output / "scores.tsv")


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False)


def test_model_and_scores_are_those_of_statsmodels() -> None:
    generator = np.random.default_rng(0)
    age = generator.uniform(50, 90, 40)
    design = np.column_stack([np.ones(40), age - 70, (age - 70) ** 2, generator.random(40) < 0.5]).astype(float)
    values = 3000 - 20 * age + 100 * generator.normal(size=40)
    model = fit(design, values)
    assert isinstance(model, NormModel)
    reference = sm.OLS(values, design).fit()
    np.testing.assert_allclose(model.coefficients, reference.params, rtol=1e-9)
    assert model.sd == pytest.approx(np.sqrt(reference.mse_resid), rel=1e-10)
    assert model.r2 == pytest.approx(reference.rsquared, rel=1e-9)
    new = np.array([[1, 25.0, 625.0, 1.0], [1, -3.0, 9.0, 0.0]])
    observed = np.array([1200.0, 2000.0])
    found = model.scores(new, observed)
    prediction = reference.get_prediction(new)
    np.testing.assert_allclose(found.expected, prediction.predicted_mean, rtol=1e-10)
    np.testing.assert_allclose(found.w, (observed - prediction.predicted_mean) / np.sqrt(reference.scale), rtol=1e-9)
    np.testing.assert_allclose(found.t, (observed - prediction.predicted_mean) / prediction.se_obs, rtol=1e-9)
    np.testing.assert_allclose(found.p, 2 * stats.t.sf(np.abs(found.t), reference.df_resid), rtol=1e-9)


def test_a_w_score_by_hand() -> None:
    # Without covariates: mean 5, squared residuals 16 + 4 + 4 + 16 = 40 over n - 1 = 3.
    model = fit(np.ones((4, 1)), np.array([1.0, 3.0, 7.0, 9.0]))
    assert isinstance(model, NormModel)
    assert model.scores(np.ones((1, 1)), np.array([0.0])).w[0] == pytest.approx(-5 / np.sqrt(40 / 3), rel=1e-12)
    assert model.scores(np.ones((1, 1)), np.array([0.0])).t[0] == pytest.approx(-5 / np.sqrt(40 / 3 * 1.25), rel=1e-12)


@pytest.mark.parametrize(
    ("design", "values", "reason"),
    [
        (np.ones((2, 2)), [1.0, 2.0], "2 controls for a model of 2"),
        (np.ones((5, 2)), [1.0, 2.0, 3.0, 4.0, 5.0], "repeat each other"),
        (np.ones((5, 1)), [7.0] * 5, "it is 7 for all 5"),
        (np.column_stack([np.ones(5), np.arange(5)]), 3.0 + 0.1 * np.arange(5), "combination of the covariates"),
    ],
)
def test_what_makes_no_model_says_why(design: np.ndarray, values: Sequence[float], reason: str) -> None:
    found = fit(design, np.asarray(values))
    assert isinstance(found, str)
    assert reason in found


def test_table_equals_a_formula_of_statsmodels(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    covariates = [{"column": "age", "degree": 2}, "sex", "eTIV"]
    table = scored(run, features, regions, tmp_path / "out", covariates=covariates)
    people = run.subjects().set_index("subject_id")
    people["eTIV"] = features[features["feature"] == "eTIV"].set_index("subject_id")["value"]
    for name, *_ in REGIONS:
        people["y"] = features[features["region"] == name].set_index("subject_id")["value"]
        controls = people.iloc[:60].query("target == 'CN'")
        reference = smf.ols("y ~ age + I(age**2) + sex + eTIV", controls).fit()
        mine = table[table["region"] == name].set_index("scan_id")
        tested = people.loc[mine.index]
        expected = reference.get_prediction(tested).predicted_mean
        np.testing.assert_allclose(mine["w"], (tested["y"] - expected) / np.sqrt(reference.scale), rtol=1e-6)
        assert set(mine["controls_fitted"]) == {30}
        assert set(mine["df"]) == {25}
    shares = regions.set_index(["region", "scan_id"])["share"]
    for row in table.itertuples():
        others = shares[row.region].drop(row.scan_id, errors="ignore")
        others = others[[people.loc[scan, "target"] == "CN" for scan in others.index]]
        assert row.reference_controls == len(others) == (19 if row.target == "CN" else 20)
        assert row.percentile == pytest.approx(stats.percentileofscore(others, row.relevance, kind="mean"))
        assert row.top == pytest.approx(((others >= row.relevance).sum() + 1) / (len(others) + 1))


def test_no_tested_person_enters_a_model(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    scored(run, features, regions, tmp_path / "first")
    tested = features["subject_id"].isin(run.predictions()["subject_id"])
    features.loc[tested, "value"] *= 3.7
    scored(run, features, regions, tmp_path / "second")
    first, second = ((tmp_path / name / "models.json").read_bytes() for name in ("first", "second"))
    assert first == second
    assert (tmp_path / "first" / "scores.tsv").read_bytes() != (tmp_path / "second" / "scores.tsv").read_bytes()
    trained = features["subject_id"] == "sub-000"
    features.loc[trained, "value"] *= 2
    scored(run, features, regions, tmp_path / "third")
    assert (tmp_path / "third" / "models.json").read_bytes() != first


def test_patients_and_validation_people_enter_no_model(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    splits = run.splits()
    splits.loc[splits["subject_id"] == "sub-002", "part"] = "val"
    splits.to_csv(run.folder / "splits.tsv", sep="\t", index=False)
    scored(run, features, regions, tmp_path / "out")
    fold = json.loads((tmp_path / "out" / "models.json").read_text())["folds"][0]
    assert fold["control_scans"] == [f"sub-{i:03d}" for i in range(0, 60, 2) if i != 2]
    scored(run, features, regions, tmp_path / "both", controls=["CN", "AD"])
    assert json.loads((tmp_path / "both" / "models.json").read_text())["folds"][0]["controls"] == 59


def test_who_is_left_out_is_on_record(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    subjects = run.subjects()
    subjects.loc[0, "age"] = np.nan  # a training control
    subjects.loc[60, "sex"] = np.nan  # tested
    subjects.loc[61, "sex"] = "X"  # tested, no control is
    subjects.loc[62, "age"] = 99.0  # tested, older than every control
    subjects.to_csv(run.folder / "subjects.tsv", sep="\t", index=False, na_rep="n/a")
    features.loc[(features["subject_id"] == "sub-063") & (features["region"] == REGIONS[0][0]), "value"] = np.nan
    features = features[features["subject_id"] != "sub-064"]
    regions.loc[regions["scan_id"] == "sub-065", "share"] = np.nan
    table = scored(run, features, regions, tmp_path / "out")
    record = read(tmp_path / "out" / "left-out.tsv")
    reasons = {(row.what, row.subject_id, row.reason) for row in record.itertuples()}
    assert {
        ("control", "sub-000", "no age"), ("tested scan", "sub-060", "no sex"), ("tested scan", "sub-063", "no value"),
        ("tested scan", "sub-061", "no control of the training part has sex X"),
        ("tested scan", "sub-064", "no value"), ("relevance", "sub-065", "no share"),
    } <= reasons  # fmt: skip
    assert not {"sub-060", "sub-061", "sub-064", "sub-065"} & set(table["scan_id"])
    assert (table["scan_id"] == "sub-063").sum() == 1
    assert table[["relevance", "w", "t", "p", "top"]].notna().all(axis=None)
    outside = table[table["outside_range"].notna()]
    assert set(outside["scan_id"]) >= {"sub-062"}
    assert outside.set_index("scan_id").loc["sub-062", "outside_range"].iloc[0].startswith("age 99 (controls ")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"covariates": ["age", "sexx"]}, "have sexx"),
        ({"covariates": ["age", "age"]}, "age is there twice"),
        ({"covariates": ["age", {"column": "sex", "degree": 2}]}, "no power 2"),
        ({"covariates": [{"column": "sex", "coding": "number"}]}, "sex is not a number"),
        ({"controls": ["MCI"]}, "no class 'MCI'"),
        ({"minimum_controls": 50}, "30 controls .CN. in the training part; 50 are needed"),
        ({"measure": "shares"}, "no 'shares'"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, params: dict[str, Any], message: str) -> None:
    run, features, regions = study(tmp_path)
    with pytest.raises(InputError, match=message):
        scored(run, features, regions, tmp_path / "out", **params)


def test_constant_covariates_and_features_are_named(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    subjects = run.subjects().assign(scanner="A")
    subjects.to_csv(run.folder / "subjects.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="scanner is A for all of them"):
        scored(run, features, regions, tmp_path / "constant", covariates=["age", "scanner"])
    features.loc[features["region"] == REGIONS[0][0], "value"] = 5.0
    table = scored(run, features, regions, tmp_path / "out")
    assert set(table["region"]) == {REGIONS[1][0]}
    record = read(tmp_path / "out" / "left-out.tsv")
    assert "it is 5 for all 30 controls" in set(record["reason"])
    features["region"] = features["region"].where(features["region"].isna(), "Elsewhere")
    features = features.drop_duplicates(["subject_id", "region"], keep="last")
    with pytest.raises(InputError, match="no person has both"):
        scored(run, features, regions, tmp_path / "elsewhere")


def test_in_a_regression_everybody_is_a_control(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path, classes=None)
    table = scored(run, features, regions, tmp_path / "out")
    assert set(table["reference_controls"]) == {39}
    assert set(table["controls_fitted"]) == {60}
    said = read(tmp_path / "out" / "sentences.tsv")["sentence"]
    assert said.str.contains(" of people ").all()
    assert not said.str.contains("control").any()
    with pytest.raises(InputError, match="a regression has no classes"):
        scored(run, features, regions, tmp_path / "classes", controls=["CN"])


def test_two_regions_of_one_name_are_refused(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    regions["region"] = REGIONS[0][0]
    with pytest.raises(InputError, match="several regions are called 'Left-Hippocampus'"):
        scored(run, features, regions, tmp_path / "out")


def test_visits_count_once(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    # sub-002 is the first visit of sub-000 (trained), sub-062 a second one of the tested control sub-060.
    subjects = run.subjects().assign(session_id="01")
    subjects.loc[subjects["scan_id"] == "sub-000", "session_id"] = "02"
    subjects.loc[subjects["scan_id"] == "sub-002", "subject_id"] = "sub-000"
    subjects.loc[subjects["scan_id"] == "sub-062", ["subject_id", "session_id"]] = ["sub-060", "02"]
    subjects.to_csv(run.folder / "subjects.tsv", sep="\t", index=False)
    predictions = run.predictions()
    predictions.loc[predictions["scan_id"] == "sub-062", "subject_id"] = "sub-060"
    predictions.to_csv(run.folder / "predictions.tsv", sep="\t", index=False)
    table = scored(run, features, regions, tmp_path / "out")
    fold = json.loads((tmp_path / "out" / "models.json").read_text())["folds"][0]
    assert "sub-002" in fold["control_scans"]
    assert "sub-000" not in fold["control_scans"]
    mine = table[table["region"] == REGIONS[0][0]].set_index("scan_id")
    assert mine.loc["sub-060", "reference_controls"] == mine.loc["sub-062", "reference_controls"] == 18
    assert mine.loc["sub-061", "reference_controls"] == 19
    relations = read(tmp_path / "out" / "relations.tsv").set_index(["region", "group"])
    assert relations.loc[(REGIONS[0][0], "all"), "n"] == 39
    first = mine.drop("sub-062")
    expected = stats.spearmanr(first["relevance"], first["w"])
    assert relations.loc[(REGIONS[0][0], "all"), "rho"] == pytest.approx(expected.statistic, abs=1e-9)
    assert relations.loc[(REGIONS[0][0], "all"), "p"] == pytest.approx(expected.pvalue, rel=1e-6)


def test_ranks_are_those_of_counting() -> None:
    values, people = np.array([1.0, 2.0, 2.0, 3.0]), np.array(["a", "b", "c", "d"], dtype=object)
    found = rank_among(2.0, "x", values, people)
    assert (found.controls, found.as_high, found.percentile) == (4, 3, 50.0)
    assert found.top == 4 / 5
    left = rank_among(3.0, "d", values, people)
    assert (left.controls, left.as_high, left.percentile) == (3, 0, 100.0)
    assert percent(1 / 61) == 2
    assert percent(0.05) == 5
    assert percent(1 / 21) == 5


def finding(**changed: Any) -> Finding:
    facts: dict[str, Any] = {
        "region": "Left-Hippocampus", "structure": "Hippocampus", "hemisphere": "L", "feature": "volume", "w": -2.31,
        "models": 1, "controls": 60, "as_high": 0, "top": 1 / 61, "covariates": ("age 74", "sex F"), "outside": None,
    }  # fmt: skip
    return Finding(**{**facts, **changed})


RULE = Rule(0.05, 2.0, "both", 5)


LEFT = "Left hippocampus: relevance "
BELOW = "volume 2.3 SD below expected for age 74 and sex F"
OUTSIDE = "(outside of the range of the model: age 91 (controls 55 to 88))"
NOTHING = "No region stands out: none of 1 regions has "
BOTH = NOTHING + "relevance in the top 5 % of controls together with volume 2 SD or more from expected."


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, f"{LEFT}in the top 2 % of controls (none of 60 has as much), {BELOW}."),
        # 20 controls show 5 % at best, however high the relevance is.
        ({"controls": 20, "top": 1 / 21}, f"{LEFT}in the top 5 % of controls (none of 20 has as much), {BELOW}."),
        (
            {"as_high": 1, "top": 2 / 61, "w": 2.0, "covariates": ()},
            f"{LEFT}in the top 4 % of controls (1 of 60 has as much or more), volume 2.0 SD above expected.",
        ),
        (
            {"controls": 12, "top": 1 / 13},
            f"{LEFT}not judged (12 controls cannot show less than the top 8 %), {BELOW}.",
        ),
        (
            {"outside": "age 91 (controls 55 to 88)", "models": 3},
            f"{LEFT}in the top 2 % of controls (none of 60 has as much), {BELOW} (mean of 3 models) {OUTSIDE}.",
        ),
        ({"as_high": 3, "top": 4 / 61}, BOTH),
        ({"w": -1.99}, BOTH),
        (
            {"w": 0.0, "controls": 0, "top": float("nan")},
            f"{NOTHING}volume 2 SD or more from expected; relevance was not judged: nobody was tested to compare with.",
        ),
    ],
)
def test_sentences(changed: dict[str, Any], text: str) -> None:
    assert [each.text for each in sentences_of([finding(**changed)], RULE)] == [text]


def test_either_says_what_is_usual_and_the_strongest_comes_first() -> None:
    rule = Rule(0.05, 2.0, "either", 2)
    found = [
        finding(structure="CA1", hemisphere=None, top=0.5, as_high=29, w=-2.1),
        finding(w=-0.3), finding(structure="amygdala", hemisphere="R", w=-4), finding(w=0.5, top=0.7, as_high=41),
    ]  # fmt: skip
    texts = [each.text for each in sentences_of(found, rule)]
    assert texts[0].startswith("Right amygdala: relevance in the top 2 %")
    assert texts[1].startswith("CA1: relevance not unusual among 60 controls, volume 2.1 SD below")
    assert texts[2] == "One more region stands out; it is in scores.tsv."
    assert len(texts) == 3
    assert ENGLISH.name("Superior_Temporal", "R") == "right superior temporal"
    assert ENGLISH.name("ctx-insula", "L") == "left insula"


def test_the_same_input_gives_the_same_bytes_and_no_hole(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    for name in ("first", "second"):
        scored(run, features.sample(frac=1, random_state=1) if name == "second" else features, regions, tmp_path / name)
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
    sentences = read(tmp_path / "first" / "sentences.tsv")
    assert set(sentences["scan_id"]) == set(run.predictions()["scan_id"])


def test_an_infinite_covariate_is_a_missing_one(tmp_path: Path) -> None:
    run, features, regions = study(tmp_path)
    plain = scored(run, features, regions, tmp_path / "plain")
    people = pd.read_csv(run.folder / "subjects.tsv", sep="\t")
    control = people.index[people["target"] == "CN"][0]
    people.loc[[control, len(people) - 1], "age"] = np.inf
    people.to_csv(run.folder / "subjects.tsv", sep="\t", index=False)
    found = scored(run, features, regions, tmp_path / "out")
    lost = read(tmp_path / "out" / "left-out.tsv").query("reason == 'no age'")
    assert lost[["what", "scan_id"]].to_numpy().tolist() == [
        ["control", people["scan_id"][control]], ["tested scan", people["scan_id"].iloc[-1]],
    ]  # fmt: skip
    assert len(found) == len(plain) - 2
    assert np.isfinite(found["w"]).all()
    assert set(found["controls_fitted"]) == {int(plain["controls_fitted"].iloc[0]) - 1}


def explaining(run: RunResults, outputs: dict[str, str]) -> None:
    for scan, output in outputs.items():
        path = run.folder / "derivatives" / scan / "anat" / f"{scan}_desc-lrp_relevance.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), path)
        sidecar = {"scan_id": scan, "subject_id": scan, "explainer_id": "lrp", "fold": 0, "target_name": output}
        path.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar))


def test_maps_of_other_outputs_are_told_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Patients' maps explain AD; of the 20 tested controls 17 explain CN."""
    run, features, regions = study(tmp_path)
    subjects = run.subjects().set_index("subject_id")["target"]
    tested = run.predictions()["scan_id"]
    controls = [scan for scan in tested if subjects[scan] == "CN"]
    explaining(run, {scan: "AD" if scan not in controls or scan in controls[:3] else "CN" for scan in tested})
    with caplog.at_level("WARNING", logger="xai"):
        logging.getLogger("xai").propagate = True
        found = scored(run, features, regions, tmp_path / "all", when="either")
    patient = found[(found["target"] == "AD") & (found["region"] == "Left-Hippocampus")].iloc[0]
    assert (patient["explains"], patient["reference_controls"], patient["reference_same_output"]) == ("AD", 20, 3)
    own = found[(found["scan_id"] == controls[0]) & (found["region"] == "Left-Hippocampus")].iloc[0]
    assert (own["explains"], own["reference_controls"], own["reference_same_output"]) == ("AD", 19, 2)
    assert "23 of 40 maps explain another output" in caplog.text
    sentences = read(tmp_path / "all" / "sentences.tsv")
    mine = sentences[sentences["scan_id"] == patient["scan_id"]]["sentence"].iloc[0]
    assert "(the map explains AD, as those of only 3 of these 20 controls do)" in mine
    usual = sentences[sentences["scan_id"] == controls[5]]["sentence"]
    assert not usual.str.contains("the map explains").any()

    alike = scored(run, features, regions, tmp_path / "same", when="either", reference="same-output")
    rows = alike.set_index(["scan_id", "region"])
    for scan, others in ((patient["scan_id"], controls[:3]), (controls[5], [*controls[3:5], *controls[6:]])):
        values = regions.set_index(["scan_id", "region"])["share"]
        row, mine = rows.loc[(scan, "Left-Hippocampus")], values[scan, "Left-Hippocampus"]
        assert row["reference_controls"] == len(others)
        assert row["controls_as_high"] == sum(values[other, "Left-Hippocampus"] >= mine for other in others)
    told = read(tmp_path / "same" / "sentences.tsv")
    mine = told[told["scan_id"] == patient["scan_id"]]["sentence"].iloc[0]
    assert "relevance not judged (3 controls cannot show less than the top 25 %)" in mine or "blind" in mine
    about = json.loads((tmp_path / "same" / "models.json").read_text())
    assert about["reference"] == "same-output"
