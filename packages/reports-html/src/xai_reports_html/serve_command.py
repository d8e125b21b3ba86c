"""``xai serve``: look at a run, and predict and explain further scans. Light: everything heavy loads when it runs."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]

PORT = 8643
MEGABYTE = 1_000_000


@click.command("serve")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; beyond loopback by token.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any free port.")
@click.option("--token", is_flag=True, help="Ask for a token on loopback too: others use this machine.")
@click.option(
    "--max-upload",
    type=click.IntRange(1, 100_000),
    default=512,
    show_default=True,
    metavar="MB",
    help="Largest file that is taken; unpacked, it may be twice as large.",
)
@click.option("--atlas", type=click.Path(path_type=Path), help="Image of labels in the space of the scans (NIfTI).")
@click.option("--labels", type=click.Path(path_type=Path), help="Names of its labels: TSV with index and name.")
@click.option("--language", type=click.Path(path_type=Path), help="JSON file with the texts of a further language.")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
@click.option("-v", "--verbose", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def command(
    run: Path,
    host: str,
    port: int,
    token: bool,
    max_upload: int,
    atlas: Path | None,
    labels: Path | None,
    language: Path | None,
    no_browser: bool,
) -> None:
    """Look at a run in a browser, and predict and explain scans: of the run, or files of your own.

    A local web app on this machine's own loopback interface, until Ctrl+C. RUN is a folder of 'xai run'. Files that are
    dropped into the page are removed when they were explained. Research software, no medical device.
    """
    from xai_core import InputError
    from xai_core.engine.results import RunResults

    from ._serving import Address, serve_run
    from ._viewer import find_atlas, read_atlas, read_language

    if labels is not None and atlas is None:
        raise InputError("--labels names the regions of an atlas. Give --atlas too.")
    results = RunResults(run)

    def ready(url: str) -> None:
        click.echo(f"Open: {url} (Ctrl+C ends it)")
        if "?token=" in url and host != "127.0.0.1":
            click.echo("Whoever has this address can see the scans, and it is not encrypted: keep it to networks that "
                       "you trust, or use an SSH tunnel.")  # fmt: skip
        if not no_browser:
            import webbrowser

            webbrowser.open(url)

    try:
        serve_run(
            results, Address(host, port, token), ready, limit=max_upload * MEGABYTE,
            atlas=find_atlas(results) if atlas is None else read_atlas(atlas, labels),
            language=None if language is None else read_language(language),
        )  # fmt: skip
    except KeyboardInterrupt:
        click.echo("")
