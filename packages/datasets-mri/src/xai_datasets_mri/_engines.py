"""Rigid, similarity and affine registration of a head to the ICBM152 brain, by SimpleITK or ANTs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - its usual name

__all__ = ["ENGINES", "by_ants", "by_simpleitk", "mirrored", "similarity_to_template", "template"]

Affine = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]

# ITK's world runs to the left and to the back where NIfTI's runs to the right and to the front.
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Finer detail than this (mm) does not help an affine registration, and costs time.
_SPACING = 2
# In units of a head's radius (mm) a step of the matrix and one of the translation move the brain about as far. The
# optimiser takes steps of a given length, however little of it is translation.
_HEAD = 70.0
# The measure looks this far (mm) around the template's brain: its edge counts, the skull's does not.
_RIM = 4


def _itk_image(values: npt.NDArray[Any], affine: Affine, unit: float = 1) -> sitk.Image:
    """Return a volume [D, H, W] with its affine (mm, RAS; without shear) as an ITK image, lengths in ``unit`` (mm)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    lps = _LPS @ affine / unit
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@lru_cache(maxsize=1)
def template() -> tuple[Volume, npt.NDArray[np.uint8], Affine]:
    """Return nilearn's ICBM152 T1 brain, the mask of its surroundings that counts, and their affine, at 2 mm."""
    from nilearn.datasets import load_mni152_template

    from ._mni import brain_mask

    image = load_mni152_template(resolution=_SPACING)
    values, affine = np.asarray(image.dataobj, dtype=np.float32), np.array(image.affine, dtype=np.float64)
    shape = (values.shape[0], values.shape[1], values.shape[2])
    return values, brain_mask(shape, affine, dilation=_RIM).astype(np.uint8), affine


def _coarse(image: sitk.Image) -> sitk.Image:
    """Smooth and thin out an image with voxels much smaller than the template's."""
    sizes = [size * _HEAD for size in image.GetSpacing()]
    factors = [max(1, round(_SPACING / size)) for size in sizes]
    sigma = [0.4 * factor * size / _HEAD if factor > 1 else 0 for factor, size in zip(factors, sizes, strict=True)]
    smooth = sitk.DiscreteGaussian(image, [s**2 for s in sigma]) if any(sigma) else image
    return cast(sitk.Image, sitk.Shrink(smooth, factors))


def _method(mask: sitk.Image, shrink: int, smooth: float, step: float) -> sitk.ImageRegistrationMethod:
    """Return a registration at one scale; ``smooth`` (a Gaussian's deviation) and the first ``step`` are in mm."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([smooth / _HEAD])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step / _HEAD, minStep=1e-3 * step / _HEAD, numberOfIterations=150,
        gradientMagnitudeTolerance=1e-8, estimateLearningRate=method.Never,
    )  # fmt: skip
    return method


_KINDS: Mapping[str, Any] = {
    "rigid": sitk.Euler3DTransform,
    "similarity": sitk.Similarity3DTransform,
    "affine": lambda: sitk.AffineTransform(3),
}


def _as(kind: str, transform: Any) -> Any:
    """Return a transform as one of more degrees of freedom."""
    wider = _KINDS[kind]()
    wider.SetCenter(transform.GetCenter())
    wider.SetMatrix(transform.GetMatrix())
    wider.SetTranslation(transform.GetTranslation())
    return wider


def _starts(fixed: sitk.Image, moving: sitk.Image) -> list[Any]:
    """Return rigid transforms to start from: by both images' centres or centres of mass, upright and nodding."""
    modes = (sitk.CenteredTransformInitializerFilter.MOMENTS, sitk.CenteredTransformInitializerFilter.GEOMETRY)
    found = []
    for mode, pitch, lift in itertools.product(modes, (-0.4, 0.0, 0.4), (-20.0, 0.0, 20.0)):
        start = sitk.Euler3DTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), mode))
        start.SetRotation(pitch, 0, 0)
        x, y, z = start.GetTranslation()
        start.SetTranslation((x, y, z + lift / _HEAD))
        found.append(start)
    return found


