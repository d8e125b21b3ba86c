"""What scores, analyses and reports need to know of a study; an ensemble of finished runs knows it, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..types import Task

__all__ = ["StudyFacts"]


class StudyFacts(Protocol):
    """A study, or what stands for one."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration."""

    @property
    def folder(self) -> Path:
        """The run folder."""

    @property
    def task(self) -> Task:
        """What is predicted."""

    @property
    def classes(self) -> Sequence[str] | None:
        """Class names in the order of the outputs, None for a regression."""
