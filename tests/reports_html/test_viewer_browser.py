"""The viewer in a real browser: opened from disk and from its server, driven as a person drives it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from xai_core.engine.results import RunResults
from xai_core.testing import example_run
from xai_reports_html._viewer import export, serve, viewed

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")

SHAPE = (20, 24, 18)
# Stored from right to left, as scanners often do.
AFFINE = np.array([[-4.0, 0, 0, 38], [0, 4, 0, -46], [0, 0, 4, -34], [0, 0, 0, 1]])
RIGHT = (slice(3, 6), slice(10, 14), slice(8, 11))  # of the patient: x from 18 to 26 mm
SPOT = (14, 11, 9)  # on the patient's left: x -18 mm


def asymmetric(folder: Path) -> RunResults:
    """Write a run whose people have relevance for the output in a block on the right, and one spot against it left."""
    run = example_run(folder / "run")
    head = np.zeros(SHAPE, np.float32)
    head[2:18, 2:22, 2:16] = 100
    for number, record in enumerate(run.maps()):
        relevance = np.zeros(SHAPE, np.float32)
        relevance[RIGHT] = 1 + number
        relevance[SPOT] = -0.5
        nib.save(nib.Nifti1Image(relevance, AFFINE), record.path)
        nib.save(nib.Nifti1Image(head, AFFINE), record.image)
    return run


def atlas(folder: Path) -> tuple[Path, dict[int, str]]:
    """Write labels on a grid of their own: 17 on the left, 53 on the right, nothing near the middle."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = (-60, -60, -60)
    labels = np.zeros((60, 60, 60), np.int16)
    labels[:25], labels[35:] = 17, 53
    nib.save(nib.Nifti1Image(labels, affine), folder / "atlas.nii.gz")
    return folder / "atlas.nii.gz", {17: "Left <b>side</b>", 53: "Right side"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = tmp_path_factory.mktemp("viewer")
    export(viewed(asymmetric(study), atlas=atlas(study)), study / "viewer")
    return study


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    """A tab that notes errors and every request that leaves the page's own files."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, locale="en-GB")
    tab = context.new_page()
    tab.problems = []
    tab.on("console", lambda message: tab.problems.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("request", lambda request: None if is_local(request.url) else tab.problems.append(request.url))
    yield tab
    assert tab.problems == []
    context.close()


def is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:"))


def opened(page: Any, folder: Path, view: str = "", scan: str = "sub-01") -> Any:
    page.goto("about:blank")
    page.goto(f"{(folder / 'viewer' / 'index.html').as_uri()}#scan={scan}{view}")
    page.wait_for_function(f"window.XAI && XAI.ready === '{scan}'", timeout=60_000)
    return page


def until(page: Any, expression: str) -> None:
    """Wait; Playwright's own waiting evaluates text, which the server's policy forbids."""
    end = time.monotonic() + 60
    while not page.evaluate(f"Boolean({expression})"):
        assert time.monotonic() < end, expression
        time.sleep(0.05)


def numbers(page: Any, name: str) -> list[float]:
    return [float(part) for part in page.text_content(f"#{name}").split(",")]


def picture(page: Any) -> np.ndarray[Any, Any]:
    """Return the canvas as it is on the screen, RGB."""
    import io

    from PIL import Image

    page.wait_for_timeout(400)
    png = page.locator("#gl").screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def warm(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return where the picture shows relevance for the output."""
    found: np.ndarray[Any, Any] = (image[..., 0] > 110) & (image[..., 2] < 0.6 * image[..., 0])
    return found


def test_value_voxel_and_region_under_the_crosshair(page: Any, folder: Path) -> None:
    image = nib.load(folder / "run/derivatives/sub-01/anat/sub-01_desc-lrp_relevance.nii.gz")
    labels, names = nib.load(folder / "atlas.nii.gz"), {17: "Left <b>side</b>", 53: "Right side"}
    for voxel in ((4, 12, 9), SPOT, (10, 12, 9), (4, 2, 2)):
        mm = image.affine @ [*voxel, 1]
        opened(page, folder, "&mm=" + ",".join(str(v) for v in mm[:3]))
        assert numbers(page, "mm") == pytest.approx(mm[:3], abs=0.1)
        assert [int(v) for v in numbers(page, "voxel")] == list(voxel)
        assert float(page.text_content("#value")) == pytest.approx(float(image.dataobj[voxel]))
        label = int(labels.dataobj[tuple(np.rint(np.linalg.solve(labels.affine, mm)[:3]).astype(int))])
        assert page.text_content("#region") == names.get(label, "outside of the atlas")


@pytest.mark.parametrize(("convention", "layout"), [("neurological", "axial"), ("radiological", "coronal")])
def test_right_is_right(page: Any, folder: Path, convention: str, layout: str) -> None:
    opened(page, folder, f"&layout={layout}&convention={convention}&threshold=0&mm=22,2,2")
    shown = warm(picture(page))
    assert shown.sum() > 200
    columns = np.flatnonzero(shown.any(axis=0))
    middle = shown.shape[1] / 2
    assert (columns.min() > middle) if convention == "neurological" else (columns.max() < middle)
    told = page.text_content("#sides")
    assert told.startswith(convention)
    assert "°" not in told  # nothing is turned


def test_threshold_signs_and_clusters(page: Any, folder: Path) -> None:
    opened(page, folder, "&scaling=absolute&threshold=100")
    rows = page.locator("#clusters tbody tr")
    assert rows.count() == 2
    assert rows.first.inner_text().split("\t")[0] == str(36 * 64)  # 3 x 4 x 3 voxels of 64 mm3
    assert "Right side" in rows.first.inner_text()
    assert "Left <b>side</b>" in rows.nth(1).inner_text()
    slide(page, "threshold", 800)  # above 0.5, below 1
    playwright.expect(rows).to_have_count(1)
    assert page.text_content("#threshold-value") == "0.8"
    slide(page, "threshold", 100)
    slide(page, "cluster", 2)
    playwright.expect(rows).to_have_count(1)
    slide(page, "cluster", 0)
    page.select_option("#signs", "negative")
    playwright.expect(rows).to_have_count(1)
    playwright.expect(rows.first).to_contain_text("Left <b>side</b>")
    rows.first.locator("button").click()
    assert numbers(page, "mm") == pytest.approx((AFFINE @ [*SPOT, 1])[:3], abs=0.1)


def slide(page: Any, name: str, value: int) -> None:
    page.evaluate(
        "([name, value]) => { const e = document.getElementById(name); e.value = value; "
        "e.dispatchEvent(new Event('input', {bubbles: true})); }",
        [name, value],
    )


def test_a_click_on_the_curve_goes_to_the_slice(page: Any, folder: Path) -> None:
    opened(page, folder, "&axis=x&mm=2,2,2")
    width = page.locator("#curve").bounding_box()["width"]
    page.locator("#curve").click(position={"x": 0.75 * width, "y": 20})
    centres = np.sort((AFFINE @ np.array([[i, 0, 0, 1] for i in range(SHAPE[0])]).T)[0])
    wanted = centres[0] + 0.75 * (centres[-1] - centres[0])
    assert numbers(page, "mm")[0] == pytest.approx(centres[np.abs(centres - wanted).argmin()], abs=0.1)
    assert numbers(page, "mm")[1:] == pytest.approx([2, 2], abs=0.1)


def test_people_keys_languages_and_links(page: Any, folder: Path) -> None:
    opened(page, folder, "&language=en")
    page.keyboard.press("n")
    page.wait_for_function("XAI.ready === 'sub-02'")
    assert page.input_value("#person") == "sub-02"
    page.keyboard.press("p")
    page.wait_for_function("XAI.ready === 'sub-01'")
    page.keyboard.press("c")
    assert page.text_content("#sides").startswith("radiological")
    page.keyboard.press("r")
    page.select_option("#language", "de")
    assert page.text_content("#sides").startswith("radiologisch")
    assert page.get_attribute("html", "lang") == "de"
    address = page.url
    before = page.evaluate("JSON.stringify(XAI.state.read())")
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_function("window.XAI && XAI.ready === 'sub-01'")
    assert page.evaluate("JSON.stringify(XAI.state.read())") == before
    assert not page.is_checked("#shown")
    assert page.text_content("#sides").startswith("radiologisch")


def test_an_address_that_makes_no_sense_is_harmless(page: Any, folder: Path) -> None:
    opened(page, folder, "&threshold=x&limit=-5&layout=round&mm=a,b&__proto__=1&scaling=<script>&opacity=1e9")
    page.select_option("#layout", "render")
    assert page.text_content("#opacity-value") == "100 %"


@contextmanager
def served(run: RunResults, folder: Path) -> Iterator[str]:
    with serve(viewed(run, atlas=atlas(folder)), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("worker", [True, False])
def test_from_the_server(page: Any, folder: Path, worker: bool) -> None:
    if not worker:
        page.add_init_script("window.Worker = function () { throw new Error('none here'); };")
    run = RunResults(folder / "run")
    with served(run, folder) as address:
        page.goto(f"{address}#mm=22,2,2&atlas=1")
        until(page, "window.XAI && XAI.ready === 'sub-01'")
        assert page.text_content("#region") == "Right side"
        assert warm(picture(page)).any()
        drawn = page.evaluate("XAI.nv.volumes.map(v => [v.hdr.scl_slope, v.hdr.scl_inter, Array.from(v.img)])")
    record = run.maps()[0]
    for (slope, inter, values), path in zip(drawn, (record.image, folder / "atlas.nii.gz", record.path), strict=True):
        expected = nib.as_closest_canonical(nib.load(path)).get_fdata().ravel(order="F")
        np.testing.assert_allclose(slope * np.array(values) + inter, expected, atol=0.002)


def test_what_the_server_cannot_read_is_told(page: Any, folder: Path, tmp_path: Path) -> None:
    run = asymmetric(tmp_path)
    run.maps()[0].path.write_bytes(b"no image")
    with served(run, folder) as address:
        page.goto(address)
        until(page, "XAI.shown && document.getElementById('message').textContent.includes('cannot be read')")
        page.keyboard.press("n")
        until(page, "XAI.ready === 'sub-02'")


def test_nobody_is_seen_under_the_name_of_one_who_cannot_be_read(page: Any, folder: Path, tmp_path: Path) -> None:
    run = asymmetric(tmp_path)
    with served(run, folder) as address:
        page.goto(f"{address}#mm=22,2,2")
        until(page, "XAI.ready === 'sub-01'")
        assert warm(picture(page)).any()
        run.maps()[2].path.write_bytes(b"no image")
        page.fill("#person", run.maps()[2].scan_id)
        page.keyboard.press("Enter")
        until(page, "document.getElementById('message').textContent.includes('cannot be read')")
        assert not warm(picture(page)).any()
        page.locator("#gl").click(position={"x": 200, "y": 100})
        assert [page.text_content(f"#{name}") for name in ("mm", "voxel", "value", "region")] == [""] * 4
        assert page.locator("#clusters tbody tr").count() == page.locator("#curve *").count() == 0


def test_the_last_picture_does_not_look_like_the_next_persons(page: Any, folder: Path) -> None:
    held: list[Any] = []
    page.route("**/data/p1-*.js", lambda route: held.append(route))
    opened(page, folder, "&mm=22,2,2")
    assert warm(picture(page)).any()
    page.keyboard.press("n")
    until(page, "XAI.shown.id === 'sub-02'")
    assert not warm(picture(page)).any()
    for one in held:
        one.continue_()
    until(page, "XAI.ready === 'sub-02'")
    assert warm(picture(page)).any()


def test_an_atlas_that_cannot_be_read_takes_nothing_else_away(page: Any, folder: Path, tmp_path: Path) -> None:
    run = asymmetric(tmp_path)
    atlas(tmp_path)[0].write_bytes(b"no image")
    shown = viewed(run, atlas=(tmp_path / "atlas.nii.gz", {}))
    with serve(shown, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        for number, scan in enumerate(("sub-01", "sub-02")):
            until(page, f"XAI.drawn === '{scan}' && document.getElementById('message').textContent.includes('atlas')")
            peak = page.locator("#clusters tbody td").nth(1)
            playwright.expect(peak).to_have_text(str(1 + number))  # and not the one's before
            page.keyboard.press("n")
        server.shutdown()
    page.problems.clear()  # the browser tells of an answer that is an error


def test_a_rendering_says_no_convention(page: Any, folder: Path) -> None:
    """It looks the same in each, and may be seen from the front: a cube names the sides."""
    opened(page, folder, "&layout=render&convention=radiological")
    assert page.text_content("#sides") == "3D: the cube names the sides of the patient"
    assert page.evaluate("XAI.nv.opts.isOrientCube")
    page.select_option("#layout", "axial")
    assert page.text_content("#sides").startswith("radiological")


def test_without_webgl(page: Any, folder: Path) -> None:
    page.add_init_script("HTMLCanvasElement.prototype.getContext = function () { return null; };")
    page.goto((folder / "viewer" / "index.html").as_uri())
    page.wait_for_function("document.getElementById('message').textContent.includes('WebGL')")


def test_programs_are_made_when_they_are_needed(page: Any, folder: Path) -> None:
    """And all of them can be: an error in one would otherwise come when somebody opens the 3D rendering."""
    page.add_init_script("""{ const own = WebGL2RenderingContext.prototype;
      const link = own.linkProgram, create = own.createProgram;
      window.linked = 0; window.programs = [];
      own.createProgram = function () { const made = create.call(this); window.programs.push(made); return made; };
      own.linkProgram = function (program) { window.linked++; return link.call(this, program); }; }""")
    opened(page, folder)
    before, known = page.evaluate("[linked, programs.length]")
    assert 0 < before < known / 2
    page.evaluate(
        "for (const p of programs) { XAI.nv.gl.useProgram(p); XAI.nv.gl.drawArrays(XAI.nv.gl.POINTS, 0, 0); }"
    )
    assert page.evaluate("linked") == known
    assert page.evaluate("programs.every(p => XAI.nv.gl.getProgramParameter(p, XAI.nv.gl.LINK_STATUS))")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_keeps_people_out(
    page: Any, folder: Path, theme: str, axe_faults: Callable[[Any], list[Any] | None]
) -> None:
    opened(page, folder, f"&theme={theme}")
    found = axe_faults(page)
    if found is None:
        pytest.skip("pip install axe-playwright-python")
    assert found == []
