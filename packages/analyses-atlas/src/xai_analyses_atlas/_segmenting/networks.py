"""The trained networks, and the mean of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from xai_core import InputError, registry
from xai_core.engine.requests import full_precision
from xai_core.engine.units import file_hash

from .scans import expanded

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NetworkError", "Networks", "model_files"]

_LARGEST_DIVISOR = 128
_FOLDER_FILES = ("model.json", "weights.pt")


class NetworkError(InputError):
    """The networks cannot be used for anybody: the whole command ends."""


def model_files(patterns: Sequence[str]) -> list[Path]:
    """Return the files or folders of trained networks that patterns such as ``weights/*.h5`` name, sorted.

    Raises:
        NetworkError: A pattern names none, or one is a TensorFlow SavedModel.
    """
    found: list[Path] = []
    for pattern in patterns:
        paths = [Path(pattern)] if Path(pattern).exists() else expanded(Path(pattern))
        if not paths:
            raise NetworkError(f"--model {pattern}: there is no such file.")
        found += [path for path in paths if path not in found]
    saved = [str(path) for path in found if (path / "saved_model.pb").is_file()]
    if saved:
        raise NetworkError(
            f"{', '.join(saved)}: a TensorFlow SavedModel holds a compiled graph, which is not read. In TensorFlow, "
            "save the Keras model whole (model.save('fold0.h5') or '.keras'); docs/anatomy/segment.md says how."
        )
    return found


class Networks:
    """Trained networks of one input and output, whose probabilities are averaged.

    Args:
        paths: Of the folds, as the registry's model ``keras`` reads them.
        channels: Images of each scan.
        size: (D, H, W) of the volumes.
        channel: Which output channel is wanted; None: the only one.
        device: Where they compute.

    Raises:
        NetworkError: One cannot be read, is there twice, or does not give volumes of this size.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        channels: int,
        size: tuple[int, int, int],
        *,
        channel: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.device, self.channel = device or torch.device("cpu"), channel
        self.hashes: Mapping[str, str] = {str(path): _hash(path) for path in paths}
        if len(set(self.hashes.values())) < len(paths):
            raise NetworkError(f"Two of the networks are the same file: {', '.join(map(str, paths))}.")
        self.paths = list(paths)
        self.networks = [_built(path, (channels, *size)).to(self.device) for path in paths]

    def probabilities(self, volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the mean of the networks' probabilities [D, H, W], added up in float64.

        Args:
            volume: [C, D, H, W].

        Raises:
            NetworkError: What a network gives is no probability, or has another size or several channels.
        """
        total = np.zeros(volume.shape[1:], dtype=np.float64)
        batch = torch.from_numpy(np.ascontiguousarray(volume))[None].to(self.device)
        for path, network in zip(self.paths, self.networks, strict=True):
            with torch.inference_mode(), full_precision(self.device):
                found = network(batch)[0].cpu().numpy()
            total += self._chosen(path, found, volume.shape[1:])
        return (total / len(self.networks)).astype(np.float32)

    def _chosen(self, path: Path, found: npt.NDArray[np.float32], size: tuple[int, ...]) -> npt.NDArray[np.float32]:
        if found.ndim != 4 or found.shape[1:] != size:
            raise NetworkError(f"{path} gives the shape {found.shape} for volumes of {size}; one volume is needed.")
        count = found.shape[0]
        if self.channel is None and count > 1:
            raise NetworkError(f"{path} gives {count} channels. Choose one: --output-channel 0 to {count - 1}.")
        if self.channel is not None and self.channel >= count:
            raise NetworkError(f"{path} gives {count} channels, so there is no --output-channel {self.channel}.")
        values = found[self.channel or 0]
        if not np.isfinite(values).all():
            raise NetworkError(f"{path} gives values that are not finite. Is the file whole?")
        low, high = float(values.min()), float(values.max())
        if low < -1e-6 or high > 1 + 1e-6:
            raise NetworkError(
                f"{path} gives values from {low:.3g} to {high:.3g}, which are no probabilities: it does not end in a "
                "sigmoid or a softmax over channels."
            )
        return np.asarray(values)


def _hash(path: Path) -> str:
    if path.is_dir():
        return "+".join(file_hash(path / name) for name in _FOLDER_FILES if (path / name).is_file())
    return file_hash(path) if path.is_file() else str(path)


def _built(path: Path, shape: tuple[int, int, int, int]) -> nn.Module:
    try:
        return _network(path, shape)
    except InputError as error:
        raise NetworkError(f"{error}{_advice(path, shape)}") from error


def _network(path: Path, shape: tuple[int, ...]) -> nn.Module:
    model: Any = registry.create("model", "keras", path=str(path))
    network: nn.Module = model.build(shape, None)
    return network.eval()


def _advice(path: Path, shape: tuple[int, int, int, int]) -> str:
    """Say which size would do, where a U-Net's poolings do not divide this one evenly."""
    tried: set[tuple[int, ...]] = {shape}
    divisor = 2
    while divisor <= _LARGEST_DIVISOR:
        rounded = (shape[0], *(-(-n // divisor) * divisor for n in shape[1:]))
        if rounded not in tried:
            tried.add(rounded)
            try:
                _network(path, rounded)
            except InputError:
                pass
            else:
                size = "x".join(map(str, rounded[1:]))
                given = " x ".join(map(str, shape[1:]))
                return (
                    f" Its poolings need sides that divide by {divisor}, which {given} do not: give --size {size}; "
                    "what the box has beyond the scan is filled with 0."
                )
        divisor *= 2
    return " Give --size, --image (channels) as the network was trained."
