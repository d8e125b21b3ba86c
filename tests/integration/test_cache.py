"""A whole run gives the same bytes without a cache, with an empty and a full one, and with loading processes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from xai_core import Pipeline

PIPELINE = """
version: 1
name: {name}
seed: 7
device: cpu
output: {folder}/results
data:
  name: simulated-atrophy
  params: {{folder: {folder}/data, subjects: 8, resolution: 8}}
  transforms:
    - {{name: mni-grid, params: {{spacing: 8}}}}
    - {{name: mni-brain}}
    - {{name: random-flip, params: {{axes: 0}}}}
    - {{name: z-normalization}}
split: {{name: stratified-kfold, params: {{folds: 2}}}}
model: {{name: resnet3d, params: {{depth: 10, width: 4, max_pool: false}}}}
training: {{name: lightning, params: {{epochs: 1, batch_size: 4, learning_rate: 1e-3, workers: {workers}}}}}
explainers: [{{name: gradcam}}]
evaluators: [{{name: ground-truth}}]
"""
RESULTS = ("fold-*/checkpoint.pt", "fold-*/history.csv", "predictions.tsv", "metrics.json", "derivatives/**/*.nii.gz",
           "evaluation/*.tsv")  # fmt: skip


def results(tmp_path: Path, name: str, workers: int = 0) -> dict[str, str]:
    """Run the study and return the hashes of what came out."""
    path = tmp_path / f"{name}.yaml"
    path.write_text(PIPELINE.format(name=name, folder=tmp_path, workers=workers), encoding="utf-8")
    folder = Pipeline.from_file(path).run().folder
    files = [file for pattern in RESULTS for file in sorted(folder.glob(pattern))]
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_same_bytes_with_and_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_CACHE", "off")
    expected = results(tmp_path, "off")
    assert len(expected) >= 2 * 2 + 2 + 8 + 1
    cache = tmp_path / "cache"
    monkeypatch.setenv("XAI_CACHE", str(cache))
    assert results(tmp_path, "empty") == expected
    made = {path: path.stat().st_ino for path in cache.rglob("*.vol")}
    # The part before the flip and the whole of every scan for both folds, and the whole with the truth's mask.
    assert len(made) >= 2 * 8
    assert results(tmp_path, "full", workers=2) == expected
    assert {path: path.stat().st_ino for path in cache.rglob("*.vol")} == made
