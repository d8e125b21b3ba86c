"""The process that reads a file first: it is replaced when it ends, and done without where there can be none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xai_core import InputError
from xai_models_keras import _guard, read

MODEL = "keras2/conv3d_valid.h5"


def process_id() -> int:
    assert _guard._helper is not None
    return _guard._helper.process.pid


def test_one_process_serves_many_files(stored_model: Callable[[str], Any]) -> None:
    read(stored_model(MODEL).path)
    first = process_id()
    read(stored_model("keras3/conv3d_valid.keras").path)
    assert process_id() == first


def test_a_process_that_has_ended_is_replaced(stored_model: Callable[[str], Any]) -> None:
    read(stored_model(MODEL).path)
    first = process_id()
    assert _guard._helper is not None
    _guard._helper.stop()
    read(stored_model(MODEL).path)
    assert process_id() != first


def test_without_a_second_process_files_are_read_all_the_same(
    stored_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_guard, "_helper", None)
    for executable in ("/nowhere/python", "/bin/true"):
        monkeypatch.setattr("sys.executable", executable)
        assert read(stored_model(MODEL).path) is not None


def test_a_file_that_ends_the_process_is_refused(
    stored_model: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever it is that the library does: here the helper is told to give up on the first question."""
    read(stored_model(MODEL).path)
    assert _guard._helper is not None
    helper = _guard._helper
    monkeypatch.setattr(type(helper), "ask", lambda *_: None)
    with pytest.raises(InputError, match=r"conv3d_valid\.h5: is damaged so that the HDF5 library crashes"):
        read(stored_model(MODEL).path)
    assert not helper.runs()
