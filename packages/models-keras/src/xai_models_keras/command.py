"""``xai import-keras``: a Keras model becomes a folder that is read without h5py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import Any

__all__ = ["command"]


def _sizes(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> list[tuple[int, ...]] | None:
    shapes = []
    for text in value:
        parts = text.replace("x", ",").split(",")
        if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
            raise click.BadParameter(f"{text!r} is no shape; write channels and axes, such as 1,179,169,208.")
        shapes.append(tuple(int(part) for part in parts))
    return shapes or None


@click.command("import-keras")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder to make. Default: beside MODEL, named MODEL-torch."
)
@click.option(
    "--input-shape", "shapes", multiple=True, metavar="C,D,H,W", callback=_sizes,
    help="Shape of one volume, where the file leaves it open; once for each input.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a folder made before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(model: Path, output: Path | None, shapes: list[tuple[int, ...]] | None, force: bool, as_json: bool) -> None:
    """Turn a Keras MODEL (.h5, .hdf5 or .keras) into PyTorch.

    Writes weights.pt (a state_dict) and model.json (the layers and how they are connected) into a folder, which
    'model: {name: keras, params: {path: FOLDER}}' reads without h5py. Neither TensorFlow nor Keras is needed, and no
    code in the file is run.
    """
    from ._folder import is_folder, save
    from ._read import network
    from ._summary import summary, table

    if is_folder(model):
        raise click.BadParameter(f"{model} is a folder or a model.json; give a Keras model.", param_hint="MODEL")
    output = output or model.with_name(f"{model.stem}-torch")
    found = network(model, shapes)
    built = found.module()  # proves that description and weights fit before anything is written
    save(output, found.description, found.state, force=force)
    about: dict[str, Any] = {"model": str(model), "output": str(output), **summary(found.description, built)}
    if as_json:
        import json

        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(table(about)))
