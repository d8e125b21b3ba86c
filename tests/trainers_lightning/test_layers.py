"""Frozen layers, averaged weights, weights of another training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xai_core import ConfigError, InputError
from xai_core.registry import create
from xai_trainers_lightning._ema import MovingAverage
from xai_trainers_lightning._freezing import matched
from xai_trainers_lightning._head import last_layer
from xai_trainers_lightning._initial import load_initial

CLASSES = torch.tensor([0, 1] * 9)
AGES = torch.linspace(55, 90, 24)


def trainer(**params: Any) -> Any:
    return create("trainer", "lightning", **{"epochs": 3, "learning_rate": 0.05, "batch_size": 6, **params})


class Small(nn.Module):
    """Two blocks and a head; the first block is not touched where it is frozen."""

    def __init__(self, outputs: int = 2, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.block1 = nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU())
        self.block2 = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.AdaptiveAvgPool3d(1))
        self.fc = nn.Linear(4, outputs)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        return self.fc(self.block2(self.block1(volumes)).flatten(1))


def changed(model: nn.Module, start: nn.Module) -> set[str]:
    before = start.state_dict()
    return {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}


def states_after_epochs(made: Any, context: Callable[..., Any], blobs: Any, model: nn.Module) -> list[set[str]]:
    """Train and return which tensors each epoch changed."""
    steps, before = [], {n: v.clone() for n, v in model.state_dict().items()}

    def on_epoch(epoch: int, scalars: Any) -> bool:
        now = {n: v.clone() for n, v in model.state_dict().items()}
        steps.append({n for n, v in now.items() if not torch.equal(v, before[n])})
        before.update(now)
        return True

    made.train(model, blobs(CLASSES, 1), None, context(on_epoch=on_epoch))
    return steps


def test_frozen_layers_are_not_touched(blobs: Any, context: Any) -> None:
    """Neither by gradients, nor by weight decay, nor by batch statistics."""
    model = Small()
    trainer(freeze=["block1"], weight_decay=0.1, optimizer="adamw").train(model, blobs(CLASSES, 1), None, context())
    moved = changed(model, Small())
    assert not any(name.startswith("block1") for name in moved)
    assert {"block2.0.weight", "block2.1.running_mean", "fc.weight"} <= moved
    assert all(weight.requires_grad for weight in model.parameters())


def test_frozen_layers_do_not_count_in_the_gradients_norm(blobs: Any, context: Any) -> None:
    """With the head alone trained and gradients clipped, a step of plain descent has exactly the clipped length."""
    for params in ({"freeze": ["block?"]}, {"freeze": ["block1.*", "block2.0", "block2.1"]}):
        model = Small()
        made = trainer(epochs=1, batch_size=18, optimizer="sgd", learning_rate=1.0, gradient_clip=1e-3, **params)
        made.train(model, blobs(CLASSES, 1), None, context())
        start = Small()
        with torch.no_grad():
            step = torch.cat([(model.fc.weight - start.fc.weight).flatten(), (model.fc.bias - start.fc.bias)])
        assert float(step.norm()) == pytest.approx(1.9e-3, rel=1e-3)  # Nesterov: 1.9 times in the first step


def test_gradual_unfreezing(blobs: Any, context: Any) -> None:
    made = trainer(epochs=4, freeze=["block1", "block2"], unfreeze_at_epoch=[3, 1])
    steps = states_after_epochs(made, context, blobs, Small())
    blocks = [{name.split(".")[0] for name in step} for step in steps]
    assert blocks == [{"fc"}, {"fc", "block2"}, {"fc", "block2"}, {"fc", "block2", "block1"}]


def test_the_head_first_then_everything(blobs: Any, context: Any) -> None:
    made = trainer(epochs=3, head_epochs=2, head_learning_rate=0.1)
    steps = states_after_epochs(made, context, blobs, Small())
    assert [{name.split(".")[0] for name in step} for step in steps] == [{"fc"}, {"fc"}, {"fc", "block1", "block2"}]


def test_names_and_patterns() -> None:
    model = Small()
    names = {"block1", "block1.0", "block1.0.weight", "block1.0.bias", "block1.1"}
    assert names <= matched(model, "block1")
    assert matched(model, "block?") == matched(model, "block1") | matched(model, "block2")
    assert matched(model, "fc.bias") == {"fc.bias"}
    with pytest.raises(InputError, match=r"has no layer block3. It has block1, block1.0, block1.1, block2"):
        matched(model, "block3")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"freeze": ["*"]}, r"leaves nothing of the network to train in epoch 0. Leave its last layer out, such as fc"),
        ({"freeze": ["layer1"]}, "the network has no layer layer1"),
    ],
)
def test_layers_that_do_not_fit(blobs: Any, context: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer(**params).train(Small(), blobs(CLASSES, 1), None, context())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"unfreeze_at_epoch": 1}, "belongs to freeze, which is empty"),
        ({"freeze": ["a", "b"], "unfreeze_at_epoch": [1]}, "has 1 epochs for the 2 entries of freeze"),
        ({"freeze": ["a"], "unfreeze_at_epoch": 3}, r"unfreeze_at_epoch \(3\) is never reached: .* 0 to 2"),
        ({"initial_head": "keep"}, "keep needs initial_weights"),
    ],
)
def test_parameters_that_contradict_each_other(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trainer(**params)


def test_the_average_is_that_of_the_formula() -> None:
    """Against the recursion written out, and torch's own average where the decay has grown to its full value."""
    model = nn.BatchNorm1d(1)
    average = MovingAverage(model, 0.5)
    average.on_fit_start()
    expected, torchs = 1.0, None
    for step in range(12):
        with torch.no_grad():
            model.weight.fill_(float(step))
            model.running_mean.fill_(float(step))  # type: ignore[union-attr]
            model.num_batches_tracked.fill_(step)  # type: ignore[union-attr]
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        if step == 7:  # (1 + 8) / (10 + 8) = 0.5 from here on
            torchs = torch.optim.swa_utils.AveragedModel(
                model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
            )
            torchs.module.load_state_dict(average.average)
            torchs.n_averaged += 1
        elif torchs is not None:
            torchs.update_parameters(model)
    assert float(average.average["weight"]) == pytest.approx(expected)
    assert torchs is not None
    assert float(torchs.module.weight) == pytest.approx(expected)
    assert torch.allclose(torchs.module.running_mean, average.average["running_mean"])
    assert int(average.average["num_batches_tracked"]) == 11


