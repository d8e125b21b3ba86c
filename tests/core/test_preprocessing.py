"""A fold's transforms: fitted on the training part only, random in training only, the same after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchio as tio

from xai_core import InputError, PluginError, Transform, registry
from xai_core.engine import preprocessing as module
from xai_core.engine.preprocessing import Preprocessing, TrainingVolumes, is_random, target_tensor, volume
from xai_core.engine.seeding import seeded

SHAPE = (6, 7, 5)


def scan(number: int, **more: Any) -> tio.Subject:
    values = torch.rand((1, *SHAPE), generator=torch.Generator().manual_seed(number)) + number
    return tio.Subject(image=tio.ScalarImage(tensor=values), subject_id=f"p{number}", target="ab"[number % 2], **more)


SCANS = [scan(i) for i in range(6)]


class Centre(tio.Transform):
    """Subtracts the mean of the training part; remembers whom it saw."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.mean: float | None = None
        self.seen: list[tuple[str, float]] = []

    def fit(self, subjects: Sequence[tio.Subject]) -> None:
        self.seen = [(s["subject_id"], float(s["image"].data.mean())) for s in subjects]
        self.mean = sum(mean for _, mean in self.seen) / len(self.seen)

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "people": [name for name, _ in self.seen], "tensor": torch.tensor(self.mean)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.mean = float(state["tensor"])
        assert self.mean == pytest.approx(state["mean"])

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        assert self.mean is not None, "used before it was fitted"
        for image in subject.get_images(intensity_only=True):
            image.set_data(image.data - self.mean)
        return subject


class OwnState(Centre):
    """Keeps an object of its own in its state."""

    def state_dict(self) -> dict[str, Any]:
        return {"scaler": SimpleNamespace(mean=self.mean)}


class NoState(Centre):
    """Learns and forgets."""

    state_dict: Any = None


class MakesNan(tio.Transform):
    """Divides by zero somewhere."""

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        data = subject["image"].data.clone()
        data[0, 0, 0, 0] = float("nan")
        subject["image"].set_data(data)
        return subject


class Fails(tio.Transform):
    """Raises what it is told."""

    error: Exception = ValueError("no brain found")

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        raise self.error


def doubled(subject: tio.Subject) -> tio.Subject:
    return tio.Subject({**subject, "image": tio.ScalarImage(tensor=subject["image"].data * 2)})


BUILDERS: dict[str, Callable[[], Any]] = {
    "centre": Centre,
    "own-state": OwnState,
    "no-state": NoState,
    "double": lambda: tio.Lambda(lambda x: 2 * x, types_to_apply=[tio.INTENSITY]),
    "add-ten": lambda: tio.Lambda(lambda x: x + 10, types_to_apply=[tio.INTENSITY]),
    "noise": lambda: tio.RandomNoise(std=(1, 1)),
    "maybe": lambda: tio.Lambda(lambda x: x + 100, types_to_apply=[tio.INTENSITY], p=0.5),
    "crop": lambda: tio.CropOrPad((4, 4, 4)),
    "nan": MakesNan,
    "fails": Fails,
    "chain": lambda: tio.Compose(
        [tio.CropOrPad((4, 4, 4)), tio.RandomNoise(std=(1, 1)), tio.Compose([Centre(), doubled])]
    ),
    "forgets": lambda: lambda _subject: None,
}


def component(builder: Callable[[], Any]) -> type[Transform]:
    class Given(Transform):
        """What the test gives."""

        def build(self) -> tio.Transform:
            return builder()

    return Given


@pytest.fixture(autouse=True)
def transforms(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry._default, "_registered", {})
    registry.refresh()
    for name, builder in BUILDERS.items():
        registry.register("transform", name, component(builder))
    yield
    monkeypatch.undo()
    registry.refresh()


def of(*names: str) -> Preprocessing:
    return Preprocessing([{"name": name, "params": {}} for name in names])


def values(subject: tio.Subject) -> np.ndarray[Any, Any]:
    return np.asarray(subject["image"].data.numpy())


def study(scans: Sequence[tio.Subject] = SCANS) -> Any:
    return SimpleNamespace(
        subjects=scans, task="classification", target_value=lambda i: "ab".index(str(scans[i]["target"]))
    )


# --- fitting ----------------------------------------------------------------------------------------------------------


def test_fit_sees_only_what_it_is_given_after_the_transforms_before_it() -> None:
    preprocessing = of("double", "noise", "maybe", "centre", "add-ten")
    assert preprocessing.learns
    preprocessing.fit([SCANS[1], SCANS[4]])
    centre = preprocessing.transforms[3]
    assert [name for name, _ in centre.seen] == ["p1", "p4"]
    expected = [2 * float(values(SCANS[i]).mean()) for i in (1, 4)]
    np.testing.assert_allclose([mean for _, mean in centre.seen], expected, rtol=1e-6)
    np.testing.assert_allclose(
        values(preprocessing.prepare(SCANS[0])), 2 * values(SCANS[0]) - np.mean(expected) + 10, rtol=1e-5, atol=1e-5
    )


