"""Shared by the tests of the datasets."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _messages_reach_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, where an earlier test has called it, keeps the run's messages to itself."""
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the tests keep must not lie in the user's cache, nor what it holds decide a test."""
    monkeypatch.delenv("XAI_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
