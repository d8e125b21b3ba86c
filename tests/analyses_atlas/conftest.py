"""Small run folders whose maps the test decides, and pictures read back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from xai_core.engine.results import RunResults

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])


def write_map(path: Path, data: Any, affine: Any = RAS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(data, dtype=np.float32), affine), path)
    return path


def write_run(
    folder: Path,
    people: Sequence[Mapping[str, Any]],
    classes: Sequence[str] | None = ("CN", "AD"),
    explainers: Sequence[str] = ("lrp",),
) -> RunResults:
    """Write a finished run. Each person: ``scan``, ``target``, ``prediction``, ``map``, and any covariates."""
    folder.mkdir(parents=True)
    config = {"version": 1, "name": "example", "explainers": [{"id": e, "name": e, "params": {}} for e in explainers]}
    (folder / "pipeline.resolved.yaml").write_text(yaml.safe_dump(config))
    task = "regression" if classes is None else "classification"
    (folder / "run.json").write_text(json.dumps({"task": task, "classes": classes and list(classes)}))
    subjects, predictions, splits = [], [], []
    for person in people:
        scan, affine = person["scan"], person.get("affine", RAS)
        identity = {"scan_id": scan, "subject_id": person.get("subject", scan)}
        anatomy = np.abs(np.asarray(person["map"])) + 1 if np.ndim(person["map"]) == 3 else np.ones(SHAPE)
        image = write_map(folder.parent / "scans" / f"{scan}.nii.gz", person.get("image", anatomy), affine)
        hidden = {"scan", "subject", "map", "affine", "prediction", "image", "explains"}
        covariates = {name: value for name, value in person.items() if name not in hidden}
        subjects.append({**identity, **covariates, "image": str(image), "ground_truth": None})
        decided = {"target": person["target"], "prediction": person["prediction"]}
        predictions.append({"fold": 0, **identity, **decided})
        splits.append({"fold": 0, "part": "test", "subject_id": identity["subject_id"]})
        for explainer in explainers:
            path = folder / "derivatives" / scan / "anat" / f"{scan}_desc-{explainer}_relevance.nii.gz"
            write_map(path, person["map"], affine)
            sidecar = {**identity, "explainer_id": explainer, "fold": 0, "target_name": str(person["prediction"])}
            path.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar))
    for name, rows in (("subjects", subjects), ("predictions", predictions), ("splits", splits)):
        table = pd.DataFrame(rows).drop_duplicates()
        table.to_csv(folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")
    return RunResults(folder)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunResults]:
    def make(people: Sequence[Mapping[str, Any]], **options: Any) -> RunResults:
        return write_run(tmp_path / "run", people, **options)

    return make


@pytest.fixture
def save_map(tmp_path: Path) -> Callable[..., Path]:
    def save(name: str, data: Any, affine: Any = RAS) -> Path:
        return write_map(tmp_path / name, data, affine)

    return save


@pytest.fixture
def pixels() -> Callable[[bytes], np.ndarray]:
    """Decode a PNG file to RGB in 0..255."""

    def decode(png: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    return decode
