"""Preprocessed scans are made once, for what decides them and nothing else, and are the same as without a cache."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from torch.utils.data import DataLoader

from xai_core import InputError, registry
from xai_core.engine import cache as module
from xai_core.engine import cachefile, cachekey
from xai_core.engine.applying import unread_copy
from xai_core.engine.cache import ScanCache
from xai_core.engine.cachefolder import CacheFolder
from xai_core.engine.preprocessing import Preprocessing, TrainingVolumes
from xai_core.testing import fake_distribution

SHAPE = (6, 7, 5)
SIZE = 4 * 6 * 7 * 5  # bytes of a scan's voxels

PLUGIN = """
import random

import numpy as np
import torch
import torchio as tio
from xai_core import Transform

CALLS = []


class Step(tio.Transform):
    def __init__(self, name, function):
        super().__init__()
        self.name_, self.function = name, function

    def apply_transform(self, subject):
        CALLS.append(self.name_)
        return self.function(subject) or subject


def times(factor):
    def function(subject):
        subject["image"].set_data(subject["image"].data.float() * factor)
    return function


def by_age(subject):
    subject["image"].set_data(subject["image"].data.float() * subject["age"])


def brain(subject):
    subject["image"].set_data(subject["image"].data * subject["mask"].data)


def finds_brain(subject):
    found = (subject["image"].data > 0.5).to(torch.uint8)
    subject.add_image(tio.LabelMap(tensor=found, affine=subject["image"].affine), "mask")
    subject["volume_ml"] = float(found.sum())


def uses_finding(subject):
    subject["image"].set_data(subject["image"].data * subject["mask"].data + subject["volume_ml"])


def tilted(subject):
    for image in subject.get_images(intensity_only=False):
        image.set_data(image.data.permute(0, 3, 2, 1))


def tilted_and_told(subject):
    for image in subject.get_images(intensity_only=False):
        image.set_data(image.data.permute(0, 3, 2, 1))
        image.affine = image.affine @ np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=float)


def draws(subject):
    number = torch.rand(1).item() + np.random.random() + random.random()
    subject["image"].set_data(subject["image"].data + number)


class Centre(tio.Transform):
    mean = None

    def fit(self, subjects):
        self.mean = float(torch.stack([s["image"].data.double().mean() for s in subjects]).mean())

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]

    def apply_transform(self, subject):
        CALLS.append("centre")
        subject["image"].set_data(subject["image"].data - self.mean)
        return subject


class Base(Transform):
    config_schema = {"type": "object", "additionalProperties": False, "properties": {
        "factor": {"type": "number", "default": 2, "description": "Factor."},
        "table": {"type": ["string", "null"], "format": "path", "default": None, "description": "File."}}}

    def __init__(self, *, factor=2, table=None):
        self.factor = factor


class Scale(Base):
    def build(self):
        return Step("scale", times(self.factor))


class Age(Base):
    def covariates(self):
        return ("age",)

    def build(self):
        return Step("age", by_age)


class SilentAge(Base):
    def build(self):
        return Step("silent", by_age)


class Brain(Base):
    def build(self):
        return Step("brain", brain)


class Finds(Base):
    def build(self):
        return Step("finds", finds_brain)


class Uses(Base):
    def build(self):
        return Step("uses", uses_finding)


class Tilt(Base):
    def build(self):
        return Step("tilt", tilted)


class TiltTold(Base):
    def build(self):
        return Step("tilt-told", tilted_and_told)


class Draws(Base):
    def build(self):
        return Step("draws", draws)


class Fitted(Base):
    def build(self):
        return Centre()


class Noise(Base):
    def build(self):
        return tio.RandomNoise(std=(1, 1))
