"""Damages stored Keras models at random, reads what is left and says what happened.

One mutant is one change of one file: of its bytes, its configuration (any value, anywhere), its graph or its
weights. Whatever is done, reading must end in an ``InputError`` or in a network that runs. As a script it goes on for
as long as it is told, from a seed, and prints each mutant that ended otherwise::

    python tests/models_keras/fuzzing.py --minutes 10 --seed 1
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import random
import re
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import h5py
import numpy as np
import torch

from xai_core import InputError
from xai_models_keras import read

SECONDS = 10.0  # on a busy machine; the reader itself gives up after some 4 s
GARBAGE: tuple[Any, ...] = (
    None, "x", "", -1, 0, 1, 2, [], {}, [None], [[]], {"x": 1}, 1e30, -0.5, True, False, 10**12, 2**63, -(2**70),
    "relu", "\x00", "é" * 50, [1, 2, 3], ["a", 0, 0], "__lambda__", {"class_name": "__lambda__", "config": {}},
    {"class_name": "Lambda", "config": {"function": ["4wE=", None, None]}},
)  # fmt: skip
# What Python says of a mistake in the reader's own code; no message to users should hold it.
CODE = re.compile(r"object has no attribute|object is not|unsupported operand|unexpected keyword|positional argument"
                  r"|unhashable|not subscriptable|index out of range|NoneType")  # fmt: skip
NAME, CONFIG, WEIGHTS = "model_config", "config.json", "model.weights.h5"


class TooSlow(BaseException):
    """Reading took longer than ``SECONDS``; not an Exception, so that no handler of the reader takes it."""


@dataclass(frozen=True)
class Outcome:
    """What came of reading one file: ``kind`` is read, refused or the name of a defect."""

    kind: str
    message: str = ""
    values: tuple[torch.Tensor, ...] = ()

    @property
    def is_defect(self) -> bool:
        return self.kind not in {"read", "refused"}


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def outcome(path: Path, inputs: list[torch.Tensor] | None = None) -> Outcome:
    """Read a file and, where that succeeds, run the network on the inputs."""
    try:
        with limited(SECONDS):
            network = read(path)
    except InputError as error:
        whole = str(path) in str(error) and "\n" not in str(error) and not CODE.search(str(error))
        return Outcome("refused" if whole else "poor message", str(error))
    except TooSlow:
        return Outcome("hang", f"more than {SECONDS} s")
    except Exception as error:
        return Outcome(f"crash {type(error).__name__}", "".join(traceback.format_exception(error)[-6:]))
    try:
        with torch.no_grad():
            found = network(*(inputs or []))
    except Exception as error:  # the inputs may no longer fit
        return Outcome("read", f"{type(error).__name__}: {error}")
    return Outcome("read", "", found if isinstance(found, tuple) else (found,))


# Places in a JSON document.
Spot = tuple[Any, Any]


def spots(value: Any) -> list[Spot]:
    """Return (container, key) of every value below the document, containers too."""
    found: list[Spot] = []
    stack = [value]
    while stack:
        here = stack.pop()
        keys = list(here) if isinstance(here, dict) else range(len(here))
        for key in keys:
            found.append((here, key))
            if isinstance(here[key], dict | list):
                stack.append(here[key])
    return found


def replace(config: Any, rng: random.Random) -> str:
    here, key = rng.choice(spots(config))
    here[key] = copy.deepcopy(rng.choice(GARBAGE))
    return f"{key!r} = {here[key]!r}"


def delete(config: Any, rng: random.Random) -> str:
    here, key = rng.choice(spots(config))
    del here[key]
    return f"without {key!r}"


def exchange(config: Any, rng: random.Random) -> str:
    """Put one value of the document in the place of another: names, classes, whole layers."""
    every = spots(config)
    here, key = rng.choice(every)
    alike = [spot for spot in every if type(spot[0][spot[1]]) is type(here[key])]
    there, other = rng.choice(alike)
    here[key] = copy.deepcopy(there[other])
    return f"{key!r} = value of {other!r}: {str(here[key])[:60]}"


def double(config: Any, rng: random.Random) -> str:
    lists = [here[key] for here, key in spots(config) if isinstance(here[key], list) and here[key]]
    chosen = rng.choice(lists)
    chosen.insert(rng.randrange(len(chosen) + 1), copy.deepcopy(rng.choice(chosen)))
    return f"an element of {str(chosen)[:60]} twice"


def tokens(config: Any, rng: random.Random) -> str:
    """Change one number a little: shapes, numbers of filters, strides, places in the graph."""
    numbers = [(here, key) for here, key in spots(config) if type(here[key]) is int]
    here, key = rng.choice(numbers)
    here[key] += rng.choice((-1, 1, 2, 7))
    return f"{key!r} = {here[key]}"


Change = Callable[[Any, random.Random], str]
CONFIG_CHANGES: tuple[Change, ...] = (replace, replace, delete, exchange, exchange, double, tokens)


def strange_values(value: np.ndarray, rng: random.Random) -> np.ndarray:
    """Return another array in the place of a weight."""
    value = np.atleast_1d(value)
    choices: tuple[Callable[[], Any], ...] = (
        lambda: value.T, lambda: value[..., :-1], lambda: value.reshape(-1), lambda: value[None],
        lambda: np.full(value.shape, np.nan), lambda: value.astype(np.complex64), lambda: value.astype(np.int8),
        lambda: np.array(b"text"), lambda: np.zeros((0, *value.shape), np.float32), lambda: value.astype(np.float16),
        lambda: value.astype(bool), lambda: np.zeros((), np.float32), lambda: value.astype(np.float64) * 1e300,
        lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]),
    )  # fmt: skip
    return np.asarray(rng.choice(choices)())


def change_weights(file: h5py.File, rng: random.Random) -> str:
    """Change one array, group or list of names."""
    arrays: list[str] = []
    groups: list[str] = []
    file.visititems(lambda name, item: (arrays if isinstance(item, h5py.Dataset) else groups).append(name))
    kind = rng.choice(("array", "array", "remove", "rename", "names", "attribute", "link"))
    name = rng.choice(arrays)
    if kind == "array":
        value = strange_values(file[name][()], rng)
        del file[name]
        file[name] = value
        return f"{name} = {value.dtype} {value.shape}"
    if kind == "remove":
        name = rng.choice(arrays + groups)
        del file[name]
        return f"without {name}"
    if kind == "rename":
        file.move(name, name + "x")
        return f"{name} renamed"
    if kind == "link":
        del file[name]
        inside = rng.choice((name, "nowhere", *arrays, *groups))
        file[name] = rng.choice((h5py.SoftLink(f"/{inside}"), h5py.ExternalLink("other.h5", "/x")))
        return f"{name} is a link"
    return change_attribute(file, rng, [*groups, "/"])


def change_attribute(file: h5py.File, rng: random.Random, groups: list[str]) -> str:
    owner = file[rng.choice([name for name in groups if len(file[name].attrs)] or ["/"])]
    if not len(owner.attrs):
        return "nothing"
    key = rng.choice(list(owner.attrs))
    values: tuple[Any, ...] = (
        1, 1.5, "x", "", "3.99", "1.2.3", b"\xff\xfe", [1, 2], ["x"] * 3, np.array([b"a", b"a"]), np.array([b"\xff"]),
        np.zeros((2, 2)), np.array([], dtype="S1"), h5py.Empty("f"),
    )  # fmt: skip
    value = rng.choice(values)
    old = owner.attrs[key]
    if rng.random() < 0.4 and isinstance(old, np.ndarray) and old.dtype.kind == "O" and len(old) > 1:
        value = list(rng.sample(list(old), len(old) - rng.choice((0, 1))))
    owner.attrs[key] = value
    return f"attribute {key} of {owner.name} = {value!r}"


def change_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Cut the file off, or change some bytes of it."""
    if rng.random() < 0.3:
        length = rng.randrange(len(data))
        return data[:length], f"cut off at {length}"
    changed = bytearray(data)
    places = [rng.randrange(len(data)) for _ in range(rng.choice((1, 1, 4, 64)))]
    for place in places:
        changed[place] = rng.randrange(256)
    return bytes(changed), f"bytes {places[:4]} changed"


