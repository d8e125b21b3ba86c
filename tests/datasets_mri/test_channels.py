"""Several channels, masks and maps of each person."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio

from xai_core import ConfigError, InputError, registry
from xai_datasets_mri._channels import StackedImage

SHAPE = (6, 7, 8)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.5, 0, -20], [0, 0, 3, -10], [0, 0, 0, 1]])


def save(path: Path, value: float, shape: tuple[int, ...] = SHAPE, affine: Any = AFFINE, dtype: Any = np.int16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = (np.arange(np.prod(shape)).reshape(shape) * value).astype(dtype)
    image = nib.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.to_filename(path)
    return path


class TestStackedImage:
    @pytest.fixture
    def paths(self, tmp_path: Path) -> list[Path]:
        return [save(tmp_path / "a.nii", 1), save(tmp_path / "b.nii.gz", 0.5, dtype=np.float32)]

    def test_channels_are_the_files_in_their_order(self, paths: list[Path]) -> None:
        image = StackedImage(paths)
        for channel, path in zip(image.data, paths, strict=True):
            assert np.array_equal(channel.numpy(), np.asanyarray(nib.load(path).dataobj))
        assert image.shape == (2, *SHAPE)
        assert np.allclose(image.affine, AFFINE)

    def test_the_grid_is_known_without_reading(self, paths: list[Path]) -> None:
        image = StackedImage(paths)
        assert image.shape == (2, *SHAPE)
        assert image.spatial_shape == SHAPE
        assert np.allclose(image.affine, AFFINE)
        assert image.spacing == (2.0, 2.5, 3.0)
        assert not image._loaded

    @pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
    def test_copies(self, paths: list[Path], twin: Any) -> None:
        for image in (StackedImage(paths), StackedImage(paths)):
            other = twin(image)
            assert isinstance(other, StackedImage)
            assert torch.equal(other.data, StackedImage(paths).data)
            assert not image._loaded
        image.load()
        assert torch.equal(twin(image).data, image.data)

    def test_transforms_see_both_channels(self, paths: list[Path]) -> None:
        subject = tio.Subject(image=StackedImage(paths), subject_id="1")
        cropped = tio.Crop((1, 1, 0, 0, 2, 0))(subject)["image"]
        assert cropped.shape == (2, 4, 7, 6)
        assert torch.equal(cropped.data, StackedImage(paths).data[:, 1:-1, :, 2:])
        assert np.allclose(cropped.affine @ [0, 0, 0, 1], AFFINE @ [1, 0, 2, 1])
        assert subject["image"].shape == (2, *SHAPE)

    @pytest.mark.parametrize(
        ("shape", "shift", "said"),
        [((6, 7, 9), 0, "6 x 7 x 9 voxels, not 6 x 7 x 8"), (SHAPE, 3.0, "shifted by up to 3.0")],
    )
    def test_files_of_another_grid_are_refused(
        self, paths: list[Path], tmp_path: Path, shape: tuple[int, ...], shift: float, said: str
    ) -> None:
        affine = AFFINE.copy()
        affine[0, 3] += shift
        other = save(tmp_path / "c.nii", 1, shape, affine)
        with pytest.raises(InputError, match=said):
            StackedImage([*paths, other]).load()

    def test_affines_that_differ_in_the_last_digits_are_one_grid(self, paths: list[Path], tmp_path: Path) -> None:
        other = save(tmp_path / "c.nii", 1, SHAPE, AFFINE + np.eye(4) * [1e-5, 1e-5, 1e-5, 0])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert StackedImage([*paths, other]).data.shape == (3, *SHAPE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for n in (1, 2, 3):
        save(tmp_path / f"sub-{n}/anat/sub-{n}_T1w.nii.gz", n)
        save(tmp_path / f"sub-{n}/anat/sub-{n}_FLAIR.nii.gz", 10 * n)
        save(tmp_path / f"derivatives/prep/sub-{n}/anat/sub-{n}_desc-brain_mask.nii.gz", 0)
        if n > 1:
            save(tmp_path / f"derivatives/lst/sub-{n}/anat/sub-{n}_label-lesion_mask.nii.gz", 0)
            save(tmp_path / f"fa/{n}.nii.gz", 1)
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tdx\tfa_path\tage\nsub-1\tCN\tn/a\t60\nsub-2\tMCI\tfa/2.nii.gz\t70\nsub-3\tAD\tfa/3.nii.gz\t80\n"
    )
    return tmp_path


CHANNELS = {"flair": {"suffix": "FLAIR"}, "t1w": {"suffix": "T1w"}}


def read(root: Path, **params: Any) -> list[tio.Subject]:
    given = {"bids": str(root), "target": "dx", **params}
    return list(registry.create("dataset", "participants", **given).subjects())


def test_channels_masks_and_maps(root: Path) -> None:
    subjects = read(
        root,
        channels=CHANNELS,
        mask={"derivative": "prep", "entities": {"desc": "brain"}},
        maps={"lesions": {"derivative": "lst", "suffix": "mask"}, "fa": "fa_path"},
    )
    for n, subject in enumerate(subjects, 1):
        names = [Path(path).name for path in subject["image"].path]
        assert names == [f"sub-{n}_FLAIR.nii.gz", f"sub-{n}_T1w.nii.gz"]
        assert isinstance(subject["mask"], tio.LabelMap)
        assert subject["mask"].path.name == f"sub-{n}_desc-brain_mask.nii.gz"
        assert ("map_lesions" in subject, "map_fa" in subject) == (n > 1, n > 1)
        assert "fa_path" not in subject
        assert not subject["image"]._loaded
    assert isinstance(subjects[1]["map_lesions"], tio.LabelMap)
    assert type(subjects[1]["map_fa"]) is tio.ScalarImage
    assert subjects[2]["map_fa"].path == root / "fa/3.nii.gz"
    assert subjects[2]["image"].data[:, 0, 0, 1].tolist() == [30, 3]


def test_columns_of_paths_as_channels(root: Path) -> None:
    rows = [
        f"{n}\tsub-{n}/anat/sub-{n}_T1w.nii.gz\tsub-{n}/anat/sub-{n}_FLAIR.nii.gz\t{d}" for n, d in ((1, "a"), (2, "b"))
    ]
    (root / "t.tsv").write_text("\n".join(["participant_id\tt1\tfl\tdx", *rows]))
    subjects = read(root, table=str(root / "t.tsv"), bids=None, channels={"t1w": "t1", "flair": "fl"})
    assert [Path(path).name for path in subjects[1]["image"].path] == ["sub-2_T1w.nii.gz", "sub-2_FLAIR.nii.gz"]
    assert set(subjects[0]) == {"image", "target", "subject_id"}


def test_the_names_of_the_channels(root: Path) -> None:
    made = registry.create("dataset", "participants", bids=str(root), target="dx", channels=CHANNELS)
    assert made.channel_names == ("flair", "t1w")
    assert registry.create("dataset", "participants", bids=str(root), target="dx").channel_names is None


def test_a_missing_channel_and_a_missing_mask_are_told_together(root: Path) -> None:
    (root / "sub-2/anat/sub-2_FLAIR.nii.gz").unlink()
    (root / "derivatives/prep/sub-3/anat/sub-3_desc-brain_mask.nii.gz").unlink()
    with pytest.raises(InputError) as caught:
        read(root, channels=CHANNELS, mask={"derivative": "prep"})
    assert "no FLAIR image (anat) of 1 of the 3 rows" in str(caught.value)
    assert "sub-2 (row 3)" in str(caught.value)
    assert "no mask image (anat) of 1 of the 3 rows" in str(caught.value)
    assert "sub-3 (row 4)" in str(caught.value)
    params = {"channels": CHANNELS, "missing_image": "drop", "mask": {"derivative": "prep"}}
    assert [s["subject_id"] for s in read(root, **params)] == ["1"]
    made = registry.create("dataset", "participants", bids=str(root), target="dx", **params)
    assert [row["reason"] for row in made.left_out()] == ["no FLAIR image (anat)", "no mask image (anat)"]


def test_a_mask_that_may_be_missing_and_a_map_that_must_not(root: Path) -> None:
    (root / "derivatives/prep/sub-3/anat/sub-3_desc-brain_mask.nii.gz").unlink()
    subjects = read(root, mask={"derivative": "prep", "required": False})
    assert ["mask" in s for s in subjects] == [True, True, False]
    with pytest.raises(InputError, match=r"no mask image \(anat\) of 1 of the 3 rows"):
        read(root, maps={"lesions": {"derivative": "lst", "suffix": "mask", "required": True}})


def test_a_map_that_nobody_has_and_a_path_that_is_wrong(root: Path) -> None:
    with pytest.raises(InputError, match=r"holds no PVS image \(anat\) \(maps\.pvs\) of anybody"):
        read(root, maps={"pvs": {"suffix": "PVS"}})
    (root / "fa/3.nii.gz").unlink()
    with pytest.raises(
        InputError, match=r"1 of 3 files of the column 'fa_path' cannot be used\. row 4: .*does not exist"
    ):
        read(root, maps={"fa": "fa_path"})


def test_columns_that_are_called_like_an_image(root: Path) -> None:
    table = (root / "participants.tsv").read_text().replace("age", "mask")
    (root / "participants.tsv").write_text(table)
    assert read(root)[0]["mask_"] == 60
    (root / "participants.tsv").write_text(table.replace("mask", "map_fa"))
    assert read(root)[0]["map_fa"] == 60
    assert read(root, maps={"fa": "fa_path"})[0]["map_fa_"] == 60


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"channels": CHANNELS, "suffix": "FLAIR"}, "with 'channels', say 'suffix' in each channel"),
        ({"channels": {"t1-w": {}}}, "'t1-w' cannot name an image"),
        ({"maps": {"x": {"derivative": "y"}}}, "maps.x: say which files"),
        ({"bids": None, "table": "t.tsv", "image": "p", "mask": {"suffix": "mask"}}, "mask: give a 'column'"),
    ],
)
def test_parameters_that_do_not_fit_together(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.create("dataset", "participants", **{"bids": "x", "target": "dx", **params})