def test_each_that_learns_sees_the_one_before_fitted() -> None:
    preprocessing = of("centre", "centre")
    preprocessing.fit(SCANS[:3])
    assert np.mean([mean for _, mean in preprocessing.transforms[1].seen]) == pytest.approx(0, abs=1e-5)


def test_what_fit_is_given_is_a_sequence() -> None:
    seen: list[Any] = []
    preprocessing = of("double", "centre")
    preprocessing.transforms[1].fit = lambda subjects: seen.append(
        (len(subjects), [s["subject_id"] for s in subjects[1:]], subjects[-1]["subject_id"], len(list(subjects)))
    )
    preprocessing.transforms[1].mean = 0.0
    preprocessing.fit(SCANS[:3])
    assert seen == [(3, ["p1", "p2"], "p2", 3)]


def test_nothing_learns() -> None:
    preprocessing = of("double")
    assert not preprocessing.learns
    preprocessing.fit(SCANS)


def test_state_is_saved_and_loaded_with_weights_only(tmp_path: Path) -> None:
    first = of("double", "centre", "noise", "centre")
    first.fit(SCANS[:4])
    first.save(tmp_path / "transforms.pt")
    assert set(torch.load(tmp_path / "transforms.pt", weights_only=True)) == {"1", "3"}
    second = of("double", "centre", "noise", "centre")
    second.load(tmp_path / "transforms.pt")
    np.testing.assert_array_equal(values(second.prepare(SCANS[5])), values(first.prepare(SCANS[5])))
    assert second.transforms[1].mean != second.transforms[3].mean


@pytest.mark.parametrize("name", ["own-state", "no-state"])
def test_state_that_could_not_be_loaded_is_refused_before_training(name: str) -> None:
    with pytest.raises(PluginError, match=f"What the transform {name} learnt cannot be saved and loaded"):
        of("double", name).fit(SCANS)


# --- random transforms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (tio.RandomNoise(), True), (tio.RandomFlip(p=1), True), (tio.OneOf([tio.Blur(1), tio.Noise(0, 1, 3)]), True),
        (tio.Blur(1), False), (tio.Blur(1, p=0.5), True), (tio.ToCanonical(), False),
        (tio.Compose([tio.Blur(1)]), False), (tio.Compose([tio.Blur(1), tio.RandomNoise()]), True),
        (tio.Compose([tio.Compose([tio.RandomNoise()])]), True), (tio.Compose([tio.Blur(1)], p=0.5), True),
        (tio.Compose([doubled]), False), (doubled, False),
    ],
)  # fmt: skip
def test_is_random(transform: Any, expected: bool) -> None:
    assert is_random(transform) is expected


def test_prepare_leaves_random_ones_out() -> None:
    preprocessing = of("double", "noise", "maybe", "add-ten")
    for _ in range(3):
        np.testing.assert_array_equal(values(preprocessing.prepare(SCANS[2])), 2 * values(SCANS[2]) + 10)
    assert preprocessing.first_random == 1
    assert of("double", "add-ten").first_random == 2


def test_chain_is_taken_apart() -> None:
    """Of a chain, the random part alone is left out, and the part that learns is fitted."""
    preprocessing = of("chain")
    assert preprocessing.names == ["chain"] * 4
    assert preprocessing.first_random == 1
    preprocessing.fit(SCANS[:2])
    prepared = preprocessing.prepare(SCANS[0])
    assert prepared["image"].spatial_shape == (4, 4, 4)
    np.testing.assert_array_equal(values(prepared), values(preprocessing.prepare(SCANS[0])))
    assert abs(float(np.mean([values(preprocessing.prepare(s)).mean() for s in SCANS[:2]]))) < 1e-4


def test_training_volumes_are_random_in_training_only() -> None:
    preprocessing = of("double", "noise", "add-ten")
    training = TrainingVolumes(study(), preprocessing, [1, 3], augment=True)
    validation = TrainingVolumes(study(), preprocessing, [1, 3], augment=False)
    clean = 2 * values(SCANS[3]) + 10
    with seeded(1):
        first, second = training[1][0].numpy(), training[1][0].numpy()
    with seeded(1):
        again = training[1][0].numpy()
    assert np.abs(first - clean).mean() == pytest.approx(np.sqrt(2 / np.pi), rel=0.2)  # of a normal deviate
    assert np.abs(first - second).mean() > 0.5
    np.testing.assert_array_equal(first, again)
    for _ in range(2):
        np.testing.assert_array_equal(validation[1][0].numpy(), clean)


