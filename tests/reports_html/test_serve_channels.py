"""xai serve with a network that reads two channels of people with several visits, in a browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import xai_core
from xai_core import Pipeline, Run
from xai_reports_html._serving.server import Address, Serving, prepared

SHAPE = (12, 14, 10)
STUDY = """
version: 1
name: channels
seed: 1
device: cpu
output: {folder}/results
quality: false
data:
  name: participants
  params: {{table: {folder}/t.tsv, session: session_id, channels: {{t1w: t1, flair: flair}}, target: diagnosis}}
  transforms: [{{name: z-normalization}}]
split: {{name: stratified-kfold, params: {{folds: 2}}}}
model: {{name: resnet3d, params: {{depth: 10, width: 4, conv1_stride: 1}}}}
training: {{name: lightning, params: {{epochs: 1, batch_size: 8, bootstrap: 100, permutations: 0, loggers: []}}}}
explainers: [{{name: lrp}}, {{name: occlusion, params: {{window: 4, max_batch: 2}}}}]
reports: []
"""


def save(path: Path, generator: np.random.Generator, *, shape: tuple[int, ...] = SHAPE, level: float = 100) -> Path:
    affine = np.diag([-4.0, 4, 4, 1])
    affine[:3, 3] = (30, -40, -30)
    nib.save(nib.Nifti1Image(generator.normal(level, 20, shape).astype(np.float32), affine), path)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, generator = tmp_path_factory.mktemp("channels"), np.random.default_rng(0)
    rows = ["participant_id\tsession_id\tt1\tflair\tdiagnosis"]
    for person in range(8):
        for visit in ("M00", "M12"):
            t1, flair = (
                save(folder / f"p{person}_{visit}_{name}.nii.gz", generator, level=100 + 40 * (person % 2))
                for name in ("mprage", "tirm")
            )
            rows.append(f"{person:02d}\t{visit}\t{t1}\t{flair}\t{('CN', 'AD')[person % 2]}")
    (folder / "t.tsv").write_text("\n".join(rows) + "\n")
    (folder / "p.yaml").write_text(STUDY.format(folder=folder))
    return xai_core.load(Pipeline.from_file(folder / "p.yaml").run("train").folder)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of somebody's own; both are called ``scan``, as the server calls them."""
    generator = np.random.default_rng(5)
    found = {}
    for name, shape in (("t1w", SHAPE), ("flair", SHAPE), ("other", (12, 14, 9))):
        found[name] = save(tmp_path_factory.mktemp(name) / "scan.nii.gz", generator, shape=shape)
    return found


@pytest.fixture(scope="module")
def served(run: Run) -> Iterator[Serving]:
    with prepared(run.results, Address(port=0), limit=20_000_000) as serving:
        thread = threading.Thread(target=serving.run)
        thread.start()
        while not serving.server.started:
            time.sleep(0.01)
        try:
            yield serving
        finally:
            serving.server.should_exit = True
            thread.join(20)


@pytest.fixture
def page(served: Serving, browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1300, "height": 900}, locale="en-GB")
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.goto(served.url)
    opened.wait_for_selector("#serve-target option[value=c1]", state="attached")
    yield opened
    opened.close()
    assert problems == []


def drop(page: Any, *files: tuple[Path, str]) -> list[str]:
    """Drop files, and return which stands at which channel."""
    content = [[list(path.read_bytes()), name] for path, name in files]
    transfer = page.evaluate_handle(
        "list => { const t = new DataTransfer(); for (const [bytes, name] of list) "
        "t.items.add(new File([new Uint8Array(bytes)], name)); return t; }",
        content,
    )
    page.dispatch_event("#gl", "drop", {"dataTransfer": transfer})
    return [page.text_content(f"#serve-name-{i}") for i in range(2)]


def finished(page: Any) -> None:
    page.wait_for_selector("#serve-progress:not([hidden])")
    page.wait_for_selector("#serve-progress", state="hidden", timeout=60_000)


