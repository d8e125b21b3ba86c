"""A small study on disk, and the command line in this process."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from xai_core.cli import main

PIPELINE = """version: 1
name: small
seed: 1
device: cpu
data:
  name: participants
  params: {table: participants.tsv, image: t1w, target: diagnosis}
  transforms: [{name: to-canonical}, {name: z-normalization}]
split: {name: holdout, params: {test: 0.25, validation: 0.25}}
model: {name: resnet3d, params: {depth: 10, width: 4}}
training: {name: lightning, params: {epochs: 1, batch_size: 4, bootstrap: 100}}
explainers: [{name: lrp}, {name: gradcam, params: {layer: layer1}}]
reports: [{name: html}]
"""


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def xai(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``xai`` with arguments and return exit code and output."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Sixteen people in a table, and ``pipeline.yaml``; the AD have a bright corner."""
    affine = np.diag([-4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (30, -40, -30)
    rows = ["participant_id\tt1w\tdiagnosis\tage"]
    for person in range(16):
        values = np.zeros((16, 18, 14), dtype=np.float32)
        values[2:-2, 2:-2, 2:-2] = np.random.default_rng(person).uniform(1, 2, (12, 14, 10))
        if person % 2:
            values[3:7, 9:13, 3:6] += 3
        nib.save(nib.Nifti1Image(values, affine), tmp_path / f"{person}.nii.gz")
        rows.append(f"sub-{person:02d}\t{person}.nii.gz\t{'CN' if person % 2 == 0 else 'AD'}\t{60 + person}")
    (tmp_path / "participants.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "pipeline.yaml").write_text(PIPELINE, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def colin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real T1 of one man (Colin27), from Debian's mricron-data: installed, or fetched and unpacked without root."""
    inside = "usr/share/mricron/templates/ch2.nii.gz"
    if (installed := Path("/") / inside).is_file():
        return installed
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("Colin27 comes from Debian's package mricron-data, and this is no Debian")
    folder = tmp_path_factory.mktemp("mricron")
    download = ["apt-get", "download", "mricron-data"]
    # A fresh machine has no lists of packages yet; only root may fetch them.
    for command in (download, ["apt-get", "update"], download):
        subprocess.run(command, cwd=folder, capture_output=True, check=False)
        if packages := list(folder.glob("mricron-data*.deb")):
            break
    else:
        pytest.skip("Debian's package mricron-data cannot be fetched (no network?)")
    subprocess.run(["dpkg-deb", "-x", packages[0], folder], check=True)
    return folder / inside
