"""The quickstart's own components on a smaller cohort: repeatable to the byte, resumable, and right on a real brain."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from xai_core import Pipeline

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart" / "pipeline.yaml"
# What time and place decide, and nothing else may: the log, file times, TensorBoard's own names.
OWN_TIME = re.compile(r"log\.txt|\.xai/(lock|scans\.json)|tensorboard|\.xai/units/fold-0/training\.json|\.DS_Store")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


def arguments(home: Path, output: str) -> list[str]:
    changes = [f"data.params.folder={home / 'data'}", "data.params.subjects=24", "training.params.batch_size=4"]
    changes += ["training.params.bootstrap=100"]
    sets = [part for change in changes for part in ("--set", change)]
    return [str(QUICKSTART), "--output", str(home / output), "--epochs", "2", "--device", "cpu", *sets]


def command(home: Path, output: str) -> list[str]:
    code = "from xai_core.cli import main; main()"
    return [sys.executable, "-c", code, "run", *arguments(home, output)]


@pytest.fixture(scope="session")
def first(home: Path) -> Path:
    """A finished run of the small quickstart."""
    done = subprocess.run(command(home, "first"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"auc +[01]\.\d{3}", done.stdout), done.stdout
    page = Path(re.findall(r"Report: +(.*)", done.stdout)[0])
    assert page.is_file()
    return home / "first" / "quickstart"


def bytes_of(folder: Path) -> dict[str, str]:
    files = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    texts = {name: path.read_bytes() for name, path in files.items() if not OWN_TIME.search(name)}
    # The configuration names its own folder, and the report's key holds the configuration.
    skipped = {"pipeline.resolved.yaml", ".xai/units/report/html.json"}
    return {name: hashlib.sha256(text).hexdigest() for name, text in texts.items() if name not in skipped}


def assert_same(found: dict[str, str], expected: dict[str, str]) -> None:
    assert [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)] == []


def test_the_same_command_twice_gives_the_same_bytes(home: Path, first: Path) -> None:
    subprocess.run(command(home, "second"), capture_output=True, check=True)
    expected = bytes_of(first)
    assert_same(bytes_of(home / "second" / "quickstart"), expected)
    assert sum(name.endswith("relevance.nii.gz") for name in expected) == 12
    assert {"metrics.json", "metrics.tsv", "predictions.tsv", "evaluation/ground-truth.tsv"} <= set(expected)


@pytest.mark.parametrize("stage", ["fold 0: training", "fold 0 epoch 1", "fold 0: explaining"])
def test_killed_and_started_again_it_ends_with_the_same_bytes(home: Path, first: Path, stage: str) -> None:
    output = "killed-" + re.sub(r"\W", "", stage)
    folder = home / output / "quickstart"
    process = subprocess.Popen(command(home, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log, marker = folder / "log.txt", folder / "derivatives"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        reached = (
            marker.is_dir() if "explaining" in stage else log.is_file() and stage in log.read_text(encoding="utf-8")
        )
        if reached:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert not (folder / "metrics.json").exists()
    subprocess.run(command(home, output), capture_output=True, check=True)
    assert_same(bytes_of(folder), bytes_of(first))
    shutil.rmtree(home / output)


def test_maps_lie_on_their_scans(first: Path) -> None:
    records = Pipeline.from_folder(first).results.maps()
    assert {record.explainer for record in records} == {"lrp", "gradcam"}
    for record in records:
        assert record.image is not None
        scan, relevance = nib.load(record.image), nib.load(record.path)
        assert relevance.shape == scan.shape
        np.testing.assert_array_equal(relevance.affine, scan.affine)
        if record.explainer == "lrp":
            # Where the scan is background no relevance may arise from it.
            outside = np.asarray(scan.dataobj) == 0
            assert np.abs(relevance.get_fdata()[outside]).sum() <= 1e-6 * np.abs(relevance.get_fdata()).sum()


def test_colin_is_explained_on_his_own_brain(home: Path, first: Path, colin: Path) -> None:
    """A real scan on another grid: the map has its grid and lies on the brain, not beside it."""
    code = "from xai_core.cli import main; main()"
    arguments = ["explain", str(first), "--image", str(colin), "--output", str(home / "colin")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"prediction: (CN|AD) .*probability_AD: [01]\.\d+", done.stdout)
    assert (home / "colin" / "ch2_relevance.png").stat().st_size > 10_000
    scan, relevance = nib.load(colin), nib.load(home / "colin" / "ch2_desc-lrp_relevance.nii.gz")
    assert relevance.shape == scan.shape
    np.testing.assert_allclose(relevance.affine, scan.affine, atol=1e-5)
    strength = np.abs(relevance.get_fdata())
    stripped = nib.load(colin.with_name("ch2bet.nii.gz"))
    # One voxel of the network's 4 mm grid round the brain, for the interpolation at its edge.
    brain = ndimage.binary_dilation(stripped.get_fdata() > 0, iterations=4)
    share = strength[brain].sum() / strength.sum()
    assert share > 0.9
    assert strength[np.roll(brain, 40, axis=1)].sum() / strength.sum() < share - 0.1
