"""Brain extraction, N4 and registration of whole heads."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
import torchio as tio
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

from xai_core import ConfigError, InputError, registry
from xai_core.engine.spatial import check_geometry, to_scan_grid
from xai_datasets_mri import _brain, _registration
from xai_datasets_mri._engines import ENGINES, similarity_to_template, template
from xai_datasets_mri._itk import one_thread
from xai_datasets_mri._mni import brain_mask, mni_grid

Array = npt.NDArray[Any]


def build(name: str, **params: Any) -> Any:
    return registry.create("transform", name, **params).build()


def scan(values: Array, affine: Array, **more: Any) -> tio.Subject:
    data = torch.from_numpy(np.ascontiguousarray(values if values.ndim == 4 else values[None]))
    return tio.Subject(image=tio.ScalarImage(tensor=data, affine=affine), subject_id="sub-1", **more)


def label(mask: Array, affine: Array) -> tio.LabelMap:
    return tio.LabelMap(tensor=torch.from_numpy(np.ascontiguousarray(mask).astype(np.uint8))[None], affine=affine)


def turn(x: float, y: float, z: float, move: tuple[float, float, float]) -> Array:
    """Return a rotation about the three axes (degrees), one after the other, and a translation (mm)."""
    matrix = np.eye(4)
    for angle, (i, j) in zip(np.radians((x, y, z)), ((1, 2), (2, 0), (0, 1)), strict=True):
        step = np.eye(4)
        step[i, i] = step[j, j] = np.cos(angle)
        step[j, i], step[i, j] = np.sin(angle), -np.sin(angle)
        matrix = step @ matrix
    matrix[:3, 3] = move
    return matrix


@pytest.fixture(scope="module")
def head() -> tuple[Array, Array]:
    """The ICBM152 brain at 2 mm and its affine, its axes permuted and flipped."""
    image = load_mni152_template(resolution=2)
    values = np.asarray(image.dataobj, dtype=np.float32)
    affine = np.array(image.affine)
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = values.shape[1] - 1
    return np.ascontiguousarray(values[:, ::-1].transpose(2, 0, 1)), (affine @ flip)[:, [2, 0, 1, 3]]


class TestBrainExtraction:
    AFFINE = np.diag([-2.0, 3, 4, 1])

    def test_a_given_mask(self) -> None:
        values = np.random.default_rng(0).normal(0, 1, (2, 10, 11, 12)).astype(np.float32)
        mask = np.zeros((10, 11, 12), bool)
        mask[2:7, 3:9, 4:8] = True
        extracted = build("brain-extraction", method="mask")(scan(values, self.AFFINE, mask=label(mask, self.AFFINE)))
        found = extracted["image"].data.numpy()
        assert np.array_equal(found[:, mask], values[:, mask])
        assert (found[:, ~mask] == 0).all()
        assert not np.signbit(found[:, ~mask]).any()
        assert np.array_equal(extracted["mask"].data[0].numpy(), mask)

    @pytest.mark.parametrize(("dilation", "size"), [(2, 7 * 5 * 5), (3, 7 * 7 * 5 - 4 * 5), (-2, 3 * 5 * 5), (0, 125)])
    def test_dilation_is_in_mm(self, dilation: float, size: int) -> None:
        """Voxels of 2 x 3 x 4 mm: 2 mm is one voxel along the first axis, 3 mm one along the second, too."""
        mask = np.zeros((11, 11, 11), bool)
        mask[3:8, 3:8, 3:8] = True
        subject = scan(np.random.default_rng(0).random((11, 11, 11), np.float32) + 1, self.AFFINE)
        subject.add_image(label(mask, self.AFFINE), "mask")
        extracted = build("brain-extraction", method="mask", dilation=dilation)(subject)
        assert int((extracted["image"].data != 0).sum()) == size

    def test_masks_that_do_not_fit(self) -> None:
        values = np.random.default_rng(0).random((4, 5, 6), np.float32)
        extract = build("brain-extraction", method="mask")
        with pytest.raises(InputError, match=r"comes without a mask .*truth"):
            extract(scan(values, self.AFFINE, truth=label(values > 0.5, self.AFFINE)))
        with pytest.raises(InputError, match="another grid"):
            extract(scan(values, self.AFFINE, mask=label(values > 0.5, np.eye(4))))
        with pytest.raises(InputError, match="is empty"):
            extract(scan(values, self.AFFINE, mask=label(values > 2, self.AFFINE)))
        shrink = build("brain-extraction", method="mask", dilation=-50)
        with pytest.raises(InputError, match="no brain is left"):
            shrink(scan(values, self.AFFINE, mask=label(values > 0.5, self.AFFINE)))
        for bad, text in ((np.nan, "NaN"), (0, "everywhere")):
            with pytest.raises(InputError, match=text):
                extract(scan(values * np.float32(bad), self.AFFINE, mask=label(values > 0.5, self.AFFINE)))

    def test_without_deepbet_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from xai_datasets_mri import brain

        monkeypatch.setattr(brain, "find_spec", lambda _: None)
        with pytest.raises(InputError, match=r"pip install 'xai-datasets-mri\[brain-extraction\]'"):
            build("brain-extraction")
        build("brain-extraction", method="mask")

    @pytest.fixture
    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """A package in deepbet's place that takes for brain what is bright in the scan as it is given."""
        asked: dict[str, Any] = {}

        class Stand:
            def __init__(self, no_gpu: bool) -> None:
                asked["no_gpu"] = no_gpu

            def run(self, image: nib.Nifti1Image, threshold: float) -> tuple[None, nib.Nifti1Image, None]:
                values = np.asarray(image.dataobj)
                asked["affine"] = image.affine
                if values.max() < 0.2:
                    raise AssertionError("Not enough foreground")
                return None, nib.Nifti1Image((values > threshold).astype(np.uint8), image.affine), None

        module = ModuleType("deepbet")
        module.BrainExtraction = Stand  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "deepbet", module)
        from xai_datasets_mri import brain

        monkeypatch.setattr(brain, "find_spec", lambda _: True)
        _brain._networks.cache_clear()
        return asked

    def test_deepbets_mask_is_laid_on_every_channel(self, stand_in: dict[str, Any]) -> None:
        values = np.random.default_rng(0).random((2, 40, 50, 45)).astype(np.float32)
        extracted = build("brain-extraction", threshold=0.4, channel=1)(scan(values, self.AFFINE))
        assert np.array_equal(extracted["image"].data.numpy(), np.where(values[1] > 0.4, values, 0))
        assert stand_in["no_gpu"]
        assert np.array_equal(stand_in["affine"], self.AFFINE)

    def test_what_is_no_head_is_refused(self, stand_in: dict[str, Any]) -> None:
        values = np.random.default_rng(0).random((40, 50, 45)).astype(np.float32)
        with pytest.raises(InputError, match=r"sub-1.* of a whole head"):
            build("brain-extraction")(scan(values * np.float32(0.1), self.AFFINE))
        with pytest.raises(InputError, match="a brain of 10 ml in sub-1"):  # half of 90,000 voxels of 0.6 mm
            build("brain-extraction")(scan(values, np.diag([0.6, 0.6, 0.6, 1])))
        with pytest.raises(InputError, match="no channel 1"):
            build("brain-extraction", channel=1)(scan(values, self.AFFINE))

    def test_deepbet_itself(self, head: tuple[Array, Array]) -> None:
        """The template has no skull; what it finds is the brain, whatever the order of the axes."""
        pytest.importorskip("deepbet")
        _brain._networks.cache_clear()
        values, affine = head
        extracted = build("brain-extraction")(scan(values, affine))["image"]
        assert torch.equal(extracted.data[extracted.data != 0], torch.from_numpy(values)[None][extracted.data != 0])
        truth = brain_mask(values.shape, affine)
        found = extracted.data[0].numpy() != 0
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93


