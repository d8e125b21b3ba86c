"""A trained Keras model: time and memory from the file to the saved map, in forward passes and against the original.

    python benchmarks/keras.py model.hdf5 volume.npz
    python benchmarks/keras.py model.hdf5 volume.npz --original /path/to/python     # with innvestigate==2.1.2

``volume.npz`` holds one volume [D, H, W] under its first key. Everything that is timed is a process of its own, from
its start to the file on disk, so imports count. With ``--original``, the Python of an environment with TensorFlow 2.14
and iNNvestigate 2.1.2, the same map is made by the original, and the two maps are compared. Goals: a tenth of the
original's time for the first map, at most its time for a further one, half its memory. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

EPSILON = 1e-10


def ours(model: Path, volume: Path, output: Path) -> dict[str, float]:
    """Read the model, make the map and save it; then two more, and forward passes."""
    start = time.perf_counter()
    import nibabel as nib
    import torch

    from xai_core import registry

    network = registry.create("model", "keras", path=str(model))
    x = torch.from_numpy(_volume(volume))[None, None]
    built = network.build(tuple(x.shape[1:]), None).eval()
    explainer = registry.create("explainer", "lrp", composite="innvestigate-sequential-preset-a", epsilon=EPSILON)
    target = torch.tensor([1])

    def work() -> None:
        relevance = explainer.explain(built, x, target).relevance[0, 0].numpy()
        nib.save(nib.Nifti1Image(relevance, np.eye(4)), output)  # type: ignore[no-untyped-call, attr-defined]

    work()
    first = time.perf_counter() - start
    further = min(_timed(work) for _ in range(2))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # before the forward passes of the ratio
    with torch.no_grad():
        forward = min(_timed(lambda: built(x)) for _ in range(3))
    return {"first": first, "further": further, "forward": forward, "memory": memory}


# What the original needs, as text: it runs in another environment.
ORIGINAL = """
import json, sys, time, resource
start = time.perf_counter()
import numpy as np, tensorflow as tf, innvestigate
tf.compat.v1.disable_eager_execution()
model, volume, output = sys.argv[1:4]
data = np.load(volume)
x = data[data.files[0]].astype(np.float32)[None, ..., None]
network = innvestigate.model_wo_softmax(tf.keras.models.load_model(model, compile=False))
for layer in network.layers:
    layer._name = "m_" + layer.name  # the analysis makes layers called add_1, add_2 ... of its own
analyzer = innvestigate.create_analyzer("lrp.sequential_preset_a", network, neuron_selection_mode="index",
                                        epsilon=float(sys.argv[4]), disable_model_checks=True)
np.save(output, analyzer.analyze(x, 1)[0, ..., 0])
first = time.perf_counter() - start
again = time.perf_counter()
analyzer.analyze(x, 1)
further = time.perf_counter() - again
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print("FOUND " + json.dumps({"first": first, "further": further, "memory": peak}))
"""


def _volume(path: Path) -> np.ndarray[Any, Any]:
    data = np.load(path)
    return np.asarray(data[data.files[0]], dtype=np.float32)


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _process(command: list[str]) -> dict[str, float]:
    """Run a command that prints its figures; ``process`` is its whole time."""
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    whole = time.perf_counter() - start
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    if not lines:
        raise SystemExit(f"{' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(lines[-1].removeprefix("FOUND "))
    return found | {"process": whole}


def compare(model: Path, volume: Path, python: str | None) -> None:
    """Print the figures and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        map_file, other = Path(folder) / "map.nii", Path(folder) / "map.npy"
        mine = _process([sys.executable, __file__, str(model), str(volume), "--child", str(map_file)])
        _show("ours", mine)
        print(f"  a further map takes {mine['further'] / mine['forward']:.1f} forward passes ({mine['forward']:.2f} s)")
        if python is None:
            return
        theirs = _process([python, "-c", ORIGINAL, str(model), str(volume), str(other), str(EPSILON)])
        _show("original", theirs)
        print(f"  first map {theirs['first'] / mine['first']:.1f} times faster (goal 10)")
        print(f"  further map {theirs['further'] / mine['further']:.1f} times faster (goal 1)")
        print(f"  memory {mine['memory'] / theirs['memory']:.2f} of the original's (goal 0.5)")
        import nibabel as nib

        a, b = nib.load(map_file).get_fdata(), np.load(other)  # type: ignore[attr-defined]
        print(f"  largest difference over the largest value {np.abs(a - b).max() / np.abs(b).max():.1e}")


def _show(name: str, found: dict[str, float]) -> None:
    print(
        f"{name}: first map, imports included, {found['first']:.2f} s (process {found['process']:.2f} s), a further "
        f"one {found['further']:.2f} s, at most {found['memory']:.0f} MiB"
    )


def main() -> None:
    """Read the options and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--original", help="Python of an environment with innvestigate==2.1.2")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is None:
        compare(given.model, given.volume, given.original)
        return
    found = ours(given.model, given.volume, given.child)
    print("FOUND " + json.dumps(found))


if __name__ == "__main__":
    main()
