"""The files of a scan: the channels of its image, its masks, and maps that are carried along for later analyses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
import torchio as tio

from ..errors import InputError
from .applying import with_images
from .imageheader import grid_problem
from .scans import check_image_file, image_of, paths_of, several
from .units import content_key, file_hash

__all__ = ["MAP", "as_nifti", "file_columns", "first_file", "given_files", "image_from", "to_explain", "with_masks"]

# Images under such a key are not for the network: no transform changes them and nothing reads them in a run.
MAP = "map_"


def first_file(image: tio.Image) -> Path | None:
    """Return the file whose header tells an image's grid: its own, or its first channel's; None: none."""
    paths = paths_of(image)
    return paths[0] if paths else None


def given_files(image: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the files that a user gave for one scan: one, a list of channels, or such a list as a text with commas.

    Raises:
        InputError: The list is empty.
    """
    if isinstance(image, str | Path):
        whole = Path(image)
        parts = str(image).split(",")
        return [whole] if whole.exists() or len(parts) == 1 else [Path(part.strip()) for part in parts]
    if not image:
        raise InputError("The list of channels is empty. Give a file for each channel.")
    return [Path(path) for path in image]


def image_from(paths: Sequence[Path]) -> tio.ScalarImage:
    """Return the image of some files, one for each channel. Their voxels are read to check them, and not kept.

    Raises:
        InputError: One is missing, unreadable, not 3D or holds NaN, or they do not lie on one grid; all are told.
    """
    problems = [problem for path in paths if (problem := check_image_file(path, path.name))]
    if problems:
        raise InputError(several(problems, "files cannot be used"))
    images = [tio.ScalarImage(path) for path in paths]
    for image, path in zip(images[1:], paths[1:], strict=True):
        if grid_problem(image.spatial_shape, image.affine, images[0].spatial_shape, images[0].affine):
            raise InputError(
                f"The channels {paths[0]} ({_sizes(images[0])}) and {path} ({_sizes(image)}) do not lie on one grid. "
                "Register and resample them to one first."
            )
    return images[0] if len(paths) == 1 else tio.ScalarImage(list(paths))


def as_nifti(image: tio.Image) -> nib.Nifti1Image:
    """Return the first channel of an image as NIfTI on the image's own grid; a file's voxels are not read yet."""
    path = first_file(image)
    if path is not None and path.name.endswith((".nii", ".nii.gz")):
        found = cast(nib.Nifti1Image, nib.load(path))
        if found.ndim == 3:
            return found
    return nib.Nifti1Image(np.asarray(image.data[0]), image.affine)


def _sizes(image: tio.Image) -> str:
    place = ", ".join(f"{value:.4g}" for value in image.origin)
    return f"{' x '.join(map(str, image.spatial_shape))} voxels from ({place}) mm"


def file_columns(subject: tio.Subject, channels: Sequence[str] | None) -> dict[str, str | None]:
    """Return the paths of a scan as columns of ``subjects.tsv``.

    ``image`` is the image's file, or its first channel's; ``image_<name>`` are all channels', where they have names;
    ``ground_truth``, ``mask`` and ``map_<name>`` the further images'.
    """
    paths = paths_of(image_of(subject))
    named = channels if channels is not None and len(channels) == len(paths) else ()
    columns = {"image": str(paths[0]) if paths else None}
    columns |= {f"image_{name}": str(path) for name, path in zip(named, paths, strict=False)}
    truth = subject.get("ground_truth")
    columns["ground_truth"] = _text(truth) if isinstance(truth, tio.Image) else None
    further = {key: _text(image) for key, image in subject.get_images_dict(intensity_only=False).items()}
    return columns | {key: path for key, path in further.items() if path is not None and key not in columns}


def _text(image: tio.Image) -> str | None:
    paths = paths_of(image)
    return str(paths[0]) if len(paths) == 1 else None


def with_masks(subjects: Sequence[tio.Subject], hashes: Sequence[str]) -> list[str]:
    """Return the hashes of scans together with those of their masks: a mask decides what transforms make of a scan.

    A hash stays as it is where a scan has no mask, or one in memory only.
    """
    made = []
    for subject, digest in zip(subjects, hashes, strict=True):
        mask = subject.get("mask")
        path = first_file(mask) if isinstance(mask, tio.Image) else None
        made.append(digest if path is None else content_key(scan=digest, mask=file_hash(path)))
    return made


def to_explain(subject: tio.Subject) -> tio.Subject:
    """Return a scan without its maps: they need not lie on its grid, and nothing of an explanation reads them."""
    names = subject.get_images_dict(intensity_only=False)
    return with_images(subject, [name for name in names if not name.startswith(MAP)])
