"""Small run folders, with scans whose left and right differ."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from xai_core.engine.results import RunResults

SHAPE = (18, 22, 16)
LAS = np.array([[-3.0, 0, 0, 27], [0, 3, 0, -30], [0, 0, 4, -30], [0, 0, 0, 1]])


def oblique() -> np.ndarray:
    """Stored as posterior, superior, left: turned by about ten degrees, anisotropic."""
    c, s = np.cos(0.17), np.sin(0.17)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    axes = np.array([[0, 0, -1.0], [-1, 0, 0], [0, 1, 0]]) * [2.0, 3.5, 3.0]
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes
    affine[:3, 3] = [25, 30, -25]
    return affine


PEOPLE = [
    # scan, subject, true, probability of AD, affine
    ("sub-01", "01", "CN", 0.2, LAS),
    ("sub-02", "02", "CN", 0.7, oblique()),
    ("sub-x", "<script>alert(1)</script>", "AD", 0.9, LAS),
    ("sub-04_ses-b", "sub-04", "AD", 0.4, np.diag([3.0, 3, 3, 1])),
]
CONFIG: dict[str, Any] = {
    "version": 1,
    "name": "",
    "data": {"name": "participants", "params": {"table": "t.tsv"}, "transforms": [{"name": "to-canonical"}]},
    "split": {"name": "stratified-kfold", "params": {"folds": 2}},
    "model": {"name": "resnet3d", "params": {"depth": 10}},
    "training": {"name": "lightning", "params": {"epochs": 3, "learning_rate": 0.001}},
    "explainers": [
        {"id": "lrp", "name": "lrp", "params": {"composite": "epsilon-plus"}},
        {"id": "gradcam-last", "name": "gradcam", "params": {}},
    ],
    "evaluators": [{"id": "truth", "name": "ground-truth", "params": {}}],
    "analyses": [],
    "reports": [{"id": "html", "name": "html", "params": {}}],
}
INFO: dict[str, Any] = {
    "people": 4, "scans": 4, "folds": 2, "seed": 42, "device": "cpu",
    "versions": {"python": "3.11", "zennit": "0.5.1", "xai-core": "0.1.0"},
    "components": {"model resnet3d": "xai-models-resnet3d 0.1.0"},
}  # fmt: skip


def head(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grid = np.indices(SHAPE).reshape(3, -1).T - (np.array(SHAPE) - 1) / 2
    ball = (((grid / (np.array(SHAPE) * 0.42)) ** 2).sum(1) < 1).reshape(SHAPE)
    return (ball * (100 + 10 * rng.standard_normal(SHAPE))).astype(np.float32)


def save(data: np.ndarray, affine: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)
    return path


def write_run(root: Path, *, regression: bool = False, name: str = "pilot & more") -> RunResults:
    """Write a run folder of four people, two folds and two explainers, as a classification or a regression."""
    folder = root / "results" / f"run-{len(list(root.glob('results/*')))}"
    folder.mkdir(parents=True)
    (folder / "pipeline.resolved.yaml").write_text(yaml.safe_dump({**CONFIG, "name": name}, sort_keys=False))
    subjects, predictions, splits = [], [], []
    for index, (scan, subject, true, probability, affine) in enumerate(PEOPLE):
        image = save(head(index), affine, root / "data" / f"{scan}.nii.gz")
        truth = np.zeros(SHAPE, np.uint8)
        truth[5:9, 9:13, 6:10] = 1
        mask = save(truth, affine, root / "data" / f"{scan}_mask.nii.gz")
        target: Any = 60.0 + 10 * index if regression else true
        prediction: Any = target + 2 if regression else ("AD" if probability > 0.5 else "CN")
        shared = {"scan_id": scan, "subject_id": subject}
        subjects.append({**shared, "target": target, "image": str(image), "ground_truth": str(mask)})
        row = {"fold": index % 2, **shared, "target": target, "prediction": prediction}
        if not regression:
            row |= {"probability_CN": 1 - probability, "probability_AD": probability}
        predictions.append(row)
        parts = {fold: "test" if fold == index % 2 else "train" for fold in (0, 1)}
        splits += [{"fold": fold, "part": part, "subject_id": subject} for fold, part in parts.items()]
        _maps(folder, scan, subject, affine, index, "value" if regression else prediction)
    for table, rows in (("subjects", subjects), ("predictions", predictions), ("splits", splits)):
        pd.DataFrame(rows).to_csv(folder / f"{table}.tsv", sep="\t", index=False, na_rep="n/a")
    info = {
        **INFO,
        "task": "regression" if regression else "classification",
        "classes": None if regression else ["CN", "AD"],
    }
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "metrics.json").write_text(json.dumps(_metrics(regression)))
    _folds_and_evaluation(folder)
    return RunResults(folder)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunResults]:
    return partial(write_run, tmp_path)


@pytest.fixture(scope="session")
def run_writer() -> Callable[..., RunResults]:
    """For fixtures that live longer than one test."""
    return write_run


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """One classification for the tests that only read."""
    return write_run(tmp_path_factory.mktemp("shared"))


def _folds_and_evaluation(folder: Path) -> None:
    for fold in (0, 1):
        (folder / f"fold-{fold}").mkdir()
        (folder / f"fold-{fold}" / "checkpoint.pt").touch()
        history = {"epoch": [0, 1], "train_loss": [0.7, 0.5 + fold / 10], "val_loss": [0.7, 0.6], "val_auc": [0.5, 0.8]}
        pd.DataFrame(history).to_csv(folder / f"fold-{fold}" / "history.csv", index=False)
    evaluation = [
        {"scan_id": scan, "explainer": explainer, "density_ratio": value + index}
        for index, (scan, *_) in enumerate(PEOPLE)
        for explainer, value in (("lrp", 2.0), ("gradcam-last", 1.0))
    ]
    (folder / "evaluation").mkdir()
    pd.DataFrame(evaluation).to_csv(folder / "evaluation" / "truth.tsv", sep="\t", index=False)


def _maps(folder: Path, scan: str, subject: str, affine: np.ndarray, seed: int, predicted: str) -> None:
    rng = np.random.default_rng(seed)
    for explainer in ("lrp", "gradcam-last"):
        relevance = 0.01 * rng.standard_normal(SHAPE)
        relevance[5:9, 9:13, 6:10] += 1
        if explainer == "gradcam-last":
            relevance = np.maximum(relevance, 0)
        anat = folder / "derivatives" / Path(*scan.split("_")) / "anat"
        stem = f"{scan}_desc-{explainer.replace('-', '')}_relevance"
        save(relevance.astype(np.float32), affine, anat / f"{stem}.nii.gz")
        sidecar = {
            "scan_id": scan, "subject_id": subject, "session_id": "b" if "ses" in scan else None,
            "explainer_id": explainer, "explainer": explainer, "params": {}, "fold": seed % 2, "target": 1,
            "target_name": predicted, "output": 2.0, "sum_of_relevance": float(relevance.sum()),
            "details": {
                "conservation": 1.0, "output": 2.0, "layer": "layer4", "layers": ["not", "shown"], "grid": [3, 4, 5],
            },
            "versions": {},
        }  # fmt: skip
        (anat / f"{stem}.json").write_text(json.dumps(sidecar))


def _metrics(regression: bool) -> dict[str, Any]:
    undefined = {"value": None, "low": None, "high": None}
    if regression:
        part: dict[str, Any] = {"n": 4, "people": 4, "mae": {"value": 2.0, "low": 1.5, "high": 2.5}, "r": undefined}
    else:
        part = {
            "n": 4, "people": 4, "balanced_accuracy": {"value": 0.5, "low": 0.25, "high": 0.75},
            "auc": {"value": 0.75, "low": 0.5, "high": 1.0}, "mcc": undefined, "positive_class": "AD",
            "confusion_matrix": [[1, 1], [1, 1]],
        }  # fmt: skip
    return {"test": part, "folds": [part, part]}


@pytest.fixture(scope="session")
def axe_faults() -> Callable[[Any], list[Any] | None]:
    """Give a function that returns the serious faults of accessibility of a page; None without axe.

    The package's own loader reads axe's script in the encoding of the locale, which may be ASCII.
    """
    spec = find_spec("axe_playwright_python")

    def faults(page: Any) -> list[Any] | None:
        if spec is None or spec.origin is None:
            return None
        page.evaluate(Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, {preload: false})")["violations"]
        return [(v["id"], [n["html"] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]

    return faults


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium, or another one that is installed, with WebGL in software."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        launched = started.chromium.launch(executable_path=chromium, args=options)
        yield launched
        launched.close()
