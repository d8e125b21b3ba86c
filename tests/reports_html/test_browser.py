"""The report in a real browser, opened from disk: the table, the filters, the keyboard, the PDF; nothing is fetched."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from xai_core import InputError
from xai_core.registry import create
from xai_reports_html import pdf_command
from xai_reports_html._browser import find_browser, print_to_pdf
from xai_reports_html.pdf_command import command

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

_SPEC = importlib.util.spec_from_file_location("nasty", Path(__file__).with_name("nasty.py"))
nasty = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(nasty)


@pytest.fixture
def watched(browser):
    """A page whose errors and requests are noted; both are asserted at the end."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}") or dialog.dismiss())
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url)
    )
    yield page
    page.close()
    assert problems == []


@pytest.fixture(scope="module")
def many(run_writer, tmp_path_factory):
    """130 test scans without maps: one row of the table in three is a wrong decision."""
    root = tmp_path_factory.mktemp("many")
    run = run_writer(root)
    n = 130
    ids = [f"{i:03}" for i in range(n)]
    target = ["AD" if i % 2 else "CN" for i in range(n)]
    wrong = [i % 3 == 0 for i in range(n)]
    p = [(0.55 if i % 5 == 0 else 0.9) for i in range(n)]
    said = [t if not w else ("CN" if t == "AD" else "AD") for t, w in zip(target, wrong, strict=True)]
    ad = [v if s == "AD" else 1 - v for v, s in zip(p, said, strict=True)]
    table = pd.DataFrame({
        "fold": 0, "scan_id": [f"sub-{i}" for i in ids], "subject_id": ids, "target": target, "prediction": said,
        "probability_CN": [1 - v for v in ad], "probability_AD": ad,
    })  # fmt: skip
    subjects = table[["scan_id", "subject_id", "target"]].assign(
        age=[None if i == 7 else 50 + i % 40 for i in range(n)], site=[f"site {i % 3}" for i in range(n)]
    )
    for name, found in (("predictions", table), ("subjects", subjects)):
        found.to_csv(run.folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")
    splits = pd.DataFrame({"fold": 0, "part": "test", "subject_id": ids})
    splits.to_csv(run.folder / "splits.tsv", sep="\t", index=False)
    (root / "report").mkdir()
    page = create("report", "html", mode="folder").write(run, root / "report")
    return page, table.assign(age=subjects["age"])


def scans(page) -> list[str]:
    return page.locator("#people-table tbody th").all_inner_texts()


def column(page, name: str):
    return page.get_by_label(f"Filter {name}", exact=True)


def test_sort_filter_and_page(watched, many):
    path, table = many
    watched.goto(path.as_uri())
    assert scans(watched) == table["scan_id"].tolist()[:25]
    assert watched.locator("#people-count").inner_text() == "130 of 130 scans, page 1 of 6"
    watched.get_by_role("button", name="Next rows").click()
    assert scans(watched)[0] == "sub-025"
    head = watched.get_by_role("columnheader", name="age")
    head.get_by_role("button").click()
    order = table.sort_values("age", kind="stable")["scan_id"].tolist()
    assert scans(watched) == order[:25]
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").press("Enter")  # the keyboard does the same, the other way round
    assert head.get_attribute("aria-sort") == "descending"
    watched.locator("#people-size").select_option("all")
    assert scans(watched)[-1] == "sub-007", "an unknown age comes last in both directions"
    assert len(scans(watched)) == 130
    watched.get_by_role("button", name="wrong", exact=True).click()
    wrong = table[table["target"] != table["prediction"]]
    assert set(scans(watched)) == set(wrong["scan_id"])
    column(watched, "Probability of AD").fill(">0.5")
    assert set(scans(watched)) == set(wrong[wrong["probability_AD"] > 0.5]["scan_id"])
    watched.get_by_role("button", name="unsure", exact=True).click()
    assert set(scans(watched)) == {scan for i, scan in enumerate(table["scan_id"]) if i % 5 == 0}
    watched.get_by_role("button", name="all", exact=True).click()
    column(watched, "site").select_option(label="site 2")
    column(watched, "age").fill("60..62")
    ages = table[table["age"].between(60, 62)]
    assert set(scans(watched)) == {scan for scan in ages["scan_id"] if int(scan[4:]) % 3 == 2}
    column(watched, "site").select_option(label="all")
    column(watched, "age").fill("?")
    assert scans(watched) == ["sub-007"]
    column(watched, "age").fill("60.7")
    assert scans(watched) == [], "nobody is 60.7 years old; 61 is another number"
    column(watched, "age").fill("61.0")
    assert set(scans(watched)) == set(table[table["age"] == 61]["scan_id"])
    column(watched, "age").fill("about 60")
    assert column(watched, "age").get_attribute("aria-invalid") == "true"
    assert watched.locator("#people-count").inner_text().startswith("130 of 130")
    watched.get_by_role("button", name="all", exact=True).click()
    column(watched, "Scan").fill("SUB-01")
    assert sorted(scans(watched)) == [f"sub-01{i}" for i in range(10)]


def test_from_the_table_to_a_person_and_on(watched, many):
    path, _ = many
    watched.goto(path.as_uri())
    watched.get_by_role("link", name="sub-003").click()
    assert watched.locator("h1").inner_text() == "sub-003"
    watched.keyboard.press("ArrowRight")
    watched.wait_for_url("**/sub-004.html")
    watched.get_by_label("Relevance").press("ArrowLeft")  # the slider's own key
    assert watched.locator("h1").inner_text() == "sub-004"
    assert watched.evaluate("document.documentElement.style.getPropertyValue('--relevance')") == "0.95"
    watched.get_by_role("link", name="All people").click()
    watched.wait_for_url("**/index.html#people")


def test_nothing_that_comes_from_data_runs(watched, run_writer, tmp_path):
    run = nasty.make_nasty(run_writer(tmp_path))
    for mode in ("single", "folder"):
        (tmp_path / mode).mkdir()
        page = create("report", "html", mode=mode, mosaic=2, max_people=1).write(run, tmp_path / mode)
        watched.goto(page.as_uri())
        watched.get_by_role("button", name="unsure", exact=True).click()
        watched.get_by_role("button", name="all", exact=True).click()
        assert watched.locator("#people-table tbody img, #people-table tbody script").count() == 0
        assert nasty.FORMULA in watched.locator("#people-table tbody").inner_text()
        assert watched.locator("img").evaluate_all("all => all.every((one) => one.naturalWidth > 0)"), (
            "every picture loads"
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_out(browser, make_run, axe_faults, scheme):
    run = make_run()
    (run.folder / "quality").mkdir()
    flagged = pd.DataFrame({"scan_id": ["sub-01"], "flags": ["n/a"], "problem": ["n/a"]})
    flagged.to_csv(run.folder / "quality" / "quality.tsv", sep="\t", index=False)
    (run.folder / "report").mkdir()
    page_of_all = create("report", "html", mode="folder").write(run, run.folder / "report")
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    for path in (page_of_all, run.folder / "report" / "people" / "sub-01.html"):
        page.goto(path.as_uri())
        found = axe_faults(page)
        if found is None:
            pytest.skip("pip install axe-playwright-python")
        assert found == [], path.name
    assert page_of_all.read_text(encoding="utf-8").count("../quality/index.html") == 1, "a link within a sentence"
    page.close()


@needs_browser
def test_pdf_of_a_person_and_of_the_run(shared_run, tmp_path):
    made = []
    for name, options in (("a.pdf", ["--person", "sub-01"]), ("b.pdf", ["--person", "sub-01"]), ("run.pdf", [])):
        done = CliRunner().invoke(command, [str(shared_run.folder), "--output", str(tmp_path / name), *options])
        assert done.exit_code == 0, done.output
        made.append((tmp_path / name).read_bytes())
    assert all(data.startswith(b"%PDF-") for data in made)
    assert made[0] == made[1], "the same page gives the same bytes"
    pages = [len(re.findall(rb"/Type\s*/Page\b", data)) for data in made]
    assert 1 <= pages[0] < pages[2]


def test_the_report_of_a_pdf_has_no_viewer(make_run):
    """A run whose report is a folder with a viewer is printed as well."""
    run = make_run()
    path = run.folder / "pipeline.resolved.yaml"
    slot = {"id": "html", "name": "html", "params": {"mode": "folder", "viewer": True, "threshold": 90}}
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "reports": [slot]}))
    report = pdf_command._report(run)
    assert (report.mode, report.viewer, report.threshold) == ("single", False, 90)


