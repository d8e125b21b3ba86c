"""The viewer inside the report: written where it is asked for, and each link leads to its own person and back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xai_core.registry import create

HOSTILE = "sub-x&fold=7#<img src=x onerror=alert(1)>+%41 'é"


@pytest.fixture(scope="module")
def report(run_writer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the viewer; one scan has an id that wants to be more of an address."""
    root = tmp_path_factory.mktemp("inside")
    run = run_writer(root)
    for path in [*run.folder.glob("*.tsv"), *run.folder.glob("derivatives/**/*.json")]:
        text = path.read_text(encoding="utf-8")
        name = json.dumps(HOSTILE)[1:-1] if path.suffix == ".json" else HOSTILE
        path.write_text(name.join(re.split(r'(?<=[\t"\n])sub-x(?=[\t"])', text)), encoding="utf-8")
    output = root / "report"
    output.mkdir()
    create("report", "html", mode="folder", mosaic=0, viewer=True).write(run, output)
    return output


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    tab = browser.new_page(viewport={"width": 1200, "height": 800})
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    # Whoever clicks on before every picture is there breaks the rest off.
    tab.on("requestfailed", lambda r: None if r.failure == "net::ERR_ABORTED" else problems.append(r.url))
    tab.on("dialog", lambda dialog: problems.append(dialog.message))
    tab.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else problems.append(r.url))
    yield tab
    tab.close()
    assert problems == []


def shown(page: Any, scan: str) -> None:
    page.wait_for_function("scan => window.XAI && XAI.ready === scan", arg=scan, timeout=60_000)
    assert page.input_value("#person") == scan


@pytest.mark.parametrize("scan", ["sub-02", HOSTILE])
def test_from_the_report_to_the_viewer_and_back(page: Any, report: Path, scan: str) -> None:
    page.goto((report / "index.html").as_uri())
    page.get_by_role("link", name=scan, exact=True).click()
    assert page.text_content("h1") == scan
    page.get_by_role("link", name="In the viewer").click()
    shown(page, scan)
    page.get_by_role("link", name="Page in the report").click()
    assert page.text_content("h1") == scan
    page.go_back()
    shown(page, scan)
    page.go_back()
    assert page.text_content("h1") == scan
    page.goto((report / "index.html").as_uri())
    page.get_by_role("link", name=f"viewer {scan}", exact=True).click()
    shown(page, scan)


def test_the_next_person_has_their_own_page(page: Any, report: Path) -> None:
    page.goto((report / "viewer" / "index.html").as_uri() + "#scan=sub-01")
    shown(page, "sub-01")
    page.keyboard.press("n")
    shown(page, "sub-02")
    page.get_by_role("link", name="Page in the report").click()
    assert page.text_content("h1") == "sub-02"


def test_no_viewer_unless_it_is_asked_for(make_run: Any, tmp_path: Path) -> None:
    run = make_run()
    for mode in ("single", "folder"):
        (tmp_path / mode).mkdir()
        page = create("report", "html", mode=mode, mosaic=0).write(run, tmp_path / mode)
        text = page.read_text(encoding="utf-8")
        assert "<code>xai view RUN</code>" in text
        assert "viewer/index.html" not in text
        assert not (tmp_path / mode / "viewer").exists()
    with pytest.raises(Exception, match="viewer is for mode: folder"):
        create("report", "html", viewer=True)


def test_a_run_without_maps_has_no_viewer_and_no_dead_link(make_run: Any, tmp_path: Path) -> None:
    run = make_run()
    shutil.rmtree(run.folder / "derivatives")
    page = create("report", "html", mode="folder", viewer=True).write(run, tmp_path)
    assert not (tmp_path / "viewer").exists()
    for path in [page, *(tmp_path / "people").glob("*.html")]:
        assert "viewer/index.html" not in path.read_text(encoding="utf-8")
