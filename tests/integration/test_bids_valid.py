"""What is written as BIDS has no error by the official validator; skipped where that is not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from xai_core import Pipeline, registry
from xai_core.cli import main
from xai_core.engine.ensemble import join_runs
from xai_core.engine.progress import log
from xai_core.testing._toys import TOY_PIPELINE, register_toys, write_toy_study

UNETS = Path(__file__).parents[1] / "models_keras" / "data" / "unet.tar.xz"
VALIDATOR = shutil.which("bids-validator-deno")
pytestmark = pytest.mark.skipif(VALIDATOR is None, reason="the BIDS validator is not installed (bids-validator-deno)")


def errors(folder: Path) -> Counter[str]:
    """Return the errors of a dataset by code and place, and require that the validator has read it."""
    command = [str(VALIDATOR), str(folder), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    found = json.loads(done.stdout)
    assert found["summary"]["totalFiles"] > 0
    issues = [issue for issue in found["issues"]["issues"] if issue["severity"] == "error"]
    return Counter(f"{issue['code']} {issue.get('subCode')} {issue.get('location')}" for issue in issues)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Two small runs that differ in their seeds."""
    folder = tmp_path_factory.mktemp("runs")
    before = log.propagate, log.level, list(log.handlers)
    register_toys()
    write_toy_study(folder / "study", people=8)
    (folder / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    yield [Pipeline.from_file(folder / "toy.yaml", [f"seed={seed}"], name=f"s{seed}").run().folder for seed in (1, 2)]
    log.propagate, log.level, log.handlers[:] = before
    register_toys()


def test_the_validator_sees_errors(runs: list[Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    shutil.copytree(runs[0] / "derivatives", wrong)
    (wrong / ".bidsignore").unlink()
    assert any(key.startswith("NOT_INCLUDED") for key in errors(wrong))
    (wrong / "dataset_description.json").unlink()
    assert any(key.startswith("MISSING_DATASET_DESCRIPTION") for key in errors(wrong))


def test_the_simulated_cohort_is_valid(tmp_path: Path) -> None:
    registry.create("dataset", "simulated-atrophy", folder=str(tmp_path), subjects=4, resolution=8).subjects()
    (root,) = tmp_path.iterdir()
    assert errors(root) == Counter()
    for derivative in (root / "derivatives").iterdir():
        assert errors(derivative) == Counter()


def test_the_maps_of_a_run_are_valid(runs: list[Path]) -> None:
    assert list((runs[0] / "derivatives").rglob("*_relevance.nii.gz"))
    assert errors(runs[0] / "derivatives") == Counter()


def test_the_maps_of_an_ensemble_are_valid(runs: list[Path], tmp_path: Path) -> None:
    found = join_runs(runs, tmp_path / "joined")
    assert list((found.folder / "derivatives").rglob("*_statmap.nii.gz"))
    assert errors(found.folder / "derivatives") == Counter()


def test_what_segment_writes_is_valid(tmp_path: Path) -> None:
    with tarfile.open(UNETS) as archive:
        archive.extractall(tmp_path / "unets", filter="data")
    values = np.zeros((16, 18, 14), np.float32)
    values[2:14, 2:16, 2:12] = np.random.default_rng(0).uniform(1, 9, (12, 14, 10))
    names = ("sub-01_ses-m0_run-1_T1w", "sub-02_space-MNI152NLin6Asym_desc-preproc_T1w")
    scans = [tmp_path / f"{name}.nii.gz" for name in names]
    for scan in scans:
        nib.save(nib.Nifti1Image(values, np.eye(4)), scan)
    (tmp_path / "broken.nii.gz").write_bytes(b"")
    data = [part for scan in [*scans, tmp_path / "broken.nii.gz"] for part in ("--data", str(scan))]
    model = ["--model", str(tmp_path / "unets" / "fold0.h5"), "--size", "12x14x10"]
    with pytest.raises(SystemExit) as exit_info:
        main(["segment", *model, *data, "--mask", "nonzero", "--output", str(tmp_path / "pvs")])
    assert exit_info.value.code == 1
    assert (tmp_path / "pvs" / "failed.tsv").is_file()
    assert len(list((tmp_path / "pvs").rglob("*_probseg.nii.gz"))) == 2
    assert errors(tmp_path / "pvs") == Counter()
