"""No test reads or fills the cache of the person who runs it; tests side by side share the cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of one worker would wait for those of another. Read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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


@pytest.fixture(autouse=True)
def progress_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget work that an earlier test broke off: what a kept traceback still holds seems to go on."""
    progress = sys.modules.get("xai_core.engine.progress")
    if progress is not None:
        monkeypatch.setattr(progress, "_depth", 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test printed encodable: pytest-xdist cannot send a lone surrogate from one process to another."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report
