"""``xai explain``: the test people of a run, or a scan of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import InputError
from ._common import echo_json, log_to_stderr, short, verbose_option

if TYPE_CHECKING:
    from ..engine.explaining import Explanation
    from ..engine.pipeline import Pipeline

__all__ = ["command"]


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), help="A scan of your own, NIfTI.")
@click.option("--explainer", "explainers", multiple=True, help="Id of an explainer of the run (default: all).")
@click.option("--target", help="Class to explain (default: the predicted one).")
@click.option("--fold", default=0, show_default=True, help="Which fold's network.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the maps go (default: RUN/explained/<image>).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(
    run: Path,
    image: Path | None,
    explainers: tuple[str, ...],
    target: str | None,
    fold: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Explain a scan, or make the missing maps of the test people of RUN, a run folder.

    The maps are saved on the grid of the scan: they overlay it in any viewer.
    """
    from .. import Pipeline

    log_to_stderr()
    pipeline = Pipeline.from_folder(run)
    if image is None:
        if explainers or target or output:
            raise InputError("--explainer, --target and --output belong to --image. Give an image, or leave them out.")
        results = pipeline.run("explain")
        count, place = len(results.maps()), results.folder / "derivatives"
        if as_json:
            echo_json({"folder": str(place), "maps": count})
        else:
            click.echo(f"{count} maps in {short(place)}")
        return
    trained = pipeline.fold(fold)
    prediction = trained.predict(image)
    found = trained.explain(image, list(explainers) or None, target)
    folder = output or run / "explained" / image.name.partition(".")[0]
    files = _save(pipeline, image, found, folder, prediction)
    if as_json:
        maps = {name: dict(explanation.sidecar) for name, explanation in found.items()}
        echo_json({"image": str(image), **prediction, "files": [str(f) for f in files], "maps": maps})
        return
    click.echo("  ".join(f"{k}: {v:.4f}" if isinstance(v, float) else f"{k}: {v}" for k, v in prediction.items()))
    for file in files:
        click.echo(short(file))


def _save(
    pipeline: Pipeline,
    image: Path,
    found: dict[str, Explanation],
    folder: Path,
    prediction: dict[str, object],
) -> list[Path]:
    from .. import registry
    from ..config.resolve import bids_label

    stem = image.name.partition(".")[0]
    files: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, explanation in found.items():
            path = folder / f"{stem}_desc-{bids_label(name)}_relevance.nii.gz"
            explanation.save(path)
            files.append(path)
        maps = {name: explanation.image for name, explanation in found.items()}
        for slot in pipeline.config["reports"]:
            component = registry.create("report", slot["name"], **slot["params"])
            picture = component.picture(image, maps, prediction, folder)
            files += [picture] if picture else []
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}. Give another --output.") from error
    return files
