"""What both make scripts share: weights, recorded predictions and the archive of fixtures.

Weights and inputs are multiples of 1/32 drawn from a seed that is the name of the fixture and of the weight, so that
Keras 2 and Keras 3 get equal ones, a second run writes the same bytes, and the archive stays small.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Recorder = Callable[[Any, list[np.ndarray]], dict[str, np.ndarray]]
DATE = (2000, 1, 1, 0, 0, 0)
ENDINGS = ("softmax", "sigmoid")
ADDRESS = re.compile(rb'"shared_object_id": (\d+)')


def drawn(seed: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """Return float32 normal numbers of that scale, rounded to multiples of 1/32."""
    generator = np.random.default_rng(zlib.crc32(seed.encode()))
    return (np.round(generator.standard_normal(shape) * scale * 32) / 32).astype(np.float32)


def weight_names(model: Any) -> list[str]:
    """Return 'layer/weight', with a counter where two are equal, for each of ``model.weights``."""
    seen: Counter[str] = Counter()
    names = []
    for weight in model.weights:
        name = "/".join(getattr(weight, "path", weight.name).partition(":")[0].split("/")[-2:])
        names.append(f"{name}#{seen[name]}")
        seen[name] += 1
    return names


def randomise(name: str, model: Any) -> None:
    """Give every weight and statistic a value that no default hides."""
    values = []
    for key, old in zip(weight_names(model), model.get_weights(), strict=True):
        if old.dtype.kind in "iu":
            values.append(old)
            continue
        small = any(part in key for part in ("bias", "beta", "alpha", "mean"))
        scale = 0.25 if small or old.ndim < 2 else 1.2 / np.sqrt(np.prod(old.shape[:-1]))
        value = drawn(f"{name}/{key}", old.shape, max(scale, 3 / 32))
        if any(part in key for part in ("gamma", "variance")):
            value = np.abs(value) * 2 + 0.5
        values.append(value.astype(old.dtype))
    model.set_weights(values)


def example_inputs(name: str, model: Any) -> list[np.ndarray]:
    """Return two examples for each input; an unknown side is 9, 8, 7 ..., whole numbers for an Embedding."""
    found = []
    for number, tensor in enumerate(model.inputs):
        shape = (2, *[9 - k if side is None else int(side) for k, side in enumerate(tensor.shape[1:])])
        value = drawn(f"{name}/input{number}", shape, 1.0)
        found.append(np.abs(value).astype(np.int32) if "embedding" in name else value)
    return found


@contextmanager
def without_ending(keras: Any, model: Any) -> Iterator[None]:
    """Make the final softmax or sigmoid, fused or a layer, the identity for as long as this lasts."""
    layer = model.layers[-1]
    while hasattr(layer, "layers"):
        layer = layer.layers[-1]
    while type(layer).__name__ == "Dropout":
        layer = model.layers[model.layers.index(layer) - 1]
    old = getattr(layer, "activation", None)
    if type(layer).__name__ == "Softmax":
        layer.call = lambda x, **_: x
    elif getattr(old, "__name__", "") in ENDINGS:
        layer.activation = keras.activations.linear
    try:
        yield
    finally:
        if type(layer).__name__ == "Softmax":
            del layer.call
        elif getattr(old, "__name__", "") in ENDINGS:
            layer.activation = old


def predictions(keras: Any, model: Any, inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return ``input<i>``, ``output<i>`` as Keras predicts and ``logit<i>`` without a final softmax or sigmoid."""
    record = {f"input{i}": value for i, value in enumerate(inputs)}

    def call() -> list[np.ndarray]:
        found = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        return [np.asarray(keras.ops.convert_to_numpy(y) if hasattr(keras, "ops") else y) for y in flat(found)]

    record |= {f"output{i}": value for i, value in enumerate(call())}
    with without_ending(keras, model):
        record |= {f"logit{i}": value for i, value in enumerate(call())}
    return record


def flat(found: Any) -> list[Any]:
    return list(found) if isinstance(found, list | tuple) else [found]


def npz(record: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **record)
    return buffer.getvalue()


def timeless(data: bytes) -> bytes:
    """Return a ``.keras`` archive without the time of writing and the memory addresses that Keras 3 puts in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": "2000-01-01@00:00:00"}).encode()
            for number, address in enumerate(dict.fromkeys(ADDRESS.findall(content)) if name == "config.json" else ()):
                content = content.replace(b'"shared_object_id": ' + address, b'"shared_object_id": %d' % number)
            target.writestr(zipfile.ZipInfo(name, DATE), content)
    return buffer.getvalue()


class Archive:
    """The archive of fixtures: ``<name>.h5``, ``<name>.keras`` and ``<name>.npz`` for each recipe, packed as one.

    One compressed stream, since the files repeat each other: 3 % of their size is left.
    """

    def __init__(self, path: Path) -> None:
        self.file = tarfile.open(path, "w:xz", preset=9)  # noqa: SIM115 - closed by the script

    def add(self, name: str, content: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        self.file.addfile(info, io.BytesIO(content))

    def add_model(
        self, keras: Any, name: str, model: Any, suffixes: tuple[str, ...], folder: Path, more: Recorder | None = None
    ) -> None:
        """Randomise the model and add it in each format, with inputs, predictions and what ``more`` records."""
        randomise(name, model)
        inputs = example_inputs(name, model)
        record = predictions(keras, model, inputs) | (more(model, inputs) if more else {})
        for suffix in suffixes:
            path = folder / f"{name}{suffix}"
            model.save(path)
            content = path.read_bytes()
            self.add(path.name, timeless(content) if suffix == ".keras" else content)
        self.add(f"{name}.npz", npz(record))
