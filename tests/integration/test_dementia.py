"""The dementia example on the built-in cohort: the study's own steps, with small scans and few people."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from xai_core import Pipeline, registry
from xai_core.config.resolve import resolve
from xai_core.engine.results import RunResults

EXAMPLE = Path(__file__).parents[2] / "examples" / "dementia" / "pipeline.yaml"
FOLDS = 2
TRANSFORMS = (
    "{name: to-canonical}",
    "{name: crop, params: {cropping: [3, 3, 3, 2, 0, 3]}}",
    "{name: to-orientation, params: {orientation: ILP}}",
    "{name: rescale-intensity}",
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BIDS folder with a table, study.tsv, as the example asks for."""
    folder = tmp_path_factory.mktemp("cohort")
    subjects = registry.create(
        "dataset", "simulated-atrophy", folder=str(folder), subjects=30, groups=["CN", "MCI", "AD"]
    ).subjects()
    rows = [
        {
            "participant_id": subject["subject_id"], "grey_matter": str(subject["image"].path),
            "diagnosis": "LMCI" if subject["target"] == "MCI" else subject["target"],
            "cohort": "ADNI3" if subject["site"] == "scanner-a" else "ADNI2", "age": subject["age"],
        }
        for subject in subjects
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "study.tsv", sep="\t", index=False)
    return folder


@pytest.fixture(scope="module")
def run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """A finished run: the example with smaller scans, another network, fewer folds and epochs."""
    changes = [
        f"data.params.table={cohort / 'study.tsv'}",
        f"data.transforms=[{', '.join(TRANSFORMS)}]",
        f"split.params.folds={FOLDS}", "model={name: singh2023-alexnet}",
        "training.params.epochs=1", "training.params.bootstrap=100",
    ]  # fmt: skip
    return Pipeline.from_file(EXAMPLE, changes, output=tmp_path_factory.mktemp("results"), device="cpu").run()


def test_the_example_is_the_published_study() -> None:
    value = resolve(EXAMPLE).value
    assert value["model"]["name"].startswith("singh2023-")
    assert (
        value["split"]["params"] | {"column": "diagnosis", "folds": 10, "shuffle_seed": 42} == value["split"]["params"]
    )
    training = {"learning_rate": 1e-4, "early_stopping": 3, "min_delta": 0.01, "class_weights": "balanced"}
    assert training.items() <= value["training"]["params"].items()


def test_the_folds_are_scikit_learns(run: RunResults, cohort: Path) -> None:
    table = pd.read_csv(cohort / "study.tsv", sep="\t", dtype=str)
    table = table[table["cohort"] != "ADNI3"]
    kfold = StratifiedKFold(FOLDS, shuffle=True, random_state=np.random.RandomState(42))
    splits = run.splits().astype(str)
    for fold, (_, tested) in enumerate(kfold.split(table, table["diagnosis"].replace("LMCI", "MCI"))):
        part = splits[(splits["fold"] == str(fold)) & (splits["part"] == "test")]
        assert set(part["subject_id"]) == set(table["participant_id"].iloc[tested])


def test_scores_are_pairwise_and_the_held_out_cohort_has_its_own(run: RunResults, cohort: Path) -> None:
    table = pd.read_csv(cohort / "study.tsv", sep="\t", dtype=str)
    held_out = set(table.loc[table["cohort"] == "ADNI3", "participant_id"])
    assert held_out
    assert set(run.held_out_predictions()["subject_id"].astype(str)) == held_out
    assert not held_out & set(run.predictions()["subject_id"].astype(str))
    for scores in (run.metrics()["test"], run.held_out_metrics()["ensemble"], *run.metrics()["folds"]):
        assert {"auc_AD_vs_CN", "auc_MCI_vs_CN"} <= set(scores)
    assert list(run.classes or ()) == ["controls", "patients"]


def test_mean_maps_are_the_means_of_the_maps(run: RunResults, cohort: Path) -> None:
    folder = run.folder / "analysis" / "group-maps"
    table = pd.read_csv(cohort / "study.tsv", sep="\t", dtype=str)
    explained = run.predictions().astype({"subject_id": str})
    group = table[(table["diagnosis"] == "LMCI") & table["participant_id"].isin(explained["subject_id"])]
    files = [
        next((run.folder / "derivatives").rglob(f"sub-{name}_*desc-lrp_relevance.nii.gz"))
        for name in group["participant_id"]
    ]
    expected = np.mean([nib.load(file).get_fdata() for file in files], axis=0)
    found = nib.load(folder / "lrp_diagnosis-MCI.nii.gz")
    assert np.allclose(found.get_fdata(), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())
    assert (folder / "lrp_diagnosis-MCI.png").stat().st_size > 10_000


def test_the_report_shows_all(run: RunResults) -> None:
    page = (run.folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "Results on the held-out cohort" in page
    assert "AUC AD vs CN" in page
    assert "99.99" in page
    assert "Singh D, Dyrba M" in page