class TestN4:
    def field_and_brain(self) -> tuple[Array, Array, Array]:
        """A brain of two tissues (values 60 and 100), a smooth field and where it is."""
        x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 44, 36)), indexing="ij")
        inside = x**2 + y**2 + z**2 < 0.8
        tissue = np.where((np.sin(6 * x) + np.cos(7 * y) + np.sin(5 * z)) > 0, 100.0, 60.0) * inside
        field = np.exp(0.35 * x - 0.25 * y * z + 0.2 * z)
        return tissue.astype(np.float32), field.astype(np.float32), inside

    def test_a_known_field_is_taken_out(self) -> None:
        tissue, field, inside = self.field_and_brain()
        corrected = build("n4-bias-correction", masking="nonzero", shrink_factor=2)(
            scan(tissue * field, np.diag([4.0, 4, 4, 1]))
        )["image"].data[0].numpy()  # fmt: skip
        before = np.log(field[inside]).std()
        after = np.log(corrected[inside] / tissue[inside]).std()
        assert after < 0.2 * before, (before, after)
        assert (corrected[~inside] == 0).all()

    def test_it_is_simpleitks(self) -> None:
        tissue, field, _ = self.field_and_brain()
        values = tissue * field
        image = sitk.GetImageFromArray(values.T)
        image.SetSpacing((3.0, 3.5, 4.0))
        inside = sitk.BinaryThreshold(image, 1e-6, 1e9, 1, 0)
        n4 = sitk.N4BiasFieldCorrectionImageFilter()
        n4.SetMaximumNumberOfIterations([20, 10])
        n4.SetConvergenceThreshold(0.001)
        n4.Execute(sitk.Shrink(image, [2] * 3), sitk.Shrink(inside, [2] * 3))
        expected = sitk.GetArrayFromImage(image / sitk.Exp(n4.GetLogBiasFieldAsImage(image))).T
        params = {"masking": "nonzero", "shrink_factor": 2, "iterations": [20, 10]}
        found = build("n4-bias-correction", **params)(scan(values, np.diag([3.0, 3.5, 4.0, 1])))["image"].data[0]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)

    def test_channels_have_their_own_fields(self) -> None:
        tissue, field, _ = self.field_and_brain()
        two = np.stack([tissue * field, tissue / field])
        correct = build("n4-bias-correction", iterations=[5])
        both = correct(scan(two, np.eye(4)))["image"].data
        for channel in (0, 1):
            assert torch.equal(both[channel], correct(scan(two[channel], np.eye(4)))["image"].data[0])

    def test_what_has_no_field(self) -> None:
        values = np.random.default_rng(0).normal(0, 1, (9, 9, 9)).astype(np.float32)
        with pytest.raises(InputError, match=r"sub-1 are negative.*before z-normalization"):
            build("n4-bias-correction")(scan(values, np.eye(4)))
        with pytest.raises(InputError, match="everywhere"):
            build("n4-bias-correction")(scan(np.ones((9, 9, 9), np.float32), np.eye(4)))