"""
POINTS = {
    "scale": "Scale", "age": "Age", "silent": "SilentAge", "brain": "Brain", "finds": "Finds", "uses": "Uses",
    "tilt": "Tilt", "tilt-told": "TiltTold", "centre": "Fitted", "noise": "Noise", "draws": "Draws",
}  # fmt: skip

Slot = str | tuple[str, dict[str, Any]]


def install(site: Path, version: str = "1.0", source: str = PLUGIN) -> None:
    for old in site.glob("cached_steps-*.dist-info/*"):
        old.unlink()
    for old in site.glob("cached_steps-*.dist-info"):
        old.rmdir()
    points = {"xai.transforms": {name: f"cached_steps:{kind}" for name, kind in POINTS.items()}}
    fake_distribution(site, "cached-steps", version, entry_points=points, modules={"cached_steps.py": source})
    sys.modules.pop("cached_steps", None)
    cachekey._source.cache_clear()
    registry.refresh()


@pytest.fixture(autouse=True)
def steps(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(site)
    monkeypatch.setenv("XAI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_told", set())
    yield
    cachekey._source.cache_clear()


@pytest.fixture
def people(tmp_path: Path) -> list[tio.Subject]:
    return [person(tmp_path, number) for number in range(4)]


def person(folder: Path, number: int, name: str = "", **more: Any) -> tio.Subject:
    values = np.random.default_rng(number).random(SHAPE, dtype=np.float32) + number
    affine = np.diag([2.0, 2.0, 2.5, 1.0])
    affine[:3, 3] = (-7.25, 3.5, 0.1 * number)
    path = folder / f"{name or number}.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    return tio.Subject(image=tio.ScalarImage(path), subject_id=f"p{number}", target="ab"[number % 2], age=60, **more)


def of(*slots: Slot, cache: ScanCache | None = None, scans: Path | None = None) -> Preprocessing:
    named = [(slot, {}) if isinstance(slot, str) else slot for slot in slots]
    params = {"factor": 2, "table": None}
    return Preprocessing([{"name": n, "params": {**params, **p}} for n, p in named], scans, cache)


def calls() -> list[str]:
    """Return which transforms were applied since the last time, and forget them."""
    found = sys.modules["cached_steps"].CALLS
    made, found[:] = list(found), []
    return made


def values(subject: tio.Subject, name: str = "image") -> np.ndarray[Any, Any]:
    """Return the voxels [C, D, H, W], and leave an image of the study unread."""
    return np.asarray(unread_copy(subject[name]).data.numpy())


def without_cache(monkeypatch: pytest.MonkeyPatch, *slots: Slot) -> Preprocessing:
    with monkeypatch.context() as patch:
        patch.setenv("XAI_CACHE", "off")
        return of(*slots)


def entries() -> list[Path]:
    return sorted(Path(os.environ["XAI_CACHE"]).rglob("*.vol"))


# --- the same result, made once ---------------------------------------------------------------------------------------


def test_made_once_for_every_fold_and_run(people: list[tio.Subject]) -> None:
    made = of("scale").cached(0, people[0])
    assert calls() == ["scale"]
    found = of("scale").cached(3, people[0])
    assert calls() == []
    np.testing.assert_array_equal(values(found), values(made))
    np.testing.assert_array_equal(values(found), 2 * values(people[0]))
    np.testing.assert_array_equal(found["image"].affine, people[0]["image"].affine)
    assert found["image"].path == people[0]["image"].path
    assert (found["subject_id"], found["age"], found["target"]) == ("p0", 60, "a")
    assert type(found["image"]) is tio.ScalarImage


@pytest.mark.parametrize("slots", [(), ("tilt", "scale"), ("scale", "noise", "tilt"), ("finds", "noise", "uses")])
def test_bit_identical_with_and_without_the_cache(
    people: list[tio.Subject], slots: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    off = without_cache(monkeypatch, *slots)
    expected = off.cached(0, people[0])
    assert not entries()
    of(*slots).cached(0, people[0])
    found = of(*slots).cached(0, people[0])
    assert entries()
    for name in found.get_images_dict(intensity_only=False):
        assert found[name].data.dtype == expected[name].data.dtype
        assert found[name].data.stride() == expected[name].data.stride()  # sums in the same order
        assert torch.equal(found[name].data, expected[name].data)
        np.testing.assert_array_equal(found[name].affine, expected[name].affine)
    assert set(found) == set(expected)
    np.testing.assert_array_equal(values(found), values(off.prepare(people[0])))


def test_what_a_transform_adds_is_kept_with_the_images(people: list[tio.Subject]) -> None:
    for _ in range(2):
        found = of("finds").cached(0, people[0])
        assert type(found["mask"]) is tio.LabelMap
        assert found["mask"].data.dtype == torch.uint8
        assert found["volume_ml"] == float((values(people[0]) > 0.5).sum())
    assert calls() == ["finds"]


def test_augmentation_is_the_same_from_an_empty_and_a_full_cache(people: list[tio.Subject]) -> None:
    study = SimpleNamespace(subjects=people, task="classification", target_value=lambda _index: 0)
    drawn = []
    for _ in range(2):
        volumes = TrainingVolumes(study, of("scale", "noise", "scale"), [0, 1], augment=True)
        torch.manual_seed(3)
        drawn.append([volumes[i][0] for i in (0, 1, 0)])
    assert calls().count("scale") == 2 + 2 * 3
    assert all(torch.equal(one, two) for one, two in zip(*drawn, strict=True))
    assert not torch.equal(drawn[0][0], drawn[0][2])


def test_generators_decide_nothing_and_are_left_as_they_were(people: list[tio.Subject]) -> None:
    def draw() -> list[float]:
        return [torch.rand(1).item(), float(np.random.random()), random.random()]

    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        expected = draw()
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        made.append(of("draws").prepare(people[0])["image"].data)
        assert draw() == expected
    assert torch.equal(*made)


def test_voxels_from_the_cache_can_be_written_without_changing_it(people: list[tio.Subject]) -> None:
    of("scale").cached(0, people[0])
    before = entries()[0].read_bytes()
    found = of("scale").cached(0, people[0])
    found["image"].data.zero_()
    assert entries()[0].read_bytes() == before
    np.testing.assert_array_equal(values(of("scale").cached(0, people[0])), 2 * values(people[0]))


def test_random_transforms_and_those_after_the_last_needed_do_not_matter(people: list[tio.Subject]) -> None:
    of("scale").cached(0, people[0])
    assert calls() == ["scale"]
    of("scale", "noise").cached(0, people[0])
    of("scale", "noise", "noise").cached(0, people[0], 1)
    of("scale", "centre").cached(0, people[0], 1)
    assert calls() == []


def test_whole_is_made_from_the_prefix(people: list[tio.Subject]) -> None:
    of("scale", "noise", "tilt").cached(0, people[0], 1)
    assert calls() == ["scale"]
    of("scale", "noise", "tilt").cached(0, people[0])
    assert calls() == ["tilt"]


# --- what decides an entry --------------------------------------------------------------------------------------------


def test_changed_content_is_another_entry_even_with_the_same_size_and_time(people: list[tio.Subject]) -> None:
    of("scale").cached(0, people[0])
    path = people[0]["image"].path
    about = path.stat()
    image = nib.load(path)
    changed = np.asarray(image.dataobj)[::-1].copy()
    nib.save(nib.Nifti1Image(changed, image.affine), path)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    fresh = tio.Subject(image=tio.ScalarImage(path), subject_id="p0", target="a", age=60)
    np.testing.assert_array_equal(values(of("scale").cached(0, fresh))[0], 2 * changed)
    assert len(entries()) == 2


def test_same_content_under_another_name_is_the_same_entry(people: list[tio.Subject], tmp_path: Path) -> None:
    of("scale").cached(0, people[0])
    other = tmp_path / "moved.nii.gz"
    other.write_bytes(people[0]["image"].path.read_bytes())
    found = of("scale").cached(0, tio.Subject(image=tio.ScalarImage(other), subject_id="q", target="b"))
    assert calls() == ["scale"]
    assert (found["subject_id"], found["image"].path) == ("q", other)


@pytest.mark.parametrize("other", [("scale", {"factor": 3}), ("tilt", {}), ("brain", {})])
def test_changed_transform_is_another_entry(people: list[tio.Subject], tmp_path: Path, other: Slot) -> None:
    people[0].add_image(tio.LabelMap(tensor=torch.ones(1, *SHAPE, dtype=torch.uint8)), "mask")
    of("scale").cached(0, people[0])
    calls()
    of(other).cached(0, people[0])
    assert len(calls()) == 1


def test_changed_file_of_a_parameter_is_another_entry(people: list[tio.Subject], tmp_path: Path) -> None:
    table = tmp_path / "table.txt"
    for text in ("one", "other", "one"):
        table.write_text(text)
        of(("scale", {"table": str(table)})).cached(0, people[0])
    assert calls() == ["scale"] * 2


def test_changed_version_is_another_entry(people: list[tio.Subject], site: Path) -> None:
    of("scale").cached(0, people[0])
    install(site, "1.1")
    of("scale").cached(0, people[0])
    assert calls() == ["scale"]  # of the module that was imported anew
    install(site, "1.0")
    of("scale").cached(0, people[0])
    assert calls() == []


def test_changed_code_is_another_entry(people: list[tio.Subject], site: Path) -> None:
    """A package that somebody works on keeps its version."""
    of("scale").cached(0, people[0])
    install(site, source=PLUGIN.replace("float() * factor", "float() * factor + 1"))
    np.testing.assert_array_equal(values(of("scale").cached(0, people[0])), 2 * values(people[0]) + 1)


def test_class_of_this_process_is_not_kept_on_disk(people: list[tio.Subject], site: Path) -> None:
    of("scale")
    registry.register("transform", "mine", sys.modules["cached_steps"].Scale)
    first = of("mine")
    first.cached(0, people[0])
    first.cached(0, people[0])
    assert calls() == ["scale"]
    of("mine").cached(0, people[0])
    assert calls() == ["scale"]
    assert not entries()


def test_changed_mask_is_another_entry(people: list[tio.Subject], tmp_path: Path) -> None:
    for number, inside in enumerate((1, 0, 1)):
        mask = np.full(SHAPE, 1, dtype=np.uint8)
        mask[0] = inside
        path = tmp_path / f"mask-{number}.nii.gz"
        nib.save(nib.Nifti1Image(mask, people[0]["image"].affine), path)
        scan = tio.Subject({**people[0], "mask": tio.LabelMap(path)})
        np.testing.assert_array_equal(values(of("brain").cached(0, scan))[0], values(people[0])[0] * mask)
    assert calls() == ["brain"] * 2


def test_covariate_that_a_transform_names_decides(people: list[tio.Subject]) -> None:
    for age in (60, 61, 60):
        scan = tio.Subject({**people[0], "age": age, "target": f"{age}"})
        np.testing.assert_allclose(values(of("age").cached(0, scan)), age * values(people[0]), rtol=1e-6)
        of("scale").cached(0, scan)
    assert calls() == ["age", "scale", "age"]


def test_covariate_that_no_transform_names_is_not_seen(people: list[tio.Subject]) -> None:
    with pytest.raises(InputError, match=r"^p0: the transform silent failed: KeyError: 'age'\. .*covariates\(\)"):
        of("silent").cached(0, people[0])
    with pytest.raises(InputError, match="covariates"):
        of("silent").prepare(people[0])


def test_several_files_of_one_image(people: list[tio.Subject]) -> None:
    paths = [people[0]["image"].path, people[0]["image"].path]
    two = tio.Subject(image=tio.ScalarImage(paths), subject_id="p")
    assert values(of("scale").cached(0, two)).shape == (2, *SHAPE)
    other = tio.ScalarImage([paths[0], _same_grid(people[1], people[0])])
    found = of("scale").cached(0, tio.Subject(image=other, subject_id="p"))
    np.testing.assert_array_equal(values(found)[1], 2 * values(people[1])[0])
    assert not two["image"]._loaded
    of("scale").cached(0, two)
    assert calls() == ["scale"] * 2


def _same_grid(scan: tio.Subject, other: tio.Subject) -> Path:
    path = Path(scan["image"].path)
    nib.save(nib.Nifti1Image(values(scan)[0], other["image"].affine), path)
    return path


def test_image_with_a_reader_of_its_own_is_not_kept_on_disk(people: list[tio.Subject]) -> None:
    def read(path: Path) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
        return torch.ones(1, *SHAPE), np.eye(4)

    scan = tio.Subject(image=tio.ScalarImage(people[0]["image"].path, reader=read), subject_id="p")
    assert float(values(of("scale").cached(0, scan)).max()) == 2
    assert not entries()


def test_file_that_changes_while_it_is_read_is_not_kept(people: list[tio.Subject], monkeypatch: Any) -> None:
    preprocessing = of("scale")
    preprocessing._keys.key(0, people[0], ("image",), 1)
    path = people[0]["image"].path
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), np.eye(4)), path)
    assert float(values(preprocessing.cached(0, people[0])).max()) == 2
    assert not entries()


def test_hash_that_the_run_remembers_is_not_computed_again(
    people: list[tio.Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xai_core.engine.scans import ScanChecks

    memory = tmp_path / "scans.json"
    ScanChecks(memory).hashes(people, [f"sub-{i}" for i in range(4)])
    of("scale").cached(0, people[0])
    monkeypatch.setattr(cachekey, "content_hash", lambda _path: pytest.fail("hashed"))
    of("scale", scans=memory).cached(0, people[0])
    assert calls() == ["scale"]


# --- transforms that learn --------------------------------------------------------------------------------------------


def test_folds_share_what_comes_before_a_fitted_transform_and_nothing_after(people: list[tio.Subject]) -> None:
    first, second = of("scale", "centre", "tilt"), of("scale", "centre", "tilt")
    first.fit(people[:2])
    second.fit(people[2:])
    assert calls() == ["scale"] * 4
    one, two = first.cached(0, people[0]), second.cached(0, people[0])
    assert calls() == ["centre", "tilt"] * 2
    difference = second.transforms[1].mean - first.transforms[1].mean
    assert difference == pytest.approx(4, abs=0.5)
    np.testing.assert_allclose(values(one) - values(two), difference, atol=1e-5)


def test_loaded_fold_finds_what_the_fitted_one_made(people: list[tio.Subject], tmp_path: Path) -> None:
    first = of("scale", "centre")
    first.fit(people[:2])
    made = values(first.cached(0, people[0])).copy()
    first.save(tmp_path / "transforms.pt")
    second = of("scale", "centre")
    second.load(tmp_path / "transforms.pt")
    calls()
    np.testing.assert_array_equal(values(second.cached(0, people[0])), made)
    assert calls() == []


def test_fitted_again_on_others_forgets(people: list[tio.Subject]) -> None:
    preprocessing = of("centre")
    preprocessing.fit(people[:2])
    before = values(preprocessing.cached(0, people[0])).copy()
    preprocessing.fit(people[2:])
    assert np.abs(values(preprocessing.cached(0, people[0])) - before).min() > 1


def test_all_images_come_along_when_asked(people: list[tio.Subject], tmp_path: Path) -> None:
    truth = tmp_path / "truth.nii.gz"
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), people[0]["image"].affine), truth)
    scan = tio.Subject({**people[0], "ground_truth": tio.LabelMap(truth)})
    for _ in range(2):
        assert "ground_truth" not in of("tilt").cached(0, scan)
        whole = of("tilt").cached(0, scan, all_images=True)
        assert values(whole, "ground_truth").dtype == np.uint8
    assert calls() == ["tilt"] * 2
    assert not scan["image"]._loaded
    assert not scan["ground_truth"]._loaded


# --- where the anatomy goes -------------------------------------------------------------------------------------------


def test_geometry_is_looked_at_once_for_what_folds_share(people: list[tio.Subject]) -> None:
    looked_at = []
    for training in (people[:2], people[2:], people[2:]):
        fold = of("tilt-told", "centre", "scale")
        fold.fit(training)
        fold.cached(0, people[0])
        calls()
        fold.check_geometry(0, people[0])
        looked_at.append(calls())
    assert looked_at == [["tilt-told", "centre", "scale"], ["centre", "scale"], []]


@pytest.mark.parametrize("before", [(), ("tilt-told", "centre"), ("noise",)])
def test_geometry_that_the_affine_does_not_tell_is_refused_every_time(
    people: list[tio.Subject], before: tuple[str, ...]
) -> None:
    for _ in range(2):
        fold = of(*before, "tilt")
        fold.fit(people)
        with pytest.raises(InputError, match="without telling the image's affine"):
            fold.check_geometry(0, people[0])


def test_geometry_is_looked_at_again_for_other_transforms_and_scans(people: list[tio.Subject]) -> None:
    of("scale").check_geometry(0, people[0])
    of("scale").check_geometry(0, people[0])
    of("scale").check_geometry(1, people[1])
    of(("scale", {"factor": 3})).check_geometry(0, people[0])
    assert calls() == ["scale"] * 3


def test_geometry_without_a_cache_is_looked_at_once_in_each_fold(people: list[tio.Subject], monkeypatch: Any) -> None:
    for _ in range(2):
        fold = without_cache(monkeypatch, "scale")
        fold.check_geometry(0, people[0])
        fold.check_geometry(0, people[0])
    assert calls() == ["scale"] * 2


# --- damage, interruption, several processes --------------------------------------------------------------------------


def _cut(content: bytes) -> bytes:
    return content[:-1]


def _header_bit(content: bytes) -> bytes:
    return content[:60] + bytes([content[60] ^ 1]) + content[61:]


def _voxel_bit(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize(
    "damage",
    [_cut, _header_bit, _voxel_bit, lambda _: b"", lambda c: c[:20], lambda c: c + b"\0", lambda c: b"\0" * len(c)],
    ids=["cut", "header", "voxel", "empty", "start", "longer", "zeros"],
)
def test_damaged_entry_is_made_anew(people: list[tio.Subject], damage: Callable[[bytes], bytes]) -> None:
    of("scale").cached(0, people[0])
    entry = entries()[0]
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    np.testing.assert_array_equal(values(of("scale").cached(0, people[0])), 2 * values(people[0]))
    assert calls() == ["scale"] * 2
    assert entries() == [entry]
    assert entry.read_bytes() == whole


def test_entry_under_another_key_is_damaged(people: list[tio.Subject]) -> None:
    of("scale").cached(0, people[0])
    one = entries()[0]
    of("scale").cached(1, people[1])
    other = next(path for path in entries() if path != one)
    one.write_bytes(other.read_bytes())
    np.testing.assert_array_equal(values(of("scale").cached(0, people[0])), 2 * values(people[0]))


def _child_writes(paths: list[str], barrier: Any, clears: bool) -> None:
    subjects = [tio.Subject(image=tio.ScalarImage(path), subject_id=f"p{i}") for i, path in enumerate(paths)]
    for last in (*[False] * 9, True):
        barrier.wait()
        for index, subject in enumerate(subjects):
            expected = 2 * tio.ScalarImage(paths[index]).data
            assert torch.equal(of("scale").cached(index, subject)["image"].data, expected)
        barrier.wait()
        if clears and not last:
            CacheFolder(Path(os.environ["XAI_CACHE"])).clear()


def test_two_processes_write_the_same_entries_at_once(people: list[tio.Subject]) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    paths = [str(scan["image"].path) for scan in people]
    workers = [context.Process(target=_child_writes, args=(paths, barrier, clears)) for clears in (True, False)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(entries()) == len(people)
    assert not list(Path(os.environ["XAI_CACHE"]).rglob("*.tmp"))


def _child_hangs(path: str) -> None:
    replace = Path.replace

    def hang(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp") and ".vol" in self.name:
            time.sleep(60)
        return replace(self, target)

    Path.replace = hang  # type: ignore[method-assign]
    of("scale").cached(0, tio.Subject(image=tio.ScalarImage(path), subject_id="p0"))


def test_process_killed_while_it_writes_leaves_no_entry(people: list[tio.Subject]) -> None:
    root = Path(os.environ["XAI_CACHE"])
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=_child_hangs, args=(str(people[0]["image"].path),))
    worker.start()
    deadline = time.monotonic() + 30
    while not list(root.rglob("*.tmp")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(worker.pid or 0, signal.SIGKILL)
    worker.join(30)
    left = list(root.rglob("*.tmp"))
    assert len(left) == 1
    assert not entries()
    np.testing.assert_array_equal(values(of("scale").cached(0, people[0])), 2 * values(people[0]))
    assert len(entries()) == 1
    os.utime(left[0], (time.time() - 7200,) * 2)  # nobody writes a scan for two hours
    of("scale").cached(1, people[1])
    assert not list(root.rglob("*.tmp"))


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_processes_read_the_same(people: list[tio.Subject], workers: int) -> None:
    study = SimpleNamespace(subjects=people, task="classification", target_value=lambda index: index % 2)
    preprocessing = of("scale")
    for _ in range(2):
        volumes = TrainingVolumes(study, preprocessing, range(4), augment=False)
        batches = list(DataLoader(volumes, batch_size=2, num_workers=workers))
        found = torch.cat([batch for batch, _ in batches])
        np.testing.assert_array_equal(found.numpy(), np.stack([2 * values(scan) for scan in people]))
    assert len(entries()) == 4


# --- where nothing can be stored --------------------------------------------------------------------------------------


def test_off(people: list[tio.Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    preprocessing = without_cache(monkeypatch, "scale")
    for _ in range(3):
        np.testing.assert_array_equal(values(preprocessing.cached(0, people[0])), 2 * values(people[0]))
    assert calls() == ["scale"]  # kept in memory
    assert not entries()


def test_memory_is_bounded_where_there_is_no_cache(people: list[tio.Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", 2 * SIZE)
    preprocessing = without_cache(monkeypatch, "scale")
    for _ in range(2):
        for index, scan in enumerate(people):
            np.testing.assert_array_equal(values(preprocessing.cached(index, scan)), 2 * values(scan))
    assert len(preprocessing._cache._memory) == 2
    assert calls() == ["scale"] * (4 + 2)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "its disk is full"), (errno.EROFS, "cannot be written: Read-only file")]
)
def test_full_or_read_only_disk_is_told_once(
    people: list[tio.Subject], code: int, message: str, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: Any) -> int:
        raise OSError(code, os.strerror(code), "x")

    monkeypatch.setattr(module, "write_entry", fails)
    for _ in range(2):  # folds
        preprocessing = of("scale")
        for _ in range(2):
            for index, scan in enumerate(people):
                np.testing.assert_array_equal(values(preprocessing.cached(index, scan)), 2 * values(scan))
    assert calls() == ["scale"] * 8
    assert len(told(caplog)) == 1
    assert message in told(caplog)[0]
    assert "XAI_CACHE" in told(caplog)[0]


@pytest.mark.parametrize("kind", ["file", "read-only", "nowhere"])
def test_folder_that_cannot_be_made(
    people: list[tio.Subject], kind: str, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "blocked"
    if kind == "nowhere":
        blocked = Path("/proc/self/nowhere")
        if not Path("/proc/self").is_dir():
            pytest.skip("there is no /proc")
    elif kind == "file":
        blocked.write_text("not a folder")
    else:
        blocked.mkdir()
        blocked.chmod(0o500)
        if os.access(blocked, os.W_OK):
            pytest.skip("this user may write everywhere")
    monkeypatch.setenv("XAI_CACHE", str(blocked / "cache"))
    for index, scan in enumerate(people):
        np.testing.assert_array_equal(values(of("scale").cached(index, scan)), 2 * values(scan))
    assert len(told(caplog)) == 1


def test_disk_that_fills_while_an_entry_is_written_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        cachefile.write_entry(tmp_path / "x.vol", "k", {"image": tio.ScalarImage(tensor=torch.ones(1, 2, 2, 2))}, {})
    assert list(tmp_path.glob("*x.vol*")) == []


# --- the limit --------------------------------------------------------------------------------------------------------


def limited(entries_: float) -> ScanCache:
    folder = CacheFolder(Path(os.environ["XAI_CACHE"]))
    folder.set_limit(int(entries_ * (SIZE + 1024)))
    return ScanCache(folder)


def total() -> int:
    return sum(path.stat().st_size for path in entries())


def test_study_larger_than_the_limit_keeps_a_part(people: list[tio.Subject], caplog: pytest.LogCaptureFixture) -> None:
    """The least recently used entry is the one that is needed next: removing it would leave none to be found."""
    preprocessing = of("scale", cache=limited(2.2))
    for _ in range(3):
        for index, scan in enumerate(people):
            np.testing.assert_array_equal(values(preprocessing.cached(index, scan)), 2 * values(scan))
            assert total() <= CacheFolder(Path(os.environ["XAI_CACHE"])).limit
    assert len(entries()) == 2
    assert len(told(caplog)) == 1
    assert "xai cache limit" in told(caplog)[0]


def test_longest_unused_of_earlier_runs_go_first(people: list[tio.Subject]) -> None:
    now = time.time()
    for index, scan in enumerate(people[:3]):
        of("scale").cached(index, scan)
        newest = max(entries(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (now - 3600 * (3 - index),) * 2)
    of("scale").cached(0, people[0])  # used again: the second is now the longest unused
    preprocessing = of("scale", cache=limited(3))
    preprocessing.cached(3, people[3])
    calls()
    for index in (0, 2, 3):
        of("scale").cached(index, people[index])
    assert calls() == []
    of("scale").cached(1, people[1])
    assert calls() == ["scale"]


def test_no_room_for_anything(people: list[tio.Subject]) -> None:
    preprocessing = of("scale", cache=limited(0))
    np.testing.assert_array_equal(values(preprocessing.cached(0, people[0])), 2 * values(people[0]))
    assert not entries()
