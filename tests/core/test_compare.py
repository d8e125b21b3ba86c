"""``xai compare``: paired by person, against scikit-learn, SciPy and cases worked by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as skl

from xai_core import InputError
from xai_core.engine.comparing import compare
from xai_core.engine.results import RunResults
from xai_core.engine.verdicts import verdict
from xai_core.statistics import delong


def write_run(
    folder: Path, table: pd.DataFrame, *, classes: Sequence[str] | None = ("CN", "AD"), seed: int = 0
) -> RunResults:
    """Write a run with these predictions; everybody else of the same repeat trains a fold."""
    folder.mkdir(parents=True)
    (folder / "pipeline.resolved.yaml").write_text("version: 1\nname: made\n")
    info = {
        "task": "regression" if classes is None else "classification",
        "classes": classes,
        "hashes": {scan: f"{seed}{scan}" for scan in table["scan_id"]},
    }
    (folder / "run.json").write_text(json.dumps(info))
    table.to_csv(folder / "predictions.tsv", sep="\t", index=False)
    everybody = table["subject_id"].unique()
    splits = [
        {"fold": fold, "part": "test" if person in set(rows["subject_id"]) else "train", "subject_id": person}
        for fold, rows in table.groupby("fold")
        for person in everybody
    ]
    pd.DataFrame(splits).to_csv(folder / "splits.tsv", sep="\t", index=False)
    return RunResults(folder)


def predictions(probability: np.ndarray, true: np.ndarray, folds: int = 5, people: Sequence[str] | None = None) -> Any:
    scans = [f"sub-{i:03}" for i in range(len(true))]
    return pd.DataFrame({
        "fold": np.arange(len(true)) % folds, "scan_id": scans, "subject_id": scans if people is None else people,
        "target": np.where(true, "AD", "CN"), "prediction": np.where(probability > 0.5, "AD", "CN"),
        "probability_CN": 1 - probability, "probability_AD": probability,
    })  # fmt: skip


def case(n: int = 100, seed: int = 0, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = np.random.default_rng(99).random(n) < 0.5
    return true, 1 / (1 + np.exp(-(strength * (2 * true - 1) + rng.standard_normal(n))))


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., RunResults]:
    return lambda *args, **kwargs: write_run(tmp_path / f"run-{len(list(tmp_path.iterdir()))}", *args, **kwargs)


def test_scores_are_scikit_learns(made):
    true, a = case()
    _, b = case(seed=1, strength=2)
    found = compare(made(predictions(a, true)), made(predictions(b, true)))["metrics"]
    scorers = {
        "auc": lambda p: skl.roc_auc_score(true, p),
        "balanced_accuracy": lambda p: skl.balanced_accuracy_score(true, p > 0.5),
        "accuracy": lambda p: skl.accuracy_score(true, p > 0.5),
        "sensitivity": lambda p: skl.recall_score(true, p > 0.5),
        "specificity": lambda p: skl.recall_score(~true, p <= 0.5),
        "f1": lambda p: skl.f1_score(true, p > 0.5),
        "mcc": lambda p: skl.matthews_corrcoef(true, p > 0.5),
        "brier": lambda p: skl.brier_score_loss(true, p),
    }
    assert list(found) == list(scorers)
    for name, scorer in scorers.items():
        assert (found[name]["A"], found[name]["B"]) == (pytest.approx(scorer(a)), pytest.approx(scorer(b)))
        assert found[name]["difference"] == pytest.approx(scorer(b) - scorer(a))
        assert found[name]["low"] < found[name]["difference"] < found[name]["high"]


def test_tests_of_the_auc_and_of_the_accuracy(made):
    true, a = case()
    _, b = case(seed=1, strength=2)
    found = compare(made(predictions(a, true)), made(predictions(b, true)))["metrics"]
    expected = delong.paired_test(delong.areas(true, np.stack([a, b])))
    assert found["auc"]["delong"] == pytest.approx(expected)
    right = (a > 0.5) == true, (b > 0.5) == true
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p = stats.binomtest(only[0], sum(only), 0.5).pvalue
    assert found["accuracy"]["mcnemar"] == {"only_A_right": only[0], "only_B_right": only[1], "p": pytest.approx(p)}
    assert p < 0.05
    assert found["accuracy"]["verdict"].startswith("B is better on people like these (McNemar p")


def test_the_interval_is_that_of_the_paired_differences(made):
    """Of a mean of independent differences the bootstrap's interval is the normal one."""
    true, a = case(400)
    _, b = case(400, seed=1, strength=1.5)
    found = compare(made(predictions(a, true)), made(predictions(b, true)), ["brier"], resamples=5000)["metrics"][
        "brier"
    ]
    difference = (b - true) ** 2 - (a - true) ** 2
    low, high = difference.mean() + np.array([-1.96, 1.96]) * stats.sem(difference)
    assert (found["low"], found["high"]) == (pytest.approx(low, abs=0.004), pytest.approx(high, abs=0.004))
    assert "the interval of the difference leaves out 0" in found["verdict"]


