"""``xai qc``: the page of image quality of a pipeline or a table, without a run."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command("qc")
@click.argument("study", metavar="PIPELINE_OR_TABLE", type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write. Default: <name>-quality beside it.")
@click.option("--image", help="Table: column with the images' paths. Default: the one that holds such.")
@click.option("--subject", default="participant_id", show_default=True, help="Table: column with the person's id.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(study: Path, output: Path | None, image: str | None, subject: str, as_json: bool) -> None:
    """Look at every image of a study: can it be used, and is it like the others?

    PIPELINE_OR_TABLE is a pipeline file, or a table (.tsv, .csv, .xlsx) with a column of paths. Writes index.html
    (mid-slices and numbers of each image, what is unusual flagged) and quality.tsv.
    """
    from ._quality_study import subjects_of_pipeline, subjects_of_table, write_quality_of

    is_pipeline = study.suffix.lower() in (".yaml", ".yml")
    if is_pipeline and image is not None:
        raise click.BadParameter("is for tables; a pipeline names its images itself.", param_hint="--image")
    subjects = subjects_of_pipeline(study) if is_pipeline else subjects_of_table(study, image, subject)
    output = output or study.with_name(f"{study.name.partition('.')[0]}-quality")
    found = write_quality_of(subjects, output, study.name.partition(".")[0])
    if as_json:
        import json

        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for problem in found["problems"]:
        click.echo(problem)
    click.echo(found["summary"])
    click.echo(f"Page: {found['page']}")
