"""The files of ``region-table``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_core import InputError

from .._atlases import Atlas, load_atlas
from .._people import tested_people
from .asymmetry import asymmetry_table
from .cohort import Options, measured_run, require_space
from .labels import write_labels

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.engine.results import RunResults

    from ..region_table import RegionTable
    from .cohort import Measured

__all__ = ["atlas_facts", "check_people", "input_files", "write_tables"]

_LIBRARIES = ("xai-analyses-atlas", "nibabel", "nilearn", "numpy", "scipy")


def check_people(options: RegionTable, table: pd.DataFrame) -> None:
    """See ``RegionTable.check_study``."""
    atlas = _atlas(options)
    require_space(atlas, options.space)
    if atlas.frame != "subject":
        return
    absent = []
    rows = table.to_dict("records")
    for row in rows:
        try:
            atlas.file_for({str(name): value for name, value in row.items()})
        except InputError as error:
            absent.append(str(error))
    if absent and (options.missing == "error" or len(absent) == len(rows)):
        more = f"\n  and {len(absent) - 20} more" if len(absent) > 20 else ""
        raise InputError(
            f"region-table: {len(absent)} of {len(rows)} scans have no file of the atlas {atlas.source}. Make them, or "
            "set missing: leave-out (at least one scan must have one).\n  " + "\n  ".join(absent[:20]) + more
        )


def input_files(options: RegionTable, run: RunResults) -> Sequence[Path]:
    """See ``RegionTable.inputs``."""
    atlas = _atlas(options)
    files = list(atlas.files)
    for row in tested_people(run).drop_duplicates("scan_id").to_dict("records"):
        mask = row.get("mask")
        if isinstance(mask, str) and mask:
            files.append(Path(mask))
        if atlas.frame == "subject":
            try:
                files.append(atlas.file_for({str(name): value for name, value in row.items()}))
            except InputError:
                continue  # said by analyse, which knows whether such a scan may be left out
    return list(dict.fromkeys(files))


def write_tables(options: RegionTable, run: RunResults, output: Path) -> None:
    """See ``RegionTable.analyse``."""
    atlas = _atlas(options)
    chosen = Options(options.space, options.assign, options.channel, options.missing, options.mismatch)
    found = measured_run(run, atlas, options.explainers, chosen)
    _save(found.regions, output / "regions.tsv")
    _save(asymmetry_table(found.regions), output / "asymmetry.tsv")
    _save(found.people, output / "people.tsv")
    _save(found.left_out, output / "regions-left-out.tsv")
    if len(found.without_atlas):
        _save(found.without_atlas, output / "left-out.tsv")
    write_labels(atlas, output)
    text = json.dumps(_facts(options, atlas, found), indent=2, ensure_ascii=False, allow_nan=False)
    (output / "regions.json").write_text(text + "\n", encoding="utf-8", newline="")


def atlas_facts(atlas: Atlas) -> dict[str, Any]:
    """Return what is written of an atlas beside a result."""
    return {
        "name": atlas.name, "kind": atlas.kind, "space": atlas.space, "regions": len(atlas.regions),
        "source": atlas.source, "sha256": atlas.checksum, "table": atlas.table, "table_sha256": atlas.table_checksum,
        "licence": atlas.licence, "citation": atlas.citation, "notes": list(atlas.notes),
    }  # fmt: skip


def _atlas(options: RegionTable) -> Atlas:
    return load_atlas(options.atlas, folder=options.folder, unnamed=options.unnamed)


def _facts(options: RegionTable, atlas: Atlas, found: Measured) -> Mapping[str, Any]:
    people = found.people
    return {
        "atlas": atlas_facts(atlas),
        "space": options.space,
        "assign": options.assign,
        "channel": options.channel or "all, added up",
        "explainers": list(dict.fromkeys(people["explainer"])),
        "people": int(people["subject_id"].nunique()),
        "scans": int(people["scan_id"].nunique()),
        "maps": len(people),
        "scans_left_out": len(found.without_atlas),
        "notes": found.notes,
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def _save(table: pd.DataFrame, path: Path) -> None:
    text = str(table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    path.write_text(text, encoding="utf-8", newline="")
