"""How long exact occlusion takes, against ``captum.attr.Occlusion``, and by how much their maps differ.

Run it as ``python benchmarks/occlusion.py [threads [depth [repetitions]]]``. The network is ResNet3D, the volume has a
head-like ellipsoid amid zeros, and the window is 8 voxels wide. Captum runs a full pass for every window, which takes
hours for the finer stride, so what is measured of it is the time from window to window, of a few windows, times their
number. What is measured of ours is everything before the first window (tracing, features, trial) and then a random
sample of the windows that change anything, times their number; the first case is also run as a whole. Both are timed
in turn: a busy machine slows both.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time

import captum.attr
import numpy as np
import torch
from torch import Tensor, nn

from xai_core import registry
from xai_core.engine.requests import explaining
from xai_explainers_gradcam._occlusion import drops
from xai_explainers_gradcam._occlusion_changes import Windows
from xai_explainers_gradcam._occlusion_geometry import Extent

WINDOW = 8
CASES = [((96, 112, 96), 8), ((96, 112, 96), 4), ((179, 169, 208), 8), ((179, 169, 208), 4)]
SMALL = (40, 45, 43)
FEW, MANY = 2, 130  # windows of a sample; their difference gives the time for one
CAPTUMS = 4


class Enough(Exception):  # noqa: N818
    """Captum has run enough windows."""


def head(grid: tuple[int, int, int]) -> Tensor:
    """Return [1, 1, *grid]: noise in an ellipsoid that fills half of a box, zeros around it."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*[torch.linspace(-1, 1, size) for size in grid], indexing="ij")
    radius = sum((axis / width) ** 2 for axis, width in zip(axes, (0.8, 0.9, 0.8), strict=True))
    return ((torch.rand(grid, generator=generator) + 0.5) * (radius < 1))[None, None]


def build(grid: tuple[int, int, int], depth: int) -> nn.Module:
    """Return the network with batch statistics that are not trivial."""
    torch.manual_seed(0)
    network: nn.Module = registry.create("model", "resnet3d", depth=depth).build((1, *grid), 2).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network


def captum_seconds(network: nn.Module, volume: Tensor, stride: int) -> float:
    """Return the median time that Captum takes from one window to the next."""
    times: list[float] = []

    def forward(x: Tensor) -> Tensor:
        times.append(time.perf_counter())
        if len(times) > CAPTUMS + 2:  # the first pass is that of the unchanged volume
            raise Enough
        result: Tensor = network(x)
        return result

    try:
        captum.attr.Occlusion(forward).attribute(volume, (1, *[WINDOW] * 3), (1, *[stride] * 3), target=0)
    except Enough:
        return float(statistics.median(np.diff(times)[1:]))
    raise RuntimeError("Captum ran fewer windows than expected.")


def our_seconds(network: nn.Module, volume: Tensor, stride: int) -> tuple[float, int, int]:
    """Return how long all windows take, how many there are, and how many of them change anything."""
    every = Windows(volume, torch.zeros_like(volume), (WINDOW,) * 3, (stride,) * 3)
    changed = np.flatnonzero(every.changed)
    sample = np.random.default_rng(0).permutation(changed)
    took = {}
    for number in (FEW, MANY):
        fresh = copy.deepcopy(network)  # nothing is known of it
        start = time.perf_counter()
        windows = Windows(volume, torch.zeros_like(volume), (WINDOW,) * 3, (stride,) * 3)
        chosen = sample[:number]
        windows.extent = Extent(windows.extent.first[chosen], windows.extent.last[chosen])
        windows.changed = windows.changed[chosen]
        with explaining(fresh, volume, None, gradients=False) as explained, torch.no_grad():
            found = drops(fresh, explained, 0, windows, 4, "occlusion")
        took[number] = time.perf_counter() - start
        assert found.details["recomputed"] == "what a change reaches"
    each = (took[MANY] - took[FEW]) / (MANY - FEW)
    return took[FEW] + each * (len(changed) - FEW), len(every.changed), len(changed)


def case(grid: tuple[int, int, int], stride: int, depth: int, repetitions: int) -> float:
    """Print one line and return our time in seconds."""
    network, volume = build(grid, depth), head(grid)
    captums, ours = [], []
    for _ in range(repetitions + 1):
        captums.append(captum_seconds(network, volume, stride))
        seconds, windows, changed = our_seconds(network, volume, stride)
        ours.append(seconds)
    del captums[0], ours[0]  # the first call of each kernel makes it
    captum_total, our_total = statistics.median(captums) * windows, statistics.median(ours)
    print(
        f"{' x '.join(map(str, grid)):<16} stride {stride}  {windows:6} windows, {1 - changed / windows:4.0%} skipped  "
        f"Captum {captum_total:8.0f} s  ours {our_total:7.1f} s  {captum_total / our_total:5.1f} times faster",
        flush=True,
    )
    return our_total


def whole(grid: tuple[int, int, int], stride: int, depth: int) -> float:
    """Return the seconds of a whole explanation, nothing left out."""
    network, volume = build(grid, depth), head(grid)
    explainer = registry.create("explainer", "occlusion", window=WINDOW, stride=stride)
    start = time.perf_counter()
    explainer.explain(network, volume, None)
    return time.perf_counter() - start


def differences(depth: int, stride: int) -> None:
    """Print by how much the whole maps on a small volume differ, in units of the largest value."""
    volume, maps = head(SMALL), dict[tuple[str, torch.dtype], Tensor]()
    for dtype in (torch.float32, torch.float64):
        network = build(SMALL, depth).to(dtype)
        explainer = registry.create("explainer", "occlusion", window=WINDOW, stride=stride)
        found = explainer.explain(network, volume, None)
        method = captum.attr.Occlusion(network)
        sizes = {"sliding_window_shapes": (1, *[WINDOW] * 3), "strides": (1, *[stride] * 3)}
        maps["ours", dtype] = found.relevance
        maps["Captum", dtype] = method.attribute(volume.to(dtype), target=found.target, **sizes).float()
    scale = maps["Captum", torch.float64].abs().max()
    print(f"Largest differences on {SMALL}, relative to the largest value of the map, {scale:.1e}:")
    for first, second in (
        (("ours", torch.float64), ("Captum", torch.float64)),
        (("ours", torch.float32), ("Captum", torch.float32)),
        (("ours", torch.float32), ("Captum", torch.float64)),
        (("Captum", torch.float32), ("Captum", torch.float64)),
    ):
        names = " and ".join(f"{name} in {dtype}".replace("torch.", "") for name, dtype in (first, second))
        print(f"  {names:<40} {(maps[first] - maps[second]).abs().max() / scale:.1e}")


def main(threads: int = 2, depth: int = 10, repetitions: int = 5) -> None:
    """Print the table."""
    torch.set_num_threads(threads)
    print(f"ResNet3D-{depth}, {threads} threads, medians of {repetitions}")
    differences(depth, WINDOW)
    for number, (grid, stride) in enumerate(CASES):
        estimate = case(grid, stride, depth, repetitions)
        if number == 0:
            print(f"{'':<16} as a whole: {whole(grid, stride, depth):.1f} s, estimated {estimate:.1f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
