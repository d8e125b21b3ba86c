"""Relevance by region related to features of people: planted truth, references, and who is left out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pingouin
import pytest
import statsmodels.api as sm
from scipy import stats

from xai_analyses_atlas._atlases import load_atlas
from xai_analyses_atlas._relevance import region_table
from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.schemas import resolve_paths
from xai_core.testing import AnalysisConformance

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
NAMES = {1: "Left-Hippocampus", 2: "Right-Hippocampus", 3: "ctx-lh-entorhinal", 4: "Brain-Stem"}
CLOSE = {"rtol": 0, "atol": 1e-6}


def labels() -> np.ndarray:
    found = np.zeros(SHAPE, dtype=np.int16)
    for index, x in zip(NAMES, (1, 8, 3, 5), strict=True):
        found[x, 2:8, 2:6] = index
    return found


def write_atlas(folder: Path, shape: tuple[int, ...] = SHAPE, affine: np.ndarray = RAS) -> dict[str, str]:
    image = np.zeros(shape, dtype=np.int16)
    image[tuple(slice(0, min(a, b)) for a, b in zip(shape, SHAPE, strict=True))] = labels()
    nib.save(nib.Nifti1Image(image, affine), folder / "atlas.nii.gz")
    rows = "".join(f"{index}\t{name}\n" for index, name in NAMES.items())
    (folder / "atlas.tsv").write_text(f"index\tname\n{rows}")
    return {"image": str(folder / "atlas.nii.gz"), "table": str(folder / "atlas.tsv"), "space": "scan"}


class TestRegionFeatures(AnalysisConformance):
    name = "region-features"
    folder: ClassVar[Path]

    @pytest.fixture(autouse=True)
    def _atlas(self, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> None:
        folder = tmp_path_factory.mktemp("atlas")
        affine = np.diag([-4.0, 4.0, 4.0, 1.0])
        affine[:3, 3] = (30, -40, -20)
        atlas = write_atlas(folder, (14, 17, 12), affine)
        type(self).params = {"atlas": atlas, "space": "scan", "variables": ["age"]}


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line keeps the run's messages from the root logger, which caplog reads."""
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)


@pytest.fixture
def atlas(tmp_path: Path) -> dict[str, str]:
    return write_atlas(tmp_path)


