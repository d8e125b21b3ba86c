"""What the quality control of a cohort costs beside reading it, and how large its page is.

Run it as ``python benchmarks/quality.py [images]``. It writes one head of 1 mm (182 x 218 x 182, int16, ``.nii.gz``)
under as many names (hard links), looks at all of them without and with the quality control, and prints both.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torchio as tio
from scipy import ndimage

from xai_core.engine.scans import ScanChecks
from xai_datasets_mri._quality import look_at, write_quality


def head() -> nib.Nifti1Image:
    """A noisy ball with texture in air."""
    rng = np.random.default_rng(0)
    shape = (182, 218, 182)
    x, y, z = (np.indices(shape).T - np.array(shape) / 2).T
    texture = 900 + 4000 * ndimage.gaussian_filter(rng.standard_normal(shape), 3)
    truth = np.where((x / 75) ** 2 + (y / 92) ** 2 + (z / 75) ** 2 < 1, texture, 0)
    noisy = np.hypot(truth + rng.normal(0, 15, shape), rng.normal(0, 15, shape))
    return nib.Nifti1Image(noisy.astype("i2"), np.diag([-1.0, 1, 1, 1]))


def main(images: int = 600) -> None:
    """Print seconds without and with the quality control, and the size of the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nib.save(head(), folder / "0.nii.gz")
        for number in range(1, images):
            os.link(folder / "0.nii.gz", folder / f"{number}.nii.gz")
        subjects = [
            tio.Subject(image=tio.ScalarImage(folder / f"{number}.nii.gz"), subject_id=str(number))
            for number in range(images)
        ]
        names = [f"sub-{number}" for number in range(images)]
        start = time.perf_counter()
        ScanChecks(None).look(subjects, names)
        reading = time.perf_counter() - start
        start = time.perf_counter()
        _, rows = look_at(subjects, names, ScanChecks(None))
        write_quality(rows(), folder, "benchmark")
        together = time.perf_counter() - start
        size = (folder / "index.html").stat().st_size / 1e6
    print(f"{images} images: reading, hashing and checking {reading:.1f} s; with quality control {together:.1f} s, "
          f"{together - reading:.1f} s more; page {size:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
