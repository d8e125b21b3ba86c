"""What the transforms of this package share: which images they change, and how they name a scan that they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torchio as tio
from torch import Tensor

from xai_core.errors import InputError

from ._resample import where

__all__ = ["FLAT", "MASKS", "InputOnly", "Stateful", "check_values", "input_image", "named", "whose"]

# A spread below this part of the largest value is rounding, not contrast.
FLAT = 1e-6


def _all(data: Tensor) -> Tensor:
    return torch.ones_like(data, dtype=torch.bool)


def _nonzero(data: Tensor) -> Tensor:
    return data != 0


def _above_mean(data: Tensor) -> Tensor:
    return data > data.double().mean()


MASKS: Mapping[str | None, Callable[[Tensor], Tensor]] = {None: _all, "nonzero": _nonzero, "mean": _above_mean}
"""Voxels that statistics are taken from, by the name that a user gives."""


def input_image(subject: tio.Subject) -> tio.ScalarImage:
    """Return the image that the network sees: ``image``, or the only one there is."""
    image = subject.get("image")
    return image if isinstance(image, tio.ScalarImage) else subject.get_images(intensity_only=True)[0]


def named(subject: tio.Subject, image: tio.Image) -> str:
    """Return how to name a scan in a message: its file, or its person where it has none."""
    return where(image) if image.path is not None or "subject_id" not in subject else str(subject["subject_id"])


def whose(subject: tio.Subject) -> str:
    """Return the person in front of a message that the pipeline gives no name to, such as one of ``fit``."""
    return f"{subject['subject_id']}: " if "subject_id" in subject else ""


def check_values(step: str, subject: tio.Subject, image: tio.Image) -> None:
    """Refuse a scan from which nothing can be computed.

    Raises:
        InputError: It has NaN or infinite voxels, or is constant (0 everywhere, say), in one of its channels.
    """
    for number, channel in enumerate(image.data):
        of = f" (channel {number})" if len(image.data) > 1 else ""
        if not bool(torch.isfinite(channel).all()):
            raise InputError(f"{step}: {named(subject, image)}{of} has NaN or infinite voxels. Look at the image.")
        if bool((channel == channel.flatten()[0]).all()):
            raise InputError(
                f"{step}: {named(subject, image)}{of} is {float(channel.flatten()[0]):g} everywhere. Look at the image."
            )


class InputOnly(tio.transforms.IntensityTransform):
    """An intensity transform of the network's input alone.

    A person's maps that are carried along for later analyses (an FA map, say) keep their values.
    """

    def get_images(self, subject: tio.Subject) -> list[tio.ScalarImage]:
        """Return ``image`` where the subject has one, otherwise all scalar images."""
        return list(self.get_images_dict(subject).values())

    def get_images_dict(self, subject: tio.Subject) -> dict[str, tio.ScalarImage]:
        """Return ``image`` by name where the subject has one, otherwise all scalar images."""
        images: dict[str, tio.ScalarImage] = super().get_images_dict(subject)
        return {"image": images["image"]} if "image" in images else images


class Stateful:
    """Mixin: what a transform learnt, as the attributes that ``learnt`` names.

    ``fit`` sets them; until then they are None, and the transform refuses to be applied.
    """

    learnt: Sequence[str] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return what ``fit`` learnt."""
        return {name: getattr(self, name) for name in self.learnt}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            InputError: It is not this transform's.
        """
        if set(state) != set(self.learnt):
            raise InputError(
                f"{type(self).__name__}: the stored state holds {sorted(state)}, not {sorted(self.learnt)}. Train anew."
            )
        for name, value in state.items():
            setattr(self, name, value)

    def check_fitted(self, step: str) -> None:
        """Refuse to work before ``fit``.

        Raises:
            InputError: ``fit`` was not called and no state was loaded.
        """
        if getattr(self, self.learnt[0]) is None:
            raise InputError(f"{step} learns from the training part; call fit(subjects) first.")