WORLD = turn(14, -9, 12, (15, -30, 20))


@pytest.fixture(scope="module")
def turned(head: tuple[Array, Array]) -> tuple[tio.Subject, tio.Subject]:
    """The template in a turned world with its brain as a mask, and the same registered again."""
    values, affine = head
    mask = label(brain_mask(values.shape, affine), WORLD @ affine)
    subject = scan(values, WORLD @ affine, ground_truth=mask)
    return subject, build("register-to-mni", kind="rigid", spacing=3, margin=6)(subject)


class TestRegistration:
    def test_a_turned_template_is_found_and_its_map_returns(
        self, head: tuple[Array, Array], turned: tuple[tio.Subject, tio.Subject]
    ) -> None:
        """The world is turned: what the registration finds must turn it back, and a map must land on its voxels."""
        values, affine = head
        world = WORLD
        subject, registered = turned
        mask = subject["ground_truth"]
        found = np.array(registered["to_mni"]) @ world
        np.testing.assert_allclose(found[:3, :3], np.eye(3), atol=0.005)
        corners = np.array([[x, y, z, 1] for x in (-70, 70) for y in (-100, 70) for z in (-60, 80)])
        assert np.linalg.norm(corners @ (found - np.eye(4)).T, axis=1).max() < 0.7
        shape, grid = mni_grid(3, 6)
        image = registered["image"]
        assert image.spatial_shape == registered["ground_truth"].spatial_shape == shape
        np.testing.assert_allclose(np.array(registered["to_mni"]) @ image.affine, grid, atol=1e-6)
        # In MNI space it is the template, and its mask the template's mask.
        truth = brain_mask(shape, grid)
        overlap = registered["ground_truth"].data[0].numpy() > 0
        assert 2 * (overlap & truth).sum() / (overlap.sum() + truth.sum()) > 0.97
        # A map of the image itself, brought back, is the scan, voxel for voxel: shifted by 2 mm it fits worse.
        returned = to_scan_grid(image.data.numpy(), image.affine, values.shape, world @ affine)[0]
        brain = mask.data[0].numpy() > 0
        straight = np.corrcoef(returned[brain], values[brain])[0, 1]
        assert straight > 0.9
        for axis in range(3):
            for step in (-1, 1):
                assert np.corrcoef(np.roll(returned, step, axis)[brain], values[brain])[0, 1] < straight - 0.02
        # mni-brain after it knows the way: it keeps what lies in the template's brain.
        masked = build("mni-brain")(registered)["image"].data[0].numpy()
        assert not (masked[~truth] != 0).any()
        assert (masked[truth] != 0).mean() > 0.98
        again = build("mni-grid", spacing=4)(registered)["image"]
        np.testing.assert_allclose(np.array(registered["to_mni"]) @ again.affine, mni_grid(4, 4)[1], atol=1e-6)

    def test_the_same_scan_gives_the_same_result(
        self, head: tuple[Array, Array], turned: tuple[tio.Subject, tio.Subject]
    ) -> None:
        values, _ = head
        subject, registered = turned
        with one_thread():
            again = ENGINES["simpleitk"](values, np.asarray(subject["image"].affine), "rigid")
        assert np.array_equal(np.linalg.inv(again), registered["to_mni"])

    def test_scaled_and_sheared_heads_need_affine(self, head: tuple[Array, Array]) -> None:
        values, affine = head
        world = turn(-8, 5, 10, (-10, 20, -15)) @ np.diag([1.12, 0.92, 1.05, 1])
        found = np.linalg.inv(_by_simpleitk_of_orthogonal(values, affine, world)) @ world
        corners = np.array([[x, y, z, 1] for x in (-70, 70) for y in (-100, 70) for z in (-60, 80)])
        assert np.linalg.norm(corners @ (found - np.eye(4)).T, axis=1).max() < 2.5

    def test_mutual_information_tells_a_match(self) -> None:
        brain, _, grid = template()
        there = similarity_to_template(brain, grid, np.eye(4))
        beside = similarity_to_template(brain, grid, turn(0, 0, 0, (15, 0, 0)))
        noise = similarity_to_template(np.random.default_rng(0).random(brain.shape, np.float32), grid, np.eye(4))
        assert there > 1.5 > 0.6 > beside > 0.05 > noise

    def test_what_does_not_match_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        noise = np.random.default_rng(0).random((20, 24, 20), np.float32)
        monkeypatch.setattr(_registration, "ENGINES", {"simpleitk": lambda *_: np.eye(4)})
        with pytest.raises(InputError, match=r"sub-1 does not match the MNI brain \(mutual information 0.0"):
            build("register-to-mni")(scan(noise, np.diag([8.0, 8, 8, 1])))
        with pytest.raises(InputError, match="no channel 3"):
            build("register-to-mni", channel=3)(scan(noise, np.diag([8.0, 8, 8, 1])))
        sheared = np.eye(4)
        sheared[0, 1] = 0.2
        with pytest.raises(InputError, match="not at right angles"):
            build("register-to-mni")(scan(noise, sheared))

    @pytest.mark.parametrize("wrong", [turn(0, 0, 180, (0, 0, 0)), turn(180, 0, 0, (0, 0, 0))])
    def test_a_brain_the_wrong_way_round_is_refused(
        self, head: tuple[Array, Array], wrong: Array, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It fills the template's outline nearly as well as the right one."""
        values, affine = head
        monkeypatch.setattr(_registration, "ENGINES", {"simpleitk": lambda *_: wrong})
        with pytest.raises(InputError, match="if mirrored"):
            build("register-to-mni")(scan(values, affine))
        monkeypatch.setattr(_registration, "ENGINES", {"simpleitk": lambda *_: turn(2, 2, 2, (2, 2, 2))})
        build("register-to-mni", spacing=6)(scan(values, affine))

    def test_a_warp_is_refused_with_the_reason(self) -> None:
        with pytest.raises(ConfigError, match=r"'nonlinear'.*relevance map finds its way back .* cannot hold a warp"):
            build("register-to-mni", kind="nonlinear")

    def test_ants(self, head: tuple[Array, Array]) -> None:
        """Both engines find the same place."""
        pytest.importorskip("ants")
        values, affine = head
        one, two = (ENGINES[name](values, WORLD @ affine, "rigid") for name in ("simpleitk", "ants"))
        corners = np.array([[x, y, z, 1] for x in (-70, 70) for y in (-100, 70) for z in (-60, 80)])
        assert np.linalg.norm(corners @ (one - two).T, axis=1).max() < 1

    def test_without_ants_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from xai_datasets_mri import registration

        monkeypatch.setattr(registration, "find_spec", lambda _: None)
        with pytest.raises(InputError, match=r"pip install 'xai-datasets-mri\[ants\]'"):
            build("register-to-mni", engine="ants")


def _by_simpleitk_of_orthogonal(values: Array, affine: Array, world: Array) -> Array:
    """Register a head that is scaled and turned: resampled in SimpleITK's absence by hand onto an upright grid."""
    from scipy import ndimage

    grid = np.diag([3.0, 3, 3, 1])
    grid[:3, 3] = (-120, -150, -120)
    mapping = np.linalg.inv(world @ affine) @ grid
    moved = ndimage.affine_transform(values, mapping[:3, :3], mapping[:3, 3], (80, 95, 80), order=1)
    return ENGINES["simpleitk"](moved, grid, "affine")


def test_a_transformed_geometry_with_shear_passes_the_cores_check(
    head: tuple[Array, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an affine registration makes of the affine is legal to the core: no anatomy moves in the scan's world."""
    values, affine = head
    to_scan = np.array([[1.1, 0.2, -0.1, 8], [-0.15, 0.95, 0.3, -5], [0.1, -0.2, 1.05, 12], [0, 0, 0, 1]])
    monkeypatch.setattr(_registration, "ENGINES", {"simpleitk": lambda *_: to_scan})
    monkeypatch.setattr(_registration, "_check_match", lambda *_: None)
    register = build("register-to-mni", spacing=4)
    check_geometry(scan(values, affine), register)
    # A spot in the scan is a spot at its place in MNI space, and its relevance comes back to it.
    spot = np.zeros(values.shape, np.float32)
    place = (40, 50, 60)
    spot[38:43, 48:53, 58:63] = 1
    registered = register(scan(spot, affine))["image"]
    index = np.unravel_index(int(registered.data.argmax()), registered.spatial_shape)
    in_mni = mni_grid(4, 4)[1] @ [*index, 1]
    expected = np.linalg.inv(to_scan) @ affine @ [*place, 1]
    assert np.linalg.norm(in_mni - expected) < 5
    returned = to_scan_grid(registered.data.numpy(), registered.affine, values.shape, affine)[0]
    centre = (np.argwhere(returned >= 0) * returned.ravel()[:, None]).sum(axis=0) / returned.sum()
    np.testing.assert_allclose(centre, place, atol=0.4)
    # And what mni-brain takes away is what lies outside of the brain in MNI space.
    after = build("mni-brain")(register(scan(np.ones(values.shape, np.float32) + spot, affine)))["image"].data[0]
    assert np.array_equal(after.numpy() != 0, brain_mask(*mni_grid(4, 4)) & (after.numpy() != 0))
    assert np.asarray(load_mni152_brain_mask(resolution=4).dataobj).any()
