"""Colours in the viewer: those that NiiVue would give, at their place, whatever was changed before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from xai_core.testing import example_run
from xai_reports_html._viewer import export, viewed

SHAPE = (14, 18, 12)
STRAIGHT = np.array([[-4.0, 0, 0, 26], [0, 4, 0, -34], [0, 0, 4, -22], [0, 0, 0, 1]])
TURNED = np.array([[0.2, -3.9, 0.3, 30], [0.1, 0.2, 3, -18], [-4.1, -0.1, 0.2, 28], [0, 0, 0, 1]])
# RGBA of a texture as NiiVue keeps it for the scan or what lies over it.
TEXTURE = """name => {
  const nv = XAI.nv, gl = nv.gl, [nx, ny, nz] = nv.back.dims.slice(1, 4), all = new Uint8Array(4 * nx * ny * nz);
  const frame = gl.createFramebuffer();
  gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
  for (let k = 0; k < nz; k++) {
    gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, nv[name], 0, k);
    gl.readPixels(0, 0, nx, ny, gl.RGBA, gl.UNSIGNED_BYTE, all, 4 * nx * ny * k);
  }
  gl.bindFramebuffer(gl.FRAMEBUFFER, null);
  return [[nx, ny, nz], Array.from(all)];
}"""
# NiiVue's own colouring of the same volumes with the same limits.
OWN = """([threshold, limit, opacity]) => {
  const nv = XAI.nv, own = niivue.Niivue.prototype;
  const map = nv.volumes.find(volume => volume.about.quantiles), labels = nv.volumes.filter(volume => volume.paint);
  map.colormap = "xai-for"; map.colormapNegative = "xai-against"; map.opacity = opacity;
  // Of NiiVue 0.68 the value named TRANSLUCENT_BELOW_MIN hides what lies below, and TRANSPARENT_BELOW_MIN shows it.
  map.colormapType = 2; map.cal_min = threshold * (1 - 1e-6); map.cal_max = limit;
  for (const volume of labels) {
    const table = {R: [0], G: [0], B: [0], A: [0], I: [0]};
    for (const label of volume.about.labels) {
      const c = volume.paint(label);
      table.R.push(c[0]); table.G.push(c[1]); table.B.push(c[2]); table.A.push(255); table.I.push(label);
    }
    volume.setColormapLabel(table);
  }
  nv.volumes.forEach((volume, layer) => own.refreshLayers.call(nv, volume, layer));
}"""


def planted(folder: Path, affine: np.ndarray[Any, Any]) -> Path:
    """Write the viewer of a run with smooth relevance of both signs, a truth on its grid, and an atlas on another."""
    run = example_run(folder / "run")
    generator = np.random.default_rng(3)
    for record in run.maps():
        relevance = generator.standard_normal(SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(relevance, affine), record.path)
        scan = (np.indices(SHAPE).sum(0) * 20 + 5 * generator.standard_normal(SHAPE)).astype(np.float32)
        assert record.image is not None
        nib.save(nib.Nifti1Image(scan, affine), record.image)
    truth = np.zeros(SHAPE, np.uint8)
    truth[3:6, 4:9, 2:7] = 1
    nib.save(nib.Nifti1Image(truth, affine), folder / "truth.nii.gz")
    around = affine @ np.array([[n / 2 for n in SHAPE] + [1]]).T
    own = np.diag([2.9, 3.1, 3.3, 1.0])
    own[:3, 3] = around[:3, 0] - [16, 17, 18]
    labels = (np.indices((11, 11, 11)) // 4 * np.array([9, 3, 1])[:, None, None, None]).sum(0).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, own), folder / "atlas.nii.gz")
    shown = viewed(run, atlas=(folder / "atlas.nii.gz", {}))
    shown.manifest["people"][0]["truth"] = True
    shown.manifest["people"][1]["scan"] = False
    return export(type(shown)(shown.manifest, {**shown.files, "p0-truth": folder / "truth.nii.gz"}, {}), folder / "v")


@pytest.fixture(scope="module", params=["straight", "turned"])
def viewer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("paint"), STRAIGHT if request.param == "straight" else TURNED)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("paint"), STRAIGHT)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    tab = browser.new_page(viewport={"width": 1000, "height": 700})
    tab.problems = []
    tab.on("console", lambda message: tab.problems.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    yield tab
    assert tab.problems == []
    tab.close()


def opened(page: Any, viewer: Path, view: str = "", scan: str = "sub-01") -> None:
    page.goto("about:blank")
    page.goto(f"{viewer.as_uri()}#scan={scan}{view}")
    page.wait_for_function(f"window.XAI && XAI.ready === '{scan}'", timeout=60_000)


def texture(page: Any, name: str) -> np.ndarray[Any, Any]:
    """Return colours [x, y, z, RGBA]."""
    shape, values = page.evaluate(TEXTURE, name)
    return np.asarray(values, dtype=int).reshape(*shape[::-1], 4).transpose(2, 1, 0, 3)


def ends(page: Any) -> Any:
    return page.evaluate("XAI.relevance.ends(XAI.nv.volumes.find(v => v.about.quantiles), XAI.state.read())")


def slide(page: Any, name: str, value: int) -> None:
    page.evaluate(
        "([name, value]) => { const e = document.getElementById(name); e.value = value; "
        "e.dispatchEvent(new Event('input', {bubbles: true})); }",
        [name, value],
    )
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.mark.parametrize("view", ["", "&truth=1&atlas=1&opacity=55"])
def test_colours_are_those_of_niivue(page: Any, viewer: Path, view: str) -> None:
    opened(page, viewer, f"&layout=render&threshold=700&limit=990{view}")
    ours = {name: texture(page, name) for name in ("volumeTexture", "overlayTexture")}
    found = ends(page)
    page.evaluate(OWN, [found["threshold"], found["limit"], 0.55 if view else 0.9])
    assert len(np.unique(ours["volumeTexture"][..., 0])) > 60
    np.testing.assert_allclose(ours["volumeTexture"], texture(page, "volumeTexture"), atol=2)
    theirs = texture(page, "overlayTexture")
    shown = theirs[..., 3] > 0
    # On another grid a voxel may lie on the border of two labels, where single precision decides.
    same = np.isclose(ours["overlayTexture"], theirs, atol=3).all(axis=-1)
    assert (same[shown].mean(), (ours["overlayTexture"][..., 3] > 0)[~shown].mean()) == (
        pytest.approx(1, abs=0.005 if view else 0), pytest.approx(0, abs=0.005 if view else 0),
    )  # fmt: skip
    assert 0.25 < shown.mean() < (1.1 if view else 0.35)


def test_nothing_is_shown_below_the_threshold_or_of_the_other_sign(page: Any, straight: Path) -> None:
    folder = straight.parents[1] / "run" / "derivatives"
    image = nib.as_closest_canonical(nib.load(folder / "sub-01/anat/sub-01_desc-lrp_relevance.nii.gz"))
    values = image.get_fdata(dtype=np.float32)
    for signs, sign in (("both", 0), ("positive", 1), ("negative", -1)):
        opened(page, straight, f"&layout=render&threshold=600&signs={signs}")
        found = ends(page)
        kept = (np.abs(values) >= found["threshold"]) & ((sign == 0) | (np.sign(values) == sign))
        np.testing.assert_array_equal(texture(page, "overlayTexture")[..., 3] > 0, kept)
    opened(page, straight, "&layout=render&threshold=600&cluster=5")
    from scipy import ndimage

    kept = np.zeros(values.shape, bool)
    for part in (values >= found["threshold"], -values >= found["threshold"]):
        labels, _ = ndimage.label(part)
        sizes = np.bincount(labels.ravel())
        kept |= (sizes >= 5)[labels] & part
    np.testing.assert_array_equal(texture(page, "overlayTexture")[..., 3] > 0, kept)
    assert kept.any()


def planes(page: Any) -> np.ndarray[Any, Any]:
    """Return the three planes through the crosshair as they lie in the texture: colours [n, RGBA]."""
    colours = texture(page, "overlayTexture")
    at = page.evaluate("XAI.nv.scene.crosshairPos.map((f, a) => Math.round(f * XAI.nv.back.dims[a + 1] - 0.5))".replace(
        "XAI.nv.scene.crosshairPos.map", "Array.from(XAI.nv.scene.crosshairPos).map"
    ))  # fmt: skip
    return np.concatenate([np.take(colours, at[axis], axis=axis).reshape(-1, 4) for axis in range(3)])


def go(page: Any, *mm: float) -> None:
    page.evaluate("mm => { XAI.nv.scene.crosshairPos = XAI.nv.mm2frac(mm); XAI.nv.drawScene(); }", mm)


def test_planes_follow_sliders_and_crosshair(page: Any, straight: Path) -> None:
    """Planes that were on the screen earlier are those of a page opened anew when they come back."""
    opened(page, straight, "&layout=planes&smooth=1&mm=2,2,2")
    slide(page, "threshold", 300)
    go(page, -10, 6, 10)
    slide(page, "opacity", 40)
    slide(page, "limit", 800)
    slide(page, "cluster", 3)
    page.select_option("#signs", "positive")
    go(page, 2, 2, 2)
    moved = planes(page)
    assert set(np.unique(moved[:, 3])) == {0, 102}
    opened(page, straight, "&layout=planes&threshold=300&opacity=40&limit=800&cluster=3&signs=positive&mm=2,2,2")
    np.testing.assert_array_equal(moved, planes(page))


def test_planes_follow_overlays_and_people(page: Any, straight: Path) -> None:
    opened(page, straight, "&layout=planes&threshold=300&mm=2,2,2")
    page.check("#truth")
    page.keyboard.press("n")
    page.wait_for_function("XAI.ready === 'sub-02'")
    other = planes(page)
    page.keyboard.press("p")
    page.wait_for_function("XAI.ready === 'sub-01'")
    slide(page, "threshold", 500)
    moved = planes(page)
    assert (moved != other).any()
    opened(page, straight, "&layout=planes&threshold=500&truth=1&mm=2,2,2")
    np.testing.assert_array_equal(moved, planes(page))
    # And in 3D all of it is there.
    page.select_option("#layout", "render")
    slide(page, "threshold", 700)
    page.wait_for_timeout(500)
    whole = texture(page, "overlayTexture")
    opened(page, straight, "&layout=render&threshold=700&truth=1")
    np.testing.assert_array_equal(whole, texture(page, "overlayTexture"))


def test_a_person_without_a_scan_is_shown_on_black(page: Any, straight: Path) -> None:
    opened(page, straight, "&layout=render&threshold=900", scan="sub-02")
    assert "its file is not there" in page.text_content("#message")
    assert (texture(page, "volumeTexture")[..., :3] == 0).all()
    assert 0.05 < (texture(page, "overlayTexture")[..., 3] > 0).mean() < 0.15


def test_a_graphics_card_that_was_reset(page: Any, straight: Path) -> None:
    opened(page, straight, "&layout=axial&threshold=800")
    slide(page, "threshold", 600)
    page.evaluate("() => { window.before = true; const lost = XAI.nv.gl.getExtension('WEBGL_lose_context'); "
                  "lost.loseContext(); setTimeout(() => lost.restoreContext(), 100); }")  # fmt: skip
    page.wait_for_function("!window.before && window.XAI && XAI.ready === 'sub-01'", timeout=60_000)
    assert page.text_content("#threshold-value") == "60.0 %"
    page.problems.clear()  # the browser tells that the card was lost
