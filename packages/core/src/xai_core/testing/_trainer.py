"""The suite for trainers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from ..engine.seeding import seeded
from ..types import RunContext, Task, TrainingResult
from ._base import ComponentConformance
from ._networks import TinyConvNet

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TrainerConformance"]

TASKS: Sequence[tuple[Task, Sequence[str] | None]] = (("classification", ("dark", "bright")), ("regression", None))


class _Toy(TorchDataset[tuple[Tensor, Tensor]]):
    """Two classes of volumes that differ in brightness; a regression has the brightness as its target."""

    def __init__(self, number: int, task: str, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(number) % 2
        noise = torch.rand((number, 1, 8, 9, 7), generator=generator)
        self.volumes = noise + labels[:, None, None, None, None]
        self.targets = labels if task == "classification" else labels.float() * 10 + 50

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.volumes[index], self.targets[index]


def predictions(classes: Sequence[str] | None, number: int, seed: int) -> pd.DataFrame:
    """Return made-up predictions of two folds, somewhat better than chance."""
    import pandas as pd

    generator = torch.Generator().manual_seed(seed)
    labels, noise = torch.arange(number) % 2, torch.randn(number, generator=generator).double()
    people = [f"p{seed}-{index}" for index in range(number)]
    about = {"fold": [index // 2 % 2 for index in range(number)], "scan_id": people, "subject_id": people}
    if classes is None:
        target = 50 + 20 * torch.rand(number, generator=generator).double()
        return pd.DataFrame({**about, "target": target.tolist(), "prediction": (0.6 * target + 24 + noise).tolist()})
    p = torch.sigmoid(2 * labels - 1 + noise).tolist()
    columns = {f"probability_{classes[0]}": [1 - value for value in p], f"probability_{classes[1]}": p}
    told = [classes[int(value > 0.5)] for value in p]
    return pd.DataFrame({**about, "target": [classes[i] for i in labels], "prediction": told, **columns})


class TrainerConformance(ComponentConformance):
    """Checks for trainers; give ``params`` that train for two or three epochs."""

    kind = "trainer"

    def fit(
        self,
        folder: Path,
        task: str = "classification",
        validation: bool = True,
        on_epoch: Callable[[int, Mapping[str, float]], bool] = lambda _epoch, _scalars: True,
    ) -> tuple[nn.Module, TrainingResult]:
        """Train the small network on toy data."""
        folder.mkdir(parents=True, exist_ok=True)
        classes = ("dark", "bright") if task == "classification" else None
        context = RunContext(
            folder=folder, device=torch.device("cpu"), seed=5, task=task, classes=classes, on_epoch=on_epoch  # type: ignore[arg-type]
        )  # fmt: skip
        model = TinyConvNet(outputs=2 if classes else 1)
        with seeded(5):
            result = self.create().train(model, _Toy(12, task, 1), _Toy(6, task, 2) if validation else None, context)
        assert isinstance(result, TrainingResult), f"train returned {type(result).__name__}"
        return model, result

    def test_trains_both_tasks(self, tmp_path: Path) -> None:
        """Weights change and stay finite; the history has one row for each epoch."""
        for task in ("classification", "regression"):
            start = TinyConvNet(outputs=2 if task == "classification" else 1).state_dict()
            model, result = self.fit(tmp_path / task, task)
            changed = [n for n, p in model.named_parameters() if not torch.equal(p.detach().cpu(), start[n])]
            assert changed, f"{task}: no parameter changed"
            assert all(bool(p.isfinite().all()) for p in model.parameters()), f"{task}: weights are NaN"
            epochs = [row.get("epoch") for row in result.history]
            assert epochs == list(range(len(epochs))), f"{task}: the history's epochs are {epochs}"
            assert epochs, f"{task}: the history is empty"
            losses = [row["train_loss"] for row in result.history]
            assert all(math.isfinite(loss) for loss in losses), f"{task}: the losses are {losses}"
            assert 0 <= result.best_epoch < len(epochs), f"{task}: best epoch {result.best_epoch} of {len(epochs)}"

    def test_trains_without_validation(self, tmp_path: Path) -> None:
        """A study may have no validation part."""
        _, result = self.fit(tmp_path, validation=False)
        assert result.history, "the history is empty"

    def test_same_seed_same_weights(self, tmp_path: Path) -> None:
        """Two trainings with one seed give the same weights to the bit on the CPU."""
        first, second = (self.fit(tmp_path / str(i))[0].state_dict() for i in range(2))
        different = [name for name in first if not torch.equal(first[name], second[name])]
        assert not different, f"two trainings with one seed differ: {different[:3]}"

    def test_stops_when_told(self, tmp_path: Path) -> None:
        """``on_epoch`` is called after each epoch, and False ends the training."""
        seen: list[int] = []

        def stop(epoch: int, scalars: Mapping[str, float]) -> bool:
            assert "train_loss" in scalars, f"on_epoch got {sorted(scalars)}"
            seen.append(epoch)
            return False

        _, result = self.fit(tmp_path, on_epoch=stop)
        assert seen == [0], f"on_epoch returned False, and was called for the epochs {seen}"
        assert len(result.history) == 1, f"{len(result.history)} epochs after on_epoch returned False"

    def test_scores_and_tables_can_be_written(self) -> None:
        """``metrics`` can be saved as JSON, without NaN; ``tables`` are tables; neither changes the predictions."""
        for task, classes in TASKS:
            made = predictions(classes, 20, 1)
            before = made.copy()
            scores = self.create().metrics(made, task, classes, 3)
            try:
                json.dumps(scores, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"{task}: metrics cannot be written as JSON: {error}") from error
            wrong = [
                name
                for name, score in scores.items()
                if isinstance(score, Mapping)
                and "value" in score
                and not isinstance(score["value"], int | float | None)
            ]
            assert not wrong, f"{task}: the value of {wrong[0]} is no number"
            tables = self.create().tables(made, task, classes, 3)
            kinds = {name: type(table).__name__ for name, table in tables.items()}
            assert set(kinds.values()) <= {"DataFrame"}, f"{task}: tables returned {kinds}"
            assert made.equals(before), f"{task}: metrics or tables changed the predictions"

    def test_calibrates_by_adding_columns(self) -> None:
        """``calibrate`` keeps rows and columns, and a scan's new ones do not depend on the other test scans."""
        for task, classes in TASKS:
            validation, made = predictions(classes, 40, 1), predictions(classes, 20, 2)
            before = made.copy()
            found = self.create().calibrate(validation, made, task, classes)
            same = set(before.columns) <= set(found.columns) and found[list(before.columns)].equals(before)
            assert same, f"{task}: calibrate changed the predictions; it may only add columns"
            part = self.create().calibrate(validation, before.iloc[:7].copy(), task, classes)
            learnt = [name for name in found if not found[name].iloc[:7].equals(part[name])]
            assert not learnt, f"{task}: {learnt[0]} depends on the other test scans; learn from validation scans only"
            empty = self.create()
            if empty.validation_needed(task) == 0:
                none = empty.calibrate(validation.iloc[:0], before.copy(), task, classes)
                assert len(none) == len(before), f"{task}: without a validation part calibrate lost rows"
