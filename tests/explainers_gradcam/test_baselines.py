"""What volumes are compared with: constants, a blurred copy, the controls' mean, a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xai_core import ConfigError, Explainer, InputError, registry
from xai_explainers_gradcam._baselines import baseline_volumes
from xai_explainers_gradcam.plugin_paths import DeepLIFT, GradientSHAP, IntegratedGradients

GRID = (7, 9, 5)


@pytest.fixture
def volumes() -> Tensor:
    return torch.randn(2, 3, *GRID, generator=torch.Generator().manual_seed(3))


def baseline(volumes: Tensor, name: str | float = "zero", **changes: Any) -> Tensor:
    given = {"controls": None, "file": None, "sigma": 1.5} | changes
    return baseline_volumes(volumes, name, **given)


def test_constants_are_those_of_each_channel_and_volume(volumes: Tensor) -> None:
    volumes[1, 2, 0] = 9.0  # one face is not most of the border
    volumes[0, 1, :, :, 0] = volumes[0, 1, :, :, -1] = volumes[0, 1, :, 0] = volumes[0, 1, :, -1] = 4.0
    least = baseline(volumes, "minimum")
    around = baseline(volumes, "background")
    for n in range(2):
        for c in range(3):
            values = volumes[n, c].numpy()
            assert (least[n, c] == float(values.min())).all()
            assert (around[n, c] == (4.0 if (n, c) == (0, 1) else float(values.min()))).all()
    assert not baseline(volumes, "zero").any()
    assert (baseline(volumes, -2) == -2).all()
    for name in ("background", "minimum", "zero", 0.5, "blurred"):
        found = baseline(volumes.double(), name)
        assert found.shape == volumes.shape
        assert found.dtype == torch.float64


@pytest.mark.parametrize("sigma", [0.3, 1.5, 6.0])
def test_blurred_is_scipys_gaussian_filter(volumes: Tensor, sigma: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    found = baseline(volumes, "blurred", sigma=sigma)
    # Both cut the Gaussian off at four standard deviations, SciPy rounds that to the nearest voxel and we up.
    reach = int(np.ceil(4 * sigma))
    expected = ndimage.gaussian_filter(
        volumes.double().numpy(), sigma=(0, 0, sigma, sigma, sigma), mode="nearest", radius=(0, 0, reach, reach, reach)
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_controls(volumes: Tensor) -> None:
    mean = torch.rand(3, *GRID)
    assert torch.equal(baseline(volumes, "controls", controls=mean), mean.expand(2, 3, *GRID))
    with pytest.raises(InputError, match="needs the mean of the healthy controls, which is known only within a study"):
        baseline(volumes, "controls")
    with pytest.raises(InputError, match=r"the mean of the controls has the shape \[3, 7, 9, 4\], but .*\[7, 9, 5\]"):
        baseline(volumes, "controls", controls=mean[..., :4])


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("suffix", [".npy", ".nii.gz"])
def test_file(volumes: Tensor, tmp_path: Path, suffix: str, channels: int | None) -> None:
    values = np.random.default_rng(0).random(GRID if channels is None else (channels, *GRID), dtype=np.float32)
    path = tmp_path / f"mean{suffix}"
    if suffix == ".npy":
        np.save(path, values)
    else:
        nib.save(nib.Nifti1Image(values if channels is None else np.moveaxis(values, 0, -1), np.eye(4)), path)
    found = baseline(volumes, "minimum", file=str(path))  # the file is what counts
    for n in range(2):
        for c in range(3):
            expected = values if channels is None else values[c % channels]
            np.testing.assert_array_equal(found[n, c].numpy(), expected)


def test_files_that_cannot_be_used(volumes: Tensor, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.npy does not exist"):
        baseline(volumes, file=str(tmp_path / "no.npy"))
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(InputError, match=r"text\.nii cannot be read \(ImageFileError"):
        baseline(volumes, file=str(tmp_path / "text.nii"))
    np.save(tmp_path / "other.npy", np.zeros((9, 7, 5)))
    with pytest.raises(InputError, match=r"other\.npy has the shape \[9, 7, 5\], but the network sees .*\[7, 9, 5\]"):
        baseline(volumes, file=str(tmp_path / "other.npy"))
    np.save(tmp_path / "nan.npy", np.full(GRID, np.nan))
    with pytest.raises(InputError, match=r"nan\.npy holds values that are NaN or infinite"):
        baseline(volumes, file=str(tmp_path / "nan.npy"))


def test_unknown_name(volumes: Tensor) -> None:
    with pytest.raises(ConfigError, match="'mean' is not one of background, minimum, zero, blurred, controls or a"):
        baseline(volumes, "mean")


def explainers(**params: Any) -> list[Explainer]:
    name = params.pop("baseline", "background")
    return [
        IntegratedGradients(steps=1, baseline=name, **params),
        DeepLIFT(baseline=name, **params),
        GradientSHAP(samples=1, baselines=[name], **params),
    ]


@pytest.mark.parametrize("which", range(3))
def test_explainers_take_every_baseline(volumes: Tensor, tmp_path: Path, which: int) -> None:
    """On a linear network relevance is the weights times (volume - baseline), whichever it is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 7 * 9 * 5, 2)).eval()
    weights = model[1].weight.detach()[0].reshape(1, 3, *GRID)
    mean = torch.rand(3, *GRID)
    np.save(tmp_path / "mean.npy", mean.numpy())
    expected = {name: baseline(volumes, name, controls=mean) for name in ("minimum", "blurred", 0.25, "controls")}
    for name, start in expected.items():
        explainer = explainers(baseline=name, sigma=1.5)[which]
        assert explainer.uses_controls() == (name == "controls")
        if name == "controls":
            with pytest.raises(InputError, match="needs the mean of the healthy controls"):
                explainer.explain(model, volumes, torch.tensor([0, 0]))
            explainer.set_controls(mean)
        found = explainer.explain(model, volumes, torch.tensor([0, 0]))
        torch.testing.assert_close(found.relevance, weights * (volumes - start), rtol=1e-4, atol=1e-6)
        assert found.details is not None
        assert found.details[0]["baseline_output"] == pytest.approx(
            float(model(start).detach()[0, 0]), rel=1e-4, abs=1e-6
        )
    given = explainers(baseline="controls", baseline_file=str(tmp_path / "mean.npy"))[which]
    assert not given.uses_controls()
    found = given.explain(model, volumes, torch.tensor([0, 0]))
    torch.testing.assert_close(found.relevance, weights * (volumes - mean), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["integrated-gradients", "gradient-shap", "deeplift", "occlusion", "feature-ablation"])
def test_files_are_looked_at_before_training(tmp_path: Path, volumes: Tensor, name: str) -> None:
    network, volume = nn.Sequential(nn.Flatten(), nn.Linear(volumes[0].numel(), 2)), volumes[:1]
    np.save(tmp_path / "small.npy", np.zeros((3, 3, 3), np.float32))
    np.save(tmp_path / "right.npy", np.zeros(volume.shape[2:], np.float32))
    parameters = ["baseline_file", *(["atlas"] if name == "feature-ablation" else [])]
    for parameter in parameters:
        for file, told in (("none.npy", "does not exist"), ("small.npy", "grid")):
            explainer = registry.create("explainer", name, **{parameter: str(tmp_path / file)})
            with pytest.raises(InputError, match=told):
                explainer.check_model(network, volume)
    params = {"window": 3} if name == "occlusion" else {}
    registry.create("explainer", name, baseline_file=str(tmp_path / "right.npy"), **params).check_model(network, volume)
