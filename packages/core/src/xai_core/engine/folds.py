"""One fold: training as a unit of work, its network from disk, its predictions."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchio as tio
from torch import Tensor, nn

from .. import registry
from ..errors import InputError, PluginError, RunError
from ..types import Fold, RunContext, TrainingResult
from .applying import unread_copy
from .attribution import check_explainers
from .building import build_model, check_own, check_stored, check_unchanged, own_files
from .calls import at_work
from .covariates import values_for_trainer
from .foldconfig import fold_config, fold_study
from .hooks import Hooks
from .leakfitted import fit_watched, note_people
from .mixing import apart
from .paramfiles import param_files
from .preprocessing import Preprocessing, TrainingVolumes, volume
from .progress import is_terminal, log, track
from .requests import full_precision
from .scans import image_of
from .seeding import seeded, unit_seed
from .study import Study
from .tensorfile import save_tensors
from .units import Units, content_key
from .versions import slot_identity, without_scoring

__all__ = ["FoldModel", "pick_device", "predict", "rows_identity", "train_fold", "training_key"]


def pick_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` means here.

    Raises:
        InputError: There is no such device; the message says what there is.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    usable = device.type in {t.partition(":")[0] for t in there} and (device.index is None or name in there)
    if not usable:
        raise InputError(
            f"device: {name} is not there. This machine has {', '.join(there)}. Write auto, or one of them."
        )
    return device


def training_key(study: Study, fold: Fold) -> str:
    """Return the key of a fold's training: everything that decides its weights."""
    study = fold_study(study, study.folds.index(fold))
    config = study.config
    scans = [
        [part, study.names[i], study.identities[i], study.subjects[i]["target"]]
        for part, people in (("train", fold.train), ("val", fold.val))
        for i in study.part(people)
    ]
    return content_key(
        scans=scans,
        covariates=values_for_trainer(study, [*study.part(fold.train), *study.part(fold.val)]),
        seed=config["seed"],
        device=pick_device(config["device"]).type,
        classes=study.classes,
        transforms=[slot_identity("transform", slot) for slot in config["data"]["transforms"]],
        model=slot_identity("model", config["model"]),
        training=slot_identity("trainer", without_scoring(config["training"])),
        torch=torch.__version__,
    )


def input_shape(study: Study, preprocessing: Preprocessing, indices: Sequence[int]) -> tuple[int, int, int, int]:
    """Return the shape (C, D, H, W) that every scan has after preprocessing.

    One scan of each original grid is tried, so that a study that does not fit together is refused before training.

    Raises:
        InputError: Scans come out with different shapes.
    """
    shapes: dict[tuple[int, ...], str] = {}
    grids: set[Any] = set()
    for index in indices:
        image = unread_copy(image_of(study.subjects[index]))  # several files are read to tell the shape
        grid = (image.shape, image.affine.round(3).tobytes())
        if grid in grids:
            continue
        grids.add(grid)
        prepared = preprocessing.cached(index, study.subjects[index])
        if study.config["explainers"]:
            preprocessing.check_geometry(index, study.subjects[index])
        shapes.setdefault(tuple(image_of(prepared).shape), study.names[index])
    if len(shapes) > 1:
        listed = "; ".join(f"{name}: {' x '.join(map(str, shape))}" for shape, name in list(shapes.items())[:4])
        raise InputError(
            f"After preprocessing the scans differ in shape ({listed}). Add a transform that gives one grid, such as "
            "crop-or-pad or mni-grid, to data.transforms."
        )
    c, d, h, w = next(iter(shapes))
    return c, d, h, w