def test_the_average_is_validated_and_kept(blobs: Any, context: Any) -> None:
    val = blobs(CLASSES, 2)
    volumes = torch.stack([val[i][0] for i in range(len(val))])
    kept = {}
    for decay in (None, 0.9):
        model = Small()
        result = trainer(ema_decay=decay, accumulate=2).train(model, blobs(CLASSES, 1), val, context())
        with torch.no_grad():
            loss = float(nn.functional.cross_entropy(model(volumes), CLASSES))
        assert loss == pytest.approx(result.history[result.best_epoch]["val_loss"], rel=1e-5)
        kept[decay] = model
    assert not torch.equal(kept[None].fc.weight, kept[0.9].fc.weight)
    alone = Small()
    trainer(ema_decay=0.9).train(alone, blobs(CLASSES, 1), None, context())
    plain = Small()
    trainer().train(plain, blobs(CLASSES, 1), None, context())
    assert not torch.equal(alone.fc.weight, plain.fc.weight)


def saved(tmp_path: Path, model: nn.Module, name: str = "weights.pt", **wrapping: Any) -> str:
    state: Any = model.state_dict()
    if wrapping:
        state = {wrapping["key"]: {wrapping["prefix"] + key: value for key, value in state.items()}, "epoch": 3}
    torch.save(state, tmp_path / name)
    return str(tmp_path / name)


def loaded(path: str, model: nn.Module, **params: Any) -> dict[str, Any]:
    return load_initial(trainer(initial_weights=path, **params), model, "fc")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module.", "net.encoder."])
def test_checkpoints_of_other_frameworks(tmp_path: Path, key: str, prefix: str) -> None:
    source, model = Small(seed=5), Small()
    about = loaded(saved(tmp_path, source, key=key, prefix=prefix), model)
    assert changed(model, source) == {"fc.weight", "fc.bias"}
    assert changed(model, Small()) >= {"block1.0.weight", "block2.0.weight"}
    assert about["not_loaded"] == ["fc.bias", "fc.weight"]
    assert about["loaded"] == 14