def test_over_folds_by_hand(made):
    """Corrected resampled t-test: five folds, n_test / n_train = 20 / 80."""
    true, a = case()
    _, b = case(seed=1, strength=1.2)
    found = compare(made(predictions(a, true)), made(predictions(b, true)), ["auc"])["metrics"]["auc"]["over_folds"]
    fold = np.arange(100) % 5
    d = [
        skl.roc_auc_score(true[fold == k], b[fold == k]) - skl.roc_auc_score(true[fold == k], a[fold == k])
        for k in range(5)
    ]
    t = np.mean(d) / math.sqrt((1 / 5 + 20 / 80) * np.var(d, ddof=1))
    assert (found["t"], found["df"]) == (pytest.approx(t), 4)
    assert found["p"] == pytest.approx(2 * stats.t.sf(abs(t), 4))


def test_the_same_network_twice_is_no_evidence(made):
    true, a = case()
    found = compare(made(predictions(a, true)), made(predictions(a, true)))["metrics"]
    for score in found.values():
        assert score["difference"] == score["low"] == score["high"] == 0
        assert "no evidence of a difference" in score["verdict"]


def test_a_copy_of_every_scan_adds_no_evidence(made):
    true, a = case(50)
    _, b = case(50, seed=1, strength=1.2)
    once = compare(made(predictions(a, true)), made(predictions(b, true)))["metrics"]
    tables = []
    for p in (a, b):
        table = predictions(p, true)
        tables.append(pd.concat([table, table.assign(scan_id=table["scan_id"] + "_ses-2")]))
    twice = compare(*map(made, tables))["metrics"]
    assert twice["auc"]["low"] == pytest.approx(once["auc"]["low"])
    assert twice["auc"]["delong"] == pytest.approx(once["auc"]["delong"])
    assert twice["accuracy"]["mcnemar"] is None  # its pairs would not be independent


def test_repeats_are_averaged(made):
    true, a = case(60)
    _, other = case(60, seed=7)
    _, b = case(60, seed=1, strength=2)

    def repeated(*probabilities: np.ndarray) -> pd.DataFrame:
        return pd.concat([
            predictions(p, true).assign(repeat=r, fold=lambda t, r=r: t["fold"] + 5 * r)
            for r, p in enumerate(probabilities)
        ])  # fmt: skip

    found = compare(made(repeated(a, other)), made(repeated(b, b)))
    auc = found["metrics"]["auc"]
    assert auc["A"] == pytest.approx((skl.roc_auc_score(true, a) + skl.roc_auc_score(true, other)) / 2)
    assert auc["delong"]["difference"] == pytest.approx(auc["difference"])
    assert auc["over_folds"]["folds"] == 10
    assert found["metrics"]["accuracy"]["mcnemar"] is None
    assert found["people"] == 60
    # One repeat against two is another division of the same people.
    other_splits = compare(made(repeated(a, other)), made(predictions(b, true)))
    assert other_splits["same_splits"] is False
    assert other_splits["metrics"]["auc"]["A"] == pytest.approx(auc["A"])


def test_regression(made):
    rng = np.random.default_rng(0)
    age = rng.uniform(40, 80, 60)
    scans = [f"sub-{i}" for i in range(60)]
    tables = [
        pd.DataFrame({"fold": np.arange(60) % 3, "scan_id": scans, "subject_id": scans, "target": age, "prediction": p})
        for p in (age + 8 * rng.standard_normal(60), age + 4 * rng.standard_normal(60))
    ]
    found = compare(*(made(table, classes=None) for table in tables))["metrics"]
    assert list(found) == ["mae", "rmse", "r", "r2"]
    assert found["mae"]["B"] == pytest.approx(skl.mean_absolute_error(age, tables[1]["prediction"]))
    assert found["mae"]["verdict"].startswith("B is better")  # the lower one
    assert "delong" not in found["mae"]


def test_three_classes(made):
    rng = np.random.default_rng(0)
    classes = ("CN", "MCI", "AD")
    true = rng.integers(0, 3, 60)

    def table(noise: float) -> pd.DataFrame:
        p = np.exp(np.eye(3)[true] + noise * rng.standard_normal((60, 3)))
        p /= p.sum(axis=1, keepdims=True)
        scans = [f"sub-{i}" for i in range(60)]
        columns = {f"probability_{name}": p[:, k] for k, name in enumerate(classes)}
        told = [classes[k] for k in p.argmax(axis=1)]
        about = {"fold": np.arange(60) % 3, "scan_id": scans, "subject_id": scans}
        return pd.DataFrame({**about, "target": [classes[k] for k in true], "prediction": told, **columns})

    first = table(1.0)
    found = compare(made(first, classes=classes), made(table(0.5), classes=classes))["metrics"]["auc"]
    probabilities = first[[f"probability_{name}" for name in classes]].to_numpy()
    assert found["A"] == pytest.approx(skl.roc_auc_score(true, probabilities, multi_class="ovr", average="macro"))
    assert found["delong"] is None
    assert found["over_folds"]["folds"] == 3


