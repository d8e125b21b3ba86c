"""The viewer with scans that lie turned against mm, with values that repeat, and what hands do with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from xai_core.testing import example_run
from xai_reports_html._viewer import export, viewed
from xai_reports_html._viewer.volumes import about_map

SHAPE = (20, 24, 18)
PEAK = (4, 13, 12)
VALUE = 0.1234567  # rounded to six digits it is larger


def oblique() -> np.ndarray[Any, Any]:
    """Stored to the left, to the front and upwards, turned by 25 degrees about the front and by 15 about the side."""
    a, b = np.radians(25), np.radians(15)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_y @ about_x @ np.diag([-4.0, 4, 4])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("turned")
    run = example_run(study / "run")
    generator = np.random.default_rng(4)
    for record in run.maps():
        relevance = np.zeros(SHAPE, np.float32)
        relevance[3:6, 12:15, 11:14] = VALUE
        relevance[PEAK] = VALUE if record.scan_id == "sub-02" else 2 * VALUE
        nib.save(nib.Nifti1Image(relevance, oblique()), record.path)
        assert record.image is not None
        scan = generator.uniform(50, 100, SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(scan, oblique()), record.image)
    export(viewed(run), study / "viewer")
    return study / "viewer" / "index.html"


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    tab = browser.new_page(viewport={"width": 1200, "height": 800}, locale="en-GB")
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    shown(tab, folder, "sub-01")
    yield tab
    tab.close()
    assert problems == []


def shown(page: Any, folder: Path, scan: str) -> None:
    page.goto("about:blank")
    page.goto(f"{folder.as_uri()}#scan={scan}")
    page.wait_for_function("window.XAI && XAI.ready", timeout=60_000)


def voxel(page: Any) -> tuple[int, ...]:
    """Return the voxel that is told, after a check that the drawn planes are those of it."""
    drawn = page.evaluate("""() => Array.from(XAI.nv.scene.crosshairPos).map((share, axis) =>
        Math.floor(share * XAI.nv.back.dims[axis + 1]))""")
    told = tuple(int(part) for part in page.text_content("#voxel").split(","))
    assert (SHAPE[0] - 1 - drawn[0], *drawn[1:]) == told, "the planes are not those of the place that is told"
    return told


def test_a_turned_scan_says_so(page: Any, folder: Path) -> None:
    axes = oblique()[:3, :3] / 4
    degrees = round(float(np.degrees(np.arccos(np.abs(np.diag(axes)).min()))))
    assert degrees > 25
    for language, words in (("en", "turned by up to"), ("de", "gedreht")):
        page.select_option("#language", language)
        told = page.text_content("#sides")
        assert words in told
        assert f" {degrees}°" in told


def test_the_crosshair_of_a_turned_scan_is_where_it_is_sent(page: Any) -> None:
    assert voxel(page) == PEAK
    assert float(page.text_content("#value")) == pytest.approx(2 * VALUE, rel=1e-2)
    place = [float(part) for part in page.text_content("#mm").split(",")]
    assert place == pytest.approx((oblique() @ [*PEAK, 1])[:3], abs=0.06)
    page.select_option("#language", "de")  # sends it to its place anew
    assert voxel(page) == PEAK


def test_the_curve_of_a_turned_scan_leads_to_its_slices(page: Any) -> None:
    for axis, name in enumerate("xyz"):
        page.select_option("#axis", name)
        page.locator("#curve").scroll_into_view_if_needed()
        box, before = page.locator("#curve").bounding_box(), voxel(page)
        number = 5
        page.mouse.click(box["x"] + box["width"] * number / (SHAPE[axis] - 1), box["y"] + 30)
        page.wait_for_timeout(50)
        expected = list(before)
        expected[axis] = SHAPE[0] - 1 - number if axis == 0 else number
        assert list(voxel(page)) == expected
        marked = float(page.locator("#curve line").last.get_attribute("x1"))
        assert marked == pytest.approx(300 * number / (SHAPE[axis] - 1), abs=0.1)


def test_relevance_that_is_the_same_everywhere_is_shown(page: Any, folder: Path) -> None:
    shown(page, folder, "sub-02")
    assert page.locator("#clusters tbody tr").count() == 1
    assert float(page.locator("#clusters tbody td").first.text_content()) == pytest.approx(27 * 64, abs=1)


def test_no_quantile_is_above_the_values_that_share_it() -> None:
    values = np.zeros((3, 3, 3), np.float32)
    values[0] = VALUE
    assert set(about_map(values, np.eye(4))["quantiles"]) == {float(np.float32(VALUE))}


def test_keys_move_the_crosshair_and_nothing_else(page: Any) -> None:
    page.locator("#gl").focus()
    x, y, z = voxel(page)  # its first axis runs to the left
    for key, expected in [
        ("ArrowRight", (x - 1, y, z)), ("ArrowLeft", (x, y, z)), ("ArrowUp", (x, y + 1, z)),
        ("PageUp", (x, y + 1, z + 1)), ("ArrowDown", (x, y, z + 1)), ("PageDown", (x, y, z)),
        ("h", (x, y, z)), ("l", (x, y, z)),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert voxel(page) == expected, key
    page.select_option("#layout", "sagittal")
    page.select_option("#convention", "radiological")
    page.locator("#gl").focus()
    page.keyboard.press("ArrowRight")
    assert voxel(page) == (x, y + 1, z)
    page.select_option("#layout", "axial")
    page.locator("#gl").focus()
    page.keyboard.press("ArrowRight")  # on the screen; the patient's left
    assert voxel(page) == (x + 1, y + 1, z)


def test_a_double_click_keeps_the_scan_visible(page: Any) -> None:
    limits = "[XAI.nv.volumes[0].cal_min, XAI.nv.volumes[0].cal_max]"
    before = page.evaluate(limits)
    box = page.locator("#gl").bounding_box()
    page.mouse.dblclick(box["x"] + 200, box["y"] + 200)
    page.wait_for_timeout(100)
    assert page.evaluate(limits) == before


@pytest.mark.parametrize(
    ("chance", "told"), [(1, "100.0 %"), (0.9996, "> 99.9 %"), (0.995, "99.5 %"), (0.0004, "< 0.1 %"), (0, "0.0 %")]
)
def test_a_probability_that_is_not_one_is_not_called_so(page: Any, chance: float, told: str) -> None:
    assert page.evaluate("chance => XAI.panels.percent(chance)", chance) == told


def test_the_class_that_relevance_speaks_for_and_who_is_not_here(page: Any, folder: Path) -> None:
    assert "relevance for: CN" in page.text_content("#decision")
    assert page.is_hidden("#message")
    shown(page, folder, "sub-99")
    assert "sub-99: not in this viewer" in page.text_content("#message")
    assert page.input_value("#person") == "sub-01"
