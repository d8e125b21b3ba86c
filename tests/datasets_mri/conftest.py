"""Shared by the tests of the datasets."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _messages_reach_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, where an earlier test has called it, keeps the run's messages to itself."""
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)