def by_simpleitk(values: Volume, affine: Affine, kind: str) -> Affine:
    """Register by mutual information, from the best of several starts, coarse to fine.

    Args:
        values: Image [D, H, W].
        affine: Voxel to world (mm, RAS), without shear.
        kind: ``"rigid"``, ``"similarity"`` or ``"affine"``.

    Returns:
        From a point in MNI space to the same anatomy in the scan's world (mm, RAS), [4, 4].
    """
    brain, surroundings, grid = template()
    fixed, mask = _itk_image(brain, grid, _HEAD), _itk_image(surroundings, grid, _HEAD)
    moving = _coarse(_itk_image(values, affine, _HEAD))
    coarse = _method(mask, shrink=4, smooth=4, step=4)
    tried = []
    for start in _starts(fixed, moving):
        coarse.SetInitialTransform(start, inPlace=True)
        tried.append((coarse.MetricEvaluate(fixed, moving), start))
    tried.sort(key=lambda pair: pair[0])
    best = []
    for _, start in tried[:3]:
        coarse.SetInitialTransform(start, inPlace=True)
        coarse.Execute(fixed, moving)
        best.append((coarse.GetMetricValue(), start))
    transform = min(best, key=lambda pair: pair[0])[1]
    for degrees in ("rigid", "similarity", "affine"):
        transform = _as(degrees, transform)
        levels = ((4, 4, 2), (2, 2, 1)) if degrees == kind else ((4, 4, 2),)
        for shrink, smooth, step in levels:
            method = _method(mask, shrink, smooth, step)
            method.SetInitialTransform(transform, inPlace=True)
            method.Execute(fixed, moving)
        if degrees == kind:
            break
    return _matrix(np.reshape(transform.GetMatrix(), (3, 3)), *_in_mm(transform))


def _in_mm(transform: Any) -> tuple[Affine, Affine]:
    return np.asarray(transform.GetTranslation()) * _HEAD, np.asarray(transform.GetCenter()) * _HEAD


def _matrix(linear: Affine, translation: Any, centre: Any) -> Affine:
    """Return ITK's x -> A (x - c) + c + t as a matrix between RAS worlds."""
    matrix = np.eye(4)
    matrix[:3, :3] = linear
    matrix[:3, 3] = np.asarray(translation) + np.asarray(centre) - linear @ np.asarray(centre)
    return _LPS @ matrix @ _LPS


_ANTS_KINDS = {"rigid": "Rigid", "similarity": "Similarity", "affine": "Affine"}


def by_ants(values: Volume, affine: Affine, kind: str) -> Affine:
    """Register by ANTs (Avants et al. 2011, doi:10.1016/j.neuroimage.2010.09.025); as :func:`by_simpleitk`."""
    # ITK reads it once, when ANTs first works; without it the result changes in its last digits from run to run.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    import ants

    ants.config.set_ants_deterministic(on=False, seed_value=1)  # on would take rigid registration away

    def image(data: npt.NDArray[Any], to_world: Affine) -> Any:
        spacing = np.linalg.norm(to_world[:3, :3], axis=0)
        lps = _LPS @ to_world
        return ants.from_numpy(
            np.ascontiguousarray(data, dtype=np.float32),
            origin=lps[:3, 3].tolist(), spacing=spacing.tolist(), direction=lps[:3, :3] / spacing,
        )  # fmt: skip

    brain, surroundings, grid = template()
    found = ants.registration(
        fixed=image(brain, grid),
        moving=image(values, affine),
        type_of_transform=_ANTS_KINDS[kind],
        mask=image(surroundings, grid),
        singleprecision=False,
    )
    files = [Path(name) for name in {*found["fwdtransforms"], *found["invtransforms"]}]
    transform = ants.read_transform(found["fwdtransforms"][0])
    for file in files:
        file.unlink(missing_ok=True)
    parameters = np.asarray(transform.parameters, dtype=np.float64)
    return _matrix(parameters[:9].reshape(3, 3), parameters[9:12], transform.fixed_parameters)


ENGINES = {"simpleitk": by_simpleitk, "ants": by_ants}
"""Functions that register, by the name that a user gives."""


def similarity_to_template(values: Volume, affine: Affine, to_scan: Affine) -> float:
    """Return the mutual information (nats, 0: none) of a scan and the template under a registration.

    Args:
        values: Image [D, H, W].
        affine: Voxel to world (mm, RAS).
        to_scan: From MNI space to the scan's world, as an engine returned it.
    """
    from scipy import ndimage

    brain, surroundings, grid = template()
    mapping = np.linalg.inv(affine) @ to_scan @ grid
    moved = ndimage.affine_transform(values, mapping[:3, :3], mapping[:3, 3], brain.shape, order=1)
    inside = surroundings > 0
    joint, _, _ = np.histogram2d(brain[inside], moved[inside], bins=32)
    share = joint / joint.sum()
    apart = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    seen = share > 0
    return float((share[seen] * np.log(share[seen] / apart[seen])).sum())


def mirrored(to_scan: Affine, axis: int) -> Affine:
    """Return a registration after which the brain is mirrored in its middle: front to back (axis 1), say."""
    from ._mni import BRAIN_BOX

    mirror = np.eye(4)
    mirror[axis, axis] = -1
    mirror[axis, 3] = BRAIN_BOX[0][axis] + BRAIN_BOX[1][axis]
    return to_scan @ mirror
