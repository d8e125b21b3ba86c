"""``xai explain``: the test people of a run, or a scan of one's own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ..errors import InputError
from ._common import (
    covariate_option,
    echo_json,
    fold_option,
    log_to_stderr,
    short,
    training_people_option,
    verbose_option,
)

if TYPE_CHECKING:
    from ..engine.ensemblefiles import EnsembleExplanation
    from ..engine.explaining import Explanation
    from ..engine.pipeline import Pipeline

__all__ = ["command"]


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--image", type=click.Path(path_type=Path), help="A scan of your own, NIfTI; channels with commas.")
@click.option("--explainer", "explainers", multiple=True, help="Id of an explainer of the run (default: all).")
@click.option("--target", help="Class to explain (default: the predicted one).")
@fold_option
@covariate_option
@training_people_option
@click.option("--output", type=click.Path(path_type=Path), help="Where the maps go (default: RUN/explained/<image>).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@verbose_option
def command(
    run: Path,
    image: Path | None,
    explainers: tuple[str, ...],
    target: str | None,
    fold: int | Literal["all"] | None,
    output: Path | None,
    covariates: dict[str, str],
    allow_training_people: bool,
    as_json: bool,
) -> None:
    """Explain a scan, or make the missing maps of the test people of RUN, a run folder.

    The maps are saved on the grid of the scan: they overlay it in any viewer. Scans of people whom the network was
    trained or validated on are refused.
    """
    from .. import Pipeline
    from ..engine.imagefiles import given_files
    from ..engine.progress import whole

    log_to_stderr()
    pipeline = Pipeline.from_folder(run)
    if image is None:
        if explainers or target or output or fold is not None or covariates or allow_training_people:
            raise InputError(
                "--explainer, --target, --fold, --output, --covariate and --allow-training-people belong to --image. "
                "Give an image, or leave them out."
            )
        results = pipeline.run("explain")
        count, place = len(results.maps()), results.folder / "derivatives"
        if as_json:
            echo_json({"folder": str(place), "maps": count})
        else:
            click.echo(f"{count} maps in {short(place)}")
        return
    trained = pipeline.all_folds() if fold == "all" else pipeline.fold(fold or 0)
    options: dict[str, Any] = {"covariates": covariates, "allow_training_people": allow_training_people}
    prediction = trained.predict(image, **options)
    if target is None and fold == "all" and trained.classes is not None:
        target = str(prediction["prediction"])  # what the folds vote for; it need not be found out twice
    with whole("Explaining"):
        found = trained.explain(image, list(explainers) or None, target, **options)
    first = given_files(image)[0]
    folder = output or run / "explained" / first.name.partition(".")[0]
    files = _save(pipeline, first, found, folder, prediction)
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
    found: Mapping[str, Explanation | EnsembleExplanation],
    folder: Path,
    prediction: dict[str, object],
) -> list[Path]:
    """Write maps, sidecars and pictures aside and move them into ``folder`` when all are whole."""
    from .. import registry
    from ..config.resolve import bids_label
    from ..engine.calls import at_work

    stem, source = image.name.partition(".")[0], str(image.absolute())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_another_image(folder, source)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder) as name:
            aside = Path(name)
            for explainer, explanation in found.items():
                named = replace(explanation, sidecar={**explanation.sidecar, "image": source})
                label = bids_label(explainer) + str(explanation.sidecar.get("statistic", "")).capitalize()
                named.save(aside / f"{stem}_desc-{label}_relevance.nii.gz")
            maps = {explainer: explanation.image for explainer, explanation in found.items()}
            for slot in pipeline.config["reports"]:
                component = registry.create("report", slot["name"], **slot["params"])
                with at_work("report", slot["name"], "drawing the scan"):
                    component.picture(image, maps, prediction, aside)
            return [path.replace(folder / path.name) for path in sorted(aside.iterdir())]
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}. Give another --output.") from error


def _refuse_another_image(folder: Path, source: str) -> None:
    """Two scans can have one file name; the second must not take the place of the first."""
    for path in folder.glob("*_relevance.json"):
        known = json.loads(path.read_text(encoding="utf-8")).get("image")
        if known != source:
            raise InputError(f"{folder} holds maps of another image ({known}). Give another --output.")
