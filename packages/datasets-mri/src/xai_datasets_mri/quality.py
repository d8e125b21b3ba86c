"""Quality control before training: the folder ``quality`` of every run, as a hook plugin."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import hookimpl

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["xai_dataset_ready"]

_log = logging.getLogger("xai")


@hookimpl
def xai_dataset_ready(config: Mapping[str, Any], subjects: Sequence[tio.Subject], folder: Path) -> None:
    """Write ``quality/index.html`` and ``quality/quality.tsv`` into the run folder, unless ``quality: false``."""
    if not config.get("quality", True):
        return
    from ._quality import quality_of_run

    try:
        quality_of_run(subjects, folder)
    except Exception as error:  # the study can be right although its pictures cannot be made
        _log.warning("the page of image quality could not be made: %s: %s", type(error).__name__, error)
