"""The files of scans with several channels, masks and maps."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio

from xai_core import InputError
from xai_core.engine.explaining import _nifti
from xai_core.engine.imagefiles import file_columns, first_file, given_files, image_from, to_explain, with_masks

AFFINE = np.array([[-2.0, 0, 0, 9], [0, 2, 0, -5], [0, 0, 3, -7], [0, 0, 0, 1]])


def save(path: Path, value: float = 1, shape: tuple[int, ...] = (4, 5, 6), shift: float = 0) -> Path:
    affine = AFFINE.copy()
    affine[1, 3] += shift
    image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.float32).reshape(shape) * value, affine)
    image.set_sform(affine, 4)
    image.set_qform(affine, 4)
    image.to_filename(path)
    return path


@pytest.fixture
def scan(tmp_path: Path) -> tio.Subject:
    paths = [save(tmp_path / name) for name in ("t1.nii.gz", "flair.nii.gz")]
    lesions = save(tmp_path / "lesions.nii", shape=(2, 2, 2))  # of another grid: it is not for the network
    return tio.Subject(
        image=tio.ScalarImage(paths),
        mask=tio.LabelMap(paths[0]),
        map_lesions=tio.LabelMap(lesions),
        subject_id="1",
        age=70,
    )


def test_every_file_is_a_column(scan: tio.Subject, tmp_path: Path) -> None:
    t1, flair, lesions = (str(tmp_path / name) for name in ("t1.nii.gz", "flair.nii.gz", "lesions.nii"))
    further = {"ground_truth": None, "mask": t1, "map_lesions": lesions}
    assert file_columns(scan, ("t1w", "flair")) == {"image": t1, "image_t1w": t1, "image_flair": flair, **further}
    assert file_columns(scan, None) == {"image": t1, **further}
    memory = tio.Subject(image=tio.ScalarImage(tensor=torch.ones(2, 3, 3, 3)))
    assert file_columns(memory, ("a", "b")) == {"image": None, "ground_truth": None}


def test_maps_are_not_read_for_an_explanation(scan: tio.Subject) -> None:
    kept = to_explain(scan)
    assert set(kept) == {"image", "mask", "subject_id", "age"}
    kept["image"].load()
    assert not scan["image"]._loaded
    assert "map_lesions" in scan


def test_a_map_of_two_channels_lies_under_the_header_of_the_first(scan: tio.Subject) -> None:
    relevance = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    image = _nifti(relevance, scan["image"])
    assert image.shape == (4, 5, 6, 2)
    assert np.array_equal(np.asanyarray(image.dataobj)[..., 1], relevance[1])
    assert int(image.header["sform_code"]) == 4
    assert np.allclose(image.affine, AFFINE)
    assert first_file(scan["image"]) == scan["image"].path[0]


def test_a_mask_is_part_of_what_decides_a_scan(scan: tio.Subject, tmp_path: Path) -> None:
    """Otherwise the results of a corrected mask would be those of the wrong one."""
    bare = tio.Subject(image=scan["image"])
    one, alone = with_masks([scan, bare], ["a", "a"])
    assert alone == "a" != one
    assert with_masks([scan, bare], ["a", "a"]) == [one, alone]
    save(tmp_path / "t1.nii.gz", 2)  # the mask's file
    assert with_masks([scan], ["a"]) not in ([one], ["a"])


class TestGivenFiles:
    def test_one_a_list_or_a_text(self, tmp_path: Path) -> None:
        a, b = tmp_path / "a.nii", tmp_path / "b.nii"
        assert given_files(a) == [a]
        assert given_files([str(a), b]) == [a, b]
        assert given_files(f"{a}, {b}") == [a, b]
        assert given_files(Path(f"{a},{b}")) == [a, b]
        save(tmp_path / "x,y.nii")
        assert given_files(tmp_path / "x,y.nii") == [tmp_path / "x,y.nii"]  # a file that is called so
        with pytest.raises(InputError, match="empty"):
            given_files([])

    def test_channels_of_one_grid(self, tmp_path: Path) -> None:
        paths = [save(tmp_path / "a.nii"), save(tmp_path / "b.nii", 2)]
        image = image_from(paths)
        assert image.shape == (2, 4, 5, 6)
        assert torch.equal(image.data[1], 2 * image.data[0])
        assert image_from(paths[:1]).shape == (1, 4, 5, 6)

    def test_channels_of_other_grids(self, tmp_path: Path) -> None:
        first = save(tmp_path / "a.nii")
        for other in (save(tmp_path / "b.nii", shape=(4, 5, 7)), save(tmp_path / "c.nii", shift=1.5)):
            with pytest.raises(InputError, match=rf"a\.nii \(4 x 5 x 6 voxels.*{other.name}.* do not lie on one grid"):
                image_from([first, other])

    def test_files_that_cannot_be_used_are_told_together(self, tmp_path: Path) -> None:
        (tmp_path / "b.nii").write_bytes(b"")
        with pytest.raises(InputError) as caught:
            image_from([save(tmp_path / "a.nii"), tmp_path / "b.nii", tmp_path / "c.nii"])
        assert "b.nii is empty" in str(caught.value)
        assert "c.nii does not exist" in str(caught.value)
