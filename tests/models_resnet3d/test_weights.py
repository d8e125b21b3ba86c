"""Checkpoints in MedicalNet's layout: what is read, and what is said of those that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xai_core import InputError
from xai_models_resnet3d.plugin import ResNet3D

SHAPE = (1, 9, 11, 13)


def small(**params: Any) -> ResNet3D:
    return ResNet3D(**{"depth": 10, "width": 4, **params})


def stored(channels: int = 1, **params: Any) -> dict[str, Tensor]:
    """Return the state of a network in which every tensor has values of its own."""
    torch.manual_seed(7)
    network = small(**params).build((channels, 9, 11, 13), 2)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return {key: value.clone() for key, value in network.state_dict().items()}


def medicalnet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state as MedicalNet saves it: below DataParallel, with a segmentation head, without counters."""
    kept = {k: v for k, v in state.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
    kept["conv_seg.0.weight"] = torch.ones(8, 4, 2, 2, 2)
    return {f"module.{key}": value for key, value in kept.items()}


def saved(content: Any, folder: Path) -> str:
    path = folder / "resnet_10_23dataset.pth"
    torch.save(content, path)
    return str(path)


def backbone(network: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in network.state_dict().items() if not k.startswith("fc.") and "num_batches" not in k}


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("prefixed", [True, False])
def test_every_layout_is_read(tmp_path: Path, shortcut: str, wrapped: bool, prefixed: bool) -> None:
    state = stored(shortcut=shortcut)
    content: Any = medicalnet(state) if prefixed else state
    path = saved({"state_dict": content, "epoch": 3} if wrapped else content, tmp_path)
    network = small(shortcut=shortcut, weights=path).build(SHAPE, 5)
    loaded = backbone(network)
    assert len(loaded) > 40
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert network(torch.randn(2, *SHAPE)).shape == (2, 5)


def test_the_head_is_read_where_the_number_of_outputs_is_not_given(tmp_path: Path) -> None:
    state = stored()
    network = small(weights=saved(state, tmp_path)).build(SHAPE, None)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_the_own_head_stays_where_the_number_of_outputs_is_given(tmp_path: Path) -> None:
    state = stored()
    network = small(weights=saved(state, tmp_path)).build(SHAPE, 2)
    assert not torch.equal(network.state_dict()["fc.weight"], state["fc.weight"])


def test_one_stored_channel_serves_several_with_the_same_response(tmp_path: Path) -> None:
    path = saved(medicalnet(stored()), tmp_path)
    x = torch.randn(2, 1, 9, 11, 13)
    one = small(weights=path).build(SHAPE, 2)
    three = small(weights=path).build((3, 9, 11, 13), 2)
    torch.testing.assert_close(three.conv1(x.repeat(1, 3, 1, 1, 1)), one.conv1(x), rtol=1e-4, atol=1e-4)


def problem(content: Any, folder: Path, **params: Any) -> str:
    path = saved(content, folder)
    with pytest.raises(InputError) as caught:
        small(weights=path, **params).build(SHAPE, 2)
    assert path in str(caught.value)
    return str(caught.value)


def test_missing_unexpected_and_misshapen_keys_are_listed(tmp_path: Path) -> None:
    state = medicalnet(stored())
    del state["module.layer2.0.bn1.weight"]
    state["module.layer9.0.conv1.weight"] = torch.ones(1)
    state["module.bn1.bias"] = torch.ones(5)
    message = problem(state, tmp_path)
    assert "missing in the file (1): layer2.0.bn1.weight" in message
    assert "not in the network (1): layer9.0.conv1.weight" in message
    assert "other shapes (1): bn1.bias is (5,) in the file, (4,) in the network" in message


def test_another_depth_and_another_shortcut_are_refused(tmp_path: Path) -> None:
    assert "Check depth" in problem(medicalnet(stored(depth=18)), tmp_path)
    assert "downsample.0.weight" in problem(medicalnet(stored(shortcut="A")), tmp_path)
    assert "conv1.weight is (4, 2, 7, 7, 7) in the file" in problem(medicalnet(stored(channels=2)), tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"a": 1}}, torch.ones(2)])
def test_files_without_a_state_are_refused(tmp_path: Path, content: Any) -> None:
    assert "holds no state_dict" in problem(content, tmp_path)


def test_no_code_is_run_from_a_file(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"state_dict": Harmful()}, protocol=2))
    with pytest.raises(InputError, match="cannot be read as a PyTorch checkpoint"):
        small(weights=str(path)).build(SHAPE, 2)
    assert not (tmp_path / "harm").exists()


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pth is no file"):
        small(weights=str(tmp_path / "absent.pth")).build(SHAPE, 2)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"text\.pth cannot be read"):
        small(weights=str(tmp_path / "text.pth")).build(SHAPE, 2)


def test_an_unknown_number_of_outputs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights to take it from"):
        small().build(SHAPE, None)
    path = saved(medicalnet(stored()), tmp_path)
    with pytest.raises(InputError, match="no classification head"):
        small(weights=path).build(SHAPE, None)
