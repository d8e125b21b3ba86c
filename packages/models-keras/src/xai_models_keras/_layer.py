"""A layer of the file with its configuration, and the typed access to it that every other module uses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from xai_core import InputError

__all__ = ["MOST_ELEMENTS", "Array", "File", "Layer", "Stored"]

Array = NDArray[np.float32]

# A map of 2**33 float32 voxels takes 32 GiB: no network of brain scans has one, a damaged file may ask for more.
MOST_ELEMENTS = 2**33
_LARGEST = 2**31 - 1


@dataclass(frozen=True)
class File:
    """Where a network comes from.

    Attributes:
        path: As the user gave it.
        keras: The Keras version that wrote it, (2, 14), say.
        version: The same as stored.
        most: Bytes of weights that will be read at most.
    """

    path: str
    keras: tuple[int, int]
    version: str
    most: int = 0
    _read: list[int] = field(default_factory=list, compare=False, repr=False)

    def claim(self, what: str, size: int) -> None:
        """Count bytes before they are read; refuse what a file of this size cannot honestly hold.

        Keras does not pack weights. What is packed, or linked many times over, may claim a multiple of the file.
        """
        self._read.append(size)
        if sum(self._read) > self.most:
            self.fail(f"{what}: the weights would take {sum(self._read)} bytes, far more than the file.")

    def fail(self, message: str, cause: BaseException | None = None) -> NoReturn:
        """Raise an ``InputError`` that begins with the file."""
        raise InputError(f"{self.path}: {message}") from cause


@dataclass(frozen=True)
class Stored:
    """A stored weight: its name where the file tells one, and its values."""

    name: str | None
    value: Array


@dataclass
class Layer:
    """A layer as the file describes it.

    Attributes:
        file: Where it comes from.
        path: Its name, below those of the models that it lies in: ``("encoder", "conv3d")``.
        kind: The class without package: ``"Conv3D"``.
        config: What Keras stored of its parameters.
        weights: In Keras' order.
        calls: How often it is called in the network.
        used: Whether its weights have been.
    """

    file: File
    path: tuple[str, ...]
    kind: str
    config: Mapping[str, Any]
    weights: Sequence[Stored] = ()
    calls: int = field(default=0)
    used: bool = field(default=False)

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"layer {'/'.join(self.path)!r} ({self.kind})"

    def fail(self, message: str) -> NoReturn:
        """Raise an ``InputError`` that names file, layer and class."""
        self.file.fail(f"{self.label}: {message}")

    def integer(self, key: str, default: int | None = None, least: int = 1) -> int:
        """Return a whole number of at least ``least``."""
        return self._whole(key, self.config.get(key, default), least)

    def _whole(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
            self.fail(f"{key} is {_short(value)}; a whole number of at least {least} was expected.")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number."""
        value = self.config.get(key, default)
        if isinstance(value, Mapping):  # Keras 3 stores NumPy scalars so
            inner = value.get("config")
            value = inner.get("value") if isinstance(inner, Mapping) else inner
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.fail(f"{key} is {_short(value)}; a number was expected.")
        if abs(value) > np.finfo(np.float32).max:
            self.fail(f"{key} is {_short(value)}, which is no float32 number.")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            self.fail(f"{key} is {_short(value)}; true or false was expected.")
        return value

    def text(self, key: str, default: str) -> str:
        """Return a string."""
        value = self.config.get(key, default)
        if not isinstance(value, str):
            self.fail(f"{key} is {_short(value)}; a string was expected.")
        return value

    def sizes(self, key: str, length: int, default: Any = None, least: int = 1) -> tuple[int, ...]:
        """Return ``length`` whole numbers; one number stands for that many."""
        value = self.config.get(key, default)
        if isinstance(value, int):
            value = [value] * length
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != length:
            self.fail(f"{key} is {_short(value)}; {length} whole numbers were expected.")
        return tuple(self._whole(key, each, least) for each in value)

    def borders(self, key: str, length: int) -> tuple[tuple[int, int], ...]:
        """Return what is added to or taken from both ends of ``length`` axes."""
        value = self.config.get(key, 1)
        if length == 1 and isinstance(value, Sequence) and len(value) == 2 and all(isinstance(v, int) for v in value):
            value = [value]
        if isinstance(value, int):
            value = [value] * length
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != length:
            self.fail(f"{key} is {_short(value)}; a pair of numbers for each of {length} axes was expected.")
        pairs = [[each, each] if isinstance(each, int) else each for each in value]
        if not all(isinstance(pair, Sequence) and not isinstance(pair, str) and len(pair) == 2 for pair in pairs):
            self.fail(f"{key} is {_short(value)}; a pair of numbers for each of {length} axes was expected.")
        return tuple((self._whole(key, pair[0], 0), self._whole(key, pair[1], 0)) for pair in pairs)

    def choice(self, key: str, default: str, allowed: Sequence[str]) -> str:
        """Return one of a few strings."""
        value = self.text(key, default)
        if value not in allowed:
            self.fail(f"{key} is {_short(value)}, which this reader does not know; it knows {', '.join(allowed)}.")
        return value

    def channels_last(self) -> None:
        """Refuse a layer whose own data are stored channels first."""
        if self.config.get("data_format") is not None:
            self.choice("data_format", "channels_last", ("channels_last",))

    def axis(self, rank: int, default: int = -1, key: str = "axis") -> int:
        """Return one axis as a number from 1 (0 is the batch) to ``rank``, counted as Keras does."""
        value = self.config.get(key, default)
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(f"{key} is {_short(value)}; one axis was expected.")
        found = value + rank + 1 if value < 0 else value
        if not 1 <= found <= rank:
            self.fail(f"{key} is {_short(value)}, but its input has the axes 1 to {rank} besides the batch.")
        return found

    def take(self, **wanted: tuple[int, ...]) -> dict[str, Array]:
        """Return the layer's weights by name, each of the shape that the configuration asks for."""
        self.used = True
        names = [None if each.name is None else _base(each.name) for each in self.weights]
        if len(self.weights) != len(wanted):
            have = f"{len(self.weights)} ({', '.join(n or 'unnamed' for n in names[:6])})" if names else "none"
            self.fail(f"needs {len(wanted)} weights ({', '.join(wanted) or 'none'}), but the file holds {have}.")
        by_name = dict(zip(names, self.weights, strict=True))
        ordered = [by_name[name] for name in wanted] if set(names) == set(wanted) else list(self.weights)
        found: dict[str, Array] = {}
        for (name, shape), stored in zip(wanted.items(), ordered, strict=True):
            if tuple(stored.value.shape) != shape:
                self.fail(
                    f"its weight {name} has the shape {tuple(stored.value.shape)} in the file; "
                    f"the configuration asks for {shape}."
                )
            found[name] = stored.value
        return found


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1].split(":", 1)[0]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
