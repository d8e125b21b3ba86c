"""``xai compare-maps``: how two relevance maps differ. Light: everything heavy loads when it runs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click

from xai_core import InputError

__all__ = ["command"]


@click.command("compare-maps")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--mask", type=click.Path(path_type=Path), help="Compare only where this map is not zero.")
@click.option("--atlas", type=click.Path(path_type=Path), help="Label image (NIfTI): also compare by region.")
@click.option("--labels", type=click.Path(path_type=Path), help="Their names: a table (index, name) or FreeSurfer LUT.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Draw both maps and their difference into this PNG file."
)
@click.option("--spearman", is_flag=True, help="Also the correlation of ranks.")
@click.option(
    "--resample", is_flag=True, help="Bring B, mask and atlas to the grid of A where they lie on another one."
)
@click.option("--tolerance", type=click.FloatRange(min=0), metavar="X",
              help="Exit with 1 where the largest difference over the largest |A| is above X.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    a: str,
    b: str,
    mask: Path | None,
    atlas: Path | None,
    labels: Path | None,
    output: Path | None,
    spearman: bool,
    resample: bool,
    tolerance: float | None,
    as_json: bool,
) -> None:
    """Say how two relevance maps differ.

    Correlation, L1 difference, largest difference and sums; by region where an atlas is given.

    A and B are .nii, .nii.gz, .npy or .npz files (file.npz::key names an array) on one grid, or two folders, whose maps
    are compared by their relative names. A is the reference: differences are B - A, in units of A.
    """
    if labels is not None and atlas is None:
        raise InputError("--labels names the regions of an atlas. Give --atlas too.")
    if tolerance is not None and not math.isfinite(tolerance):
        raise InputError(f"--tolerance {tolerance} is no limit. Give a number such as 1e-4.")
    from ._folders import compare_folders
    from ._report import Options, compare_files

    options = Options(mask, atlas, labels, output, spearman, resample, tolerance)
    folders = [Path(side).is_dir() for side in (a, b)]
    if any(folders) and not all(folders):
        raise InputError(
            f"{a if folders[0] else b} is a folder and {b if folders[0] else a} is not. Give two of a kind."
        )
    found = compare_folders(Path(a), Path(b), options) if all(folders) else compare_files(a, b, options)
    click.echo(json.dumps(found.as_json, indent=2, ensure_ascii=False, allow_nan=False) if as_json else found.text)
    if found.failed:
        raise click.exceptions.Exit(1)