class TestRefused:
    def test_other_people(self, made):
        true, a = case()
        table = predictions(a, true)
        first, second = made(table.iloc[:90]), made(table.iloc[5:])
        with pytest.raises(
            InputError, match=r"A tested 90 scans, B 95, and 85 of them are the same \(only in A: sub-000"
        ):
            compare(first, second)
        found = compare(first, second, shared=True)
        assert found["scans"] == 85
        assert found["notes"][0].endswith("only these are compared.")
        assert found["metrics"]["auc"]["A"] == pytest.approx(skl.roc_auc_score(true[5:90], a[5:90]))
        with pytest.raises(InputError, match="0 of them are the same"):
            compare(made(table.iloc[:50]), made(table.iloc[50:]), shared=True)

    def test_other_targets(self, made):
        true, a = case()
        other = true.copy()
        other[3] = not other[3]
        with pytest.raises(InputError, match=r"target of 1 scans \(sub-003\)"):
            compare(made(predictions(a, true)), made(predictions(a, other)))

    def test_other_tasks_and_one_run(self, made):
        true, a = case()
        table = predictions(a, true)
        first = made(table)
        with pytest.raises(InputError, match=r"a classification of CN, AD.*a classification of AD, CN"):
            compare(first, made(table, classes=("AD", "CN")))
        with pytest.raises(InputError, match="one and the same run"):
            compare(first, first)
        with pytest.raises(InputError, match=r"no score 'aucc' to compare\. Did you mean 'auc'"):
            compare(first, made(table), ["aucc"])

    def test_a_run_without_predictions(self, made):
        true, a = case()
        first, second = made(predictions(a, true)), made(predictions(a, true))
        (second.folder / "predictions.tsv").unlink()
        with pytest.raises(InputError, match=r"has no predictions\.tsv yet"):
            compare(first, second)


@pytest.mark.parametrize(
    ("p", "mean", "expected"),
    [(0.01, 0.1, "; also over the folds"), (0.01, -0.1, "; but A is better over the folds"),
     (0.2, 0.1, "; no evidence over the folds")],
)  # fmt: skip
def test_the_test_over_folds_is_told_with_its_direction(p, mean, expected):
    found = {"difference": 0.1, "low": 0.05, "high": 0.2, "over_folds": {"p": p, "mean": mean}}
    assert f"B is better on people like these (the interval of the difference leaves out 0){expected}" in verdict(
        "auc", found
    )
    undecided = verdict("auc", {**found, "low": -0.1})
    better = "B" if mean > 0 else "A"
    said = "; no evidence over" if p > 0.05 else f"; but {better} is better over"
    assert undecided.startswith(f"no evidence of a difference (the interval of the difference holds 0){said}")


def test_other_divisions_and_images_are_told(made):
    true, a = case()
    table = predictions(a, true)
    found = compare(made(table), made(table.assign(fold=(table["fold"] + (table.index > 50)) % 5), seed=1))
    assert found["same_splits"] is False
    assert any("divide the people differently" in note for note in found["notes"])
    assert any("images of 100 of 100 scans are not the same" in note for note in found["notes"])
    assert all(score["over_folds"] is None for score in found["metrics"].values())


def test_scores_that_are_not_defined(made):
    """All test people of one class: no AUC, but an accuracy."""
    _, a = case(20)
    table = predictions(a, np.ones(20, dtype=bool))
    _, b = case(20, seed=1)
    found = compare(made(table), made(predictions(b, np.ones(20, dtype=bool))))["metrics"]
    assert found["auc"]["difference"] is None
    assert found["auc"]["verdict"] == "not defined in one of the runs, so not compared."
    assert found["accuracy"]["difference"] is not None
    json.dumps(found, allow_nan=False)


def test_one_person_alone_proves_nothing(made):
    """Resamples of one person are that person again: the interval of the difference would have no width."""
    ages = pd.DataFrame({"fold": 0, "scan_id": ["a1", "a2"], "subject_id": "a", "target": [70.0, 71.0]})
    near, far = (made(ages.assign(prediction=ages["target"] + error), classes=None) for error in (1.0, 5.0))
    for run in (near, far):
        with (run.folder / "splits.tsv").open("a", encoding="utf-8") as table:
            table.write("0\ttrain\tb\n")
    found = compare(near, far)["metrics"]["mae"]
    assert (found["difference"], found["low"], found["high"]) == (4.0, None, None)
    assert found["verdict"].startswith("no statement")


def test_command(made, xai):
    true, a = case()
    _, b = case(seed=1, strength=2)
    first, second = made(predictions(a, true)), made(predictions(b, true))
    code, out, _ = xai("compare", first.folder, second.folder)
    assert code == 0
    assert "100 scans of 100 people, the same divisions." in out
    assert "auc: B is better on people like these (DeLong p" in out
    assert "choose the score that counts" in out
    code, out, _ = xai("compare", first.folder, second.folder, "--metric", "auc", "--json")
    assert list(json.loads(out)["metrics"]) == ["auc"]
    code, _, error = xai("compare", first.folder, first.folder.parent / "nowhere")
    assert code == 2
    assert "is not a run folder" in error
