"""Ablation of regions against Captum's, and the regions themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import captum.attr
import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import InputError, registry
from xai_core.testing import ExplainerConformance
from xai_explainers_gradcam._ablation import supervoxels

GRID = (19, 15, 17)


class TestFeatureAblationConformance(ExplainerConformance):
    name = "feature-ablation"
    params = {"size": 3}  # noqa: RUF012


def ablation(**params: Any) -> Any:
    return registry.create("explainer", "feature-ablation", **params)


def network(channels: int = 1, outputs: int = 3, norm: bool = False) -> nn.Module:
    torch.manual_seed(2)
    return (
        nn.Sequential(
            nn.Conv3d(channels, 4, 3, stride=2, padding=1),
            nn.GroupNorm(2, 4) if norm else nn.BatchNorm3d(4),
            nn.ReLU(),
            nn.MaxPool3d(2),
            nn.Conv3d(4, 6, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(6, outputs),
        )
        .double()
        .eval()
    )


def head_scan(number: int = 1, channels: int = 1) -> Tensor:
    values = torch.rand(number, channels, *GRID, generator=torch.Generator().manual_seed(5)) + 0.5
    inside = torch.zeros(GRID)
    inside[4:-4, 3:-3, 3:-5] = 1
    return values * inside


def regions() -> np.ndarray[Any, Any]:
    """Return labels: large and small, one in two parts, one in the background, with gaps in the numbering."""
    labels = np.zeros(GRID, np.int16)
    labels[4:9, 3:9, 3:8] = 2
    labels[12:14, 5:7, 9:11] = 2
    labels[9:14, 3:12, 3:6] = 5
    labels[5, 10, 8] = 9
    labels[0:2, 0:2, 0:2] = 11
    return labels


def write(path: Path, labels: np.ndarray[Any, Any]) -> str:
    if path.suffix == ".npy":
        np.save(path, labels)
    else:
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), path)
    return str(path)


def reference(model: nn.Module, volumes: Tensor, target: Tensor, labels: Tensor, baseline: Any = 0) -> Tensor:
    """Captum counts 0 as a region too; here it is none."""
    maps = captum.attr.FeatureAblation(model).attribute(
        volumes.double(), baseline, target=target, feature_mask=labels[None, None]
    )
    return maps * (labels > 0)


def assert_same(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    assert scale > 1e-4, "the reference map says nothing"
    assert float((found - expected).abs().max()) <= 1e-6 * scale


@pytest.mark.parametrize("name", ["atlas.nii.gz", "atlas.npy"])
@pytest.mark.parametrize("norm", [False, True])
def test_an_atlas_equals_captum(tmp_path: Path, name: str, norm: bool) -> None:
    labels, model, volumes = regions(), network(2, norm=norm), head_scan(2, 2)
    target = torch.tensor([2, 0])
    found = ablation(atlas=write(tmp_path / name, labels)).explain(model, volumes, target)
    expected = reference(model, volumes, target, torch.from_numpy(labels.astype(np.int64)))
    assert_same(found.relevance, expected)
    details = found.details[0]
    assert details["recomputed"] == "what a change reaches"
    assert (details["regions"], details["unchanged"]) == (4, 1)
    assert [(row["label"], row["voxels"]) for row in details["drops"]] == [(2, 158), (5, 135), (9, 1), (11, 8)]
    for row in details["drops"]:
        place = tuple(np.argwhere(labels == row["label"])[0])
        assert float(expected[0, 0][place]) == pytest.approx(row["drop"], abs=1e-9)


def test_supervoxels_equal_captum_on_the_same_mask() -> None:
    model, volumes = network(outputs=1), head_scan()
    found = ablation(size=5, baseline=0.6).explain(model, volumes, None)
    labels = supervoxels(volumes, 5)
    assert found.details[0]["regions"] == len(labels.unique()) - 1 > 8
    assert "drops" not in found.details[0]
    assert_same(found.relevance, reference(model, volumes, torch.tensor([0]), labels, 0.6))


def test_supervoxels_keep_to_edges_of_intensity_and_leave_the_background() -> None:
    volume = torch.zeros(1, 1, 24, 24, 24)
    volume[0, 0, 3:21, 3:21, 3:21] = 100
    volume[0, 0, 3:21, 3:21, 11:21] = 200  # an edge that no grid of 6 voxels has
    labels = supervoxels(volume, 6)
    assert not labels[volume[0, 0] == 0].any()
    assert bool((labels[volume[0, 0] > 0] > 0).all())
    values = volume[0, 0]
    for label in labels.unique()[1:]:
        assert len(values[labels == label].unique()) == 1, "a supervoxel lies on both sides of the edge"
    sizes = torch.bincount(labels[labels > 0])
    assert 0.2 * 6**3 < float(sizes[sizes > 0].double().median()) < 3 * 6**3
    assert torch.equal(labels, supervoxels(volume, 6))


def test_a_volume_without_a_head_has_no_supervoxels() -> None:
    with pytest.raises(InputError, match="same value"):
        ablation().explain(network(), torch.full((1, 1, *GRID), 0.5), None)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones((19, 15, 16), np.int16), r"shape \[19, 15, 16\].*\[19, 15, 17\].*cannot resample"),
        (np.full(GRID, 1.5), "no whole numbers"),
        (np.full(GRID, np.nan), "no whole numbers"),
        (np.full(GRID, -1), "numbered from 1"),
        (np.zeros(GRID), "numbered from 1"),
    ],
)
def test_an_atlas_that_does_not_fit_is_refused(tmp_path: Path, labels: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ablation(atlas=write(tmp_path / "atlas.npy", labels)).explain(network(), head_scan(), None)


def test_an_atlas_that_is_missing_or_unreadable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ablation(atlas=str(tmp_path / "none.nii.gz")).explain(network(), head_scan(), None)
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(InputError, match="cannot be read"):
        ablation(atlas=str(tmp_path / "text.nii.gz")).explain(network(), head_scan(), None)


def test_an_atlas_with_a_fourth_axis_of_one_and_a_mask_are_understood(tmp_path: Path) -> None:
    model, volumes = network(), head_scan()
    mask = regions() == 2
    expected = reference(model, volumes, torch.tensor([1]), torch.from_numpy(mask).long())
    for labels, name in ((mask, "mask.npy"), (mask[..., None].astype(np.uint8), "mask.nii.gz")):
        found = ablation(atlas=write(tmp_path / name, labels)).explain(model, volumes, torch.tensor([1]))
        assert_same(found.relevance, expected)


def test_self_check_holds_and_finds_a_wrong_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, volumes = network().float(), head_scan(2)
    for params in ({"size": 4}, {"atlas": write(tmp_path / "atlas.npy", regions())}):
        assert "off by" in ablation(**params).self_check(model, volumes)
    explainer = ablation(size=4)
    right = type(explainer).explain

    def wrong(self: Any, *args: Any) -> Any:
        found = right(self, *args)
        found.relevance.mul_(1.01)
        return found

    monkeypatch.setattr(type(explainer), "explain", wrong)
    with pytest.raises(AssertionError, match="off by"):
        explainer.self_check(model, volumes)
