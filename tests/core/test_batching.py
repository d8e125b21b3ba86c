"""Cutting a batch into pieces that fit into memory."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from xai_core.engine.batching import is_out_of_memory, run_batched


class Limited:
    """Doubles a batch, and runs out of memory above ``limit``."""

    def __init__(self, limit: int, error: Exception) -> None:
        self.limit, self.error, self.sizes = limit, error, list[int]()

    def __call__(self, piece: Tensor) -> Tensor:
        self.sizes.append(len(piece))
        if len(piece) > self.limit:
            raise self.error
        return piece * 2


CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried ...")
WINDOWS = RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried ...")
OUT_OF_MEMORY = [torch.OutOfMemoryError("CUDA out of memory."), CPU, WINDOWS, MemoryError()]


def test_pieces_come_in_order_and_none_is_larger_than_the_maximum() -> None:
    double = Limited(100, ValueError())
    result = run_batched(double, torch.arange(10), 4)
    assert double.sizes == [4, 4, 2]
    assert torch.equal(torch.cat(result), torch.arange(10) * 2)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_too_large_is_halved_until_it_fits_and_told_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    double = Limited(3, error)
    with caplog.at_level(logging.INFO, logger="xai"):
        result = run_batched(double, torch.arange(20), 16)
    assert torch.equal(torch.cat(result), torch.arange(20) * 2)
    assert double.sizes == [16, 8, 4] + [2] * 10  # what failed is not tried again at that size
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "16" in caplog.text


def test_a_real_refusal_of_the_cpu_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_at_a_batch_of_one_the_original_error_is_raised() -> None:
    with pytest.raises(RuntimeError) as caught:
        run_batched(Limited(0, CPU), torch.arange(4), 4)
    assert caught.value is CPU


def test_another_error_is_raised_at_once() -> None:
    wrong = Limited(1, RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        run_batched(wrong, torch.arange(4), 4)
    assert wrong.sizes == [4]


def test_nothing_to_do_calls_nothing_and_a_wrong_maximum_is_refused() -> None:
    double = Limited(9, ValueError())
    assert run_batched(double, torch.empty(0, 3), 4) == []
    assert double.sizes == []
    with pytest.raises(ValueError, match="at least 1"):
        run_batched(double, torch.arange(4), 0)


def test_progress_is_told_to_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="xai"):
        run_batched(Limited(2, MemoryError()), torch.arange(5), 4, "doubling")
    assert caplog.messages[-1] == "doubling: 5 of 5, done"
