"""Stored weights: what is read, and what is said of files that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks import nets
from torch import Tensor

from xai_core import InputError, registry

SHAPE = (1, 33, 35, 34)


def with_file(component: Any, path: Path | str) -> Any:
    component.pretrained = str(path)
    return component


def stored(component: Any, outputs: int = 2) -> dict[str, Tensor]:
    """Return the state of a network in which every tensor has values of its own."""
    torch.manual_seed(7)
    state = component.build(SHAPE, outputs).state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return {key: value.clone() for key, value in state.items()}


def saved(content: Any, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path)
    return path


def resnet(**params: Any) -> Any:
    return registry.create("model", "monai-resnet", **{"depth": 10, "widen_factor": 0.0625, **params})


def test_a_whole_network_is_read_where_the_number_of_outputs_is_not_given(component: Any, tmp_path: Path) -> None:
    state = stored(component, outputs=3)
    network = with_file(component, saved(state, tmp_path)).build(SHAPE, None)
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_the_own_last_layer_stays_where_the_number_of_outputs_is_given(component: Any, tmp_path: Path) -> None:
    state = stored(component)
    network = with_file(component, saved(state, tmp_path)).build(SHAPE, 2)
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]) != key.startswith(component.head + "."), key


@pytest.mark.parametrize("container", [None, "state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_medicalnets_layout_is_read(tmp_path: Path, container: str | None, prefix: str) -> None:
    """Below DataParallel, with a segmentation head, without a last layer and counters."""
    state = stored(resnet())
    kept = {k: v for k, v in state.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
    layout = {f"{prefix}{key}": value for key, value in {**kept, "conv_seg.0.weight": torch.ones(3)}.items()}
    path = saved({container: layout, "epoch": 3} if container else layout, tmp_path)
    network = resnet(pretrained=str(path)).build(SHAPE, 5)
    assert len(kept) > 40
    assert all(torch.equal(network.state_dict()[key], value) for key, value in kept.items())
    with pytest.raises(InputError, match=r"no last layer \(fc\.weight\)"):
        resnet(pretrained=str(path)).build(SHAPE, None)


def test_one_stored_channel_serves_several_with_the_same_response(
    component: Any, tmp_path: Path, randomised: Any
) -> None:
    torch.manual_seed(3)
    x = torch.randn(2, *SHAPE)
    one = randomised(component.build(SHAPE, 2), x)
    path = saved(one.state_dict(), tmp_path)
    three = with_file(component, path).build((3, *SHAPE[1:]), 2).eval()
    three.get_submodule(component.head).load_state_dict(one.get_submodule(component.head).state_dict())
    assert (one(x)[0] - one(x)[1]).abs().max() > 1e-2
    torch.testing.assert_close(three(x.repeat(1, 3, 1, 1, 1)), one(x), rtol=1e-3, atol=1e-4)


def test_a_vit_of_monai_is_read(tmp_path: Path) -> None:
    params = {"hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 4}
    theirs = nets.ViT(1, (32, 16, 16), 8, **params, classification=True, num_classes=3, post_activation=None).eval()
    path = saved(theirs.state_dict(), tmp_path)
    ours = registry.create("model", "monai-vit", patch_size=8, pretrained=str(path), **params)
    x = torch.randn(2, 1, 32, 16, 16)
    torch.testing.assert_close(ours.build((1, 32, 16, 16), None).eval()(x), theirs(x)[0])
    with pytest.raises(InputError, match="for volumes of one size"):
        ours.build((1, 32, 32, 16), 3)


def problem(content: Any, folder: Path, **params: Any) -> str:
    path = saved(content, folder)
    with pytest.raises(InputError) as caught:
        resnet(pretrained=str(path), **params).build(SHAPE, 2)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_missing_unexpected_and_misshapen_keys_are_listed(tmp_path: Path) -> None:
    state = stored(resnet())
    del state["layer2.0.bn1.weight"]
    state["layer9.0.conv1.weight"] = torch.ones(1)
    state["bn1.bias"] = torch.ones(5)
    message = problem(state, tmp_path)
    assert "missing in the file (1): layer2.0.bn1.weight" in message
    assert "not in the network (1): layer9.0.conv1.weight" in message
    assert "other shapes (1): bn1.bias is (5,) in the file, (4,) in the network" in message
    assert "Check depth" in message


def test_other_settings_are_refused(tmp_path: Path) -> None:
    assert "and " in problem(stored(resnet(depth=18)), tmp_path)
    assert "downsample.0.weight" in problem(stored(resnet(shortcut="A")), tmp_path)
    assert "conv1.weight is (4, 1, 3, 3, 3) in the file" in problem(stored(resnet(conv1_kernel=3)), tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"a": 1}}, torch.ones(2)])
def test_files_without_a_state_are_refused(tmp_path: Path, content: Any) -> None:
    assert "holds no state_dict" in problem(content, tmp_path)


def test_no_code_is_run_from_a_file(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"state_dict": Harmful()}, protocol=2))
    with pytest.raises(InputError, match="cannot be read as a PyTorch file"):
        resnet(pretrained=str(path)).build(SHAPE, 2)
    assert not (tmp_path / "harm").exists()


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pth is no file"):
        resnet(pretrained=str(tmp_path / "absent.pth")).build(SHAPE, 2)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"text\.pth cannot be read"):
        resnet(pretrained=str(tmp_path / "text.pth")).build(SHAPE, 2)
