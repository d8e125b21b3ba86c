"""``xai view``: look at the scans of a run with their relevance. Light: everything heavy loads when it runs."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]

PORT = 8642


@click.command("view")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--scan", "scans", multiple=True, metavar="ID", help="Only this scan or person; may be given again.")
@click.option("--atlas", type=click.Path(path_type=Path), help="Image of labels in the space of the scans (NIfTI).")
@click.option("--labels", type=click.Path(path_type=Path), help="Names of its labels: TSV with index and name.")
@click.option("--language", type=click.Path(path_type=Path), help="JSON file with the texts of a further language.")
@click.option("--export", "folder", type=click.Path(path_type=Path), help="Write a folder that opens from disk.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any free port.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    run: Path,
    scans: tuple[str, ...],
    atlas: Path | None,
    labels: Path | None,
    language: Path | None,
    folder: Path | None,
    port: int,
    no_browser: bool,
) -> None:
    """Look at the scans of a run with their relevance, in a browser, without internet.

    Three planes and a 3D rendering, threshold, clusters, region names, sums by slice. RUN is a folder of 'xai run' or
    'xai ensemble'. Without --export a server on this machine's own loopback interface shows it until Ctrl+C.
    """
    from xai_core import InputError
    from xai_core.engine.results import RunResults

    from ._viewer import export, find_atlas, read_atlas, read_language, viewed

    if labels is not None and atlas is None:
        raise InputError("--labels names the regions of an atlas. Give --atlas too.")
    results = RunResults(run)
    regions = find_atlas(results) if atlas is None else read_atlas(atlas, labels)
    shown = viewed(results, scans or None, regions)
    texts = None if language is None else read_language(language)
    if folder is None:
        _show(shown, port, texts, browser=not no_browser)
    else:
        click.echo(f"Viewer: {export(shown, folder, texts)}")


def _show(shown: object, port: int, texts: dict[str, str] | None, *, browser: bool) -> None:
    import webbrowser
    from typing import Any, cast

    from ._viewer import serve

    with serve(cast(Any, shown), port, texts) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        click.echo(f"Viewer: {address} (Ctrl+C ends it)")
        if browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("")
