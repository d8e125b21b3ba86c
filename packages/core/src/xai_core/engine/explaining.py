"""Explanations: computed on the network's grid, saved on the scan's, scored where the truth is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torchio as tio

from .. import registry
from ..config.resolve import bids_label
from ..errors import InputError
from ..types import Attribution
from .attribution import attribute
from .folds import FoldModel
from .hooks import Hooks
from .imagefiles import first_file
from .mapplot import MapOfScan
from .preprocessing import volume
from .scans import image_of, paths_of
from .seeding import unit_seed
from .spatial import to_scan_grid
from .study import scan_name
from .versions import software_versions

__all__ = ["Explanation", "attribute_subject", "explain_subject", "map_path", "on_scan_grid", "unexplained_share"]


@dataclass(frozen=True)
class Explanation(MapOfScan):
    """One scan explained by one explainer.

    Attributes:
        image: Relevance as float32 NIfTI on the grid of the scan.
        sidecar: What the JSON file beside the map holds.
        attribution: A batch of one, on the network's grid.
        scan: What is explained (its first channel), on the grid of ``image``; None: not kept.
    """

    attribution: Attribution

    def save(self, path: Path) -> None:
        """Write the map (``.nii.gz``) and its sidecar (``.json``)."""
        nib.save(self.image, path)
        text = json.dumps(self.sidecar, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        path.with_suffix("").with_suffix(".json").write_text(text, encoding="utf-8")


def unexplained_share(sidecar: Mapping[str, Any]) -> float | None:
    """Return what share of a map's relevance is missing; None where the explainer promises no sum.

    With a law of conservation it is what neither voxels nor biases nor epsilon have; with completeness (integrated
    gradients) what the sum misses of output - baseline output.
    """
    share = (sidecar.get("conservation") or {}).get("unexplained_share")
    if share is not None:
        return float(share)
    details = sidecar.get("details") or {}
    delta, baseline = details.get("convergence_delta"), details.get("baseline_output")
    if delta is None or baseline is None or sidecar["output"] == baseline:
        return None
    return -float(delta) / (float(sidecar["output"]) - float(baseline))


def map_path(scan: str, explainer: str, fold: int | None = None) -> Path:
    """Return where a map lies below ``derivatives``: ``sub-01/anat/sub-01_desc-lrp_relevance.nii.gz``.

    Args:
        scan: BIDS name of the scan.
        explainer: Id of the explainer.
        fold: Where several folds test a person, whose network is explained: ``desc-lrpFold3``.
    """
    label = bids_label(explainer) + ("" if fold is None else f"Fold{fold}")
    return Path(*scan.split("_"), "anat", f"{scan}_desc-{label}_relevance.nii.gz")


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
    attribution = attribute_subject(fold, slot, prepared, seed=seed, target=target, hooks=hooks)
    return on_scan_grid(fold, slot, scan, prepared, attribution)


def attribute_subject(
    fold: FoldModel,
    slot: Mapping[str, Any],
    prepared: tio.Subject,
    *,
    seed: int,
    target: int | None = None,
    hooks: Hooks | None = None,
) -> Attribution:
    """Return the relevance of one scan on the network's grid; see ``explain_subject``."""
    name = scan_name(prepared)
    if hooks:
        hooks.call("xai_before_explain", model=fold.model, subject=prepared, explainer=slot["id"])
    volumes = volume(prepared)[None].to(fold.device)
    chosen = None if target is None else torch.tensor([target], device=fold.device)
    unit = unit_seed(seed, "explanation", name, slot["id"])
    try:
        attribution = attribute(fold.model, slot, volumes, chosen, unit, name, fold.controls)
    except InputError as error:
        raise type(error)(f"{name}, explainer {slot['id']}: {error}") from error
    if hooks:
        hooks.call("xai_explanation_computed", attribution=attribution, subject=prepared, explainer=slot["id"])
    return attribution


def on_scan_grid(
    fold: FoldModel, slot: Mapping[str, Any], scan: tio.Subject, prepared: tio.Subject, attribution: Attribution
) -> Explanation:
    """Bring relevance to the grid of the scan. Draws no random numbers and runs no network."""
    relevance = attribution.relevance[0].detach().cpu().numpy()
    original = image_of(scan)
    on_scan = to_scan_grid(relevance, image_of(prepared).affine, original.spatial_shape, original.affine)
    sidecar = _sidecar(fold, slot, scan, prepared, attribution, on_scan)
    return Explanation(_nifti(on_scan, original), sidecar, attribution)


def _nifti(relevance: np.ndarray[Any, Any], scan: tio.ScalarImage) -> nib.Nifti1Image:
    """Put a map under the scan's own header where there is one: the same affine, the same code of the space."""
    data = relevance[0] if len(relevance) == 1 else np.moveaxis(relevance, 0, -1)
    path = first_file(scan)
    affine = np.asarray(scan.affine)
    form = 1
    if path is not None and path.is_file() and path.name.endswith((".nii", ".nii.gz")):
        header = nib.load(path)
        if isinstance(header, nib.Nifti1Image) and np.allclose(header.affine, affine, atol=1e-4):
            affine = header.affine
            form = int(header.header["sform_code"]) or int(header.header["qform_code"]) or 1
    image = nib.Nifti1Image(np.ascontiguousarray(data, dtype=np.float32), affine)
    image.set_sform(affine, form)
    image.set_qform(affine, form)
    image.header.set_xyzt_units("mm")
    return image


def _channels(scan: tio.Subject, attribution: Attribution) -> dict[str, Any]:
    """Return what is known of each channel of a map with several: its file, and its part of the relevance."""
    relevance = attribution.relevance[0].double()
    if len(relevance) == 1:
        return {}
    sums = relevance.flatten(1).sum(1).tolist()
    return {"channels": [path.name for path in paths_of(image_of(scan))], "sum_of_relevance_by_channel": sums}


def _sidecar(
    fold: FoldModel,
    slot: Mapping[str, Any],
    scan: tio.Subject,
    prepared: tio.Subject,
    attribution: Attribution,
    on_scan: np.ndarray[Any, Any],
) -> dict[str, Any]:
    target = int(attribution.target[0])
    details = dict(attribution.details[0]) if attribution.details else {}
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
        **_channels(scan, attribution),
        "voxel_volume_ratio": float(abs(np.linalg.det(grids[0]) / np.linalg.det(grids[1]))),
        "network_grid": list(image_of(prepared).spatial_shape),
        # Of a registration that left the scan where it is: from the map's world to MNI space.
        **({"to_mni": np.asarray(prepared["to_mni"]).tolist()} if "to_mni" in prepared else {}),
        # What an explainer with a law of conservation says of it; everybody reads it at one place.
        **({"conservation": details.pop("conservation")} if isinstance(details.get("conservation"), Mapping) else {}),
        "details": details,
        "versions": {**software_versions(), info.package: info.version},
    }
