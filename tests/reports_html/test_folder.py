"""The report as a folder: a page for every test scan, pictures as files, links that lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from xai_core.registry import create


@pytest.fixture(scope="module")
def folder(shared_run, tmp_path_factory):
    output = tmp_path_factory.mktemp("folder")
    path = create("report", "html", mode="folder", max_people=1, mosaic=4).write(shared_run, output)
    assert path == output / "index.html"
    return output


def addresses(page: Path) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', page.read_text(encoding="utf-8"))


def test_every_scan_has_a_page_whatever_max_people_says(folder):
    assert {path.name for path in (folder / "people").glob("*.html")} == {
        "sub-01.html", "sub-02.html", "sub-x.html", "sub-04_ses-b.html",
    }  # fmt: skip


def test_every_address_is_a_file_of_the_report(folder):
    pages = sorted(folder.rglob("*.html"))
    seen = 0
    for page in pages:
        for address in addresses(page):
            path, _, anchor = unquote(address).partition("#")
            if path.startswith("../quality"):
                continue  # of the run folder; there is none in this run
            target = page if not path else (page.parent / path).resolve()
            assert target.is_file(), (page, address)
            assert target.is_relative_to(folder)
            if anchor:
                assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), (page, address)
            seen += 1
    assert seen > 40


def test_the_table_leads_to_the_pages(folder):
    raw = (folder / "index.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="people-data">(.*?)</script>', raw, re.DOTALL)[1])
    people = pd.read_csv(folder / "tables" / "people.tsv", sep="\t")
    assert [column["key"] for column in data["columns"]] == list(people.columns)
    for link, row in zip(data["links"], data["rows"], strict=True):
        assert f"<h1>{row[0]}</h1>" in (folder / link).read_text(encoding="utf-8")
    assert people["decision"].tolist() == ["correct", "wrong", "wrong", "correct"]
    assert people["certainty"].tolist() == ["sure", "sure", "unsure", "sure"]
    assert people["probability_AD"].tolist() == [0.2, 0.7, 0.4, 0.9]


def test_pages_are_linked_in_the_order_of_the_table(folder):
    order = ["sub-01", "sub-02", "sub-04_ses-b", "sub-x"]
    for before, name, after in zip([None, *order], order, [*order[1:], None], strict=False):
        raw = (folder / "people" / f"{name}.html").read_text(encoding="utf-8")
        assert re.findall(r'rel="prev" href="([^"]*)"', raw) == ([f"{before}.html"] if before else [])
        assert re.findall(r'rel="next" href="([^"]*)"', raw) == ([f"{after}.html"] if after else [])


def test_pages_are_small(folder):
    """Pictures and style are files: thousands of pages stay small."""
    assert all(path.stat().st_size < 40_000 for path in (folder / "people").glob("*.html"))
    assert (folder / "style.css").is_file()


def test_several_networks_test_a_scan(make_run, tmp_path):
    run = make_run()
    for name in ("predictions", "splits"):
        table = pd.read_csv(run.folder / f"{name}.tsv", sep="\t")
        again = table.assign(fold=table["fold"] + 2)
        both = pd.concat([table.assign(repeat=0), again.assign(repeat=1)])
        both.to_csv(run.folder / f"{name}.tsv", sep="\t", index=False)
    create("report", "html", mode="folder", mosaic=0).write(run, tmp_path)
    names = {path.stem for path in (tmp_path / "people").glob("*.html")}
    assert {"sub-01_fold-0", "sub-01_fold-2"} <= names
    assert len(names) == 8
    assert "The run has no maps of this scan." in (tmp_path / "people" / "sub-01_fold-2.html").read_text("utf-8")
