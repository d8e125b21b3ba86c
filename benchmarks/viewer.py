"""How long the viewer takes to open a 1 mm map and to follow its controls; run by hand on a quiet machine.

    python benchmarks/viewer.py              # from disk, in headless Chromium without a graphics card
    python benchmarks/viewer.py --server     # as 'xai view' shows it: Python prepares the volumes meanwhile
    python benchmarks/viewer.py --gpu        # with whatever graphics card Chromium finds

Two people on the MNI template of 1 mm (182 x 218 x 182 voxels, or as nilearn has it), with noise in the scan and
relevance all over the grey matter, and an atlas of 1 mm. A frame is the time from an event until the browser has
painted what follows from it. ``--trace FILE`` keeps a CPU profile of the page (.cpuprofile, for developer tools).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_template
from scipy import ndimage

from xai_core.testing import example_run
from xai_reports_html._viewer import Viewed, export, serve, viewed

if TYPE_CHECKING:
    from playwright.sync_api import Page, Playwright

SOFTWARE = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
STEPS = 30
# Sets controls one value after another and returns ms until the frame that shows each is painted.
FRAMES = """async ([name, values]) => {
  const element = document.getElementById(name), found = [];
  for (const value of values) {
    const start = performance.now();
    element.value = value;
    element.dispatchEvent(new Event(element.tagName === "SELECT" ? "change" : "input", {bubbles: true}));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    XAI.nv.gl.finish();
    found.push(performance.now() - start);
  }
  return found;
}"""
MOVES = """async places => {
  const found = [];
  for (const mm of places) {
    const start = performance.now();
    XAI.nv.scene.crosshairPos = XAI.nv.mm2frac(mm);
    XAI.nv.drawScene();
    XAI.nv.createOnLocationChange();
    XAI.nv.gl.finish();
    found.push(performance.now() - start);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  }
  return found;
}"""
# Time of day in seconds when something of the page is there and the graphics have drawn it.
SEEN = """async name => {
  while (!(window.XAI && XAI[name])) await new Promise(done => setTimeout(done, 5));
  XAI.nv.gl.finish();
  return (performance.timeOrigin + performance.now()) / 1000;
}"""
RENDERER = """() => { const gl = XAI.nv.gl, info = gl.getExtension("WEBGL_debug_renderer_info");
  return gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER); }"""


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="store_true", help="over the local server")
    parser.add_argument("--gpu", action="store_true", help="do not force software rendering")
    parser.add_argument("--trace", type=Path, help="keep a CPU profile here")
    parser.add_argument("--view", default="", help="more of the address, such as layout=all")
    parser.add_argument("--times", type=int, default=9, help="how often it is opened, each time in a new browser")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as started:
        shown = planted(Path(temporary))
        place = None if arguments.server else exported(shown, Path(temporary))
        rounds = [
            opened(started, shown, place, arguments, last=n == arguments.times - 1) for n in range(arguments.times)
        ]
    tell_opening("the first picture with relevance", [drawn for drawn, _ in rounds])
    tell_opening("atlas and clusters are there", [ready for _, ready in rounds])


def tell_opening(what: str, seconds: list[float]) -> None:
    median = statistics.median(seconds)
    print(f"open until {what:32} median {median:.2f} s, {min(seconds):.2f} to {max(seconds):.2f} s")


def planted(folder: Path) -> Viewed:
    """Write a run with two people of 1 mm."""
    run = example_run(folder / "run")
    template, grey = load_mni152_template(resolution=1), np.asarray(load_mni152_gm_template(resolution=1).dataobj)
    head, generator = np.asarray(template.dataobj, dtype=np.float32), np.random.default_rng(0)
    for record in run.maps()[:2]:
        assert record.image is not None
        noise = ndimage.gaussian_filter(generator.standard_normal(head.shape), 1.5)
        nib.save(nib.Nifti1Image((noise * grey).astype(np.float32), template.affine), record.path)
        scan = 1000 * head / head.max() + 10 * np.abs(generator.standard_normal(head.shape))
        nib.save(nib.Nifti1Image(scan.astype(np.int16), template.affine), record.image)
    blocks = (np.indices(head.shape) // 30 * np.array([100, 10, 1])[:, None, None, None]).sum(0) + 1
    nib.save(nib.Nifti1Image((blocks * (grey > 0.2)).astype(np.int16), template.affine), folder / "atlas.nii.gz")
    names = {int(label): f"block {label}" for label in np.unique(blocks)}
    print(f"1 mm: {' x '.join(map(str, head.shape))} voxels, relevance in {int((noise * grey != 0).sum())} of them")
    return viewed(run, ["sub-01", "sub-02"], atlas=(folder / "atlas.nii.gz", names))


def exported(shown: Viewed, folder: Path) -> str:
    start = time.perf_counter()
    page = export(shown, folder / "viewer")
    size = sum(path.stat().st_size for path in (folder / "viewer" / "data").iterdir()) / 1e6
    print(f"export: {time.perf_counter() - start:.1f} s, {size:.0f} MB of volumes")
    return page.as_uri()


@contextmanager
def served(shown: Viewed) -> Iterator[str]:
    with serve(shown, 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}/"
        finally:
            running.shutdown()
            thread.join()


def opened(
    started: Playwright, shown: Viewed, place: str | None, arguments: argparse.Namespace, *, last: bool
) -> tuple[float, float]:
    """Open the viewer in a new browser and return the seconds until the picture, and until everything, is there.

    The browser is there before a server is started: nothing is prepared before the page is asked for.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    options = ["--no-sandbox", *([] if arguments.gpu else SOFTWARE)]
    browser = started.chromium.launch(executable_path=path, args=options)
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(300_000)
    page.on("pageerror", lambda error: print("error:", error))
    page.goto("about:blank")
    profile = page.context.new_cdp_session(page) if arguments.trace and last else None
    if profile:
        profile.send("Profiler.enable")
        profile.send("Profiler.start")
    start = time.time()
    with served(shown) if place is None else nullcontext(place) as address:
        page.goto(f"{address}#scan=sub-01&theme=dark&{arguments.view}", wait_until="commit")
        drawn = page.evaluate(SEEN, "drawn") - start
        ready = page.evaluate(SEEN, "ready") - start
        if last:
            print(
                f"{platform.machine()}, {os.cpu_count()} cores, Chromium {browser.version}, {page.evaluate(RENDERER)}"
            )
            page.wait_for_timeout(1500)
            follow(page)
            step(page)
        if profile:
            arguments.trace.write_text(json.dumps(profile.send("Profiler.stop")["profile"]), encoding="utf-8")
        browser.close()
    return drawn, ready