def train_fold(study: Study, units: Units, hooks: Hooks, index: int) -> None:
    """Train one fold unless it is done already; its files appear in ``fold-<index>`` all at once."""
    fold = study.folds[index]
    key, name = training_key(study, fold), f"fold-{index}/training"
    study = fold_study(study, index)
    if units.is_done(name, key):
        log.info("fold %d: training is done already", index)
        units.forget_scratch(name)
        return
    seed = unit_seed(study.config["seed"], "training", index)
    with units.make(name, key, f"fold-{index}") as folder, seeded(seed):
        preprocessing = Preprocessing(study.config["data"]["transforms"], study.folder / ".xai" / "scans.json")
        train, val = study.part(fold.train), study.part(fold.val)
        fit_watched(study, preprocessing, fold)
        tested = study.part([*fold.test, *fold.held_out])
        shape = input_shape(study, preprocessing, [*train, *val, *tested])
        model = build_model(study.config["model"], shape, study.outputs)
        check_stored(study, shape, model, seed)
        hooks.call("xai_model_built", model=model, fold=index)
        check_explainers(
            study.config["explainers"], model, volume(preprocessing.cached(train[0], study.subjects[train[0]]))
        )
        context = RunContext(
            folder=folder, device=pick_device(study.config["device"]), seed=seed, task=study.task,
            classes=study.classes, fold=index, progress=is_terminal(), log=lambda line: log.info("%s", line),
            on_epoch=lambda epoch, scalars: _epoch(hooks, index, epoch, scalars), scratch=units.scratch(name, key),
        )  # fmt: skip
        slot = study.config["training"]
        log.info(
            "fold %d: training %s on %d scans, validating on %d",
            index,
            study.config["model"]["name"],
            len(train),
            len(val),
        )
        result = _train(
            slot,
            model,
            (
                TrainingVolumes(study, preprocessing, train, augment=True),
                TrainingVolumes(study, preprocessing, val, augment=False) if val else None,
            ),
            context,
        )
        hooks.call("xai_training_finished", model=model, fold=index, result=result, context=context)
        files = param_files("model", study.config["model"])
        about = {"input_shape": shape, "outputs": study.outputs, "model_files": files}
        _save(folder, model, preprocessing, result, about)
        note_people(folder, preprocessing, fold)
    units.forget_scratch(name)
    # The mean of the controls of an earlier training part must not be taken for this one's.
    (study.folder / f"fold-{index}" / "controls.pt").unlink(missing_ok=True)


def _train(
    slot: Mapping[str, Any],
    model: nn.Module,
    parts: tuple[TrainingVolumes, TrainingVolumes | None],
    context: RunContext,
) -> TrainingResult:
    with at_work("trainer", slot["name"], f"training fold {context.fold}"):
        result = registry.create("trainer", slot["name"], **slot["params"]).train(model, *parts, context)
    if not isinstance(result, TrainingResult):
        raise PluginError(
            f"The trainer {slot['name']} returned a {type(result).__name__}, not an xai_core.TrainingResult."
        )
    return result


def _epoch(hooks: Hooks, fold: int, epoch: int, scalars: Mapping[str, float]) -> bool:
    answers = hooks.call("xai_epoch_finished", fold=fold, epoch=epoch, scalars=scalars)
    return all(answer is not False for answer in answers)


