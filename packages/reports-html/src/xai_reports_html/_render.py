"""Templates, style and script."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from . import __version__
from ._account import LOSS
from ._texts import counted, say

__all__ = ["SCRIPT", "STYLE", "render", "resource"]

SCRIPT, STYLE = "report.js", "style.css"


@cache
def resource(name: str) -> str:
    """Return a file of ``templates``."""
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.FunctionLoader(resource),
    )  # fmt: skip
    environment.globals |= {"t": say, "n": counted, "version": __version__, "limit": f"{100 * LOSS:g} %"}
    return environment


def render(template: str, *, inline: bool, up: str = "", **values: Any) -> str:
    """Return a page.

    Args:
        template: Name of the template.
        inline: Whether style and pictures are part of the page; otherwise they are files beside it.
        up: From the page to the folder of the style sheet.
        values: Of the template.
    """
    script = Markup(resource(SCRIPT))
    if inline:
        style = Markup("<style>{}</style>").format(Markup(resource(STYLE)))
    else:
        style = Markup('<link rel="stylesheet" href="{}{}">').format(up, STYLE)
    page = _environment().get_template(template).render(
        script=script, style=style, policy=_policy(inline), folder=not inline, **values
    )  # fmt: skip
    return f"{page}\n"


def _policy(inline: bool) -> str:
    """Nothing is fetched but the report's own files, and no script runs but ours."""
    digest = base64.b64encode(hashlib.sha256(resource(SCRIPT).encode()).digest()).decode("ascii")
    # A page from disk has no origin for 'self' to mean; one from a server has no file: addresses.
    own = "" if inline else " 'self' file:"
    return (
        f"default-src 'none'; img-src data:{own}; style-src 'unsafe-inline'{own}; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
