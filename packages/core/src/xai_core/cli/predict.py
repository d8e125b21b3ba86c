"""``xai predict``: scans of one's own through a trained network."""

from __future__ import annotations

from pathlib import Path

import click

from ._common import echo_json, verbose_option

__all__ = ["command"]


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--image", "images", multiple=True, required=True, type=click.Path(path_type=Path),
              help="A scan, NIfTI (may be repeated).")  # fmt: skip
@click.option("--fold", default=0, show_default=True, help="Which fold's network.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(run: Path, images: tuple[Path, ...], fold: int, as_json: bool) -> None:
    """Predict scans with a network of RUN, a run folder."""
    from .. import Pipeline

    trained = Pipeline.from_folder(run).fold(fold)
    rows = [{"image": str(image), "fold": fold, **trained.predict(image)} for image in images]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        click.echo("  ".join(f"{k}: {v:.4f}" if isinstance(v, float) else f"{k}: {v}" for k, v in row.items()))
