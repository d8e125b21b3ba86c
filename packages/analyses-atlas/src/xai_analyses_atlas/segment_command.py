"""``xai segment``: a trained segmentation network over a cohort. Light: everything heavy loads when it runs."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xai_core import InputError

if TYPE_CHECKING:
    from ._atlases import Atlas
    from ._segmenting import Outcome

__all__ = ["command"]


def _size(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int, int]:
    parts = re.split(r"[x,]", value)
    if len(parts) != 3 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{value!r} is no size; write three numbers of voxels, such as 160x214x176.")
    a, b, c = (int(part) for part in parts)
    return a, b, c


def _orientation(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    code = value.upper()
    if sorted("RLAPSI".find(letter) // 2 for letter in code) != [0, 1, 2]:
        raise click.BadParameter(
            f"{value!r} is no order of axes; give one each of R or L, A or P, S or I, such as RAS."
        )
    return code


def _label(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]+", value):
        raise click.BadParameter(f"{value!r}: a label of BIDS has letters and digits only.")
    return value


@click.command("segment")
@click.option("--model", "models", multiple=True, required=True, metavar="FILE",
              help="Trained Keras networks (.h5, .keras, or what 'xai import-keras' made); may be repeated or a quoted "
              "pattern: 'weights/*.h5'. Their probabilities are averaged.")  # fmt: skip
@click.option("--data", multiple=True, required=True, type=click.Path(path_type=Path),
              help="A table (.tsv, .csv), a BIDS folder, or images (may be repeated).")  # fmt: skip
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="Folder of the BIDS derivative to write."
)
@click.option("--mask", required=True,
              help="Brain masks: a column of the table, a pattern with {name}, {folder}, {subject} and {session}, "
              "'nonzero' (scans that are brain-extracted) or 'extract' (deepbet).")  # fmt: skip
@click.option("--image", "images", multiple=True, default=("T1w",), show_default=True,
              help="Suffix in a BIDS folder, or column of the table; once for each channel.")  # fmt: skip
@click.option(
    "--label", default="PVS", show_default=True, callback=_label, help="What is segmented; part of the names."
)
@click.option("--size", default="160x214x176", show_default=True, callback=_size, help="Voxels of the network's input.")
@click.option("--spacing", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="Side of its voxels in mm.")  # fmt: skip
@click.option("--orientation", default="RAS", show_default=True, callback=_orientation, help="Order of its axes.")
@click.option("--normalisation", default="percentile", show_default=True,
              type=click.Choice(["percentile", "z-score", "min-max", "none"]),
              help="Of the values, by those of the brain.")  # fmt: skip
@click.option("--percentile", default=99.0, show_default=True, type=click.FloatRange(0, 100, min_open=True),
              help="Of the brain's values that becomes 1.")  # fmt: skip
@click.option("--ceiling", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True),
              help="Times the percentile becomes 1; the authors' later pipeline, SHiVAi, has 1.3.")  # fmt: skip
@click.option("--mask-input", is_flag=True, help="Set the input outside of the brain to 0.")
@click.option("--output-channel", type=click.IntRange(min=0), help="Of a network that gives several.")
@click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="For mask and counts.")
@click.option("--min-cluster", "smallest", default=0.0, show_default=True, type=click.FloatRange(min=0),
              metavar="MM3", help="Smaller clusters are left out.")  # fmt: skip
@click.option("--atlas", "atlas_name", help="Also count by region: a name of 'xai atlases', or a label image.")
@click.option("--atlas-table", type=click.Path(path_type=Path), help="Names of the regions of a label image.")
@click.option("--same-space", is_flag=True,
              help="The scans lie in the space of the atlas: they were registered to MNI space, say.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    models: tuple[str, ...],
    data: tuple[Path, ...],
    output: Path,
    mask: str,
    images: tuple[str, ...],
    label: str,
    size: tuple[int, int, int],
    spacing: float,
    orientation: str,
    normalisation: str,
    percentile: float,
    ceiling: float,
    mask_input: bool,
    output_channel: int | None,
    threshold: float,
    smallest: float,
    atlas_name: str | None,
    atlas_table: Path | None,
    same_space: bool,
    device: str,
    as_json: bool,
) -> None:
    """Segment the scans of a cohort with a trained Keras network.

    The defaults are those of SHIVA-PVS (Boutinaud et al. 2021), which finds perivascular spaces on T1-weighted scans;
    its weights are not part of this program. Writes probabilities and masks on each scan's own grid as a BIDS
    derivative, and segmentation.tsv with count and volume of the clusters. The same command goes on where it stopped;
    who cannot be segmented is listed in failed.tsv, and the command then ends with 1.
    """
    if not all(map(math.isfinite, (spacing, percentile, ceiling, threshold, smallest))):
        raise InputError("--spacing, --percentile, --ceiling, --threshold and --min-cluster are finite numbers.")
    from xai_core.cli._common import log_to_stderr
    from xai_core.engine.folds import pick_device

    from ._segmenting import Recipe, Task, find_scans, segment
    from ._segmenting.networks import Networks, model_files

    log_to_stderr()
    scans, failures = find_scans(data, images, mask)
    recipe = Recipe(size, spacing, orientation, normalisation, percentile, ceiling, mask_input)  # type: ignore[arg-type]
    task = Task(label, recipe, threshold, smallest, _atlas(atlas_name, atlas_table, same_space))
    networks = Networks(model_files(models), len(images), size, channel=output_channel, device=pick_device(device))
    found = segment(scans, failures, networks, task, output)
    click.echo(_as_json(found, output) if as_json else _as_text(found, output))
    if found.failures:
        raise click.exceptions.Exit(1)


def _atlas(name: str | None, table: Path | None, same_space: bool) -> Atlas | None:
    if name is None:
        if table is not None or same_space:
            raise InputError("--atlas-table and --same-space belong to --atlas. Give an atlas, or leave them out.")
        return None
    from ._atlases import load_atlas

    atlas = load_atlas(name, table)
    if atlas.frame != "subject" and not same_space:
        raise InputError(
            f"The atlas {atlas.name} is one image for all ({atlas.space}), and scans lie in each person's own space. "
            "Say --same-space where they were registered to it, or give an atlas of each person (a pattern)."
        )
    return atlas


def _as_json(found: Outcome, output: Path) -> str:
    content = {
        "folder": str(output),
        "segmented": [dict(row) for row in found.rows],
        "made_now": found.made,
        "failed": [{"who": each.who, "reason": each.reason} for each in found.failures],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _as_text(found: Outcome, output: Path) -> str:
    before = len(found.rows) - found.made
    lines = [f"{len(found.rows)} scans segmented ({before} of them before) in {output}"]
    if found.failures:
        lines.append(f"{len(found.failures)} could not be segmented (failed.tsv):")
        lines += [f"  {each.who}: {each.reason}" for each in found.failures]
    return "\n".join(lines)
