"""Training: it learns, it is reproducible, it keeps the best weights, and it stops when asked to."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from xai_core import InputError, RunError
from xai_core.registry import create

CLASSES = torch.tensor([0, 1] * 9)
AGES = torch.linspace(55, 90, 24)


def trainer(**params):
    return create("trainer", "lightning", **params)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal_weights(first, second):
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_classification_is_learned_and_described(blobs, network, context):
    model, ctx = network(2), context()
    result = trainer(epochs=12, learning_rate=0.02).train(model, blobs(CLASSES, 1), blobs(CLASSES, 2), ctx)
    unseen = blobs(CLASSES, 3)
    with torch.no_grad():
        predicted = model(torch.stack([unseen[i][0] for i in range(len(unseen))])).argmax(1)
    assert (predicted == CLASSES).float().mean() > 0.9
    assert [row["epoch"] for row in result.history] == list(range(12))
    assert set(result.history[0]) == {
        "epoch", "train_loss", "val_loss", "val_balanced_accuracy", "val_auc", "learning_rate",
    }  # fmt: skip
    assert (ctx.folder / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert list((ctx.folder / "tensorboard").glob("events.out.tfevents.*"))
    assert not model.training
    assert all(p.grad is None for p in model.parameters())


def test_two_trainings_give_the_same_bits(blobs, network, context):
    results, models = [], []
    for scramble in (1, 2):
        torch.manual_seed(scramble)  # what ran before must not matter
        model = network(2, dropout=0.3)
        train = blobs(CLASSES, 1, noise=0.5)
        torch.rand(scramble)
        results.append(trainer(epochs=3).train(model, train, blobs(CLASSES, 2), context()))
        models.append(model)
    assert_equal_weights(*models)
    assert results[0].history == results[1].history
    other = network(2, dropout=0.3)
    trainer(epochs=3).train(other, blobs(CLASSES, 1, noise=0.5), blobs(CLASSES, 2), context(seed=8))
    assert not torch.equal(other[0].weight, models[0][0].weight)


def test_workers_do_not_change_the_result(blobs, network, context):
    models = []
    for workers in (0, 2):
        model = network(2, dropout=0.3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other libraries' threads and fork
            trainer(epochs=2, workers=workers).train(model, blobs(CLASSES, 1, noise=0.5), None, context())
        models.append(model)
    assert_equal_weights(*models)


def test_every_epoch_has_its_own_order_and_noise(blobs, network, context):
    class Spy(blobs):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            seen.append((index, float(item[0].sum())))
            return item

    seen: list[tuple[int, float]] = []
    train = Spy(CLASSES, 1, noise=0.5)
    train.targets = CLASSES
    trainer(epochs=2, batch_size=6).train(network(2), train, None, context())
    first, second = seen[:18], seen[18:]
    assert sorted(i for i, _ in first) == sorted(i for i, _ in second) == list(range(18))
    assert [i for i, _ in first] != [i for i, _ in second]
    assert all(first_sum != dict(second)[i] for i, first_sum in first)


def test_best_weights_are_kept(blobs, network, context):
    """A learning rate far too high makes validation worse: the weights are those of the best epoch."""
    model, val = network(2), blobs(CLASSES, 2)
    result = trainer(epochs=6, learning_rate=0.5, optimizer="sgd").train(model, blobs(CLASSES, 1), val, context())
    losses = [row["val_loss"] for row in result.history]
    assert result.best_epoch == losses.index(min(losses))
    assert result.best_epoch < 5, "the case must have its best epoch before the last"
    volumes = torch.stack([val[i][0] for i in range(len(val))])
    with torch.no_grad():
        loss = float(F.cross_entropy(model(volumes), CLASSES))
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_without_validation_the_last_epoch_is_kept(blobs, network, context):
    for validation in (None, blobs(CLASSES[:0], 2)):
        result = trainer(epochs=3).train(network(2), blobs(CLASSES, 1), validation, context())
        assert result.best_epoch == 2
        assert set(result.history[0]) == {"epoch", "train_loss", "learning_rate"}


def test_weights_load_safely_elsewhere(blobs, network, context, tmp_path):
    model = network(2)
    trainer(epochs=1).train(model, blobs(CLASSES, 1), None, context())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = network(2, seed=5)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert_equal_weights(model, other)


def test_early_stopping_waits_for_its_patience(blobs, network, context):
    """The validation volumes contradict their labels, so that validation gets worse as training goes on."""
    result = trainer(epochs=30, learning_rate=0.05, early_stopping=2).train(
        network(2), blobs(CLASSES, 1), blobs(CLASSES, 2, strength=-1.0), context()
    )
    assert len(result.history) == result.best_epoch + 3
    assert len(result.history) < 30


def test_hook_stops_training(blobs, network, context):
    seen = []

    def on_epoch(epoch, scalars):
        seen.append((epoch, dict(scalars)))
        return epoch < 1

    result = trainer(epochs=9).train(network(2), blobs(CLASSES, 1), blobs(CLASSES, 2), context(on_epoch=on_epoch))
    assert [epoch for epoch, _ in seen] == [0, 1]
    assert [{"epoch": epoch, **scalars} for epoch, scalars in seen] == list(result.history)


def test_exception_of_a_hook_comes_through(blobs, network, context):
    def on_epoch(epoch, scalars):
        raise ZeroDivisionError("of the hook")

    with pytest.raises(ZeroDivisionError, match="of the hook"):
        trainer(epochs=2).train(network(2), blobs(CLASSES, 1), None, context(on_epoch=on_epoch))


def test_interrupt_is_not_swallowed(blobs, network, context):
    """Lightning turns Ctrl-C into SystemExit and leaves SIGINT ignored; neither may reach the run."""

    def on_epoch(epoch, scalars):
        os.kill(os.getpid(), signal.SIGINT)
        return True

    assert threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trainer(epochs=5).train(network(2), blobs(CLASSES, 1), None, context(on_epoch=on_epoch))
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize(("scans", "batch_size", "expected"), [(9, 4, 8), (8, 4, 8), (10, 4, 10), (3, 1, 3), (2, 4, 2)])
def test_only_a_last_batch_of_one_is_left_out(blobs, network, context, scans, batch_size, expected):
    sizes = []
    model = network(2)
    model[0].register_forward_hook(lambda _module, args, _output: sizes.append(len(args[0])))
    trainer(epochs=1, batch_size=batch_size).train(model, blobs(CLASSES[:scans], 1), None, context())
    assert sum(sizes) == expected


def test_class_weights_act_in_batches_of_one(context):
    """Batches of one: a constant model's bias settles where both classes weigh the same, not at 3 to 1."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(2))

        def forward(self, volumes):
            return self.bias.expand(len(volumes), 2)

    targets = torch.tensor([0, 0, 0, 1] * 4)
    data = torch.utils.data.TensorDataset(torch.zeros(16, 1, 2, 2, 2), targets)
    params = {"epochs": 30, "batch_size": 1, "learning_rate": 0.02}
    shares = {}
    for class_weights in ("balanced", "none"):
        model = Constant()
        result = trainer(**params, class_weights=class_weights).train(model, data, None, context())
        shares[class_weights] = float(torch.softmax(model.bias.detach(), 0)[1])
    assert shares["balanced"] == pytest.approx(0.5, abs=0.06)
    assert shares["none"] == pytest.approx(0.25, abs=0.06)
    assert "class_weights" not in result.info


