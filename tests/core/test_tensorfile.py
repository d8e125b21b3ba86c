"""Tensors on disk: what is written is read back, and a full disk is told as one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from xai_core.engine.tensorfile import save_tensors


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    save_tensors({"w": torch.arange(5)}, tmp_path / "w.pt")
    assert torch.load(tmp_path / "w.pt", weights_only=True)["w"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("values", [10, 10**6])
def test_a_full_disk_is_told_as_one(values: int) -> None:
    with pytest.raises(OSError, match="No space") as caught:
        save_tensors({"w": torch.zeros(values)}, Path("/dev/full"))
    assert caught.value.errno == errno.ENOSPC
