"""How long voxel-wise relations across people take: 300 people, 200,000 voxels, 3 covariates.

OMP_NUM_THREADS=2 python benchmarks/voxels.py [permutations] [people] [voxels]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from xai_analyses_atlas._contrasts.inference import estimate, family_wise
from xai_analyses_atlas._contrasts.shuffles import plan
from xai_analyses_atlas._grids import Grid
from xai_analyses_atlas._stack import filled
from xai_analyses_atlas._voxels.association import Association
from xai_analyses_atlas._voxels.measures import measures_for, score


def main(permutations: int = 100, people: int = 300, voxels: int = 200_000) -> None:
    """Print seconds; those of permutations grow with their number."""
    generator = np.random.default_rng(0)
    covariates, number = generator.normal(size=(people, 3)), generator.normal(size=people)
    mask, grid = np.ones((1, 1, voxels), dtype=bool), Grid((1, 1, voxels), np.eye(4))
    with tempfile.TemporaryDirectory() as folder:
        for name, tested, rows in (("column", number, people), ("map", None, 2 * people)):
            noise = (generator.standard_normal(voxels, dtype=np.float32) for _ in range(rows))
            stack = filled(noise, rows, mask, grid, Path(folder))
            for method in ("pearson", "spearman"):
                model = Association(covariates, tested, method, least=1)
                start = time.perf_counter()
                found = estimate(model, stack, two_sided=True)
                print(f"{name}, {method}: model {time.perf_counter() - start:.1f} s", flush=True)
            model = Association(covariates, tested, "pearson", least=1)
            start = time.perf_counter()
            orders = plan("orders", people, permutations, 0)
            family_wise(model, stack, found, orders, "max-t", connectivity=6, two_sided=True)
            print(f"{name}: {permutations} permutations {time.perf_counter() - start:.1f} s", flush=True)
            stack.delete()
    relevance, feature = generator.random(7_000_000), (generator.random(7_000_000) < 0.01).astype(float)
    for measure in measures_for(binary=True, signed=False):
        start = time.perf_counter()
        score(measure, relevance, feature, 5)
        print(f"{measure.name} of 7 million voxels: {time.perf_counter() - start:.2f} s", flush=True)
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