def test_no_browser(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("XAI_BROWSER", raising=False)
    monkeypatch.setattr("xai_reports_html._browser._PLACES", {})
    with pytest.raises(InputError, match="there is none: looked for chromium"):
        find_browser()
    monkeypatch.setenv("XAI_BROWSER", "netscape")
    with pytest.raises(InputError, match="XAI_BROWSER is 'netscape', which is no program"):
        find_browser()


@pytest.mark.parametrize(("body", "said"), [("echo broken >&2; exit 1", "broken"), ("sleep 5", "within 0.5 s")])
def test_a_browser_that_fails(monkeypatch, tmp_path, body, said):
    program = tmp_path / "browser"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("XAI_BROWSER", str(program))
    with pytest.raises(InputError, match=said):
        print_to_pdf(tmp_path / "page.html", tmp_path / "out.pdf", timeout=0.5 if "sleep" in body else 30)
    assert not (tmp_path / "out.pdf").exists()


def test_wrong_options(shared_run, tmp_path, monkeypatch):
    monkeypatch.setattr("xai_reports_html._browser.find_browser", lambda: "x")
    assert "--fold is of --person" in CliRunner().invoke(command, [str(shared_run.folder), "--fold", "1"]).output
    options = [str(shared_run.folder), "--person", "sub-01", "--output", str(tmp_path / "a.txt")]
    with pytest.raises(InputError, match=r"ends in \.pdf"):
        CliRunner().invoke(command, options, catch_exceptions=False)