def test_files_find_their_channels_by_name(page: Any, scans: dict[str, Path]) -> None:
    t1, flair = scans["t1w"], scans["flair"]
    straight = ["my_T1w.nii.gz", "my-FLAIR.nii.gz"]
    assert drop(page, (t1, straight[0]), (flair, straight[1])) == straight
    assert page.text_content("#serve-order") == ""
    assert drop(page, (flair, straight[1]), (t1, straight[0])) == straight, "whatever their order"
    assert drop(page, (flair, "tirm.nii.gz"), (t1, "x.nii.gz")) == ["x.nii.gz", "tirm.nii.gz"], "as the study's are"
    assert "check that each" in page.text_content("#serve-order")
    assert drop(page, (t1, "a.nii.gz"), (flair, "b.nii.gz")) == ["a.nii.gz", "b.nii.gz"]
    assert "check that each" in page.text_content("#serve-order")
    # Chosen one by one nothing is moved, but told.
    page.set_input_files("#serve-file-0", {"name": "flair.nii.gz", "mimeType": "", "buffer": flair.read_bytes()})
    assert page.text_content("#serve-order") == "flair.nii.gz: by its name this is the channel flair."
    for files, told in (
        ([(t1, "t1w.nii.gz")], "Drop one file for each channel: t1w, flair"),
        ([(t1, "t1w.nii.gz")] * 3, "Drop one file for each channel: t1w, flair"),
        ([(t1, "flair1_flair.nii.gz"), (flair, "flair.nii.gz")], "two are of one channel"),
    ):
        drop(page, *files)
        assert told in page.text_content("#serve-error")


def test_what_is_found_is_what_python_finds(page: Any, run: Run, scans: dict[str, Path], tmp_path: Path) -> None:
    drop(page, (scans["flair"], "FLAIR.nii.gz"), (scans["t1w"], "T1w.nii.gz"))
    page.select_option("#serve-fold", "all")
    page.evaluate(  # asked more often than a person needs: this network is explained in moments
        "() => { const own = window.setTimeout; window.setTimeout = (then, ms) => own(then, Math.min(ms, 10)); "
        "window.told = new Set(); const at = document.getElementById('serve-far'); new MutationObserver(() => "
        "window.told.add(at.textContent)).observe(at, {childList: true, characterData: true, subtree: true}); }"
    )
    page.click("#serve-go")
    finished(page)
    assert page.text_content("#serve-error") == ""
    told = [text for text in page.evaluate("Array.from(window.told)") if text]
    assert any(text.startswith("fold 1/2, ") for text in told) or any(text.startswith("fold 2/2, ") for text in told)
    expected = run.explain([scans["t1w"], scans["flair"]], fold="all")
    swapped = run.explain([scans["flair"], scans["t1w"]], fold="all")
    entry = page.locator("#serve-results li").first
    for name in ("lrp", "occlusion"):
        with page.expect_download() as started:
            entry.locator("a", has_text=f"NIfTI {name}Mean").click()
        started.value.save_as(tmp_path / "map.nii.gz")
        image: Any = nib.load(tmp_path / "map.nii.gz")
        values = image.get_fdata()
        assert values.shape == (*SHAPE, 2)
        np.testing.assert_array_equal(values, expected[name].image.get_fdata())
        assert not np.array_equal(values, swapped[name].image.get_fdata())
    with page.expect_download() as started:
        entry.locator("a", has_text="sidecar lrpMean").click()
    sidecar = json.loads(Path(started.value.path()).read_text(encoding="utf-8"))
    assert sidecar["image"] == "T1w.nii.gz, FLAIR.nii.gz"
    assert len(sidecar["channels"]) == 2


def test_doubtful_files_are_told_with_the_result(page: Any, scans: dict[str, Path]) -> None:
    for slot, name in enumerate(("flair.nii.gz", "second.nii.gz")):
        content = scans["flair"].read_bytes()
        page.set_input_files(f"#serve-file-{slot}", {"name": name, "mimeType": "", "buffer": content})
    page.locator("#serve-explainers input").nth(1).uncheck()
    page.click("#serve-go")
    finished(page)
    said = page.locator("#serve-results li").first.text_content()
    assert "flair.nii.gz was given as the channel t1w, but its name says flair." in said
    assert "The channels t1w and flair are the same file." in said
    # Of another grid: the names are those of the owner, and no path of this machine is shown.
    drop(page, (scans["t1w"], "T1w.nii.gz"), (scans["other"], "FLAIR.nii.gz"))
    page.click("#serve-go")
    finished(page)
    error = page.text_content("#serve-error")
    assert "The channels T1w.nii.gz (12 x 14 x 10 voxels" in error
    assert "do not lie on one grid" in error
    assert "upload-" not in error


def test_visits_of_a_person(page: Any, run: Run) -> None:
    page.fill("#serve-person", "03")
    assert page.text_content("#serve-known") == (
        "This person has several scans. Choose one: sub-03_ses-M00, sub-03_ses-M12"
    )
    page.fill("#serve-person", "sub-03_ses-M12")
    page.locator("#serve-explainers input").nth(1).uncheck()
    fold = int(page.input_value("#serve-fold"))
    page.click("#serve-go")
    finished(page)
    assert "sub-03_ses-M12" in page.locator("#serve-results li").first.text_content()
    splits = run.results.splits()
    mine = splits[(splits["subject_id"].astype(str).str.zfill(2) == "03") & (splits["part"] == "test")]
    assert mine["fold"].tolist() == [fold]
