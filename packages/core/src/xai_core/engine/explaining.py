"""Explanations: computed on the network's grid, saved on the scan's, scored where the truth is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torchio as tio

from .. import registry
from ..config.resolve import bids_label
from ..errors import InputError, PluginError
from ..types import Attribution
from .attribution import attribute, check_untouched, fingerprint
from .calls import at_work
from .folds import FoldModel, training_key
from .hooks import Hooks
from .preprocessing import volume
from .progress import log, track
from .scans import image_of
from .seeding import seeded, unit_seed
from .spatial import to_scan_grid
from .study import Study, scan_name
from .units import Units, content_key
from .versions import slot_identity, software_versions

__all__ = ["Explanation", "drop_stale_maps", "explain_fold", "explain_subject", "map_path"]


@dataclass(frozen=True)
class Explanation:
    """One scan explained by one explainer.

    Attributes:
        image: Relevance as float32 NIfTI on the grid of the scan.
        sidecar: What the JSON file beside the map holds.
        attribution: A batch of one, on the network's grid.
    """

    image: nib.Nifti1Image
    sidecar: Mapping[str, Any]
    attribution: Attribution

    def save(self, path: Path) -> None:
        """Write the map (``.nii.gz``) and its sidecar (``.json``)."""
        nib.save(self.image, path)
        text = json.dumps(self.sidecar, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        path.with_suffix("").with_suffix(".json").write_text(text, encoding="utf-8")


def map_path(scan: str, explainer: str) -> Path:
    """Return where a map lies below ``derivatives``: ``sub-01/anat/sub-01_desc-lrp_relevance.nii.gz``."""
    return Path(*scan.split("_"), "anat", f"{scan}_desc-{bids_label(explainer)}_relevance.nii.gz")


def explain_subject(
    fold: FoldModel,
    slot: Mapping[str, Any],
    scan: tio.Subject,
    prepared: tio.Subject,
    *,
    seed: int,
    target: int | None = None,
    hooks: Hooks | None = None,
) -> Explanation:
    """Explain one scan with one explainer.

    Args:
        fold: The trained network.
        slot: ``{id, name, params}`` of the explainer.
        scan: The scan as it was read; its grid is the map's grid.
        prepared: The scan as the network sees it.
        seed: Seed of the run; the unit's own seed follows from it, the scan and the explainer.
        target: Index of the output to explain; None: the predicted class, or the regression output.
        hooks: Told before and after.
    """
    name = scan_name(scan)
    if hooks:
        hooks.call("xai_before_explain", model=fold.model, subject=prepared, explainer=slot["id"])
    volumes = volume(prepared)[None].to(fold.device)
    chosen = None if target is None else torch.tensor([target], device=fold.device)
    unit = unit_seed(seed, "explanation", name, slot["id"])
    try:
        attribution = attribute(fold.model, slot, volumes, chosen, unit, name)
    except InputError as error:
        raise type(error)(f"{name}, explainer {slot['id']}: {error}") from error
    if hooks:
        hooks.call("xai_explanation_computed", attribution=attribution, subject=prepared, explainer=slot["id"])
    relevance = attribution.relevance[0].detach().cpu().numpy()
    original = image_of(scan)
    on_scan = to_scan_grid(relevance, image_of(prepared).affine, original.spatial_shape, original.affine)
    sidecar = _sidecar(fold, slot, scan, prepared, attribution, on_scan)
    return Explanation(_nifti(on_scan, original), sidecar, attribution)


def _nifti(relevance: np.ndarray[Any, Any], scan: tio.ScalarImage) -> nib.Nifti1Image:
    """Put a map under the scan's own header where there is one: the same affine, the same code of the space."""
    data = relevance[0] if len(relevance) == 1 else np.moveaxis(relevance, 0, -1)
    path = scan.path
    affine = np.asarray(scan.affine)
    form = 1
    if isinstance(path, Path) and path.is_file() and path.name.endswith((".nii", ".nii.gz")):
        header = nib.load(path)
        if isinstance(header, nib.Nifti1Image) and np.allclose(header.affine, affine, atol=1e-4):
            affine = header.affine
            form = int(header.header["sform_code"]) or int(header.header["qform_code"]) or 1
    image = nib.Nifti1Image(np.ascontiguousarray(data, dtype=np.float32), affine)
    image.set_sform(affine, form)
    image.set_qform(affine, form)
    image.header.set_xyzt_units("mm")
    return image


