"""The quality control of ``xai qc``: which images a pipeline or a table names, and what is written of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torchio as tio

from xai_core import Dataset, InputError, registry
from xai_core.config.resolve import resolve
from xai_core.engine.calls import at_work
from xai_core.engine.scans import ScanChecks
from xai_core.engine.seeding import seeded, unit_seed
from xai_core.engine.study import scan_name

from ._quality import look_at, write_quality
from ._table import StudyTable, read_table, rows_text

__all__ = ["subjects_of_pipeline", "subjects_of_table", "write_quality_of"]

_IMAGES = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr", ".nrrd", ".mha", ".mhd", ".dcm")


def subjects_of_pipeline(path: Path) -> Sequence[tio.Subject]:
    """Return the scans that the dataset of a pipeline file lists.

    Raises:
        ConfigError, InputError: The file is wrong, or the dataset refuses the study.
    """
    config = resolve(path).value
    slot = config["data"]
    with seeded(unit_seed(config["seed"], "dataset")), at_work("dataset", slot["name"], "listing its scans"):
        dataset: Dataset = registry.create("dataset", slot["name"], **slot["params"])
        return dataset.subjects()


def subjects_of_table(path: Path, image: str | None, subject: str) -> Sequence[tio.Subject]:
    """Return a scan for each row of a table; ``session_id`` and ``site`` come from the columns of these names.

    Args:
        path: TSV, CSV or XLSX; relative paths of images start in its folder.
        image: Column with the paths; None: the only one whose cells are names of images.
        subject: Column with the person's id.

    Raises:
        InputError: The table cannot be read, lacks a column, or names no image in a row.
    """
    table = read_table(path)
    people = table.column(subject, "--subject")
    cells = table.column(image or _image_column(table), "--image")
    empty = [row for row, *both in zip(table.rows, people, cells, strict=True) if None in both]
    if empty:
        raise InputError(f"{path}: {rows_text(empty)} has no person or no image. Fill in both, or remove the row.")
    sessions, sites = (table.columns.get(name, (None,) * len(cells)) for name in ("session_id", "site"))
    return [
        tio.Subject(
            image=tio.ScalarImage(path.parent / Path(str(cell)).expanduser(), verify_path=False),
            subject_id=str(person).removeprefix("sub-"), session_id=session, site=site,
        )
        for person, cell, session, site in zip(people, cells, sessions, sites, strict=True)
    ]  # fmt: skip


def _image_column(table: StudyTable) -> str:
    found = [
        name
        for name, cells in table.columns.items()
        if any(cells) and all(cell is None or cell.lower().endswith(_IMAGES) for cell in cells)
    ]
    if len(found) == 1:
        return found[0]
    there = f"Such columns: {', '.join(found)}." if found else f"Columns: {', '.join(table.columns)}."
    raise InputError(f"{table.path}: which column holds the images' paths? Name it with --image. {there}")


def write_quality_of(subjects: Sequence[tio.Subject], folder: Path, title: str) -> dict[str, Any]:
    """Look at every scan and write ``index.html`` and ``quality.tsv`` into a folder.

    Returns:
        ``problems`` (a line for each image that cannot be used), ``summary`` and ``page``.

    Raises:
        InputError: Nobody is in the study, or the folder cannot be written.
    """
    if not len(subjects):
        raise InputError("The study holds nobody.")
    names = [scan_name(subject) for subject in subjects]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        looks, rows = look_at(subjects, names, ScanChecks(None))
        summary = write_quality(rows(), folder, title)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}. Choose another --output.") from error
    problems = [problem for look in looks for problem in look.problems]
    return {"problems": problems, "summary": summary, "page": str(folder / "index.html")}
