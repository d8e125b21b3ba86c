"""The folder of the cache: where it is, what it may take, and ``xai cache``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from xai_core import InputError
from xai_core.engine import cachefolder as module
from xai_core.engine.cachefolder import CacheFolder, cache_folder, parse_size, size_text

Xai = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CacheFolder:
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    return CacheFolder(tmp_path / "cache")


def put(folder: CacheFolder, number: int, size: int = 100, age: float = 0) -> Path:
    """Write an entry that was last used ``age`` seconds ago."""
    path = folder.path(f"{number:064x}")
    folder.prepare_for(path)
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path


def left(folder: CacheFolder) -> list[int]:
    return sorted(int(entry.path.stem, 16) for entry in folder.entries())


# --- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "home", "expected"),
    [
        ("/data/cache", "/xdg", "/data/cache"), ("", "/xdg", "/xdg/xai"), (None, "/xdg", "/xdg/xai"),
        (None, None, "/me/.cache/xai"), (None, "relative", "/me/.cache/xai"), ("~/kept", None, "/me/kept"),
    ],
)  # fmt: skip
def test_where(named: str | None, home: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/me")
    for name, value in (("XAI_CACHE", named), ("XDG_CACHE_HOME", home)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    found = cache_folder()
    assert found is not None
    assert found.root == Path(expected)


@pytest.mark.parametrize("off", ["off", "OFF", " off "])
def test_off(off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_CACHE", off)
    assert cache_folder() is None


def test_nowhere_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XAI_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder() is None


def test_folder_is_the_users_own_and_left_out_of_backups(folder: CacheFolder) -> None:
    put(folder, 1)
    assert folder.root.stat().st_mode & 0o077 == 0
    tag = (folder.volumes / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55")


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5 tb", 15 * 10**11), ("500000", 500_000), (" 3 kB ", 3000), ("7B", 7), ("0", 0)],
)
def test_parse_size(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "20GiBs", "20 Gigabytes", "1e9", "nan", "2.GB"])
def test_no_size(text: str) -> None:
    with pytest.raises(InputError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (20 * 10**9, "20.0 GB"), (2 * 10**12, "2.0 TB")]
)
def test_size_text(size: int, text: str) -> None:
    assert size_text(size) == text


def test_default_limit_is_a_part_of_a_small_disk(folder: CacheFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, 1, size=1000)
    for free, limit in ((10**13, 20 * 10**9), (7000, 2000)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _path, free=free: SimpleNamespace(free=free))
        assert CacheFolder(folder.root).limit == limit


def test_limit_that_cannot_be_read_is_the_default(folder: CacheFolder) -> None:
    default = folder.limit
    folder.set_limit(5)
    assert CacheFolder(folder.root).limit == 5
    (folder.root / "limit").write_text("much")
    assert abs(CacheFolder(folder.root).limit - default) <= 0.01 * default


# --- room -------------------------------------------------------------------------------------------------------------


def test_room_is_made_by_removing_the_longest_unused(folder: CacheFolder) -> None:
    folder.set_limit(350)
    for number, age in ((1, 300), (2, 100), (3, 200)):
        put(folder, number, age=age)
    assert CacheFolder(folder.root).make_room(100)
    assert left(folder) == [2, 3]
    assert CacheFolder(folder.root).make_room(200)
    assert left(folder) == [2]


def test_what_this_run_used_is_not_removed_for_more_of_it(folder: CacheFolder) -> None:
    folder.set_limit(250)
    old, used = put(folder, 1, age=100), put(folder, 2, age=200)
    run = CacheFolder(folder.root)
    run.note_used(used, used.stat().st_mtime)
    assert used.stat().st_mtime > old.stat().st_mtime
    assert run.make_room(100)
    put(run, 3)
    run.note_stored(100)
    assert not run.make_room(100)
    assert left(folder) == [2, 3]


def test_use_is_noted_once_a_minute(folder: CacheFolder) -> None:
    path = put(folder, 1)
    at = time.time() + 5
    os.utime(path, (at, at))
    folder.note_used(path, at)
    assert path.stat().st_mtime == pytest.approx(at, abs=1e-3)


def test_other_processes_are_taken_into_account(folder: CacheFolder) -> None:
    folder.set_limit(1000)
    run = CacheFolder(folder.root)
    assert run.make_room(100)
    for number in range(9):
        put(folder, number, age=50)  # by another process
    for number in range(10, 20):
        assert run.make_room(100)
        put(run, number)
        run.note_stored(100)
        assert sum(entry.size for entry in folder.entries()) <= 1000


def test_lower_limit_removes_at_once(folder: CacheFolder) -> None:
    for number in range(5):
        put(folder, number, age=10 * number)
    folder.set_limit(300)
    assert left(folder) == [0, 1, 2]


def test_foreign_files_are_neither_counted_nor_removed(folder: CacheFolder) -> None:
    put(folder, 1)
    mine = [folder.root / "notes.txt", folder.volumes / "00" / "scan.nii.gz", folder.volumes / "00" / "1.vol"]
    for path in mine:
        path.write_text("precious")
    assert left(folder) == [1]
    assert folder.clear() == (1, 100)
    folder.set_limit(0)
    assert all(path.read_text() == "precious" for path in mine)


def test_link_to_a_file_elsewhere_is_removed_alone(folder: CacheFolder, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("x")
    path = folder.path("a" * 64)
    folder.prepare_for(path)
    path.symlink_to(target)
    folder.clear()
    assert target.read_text() == "x"
    assert not path.is_symlink()


# --- xai cache --------------------------------------------------------------------------------------------------------


def test_show_limit_and_clear(folder: CacheFolder, xai: Xai) -> None:
    for number in range(3):
        put(folder, number, size=1000, age=number)
    code, out, _ = xai("cache")
    assert code == 0
    assert str(folder.root) in out
    assert "3 preprocessed scans, 3.0 KB of " in out
    code, out, _ = xai("cache", "limit", "2KB", "--json")
    assert (code, json.loads(out)) == (0, {"folder": str(folder.root), "entries": 2, "bytes": 2000, "limit": 2000})
    assert json.loads(xai("cache", "--json")[1])["limit"] == 2000
    assert xai("cache", "limit", "default")[0] == 0
    assert json.loads(xai("cache", "--json")[1])["limit"] > 2000
    code, out, _ = xai("cache", "clear")
    assert (code, out) == (0, f"Removed 2 files (2.0 KB) from {folder.root}.\n")
    assert json.loads(xai("cache", "clear", "--json")[1]) == {"folder": str(folder.root), "removed": 0, "bytes": 0}
    assert json.loads(xai("cache", "--json", "clear")[1])["removed"] == 0


def test_nothing_there_yet(folder: CacheFolder, xai: Xai) -> None:
    assert json.loads(xai("cache", "--json")[1])["entries"] == 0
    assert xai("cache", "clear")[0] == 0
    assert not folder.root.exists()


def test_show_where_it_is_off(xai: Xai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_CACHE", "off")
    assert xai("cache")[:2] == (0, "XAI_CACHE is off: nothing is kept between runs.\n")
    assert json.loads(xai("cache", "--json")[1]) == {"folder": None, "entries": 0, "bytes": 0, "limit": 0}
    for command in (("clear",), ("limit", "2GB")):
        code, _, err = xai("cache", *command)
        assert code == 2
        assert "XAI_CACHE is off" in err


@pytest.mark.parametrize("size", ["much", "-5"])
def test_wrong_size(folder: CacheFolder, xai: Xai, size: str) -> None:
    code, _, err = xai("cache", "limit", "--", size)
    assert code == 2
    assert "20GB" in err


def test_limit_where_nothing_can_be_written(tmp_path: Path, xai: Xai, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "file" / "cache"))
    code, _, err = xai("cache", "limit", "2GB")
    assert code == 2
    assert err.startswith("Error: The limit of the cache cannot be set")


def test_command_loads_no_torch(folder: CacheFolder) -> None:
    code = (
        "import sys; from click.testing import CliRunner; from xai_core.cli import cli; "
        "r = CliRunner().invoke(cli, ['cache']); assert r.exit_code == 0, r.output; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