def _sidecar(
    fold: FoldModel,
    slot: Mapping[str, Any],
    scan: tio.Subject,
    prepared: tio.Subject,
    attribution: Attribution,
    on_scan: np.ndarray[Any, Any],
) -> dict[str, Any]:
    target = int(attribution.target[0])
    info = registry.info("explainer", slot["name"])
    grids = [np.asarray(image_of(subject).affine)[:3, :3] for subject in (scan, prepared)]
    return {
        "scan_id": scan_name(scan),
        "subject_id": str(scan["subject_id"]),
        "session_id": scan.get("session_id"),
        "explainer_id": slot["id"],
        "explainer": info.qualified,
        "params": slot["params"],
        "fold": fold.index,
        "target": target,
        "target_name": fold.classes[target] if fold.classes is not None else "value",
        "output": float(attribution.output[0]),
        # Summed on the network's grid, where conservation holds; interpolation changes the sum by the voxels' ratio.
        "sum_of_relevance": float(attribution.relevance[0].double().sum()),
        "sum_on_scan_grid": float(on_scan.sum(dtype=np.float64)),
        "voxel_volume_ratio": float(abs(np.linalg.det(grids[0]) / np.linalg.det(grids[1]))),
        "network_grid": list(image_of(prepared).spatial_shape),
        "details": dict(attribution.details[0]) if attribution.details else {},
        "versions": {**software_versions(), info.package: info.version},
    }


def explain_fold(study: Study, units: Units, hooks: Hooks, index: int, load: Callable[[], FoldModel]) -> None:
    """Explain and score every test scan of a fold, as far as that is not done already."""
    config = study.config
    wanted = _wanted(study, index)
    todo = [where for where, keys in wanted.items() if not all(units.is_done(n, k) for n, k in keys.items())]
    if not todo:
        if wanted:
            log.info("fold %d: %d explanations are done already", index, len(wanted))
        return
    model = load()
    last: tuple[int, tio.Subject] | None = None
    for scan, position in track(todo, f"fold {index}: explaining"):
        if last is None or last[0] != scan:
            last = scan, model.preprocessing.prepare(study.subjects[scan])
        _explain_unit(study, units, hooks, model, scan, last[1], config["explainers"][position], wanted[scan, position])


def drop_stale_maps(study: Study, units: Units) -> None:
    """Remove maps and scores of networks that are no more and of people who are in no test part now.

    A changed study can move a person from the test to the training part; the old map would look like a result.
    """
    wanted = {
        unit for fold in range(len(study.folds)) for keys in _wanted(study, fold).values() for unit in keys.items()
    }
    removed = [name for group in ("maps", "evaluation") for name in units.keep_only(group, wanted)]
    if removed:
        log.info("removed %d maps and scores that belong to this study no more", len(removed))


def _wanted(study: Study, index: int) -> dict[tuple[int, int], dict[str, str]]:
    """Return name and key of the units of every test scan (its position) and explainer (its position) of a fold."""
    fold = study.folds[index]
    key = training_key(study, fold)
    return {
        (scan, position): _units_of(study, scan, slot, index, key)
        for scan in study.part(fold.test)
        for position, slot in enumerate(study.config["explainers"])
    }


