"""How the members of an ensemble are combined, and the files of its maps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .ensemblestats import Aggregate, Normalise, Voxels, aggregate
from .ensemblevote import Vote
from .mapplot import MapOfScan
from .versions import software_versions

__all__ = ["Combine", "EnsembleExplanation", "MemberMap", "explained"]

_MEANINGS = {
    "mean": "mean over the members' maps",
    "median": "median over the members' maps, unweighted",
    "sd": "standard deviation between the members' maps (n - 1)",
    "agreement": "share of members with the more frequent sign; 0 where all are 0",
}


@dataclass(frozen=True)
class Combine:
    """How predictions and maps of members become one.

    Attributes:
        how: ``mean`` or ``median``, of probabilities or values and of maps.
        weights: One positive number for each member, for means; None: equal.
        normalise: See ``ensemblestats.aggregate``.
    """

    how: Vote = "mean"
    weights: tuple[float, ...] | None = None
    normalise: Normalise = "none"

    def check(self, members: int) -> None:
        """Refuse weights that do not fit.

        Raises:
            InputError: What is wrong with them.
        """
        if self.weights is None:
            return
        if self.how == "median":
            raise InputError("A median has no weights. Leave them out, or vote by the mean.")
        if len(self.weights) != members:
            raise InputError(f"{len(self.weights)} weights for {members} members. Give one for each, in their order.")
        if not all(np.isfinite(weight) and weight > 0 for weight in self.weights):
            raise InputError(f"Weights must be positive numbers; these are {', '.join(map(str, self.weights))}.")

    def as_json(self) -> dict[str, Any]:
        """Return it as the sidecars hold it."""
        weights = None if self.weights is None else list(self.weights)
        return {"combine": self.how, "weights": weights, "normalise": self.normalise}


@dataclass(frozen=True)
class MemberMap:
    """One member's relevance of one scan.

    Attributes:
        about: What the sidecar says of the member.
        voxels: On the scan's grid.
        sidecar: Of the member's own map.
        again: Whether it was made anew, for the output that the ensemble votes for.
    """

    about: Mapping[str, Any]
    voxels: Voxels
    sidecar: Mapping[str, Any]
    again: bool


@dataclass(frozen=True)
class EnsembleExplanation(MapOfScan):
    """One scan explained by one explainer with several networks.

    Attributes:
        image: Mean (or median) relevance as float32 NIfTI on the grid of the scan.
        sidecar: What the JSON file beside it holds; ``ensemble`` tells the members and how far they agree.
        statistics: The other maps with their sidecars: ``median`` (or ``mean``), ``sd``, ``agreement``.
        scan: What is explained (its first channel), on the grid of ``image``; None: not kept.
    """

    statistics: Mapping[str, tuple[nib.Nifti1Image, Mapping[str, Any]]]

    def save(self, path: Path) -> None:
        """Write the maps and their sidecars.

        Args:
            path: ``..._desc-lrpMean_relevance.nii.gz``; the other statistics lie beside it as
                ``..._desc-lrpSd_statmap.nii.gz`` and so on.
        """
        head, _, tail = path.name.rpartition(str(self.sidecar["statistic"]).capitalize())
        tail = tail.replace("_relevance", "_statmap")
        files = {path.name: (self.image, self.sidecar)}
        files |= {f"{head}{name.capitalize()}{tail}": found for name, found in self.statistics.items()}
        for name, (image, sidecar) in files.items():
            nib.save(image, path.with_name(name))
            text = json.dumps(sidecar, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            path.with_name(name.replace(".nii.gz", ".json")).write_text(text, encoding="utf-8")


def explained(
    members: Sequence[MemberMap], combine: Combine, about: Mapping[str, Any], like: nib.Nifti1Image
) -> EnsembleExplanation:
    """Return one scan's maps of one explainer, aggregated.

    Args:
        members: Two or more maps on one grid.
        combine: How.
        about: What the sidecars say of the scan and of the output that is explained.
        like: A map whose header the new ones get: the same affine, the same code of the space.

    Raises:
        InputError: The maps cannot be read, or hold NaN.
    """
    try:
        found = aggregate([one.voxels for one in members], weights=combine.weights, normalise=combine.normalise)
    except (OSError, EOFError, ValueError, InputError) as error:
        named = ", ".join(str(one.about.get("map", one.about.get("member", one.about["fold"]))) for one in members)
        raise InputError(f"{about['scan_id']}, {about['explainer_id']}: {error} Maps: {named}") from error
    made = {
        name: (_nifti(getattr(found, name), like), sidecar)
        for name, sidecar in _sidecars(members, combine, about, found).items()
    }
    image, sidecar = made.pop(combine.how)
    return EnsembleExplanation(image, sidecar, made)


def _nifti(values: npt.NDArray[np.float32], like: nib.Nifti1Image) -> nib.Nifti1Image:
    image = nib.Nifti1Image(values, like.affine, like.header)
    image.set_data_dtype(np.float32)
    return image


def _sidecars(
    members: Sequence[MemberMap], combine: Combine, about: Mapping[str, Any], found: Aggregate
) -> dict[str, dict[str, Any]]:
    """Return the sidecar of each statistic; that of the mean (or median) is what readers of a run's maps expect."""
    weights = combine.weights or (1.0,) * len(members)
    of_members = [
        {
            **one.about,
            "weight": weight,
            "made_again": one.again,
            "divided_by": divisor,
            "output": one.sidecar["output"],
            "sum_of_relevance": one.sidecar["sum_of_relevance"],
            "sum_on_scan_grid": total,
            "explainer": one.sidecar["explainer"],
            "params": one.sidecar["params"],
        }
        for one, weight, divisor, total in zip(members, weights, found.divisors, found.sums, strict=True)
    ]
    ensemble = {
        **combine.as_json(),
        "mean_sign_agreement": found.mean_agreement,
        "mean_pairwise_pearson": found.pearson,
        "mean_pairwise_spearman": found.spearman,
        "members": of_members,
    }
    # The way from the scan to MNI space is the scan's, whichever member's preprocessing found it.
    place = next((one.sidecar["to_mni"] for one in members if "to_mni" in one.sidecar), None)
    about = about if place is None else {**about, "to_mni": place}
    common = {**about, "ensemble": ensemble, "details": {}, "versions": software_versions()}
    made = {name: {**common, "statistic": name, "meaning": text} for name, text in _MEANINGS.items()}
    central = getattr(found, combine.how)
    total = float(central.sum(dtype=np.float64))
    made[combine.how] |= {
        "output": _central([float(one.sidecar["output"]) for one in members], combine),
        # Only a plain mean keeps what its members' sums say of their outputs.
        "sum_of_relevance": _network_sum(members, combine, total),
        "sum_on_scan_grid": total,
    }
    return made


def _central(values: Sequence[float], combine: Combine) -> float:
    return float(np.median(values) if combine.how == "median" else np.average(values, weights=combine.weights))


def _network_sum(members: Sequence[MemberMap], combine: Combine, on_scan: float) -> float:
    if combine.how == "median" or combine.normalise != "none":
        return on_scan
    return _central([float(one.sidecar["sum_of_relevance"]) for one in members], combine)