def test_safetensors_and_folders_of_folds(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    source = Small(seed=5)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "fold-0").mkdir()
    torch.save(source.state_dict(), tmp_path / "fold-0" / "checkpoint.pt")
    for path in ("weights.safetensors", "fold-0"):
        model = Small()
        loaded(str(tmp_path / path), model)
        assert changed(model, source) == {"fc.weight", "fc.bias"}


def test_another_head_is_begun_anew_and_a_kept_one_is_kept(tmp_path: Path) -> None:
    path = saved(tmp_path, Small(outputs=3, seed=5))
    model = Small()
    assert loaded(path, model)["not_used"] == ["fc.bias", "fc.weight"]
    assert torch.equal(model.fc.weight, Small().fc.weight)
    with pytest.raises(InputError, match=r"no head that fits: fc.weight \[2, 4\] is stored as \[3, 4\]"):
        loaded(path, Small(), initial_head="keep")
    same = Small()
    loaded(saved(tmp_path, Small(seed=5)), same, initial_head="keep")
    assert not changed(same, Small(seed=5))


def test_checkpoints_of_other_networks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = saved(tmp_path, nn.Sequential(nn.Conv3d(1, 3, 3), nn.Linear(4, 2)))
    with pytest.raises(
        InputError, match=r"of another network: 0 of 8 weights .*block1.0.weight \[3, 1, 3, 3, 3\] is not there"
    ):
        loaded(path, Small())
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(InputError, match=r"text.pt cannot be read"):
        loaded(str(tmp_path / "text.pt"), Small())
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match=r"list.pt holds no tensors by name but a list"):
        loaded(str(tmp_path / "list.pt"), Small())
    torch.save(Small(), tmp_path / "whole.pt")  # a pickled network: loading it could run anything
    with pytest.raises(InputError, match=r"whole.pt cannot be read"):
        loaded(str(tmp_path / "whole.pt"), Small())


def test_missing_checkpoints_are_found_before_training(tmp_path: Path) -> None:
    (tmp_path / "run" / "fold-3").mkdir(parents=True)
    (tmp_path / "run" / "fold-3" / "checkpoint.pt").touch()
    for path, message in ((tmp_path / "nothing.pt", "does not exist"), (tmp_path / "run", "is a run. .*run/fold-3")):
        made = trainer(initial_weights=str(path))
        with pytest.raises(InputError, match=message):
            made.check_study(None, "classification", ("CN", "AD"))


def test_training_begins_with_the_stored_weights(blobs: Any, context: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    source = Small(seed=5)
    path = saved(tmp_path, source)
    model = Small()
    made = trainer(initial_weights=path, freeze=["block1"], epochs=1)
    result = made.train(model, blobs(CLASSES, 1), None, context(log=lines.append))
    assert torch.equal(model.block1[0].weight, source.block1[0].weight)
    assert result.info["initial_weights"]["not_loaded"] == ["fc.bias", "fc.weight"]
    assert lines[0] == f"fold 0: 14 tensors taken from {path}, last layer fc new"


def test_a_kept_regression_head_goes_on_in_years(blobs: Any, context: Any, tmp_path: Path) -> None:
    """Training on z-scores in between: with a rate of almost zero the network still gives what it gave before."""
    source = Small(outputs=1, seed=5)
    with torch.no_grad():
        source.fc.bias.fill_(70.0)
    model = Small(outputs=1)
    made = trainer(epochs=1, learning_rate=1e-12, initial_weights=saved(tmp_path, source), initial_head="keep")
    result = made.train(model, blobs(AGES, 1), None, context(task="regression", classes=None))
    assert result.info["target_scaling"]["mean"] == pytest.approx(72.5)
    assert torch.allclose(model.fc.bias, source.fc.bias, rtol=1e-4)
    assert torch.allclose(model.fc.weight, source.fc.weight, rtol=1e-4)


def test_the_head_is_the_layer_that_runs_last() -> None:
    class Reversed(Small):
        def __init__(self) -> None:
            super().__init__()
            self.aside = nn.Linear(4, 2)  # registered last, but never run

    model = Reversed().train()
    assert last_layer(model, torch.zeros(1, 1, 6, 7, 5)) == "fc"
    assert all(module.training for module in model.modules())
    assert int(model.block1[1].num_batches_tracked) == 0
    with pytest.raises(InputError, match="no linear or convolution layer runs"):
        last_layer(nn.Flatten(), torch.zeros(1, 1, 2, 2, 2))
