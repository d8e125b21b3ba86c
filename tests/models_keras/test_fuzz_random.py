"""Stored models with random damage: each is refused in one clear line, or is a network still."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

MODELS = ("keras2/like_densenet.h5", "keras2/nested_frozen.h5", "keras2/several_inputs_other_order.h5",
          "keras2/sequential.h5", "keras2/nested_deep.keras", "keras3/nested.keras", "keras3/like_unet.keras",
          "keras3/sequential_without_input_layer.keras", "keras3/fused_layer.keras", "keras2/normalization_stored.h5",
          "keras2/refused_lambda.h5", "keras3/batchnorm.h5")  # fmt: skip
MUTANTS = 20
# Garbage in the place of a value may do no harm where the value is of no matter; it must never change a prediction.
GARBAGE = (None, "x", [], {}, {"x": 1})


def defects(fuzzing: ModuleType, path: Path, data: bytes, what: str) -> list[str]:
    path.write_bytes(data)
    result = fuzzing.outcome(path)
    return [f"{what}: {result.kind}: {result.message}"] if result.is_defect else []


@pytest.mark.parametrize("name", MODELS)
def test_no_damage_ends_in_anything_but_an_input_error(
    name: str, fuzzing: ModuleType, stored_model: Callable[[str], Any], tmp_path: Path
) -> None:
    source = stored_model(name).path
    data, path, found = source.read_bytes(), tmp_path / source.name, []
    for number in range(MUTANTS):
        changed, what = fuzzing.mutant(data, source.suffix, random.Random(f"{name}/{number}"))
        found += defects(fuzzing, path, changed, f"mutant {number}, {what}")
    assert not found


@pytest.mark.parametrize("name", MODELS[:2] + MODELS[5:6])
def test_a_file_cut_off_anywhere_is_refused(
    name: str, fuzzing: ModuleType, stored_model: Callable[[str], Any], tmp_path: Path
) -> None:
    source = stored_model(name).path
    data, path = source.read_bytes(), tmp_path / source.name
    for length in [0, 1, 2, 7, 8, 9, *range(97, len(data) - 1, len(data) // 11), len(data) - 1]:
        path.write_bytes(data[:length])
        assert fuzzing.outcome(path).kind == "refused", length


@pytest.mark.parametrize("name", ["keras2/like_unet.h5", "keras3/like_densenet.keras"])
def test_garbage_in_the_configuration_never_changes_a_prediction(
    name: str, fuzzing: ModuleType, stored_model: Callable[[str], Any], tmp_path: Path
) -> None:
    stored = stored_model(name)
    inputs, data = stored.inputs(), stored.path.read_bytes()
    right = fuzzing.outcome(stored.path, inputs).values
    rng, path, refused = random.Random(0), tmp_path / stored.path.name, 0
    for _ in range(50):

        def change(config: Any) -> str:
            here, key = rng.choice(fuzzing.spots(config))
            here[key] = rng.choice(GARBAGE)
            return f"{key!r} = {here[key]!r}"

        changed, what = fuzzing.change_config(data, stored.path.suffix, change)
        path.write_bytes(changed)
        result = fuzzing.outcome(path, inputs)
        assert not result.is_defect, (what, result)
        refused += result.kind == "refused"
        if result.kind == "read":
            assert not result.message, (what, result.message)
            assert all(map(torch.equal, result.values, right)), what
    assert refused > 10
