"""A unit's random numbers depend on its seed and nothing else, and leave no trace."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from xai_core.engine.seeding import seeded, unit_seed


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(1))


def states() -> list[Any]:
    return [
        random.getstate(),
        str(np.random.get_state()),
        torch.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    ]


def test_same_seed_same_numbers_whatever_came_before() -> None:
    with seeded(7):
        first = draw()
    draw()
    with seeded(7):
        assert draw() == first
    with seeded(8):
        assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_states_are_put_back() -> None:
    with seeded(1):
        expected = [draw(), draw()]
    with seeded(1):
        found = [draw()]
        with seeded(2):
            draw()
        found.append(draw())
    assert found == expected


def test_states_are_put_back_after_an_exception() -> None:
    def interrupted() -> None:
        with seeded(3):
            draw()
            raise KeyboardInterrupt

    before = states()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert states() == before


@pytest.mark.parametrize("outside", [(False, False), (True, False), (True, True)])
def test_deterministic_algorithms_inside_only(outside: tuple[bool, bool]) -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.use_deterministic_algorithms(outside[0], warn_only=outside[1])
        with seeded(0):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.are_deterministic_algorithms_enabled() == outside[0]
        assert torch.is_deterministic_algorithms_warn_only_enabled() == outside[1]
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**32 + 5])
def test_any_seed_will_do(seed: int) -> None:
    with seeded(seed):
        assert all(0 <= x < 1 for x in draw())


def test_unit_seed_depends_on_every_part_and_on_their_order() -> None:
    seeds = [
        unit_seed(1), unit_seed(2), unit_seed(1, "training", 0), unit_seed(1, "training", 1), unit_seed(1, 0, "train"),
        unit_seed(1, "ab", "c"), unit_seed(1, "a", "bc"), unit_seed(1, "abc"), unit_seed(11, ""), unit_seed(1, "1"),
    ]  # fmt: skip
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_unit_seed_is_spread_over_its_range() -> None:
    seeds = np.array([unit_seed(0, "explanation", f"sub-{i}") for i in range(2000)])
    assert len(np.unique(seeds)) == 2000
    assert abs(seeds.mean() / 2**30 - 1) < 0.05


def test_unit_seed_is_the_same_in_every_process() -> None:
    code = "from xai_core.engine.seeding import unit_seed; print(unit_seed(42, 'training', 3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == unit_seed(42, "training", 3)