def _units_of(study: Study, scan: int, slot: Mapping[str, Any], fold: int, training: str) -> dict[str, str]:
    """Return name and key of the map's unit and of each evaluator's for one scan and one explainer."""
    name = study.names[scan]
    map_key = content_key(
        training=training,
        scan=study.hashes[name],
        fold=fold,
        explainer=slot_identity("explainer", slot),
        id=slot["id"],
    )
    keys = {f"maps/{name}/{slot['id']}": map_key}
    for evaluator in study.config["evaluators"]:
        identity, truth = slot_identity("evaluator", evaluator), study.truth_hashes[scan]
        keys[_evaluation_unit(name, slot, evaluator)] = content_key(map=map_key, evaluator=identity, truth=truth)
    return keys


def _evaluation_unit(scan: str, slot: Mapping[str, Any], evaluator: Mapping[str, Any]) -> str:
    return f"evaluation/{evaluator['id']}/{scan}/{slot['id']}"


def _explain_unit(
    study: Study,
    units: Units,
    hooks: Hooks,
    model: FoldModel,
    scan: int,
    prepared: tio.Subject,
    slot: Mapping[str, Any],
    wanted: Mapping[str, str],
) -> None:
    name = study.names[scan]
    explanation = explain_subject(model, slot, study.subjects[scan], prepared, seed=study.config["seed"], hooks=hooks)
    unit = f"maps/{name}/{slot['id']}"
    if not units.is_done(unit, wanted[unit]):
        path = map_path(name, slot["id"])
        with units.make(unit, wanted[unit], str(Path("derivatives") / path.parent)) as folder:
            explanation.save(folder / path.name)
    for evaluator in study.config["evaluators"]:
        unit = _evaluation_unit(name, slot, evaluator)
        if not units.is_done(unit, wanted[unit]):
            scores = _scores(evaluator, model, prepared, explanation.attribution, study.config["seed"])
            row = {
                "scan_id": name,
                "subject_id": str(prepared["subject_id"]),
                "explainer": slot["id"],
                **scores,
            }
            with units.make(unit, wanted[unit], f".xai/{Path(unit).parent}") as folder:
                (folder / f"{slot['id']}.json").write_text(json.dumps(row), encoding="utf-8")


def _scores(
    evaluator: Mapping[str, Any], model: FoldModel, prepared: tio.Subject, attribution: Attribution, seed: int
) -> Mapping[str, float | None]:
    volumes = volume(prepared)[None].to(model.device)
    truth = prepared.get("ground_truth")
    masks = None
    if isinstance(truth, tio.Image):
        if truth.spatial_shape != image_of(prepared).spatial_shape:
            raise InputError(f"{prepared['subject_id']}: the ground-truth mask is not on the grid of the image.")
        masks = (truth.data[None] > 0).to(model.device)
    component = registry.create("evaluator", evaluator["name"], **evaluator["params"])
    where, before = f"The evaluator {evaluator['name']}", fingerprint(model.model)
    name = scan_name(prepared)
    doing, unit = f"scoring {name}", unit_seed(seed, "evaluation", name, evaluator["id"])
    with seeded(unit), at_work("evaluator", evaluator["name"], doing):
        rows = list(component.evaluate(model.model, volumes, attribution, masks))
    check_untouched(model.model, before, where)
    if len(rows) != 1:
        raise PluginError(f"{where} returned {len(rows)} rows for one volume.")
    try:
        return {key: None if value is None else float(value) for key, value in rows[0].items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise PluginError(f"{where} returned {rows[0]!r}, not scores by name (numbers, or None).") from error


def evaluation_rows(study: Study, folder: Path, evaluator: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the rows of an evaluator for every explained scan, in the order of folds, scans and explainers."""
    rows = []
    for fold in study.folds:
        for scan in study.part(fold.test):
            for slot in study.config["explainers"]:
                unit = _evaluation_unit(study.names[scan], slot, evaluator)
                path = folder / ".xai" / f"{unit}.json"
                rows.append(json.loads(path.read_text(encoding="utf-8")))
    return rows