def _save(
    folder: Path,
    model: nn.Module,
    preprocessing: Preprocessing,
    result: TrainingResult,
    shape: Mapping[str, Any],
) -> None:
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    broken = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise RunError(f"Training left NaN or infinite weights ({broken[0]}). Lower training.params.learning_rate.")
    save_tensors(state, folder / "checkpoint.pt")
    if preprocessing.learns:
        preprocessing.save(folder / "transforms.pt")
    (folder / "history.csv").write_text(history_csv(result.history), encoding="utf-8", newline="")
    about = {
        **shape, "best_epoch": result.best_epoch, "epochs": len(result.history), **result.info,
        "files": own_files(folder),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def history_csv(history: Sequence[Mapping[str, float]]) -> str:
    """Return the epochs as CSV; the columns are those of all epochs together."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return stream.getvalue()


@dataclass(frozen=True)
class FoldModel:
    """A trained network with the preprocessing that belongs to it.

    Attributes:
        index: Index of the fold.
        model: The network, in evaluation mode, on ``device``.
        preprocessing: The fold's fitted transforms.
        device: Where the network is.
        classes: Class names in the order of the logits, None for a regression.
        input_shape: (C, D, H, W) of the volumes that it was trained on.
        controls: Mean of the training part's controls, float32 [C, D, H, W]; None where no explainer asked for it.
    """

    index: int
    model: nn.Module
    preprocessing: Preprocessing
    device: torch.device
    classes: tuple[str, ...] | None
    input_shape: tuple[int, ...]
    controls: Tensor | None = None

    @classmethod
    def load(cls, config: Mapping[str, Any], folder: Path, index: int, classes: Sequence[str] | None) -> FoldModel:
        """Load a fold of a run folder.

        Raises:
            InputError: The fold is not trained, or its checkpoint does not fit the configured model.
        """
        path, config = folder / f"fold-{index}", fold_config(config, index)
        if not (path / "checkpoint.pt").is_file():
            trained = sorted(p.parent.name for p in folder.glob("fold-*/checkpoint.pt"))
            raise InputError(f"{folder} has no trained fold {index}. Trained: {', '.join(trained) or 'none'}.")
        about = json.loads((path / "training.json").read_text(encoding="utf-8"))
        slot = config["model"]
        check_unchanged(slot, about.get("model_files", {}), path)
        check_own(path, about.get("files"))
        with seeded(0):
            model = build_model(slot, tuple(about["input_shape"]), about["outputs"])
        try:
            model.load_state_dict(torch.load(path / "checkpoint.pt", map_location="cpu", weights_only=True))
        except Exception as error:
            raise InputError(f"{path / 'checkpoint.pt'} does not fit the model {slot['name']}: {error}") from error
        preprocessing = Preprocessing(config["data"]["transforms"], folder / ".xai" / "scans.json")
        if (path / "transforms.pt").is_file():
            preprocessing.load(path / "transforms.pt")
        device = pick_device(config["device"])
        model = model.to(device).eval()
        names = tuple(classes) if classes is not None else None
        controls = path / "controls.pt"
        mean = torch.load(controls, weights_only=True) if controls.is_file() else None
        return cls(index, model, preprocessing, device, names, tuple(about["input_shape"]), mean)

    def outputs(self, prepared: Sequence[tio.Subject]) -> Tensor:
        """Return float32 [N, outputs] on the CPU for prepared scans, of each as if it were alone."""
        volumes = torch.stack([volume(subject) for subject in prepared]).to(self.device)
        with full_precision(self.device):
            parts = apart(self.model, volumes)
        with torch.inference_mode():
            results = [self.model(part) for part in parts]
        wrong = [result for result in results if not isinstance(result, Tensor) or result.ndim != 2]
        if wrong:
            raise PluginError(f"The network returned {type(wrong[0]).__name__}; it must return a tensor [N, outputs].")
        return torch.cat(results).float().cpu()

    def row(self, output: Tensor) -> dict[str, Any]:
        """Return prediction and class probabilities for one row of ``outputs``."""
        if self.classes is None:
            return {"prediction": float(output[0])}
        probabilities = torch.softmax(output.double(), 0).tolist()
        best = max(range(len(self.classes)), key=probabilities.__getitem__)
        named = {f"probability_{name}": p for name, p in zip(self.classes, probabilities, strict=True)}
        return {"prediction": self.classes[best], **named}


def rows_identity(study: Study, index: int, indices: Sequence[int]) -> list[list[Any]]:
    """Return what decides a fold's rows of ``predict`` besides the network: a corrected site must not stay in them."""
    study = fold_study(study, index)
    return [
        [study.names[i], study.identities[i], *(study.subjects[i].get(key) for key in ("target", "session_id", "site"))]
        for i in indices
    ]


def predict(study: Study, fold_model: FoldModel, indices: Sequence[int], batch_size: int = 4) -> list[dict[str, Any]]:
    """Predict scans of a study, one row each, in their order."""
    rows: list[dict[str, Any]] = []
    batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    for batch in track(batches, f"fold {fold_model.index}: predicting {len(indices)} scans in batches"):
        prepared = [fold_model.preprocessing.cached(i, study.subjects[i]) for i in batch]
        for index, output in zip(batch, fold_model.outputs(prepared), strict=True):
            subject = study.subjects[index]
            about: dict[str, Any] = {"scan_id": study.names[index], "subject_id": str(subject["subject_id"])}
            about |= {key: subject.get(key) for key in ("session_id", "site")}
            rows.append({"fold": fold_model.index, **about, "target": subject["target"], **fold_model.row(output)})
    return rows