def test_losses_in_the_history_are_those_of_the_whole_part(blobs, network, context):
    """One epoch with a learning rate of almost zero: the losses can be worked out from the untouched model."""
    targets = torch.tensor([0] * 7 + [1] * 3)
    model, val = network(2), blobs(targets, 2)
    result = trainer(epochs=1, learning_rate=1e-12, batch_size=4).train(model, blobs(CLASSES, 1), val, context())
    with torch.no_grad():
        logits = model(torch.stack([val[i][0] for i in range(len(val))]))
    expected = F.cross_entropy(logits, targets)  # balanced training classes: weights of one
    assert result.history[0]["val_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert result.info["class_weights"] == [1.0, 1.0]


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_regression_gives_years(blobs, network, context, loss):
    """Steps of 0.01 in 20 epochs could not move a bias from 0 to 72 years."""
    model, ctx = network(1), context(task="regression", classes=None)
    params = {"epochs": 20, "learning_rate": 0.01, "loss": loss}
    result = trainer(**params).train(model, blobs(AGES, 1), blobs(AGES, 2), ctx)
    unseen = blobs(AGES, 3)
    with torch.no_grad():
        predicted = model(torch.stack([unseen[i][0] for i in range(len(unseen))]))[:, 0]
    error = float((predicted - AGES).abs().mean())
    assert error < 6, "the mean alone would give 9.1 years"
    assert result.info["target_scaling"]["mean"] == pytest.approx(72.5)
    best = result.history[result.best_epoch]
    val = blobs(AGES, 2)
    with torch.no_grad():
        predicted = model(torch.stack([val[i][0] for i in range(len(val))]))[:, 0]
    assert best["val_mae"] == pytest.approx(float((predicted - AGES).abs().mean()), rel=1e-4)


def test_untrained_regression_starts_at_the_mean(blobs, network, context):
    model, ctx = network(1), context(task="regression", classes=None)
    before = state(model)
    trainer(epochs=1, learning_rate=1e-12).train(model, blobs(AGES, 1), None, ctx)
    std = float(AGES.double().std(correction=0))
    assert torch.allclose(model[-1].weight, before["6.weight"] * std, rtol=1e-4)
    assert torch.allclose(model[-1].bias, before["6.bias"] * std + 72.5, rtol=1e-4)


@pytest.mark.parametrize("after", [torch.sigmoid, torch.relu, lambda values: values.clamp(-50, 120)])
def test_a_head_that_is_not_the_last_step_is_not_rescaled(blobs, context, after):
    """Also where what comes after does not change this output: z-scores may be where it does."""

    class Squashed(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6 * 7 * 5, 1)
            nn.init.constant_(self.head.weight, 1e-3)
            nn.init.constant_(self.head.bias, 5)

        def forward(self, volumes):
            return after(self.head(volumes.flatten(1)))

    lines: list[str] = []
    model, ctx = Squashed(), context(task="regression", classes=None, log=lines.append)
    before = state(model)
    result = trainer(epochs=1, learning_rate=1e-12).train(model, blobs(AGES, 1), None, ctx)
    assert "target_scaling" not in result.info
    assert torch.allclose(model.head.weight, before["head.weight"])
    assert "not standardised" in lines[0]


def test_fine_tuning_keeps_the_units(blobs, network, context):
    model, ctx = network(1), context(task="regression", classes=None)
    before = state(model)
    trainer(epochs=1, learning_rate=1e-12, target_scaling="none").train(model, blobs(AGES, 1), None, ctx)
    assert torch.allclose(model[-1].bias, before["6.bias"])


def test_schedulers(blobs, network, context):
    rates = {}
    for scheduler in ("none", "cosine", "one-cycle"):
        params = {"epochs": 4, "learning_rate": 0.01, "scheduler": scheduler, "accumulate": 2, "gradient_clip": 1.0}
        result = trainer(**params).train(network(2), blobs(CLASSES, 1), None, context())
        rates[scheduler] = [row["learning_rate"] for row in result.history]
    assert rates["none"] == [0.01] * 4
    assert rates["cosine"] == pytest.approx([0.01, 0.008535533906, 0.005, 0.001464466094])  # (1 + cos(pi e / 4)) / 2
    assert rates["one-cycle"][0] == pytest.approx(0.01 / 25)  # torch's initial division factor
    assert max(rates["one-cycle"]) > 0.008


def test_one_cycle_of_one_step(blobs, network, context):
    params = {"epochs": 1, "batch_size": 8, "scheduler": "one-cycle"}
    trainer(**params).train(network(2), blobs(CLASSES[:4], 1), None, context())


def test_one_log_line_an_epoch(blobs, network, context):
    lines: list[str] = []
    trainer(epochs=2).train(network(2), blobs(CLASSES, 1), blobs(CLASSES, 2), context(fold=3, log=lines.append))
    assert len(lines) == 2
    assert lines[0].startswith("fold 3 epoch 1/2 train_loss ")
    assert " val_loss " in lines[0]
    assert lines[0].endswith(" s)")


def test_quiet_and_leaves_nothing_behind(tmp_path):
    """A whole process: no notes of Lightning, no warnings, no folders where the user stands."""
    program = """
        import torch
        from pathlib import Path
        from xai_core import RunContext
        from xai_core.registry import create
        data = torch.utils.data.TensorDataset(torch.randn(6, 1, 4, 4, 4), torch.tensor([0, 1] * 3))
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        Path("fold").mkdir()
        context = RunContext(Path("fold"), torch.device("cpu"), 1, "classification", ("a", "b"))
        create("trainer", "lightning", epochs=2).train(model, data, data, context)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert {p.name for p in tmp_path.iterdir()} == {"fold"}
    assert {p.name for p in (tmp_path / "fold").iterdir()} == {"curves.png", "tensorboard"}


def test_progress_bar_only_where_asked(blobs, network, context, capfd):
    lines: list[str] = []
    trainer(epochs=1).train(network(2), blobs(CLASSES, 1), None, context(progress=True, log=lines.append))
    shown = capfd.readouterr()
    assert "Epoch 0" in shown.out + shown.err
    assert lines == []


class TestBadInput:
    def test_not_finite_loss(self, blobs, network, context):
        model = nn.Sequential(nn.Flatten(), nn.Linear(6 * 7 * 5, 2))
        message = r"fold 1 failed: the training loss became (nan|inf) in epoch 1 of 3.*intensities.*\(1e\+38\)"
        with pytest.raises(RunError, match=message):
            trainer(epochs=3, learning_rate=1e38, optimizer="sgd").train(
                model, blobs(CLASSES, 1), None, context(fold=1)
            )

    def test_not_finite_voxels(self, blobs, network, context):
        train = blobs(CLASSES, 1)
        train._volumes[3, 0, 0, 0, 0] = float("nan")
        with pytest.raises(RunError, match="voxels that are not finite"):
            trainer(epochs=1).train(network(2), train, None, context())

    def test_class_missing_in_training(self, blobs, network, context):
        with pytest.raises(InputError, match="fold 2 has no scan of class AD"):
            trainer().train(network(2), blobs(torch.zeros(6, dtype=torch.int64), 1), None, context(fold=2))

    def test_outputs_do_not_fit(self, blobs, network, context):
        with pytest.raises(InputError, match=r"shape \[4, 3\].*classes CN, AD"):
            trainer().train(network(3), blobs(CLASSES, 1), None, context())

    def test_early_stopping_without_validation(self, blobs, network, context):
        with pytest.raises(InputError, match=r"early_stopping: 3 needs validation people, but fold 0 has none"):
            trainer(early_stopping=3).train(network(2), blobs(CLASSES, 1), None, context())

    def test_monitor_of_the_other_task(self, blobs, network, context):
        with pytest.raises(InputError, match="val_mae is not defined for a classification"):
            trainer(monitor="val_mae").train(network(2), blobs(CLASSES, 1), None, context())

    def test_auc_needs_both_classes(self, blobs, network, context):
        val = blobs(torch.zeros(4, dtype=torch.int64), 2)
        with pytest.raises(InputError, match="no validation scan is of class AD"):
            trainer(monitor="val_auc").train(network(2), blobs(CLASSES, 1), val, context())

    def test_equal_targets(self, blobs, network, context):
        ctx = context(task="regression", classes=None)
        with pytest.raises(InputError, match="All 5 training targets of fold 0 are 70"):
            trainer().train(network(1), blobs(torch.full((5,), 70.0), 1), None, ctx)


def test_monitor_takes_the_higher_score_and_breaks_ties_by_loss(blobs, network, context):
    result = trainer(epochs=10, learning_rate=0.02, monitor="val_balanced_accuracy").train(
        network(2, seed=3), blobs(CLASSES, 1, strength=0.2), blobs(CLASSES, 2, strength=0.2), context()
    )
    best = max(result.history, key=lambda row: (row["val_balanced_accuracy"], -row["val_loss"]))
    assert result.best_epoch == best["epoch"]
    assert best["val_balanced_accuracy"] > result.history[0]["val_balanced_accuracy"]


def test_history_can_be_written_as_csv(blobs, network, context, tmp_path: Path):
    """A validation part of one class has no AUC: the cell is nan, and the column stays."""
    val = blobs(torch.zeros(4, dtype=torch.int64), 2)
    result = trainer(epochs=1).train(network(2), blobs(CLASSES, 1), val, context())
    with (tmp_path / "history.csv").open("w") as file:
        writer = csv.DictWriter(file, list(result.history[0]))
        writer.writeheader()
        writer.writerows(result.history)
    assert "nan" in (tmp_path / "history.csv").read_text(encoding="utf-8")
