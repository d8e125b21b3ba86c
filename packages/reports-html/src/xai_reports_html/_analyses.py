"""Figures and tables of the analyses, as they are, with their captions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ._docstrings import summary
from ._files import Shelf, names_of, write_table
from ._reading import Notes, read_json, read_table
from ._sections import Grid
from ._summary import number
from ._texts import plain

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

__all__ = ["analyses", "analysis_folders", "atlases_of"]

_ROWS = 8  # of a table that is shown
_COLUMNS = 14
_FIGURES = {True: 8, False: 60}  # of an analysis, in a self-contained page and beside one
_OF_MAPS = ("what", "people", "explained", "colour_limit_is")  # of the sidecar of a group's map
_LARGEST = 50_000_000  # bytes of a table that is read; larger ones are named only
# Shown elsewhere on the page, person by person or by group.
_ELSEWHERE = {"sentences.tsv", "scores.tsv", "regions.tsv"}


def analysis_folders(run: RunResults) -> dict[str, Path]:
    """Return the folders of the run's analyses by id, in the order of the configuration."""
    ids = [str(slot.get("id", slot.get("name"))) for slot in run.config.get("analyses") or []]
    return {one: run.folder / "analysis" / one for one in ids}


def analyses(run: RunResults, output: Path, shelf: Shelf, notes: Notes) -> list[dict[str, Any]]:
    """Return what the page shows of each analysis, and copy its figures and tables into ``output``."""
    names = {str(s.get("id", s.get("name"))): str(s.get("name")) for s in run.config.get("analyses") or []}
    found = []
    stems = _stems(analysis_folders(run))
    for one, folder in analysis_folders(run).items():
        if not folder.is_dir():
            notes.add("gone", analysis=one)
            continue
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        found.append({
            "id": one, "name": names[one], "summary": summary("analysis", names[one]),
            "figures": _figures(one, folder, stems, output, shelf, notes),
            "tables": _shown_tables(one, folder, stems, output, notes), "files": files,
        })  # fmt: skip
    return found


def _stems(folders: Mapping[str, Path]) -> dict[Path, str]:
    """Return the name of each figure and table beside the page, without suffix; no two have one.

    What the analysis ``a`` calls ``b_c`` and the analysis ``a_b`` calls ``c`` must not be one file.
    """
    found: dict[Path, str] = {}
    for suffix in ("png", "tsv"):
        texts: dict[str, Path] = {}
        for one, folder in folders.items():
            for path in sorted(folder.rglob(f"*.{suffix}")):
                text = f"{one}_{path.relative_to(folder).with_suffix('').as_posix()}"
                while text in texts:
                    text += "-"
                texts[text] = path
        found |= {texts[text]: name for text, name in names_of(texts).items()}
    return found


def _figures(
    one: str, folder: Path, stems: Mapping[Path, str], output: Path, shelf: Shelf, notes: Notes
) -> list[dict[str, str]]:
    pictures = sorted(folder.rglob("*.png"))
    most = _FIGURES[shelf.inline]
    if len(pictures) > most:
        notes.add("figures", n=len(pictures), analysis=one, shown=most)
    found = []
    for path in pictures[:most]:
        stem = stems[path]
        for suffix in (".png", ".svg"):
            if path.with_suffix(suffix).is_file():
                shutil.copyfile(path.with_suffix(suffix), output / "figures" / f"{stem}{suffix}")
        source = shelf.put(stem, path.read_bytes()) if shelf.inline else f"figures/{stem}.png"
        found.append({"title": path.stem.replace("_", " "), "src": source, "caption": _caption(path, notes)})
    return found


def _caption(path: Path, notes: Notes) -> str:
    text = path.with_suffix(".txt")
    if text.is_file():
        return " ".join(text.read_text(encoding="utf-8", errors="replace").split())
    about = read_json(path.with_suffix(".json"), notes) or {}  # group-maps has no caption, but a sidecar
    told = [plain(f"analyses.map_{key}", value=about[key]) for key in _OF_MAPS if about.get(key)]
    caption = " ".join(told)
    return caption[:1].upper() + caption[1:]


def _shown_tables(
    one: str, folder: Path, stems: Mapping[Path, str], output: Path, notes: Notes
) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        if path.stat().st_size > _LARGEST:
            notes.add("large", file=f"{one}/{path.name}")
            continue
        table = read_table(path, notes)
        if table is None:
            continue
        file = write_table(table, output / "tables", stems[path])
        if path.name in _ELSEWHERE or not len(table):  # a table without rows is only named among the files
            continue
        found.append({"title": path.relative_to(folder).as_posix(), "file": file, "rows": len(table),
                      "grid": _grid(table)})  # fmt: skip
    return found


def _grid(table: pd.DataFrame) -> Grid:
    part = table.iloc[:_ROWS, :_COLUMNS]
    cells = [[None if pd.isna(v) else number(v) for v in row] for row in part.itertuples(index=False, name=None)]
    grid = Grid([str(name) for name in part.columns], cells, numbers=False)
    grid["more"] = len(table) - len(part)
    grid["more_columns"] = table.shape[1] - part.shape[1]
    return grid


def atlases_of(run: RunResults, notes: Notes) -> list[dict[str, str]]:
    """Return name, citation, licence and checksum of the atlases that the analyses' JSON files name."""
    found: dict[str, dict[str, str]] = {}
    for folder in analysis_folders(run).values():
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
            about = (read_json(path, notes) or {}).get("atlas")
            if isinstance(about, Mapping) and isinstance(about.get("name"), str):
                keys = ("name", "citation", "licence", "checksum", "source")
                texts = {key: str(about[key]) for key in keys if about.get(key)}
                found[texts["name"]] = {**found.get(texts["name"], {}), **texts}
    return list(found.values())
