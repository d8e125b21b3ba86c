"""``xai predict``: scans of one's own through a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from ..errors import InputError
from ._common import covariate_option, echo_json, fold_option, log_to_stderr, training_people_option, verbose_option

__all__ = ["command"]


@click.command("predict")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--image", "images", multiple=True, required=True, type=click.Path(path_type=Path),
              help="A scan, NIfTI (may be repeated); channels with commas.")  # fmt: skip
@fold_option
@covariate_option
@training_people_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(
    run: Path,
    images: tuple[Path, ...],
    fold: int | Literal["all"] | None,
    covariates: dict[str, str],
    allow_training_people: bool,
    as_json: bool,
) -> None:
    """Predict scans with a network of RUN, a run folder.

    Scans of people whom the network was trained or validated on are refused.
    """
    from .. import Pipeline

    log_to_stderr()
    if covariates and len(images) > 1:
        raise InputError("--covariate is of one person: give it with one --image, one scan after the other.")
    pipeline, fold = Pipeline.from_folder(run), fold or 0
    trained = pipeline.all_folds() if fold == "all" else pipeline.fold(fold)
    options: dict[str, Any] = {"covariates": covariates, "allow_training_people": allow_training_people}
    rows = [{"image": str(image), "fold": fold, **trained.predict(image, **options)} for image in images]
    if as_json:
        echo_json(rows)
        return
    for row in rows:
        click.echo("  ".join(f"{k}: {v:.4f}" if isinstance(v, float) else f"{k}: {v}" for k, v in row.items()))
