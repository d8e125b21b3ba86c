"""The dataset ``simulated-atrophy``: a built-in cohort whose truth is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xai_core import Dataset

from ._schema import parameters

if TYPE_CHECKING:
    import torchio as tio

__all__ = ["SimulatedAtrophy"]

# Raise it with every change of the generator that changes an image: cohorts of two versions never share a folder.
_GENERATOR = 1
_STAGES = ("CN", "MCI", "AD")


class SimulatedAtrophy(Dataset):
    """A built-in cohort (CN, MCI, AD) with medial temporal atrophy, made from the ICBM152 template.

    Every person has an own shape, age (55 to 90 years: ventricles widen, cortex thins), sex and one of three scanners.
    The disease contracts hippocampus, amygdala and entorhinal cortex; its severity overlaps between the groups, so
    that an AUC of 1 would be suspicious. The voxels that it changed are each subject's ``ground_truth``.

    The cohort is written once, as a BIDS dataset with participants.tsv, into a subfolder of ``folder`` whose name
    holds a hash of everything that decides its images, and then read like any other study. The same parameters give
    the same bytes. A person does not change when the number of people does.
    """

    config_schema = parameters(
        {
            "folder": {
                "type": "string",
                "format": "path",
                "minLength": 1,
                "default": "simulated-atrophy",
                "description": "Where cohorts are kept; each is a subfolder.",
            },
            "subjects": {
                "type": "integer",
                "minimum": 2,
                "maximum": 9999,
                "default": 120,
                "description": "Number of people, dealt out evenly to the groups.",
            },
            "groups": {
                "type": "array",
                "items": {"type": "string", "enum": list(_STAGES)},
                "minItems": 1,
                "uniqueItems": True,
                "default": ["CN", "AD"],
                "description": "Diagnoses in the cohort, any of CN, MCI and AD.",
            },
            "resolution": {
                "type": "number",
                "minimum": 1,
                "maximum": 8,
                "default": 4.0,
                "description": "Edge of a voxel in mm.",
            },
            "severity": {
                "type": "number",
                "minimum": 0,
                "maximum": 2,
                "default": 1.0,
                "description": "Factor of every person's severity: 0 is no disease at all.",
            },
            "confounding": {
                "type": "string",
                "enum": ["none", "age", "scanner", "both"],
                "default": "none",
                "description": "What goes along with the diagnosis: the ill are older, or on another scanner, or both.",
            },
            "shape_variation": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "default": 1.0,
                "description": "Factor of how much heads and brains differ in pose, size and shape: 1 as scanned, 0.15 "
                "about as after non-linear registration to the template (for voxel-wise models).",
            },
            "seed": {
                "type": "integer",
                "minimum": 0,
                "default": 0,
                "description": "Another seed gives other people.",
            },
            "target": {
                "type": "string",
                "enum": ["diagnosis", "age"],
                "default": "diagnosis",
                "description": "What is to be predicted: diagnosis (classification) or age (regression).",
            },
            "tissue_maps": {
                "type": "boolean",
                "default": False,
                "description": "Also write everybody's true tissue, as map_grey_matter, map_white_matter, map_csf and "
                "map_ventricles (fractions of a voxel) and as volumes.tsv, for analyses; the scans stay the same.",
            },
        }
    )

    def __init__(
        self,
        *,
        folder: str = "simulated-atrophy",
        subjects: int = 120,
        groups: Sequence[str] = ("CN", "AD"),
        resolution: float = 4.0,
        severity: float = 1.0,
        confounding: Literal["none", "age", "scanner", "both"] = "none",
        shape_variation: float = 1.0,
        seed: int = 0,
        target: Literal["diagnosis", "age"] = "diagnosis",
        tissue_maps: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.number = subjects
        self.groups = tuple(stage for stage in _STAGES if stage in groups)
        self.resolution = float(resolution)
        self.severity = float(severity)
        self.confounding: Literal["none", "age", "scanner", "both"] = confounding
        self.shape_variation = float(shape_variation)
        self.seed = seed
        self.target = target
        self.tissue_maps = tissue_maps

    @property
    def cohort_folder(self) -> Path:
        """The BIDS folder of this cohort; it exists once ``subjects()`` has been called."""
        decisive = [
            _GENERATOR, self.number, self.groups, self.resolution, self.severity, self.confounding, self.seed,
        ]  # fmt: skip
        if self.shape_variation != 1:  # a parameter that came later: cohorts made before it keep their folders
            decisive.append({"shape_variation": self.shape_variation})
        if self.tissue_maps:
            decisive.append({"tissue_maps": True})
        digest = hashlib.sha256(json.dumps(decisive).encode()).hexdigest()[:10]
        return self.folder / f"{'-'.join(self.groups)}-{self.number}x{self.resolution:g}mm-{digest}"

    @property
    def class_order(self) -> Sequence[str] | None:
        """The groups from healthy to ill: AD, where it is among two groups, is the positive class."""
        return self.groups if self.target == "diagnosis" else None

    def subjects(self) -> Sequence[tio.Subject]:
        """Return one subject for each person; the first call writes the cohort.

        Keys: ``image`` (int16, RAS, skull-stripped, 0 outside the brain), ``target``, ``subject_id`` (``"001"``),
        ``site`` (scanner), ``sex``, ``age`` or ``diagnosis`` (whichever is not the target) and ``ground_truth``. With
        ``tissue_maps`` also ``map_grey_matter``, ``map_white_matter``, ``map_csf`` and ``map_ventricles``.

        Raises:
            InputError: The cohort cannot be written, or a file of it has gone.
        """
        from ._participants import read_participants
        from ._simulation_maps import tissue_files

        folder = self.cohort_folder
        if not folder.is_dir():
            from ._simulation_cohort import write_cohort
            from ._simulation_person import Cohort

            cohort = Cohort(
                self.groups, self.resolution, self.severity, self.confounding, self.seed, self.shape_variation
            )
            write_cohort(cohort, self.number, folder, tissue_maps=self.tissue_maps)
        maps = tissue_files(folder) if self.tissue_maps else None
        return read_participants(bids=folder, target=self.target, ground_truth_derivative="ground-truth", maps=maps)

    def inputs(self) -> Sequence[Path]:
        """Return the cohort's participants.tsv, once it is written."""
        table = self.cohort_folder / "participants.tsv"
        return (table,) if table.is_file() else ()
