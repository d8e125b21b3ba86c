"""Pictures drawn in several processes: the same bytes, clear errors, and no process stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xai_core import InputError, RunError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_reports_html import _artists
from xai_reports_html._artists import Request, cores, drawn
from xai_reports_html._files import Shelf


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Two processes whatever the machine has; gives them. None may be left."""
    started: list[Any] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(_artists, "cores", lambda: 2)
    monkeypatch.setattr(_artists, "_WORTH", 2)
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    yield started
    assert all(process.poll() is not None for process in started)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def requests(run: RunResults, folder: Path) -> list[Request]:
    report: Any = create("report", "html", mosaic=3)
    records = run.maps("lrp")
    return [Request([one], one.scan_id, Shelf(folder, inline=False), None, report) for one in records]


def test_the_same_bytes(shared_run: RunResults, tmp_path: Path, two: list[Any]) -> None:
    for name in ("several", "one"):
        (tmp_path / name).mkdir()
        create("report", "html", mode="folder", mosaic=3).write(shared_run, tmp_path / name)
        _artists.cores = lambda: 1  # undone by the fixture
    assert len(two) == 2
    found = contents(tmp_path / "several")
    assert len(found) > 10
    assert found == contents(tmp_path / "one")


def test_the_first_problem_is_told_as_in_one_process(
    make_run: Callable[..., RunResults], tmp_path: Path, two: list[Any]
) -> None:
    asked = requests(make_run(), tmp_path)
    asked[1].records[0].path.write_bytes(b"no image")
    asked[3].records[0].path.unlink()
    found = drawn(asked, len(asked))
    assert next(found) is not None
    with pytest.raises(InputError, match=asked[1].records[0].path.name):
        next(found)
    assert len(two) == 2


def test_a_process_that_dies_is_told(shared_run: RunResults, tmp_path: Path, two: list[Any]) -> None:
    found = drawn(requests(shared_run, tmp_path) * 20, 80)
    next(found)
    for process in two:
        process.kill()
    with pytest.raises(RunError, match=r"ended in the middle .*SLURM_CPUS_PER_TASK=1"):
        list(found)


@pytest.mark.skipif(os.name != "posix", reason="asks by signal 0 whether a process is there")
def test_processes_end_with_a_killed_report_and_a_script_needs_no_guard(shared_run: RunResults, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom xai_core.engine.results import RunResults\n"
        "from xai_core.registry import create\nfrom xai_reports_html import _artists\n"
        "from xai_reports_html._files import Shelf\nprint('begun', flush=True)\n"
        "_artists.cores, before = (lambda: 2), _artists.subprocess.Popen\n"
        "def popen(*a, **k):\n    made = before(*a, **k)\n    print(made.pid, flush=True)\n    return made\n"
        "_artists.subprocess.Popen = popen\n"
        f"one = RunResults({str(shared_run.folder)!r}).maps('lrp')[:1]\n"
        "asked = (_artists.Request(one, 'x', Shelf(Path('.'), inline=False), None, create('report', 'html')) "
        "for _ in range(10**6))\n"
        "for _ in _artists.drawn(asked, 10**6):\n    print('drawn', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while "drawn" not in lines:
            line = process.stdout.readline()
            assert line, lines
            lines.append(line.strip())
        process.kill()
    assert lines.count("begun") == 1, "the script is not run again"
    pids = [int(line) for line in lines if line.isdecimal()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(_there(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_there(pid) for pid in pids)


def _there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.is_file() and ") Z " in state.read_text())


def test_processors_of_a_cluster_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    machine = cores()
    assert machine >= 1
    for granted, expected in (("1", 1), ("100000", machine), ("0", 1), ("many", machine), ("", machine)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", granted)
        assert cores() == expected
