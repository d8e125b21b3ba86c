"""The record of who was left out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from xai_core.engine.leftout import write_left_out


def test_rows_of_several_kinds_in_one_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"cohort": "a", "subject_id": "01", "session_id": None, "reason": "no image"},
        {"subject_id": "002", "session_id": "M00", "reason": "unusable image", "detail": "a\tb"},
        {"subject_id": None, "session_id": None, "reason": "no image"},
    ]
    with caplog.at_level(logging.INFO, logger="xai"):
        write_left_out(tmp_path, rows)
    lines = (tmp_path / "left-out.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["subject_id", "session_id", "reason", "cohort", "detail"]
    assert lines[1].split("\t") == ["01", "n/a", "no image", "a", "n/a"]
    assert lines[2] == '002\tM00\tunusable image\tn/a\t"a\tb"'
    assert "left out 3 scans or people: 2 no image, 1 unusable image. See left-out.tsv" in caplog.text


def test_an_earlier_table_goes_with_its_reasons(tmp_path: Path) -> None:
    write_left_out(tmp_path, [{"subject_id": "1", "session_id": None, "reason": "x"}])
    write_left_out(tmp_path, [])
    assert list(tmp_path.iterdir()) == []
    write_left_out(tmp_path, [])
