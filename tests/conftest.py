"""No test reads or fills the cache of the person who runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep preprocessed scans below the tests' temporary folder, also in processes that tests start."""
    before = os.environ.get("XAI_CACHE")
    os.environ["XAI_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XAI_CACHE"]
    else:
        os.environ["XAI_CACHE"] = before
