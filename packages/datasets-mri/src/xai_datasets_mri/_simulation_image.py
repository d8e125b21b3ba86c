"""From a simulated person to a scan: deformation, age and disease, then the scanner.

Every voxel of the person's grid is followed back to the point of the standard anatomy that it shows, so that
tissue moves and is never dimmed. Disease is a contraction of the medial temporal structures; where tissue has
left, the neighbouring fluid has moved in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from ._simulation_anatomy import DISEASED, FLUID, TISSUE, WHITE, Anatomy, Piece, load_anatomy, union, within
from ._simulation_person import Person
from ._simulation_volumes import structure_volumes

__all__ = ["Grid", "Tissue", "image_grid", "scan", "tissue"]

Floats = npt.NDArray[np.floating[Any]]
Indices = npt.NDArray[np.intp]

# Corner and extent (mm, RAS) of the field of view: the template's brain with a margin of about 12 mm.
_CORNER = np.array([-88.0, -124.0, -86.0])
_EXTENT = np.array([176.0, 216.0, 188.0])

_SHRINKAGE = 0.35  # of each axis of a structure at severity 1
_VISIBLE = 0.05  # of the intensity of white matter: about twice the noise of one voxel

# Contrast (exponent), gain, noise (fraction of white matter), bias field (x, y, z, xx, yy, zz, xy, yz, zx).
_SCANNERS = {
    "scanner-a": (1.00, 1000.0, 0.025, (0.00, 0.05, 0.03, -0.05, 0.00, 0.00, 0.00, 0.00, 0.00)),
    "scanner-b": (0.85, 900.0, 0.035, (0.06, 0.00, -0.05, 0.00, -0.06, 0.00, 0.02, 0.00, 0.00)),
    "scanner-c": (1.20, 1150.0, 0.030, (-0.05, -0.06, 0.00, 0.00, 0.00, -0.07, 0.00, 0.03, 0.00)),
}


@dataclass(frozen=True)
class Grid:
    """A grid of cubic voxels along RAS; ``origin`` is the centre of the first one."""

    origin: Floats
    spacing: float
    shape: tuple[int, int, int]

    @property
    def affine(self) -> Floats:
        """Voxel to mm [4, 4]."""
        affine = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        affine[:3, 3] = self.origin
        return affine

    def axis(self, number: int) -> Floats:
        """Return the coordinates (mm) of the voxels' centres along one axis."""
        return np.asarray(self.origin[number] + self.spacing * np.arange(self.shape[number]))

    def refined(self, factor: int) -> Grid:
        """Return the grid whose blocks of ``factor``^3 voxels are this grid's voxels."""
        spacing = self.spacing / factor
        nx, ny, nz = (length * factor for length in self.shape)
        return Grid(self.origin - (self.spacing - spacing) / 2, spacing, (nx, ny, nz))


