"""``xai pdf``: the report of a run, or the page of one person, as PDF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xai_core import InputError

if TYPE_CHECKING:
    from xai_core.engine.results import RunResults

    from .plugin import HtmlReport

__all__ = ["command"]


@click.command("pdf")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--person", help="A tested scan (sub-01), or a person with one scan. Default: the report of the run.")
@click.option("--fold", type=int, help="With --person: of which network, where several tested the scan.")
@click.option("--output", type=click.Path(path_type=Path), help="The file. Default: report.pdf or <scan>.pdf.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(run: Path, person: str | None, fold: int | None, output: Path | None) -> None:
    """Print the report of RUN, a run folder, or the page of one person, to a PDF file.

    A Chromium, Chrome or Edge prints it; the variable XAI_BROWSER names another one. Parameters are those of the
    run's report html.
    """
    import tempfile

    from xai_core.engine.results import RunResults

    from ._browser import find_browser, print_to_pdf
    from ._page import write_page, write_person

    if fold is not None and person is None:
        raise click.UsageError("--fold is of --person.")
    find_browser()  # before anything long
    results = RunResults(run)
    with tempfile.TemporaryDirectory(prefix="xai-report-") as folder:
        report = _report(results)
        if person is None:
            page = write_page(results, Path(folder), report)
            target = output or Path("report.pdf")
        else:
            page = write_person(results, person, Path(folder), report, fold)
            target = output or Path(f"{page.stem}.pdf")
        if target.suffix.lower() != ".pdf":
            raise InputError(f"--output {target}: a PDF file is written. Give a name that ends in .pdf.")
        try:
            print_to_pdf(page, target)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror}.") from error
    click.echo(str(target))


def _report(run: RunResults) -> HtmlReport:
    """Return the run's own report html as a single page; with its defaults where the run has none."""
    from xai_core import registry

    slots = run.config.get("reports") or []
    params = next((s.get("params") or {} for s in slots if str(s["name"]).rpartition(":")[2] == "html"), {})
    report: HtmlReport = registry.create("report", "html", **{**params, "mode": "single", "viewer": False})
    return report
