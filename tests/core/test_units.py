"""Units of work are there whole or not at all, however the process ended, and end with the same bytes."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xai_core.engine import units as units_module
from xai_core.engine.units import Units, content_key, file_hash, write_text
from xai_core.errors import RunError, XaiError

OLD = {"a.txt": "old a", "b.txt": "old b", "deep/er/c.txt": "old c"}
NEW = {"a.txt": "new a", "d.txt": "new d", "deep/er/e.txt": "new e"}  # a.txt changes and keeps its size
LAST = {"a.txt": "end a", "f.txt": "end f"}


def publish(folder: Path, key: str, files: Mapping[str, str], target: str = "fold-0") -> None:
    units = Units(folder)
    units.clear_scratch()
    with units.make("fold-0/training", key, target) as temporary:
        assert list(temporary.iterdir()) == []
        for name, text in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text(text, encoding="utf-8")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def published(folder: Path) -> dict[str, str]:
    return {name: data.decode() for name, data in content(folder / "fold-0").items()}


def done(folder: Path, key: str) -> bool:
    return Units(folder).is_done("fold-0/training", key)


def test_published_whole_under_its_key(tmp_path: Path) -> None:
    assert not done(tmp_path, "k1")
    publish(tmp_path, "k1", OLD)
    assert published(tmp_path) == OLD
    assert done(tmp_path, "k1")
    assert not done(tmp_path, "k2")
    assert not done(tmp_path, "")
    assert list((tmp_path / ".xai" / "tmp").iterdir()) == []


def test_another_key_replaces_files_and_removes_stale_ones(tmp_path: Path) -> None:
    publish(tmp_path, "k1", OLD)
    (tmp_path / "fold-0" / "somebody-elses.txt").write_text("stays")
    publish(tmp_path, "k2", NEW)
    assert published(tmp_path) == {**NEW, "somebody-elses.txt": "stays"}
    assert (done(tmp_path, "k1"), done(tmp_path, "k2")) == (False, True)


def test_another_target_moves_the_unit(tmp_path: Path) -> None:
    publish(tmp_path, "k1", OLD, target="fold-0")
    publish(tmp_path, "k2", OLD, target=".")
    assert published(tmp_path) == {}
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in OLD} == OLD
    assert done(tmp_path, "k2")


def test_file_cut_short_or_gone_is_noticed(tmp_path: Path) -> None:
    publish(tmp_path, "k", OLD)
    path = tmp_path / "fold-0" / "deep" / "er" / "c.txt"
    path.write_text("old")
    assert not done(tmp_path, "k")
    path.unlink()
    assert not done(tmp_path, "k")
    path.mkdir()
    assert not done(tmp_path, "k")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "k"}', '{"key": "k", "files": 3}', "\x00\xff"])
def test_broken_marker_means_not_done(tmp_path: Path, text: str) -> None:
    publish(tmp_path, "k", OLD)
    (tmp_path / ".xai" / "units" / "fold-0" / "training.json").write_text(text, encoding="latin-1")
    assert not done(tmp_path, "k")
    publish(tmp_path, "k", OLD)
    assert done(tmp_path, "k")


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_exception_publishes_nothing_and_keeps_the_old(tmp_path: Path, error: BaseException) -> None:
    publish(tmp_path, "k1", OLD)
    before = content(tmp_path)

    def work() -> None:
        with Units(tmp_path).make("fold-0/training", "k2", "fold-0") as temporary:
            (temporary / "a.txt").write_text("half")
            raise error

    with pytest.raises(type(error)):
        work()
    assert content(tmp_path) == before
    assert done(tmp_path, "k1")


# --- killed -----------------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process and return its exit status; -9 where it was killed."""
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            work()
        except BaseException:
            os._exit(99)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_at(step: int) -> None:
    """Make this process end without any clean-up before its n-th change of the file system (or in its middle)."""
    count = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                if function is write and named.get("encoding"):
                    write(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    write = Path.write_text
    for name in ("replace", "unlink", "write_text", "mkdir"):
        setattr(Path, name, counted(getattr(Path, name)))


def interrupted(folder: Path, step: int, key: str, files: Mapping[str, str]) -> bool:
    """Publish in a process that is killed at its n-th step; whether it was (it may have fewer steps)."""

    def work() -> None:
        die_at(step)
        publish(folder, key, files)

    status = in_child(work)
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.fixture
def straight(tmp_path: Path) -> Callable[..., dict[str, bytes]]:
    """What is there after versions published one after the other without interruption."""

    def run(*versions: tuple[str, Mapping[str, str]]) -> dict[str, bytes]:
        folder = tmp_path / "straight"
        for key, files in versions:
            publish(folder, key, files)
        return content(folder)

    return run


def test_killed_at_every_step_of_the_first_publication(
    tmp_path: Path, straight: Callable[..., dict[str, bytes]]
) -> None:
    expected = straight(("k1", OLD))
    for step in itertools.count(1):
        folder = tmp_path / f"run{step}"
        killed = interrupted(folder, step, "k1", OLD)
        assert not done(folder, "k1") or published(folder) == OLD
        publish(folder, "k1", OLD)
        assert content(folder) == expected
        if not killed:
            break
    assert step > 10


def test_killed_at_every_step_of_a_replacement(tmp_path: Path, straight: Callable[..., dict[str, bytes]]) -> None:
    """Either version counts as done only with all of its bytes; going on ends as if nothing had happened."""
    expected = straight(("k1", OLD), ("k2", NEW))
    changed = straight(("k3", LAST))
    seen = set()
    for step in itertools.count(1):
        folder, other = tmp_path / f"run{step}", tmp_path / f"other{step}"
        publish(folder, "k1", OLD)
        killed = interrupted(folder, step, "k2", NEW)
        state = (done(folder, "k1"), done(folder, "k2"))
        seen.add(state)
        assert not state[0] or published(folder) == OLD
        assert not state[1] or published(folder) == NEW
        shutil.copytree(folder, other)
        publish(folder, "k2", NEW)
        assert content(folder) == expected
        publish(other, "k3", LAST)  # gone on with after the configuration was changed
        assert content(other) == changed
        if not killed:
            break
    assert seen == {(True, False), (False, False), (False, True)}


def test_killed_inside_the_block_by_the_system(tmp_path: Path) -> None:
    publish(tmp_path, "k1", OLD)

    def work() -> None:
        with Units(tmp_path).make("fold-0/training", "k2", "fold-0") as temporary:
            (temporary / "a.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert done(tmp_path, "k1")
    assert published(tmp_path) == OLD
    assert any((tmp_path / ".xai" / "tmp").iterdir())
    Units(tmp_path).clear_scratch()
    assert not (tmp_path / ".xai" / "tmp").exists()


# --- a folder that cannot be written ----------------------------------------------------------------------------------


def failing(name: str, code: int, at: int = 1) -> Callable[..., Any]:
    real, count = getattr(Path, name), 0

    def call(self: Path, *arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count >= at:
            raise OSError(code, os.strerror(code), str(self))
        return real(self, *arguments, **named)

    return call


@pytest.mark.parametrize("name", ["mkdir", "replace", "write_text"])
def test_read_only_folder_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(Path, name, failing(name, errno.EROFS))
    with pytest.raises(RunError) as caught, Units(tmp_path).make("u", "k", "t") as temporary:
        (temporary / "a.txt").write_bytes(b"x")
    assert isinstance(caught.value, XaiError)
    assert str(tmp_path) in str(caught.value)
    assert "cannot be written: Read-only file system" in str(caught.value)
    monkeypatch.undo()
    assert not Units(tmp_path).is_done("u", "k")


def test_scratch_that_cannot_be_made_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prefix: str, dir: Path) -> str:  # noqa: A002
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(units_module.tempfile, "mkdtemp", refuse)
    with pytest.raises(RunError, match="cannot be written: Permission denied"), Units(tmp_path).make("u", "k", "t"):
        pass


def test_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    """A write that fails for want of room names no file, wherever in a component it happens."""
    message = rf"No space is left for {tmp_path} \(maps/a\)"
    with pytest.raises(RunError, match=message), Units(tmp_path).make("maps/a", "k", "t"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert content(tmp_path) == {}


def test_error_of_another_place_passes_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Units(tmp_path).make("u", "k", "t"):
        Path("/nowhere/at/all").read_text(encoding="utf-8")


# --- files and keys ---------------------------------------------------------------------------------------------------


def test_write_text_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "x.tsv"
    write_text(path, "á\r\n\n")
    assert path.read_bytes() == "á\r\n\n".encode()
    for name in ("write_text", "replace"):
        monkeypatch.setattr(Path, name, failing(name, errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            write_text(path, "other")
        monkeypatch.undo()
        assert content(tmp_path) == {"deep/x.tsv": "á\r\n\n".encode()}


def test_write_text_leaves_an_equal_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_text(path, "same")
    before = path.stat()
    write_text(path, "same")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write_text(path, "diff")
    assert path.read_text(encoding="utf-8") == "diff"


def test_write_text_killed_in_the_middle_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for step in range(1, 10):
        write_text(path, "old")
        status = in_child(lambda step=step: (die_at(step), write_text(path, "new text")))  # type: ignore[misc,func-returns-value]
        assert path.read_text(encoding="utf-8") == ("new text" if status == 0 else "old")
        Units(tmp_path).clear_scratch()
        assert list(content(tmp_path)) == ["x"], "something half-written stayed"
        if status == 0:
            break
    assert status == 0
    assert step == 4


KEY = """
import sys
from xai_core.engine.units import content_key
sys.stdout.write(content_key(b=[1, 2.5, None], a={"z": "\u00e9", "y": True}))
"""


def test_content_key_is_the_same_in_every_process() -> None:
    ours = content_key(a={"y": True, "z": "\u00e9"}, b=[1, 2.5, None])
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        there = subprocess.run([sys.executable, "-c", KEY], capture_output=True, text=True, check=True, env=environment)
        assert there.stdout == ours
    # SHA-256 of the canonical JSON text, worked out without this program.
    assert content_key(a=1) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


@pytest.mark.parametrize("other", [{"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": 1, "b": None}, {"a": True}])
def test_content_key_tells_different_parts_apart(other: dict[str, Any]) -> None:
    assert content_key(**other) != content_key(a=1)


def test_content_key_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(TypeError):
        content_key(a=object())


def test_file_hash(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    # The first example of FIPS 180-2.
    assert file_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_marker_holds_key_and_sizes(tmp_path: Path) -> None:
    publish(tmp_path, "k", OLD)
    marker = json.loads((tmp_path / ".xai" / "units" / "fold-0" / "training.json").read_text(encoding="utf-8"))
    assert marker == {"key": "k", "files": {f"fold-0/{name}": 5 for name in OLD}}


def test_scratch_outlives_a_kill_and_belongs_to_one_key(tmp_path: Path) -> None:
    units = Units(tmp_path)
    first = units.scratch("fold-0/training", "a" * 64)
    first.mkdir(parents=True)
    (first / "state").write_text("half")
    other = units.scratch("fold-1/training", "a" * 64)
    other.mkdir(parents=True)
    units.clear_scratch()  # what the next process does first
    again = Units(tmp_path).scratch("fold-0/training", "a" * 64)
    assert again == first
    assert (again / "state").read_text() == "half"
    changed = units.scratch("fold-0/training", "b" * 64)
    assert changed != first
    assert not first.exists(), "of another training"
    assert other.exists()
    units.forget_scratch("fold-1/training")
    units.forget_scratch("fold-0/training")
    assert not other.exists()
    assert not (tmp_path / ".xai" / "scratch").exists()