@dataclass(frozen=True)
class Tissue:
    """A person's anatomy on the image's grid, before the scanner: means over each voxel.

    Attributes:
        t1: T1-weighted intensity with the disease, the template's scale (white matter 0.87), 0 outside the brain.
        healthy: The same person without the disease.
        grey: Fraction of grey matter. ``grey + white + fluid == mask``.
        white: Fraction of white matter.
        fluid: Fraction of cerebrospinal fluid.
        mask: Fraction of brain.
        ventricles: Fraction of lateral ventricle.
        volumes: Of structures, by FreeSurfer's names, mm^3; see ``structure_volumes``.
    """

    t1: Floats
    healthy: Floats
    grey: Floats
    white: Floats
    fluid: Floats
    mask: Floats
    ventricles: Floats
    volumes: Mapping[str, float]

    @property
    def brain(self) -> npt.NDArray[np.bool_]:
        """Voxels that belong to the brain for more than half."""
        return np.asarray(self.mask > 0.5)

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Voxels whose intensity the disease changed by more than 5 % of white matter: the ground truth."""
        return np.asarray((np.abs(self.t1 - self.healthy) > _VISIBLE * WHITE) & self.brain)


def image_grid(resolution: float) -> Grid:
    """Return the grid of an image with voxels of ``resolution`` mm, their centres at multiples of it.

    The transform ``mni-grid`` has its centres there too, and then takes the voxels as they are.
    """
    first = np.floor(_CORNER / resolution + 0.5)
    last = np.ceil((_CORNER + _EXTENT) / resolution - 0.5)
    nx, ny, nz = (int(n) for n in last - first + 1)
    return Grid(first * resolution, resolution, (nx, ny, nz))


def tissue(person: Person, grid: Grid) -> Tissue:
    """Return the person's anatomy, computed on voxels of at most 2 mm and averaged onto ``grid``."""
    factor = max(1, ceil(grid.spacing / 2))
    fine = grid.refined(factor)
    anatomy = load_anatomy(2 if fine.spacing >= 2 else 1)
    points = standard_points(person, fine)
    mask = anatomy.sample(anatomy.mask, points)[0]
    inside = np.flatnonzero(mask > 0)
    parts, volumes = _parts(person, anatomy, points[:, inside], mask[inside])
    place = np.unravel_index(inside, fine.shape)
    voxel = np.ravel_multi_index([index // factor for index in place], grid.shape)

    def averaged(values: Floats) -> Floats:
        total = np.bincount(voxel, values, minlength=int(np.prod(grid.shape)))
        return np.asarray(total.reshape(grid.shape) / factor**3)

    cubic = fine.spacing**3
    return Tissue(
        **{name: averaged(values) for name, values in parts.items()},
        volumes={name: cubic * count for name, count in volumes.items()},
    )


def standard_points(person: Person, grid: Grid) -> Floats:
    """Return [3, N]: the point of standard space that each voxel shows, without age and disease."""
    axes = [grid.axis(number) for number in range(3)]
    x, y, z = np.ix_(*axes)
    moved = np.empty((3, *grid.shape), dtype=np.float32)
    for row, shift, out in zip(person.linear, person.shift, moved, strict=True):
        out[:] = row[0] * x + row[1] * y + (row[2] * z + shift)
    for spacing, controls in person.deformation:
        wx, wy, wz = (_splines(axis, spacing, controls.shape[0]) for axis in axes)
        plane = np.einsum("yj,zk,ijkc->ciyz", wy, wz, controls, optimize=True).astype(np.float32)
        moved += np.einsum("xi,ciyz->cxyz", wx.astype(np.float32), plane, optimize=True)
    return moved.reshape(3, -1)


def aged_points(person: Person, anatomy: Anatomy, points: Floats) -> Floats:
    """Return the points that are seen at ``points`` once ventricles and sulci have widened with age."""
    pull = anatomy.sample(anatomy.pull, points)
    moved: Floats = points + person.ventricle_widening * pull[:3] + person.sulcus_widening * pull[3:]
    return moved


def atrophied_points(person: Person, anatomy: Anatomy, points: Floats) -> tuple[Indices, Floats, Floats]:
    """Let the diseased structures contract towards their anchors.

    White matter stays where it is. A voxel that now shows what lies beyond the surface of its own structure has been
    left by the tissue and is filled by fluid.

    Returns:
        Indices [M] of the points in and at the structures, the points [3, M] that are seen there, and the
        fraction [M] of each that fluid has filled.
    """
    side = np.where(points[0] < 0, -1.0, 1.0)
    folded = np.stack([side * points[0], points[1], points[2]])
    near = within(tuple(chain(*DISEASED)), folded)
    here, side = folded[:, near], side[near]
    stretch = 1.0 / (1.0 - _SHRINKAGE * np.where(side < 0, *person.sides)) - 1.0
    movable = np.clip(1.0 - anatomy.sample(anatomy.tissue[2:3], points[:, near])[0], 0.0, 1.0)
    inside = [union(pieces, here) for pieces in DISEASED]
    total = np.sum(inside, axis=0) + 1e-6
    step, left = np.zeros_like(here), np.zeros(near.size)
    for pieces, member in zip(DISEASED, inside, strict=True):
        away = movable * stretch * _from_anchors(pieces, here)
        step += member / np.maximum(total, 1.0) * away  # fades out at the surface: what is beyond stays in place
        left += member / total * np.clip(member - union(pieces, here + away), 0.0, 1.0)
    moved = points[:, near] + np.stack([side * step[0], step[1], step[2]])
    return near, moved, movable * left


def _from_anchors(pieces: tuple[Piece, ...], points: Floats) -> Floats:
    """Return the offset [3, N], mm, of each point from the anchors of the pieces that it belongs to."""
    total, weight = np.zeros_like(points), np.full(points.shape[1], 1e-6)
    for piece in pieces:
        share = piece.membership(points)
        total += share * (points - piece.anchor()[:, None])
        weight += share
    return np.asarray(total / weight)


def _parts(
    person: Person, anatomy: Anatomy, points: Floats, mask: Floats
) -> tuple[dict[str, Floats], dict[str, float]]:
    """Return the fields of ``Tissue`` at points inside the brain, and how many points belong to each structure."""
    source = aged_points(person, anatomy, points)
    seen = anatomy.sample(anatomy.tissue, source)
    healthy = mask * seen[0]
    near, moved, opened = atrophied_points(person, anatomy, points)
    source[:, near] = aged_points(person, anatomy, moved)
    seen[:, near] = (1.0 - opened) * anatomy.sample(anatomy.tissue, source[:, near])
    seen[0, near] += opened * FLUID
    parts = dict(zip(TISSUE, mask * seen, strict=True))
    kept = mask.copy()
    kept[near] *= 1.0 - opened
    volumes = structure_volumes(source, kept, parts["ventricles"])
    return {**parts, "healthy": healthy, "fluid": mask - parts["grey"] - parts["white"], "mask": mask}, volumes


def _splines(axis: Floats, spacing: float, count: int) -> Floats:
    """Return the cubic B-spline weights [len(axis), count] of control points that start 120 mm before 0."""
    place = (axis + 120.0) / spacing
    first = np.floor(place).astype(int)
    t = place - first
    weights = np.zeros((len(axis), count))
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, values in enumerate(basis):
        weights[np.arange(len(axis)), first + offset] = values / 6
    return weights


def scan(person: Person, anatomy: Tissue, grid: Grid) -> npt.NDArray[np.int16]:
    """Return the scan that the person's scanner makes: contrast, bias field, Rician noise; 0 outside the brain.

    Magnitude noise after Gudbjartsson and Patz, The Rician distribution of noisy MRI data, 1995.
    """
    contrast, gain, noise, pattern = _SCANNERS[person.site]
    signal = (np.clip(anatomy.t1, 0.0, None) / WHITE) ** contrast
    signal *= np.exp(_bias(np.array(pattern) + person.bias, grid))
    real, imaginary = person.noise.standard_normal((2, *grid.shape)) * noise
    magnitude = np.hypot(signal + real, imaginary) * gain
    return np.where(anatomy.brain, np.rint(magnitude), 0).astype(np.int16)


def _bias(coefficients: Floats, grid: Grid) -> Floats:
    """Return the logarithm of a quadratic bias field over the field of view."""
    scaled = ((grid.axis(number) - _CORNER[number]) / _EXTENT[number] * 2 - 1 for number in range(3))
    x, y, z = np.meshgrid(*scaled, indexing="ij")
    terms = (x, y, z, x * x, y * y, z * z, x * y, y * z, z * x)
    return np.asarray(sum(weight * term for weight, term in zip(coefficients, terms, strict=True)))
