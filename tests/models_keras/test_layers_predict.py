"""Every stored model predicts what Keras predicted, or is refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from xai_core import InputError
from xai_models_keras import read

BOUND = 2e-5
# Keras computed these in half precision; the reader takes the same weights in single precision.
COARSE = {"mixed_precision": 2e-3}
# What is expected is the class that the message names.
REFUSED = {
    "refused_lambda": "Lambda",
    "refused_custom_layer": "Doubling",
    "refused_disguised_layer": "ReLU",
    "refused_custom_activation": "doubled",
    "refused_disguised_activation": "relu",
    "refused_dot": "Dot",
    "refused_lstm": "LSTM",
    "refused_time_distributed": "TimeDistributed",
    "refused_embedding": "Embedding",
    "refused_depthwise": "DepthwiseConv2D",
    "refused_separable": "SeparableConv2D",
    "refused_locked_norm": "UnitNormalization",
    "refused_operator": "multiply",
}
# Options and layers that nobody was promised: right or refused by name, never wrong.
OPTIONAL = {
    "conv3d_channels_first": "Conv3D",
    "conv3d_transpose_same_output_padding_k4": "Conv3DTranspose",  # TensorFlow cannot run it, Keras 3 on PyTorch can
    "batchnorm_spatial_axis": "BatchNormalization",
    "groupnorm_spatial_axis": "GroupNormalization",
    "instancenorm_contrib": "InstanceNormalization",
    "instancenorm_contrib_whole": "InstanceNormalization",
    "layernorm": "LayerNormalization",
    "rescaling_by_channel": "Rescaling",
    "repeat_vector": "RepeatVector",
    "minimum_two": "Minimum",
    "minimum_one_channel": "Minimum",
    "minimum_broadcast": "Minimum",
}
# One sigmoid for each of several outputs is no softmax: it stays.
KEPT_ENDINGS = ("end_sigmoid_of_three",)


def named(name: str) -> str:
    return name.partition("/")[2].partition(".")[0]


def predict(stored: Any, rows: slice = slice(None)) -> list[Tensor]:
    inputs = [value[rows] for value in stored.inputs()]
    shapes = [tuple(value.shape[1:]) for value in inputs] if stored.name == "unknown_sides" else None
    network = read(stored.path, shapes)
    assert not network.training
    with torch.no_grad():
        found = network(*inputs)
    return list(found) if isinstance(found, tuple | list) else [found]


def wanted(stored: Any) -> list[Tensor]:
    if stored.name in KEPT_ENDINGS:
        return [torch.from_numpy(stored.arrays["output0"])]
    found: list[Tensor] = stored.logits()
    return found


def assert_predicts(stored: Any) -> None:
    found, right = predict(stored), wanted(stored)
    assert len(found) == len(right)
    for mine, keras in zip(found, right, strict=True):
        assert mine.shape == keras.shape
        largest = float(keras.abs().max())
        assert largest > 1e-2, "a fixture that predicts nothing proves nothing"
        assert float((mine - keras).abs().max()) <= COARSE.get(stored.name, BOUND) * largest


def assert_named(error: str, stored: Any, class_name: str) -> None:
    assert str(stored.path) in error
    assert re.search(r"layer '[\w.]+'", error), error
    assert class_name.lower() in error.lower()
    assert "\n" not in error


@pytest.mark.stored_if(lambda name: named(name) not in {**REFUSED, **OPTIONAL})
def test_predicts_what_keras_predicted(stored: Any) -> None:
    assert_predicts(stored)


@pytest.mark.stored_if(lambda name: named(name) in OPTIONAL)
def test_is_right_or_refused_by_name(stored: Any) -> None:
    try:
        predict(stored)
    except InputError as error:
        assert_named(str(error), stored, OPTIONAL[stored.name])
    else:
        assert_predicts(stored)


@pytest.mark.stored_if(lambda name: named(name) in REFUSED)
def test_is_refused_by_name(stored: Any) -> None:
    with pytest.raises(InputError) as refusal:
        read(stored.path)
    assert_named(str(refusal.value), stored, REFUSED[stored.name])


@pytest.mark.parametrize("name", ["keras2/multiply_other_rank.h5", "keras2/flatten_reshape.h5", "keras2/nested.h5"])
def test_one_volume_is_predicted_as_two(name: str, stored_model: Callable[[str], Any]) -> None:
    """No size of the batch is built into the network, and examples do not see each other."""
    stored = stored_model(name)
    (alone,) = predict(stored, slice(1, 2))
    torch.testing.assert_close(alone, stored.logits()[0][1:2], rtol=BOUND, atol=BOUND)


def test_the_recipes_that_both_kerases_hold_agree(stored_model: Callable[[str], Any]) -> None:
    """The fixtures themselves: TensorFlow 2.14 and Keras 3 on PyTorch, of equal weights, say the same."""
    for name in ("conv3d_same_k4_s3", "conv3d_transpose_same_mixed", "groupnorm", "permute_reshape_mix"):
        old, new = (stored_model(f"{keras}/{name}.h5").logits()[0] for keras in ("keras2", "keras3"))
        torch.testing.assert_close(old, new)
