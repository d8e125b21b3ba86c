"""What the cache of preprocessed scans saves, what it costs in memory, and how long training waits for data.

Run it as ``python benchmarks/cache.py [--people 60] [--resolution 4] [--epochs 5] [--workers 0 2 4] [--batch 4]``; with
``--resolution 1`` for scans of 1 mm. People of the built-in cohort are written as .nii.gz into ``--folder``.

* Epoch: every scan once, in batches, without augmentation. TorchIO reads the .nii.gz and applies the same transforms;
  ours comes from the warm cache. Both load in one process and take turns, so a busy machine slows both.
* Memory: proportional set size of this process and its loading processes together, the highest of several looks in an
  epoch. Pages of files are the operating system's, shared and given back when needed, so they are told apart.
* Waiting: training with the project's loader, and the share of each step's time that went by before its batch came.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torchio as tio
from torch import Tensor
from torch.utils.data import DataLoader

from xai_core import registry
from xai_core.engine.cache import ScanCache
from xai_core.engine.cachefolder import CacheFolder
from xai_core.engine.preprocessing import Preprocessing, TrainingVolumes
from xai_trainers_lightning._data import LoaderOptions, loader

RANDOM = [{"name": "random-flip", "params": {"axes": 0}}]


def slots_for(resolution: float) -> list[dict[str, Any]]:
    """Return the deterministic transforms: as in the quickstart, on a grid of the scans' own resolution."""
    return [
        {"name": "mni-grid", "params": {"spacing": resolution}},
        {"name": "mni-brain", "params": {}},
        {"name": "z-normalization", "params": {}},
    ]


