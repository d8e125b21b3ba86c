"""Time and memory of LRP, as ratios to one forward and backward pass and to Zennit's rules for the same values.

    python benchmarks/lrp.py                     # both sizes of volume, ResNet-18
    python benchmarks/lrp.py --size 96,112,96 --depth 10 --repeats 5

Goals: at most 1.2 times a forward and backward pass, a third of Zennit's AlphaBeta(1, 0), and at most 1.3 times the
memory of forward and backward. A forward and backward pass is a training step's, with the gradients of the weights; the
pass to the volume alone is printed beside it. The network's canonical form is made before the clock starts, as it is
once for a cohort; what making it costs is printed too. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from xai_core.engine.torchvision_shim import ensure_torchvision
from xai_explainers_lrp.plugin import LRP
from xai_models_resnet3d.plugin import ResNet3D

Work = Callable[[], object]


def network(depth: int, size: tuple[int, int, int]) -> nn.Module:
    """Return a ResNet with random weights and statistics."""
    torch.manual_seed(0)
    model = ResNet3D(depth=depth).build((1, *size), 2).eval()  # type: ignore[arg-type]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    return model


def brain(size: tuple[int, int, int]) -> Tensor:
    """Return a volume [1, 1, D, H, W]: an ellipsoid of z-scored noise in a zero background."""
    axes = [torch.linspace(-1, 1, n) for n in size]
    inside = sum(a**2 for a in torch.meshgrid(*axes, indexing="ij")) < 0.8
    return (torch.randn(size, generator=torch.Generator().manual_seed(1)) * inside)[None, None]


def forward_backward(model: nn.Module, x: Tensor) -> Work:
    """One pass of training: the gradients of all weights."""

    def work() -> None:
        model.zero_grad()
        model(x)[0, 0].backward()

    return work


def to_the_volume(model: nn.Module, x: Tensor) -> Work:
    """One pass to the gradient of the volume alone."""

    def work() -> None:
        leaf = x.clone().requires_grad_()
        torch.autograd.grad(model(leaf)[0, 0], leaf)

    return work


def zennit(model: nn.Module, x: Tensor) -> Callable[[], Tensor]:
    """Zennit's epsilon in the linear layer and AlphaBeta(1, 0) in convolutions, with a sum of our own: its is wrong."""
    ensure_torchvision()
    from zennit.core import Composite, Hook
    from zennit.rules import AlphaBeta, Epsilon, Norm, Pass

    from xai_core.canonical import Part, canonical_form

    class Split(Hook):  # type: ignore[misc]
        def forward(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.stored_tensors["input"] = inputs

        def backward(
            self, module: nn.Module, grad_input: tuple[Tensor, ...], grad_output: tuple[Tensor, ...]
        ) -> tuple[Tensor, ...]:
            first, second = self.stored_tensors["input"]
            total = first + second
            factor = grad_output[0] / (total + torch.where(total >= 0, 1e-9, -1e-9))
            return first * factor, second * factor

    canonical = canonical_form(model, x)
    rules = {
        Part.CONVOLUTION: AlphaBeta(alpha=1, beta=0, stabilizer=1e-9),
        Part.DENSE: Epsilon(epsilon=1e-6),
        Part.SUM: Split(),
        Part.AVERAGE: Norm(stabilizer=1e-9),
        Part.ACTIVATION: Pass(),
    }

    def rule_of(_context: object, name: str, _module: nn.Module) -> Hook | None:
        part = canonical.parts.get(name)
        return None if part is None else rules.get(part)

    def work() -> Tensor:
        leaf = x.clone().requires_grad_()
        with Composite(module_map=rule_of).context(canonical.network) as hooked:
            outputs = hooked(leaf)
            best = int(outputs.argmax())
            (relevance,) = torch.autograd.grad(outputs[0, best], leaf, grad_outputs=outputs[0, best].detach())
        return relevance

    return work


def medians(works: dict[str, Work], repeats: int) -> dict[str, float]:
    """Return the median time of each, taken in turn so that a slow minute slows all."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def peak_memory(kind: str, depth: int, size: tuple[int, int, int]) -> float:
    """Return by how many MiB a process grows at most that does one thing."""
    text = ",".join(map(str, size))
    command = [sys.executable, __file__, "--memory-of", kind, "--depth", str(depth), "--size", text]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(kind: str, depth: int, size: tuple[int, int, int]) -> None:
    """Print what ``peak_memory`` returns; for a process of its own."""
    model, x = network(depth, size), brain(size)
    works: dict[str, Work] = {"pass": forward_backward(model, x), "lrp": lambda: LRP().explain(model, x, None)}
    # The highest water mark so far is that of the imports; Linux can reset it.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    works[kind]()
    print((_status("VmHWM") - before) / 1024)


def _status(field: str) -> int:
    """Return a figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def compare(depth: int, size: tuple[int, int, int], repeats: int) -> None:
    """Print the ratios for one size of volume."""
    model, x = network(depth, size), brain(size)
    lrp = LRP()
    start = time.perf_counter()
    found = lrp.explain(model, x, None).relevance
    first = time.perf_counter() - start
    theirs = zennit(model, x)
    expected = theirs()
    difference = float((found - expected).abs().max() / expected.abs().max())
    time_of = medians({
        "pass": forward_backward(model, x), "volume": to_the_volume(model, x),
        "lrp": lambda: lrp.explain(model, x, None), "zennit": theirs,
    }, repeats)  # fmt: skip
    memory = peak_memory("lrp", depth, size) / peak_memory("pass", depth, size)
    print(f"ResNet-{depth}, {' x '.join(map(str, size))}, {torch.get_num_threads()} threads, median of {repeats}")
    print(f"  LRP {time_of['lrp']:.2f} s; the first map, with the canonical form, {first:.2f} s")
    print(f"  {time_of['lrp'] / time_of['pass']:.2f} times forward and backward ({time_of['pass']:.2f} s); goal 1.2")
    print(f"  {time_of['lrp'] / time_of['volume']:.2f} times forward and backward to the volume alone")
    print(
        f"  {time_of['zennit'] / time_of['lrp']:.2f} times faster than Zennit; goal 3; maps differ by {difference:.0e}"
    )
    print(f"  {memory:.2f} times the memory of forward and backward; goal 1.3")


def main() -> None:
    """Read the options and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="D,H,W; default: 96,112,96 and 179,169,208")
    parser.add_argument("--depth", type=int, default=18, choices=(10, 18, 34, 50))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-of", choices=("pass", "lrp"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    for text in given.size or ("96,112,96", "179,169,208"):
        d, h, w = (int(n) for n in text.split(","))
        if given.memory_of:
            measure_memory(given.memory_of, given.depth, (d, h, w))
        else:
            compare(given.depth, (d, h, w), given.repeats)


if __name__ == "__main__":
    main()
