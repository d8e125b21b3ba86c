"""A trained fold applied to a scan that was not part of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import torchio as tio
from torch import nn

from .. import registry
from ..errors import InputError
from ..progress import stepping
from ..schemas import did_you_mean
from .explaining import Explanation, explain_subject
from .folds import FoldModel
from .imagefile import image_problem, read_tensor
from .imagefiles import as_nifti, given_files, image_from
from .richdisplay import facts_html
from .scans import image_of
from .seeding import seeded
from .seen import SEEN, FoldPeople, Value
from .spatial import check_geometry

__all__ = ["Image", "TrainedFold", "scan_from"]

Image = str | Path | Sequence[str | Path] | nib.Nifti1Image | tio.ScalarImage


def scan_from(image: Image) -> tio.Subject:
    """Return a scan as a subject whose id is the (first) file's name.

    Args:
        image: A file, the files of its channels (a list, or a text with commas), or an image in memory.

    Raises:
        InputError: It is missing, unreadable, not 3D, holds NaN, or its channels do not lie on one grid.
    """
    if isinstance(image, nib.spatialimages.SpatialImage):
        image = _as_scan(image)
    if isinstance(image, tio.ScalarImage):
        problem = next((read.problem for read in read_tensor(image, "scan") if read.problem), None)
        if problem:
            raise InputError(problem)
        return tio.Subject(image=image, subject_id="scan")
    if not _are_files(image):
        raise InputError(
            f"{type(image).__name__} is no scan. Give a file, a list with a file for each channel, a nibabel image, or "
            "a torchio.ScalarImage."
        )
    paths = given_files(image)
    name = paths[0].name.partition(".")[0] or "scan"
    return tio.Subject(image=image_from(paths), subject_id=name)


def _are_files(image: Image) -> bool:
    given = image if isinstance(image, Sequence) and not isinstance(image, str | bytes) else [image]
    return all(isinstance(one, str | PathLike) for one in given)


def _as_scan(image: nib.spatialimages.SpatialImage) -> tio.ScalarImage:
    """Return an image of nibabel as TorchIO has it; what its file would be refused for is refused here, too."""
    problem = image_problem(image)
    if problem:
        raise InputError(f"The image {problem}")
    values = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    return tio.ScalarImage(tensor=torch.from_numpy(values)[None], affine=image.affine)


@dataclass(frozen=True)
class TrainedFold:
    """A trained network with its preprocessing and the explainers of its run.

    Attributes:
        config: The resolved configuration of the run.
        loaded: Network, fitted transforms, device and class names.
        people: Whom it was trained and validated on; None: not known.
    """

    config: Mapping[str, Any]
    loaded: FoldModel
    people: FoldPeople | None = None

    @classmethod
    def load(cls, config: Mapping[str, Any], folder: Path, index: int, classes: Sequence[str] | None) -> TrainedFold:
        """Load a fold of a run folder.

        Raises:
            InputError: The fold is not trained.
        """
        return cls(config, FoldModel.load(config, folder, index, classes), FoldPeople(folder, index))

    @property
    def model(self) -> nn.Module:
        """The trained network, in evaluation mode: float32 [N, C, D, H, W] to [N, outputs]."""
        return self.loaded.model

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Class names in the order of the outputs, None for a regression."""
        return self.loaded.classes

    def prepare(self, image: Image, covariates: Mapping[str, Value] | None = None) -> tuple[tio.Subject, tio.Subject]:
        """Return a scan as it is and as the network sees it.

        Args:
            image: A file, a nibabel image or a ``torchio.ScalarImage``.
            covariates: What transforms read of a person, such as ``{"age": 71, "sex": "F"}``; texts are read as in
                the study's table.

        Raises:
            InputError: It cannot be used, or nothing of it is left after preprocessing.
        """
        scan = scan_from(image)
        if self.people is not None:
            for name, value in self.people.covariates(self.config, covariates).items():
                scan[name] = value
        prepare = self.loaded.preprocessing.prepare
        check_geometry(scan, prepare)
        prepared = prepare(scan)
        data = image_of(prepared).data
        if len(data) != self.loaded.input_shape[0]:
            raise InputError(self._channels_text(str(scan["subject_id"]), len(data)))
        if tuple(data.shape) != self.loaded.input_shape:
            raise InputError(
                f"{scan['subject_id']}: after preprocessing the scan has {_sizes(data.shape)} voxels; the network was "
                f"trained on {_sizes(self.loaded.input_shape)}. Bring the scan to the study's grid first."
            )
        if bool((data == data.flatten()[0]).all()):
            raise InputError(
                f"{scan['subject_id']}: after preprocessing every voxel is {float(data.flatten()[0]):g}. The scan lies "
                "outside the field of view that the network was trained on (is it in the same space?)."
            )
        return scan, prepared

    def _channels_text(self, name: str, found: int) -> str:
        slot, wanted = self.config["data"], self.loaded.input_shape[0]
        names = registry.create("dataset", slot["name"], **slot["params"]).channel_names or ()
        listed = f" ({', '.join(names)})" if len(names) == wanted else ""
        return (
            f"{name}: the scan has {found} channel{'s' if found > 1 else ''}; the network was trained on "
            f"{wanted}{listed}. Give their files in this order, with commas between them (Python: a list)."
        )

    def _admitted(self, scan: tio.Subject, *, allow: bool) -> dict[str, Any]:
        """Return what marks the output of a scan whose person the network was trained on; nothing for others."""
        return {SEEN: True} if self.people is not None and self.people.admit(scan, allow=allow) else {}

    def predict(
        self,
        image: Image,
        *,
        covariates: Mapping[str, Value] | None = None,
        allow_training_people: bool = False,
    ) -> dict[str, Any]:
        """Return ``prediction`` and, for a classification, ``probability_<class>``.

        Args:
            image: A file, a nibabel image or a ``torchio.ScalarImage``; preprocessed as the study's scans were.
            covariates: See ``prepare``.
            allow_training_people: Also predict a scan of somebody whom the network was trained or validated on; the
                result is marked by ``seen_in_training: True``.

        Raises:
            InputError: The image cannot be used, or is of such a person.
        """
        scan, prepared = self.prepare(image, covariates)
        mark = self._admitted(scan, allow=allow_training_people)
        with seeded(0):
            return self.loaded.row(self.loaded.outputs([prepared])[0]) | mark

    def explain(
        self,
        image: Image,
        explainers: str | Sequence[str] | None = None,
        target: str | int | None = None,
        *,
        covariates: Mapping[str, Value] | None = None,
        allow_training_people: bool = False,
    ) -> dict[str, Explanation]:
        """Explain one scan.

        Args:
            image: As for ``predict``.
            explainers: Ids of the run's explainers, or one; default: all of them.
            target: Class name or index of the output; default: the predicted class, or the regression output.
            covariates: See ``prepare``.
            allow_training_people: As for ``predict``; the sidecars are marked.

        Returns:
            By explainer id: the map on the image's grid, its sidecar, and the relevance on the network's grid.

        Raises:
            InputError: The image, an explainer or the target is not there, or the image is of somebody whom the
                network was trained or validated on.
        """
        slots = {slot["id"]: slot for slot in self.config["explainers"]}
        asked = [explainers] if isinstance(explainers, str) else explainers
        wanted = list(slots) if asked is None else list(asked)
        listed = ", ".join(slots) or "none"
        for name in wanted:
            if name not in slots:
                raise InputError(f"The run has no explainer {name!r}.{did_you_mean(name, slots)} It has: {listed}.")
        index = self._target(target)
        scan, prepared = self.prepare(image, covariates)
        mark = self._admitted(scan, allow=allow_training_people)
        seed = self.config["seed"]
        found = {
            name: explain_subject(self.loaded, slots[name], scan, prepared, seed=seed, target=index)
            for name in stepping(wanted, len(wanted), str)
        }
        shown = as_nifti(image_of(scan))
        return {name: replace(one, sidecar={**one.sidecar, **mark}, scan=shown) for name, one in found.items()}

    def _repr_html_(self) -> str:
        loaded = self.loaded
        facts = {
            "network": type(loaded.model).__name__,
            "parameters": f"{sum(weight.numel() for weight in loaded.model.parameters()):,}",
            "input": " x ".join(map(str, loaded.input_shape)) + " (channels and voxels)",
            "outputs": ", ".join(self.classes or ("value",)),
            "explainers": ", ".join(str(slot["id"]) for slot in self.config["explainers"]) or "none",
            "device": loaded.device,
        }
        return facts_html("Trained fold", facts)

    def _target(self, target: str | int | None) -> int | None:
        if target is None:
            return None
        names = list(self.classes or ("value",))
        if isinstance(target, str) and target in names:
            return names.index(target)
        if isinstance(target, int | np.integer) and not isinstance(target, bool) and 0 <= target < len(names):
            return int(target)
        raise InputError(f"There is no output {target!r}. Outputs: {', '.join(names)}.")


def _sizes(shape: Sequence[int]) -> str:
    """Return the spatial part of (C, D, H, W) in words."""
    return " x ".join(str(n) for n in shape[1:])
