"""Builds TorchIO's transforms from parameters that a user wrote."""

from __future__ import annotations

from typing import cast

import torchio as tio

from xai_core.errors import ConfigError

from . import _intensity, _mni, _resample, _shift

__all__ = ["transform"]


def _tuples(value: object) -> object:
    """Return lists as tuples: TorchIO takes some parameters only as such."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def transform(name: str, kind: str, **params: object) -> tio.Transform:
    """Return the transform ``kind`` of this package, or else of TorchIO.

    Args:
        name: Registry name, for the message.
        kind: Name of the class.
        **params: Its arguments; lists may stand for tuples.

    Raises:
        ConfigError: TorchIO does not accept a value.
    """
    homes = (_intensity, _mni, _resample, _shift, tio)
    factory = next(getattr(home, kind) for home in homes if hasattr(home, kind))
    try:
        return cast(tio.Transform, factory(**{key: _tuples(value) for key, value in params.items()}))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
