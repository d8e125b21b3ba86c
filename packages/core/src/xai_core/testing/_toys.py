"""Small components of every kind a run needs, so that the frame is tested without any plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor as FuturesExecutor
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import nibabel as nib
import numpy as np
import torch
import torchio as tio
from torch import Tensor, nn

from .. import registry
from ..interfaces import Analysis, Dataset, Evaluator, Executor, Explainer, Model, Report, Splitter, Trainer
from ..types import Attribution, Fold, RunContext, TrainingResult

if TYPE_CHECKING:
    import pandas as pd
    from torch.utils.data import Dataset as TorchDataset

    from ..engine.results import RunResults

__all__ = ["TOY_PIPELINE", "register_toys", "write_toy_study"]

TOY_PIPELINE = """version: 1
name: toy
seed: 3
device: cpu
output: results
data:
  name: toy
  params: {folder: study}
split: {name: toy, params: {folds: 2}}
model: {name: toy}
training: {name: toy, params: {epochs: 2}}
explainers:
  - {name: toy}
evaluators: [{name: toy}]
analyses: [{name: toy}]
reports: [{name: toy}]
"""


def write_toy_study(folder: Path, people: int = 8, shape: tuple[int, int, int] = (9, 10, 8)) -> None:
    """Write scans ``<folder>/<a|b><number>.nii.gz``: the b have a bright cube; flipped axes, off the origin."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (12, -15, -9)
    for person in range(people):
        values = np.random.default_rng(person).random(shape).astype(np.float32)
        name = f"{'ab'[person % 2]}{person}"
        if name.startswith("b"):
            values[2:5, 5:8, 2:4] += 1
        nib.save(nib.Nifti1Image(values, affine), folder / f"{name}.nii.gz")


def _schema(**properties: Any) -> Mapping[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


class ToyDataset(Dataset):
    """The NIfTI files of a folder; the first letter of the name is the class."""

    config_schema: ClassVar[Mapping[str, Any]] = {
        **_schema(folder={"type": "string", "format": "path", "description": "Folder of the scans."}),
        "required": ["folder"],
    }

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder)

    def subjects(self) -> Sequence[tio.Subject]:
        """Return one subject for each file."""
        return [
            tio.Subject(image=tio.ScalarImage(path), subject_id=path.name.partition(".")[0], target=path.name[0])
            for path in sorted(self.folder.glob("*.nii.gz"))
        ]


class ToySplitter(Splitter):
    """Every n-th person is tested."""

    config_schema = _schema(folds={"type": "integer", "minimum": 1, "default": 2, "description": "Number of folds."})

    def __init__(self, *, folds: int = 2) -> None:
        self.folds = folds

    def split(self, table: pd.DataFrame, seed: int) -> Sequence[Fold]:
        """Divide by the position in the table."""
        del seed
        people = list(dict.fromkeys(table["subject_id"]))
        pairs = [people[i : i + 2] for i in range(0, len(people), 2)]
        count = max(self.folds, 2)
        tests = [[p for i, pair in enumerate(pairs) if i % count == fold for p in pair] for fold in range(count)]
        rests = [[p for p in people if p not in test] for test in tests]
        return [Fold(tuple(r[1::2]), tuple(r[::2]), tuple(t)) for r, t in zip(rests, tests, strict=True)][: self.folds]


class ToyModel(Model):
    """One convolution."""

    config_schema = _schema(width={"type": "integer", "minimum": 1, "default": 2, "description": "Channels."})

    def __init__(self, *, width: int = 2) -> None:
        self.width = width

    def build(self, input_shape: tuple[int, int, int, int], outputs: int | None) -> nn.Module:
        """Return the network."""
        return nn.Sequential(
            nn.Conv3d(input_shape[0], self.width, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
            nn.Linear(self.width, outputs or 2),
        )  # fmt: skip


class ToyTrainer(Trainer):
    """Plain gradient descent."""

    config_schema = _schema(epochs={"type": "integer", "minimum": 1, "default": 2, "description": "Epochs."})

    def __init__(self, *, epochs: int = 2) -> None:
        self.epochs = epochs

    def train(
        self,
        model: nn.Module,
        train: TorchDataset[tuple[Tensor, Tensor]],
        validation: TorchDataset[tuple[Tensor, Tensor]] | None,
        context: RunContext,
    ) -> TrainingResult:
        """Train on all scans at once."""
        del validation
        sized: Any = train
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        volumes, targets = (torch.stack(part) for part in zip(*(sized[i] for i in range(len(sized))), strict=True))
        history: list[dict[str, float]] = []
        for epoch in range(self.epochs):
            output = model(volumes)
            loss = (
                nn.functional.cross_entropy(output, targets)
                if context.task == "classification"
                else nn.functional.mse_loss(output[:, 0], targets)
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            history.append({"epoch": epoch, "train_loss": float(loss.detach())})
            if not context.on_epoch(epoch, history[-1]):
                break
        return TrainingResult(history, len(history) - 1)


class ToyExplainer(Explainer):
    """Input times gradient."""

    config_schema = _schema(scale={"type": "number", "default": 1.0, "description": "Factor."})

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def explain(self, model: nn.Module, volumes: Tensor, target: Tensor | None) -> Attribution:
        """Return input times gradient."""
        with torch.enable_grad():
            x = volumes.detach().clone().requires_grad_()
            output = model(x)
            chosen = output.argmax(1) if target is None else target
            picked = output.gather(1, chosen[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(picked.sum(), x)
        return Attribution((x * gradient).detach() * self.scale, picked.detach(), chosen)


class ToyEvaluator(Evaluator):
    """Mean absolute relevance."""

    def evaluate(
        self, model: nn.Module, volumes: Tensor, attributions: Attribution, masks: Tensor | None
    ) -> Sequence[Mapping[str, float | None]]:
        """Return one score for each volume."""
        del model, volumes, masks
        return [{"mean": float(r.abs().mean())} for r in attributions.relevance]


class ToyAnalysis(Analysis):
    """Sums of relevance."""

    def analyse(self, run: RunResults, output: Path) -> None:
        """Write a table."""
        rows = [f"{m.scan_id}\t{m.sidecar['sum_of_relevance']!r}" for m in run.maps()]
        (output / "sums.tsv").write_text("scan_id\tsum\n" + "\n".join(rows) + "\n", encoding="utf-8")


class ToyReport(Report):
    """A text file."""

    def write(self, run: RunResults, output: Path) -> Path:
        """Write the number of maps."""
        page = output / "index.txt"
        page.write_text(f"{len(run.maps())} maps\n", encoding="utf-8")
        return page


class ToyExecutor(Executor):
    """Another process."""

    def build(self) -> FuturesExecutor:
        """Return a pool of one fresh process."""
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=register_toys)


def register_toys() -> None:
    """Register a component named ``toy`` of each kind in this process."""
    toys: Mapping[str, Any] = {
        "dataset": ToyDataset, "splitter": ToySplitter, "model": ToyModel, "trainer": ToyTrainer,
        "explainer": ToyExplainer, "evaluator": ToyEvaluator, "analysis": ToyAnalysis, "report": ToyReport,
        "executor": ToyExecutor,
    }  # fmt: skip
    for kind, component in toys.items():
        registry.register(kind, "toy", component)
