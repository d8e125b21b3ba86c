"""What comes from data stays text: in HTML, attributes, the script's data, SVG, file names and spreadsheets."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from xai_core.registry import create
from xai_reports_html._files import harmless, json_data, names_of, write_table

_SPEC = importlib.util.spec_from_file_location("nasty", Path(__file__).with_name("nasty.py"))
nasty = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(nasty)

ELEMENTS = {
    "a", "article", "b", "body", "br", "button", "caption", "code", "dd", "details", "div", "dl", "dt", "figcaption",
    "figure", "h1", "h2", "h3", "h4", "head", "header", "html", "img", "input", "label", "li", "link", "main", "meta",
    "nav", "noscript", "ol", "option", "p", "path", "pre", "script", "section", "select", "small", "span", "strong",
    "style", "summary", "svg", "table", "tbody", "td", "text", "th", "thead", "title", "tr", "ul",
}  # fmt: skip
ADDRESS = r"data:image/(png|jpeg);base64,|#|pictures/|figures/|people/|tables/|\.\./|[\w.-]+\.(html|css)$"


class Strict(HTMLParser):
    """Refuses what the templates do not hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.data: list[str] = []
        self._inside = False
        self.json = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert tag in ELEMENTS, tag
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href"):
                assert re.match(ADDRESS, value), value
        if tag == "script":
            self.scripts.append(dict(attrs))
        self._inside = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.json += data
        self.data.append(data)


@pytest.fixture(scope="module", params=["single", "folder"])
def written(request, run_writer, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    run = nasty.make_nasty(run_writer(root))
    (root / "report").mkdir()
    create("report", "html", mode=request.param, mosaic=2).write(run, root / "report")
    return root / "report"


def test_pages_hold_our_elements_only(written):
    pages = sorted(written.rglob("*.html"))
    assert len(pages) == (1 if "single" in str(written) else 5)
    for path in pages:
        page = Strict(path.read_text(encoding="utf-8"))
        assert len(page.scripts) == (2 if path.name == "index.html" else 1)
        assert any(nasty.SCRIPT in data for data in page.data), "it is there as text"
        if path.name == "index.html":
            found = json.loads(page.json)
            assert any(nasty.CLASSES[1] in column["choices"] for column in found["columns"])
            assert any(nasty.FORMULA in row for row in found["rows"])


def test_svg_and_names_of_files(written):
    for path in written.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name), path
        if path.suffix == ".svg":
            tags = {element.tag.rpartition("}")[2] for element in ET.parse(path).iter()}
            assert not tags & {"script", "img", "b", "foreignObject"}, path


def test_tables_hold_no_formulas(written):
    tables = sorted(written.rglob("*.tsv"))
    assert {"people.tsv", "left-out.tsv", "regions_regions.tsv"} <= {path.name for path in tables}
    for path in tables:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream, delimiter="\t"))
        assert len({len(row) for row in rows}) == 1, path
        for cell in (cell for row in rows for cell in row):
            assert not cell.startswith(("=", "+", "@")), (path, cell)
            assert not cell.startswith("-") or re.fullmatch(r"-[\d.e-]+", cell), (path, cell)
    people = pd.read_csv(written / "tables" / "people.tsv", sep="\t")
    assert f"'{nasty.FORMULA}" in set(people["subject_id"]), "a text, with the apostrophe of spreadsheets"


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"), ("+49 30", "'+49 30"), ("@x", "'@x"), ("-x", "'-x"), ("\tx", "'x"), ("a\tb\r\nc", "a b c"),
        ("-1.5", "-1.5"), ("+2e-3", "+2e-3"), (-1.5, -1.5), ("sub-01", "sub-01"), ("", ""), (None, None), ("-", "'-"),
        ("\N{FULLWIDTH EQUALS SIGN}1", "'\N{FULLWIDTH EQUALS SIGN}1"),
    ],
)  # fmt: skip
def test_cells(cell, safe):
    assert harmless(cell) == safe


def test_columns_are_cells_too(tmp_path):
    write_table(pd.DataFrame({"=a": [1.0, float("nan")], "b": ["x\ty", "=z"]}), tmp_path, "t")
    assert (tmp_path / "t.tsv").read_text() == "'=a\tb\n1.0\tx y\nn/a\t'=z\n"


def test_json_ends_no_element():
    value = {"</script>": "<!--<script>\u2028 & '"}
    text = str(json_data(value))
    assert not set("<>&'") & set(text)
    assert json.loads(text) == value


def test_names_never_meet():
    names = names_of(["a b", "a-b", "A-B", "../x", "", "ä", "x" * 300, "x" * 299, "a b"])
    found = list(names.values())
    assert len(names) == 8
    assert len({name.casefold() for name in found}) == 8
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in found)
    assert not any(".." in name[:3] for name in found)
