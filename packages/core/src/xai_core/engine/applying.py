"""One transform applied to one scan, so that nothing but the scan and the transform decides the result."""

from __future__ import annotations

import io
import random
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torchio as tio

from ..errors import InputError, PluginError, XaiError
from .scans import image_of

__all__ = [
    "applied",
    "is_random",
    "own_randomness",
    "steps_of",
    "unread_copy",
    "values_of",
    "with_images",
    "with_voxels",
]


def is_random(transform: Any) -> bool:
    """Whether a transform augments: it is or holds a random one, or is applied with a probability below 1."""
    if isinstance(transform, tio.Compose) and any(is_random(part) for part in transform.transforms):
        return True
    random = isinstance(transform, tio.transforms.augmentation.RandomTransform)
    return random or getattr(transform, "probability", 1) < 1


def steps_of(transform: Any) -> Iterator[Any]:
    """Take a chain apart, so that its random parts can be left out alone and those that learn be fitted."""
    if isinstance(transform, tio.Compose) and transform.probability == 1:
        for part in transform.transforms:
            yield from steps_of(part)
    else:
        yield transform


def values_of(subject: tio.Subject) -> dict[str, Any]:
    """Return what a subject holds besides its images."""
    return {name: value for name, value in subject.items() if not isinstance(value, tio.Image)}


def with_images(subject: tio.Subject, images: Collection[str], without: Collection[str] = ()) -> tio.Subject:
    """Return a scan with some of its images; reading these leaves the original unread.

    Args:
        subject: The scan.
        images: Names of the images to keep.
        without: Names of values to leave out.
    """
    kept = {name: value for name, value in values_of(subject).items() if name not in without}
    found = subject.get_images_dict(intensity_only=False)
    return tio.Subject({**{name: unread_copy(image) for name, image in found.items() if name in images}, **kept})


def unread_copy(image: tio.Image) -> tio.Image:
    """Return an image that can be read, or given other voxels, without the original; nothing is read for it.

    Not ``copy.copy``, which looks whether the file is there.
    """
    made = type(image).__new__(type(image))
    made.__dict__.update(image.__dict__)
    made.update(image.items())
    return made


def with_voxels(subject: tio.Subject) -> tio.Subject:
    """Read what no transform has read, and lay the voxels out as a file holds them.

    Sums over the same values in another order differ in their last bits: a scan from the cache must not.
    """
    for image in subject.get_images(intensity_only=False):
        if not image.data.is_contiguous():
            image.set_data(image.data.contiguous())
    return subject


@contextmanager
def own_randomness() -> Iterator[None]:
    """Give the block generators of its own, always in the same state.

    Not ``seeded``, nor ``torch.manual_seed``: in a loading process these would ask for the GPUs.
    """
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


def applied(
    name: str, transform: Any, subject: tio.Subject, unseen: Mapping[str, Any] = MappingProxyType({})
) -> tio.Subject:
    """Return what a transform makes of a scan, all of it in memory.

    Args:
        name: Registry name of the transform.
        transform: The transform.
        subject: The scan.
        unseen: What else is known of it, for messages only.

    Raises:
        InputError: It fails on this scan, or leaves NaN behind.
        PluginError: It returns something else than a scan.
    """
    who = subject.get("subject_id", unseen.get("subject_id", "the scan"))
    try:
        result = transform(subject)
    except XaiError as error:
        raise type(error)(f"{who}: {error}") from error
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise InputError(f"{who}: the transform {name} failed: {cause}{_hint(error, unseen)}") from error
    if not isinstance(result, tio.Subject):
        raise PluginError(f"The transform {name} returned a {type(result).__name__}, not a torchio.Subject.")
    if not bool(torch.isfinite(image_of(result).data).all()):
        raise InputError(f"{who}: the transform {name} made NaN or infinite voxels.")
    return with_voxels(result)


def _hint(error: Exception, unseen: Collection[str]) -> str:
    asked = str(error.args[0]) if isinstance(error, KeyError) and error.args else ""
    return f". A transform sees only what its covariates() names; add {asked!r} there." if asked in unseen else ""


def check_state(name: str, transform: Any) -> None:
    """Refuse what a fitted transform has learnt if it could not be loaded with the fold.

    Raises:
        PluginError: It cannot be saved, or loaded with ``weights_only=True``.
    """
    stream = io.BytesIO()
    try:
        torch.save(transform.state_dict(), stream)
        stream.seek(0)
        torch.load(stream, weights_only=True)
    except Exception as error:
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
        raise PluginError(
            f"What the transform {name} learnt cannot be saved and loaded ({cause}). Its state_dict() must hold "
            "tensors, numbers, texts, lists and mappings only."
        ) from error