class FromFiles(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """The same scans as TorchIO's own dataset gives them."""

    def __init__(self, subjects: Sequence[tio.Subject], transforms: Sequence[Any]) -> None:
        images = [tio.Subject(image=subject["image"]) for subject in subjects]
        self._subjects = tio.SubjectsDataset(images, transform=tio.Compose(list(transforms)))

    def __len__(self) -> int:
        return len(self._subjects)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._subjects[index]["image"].data.float(), torch.tensor(0)


def seconds(batches: DataLoader[Any]) -> float:
    """Return how long an epoch takes; the voxels are looked at, as a network would."""
    start = time.perf_counter()
    for volumes, _ in batches:
        volumes.sum()
    return time.perf_counter() - start


def compare(study: Any, preprocessing: Preprocessing, arguments: argparse.Namespace) -> None:
    """Print the time of an epoch from files and from the cache."""
    everybody = range(len(study.subjects))
    ours = loader(
        TrainingVolumes(study, preprocessing, everybody, augment=False),
        LoaderOptions(arguments.batch, 0, 0), training=False,
    )  # fmt: skip
    theirs = DataLoader(FromFiles(study.subjects, preprocessing.transforms[:3]), arguments.batch)
    start = time.perf_counter()
    seconds(ours)
    print(f"first epoch, cache cold            {time.perf_counter() - start:8.3f} s")
    times = [(seconds(theirs), seconds(ours)) for _ in range(arguments.epochs)]
    files, cached = (statistics.median(column) for column in zip(*times, strict=True))
    per_scan = 1000 / len(study.subjects)
    print(f"TorchIO from .nii.gz               {files:8.3f} s  {files * per_scan:8.2f} ms a scan")
    print(f"warm cache                         {cached:8.3f} s  {cached * per_scan:8.2f} ms a scan")
    print(f"ratio                              {files / cached:8.1f}     (goal: at least 10)")


def memory() -> tuple[float, float]:
    """Return the proportional set size (MB) of this process and its children: all of it, and without files' pages."""
    pids = [os.getpid(), *map(int, _children())]
    total = files = 0
    for pid in pids:
        try:
            rows = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        except (OSError, ValueError):  # ended meanwhile
            continue
        total += int(rows["Pss"].split()[0])
        files += int(rows["Pss_File"].split()[0])
    return total / 1e3, (total - files) / 1e3


def _children() -> Iterator[str]:
    for task in Path("/proc/self/task").iterdir():
        yield from (task / "children").read_text().split()


def watch_memory(study: Any, preprocessing: Preprocessing, workers: int, arguments: argparse.Namespace) -> None:
    """Print the highest memory of each epoch."""
    batches = loader(
        TrainingVolumes(study, preprocessing, range(len(study.subjects)), augment=True),
        LoaderOptions(arguments.batch, workers, 0), training=True,
    )  # fmt: skip
    peaks = []
    for epoch in range(arguments.epochs + 1):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        looks = []
        for step, (volumes, _) in enumerate(batches):
            volumes.sum()
            if step % max(1, len(batches) // 8) == 0:
                looks.append(memory())
        peaks.append(max(looks, key=lambda look: look[1]))
    own = [peak[1] for peak in peaks]
    growth = 100 * (own[-1] / own[1] - 1)
    told = "  ".join(f"{value:.0f}" for value in own)
    print(f"{workers} workers: own memory {told} MB; from the second to the last epoch {growth:+.1f} %; "
          f"with mapped files {peaks[-1][0]:.0f} MB")  # fmt: skip


def wait(study: Any, preprocessing: Preprocessing, workers: int, arguments: argparse.Namespace) -> None:
    """Print the share of a training step that is spent waiting for its batch."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scans = TrainingVolumes(study, preprocessing, range(len(study.subjects)), augment=arguments.augment)
    batches = loader(scans, LoaderOptions(arguments.batch, workers, 0, pin=device.type == "cuda"), training=True)
    shape = tuple(scans[0][0].shape)
    model = registry.create("model", "resnet3d", depth=arguments.depth, width=arguments.width).build(shape, 2)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters())
    shares, steps = [], []
    for epoch in range(arguments.epochs):
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        start = time.perf_counter()
        for step, (volumes, targets) in enumerate(batches):
            ready = time.perf_counter()
            loss = torch.nn.functional.cross_entropy(model(volumes.to(device)), targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            end = time.perf_counter()
            if epoch and step:  # not the start of the processes, nor of the epoch
                shares.append((ready - start) / (end - start))
                steps.append(end - start)
            start = end
    print(f"{workers} workers on {device.type}: a step takes {1000 * statistics.median(steps):.1f} ms, of which "
          f"{100 * statistics.median(shares):.2f} % waiting for data (goal: below 5 %)")  # fmt: skip


def study_of(folder: Path, arguments: argparse.Namespace) -> Any:
    """Return as much of a study as loading needs."""
    dataset = registry.create(
        "dataset", "simulated-atrophy", folder=str(folder), subjects=arguments.people, resolution=arguments.resolution
    )
    subjects = dataset.subjects()
    classes = ("CN", "AD")
    return SimpleNamespace(
        subjects=subjects, task="classification", target_value=lambda index: classes.index(subjects[index]["target"])
    )


def main() -> None:
    """Print all of it."""
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--resolution", type=float, default=4.0)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2, 4])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument(
        "--augment", action="store_true", help="Waiting with augmentation: its cost is not the cache's."
    )
    parser.add_argument("--skip-epoch", action="store_true")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--skip-waiting", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        study = study_of(folder / "data", arguments)
        cache = ScanCache(CacheFolder(Path(temporary) / "cache"))
        preprocessing = Preprocessing([*slots_for(arguments.resolution), *RANDOM], cache=cache)
        print(f"{len(study.subjects)} scans of {arguments.resolution:g} mm, batches of {arguments.batch}")
        if not arguments.skip_epoch:
            compare(study, preprocessing, arguments)
        for number in [] if arguments.skip_memory else arguments.workers:
            watch_memory(study, preprocessing, number, arguments)
            gc.collect()
        for number in [] if arguments.skip_waiting else arguments.workers:
            wait(study, preprocessing, number, arguments)


if __name__ == "__main__":
    main()
