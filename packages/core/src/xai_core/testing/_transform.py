"""The suite for transforms."""

from __future__ import annotations

import io
from typing import Any, cast

import numpy as np
import torch
import torchio as tio

from ..engine.preprocessing import is_random
from ..engine.scans import image_of
from ..engine.seeding import seeded
from ..engine.spatial import check_geometry, to_scan_grid
from ..errors import InputError
from ._base import ComponentConformance

__all__ = ["TransformConformance"]


class TransformConformance(ComponentConformance):
    """Checks for transforms."""

    kind = "transform"

    def subject(self) -> tio.Subject:
        """Return a scan with a mask, its axes flipped and off the origin."""
        generator = torch.Generator().manual_seed(1)
        data = torch.rand((1, 24, 28, 26), generator=generator)
        data[:, :4] = 0
        affine = np.diag([-3.0, 3.0, 4.0, 1.0])
        affine[:3, 3] = (40, -45, -50)
        mask = (data > 0.7).to(torch.uint8)
        return tio.Subject(
            image=tio.ScalarImage(tensor=data, affine=affine),
            ground_truth=tio.LabelMap(tensor=mask, affine=affine),
            subject_id="sub-1",
            target="a",
        )

    def marked(self) -> tuple[tio.Subject, tio.Subject, np.ndarray[Any, Any]]:
        """Return the scan with a dark and with a bright spot, and the spot's place in the world (mm)."""
        dark, bright = self.subject(), self.subject()
        image = image_of(dark)
        centre = [int(0.64 * n) if axis != 1 else int(0.35 * n) for axis, n in enumerate(image.spatial_shape)]
        spot = (slice(None), *(slice(i - 1, i + 2) for i in centre))
        image.data[spot] = 0.1
        image_of(bright).data[spot] = 0.95
        return dark, bright, np.asarray(image.affine) @ [*centre, 1]

    def built(self, *training: tio.Subject) -> tio.Transform:
        """Return the ``torchio.Transform``, fitted where it learns; default: to the one scan of ``subject``."""
        transform = self.create().build()
        assert isinstance(transform, tio.Transform), f"build returned {type(transform).__name__}"
        if hasattr(transform, "fit"):
            transform.fit(training or [self.subject()])
        return transform

    def two_channels(self) -> tio.Subject:
        """Return the scan with a second channel: the first, turned round in its values."""
        subject = self.subject()
        data = image_of(subject).data
        image_of(subject).set_data(torch.cat([data, torch.where(data == 0, 0.0, 1.1 - data)]))
        return subject

    def test_result_is_usable(self) -> None:
        """The image stays finite, and mask and image stay on one grid."""
        with seeded(0):
            result = self.built()(self.subject())
        image, mask = image_of(result), cast(tio.LabelMap, result["ground_truth"])
        assert bool(torch.isfinite(image.data).all()), "NaN or infinite voxels"
        assert image.spatial_shape == mask.spatial_shape, f"image {image.spatial_shape}, mask {mask.spatial_shape}"
        assert np.allclose(image.affine, mask.affine, atol=1e-3), "image and mask have different affines"
        assert set(mask.data.unique().tolist()) <= {0, 1}, "the mask has other values than before"

    def test_input_is_untouched(self) -> None:
        """The scan that went in is the same afterwards."""
        subject = self.subject()
        with seeded(0):
            self.built()(subject)
        for name in ("image", "ground_truth"):
            after, before = cast(tio.Image, subject[name]), cast(tio.Image, self.subject()[name])
            assert torch.equal(after.data, before.data), f"the voxels of {name} were changed in place"
            assert np.array_equal(after.affine, before.affine), f"the affine of {name} was changed in place"

    def test_same_seed_same_result(self) -> None:
        """Random transforms follow torch's seed."""
        results = []
        for _ in range(2):
            with seeded(4):
                results.append(image_of(self.built()(self.subject())).data)
        assert torch.equal(results[0], results[1]), "one seed gave two results"

    def test_affine_tells_the_geometry(self) -> None:
        """Voxels move only together with the affine, or a relevance map would lie beside its scan."""
        transform = self.built()
        if is_random(transform):
            return
        try:
            check_geometry(self.subject(), transform)
        except InputError as error:
            raise AssertionError(str(error)) from error

    def test_image_follows_its_affine(self) -> None:
        """A spot of the image stays where it is in the world, and its mask is not needed for that."""
        transform = self.built()
        if is_random(transform):
            return
        dark, bright, place = self.marked()
        image = image_of(transform(bright))
        change = (image.data.double() - image_of(transform(dark)).data.double()).abs().sum(0)
        if float(change.max()) > 0:  # it may have been cropped or clipped
            index = np.unravel_index(int(change.argmax()), tuple(change.shape))
            distance = float(np.linalg.norm((np.asarray(image.affine) @ [*index, 1] - place)[:3]))
            reach = 2 * float(max(*image.spacing, *image_of(dark).spacing))
            assert distance <= reach, f"a spot of the image went {distance:.0f} mm away"
        bright.remove_image("ground_truth")
        assert torch.equal(image_of(transform(bright)).data, image.data), "the image depends on its mask"

    def test_relevance_returns_to_its_voxels(self) -> None:
        """Relevance of a spot, brought back to the scan's grid as a run does it, lies on the spot."""
        transform = self.built()
        if is_random(transform):
            return
        dark, bright, place = self.marked()
        scan = image_of(bright)
        seen, unmarked = image_of(transform(bright)), image_of(transform(dark))
        change = (seen.data.float() - unmarked.data.float()).abs().sum(0, keepdim=True).numpy()
        if change.max() == 0:  # it may have been cropped or clipped
            return
        returned = to_scan_grid(change, np.asarray(seen.affine), scan.spatial_shape, np.asarray(scan.affine))[0]
        assert returned.shape == scan.spatial_shape, f"{returned.shape} for a scan of {scan.spatial_shape}"
        index = np.unravel_index(int(returned.argmax()), returned.shape)
        distance = float(np.linalg.norm((np.asarray(scan.affine) @ [*index, 1] - place)[:3]))
        reach = 2 * float(max(*seen.spacing, *scan.spacing))
        assert distance <= reach, f"relevance of a spot came back {distance:.0f} mm away from it"

    def test_several_channels(self) -> None:
        """An image of two channels keeps both, and its mask."""
        with seeded(0):
            result = self.built(self.two_channels())(self.two_channels())
        image, mask = image_of(result), cast(tio.LabelMap, result["ground_truth"])
        assert image.num_channels == 2, f"{image.num_channels} channels of 2 are left"
        assert bool(torch.isfinite(image.data).all()), "NaN or infinite voxels"
        assert mask.num_channels == 1, f"the mask has {mask.num_channels} channels"

    def test_fitting_leaves_the_scans_alone(self) -> None:
        """The scans that a transform learns from are the same afterwards."""
        subject = self.subject()
        self.built(subject)
        for name in ("image", "ground_truth"):
            after, before = cast(tio.Image, subject[name]), cast(tio.Image, self.subject()[name])
            assert torch.equal(after.data, before.data), f"fit changed the voxels of {name}"
            assert np.array_equal(after.affine, before.affine), f"fit changed the affine of {name}"

    def test_what_was_learnt_is_restored(self) -> None:
        """What ``fit`` learnt is saved, loads with ``weights_only=True``, and gives the same result."""
        transform: Any = self.built()
        if not hasattr(transform, "fit"):
            return
        stream = io.BytesIO()
        torch.save(transform.state_dict(), stream)
        stream.seek(0)
        other: Any = self.create().build()
        other.load_state_dict(torch.load(stream, weights_only=True))
        with seeded(3):
            expected = image_of(transform(self.subject())).data
        with seeded(3):
            found = image_of(other(self.subject())).data
        assert torch.equal(expected, found), "the restored transform gives another result"
