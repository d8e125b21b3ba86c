"""Headers that readers understand differently, or that claim what cannot be so, are refused with the reason."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torchio as tio
from nibabel.processing import resample_to_output

from xai_core.engine.imageheader import affine_problem, shear
from xai_core.engine.scans import check_image_file

Array = np.ndarray[Any, Any]
AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])
VALUES = (np.random.default_rng(0).random((12, 13, 14)) * 1000).astype("i2")


def write(path: Path, fields: Mapping[str, Any], values: Array = VALUES, affine: Array = AFFINE) -> Path:
    """A NIfTI file whose header fields are set behind nibabel's back; ``pixdim1`` is the second number of pixdim."""
    content = bytearray(nib.Nifti1Image(values, affine).to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        field, index = re.fullmatch(r"([a-z_]+)(\d?)", name).groups()  # type: ignore[union-attr]
        if index:
            header[field][int(index)] = value
        else:
            header[field] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


LIES = {
    "slope NaN": ({"scl_slope": np.nan, "scl_inter": np.nan}, r"a scaling that is no number \(scl_slope nan"),
    "slope infinite": ({"scl_slope": np.inf}, "a scaling that is no number"),
    "intercept NaN": ({"scl_slope": 1, "scl_inter": np.nan}, "invalid intercept nan"),
    "slope 0 beside an intercept": ({"scl_slope": 0, "scl_inter": 5}, "has scl_slope 0 beside scl_inter 5"),
    "slope makes values overflow": ({"scl_slope": 1e38}, r"values from 0 to 9\.99e\+40, which single precision"),
    "slope makes values vanish": ({"scl_slope": 1e-42}, "single precision cannot compute with"),
    "unknown sform code": ({"sform_code": 7}, "has the sform_code 7, which NIfTI does not know"),
    "negative qform code": ({"qform_code": -1}, "has the qform_code -1"),
    "metres": ({"xyzt_units": 1}, "gives its lengths in metres"),
    "micrometres": ({"xyzt_units": 3}, "gives its lengths in micrometres"),
    "pixdim": ({"pixdim1": 1.0}, r"voxels of 1 x 2 x 3 mm by its pixdim and of 2 x 2 x 3 mm by its affine"),
    "pixdim 0": ({"pixdim3": 0.0}, r"voxels of 2 x 2 x 0 mm by its pixdim"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.filterwarnings("ignore")
def test_lie_is_told(tmp_path: Path, lie: str, name: str) -> None:
    fields, expected = LIES[lie]
    problem = check_image_file(write(tmp_path / name, fields), "sub-1")
    assert problem is not None
    assert re.search(expected, problem), problem
    assert problem.startswith(f"sub-1: the image {tmp_path / name} ")


@pytest.mark.parametrize("field", ["scl_slope 0, scl_inter 5", "scl_slope 1e38", "xyzt_units 1", "pixdim1 1.0"])
@pytest.mark.filterwarnings("ignore")
def test_the_readers_really_differ(tmp_path: Path, field: str) -> None:
    """The reason for refusing these: the network (TorchIO, ITK) would get other numbers than a viewer (nibabel)."""
    fields = {name: float(value) for name, value in (part.split() for part in field.split(", "))}
    path = write(tmp_path / "x.nii", fields)
    image, other = nib.load(path), tio.ScalarImage(path)
    same = np.allclose(image.get_fdata(), other.data[0].numpy()) and np.allclose(image.affine, other.affine)
    assert not same


@pytest.mark.parametrize(
    "fields",
    [
        {"scl_slope": 0, "scl_inter": 0},  # the standard's way to say that there is no scaling
        {"scl_slope": 2, "scl_inter": -10},
        {"scl_slope": -1},
        {"xyzt_units": 0},
        {"xyzt_units": 2 | 8},
        {"pixdim1": 2.001},
        {"pixdim0": 0.0},
        {"sform_code": 4, "qform_code": 4},
        {"bitpix": 8},
    ],
)
def test_true_headers_are_let_through(tmp_path: Path, fields: dict[str, Any]) -> None:
    path = write(tmp_path / "x.nii.gz", fields)
    assert check_image_file(path, "p") is None
    read = nib.load(path).get_fdata(), tio.ScalarImage(path).data[0].numpy()
    np.testing.assert_allclose(*read, err_msg="what is let through must be one image for both readers")


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_more_voxels_than_the_header_says(tmp_path: Path, name: str) -> None:
    """float32 that a header calls int16: every reader makes numbers of it, and all are nonsense."""
    values = np.random.default_rng(0).random((20, 20, 20)).astype("f4")
    problem = check_image_file(write(tmp_path / name, {"datatype": 4, "bitpix": 16}, values), "p")
    assert problem is not None
    assert "holds 32000 bytes of voxels, but 20 x 20 x 20 of int16 are 16000" in problem
    padded = write(tmp_path / "padded.nii", {})
    padded.write_bytes(padded.read_bytes() + b"\0" * 512)
    assert check_image_file(padded, "p") is None


def test_damage_behind_the_last_voxel_is_found(tmp_path: Path) -> None:
    """nibabel alone stops reading at the last voxel, before the check sum."""
    path = write(tmp_path / "x.nii.gz", {})
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert np.isfinite(nib.load(path).get_fdata()).all()
    assert "EOFError" in (check_image_file(path, "p") or "")
    path.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])
    assert "CRC check failed" in (check_image_file(path, "p") or "")


def sheared(degrees: float) -> Array:
    affine = AFFINE.copy()
    affine[0, 1] = 2 * np.tan(np.radians(degrees))
    return affine


@pytest.mark.parametrize("degrees", [0.0, 0.2, 5.0, 40.0])
def test_shear_is_the_angle_between_the_axes(degrees: float) -> None:
    assert shear(sheared(degrees)) == pytest.approx(degrees, abs=1e-6)
    turned = np.eye(4)
    turned[:3, :3] = nib.eulerangles.euler2mat(0.3, -0.4, 0.5)
    assert shear(turned @ sheared(degrees)) == pytest.approx(degrees, abs=1e-6), "a rotation shears nothing"


def test_sheared_grid_is_refused_and_what_is_advised_repairs_it(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES.astype("f4"), sheared(5))
    nib.save(image, tmp_path / "x.nii.gz")
    problem = check_image_file(tmp_path / "x.nii.gz", "p")
    assert problem is not None
    assert "a sheared grid: its axes are 85.0 degrees apart in place of 90" in problem
    assert "nibabel.processing.resample_to_output(image)" in problem
    nib.save(resample_to_output(image), tmp_path / "y.nii.gz")
    assert check_image_file(tmp_path / "y.nii.gz", "p") is None
    assert affine_problem(sheared(0.01)) is None


def test_analyze_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Spm2AnalyzeImage(VALUES, AFFINE), tmp_path / "x.img")
    assert "is an Analyze file, which does not say where left is" in (check_image_file(tmp_path / "x.img", "p") or "")
