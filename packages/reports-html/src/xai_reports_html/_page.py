"""The report: one page that needs nothing else, or a folder with a page for each person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import InputError

from ._account import summaries
from ._agreement import agreement_rows
from ._analyses import analyses
from ._case import Key, chosen
from ._chartset import charts
from ._citation import citation_of, write_citation
from ._docstrings import account
from ._files import Shelf, json_data, write_table
from ._literature import limits_of
from ._material import Material, explainer_slots
from ._render import STYLE, render, resource
from ._roster import Roster, roster
from ._scores import against_chance, correction_note, group_tables, if_made
from ._sections import (
    Grid,
    ensemble_section,
    fold_table,
    left_out_table,
    participants,
    quality_section,
    sweep_section,
)  # fmt: skip
from ._summary import components, described, evaluation_rows, is_nested, metric_rows
from ._texts import catalogue, plain
from ._viewing import viewer_links, write_viewer

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .plugin import HtmlReport

__all__ = ["write_page", "write_person"]

_HEADLINE = ("balanced_accuracy", "auc", "sensitivity", "specificity", "mae", "r", "r2")
_PEOPLE = "people"


def write_page(run: RunResults, output: Path, options: HtmlReport) -> Path:
    """Write the report; see ``HtmlReport.write``."""
    (output / "figures").mkdir(parents=True, exist_ok=True)
    material, inline = Material(run, options), options.mode == "single"
    shelf = Shelf(output, inline=inline)
    if inline:
        ones = chosen(material.explained, options.max_people)
        cases = list(material.cases.make(ones, shelf, output / "figures"))
        links = {one.key: f"#case-{material.cases.names[one.key]}" for one in ones}
    else:
        cases, links = [], _people_pages(material, output)
        write_viewer(material, output, links)
    found = roster(material.tested, run.subjects(), material.maps, material.cases.remarks, links, material.classes)
    values = _index_values(material, output, shelf, cases, found)
    _write_tables(material, output, found)
    if not inline:
        (output / STYLE).write_text(resource(STYLE), encoding="utf-8", newline="\n")
    path = output / "index.html"
    path.write_text(render("index.html.j2", inline=inline, **values), encoding="utf-8", newline="\n")
    return path


def write_person(run: RunResults, scan: str, output: Path, options: HtmlReport, fold: int | None = None) -> Path:
    """Write the page of one test scan, which needs nothing else, and return it.

    Args:
        run: The run.
        scan: ``scan_id``, or the id of a person with one scan.
        output: An existing folder.
        options: Of the report.
        fold: Of the network, where several tested the scan; None: the first one.

    Raises:
        InputError: No such scan was tested, or the person has several.
    """
    material = Material(run, options)
    ones = [one for one in material.tested if one.scan == scan] or [o for o in material.tested if o.subject == scan]
    scans = sorted({one.scan for one in ones})
    if len(scans) > 1:
        raise InputError(f"{scan} has several scans: {', '.join(scans)}. Name one of them.")
    others = sorted({one.fold for one in ones})
    ones = [one for one in ones if fold is None or one.fold == fold]
    if not ones and others:
        listed = ", ".join(map(str, others))
        raise InputError(f"{run.folder}: {scan} was not tested by the network of fold {fold}, but by that of {listed}.")
    if not material.tested:
        raise InputError(f"{run.folder}: nobody was tested yet. 'xai run' on its pipeline.resolved.yaml goes on.")
    if not ones:
        tested = ", ".join(sorted({one.scan for one in material.tested})[:5])
        raise InputError(f"{run.folder}: {scan} was not tested. Tested were {tested} and so on (predictions.tsv).")
    (person,) = material.cases.make(ones[:1], Shelf(output, inline=True), None)
    values = _person_values(material, person)
    path = output / f"{person['name']}.html"
    path.write_text(render("person.html.j2", inline=True, **values), encoding="utf-8", newline="\n")
    return path


def _people_pages(material: Material, output: Path) -> dict[Key, str]:
    """Write a page for every test scan, one after another, and return their addresses."""
    folder, names = output / _PEOPLE, [material.cases.names[one.key] for one in material.tested]
    if not names:
        return {}
    folder.mkdir(exist_ok=True)
    shelf = Shelf(folder, inline=False)
    before, after = [None, *names[:-1]], [*names[1:], None]
    people, viewer = material.cases.make(material.tested, shelf, None), viewer_links(material)
    for person, one, previous, following in zip(people, material.tested, before, after, strict=True):
        values = _person_values(material, person) | {
            "home": "../index.html", "previous": previous, "next": following,
            "viewer": f"../{viewer[one.key]}" if one.key in viewer else None,
        }  # fmt: skip
        page = render("person.html.j2", inline=False, up="../", **values)
        part = folder / f"{person['name']}.part"
        part.write_text(page, encoding="utf-8", newline="\n")
        part.replace(part.with_name(f"{person['name']}.html"))  # who stops in the middle leaves no half page
    return {one.key: f"{_PEOPLE}/{name}.html" for one, name in zip(material.tested, names, strict=True)}


def _person_values(material: Material, person: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _name(material), "person": person, "options": material.options, "methods": material.methods(),
        "classes": material.classes, "home": None, "previous": None, "next": None,
        "viewer": None,
    }  # fmt: skip


def _name(material: Material) -> str:
    return str(material.config.get("name", material.run.folder.name))


def _index_values(
    material: Material, output: Path, shelf: Shelf, cases: Sequence[dict[str, Any]], people: Roster
) -> dict[str, Any]:
    run, config, metrics = material.run, material.config, material.metrics
    held_out = if_made(run.held_out_metrics) or {}
    citation = citation_of(run, material.notes)
    write_citation(citation, output)
    values: dict[str, Any] = {
        "name": _name(material), "classes": material.classes, "options": material.options,
        **_scores(material, held_out),
        "sentences": described(run), "components": components(config),
        "included": participants(run), "left_out": left_out_table(run), "fold_table": fold_table(run),
        "quality": None if material.quality is None else quality_section(material.quality),
        "charts": charts(material, output, shelf), "groups": group_tables(run), "correction": correction_note(run),
        "ensemble": ensemble_section(run, metrics, material.notes), "sweep": sweep_section(run, material.notes),
        "accounts": summaries(material.records, [slot["id"] for slot in explainer_slots(config)]),
        "agreement": _agreement(material), "drawn_scans": _drawn(material),
        "evaluations": _evaluations(material),
        "regions": _regions(material), "analyses": analyses(run, output, shelf, material.notes),
        "people": people if people.links else None,
        "people_data": json_data(people.data() | {"viewer": _viewer(material), "words": _words()}),
        "cases": cases, "methods": material.methods() if material.records else [],
        "citation": citation, "on_limits": [paper.text for paper in limits_of(config)],
        "versions": _versions(material.info),
        "facts": [(k, material.info[k]) for k in ("device", "seed", "people", "scans", "folds") if k in material.info],
    }  # fmt: skip
    # Notes are complete only after everything was read.
    return values | {"notes": material.notes.lines, "anchors": _anchors(values)}


def _scores(material: Material, held_out: dict[str, Any]) -> dict[str, Any]:
    metrics = material.metrics
    rows = metric_rows(metrics)
    known = [row for name in _HEADLINE for row in rows if row["key"] == name]
    return {
        "rows": rows,
        "tiles": (known + [row for row in rows if row not in known])[:4],
        "test": metrics.get("test", {}),
        "folds": len(metrics.get("folds", [])),
        "repeats": len(metrics.get("repeats", [])),
        "nested": is_nested(material.run.splits()),
        "chance": against_chance(metrics.get("test", {})),
        "held_out": {**held_out.get("ensemble", {}), "rows": metric_rows(held_out, "ensemble")},
    }


def _anchors(values: dict[str, Any]) -> list[str]:
    there = {
        "done": True, "who": True, "results": True, "heldout": values["held_out"]["rows"],
        "ensemble": values["ensemble"], "sweep": values["sweep"], "training": "training" in values["charts"],
        "regions": values["regions"], "analyses": values["analyses"],
        "checks": values["accounts"] or values["agreement"] or values["evaluations"],
        "people": values["people"], "reading": values["methods"], "cases": values["cases"], "cite": True, "about": True,
    }  # fmt: skip
    return [name for name, found in there.items() if found]


def _drawn(material: Material) -> str:
    """Return over how many scans explainers are compared; several networks may have tested a scan."""
    tests, scans = len(material.cases.pairs), len({scan for scan, _ in material.cases.pairs})
    told = plain("count.scans_many", n=scans)
    return told if scans == tests else plain("agreement.tests", n=tests, scans=told)


def _agreement(material: Material) -> Grid | None:
    rows = agreement_rows([pairs for pairs in material.cases.pairs.values() if pairs])
    columns = [plain(f"agreement.{key}") for key in ("pair", "n", "rank", "dice", "chance")]
    cells = [[f"{r['first']}, {r['second']}", r["n"], r["rank"], r["dice"], r["chance"]] for r in rows]
    return Grid(columns, cells) if rows else None


def _evaluations(material: Material) -> list[dict[str, Any]]:
    keys = ("explainer", "score", "n", "mean", "sd", "median", "range")
    columns = [plain(f"evaluation.{key}") for key in keys]
    found = []
    for slot in material.config.get("evaluators") or []:
        name = str(slot.get("id", slot["name"]))
        if name in material.evaluations:
            cells = [[row[key] for key in keys] for row in evaluation_rows(material.evaluations[name])]
            about = account("evaluator", str(slot["name"]))
            found.append({"id": name, "grid": Grid(columns, cells, words=(1,)), "account": about})
    return found


def _regions(material: Material) -> list[dict[str, Any]]:
    found = []
    for table in material.anatomy.groups(material.classes):
        columns = [plain("case.col_region"), plain("regions.all"), *table["columns"]]
        rows = [[row["region"], row["all"], *row["cells"]] for row in table["rows"]]
        keys = ("analysis", "explainer", "measure", "people", "regions")
        about = {key: table[key] for key in keys}
        found.append({"grid": Grid(columns, rows), "caption": plain("regions.caption", shown=len(rows), **about)})
    return found


def _versions(info: dict[str, Any]) -> Grid:
    pairs = [*(info.get("versions") or {}).items(), *(info.get("components") or {}).items()]
    return Grid([plain("about.what"), plain("about.version")], pairs, numbers=False)


def _viewer(material: Material) -> list[str | None]:
    """Return the address of each row of the table in the viewer; the list is empty without one."""
    links = viewer_links(material)
    return [links.get(one.key) for one in material.tested] if links else []


def _words() -> dict[str, str]:
    """What the script says; its own placeholders in braces are filled in there."""
    keys = ("count", "sort", "filter", "number", "text", "unknown", "viewer")
    return {key: catalogue()[f"script.{key}"] for key in keys} | {
        key: plain(f"word.{key}") for key in ("all", "wrong", "unsure")
    }


def _write_tables(material: Material, output: Path, people: Roster) -> None:
    """Write tables beside the page, safe to open in a spreadsheet."""
    folder = output / "tables"
    if people.links:
        write_table(people.table(), folder, "people")
    tables = {"left-out": material.run.left_out(), "quality": material.quality, **material.evaluations}
    for name in ("by-group", "roc", "calibration"):
        tables[name] = if_made(lambda name=name: material.run.score_table(name))  # type: ignore[misc]
    tables["metrics"] = if_made(lambda: material.run.score_table("metrics"))
    for name, table in tables.items():
        if table is not None and len(table):
            write_table(table, folder, name)