def step(page: Page) -> None:
    page.wait_for_timeout(1500)
    start = time.time()
    page.keyboard.press("n")
    until(page, "XAI.drawn === 'sub-02'")
    print(f"next person until the first picture: {page.evaluate(SEEN, 'drawn') - start:.2f} s")


def until(page: Page, expression: str) -> None:
    """Wait; the browser's own waiting is forbidden by the server's policy (it evaluates text)."""
    while not page.evaluate(f"Boolean({expression})"):
        time.sleep(0.02)


def follow(page: Page) -> None:
    """Print median and worst frame of each control."""
    steps = range(STEPS)
    tell("threshold", page.evaluate(FRAMES, ["threshold", [970 - 3 * n for n in steps]]))
    tell("limit", page.evaluate(FRAMES, ["limit", [999 - n for n in steps]]))
    tell("opacity", page.evaluate(FRAMES, ["opacity", [90 - 2 * n for n in steps]]))
    tell("signs", page.evaluate(FRAMES, ["signs", ["positive", "negative", "both"] * (STEPS // 3)]))
    page.wait_for_timeout(500)
    tell("cluster size", page.evaluate(FRAMES, ["cluster", [2 + n for n in steps]]))
    tell("threshold with a cluster size", page.evaluate(FRAMES, ["threshold", [970 - 3 * n for n in steps]]))
    page.evaluate(FRAMES, ["cluster", [0]])
    tell("crosshair", page.evaluate(MOVES, [[-40 + 2.5 * n, -30 + n, 10 + n] for n in steps]))


def tell(what: str, milliseconds: list[float]) -> None:
    print(f"{what:32} median {statistics.median(milliseconds):5.0f} ms, worst {max(milliseconds):5.0f} ms a frame")


if __name__ == "__main__":
    main()