def test_random_ones_are_applied_at_their_place_after_the_cached_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting what is applied to whom: the prefix once for each scan, the rest each time."""
    calls: list[tuple[str, str]] = []
    applied = module.applied

    def counted(name: str, transform: Any, subject: tio.Subject, unseen: Mapping[str, Any] = {}) -> tio.Subject:
        calls.append((name, {**unseen, **subject}["subject_id"]))
        return applied(name, transform, subject, unseen)

    monkeypatch.setattr(module, "applied", counted)
    training = TrainingVolumes(study(), of("double", "crop", "noise", "add-ten"), [0, 2], augment=True)
    for _ in range(3):
        assert [len(training[i][0]) for i in range(len(training))] == [1, 1]
    for person in ("p0", "p2"):
        names = [name for name, who in calls if who == person]
        assert names == ["double", "crop", *["noise", "add-ten"] * 3]


def test_augmentation_leaves_the_cache_clean() -> None:
    preprocessing = of("double", "noise")
    training = TrainingVolumes(study(), preprocessing, [0], augment=True)
    for _ in range(3):
        assert training[0]
    np.testing.assert_array_equal(values(preprocessing.cached(0, SCANS[0], 1)), 2 * values(SCANS[0]))


# --- the cache --------------------------------------------------------------------------------------------------------


def test_cache_keeps_prefix_and_whole_apart() -> None:
    preprocessing = of("double", "noise", "add-ten")
    np.testing.assert_array_equal(values(preprocessing.cached(0, SCANS[0], 1)), 2 * values(SCANS[0]))
    np.testing.assert_array_equal(values(preprocessing.cached(0, SCANS[0])), 2 * values(SCANS[0]) + 10)
    np.testing.assert_array_equal(values(preprocessing.cached(0, SCANS[0], 1)), 2 * values(SCANS[0]))
    np.testing.assert_array_equal(values(preprocessing.cached(1, SCANS[1], 1)), 2 * values(SCANS[1]))


def test_cache_holds_a_scan_once_where_nothing_is_random() -> None:
    preprocessing = of("double", "add-ten")
    training = TrainingVolumes(study(), preprocessing, [0], augment=True)
    plain = TrainingVolumes(study(), preprocessing, [0], augment=False)
    assert torch.equal(training[0][0], plain[0][0])
    assert preprocessing.cached(0, SCANS[0]) is preprocessing.cached(0, SCANS[0], 2)


def test_cache_leaves_the_truth_out_and_scans_as_they_were() -> None:
    mask = tio.LabelMap(tensor=torch.ones(1, *SHAPE))
    subject = scan(3, ground_truth=mask, age=70)
    before = values(subject).copy()
    prepared = of("double").cached(0, subject)
    assert set(prepared) == {"image", "subject_id", "target", "age"}
    assert "ground_truth" in of("double").prepare(subject)
    np.testing.assert_array_equal(values(subject), before)


def test_files_stay_unread_in_the_study(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    tio.ScalarImage(tensor=torch.rand(1, *SHAPE)).save(path)
    subject = tio.Subject(image=tio.ScalarImage(path), subject_id="p", target="a")
    of("double").cached(0, subject)
    of("double").prepare(subject)
    assert not subject["image"]._loaded, "a study of ten thousand scans would fill the memory"


# --- failures ---------------------------------------------------------------------------------------------------------


def test_transform_that_makes_nan_is_named() -> None:
    with pytest.raises(InputError, match=r"^p2: the transform nan made NaN or infinite voxels\.$"):
        of("double", "nan", "add-ten").prepare(SCANS[2])


def test_failing_transform_is_named() -> None:
    with pytest.raises(InputError, match=r"^p2: the transform fails failed: ValueError: no brain found$"):
        of("fails").prepare(SCANS[2])


def test_expected_error_of_a_transform_keeps_its_type_and_gets_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fails, "error", PluginError("the atlas is broken."))
    with pytest.raises(PluginError, match=r"^p2: the atlas is broken\.$"):
        of("fails").prepare(SCANS[2])


def test_scan_without_an_id_is_called_the_scan() -> None:
    with pytest.raises(InputError, match=r"^the scan: the transform nan"):
        of("nan").prepare(tio.Subject(image=SCANS[0]["image"]))


def test_transform_that_returns_something_else() -> None:
    with pytest.raises(PluginError, match=r"^The transform forgets returned a NoneType, not a torchio\.Subject\.$"):
        of("forgets").prepare(SCANS[0])


def test_failure_in_training_is_named_too() -> None:
    with pytest.raises(InputError, match=r"^p1: the transform nan"):
        TrainingVolumes(study(), of("noise", "nan"), [1], augment=True)[0]


# --- volumes and targets ----------------------------------------------------------------------------------------------


def test_volume_is_float32() -> None:
    subject = tio.Subject(image=tio.ScalarImage(tensor=torch.arange(8, dtype=torch.int16).reshape(1, 2, 2, 2)))
    assert volume(subject).dtype == torch.float32
    assert volume(subject).flatten().tolist() == list(range(8))


@pytest.mark.parametrize(("task", "value", "dtype"), [("classification", 1, torch.int64), ("regression", 61.5, None)])
def test_target_tensor(task: str, value: float, dtype: torch.dtype | None) -> None:
    target = target_tensor(SimpleNamespace(task=task, target_value=lambda _index: value), 0)  # type: ignore[arg-type]
    assert target.dtype == (dtype or torch.float32)
    assert target.ndim == 0
    assert target.item() == value


def test_order_of_the_positions() -> None:
    data = TrainingVolumes(study(), of("double"), [4, 0, 3], augment=False)
    assert len(data) == 3
    assert [int(data[i][1]) for i in range(3)] == [0, 0, 1]
    np.testing.assert_array_equal(data[0][0].numpy(), 2 * values(SCANS[4]))