def edit_hdf5(data: bytes, change: Callable[[h5py.File], str]) -> tuple[bytes, str]:
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        what = change(file)
    return buffer.getvalue(), what


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return buffer.getvalue()


def change_config(data: bytes, suffix: str, change: Callable[[Any], str]) -> tuple[bytes, str]:
    """Apply a change to the configuration stored in a file."""
    if suffix == ".keras":
        parts = members(data)
        config = json.loads(parts[CONFIG])
        what = change(config)
        return zipped({**parts, CONFIG: json.dumps(config).encode()}), what

    def inside(file: h5py.File) -> str:
        config = json.loads(file.attrs[NAME])
        what = change(config)
        file.attrs[NAME] = json.dumps(config)
        return what

    return edit_hdf5(data, inside)


def mutant(data: bytes, suffix: str, rng: random.Random) -> tuple[bytes, str]:
    """Return a damaged file and what was done to it."""
    kind = rng.choices(("bytes", "config", "weights"), (2, 6, 3))[0]
    if kind == "bytes":
        return change_bytes(data, rng)
    if kind == "config":
        change = rng.choice(CONFIG_CHANGES)
        return change_config(data, suffix, lambda config: f"{change.__name__}: {change(config, rng)}")
    if suffix == ".keras":
        parts = members(data)
        parts[WEIGHTS], what = edit_hdf5(parts[WEIGHTS], lambda file: change_weights(file, rng))
        return zipped(parts), what
    return edit_hdf5(data, lambda file: change_weights(file, rng))


def main() -> int:
    """Fuzz the fixtures beside this file for some minutes; return 1 where a defect was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    models: dict[str, bytes] = {}
    for archive in ("keras2", "keras3"):
        with tarfile.open(Path(__file__).parent / "data" / f"{archive}.tar.xz") as file:
            for entry in file:
                stream = file.extractfile(entry)
                if stream and not entry.name.endswith(".npz"):
                    models[f"{archive}/{entry.name}"] = stream.read()
    found: Counter[str] = Counter()
    seen: set[str] = set()
    end = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        for number in range(sys.maxsize):
            if time.monotonic() > end:
                break
            rng = random.Random(f"{options.seed}/{number}")
            name = rng.choice(list(models))
            suffix = Path(name).suffix
            data, what = mutant(models[name], suffix, rng)
            path = Path(folder) / f"model{suffix}"
            path.write_bytes(data)
            result = outcome(path)
            found[result.kind] += 1
            place = result.message.strip().splitlines()[-3:] if result.is_defect else []
            if result.is_defect and str(place) not in seen:
                seen.add(str(place))
                print(f"{number} {name}: {what}: {result.kind}\n{result.message}", flush=True)
    print(dict(found))
    return int(any(Outcome(kind).is_defect for kind in found))


if __name__ == "__main__":
    sys.exit(main())
