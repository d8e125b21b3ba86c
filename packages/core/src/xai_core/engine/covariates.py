"""What transforms read of a person besides the images: it decides a result as the images do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torchio as tio

from .. import registry
from ..errors import InputError
from .applying import is_random, steps_of
from .calls import at_work
from .units import content_key

if TYPE_CHECKING:
    from ..interfaces import Transform
    from .study import Study

__all__ = ["check_transforms", "covariates_read", "scan_identities", "trainer_reads", "values_for_trainer"]


def _transforms(config: Mapping[str, Any]) -> list[Transform]:
    return [registry.create("transform", slot["name"], **slot["params"]) for slot in config["data"]["transforms"]]


def covariates_read(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the covariates that the configured transforms read of every scan, sorted."""
    return sorted({name for transform in _transforms(config) for name in transform.covariates()})


def scan_identities(
    config: Mapping[str, Any], subjects: Sequence[Mapping[str, Any]], hashes: Sequence[str]
) -> list[str]:
    """Return what decides each prepared scan: the hash of its content, with the covariates that transforms read.

    A corrected age in the study's table must not leave the results of the wrong one standing.

    Args:
        config: The resolved configuration.
        subjects: The scans.
        hashes: SHA-256 of each scan's content.
    """
    names = {*covariates_read(config), *(n for made in _transforms(config) for n in made.fit_covariates())}
    if not names:
        return list(hashes)
    return [
        content_key(scan=digest, covariates={name: repr(subject.get(name)) for name in sorted(names)})
        for subject, digest in zip(subjects, hashes, strict=True)
    ]


def trainer_reads(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the covariates that the configured trainer reads, sorted."""
    slot = config["training"]
    return sorted(set(registry.create("trainer", slot["name"], **slot["params"]).covariates()))


def values_for_trainer(study: Study, indices: Sequence[int]) -> list[list[str]]:
    """Return what the trainer reads of some scans besides images and targets: it decides the weights as these do."""
    names = trainer_reads(study.config)
    return [[name, *(repr(study.subjects[i].get(name)) for i in indices)] for name in names]


def check_transforms(study: Study) -> None:
    """Let every transform refuse the study before anything is trained.

    Raises:
        InputError: A transform cannot be fitted or applied to it.
    """
    _check_order(study.config)
    for slot in study.config["data"]["transforms"]:
        transform = registry.create("transform", slot["name"], **slot["params"])
        with at_work("transform", slot["name"], "checking the study"):
            transform.check_study(study.table, study.folds, study.classes)


def _check_order(config: Mapping[str, Any]) -> None:
    """Refuse a voxel-wise model behind augmentation that moves voxels: it would be applied to the wrong ones."""
    moving = None
    for slot in config["data"]["transforms"]:
        for step in steps_of(registry.create("transform", slot["name"], **slot["params"]).build()):
            if moving is not None and getattr(step, "voxelwise", False):
                raise InputError(
                    f"data.transforms: {slot['name']} knows each voxel by its place, and {moving} before it moves "
                    "voxels at random. Put random transforms last."
                )
            if is_random(step) and not isinstance(step, tio.transforms.IntensityTransform):
                moving = slot["name"]