def cohort(n: int = 24) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Return people whose left hippocampus has more relevance where it is smaller, and their brain features."""
    rng, regions = np.random.default_rng(1), labels()
    people, features = [], []
    for number in range(n):
        ill, age = number % 2, rng.uniform(60, 85)
        volume = 4000 - 300 * ill - 12 * (age - 70) + 120 * rng.normal()
        relevance = 0.3 + 0.1 * np.abs(rng.normal(size=SHAPE))
        relevance[regions == 1] *= 1 + (4200 - volume) / 400 + 0.3 * rng.normal()
        people.append({
            "scan": f"sub-{number:02d}", "subject": f"{number:02d}", "target": ("CN", "AD")[ill],
            "prediction": ("CN", "AD")[ill], "map": relevance, "age": age, "sex": "FM"[number // 2 % 2],
            "image": np.pad(np.ones([side - 2 for side in SHAPE]), 1),
        })  # fmt: skip
        features.append({
            "participant_id": f"sub-{number:02d}", "Left-Hippocampus": volume,
            "Right-Hippocampus": 4100 + 100 * rng.normal(), "eTIV": 1.5e6 + 1e5 * rng.normal(),
        })  # fmt: skip
    return people, pd.DataFrame(features)


@pytest.fixture
def source(tmp_path: Path) -> Callable[[pd.DataFrame], dict[str, Any]]:
    def write(table: pd.DataFrame) -> dict[str, Any]:
        table.to_csv(tmp_path / "features.csv", index=False, na_rep="n/a")
        return {"source": "table", "file": str(tmp_path / "features.csv"), "feature": "volume", "unit": "mm3"}

    return write


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(
        folder / f"{name}.tsv", sep="\t", na_values=["n/a"], keep_default_na=False, dtype={"scan_id": str, "group": str}
    )


def analysed(run: RunResults, output: Path, **params: Any) -> pd.DataFrame:
    output.mkdir(parents=True)
    create("analysis", "region-features", **{"space": "scan", "bootstrap": 0, "figures": 0, **params}).analyse(
        run, output
    )
    return read(output, "associations")


def measured(run: RunResults, atlas: Mapping[str, str], region: str, measure: str = "size_corrected") -> np.ndarray:
    table = region_table(run, load_atlas(atlas), space="scan")
    return table[table["region"] == region].set_index("scan_id")[measure].sort_index().to_numpy()


# --- what is found ----------------------------------------------------------------------------------------------------


def test_the_planted_relation_is_found_and_no_other(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort()
    run = make_run(people)
    table = analysed(run, tmp_path / "out", atlas=atlas, features=[source(features)])
    assert table["region"].tolist() == ["Left-Hippocampus", "Right-Hippocampus"]
    assert table["n"].tolist() == [24, 24]
    assert table["estimate"][0] < -0.7
    assert table["p_adjusted"][0] < 0.001
    assert table["p_adjusted"][1] > 0.05
    assert table["family"].tolist() == [2, 2]
    known = stats.spearmanr(measured(run, atlas, "Left-Hippocampus"), features["Left-Hippocampus"])
    np.testing.assert_allclose([table["estimate"][0], table["p"][0]], [known.statistic, known.pvalue], **CLOSE)


def test_every_method_is_that_of_the_references(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort()
    run = make_run(people)
    table = analysed(
        run, tmp_path / "out", atlas=atlas, features=[source(features)],
        covariates=[{"column": "age", "degree": 2}, "sex", "volume of eTIV"],
        methods=["pearson", "percentage-bend", "partial-pearson", "partial-spearman", "ols", "hc3", "rlm"],
    ).query("region == 'Left-Hippocampus'").set_index("method")  # fmt: skip
    age = stats.zscore([person["age"] for person in people])
    frame = pd.DataFrame({
        "y": measured(run, atlas, "Left-Hippocampus"), "x": features["Left-Hippocampus"], "age": age, "square": age**2,
        "sex": [float(person["sex"] == "M") for person in people], "tiv": features["eTIV"] / 1e6,
    })  # fmt: skip
    names = ["age", "square", "sex", "tiv"]
    partial = pingouin.partial_corr(frame, "x", "y", names)
    assert table["estimate"]["partial-pearson"] == pytest.approx(partial["r"].item(), abs=1e-6)
    assert table["p"]["partial-pearson"] == pytest.approx(partial.filter(regex="^p").iloc[0, 0], abs=1e-6)
    assert table["covariates"]["partial-pearson"] == "age, age^2, sex=M, volume of eTIV"
    ranks = frame.rank()
    ranks["square"] = stats.zscore(ranks["age"]) ** 2
    by_rank = pingouin.partial_corr(ranks, "x", "y", names)
    assert table["estimate"]["partial-spearman"] == pytest.approx(by_rank["r"].item(), abs=1e-6)
    design = sm.add_constant(frame[["x", *names]])
    for method, fit in {
        "ols": sm.OLS(frame["y"], design).fit(),
        "hc3": sm.OLS(frame["y"], design).fit(cov_type="HC3", use_t=True),
        "rlm": sm.RLM(frame["y"] / frame["y"].std(), design).fit(tol=1e-12, maxiter=1000),
    }.items():
        units = frame["y"].std() if method == "rlm" else 1.0
        known = [units * fit.params["x"], units * fit.bse["x"], fit.pvalues["x"]]
        found = table.loc[method, ["slope", "slope_error", "p"]].to_numpy(float)
        np.testing.assert_allclose(found, known, rtol=1e-6, atol=1e-9)
    bend = pingouin.corr(frame["x"], frame["y"], method="percbend")["r"].item()
    assert table["estimate"]["percentage-bend"] == pytest.approx(bend, abs=1e-6)
    assert table["estimate"]["pearson"] == pytest.approx(np.corrcoef(frame["x"], frame["y"])[0, 1], abs=1e-6)


def test_all_pairs_make_a_matrix(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort()
    table = analysed(make_run(people), tmp_path / "out", atlas=atlas, features=[source(features)], pairs="all")
    assert len(table) == 8
    assert table.groupby("feature_region").size().to_dict() == {"Left-Hippocampus": 4, "Right-Hippocampus": 4}
    assert set(table["family"]) == {8}


def test_without_features_the_target_and_the_covariates_are_related(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort()
    run = make_run(people)
    table = analysed(run, tmp_path / "out", atlas=atlas, covariates=["age", "sex"], methods=["ols"])
    hippocampus = table[table["region"] == "Left-Hippocampus"].set_index("feature")
    assert hippocampus.index.tolist() == ["target=AD", "age", "sex=M"]
    assert hippocampus["covariates"].tolist() == ["age, sex=M", "sex=M", "age"]
    design = sm.add_constant(pd.DataFrame({
        "ill": [float(person["target"] == "AD") for person in people], "age": [person["age"] for person in people],
        "sex": [float(person["sex"] == "M") for person in people],
    }))  # fmt: skip
    known = sm.OLS(measured(run, atlas, "Left-Hippocampus"), design).fit()
    assert hippocampus["slope"]["target=AD"] == pytest.approx(known.params["ill"], abs=1e-6)
    assert hippocampus["p"]["target=AD"] == pytest.approx(known.pvalues["ill"], abs=1e-6)


def test_several_categories_are_adjusted_for_each_other(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort()
    sites = [("a", "b", "c")[number % 3] for number in range(24)]
    run = make_run([{**person, "centre": site} for person, site in zip(people, sites, strict=True)])
    table = analysed(
        run, tmp_path / "out", atlas=atlas, variables=["centre"], covariates=["age"], methods=["ols", "pearson"]
    )
    table = table[table["region"] == "Brain-Stem"].set_index(["method", "feature"])
    design = sm.add_constant(pd.DataFrame({
        "b": [float(site == "b") for site in sites], "c": [float(site == "c") for site in sites],
        "age": [person["age"] for person in people],
    }))  # fmt: skip
    known = sm.OLS(measured(run, atlas, "Brain-Stem"), design).fit()
    found = [table["slope"]["ols", "centre=b"], table["slope"]["ols", "centre=c"]]
    np.testing.assert_allclose(found, known.params[["b", "c"]], **CLOSE)
    # A plain correlation is with everybody else, whatever their centre.
    one = np.corrcoef(measured(run, atlas, "Brain-Stem"), design["b"])[0, 1]
    assert table["estimate"]["pearson", "centre=b"] == pytest.approx(one, abs=1e-6)


def test_groups_are_analysed_one_by_one(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort()
    run = make_run(people)
    table = analysed(
        run, tmp_path / "out", atlas=atlas, features=[source(features)], by="target", covariates=["target", "age"],
        methods=["partial-pearson"],
    ).query("region == 'Left-Hippocampus'").set_index("group")  # fmt: skip
    assert table["n"].to_dict() == {"all": 24, "CN": 12, "AD": 12}
    # Within a class there is nothing to adjust for by the class.
    assert table["covariates"].to_dict() == {"all": "target=CN, age", "CN": "age", "AD": "age"}
    controls = [place for place, person in enumerate(people) if person["target"] == "CN"]
    frame = pd.DataFrame({
        "y": measured(run, atlas, "Left-Hippocampus"), "x": features["Left-Hippocampus"],
        "age": [person["age"] for person in people],
    }).iloc[controls]  # fmt: skip
    known = pingouin.partial_corr(frame, "x", "y", "age")["r"].item()
    assert table["estimate"]["CN"] == pytest.approx(known, abs=1e-6)


def test_the_largest_t_corrects_for_the_whole_family(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort()
    params = {
        "atlas": atlas, "features": [source(features)], "covariates": ["age"], "methods": ["ols"],
        "correction": "max-t", "permutations": 199,
    }  # fmt: skip
    run = make_run(people)
    one = analysed(run, tmp_path / "one", **params)
    every = analysed(run, tmp_path / "all", pairs="all", **params)
    hippocampus = (one["region"] == "Left-Hippocampus").to_numpy()
    assert one.loc[hippocampus, "p_adjusted"].item() == pytest.approx(1 / 200)
    other = every[(every["region"] == "Right-Hippocampus") & (every["feature_region"] == "Right-Hippocampus")]
    assert other["p_adjusted"].item() > one.loc[~hippocampus, "p_adjusted"].item()


def test_the_same_input_gives_the_same_bytes(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort()
    run = make_run(people)
    params = {"atlas": atlas, "features": [source(features)], "covariates": ["age"], "bootstrap": 50, "figures": 1}
    for name in ("one", "two"):
        np.random.seed(len(name))  # whatever the global state is
        analysed(run, tmp_path / name, **params)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"associations.tsv", "features.tsv", "left-out.tsv", "matches.tsv", "models.json"} <= set(files)
    assert {"lrp_partial-spearman_matrix.png", "lrp_partial-spearman_1.svg", "lrp_partial-spearman_1.txt"} <= set(files)
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    about = json.loads((tmp_path / "one" / "models.json").read_text())
    assert about["people"] == 24
    assert "Benjamini and Hochberg" in about["models"]["ols"]
    assert "n = 24 people" in (tmp_path / "one" / "lrp_partial-spearman_1.txt").read_text()
    assert read(tmp_path / "one", "associations")["bootstrap_low"].notna().all()


def test_resamples_in_parts_are_those_of_the_whole(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    people, features = cohort(12)
    run = make_run(people)
    params = {"atlas": atlas, "features": [source(features)], "pairs": "all", "bootstrap": 60}
    whole = analysed(run, tmp_path / "whole", **params)
    monkeypatch.setattr("xai_analyses_atlas._associations.testing._AT_ONCE", 3)
    pd.testing.assert_frame_equal(analysed(run, tmp_path / "parts", **params), whole)
    assert whole["bootstrap_low"].notna().any()


# --- each person once -------------------------------------------------------------------------------------------------


def with_visits(atlas: Mapping[str, str], make_run: Callable[..., RunResults]) -> tuple[RunResults, pd.DataFrame]:
    people, features = cohort(16)
    rng, scans, rows = np.random.default_rng(5), [], []
    for person, feature in zip(people, features.to_dict("records"), strict=True):
        for month in (6, 12)[: 1 + int(person["subject"]) % 2]:
            scan = f"{person['scan']}_ses-M{month}"
            relevance = person["map"] * np.where(labels() == 1, 1 + 0.2 * rng.random(), 1)
            scans.append({**person, "scan": scan, "session_id": f"M{month}", "map": relevance})
            rows.append(
                {**feature, "session": f"M{month}", "Left-Hippocampus": feature["Left-Hippocampus"] - 3 * month}
            )
    return make_run(scans), pd.DataFrame(rows)


def test_one_visit_of_each_person_counts_and_a_mixed_model_takes_all(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    run, features = with_visits(atlas, make_run)
    table = analysed(
        run, tmp_path / "out", atlas=atlas, features=[source(features)], methods=["pearson", "mixed"],
        covariates=["age"],
    ).query("region == 'Left-Hippocampus'").set_index("method")  # fmt: skip
    assert (table["n"]["pearson"], table["people"]["pearson"]) == (16, 16)
    assert (table["n"]["mixed"], table["people"]["mixed"]) == (24, 16)
    frame = run.subjects().sort_values("scan_id").reset_index(drop=True)
    frame["y"] = measured(run, atlas, "Left-Hippocampus")
    frame["x"] = features.assign(
        scan_id=features["participant_id"] + "_ses-" + features["session"]
    ).set_index("scan_id")["Left-Hippocampus"].reindex(frame["scan_id"]).to_numpy()  # fmt: skip
    first = frame[frame["session_id"] == "M6"]  # M6 comes before M12
    assert table["estimate"]["pearson"] == pytest.approx(np.corrcoef(first["x"], first["y"])[0, 1], abs=1e-6)
    known = sm.MixedLM(stats.zscore(frame["y"]), sm.add_constant(frame[["x", "age"]].apply(stats.zscore)),
                       groups=frame["subject_id"]).fit(method="powell", ftol=1e-14)  # fmt: skip
    assert table["estimate"]["mixed"] == pytest.approx(known.fe_params["x"], abs=1e-5)
    last = analysed(
        run, tmp_path / "last", atlas=atlas, features=[source(features)], visits="last", methods=["pearson"]
    )
    assert last["estimate"][0] != pytest.approx(table["estimate"]["pearson"], abs=1e-6)
    about = json.loads((tmp_path / "out" / "models.json").read_text())
    assert about["visits"] == "the first visit of each person; mixed takes every visit"


def test_maps_of_several_folds_are_averaged(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort(10)
    run = make_run(people)
    for path in sorted((run.folder / "derivatives").glob("sub-*/anat/*.json")):
        image = path.with_suffix(".nii.gz")
        again = path.with_name(path.name.replace("_desc", "_fold-1_desc"))
        data = np.asarray(nib.load(image).dataobj)
        nib.save(
            nib.Nifti1Image(data * np.where(labels() == 1, 3, 1).astype(np.float32), RAS), again.with_suffix(".nii.gz")
        )
        again.write_text(path.read_text().replace('"fold": 0', '"fold": 1'))
    for name in ("predictions", "splits"):
        table = pd.read_csv(run.folder / f"{name}.tsv", sep="\t", dtype=str)
        pd.concat([table, table.assign(fold="1")]).to_csv(run.folder / f"{name}.tsv", sep="\t", index=False)
    table = analysed(run, tmp_path / "out", atlas=atlas, features=[source(features)], methods=["pearson"])
    whole = region_table(run, load_atlas(atlas), space="scan")
    mine = whole[whole["region"] == "Left-Hippocampus"].groupby("scan_id")["size_corrected"].mean().to_numpy()
    assert table["n"].tolist() == [10, 10]
    assert table["estimate"][0] == pytest.approx(np.corrcoef(mine, features["Left-Hippocampus"])[0, 1], abs=1e-6)
    assert "up to 2 maps" in json.loads((tmp_path / "out" / "models.json").read_text())["folds"]
    given: dict[str, Any] = {"features": [source(features)], "methods": ["partial-pearson"], "covariates": ["fold"]}
    with pytest.raises(InputError, match="tests a scan in 2 folds, whose maps are averaged"):
        analysed(run, tmp_path / "again", atlas=atlas, **given)


# --- who and what is left out -----------------------------------------------------------------------------------------


def test_who_is_left_out_is_on_record(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    people, features = cohort()
    people[3]["age"] = None
    features = features.drop(index=5)
    features.loc[7, "Left-Hippocampus"] = np.nan
    features["Right-Hippocampus"] = 4000.0
    features["rh_insula"] = 2.5
    table = analysed(
        make_run(people),
        tmp_path / "out",
        atlas=atlas,
        features=[source(features)],
        covariates=["age"],
        methods=["ols"],
    )
    assert table[["region", "n"]].values.tolist() == [["Left-Hippocampus", 21]]
    rows = read(tmp_path / "out", "left-out").to_dict("records")
    reasons = {(row["what"], row["scan_id"] if row["what"] == "scan" else row["region"]): row["reason"] for row in rows}
    assert reasons["scan", "sub-03"] == "has no age, which is adjusted for"
    assert "is not in it" in reasons["scan", "sub-05"]
    assert reasons["test", "Right-Hippocampus"] == "the variable is constant"
    assert reasons["feature", "Left-Hippocampus"] == "2 of 23 people have no value: sub-05, sub-07"
    assert "rh_insula" in caplog.text or "eTIV" in caplog.text
    assert "left out: 2 scans; 1 tests; 2 features" in caplog.text
    unmatched = read(tmp_path / "out", "matches").query("region.isna()")["name"].tolist()
    assert unmatched == ["eTIV", "rh_insula"]


def test_a_region_that_is_empty_for_everybody_is_on_record(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort(8)
    image = labels()
    extra = np.zeros((40, *SHAPE[1:]), dtype=np.int16)
    extra[: SHAPE[0]] = image
    extra[35, 5, 5] = 5  # far to the right of every scan
    nib.save(nib.Nifti1Image(extra, RAS), atlas["image"])
    Path(atlas["table"]).write_text(Path(atlas["table"]).read_text() + "5\tFar\n")
    table = analysed(make_run(people), tmp_path / "out", atlas=atlas, variables=["age"])
    assert "Far" not in set(table["region"])
    rows = read(tmp_path / "out", "left-out").query("what == 'region'")
    assert rows[["region", "reason"]].values.tolist() == [["Far", "has no size_corrected of any scan"]]


def test_constant_relevance_is_on_record(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort(8)
    for person in people:
        person["map"][labels() == 4] = 0
    table = analysed(make_run(people), tmp_path / "out", atlas=atlas, variables=["age"])
    assert "Brain-Stem" not in set(table["region"])
    rows = read(tmp_path / "out", "left-out").query("region == 'Brain-Stem'")
    assert rows["reason"].tolist() == ["relevance is the same for all 8"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"measure": "shares"}, "measure: region-table has no column of numbers 'shares'. Did you mean 'share'"),
        ({"covariates": ["agee"], "methods": ["ols"]}, "covariates: the study has no column 'agee'.* mean 'age'"),
        ({"variables": ["height"]}, "variables: the study has no column 'height'"),
        ({"variables": ["scan_id"]}, "names 24 categories"),
        ({"by": "centre"}, "by: the study has no column 'centre'.* is the column 'target'"),
        ({"explainers": ["gradcam"]}, "no explainer 'gradcam'"),
        ({"methods": ["mixed"]}, "mixed needs people with several visits"),
        ({"covariates": ["age", "months"], "methods": ["ols"]}, "months follows from the columns before it"),
        ({"covariates": ["same"], "methods": ["ols"]}, "same is the same"),
        ({"covariates": ["age", {"column": "age", "degree": 2}], "methods": ["ols"]}, "age is there more than once"),
        ({"variables": ["same"]}, "not one of 4 tests could be made"),
    ],
)
def test_what_is_not_there_is_refused(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], params: dict[str, Any], message: str
) -> None:
    people, _ = cohort(24 if "scan_id" in params.get("variables", []) else 8)
    people = [{**person, "months": 12 * person["age"], "same": 1.5} for person in people]
    with pytest.raises(InputError, match=message):
        analysed(make_run(people), tmp_path / "out", atlas=atlas, **({"variables": ["age"]} | params))


def test_fewer_people_than_columns_is_refused(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort(6)
    people = [{**person, "centre": f"c{number % 4}"} for number, person in enumerate(people)]
    with pytest.raises(InputError, match="6 people are fewer than the 7"):
        analysed(make_run(people), tmp_path / "out", atlas=atlas, covariates=["age", "centre"], methods=["ols"])


def test_features_of_another_atlas_are_refused(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort(8)
    other = features[["participant_id"]].assign(Precentral_L=1.0, Precentral_R=2.0)
    with pytest.raises(InputError, match=r"no feature belongs to a region of the atlas.*Precentral_L"):
        analysed(make_run(people), tmp_path / "out", atlas=atlas, features=[source(other)])


# --- before training --------------------------------------------------------------------------------------------------


def study(people: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(people)[["scan", "subject", "target", "age", "sex"]]
    return table.rename(columns={"scan": "scan_id", "subject": "subject_id"})


def test_a_study_that_has_everything_passes(atlas: dict[str, str], source: Callable[..., dict[str, Any]]) -> None:
    people, features = cohort()
    analysis = create(
        "analysis", "region-features", atlas=atlas, space="scan", features=[source(features)], by="target",
        variables=["probability_AD", "prediction"], covariates=["age", "volume of eTIV"],
    )  # fmt: skip
    analysis.check_study(study(people), "classification", ("CN", "AD"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"atlas": "desikan-kiliany"}, "desikan"),
        ({"features": [{"source": "table", "file": "/nowhere/t.csv"}]}, "cannot be read"),
        ({"features": [{"source": "map", "map": "gm"}]}, "the study has no map 'gm'"),
        ({"covariates": ["TIV"]}, "no column 'TIV'"),
        ({"by": "centre"}, "no column 'centre'"),
        ({"methods": ["mixed"]}, "everybody in the study has one"),
        ({"variables": ["probability_MCI"]}, "no column 'probability_MCI'"),
    ],
)
def test_what_is_sure_to_fail_is_refused_before_training(
    atlas: dict[str, str], params: dict[str, Any], message: str
) -> None:
    people, _ = cohort()
    analysis = create("analysis", "region-features", **({"atlas": atlas, "space": "scan"} | params))
    with pytest.raises(InputError, match=message):
        analysis.check_study(study(people), "classification", ("CN", "AD"))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"covariates": ["age"], "methods": ["pearson"]}, "pearson cannot adjust for them"),
        ({"methods": ["partial-pearson"]}, "partial-pearson need covariates"),
        ({"methods": ["rlm"], "correction": "max-t"}, "max-t cannot correct rlm"),
        ({"variables": []}, "nothing to relate relevance to"),
        ({"features": [{"source": "cat12"}]}, r"features\[0\]: source: cat12 needs file"),
        ({"atlas": "atlases/dk.nii.gz"}, "is a relative path"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("analysis", "region-features", **({"atlas": "desikan-killiany"} | params))


def test_relative_files_start_at_the_pipeline_file() -> None:
    from xai_analyses_atlas.region_features import RegionFeatures

    params = {
        "atlas": {"image": "dk.nii.gz"},
        "features": [{"source": "freesurfer", "file": "fs/{subject_id}/aseg.stats"}],
    }
    found = resolve_paths(RegionFeatures.config_schema, params, Path("/study"))
    assert found["atlas"]["image"] == str(Path("/study/dk.nii.gz"))
    assert found["features"][0]["file"] == str(Path("/study/fs/{subject_id}/aseg.stats"))


def test_files_that_decide_the_outcome_are_named(
    make_run: Callable[..., RunResults], atlas: dict[str, str], source: Callable[..., dict[str, Any]]
) -> None:
    people, features = cohort(4)
    analysis = create("analysis", "region-features", atlas=atlas, space="scan", features=[source(features)])
    found = {path.name for path in analysis.inputs(make_run(people))}
    assert found == {"atlas.nii.gz", "atlas.tsv", "features.csv"}


def test_a_regression_is_related_to_its_target(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort(10)
    people = [{**person, "target": person["age"], "prediction": person["age"] + 1} for person in people]
    run = make_run(people, classes=None)
    table = analysed(run, tmp_path / "out", atlas=atlas, figures=1)
    assert set(table["feature"]) == {"target"}
    assert table["n"].tolist() == [10] * 4
    assert (tmp_path / "out" / "lrp_spearman_1.png").is_file()


def test_an_infinite_covariate_is_missing(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort(12)
    people[4]["age"] = np.inf
    table = analysed(
        make_run(people), tmp_path / "out", atlas=atlas, variables=["target"], covariates=["age"], methods=["ols"]
    )
    assert table["n"].tolist() == [11] * 4
    assert read(tmp_path / "out", "left-out")["scan_id"].tolist() == ["sub-04"]


# --- what would be wrong in silence, or end in a traceback ------------------------------------------------------------


def test_three_categories_without_covariates(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    people, _ = cohort()
    sites = [("a", "b", "c")[number % 3] for number in range(24)]
    run = make_run([{**person, "centre": site} for person, site in zip(people, sites, strict=True)])
    table = analysed(run, tmp_path / "out", atlas=atlas, variables=["centre"], methods=["ols", "pearson"])
    table = table[table["region"] == "Brain-Stem"].set_index(["method", "feature"])
    design = pd.DataFrame({site: [float(one == site) for one in sites] for site in "bc"})
    known = sm.OLS(measured(run, atlas, "Brain-Stem"), sm.add_constant(design)).fit()
    np.testing.assert_allclose(table["slope"]["ols"], known.params[["b", "c"]], **CLOSE)
    np.testing.assert_allclose(table["p"]["ols"], known.pvalues[["b", "c"]], **CLOSE)
    assert set(table["unit"]["ols"]) == {"against a"}
    assert set(table["unit"]["pearson"]) == {"against all others"}


def test_baseline_is_the_first_visit(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    """By the alphabet M6 would come before baseline."""
    people, _ = cohort(12)
    scans = [
        {**person, "scan": f"{person['scan']}_ses-{visit}", "session_id": visit, "years": number * (visit == "M6")}
        for number, person in enumerate(people) for visit in ("M6", "baseline")
    ]  # fmt: skip
    run = make_run(scans)
    last = analysed(run, tmp_path / "last", atlas=atlas, variables=["years"], methods=["pearson"], visits="last")
    assert last["n"].tolist() == [12] * 4
    with pytest.raises(InputError, match="the variable is the same for all 12"):
        analysed(run, tmp_path / "first", atlas=atlas, variables=["years"], methods=["pearson"])


def test_two_regions_of_one_name_keep_their_own_relevance(
    tmp_path: Path, make_run: Callable[..., RunResults], atlas: dict[str, str]
) -> None:
    Path(atlas["table"]).write_text("index\tname\n1\tHippocampus\n2\tHippocampus\n3\tB\n4\tC\n")
    people, _ = cohort()
    run = make_run(people)
    table = analysed(run, tmp_path / "out", atlas=atlas, variables=["age"], methods=["pearson"], measure="sum")
    found = table.set_index("region")["estimate"]
    for label in (1, 2):
        sums = [person["map"][labels() == label].sum() for person in people]
        known = np.corrcoef(sums, [person["age"] for person in people])[0, 1]
        assert found[f"Hippocampus (label {label})"] == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize("given", ["mine.nii.gz", "{subject_id}.mgz", "here/mine.nii"])
def test_a_file_is_no_name_of_an_atlas(given: str) -> None:
    """It would be looked for where the command happens to be started."""
    with pytest.raises(ConfigError, match="is a relative path, not a name"):
        create("analysis", "region-features", atlas=given)


def test_a_scan_that_lies_aside_can_be_a_note_here_too(atlas: dict[str, str]) -> None:
    chosen = create("analysis", "region-features", atlas=atlas, space="scan", mismatch="note")
    assert chosen.region_table().mismatch == "note"
