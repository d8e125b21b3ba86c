"""Digests of values: equal for equal values, other for others, none for what cannot be written down."""

from __future__ import annotations

from collections import OrderedDict
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xai_core.engine.cachekey import NoKeyError, digest_of

DIFFERENT: list[Any] = [
    None, True, 1, 1.0, 2, -0.0, 0.0, "1", b"1", "", [], {}, [1, 2], [[1], 2], [1, [2]], ["ab", "c"], ["a", "bc"],
    {"a": 1}, {"a": None}, {1: "a"}, date(2020, 1, 2), Path("a"), "a", float("nan"),
    torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0]).double(), torch.tensor([[1.0, 2.0]]), torch.tensor([2.0, 1.0]),
    np.float32(1), np.float64(1), np.array(["a", "b"]),
]  # fmt: skip


def test_different_values() -> None:
    for one, two in combinations(DIFFERENT, 2):
        assert digest_of(one) != digest_of(two), (one, two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"a": 1, "b": 2}, OrderedDict(b=2, a=1)), ([1, 2], (1, 2)), (float("nan"), float("nan")),
        (torch.arange(6).reshape(2, 3).T, torch.tensor([[0, 3], [1, 4], [2, 5]])),
        (torch.ones(3), np.ones(3, dtype=np.float32)), (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
    ],
)  # fmt: skip
def test_equal_values(one: Any, two: Any) -> None:
    assert digest_of(one) == digest_of(two)


@pytest.mark.parametrize("value", [object(), {"a": [object()]}, lambda: 1, np.array([object()]), {1, 2}])
def test_what_cannot_be_written_down(value: Any) -> None:
    with pytest.raises(NoKeyError):
        digest_of(value)
