"""Where the page's files go: names that no id can break, pictures inside the page or beside it, tables, figures."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Shelf", "figure_files", "harmless", "json_data", "names_of", "write_table"]

_LONGEST = 100  # characters of a file name; paths are limited to 260 on some systems
# A cell that begins so is a formula for a spreadsheet (OWASP, CSV injection); a tab or a line break ends the cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}", "\N{FULLWIDTH PLUS SIGN}",
            "\N{FULLWIDTH HYPHEN-MINUS}", "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


def names_of(ids: Iterable[str]) -> dict[str, str]:
    """Return a file name (without suffix) for each id: letters, figures, dot, dash and underscore.

    Two ids never share a name, also on systems that do not tell capitals apart.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for one in ids:
        if one in found:
            continue
        base = re.sub(r"[^A-Za-z0-9._-]", "-", one)[:_LONGEST].rstrip(".")
        base = base if base[:1].isalnum() else f"id{base}"
        name, number = base, 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}"
        taken.add(name.casefold())
        found[one] = name
    return found


class Shelf:
    """Takes pictures and returns their addresses.

    Args:
        folder: Of the page that shows them.
        inline: Whether a picture becomes part of the page; otherwise it is a file in ``pictures`` beside it.
    """

    def __init__(self, folder: Path, *, inline: bool) -> None:
        self.folder, self.inline = folder, inline

    def put(self, name: str, data: bytes, kind: Literal["png", "jpeg"] = "png") -> str:
        """Return the address of a picture for the page; ``name`` is a file name without suffix."""
        if self.inline:
            return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")
        file = f"{name}.{'jpg' if kind == 'jpeg' else kind}"
        (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
        (self.folder / "pictures" / file).write_bytes(data)
        return f"pictures/{file}"


def figure_files(figure: Figure, folder: Path, stem: str) -> bytes:
    """Write a figure as PNG and SVG, the same bytes each time, and return the PNG."""
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "xai-reports-html", "svg.fonttype": "path"}):
        png, svg = io.BytesIO(), io.BytesIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.png").write_bytes(png.getvalue())
    (folder / f"{stem}.svg").write_bytes(svg.getvalue())
    return png.getvalue()


def harmless(cell: Any) -> Any:
    """Return a cell of which a spreadsheet makes no formula: a text that begins like one gets an apostrophe."""
    if not isinstance(cell, str):
        return cell
    text = " ".join(cell.split()) if re.search(r"[\t\r\n]", cell) else cell
    return f"'{text}" if cell.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None


def write_table(table: pd.DataFrame, folder: Path, stem: str) -> str:
    """Write a table as ``<stem>.tsv``, safe to open in a spreadsheet, and return the file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    safe = table.map(harmless).rename(columns=harmless)
    text = str(safe.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    (folder / f"{stem}.tsv").write_text(text, encoding="utf-8", newline="")
    return f"{stem}.tsv"


def json_data(value: Any) -> Markup:
    """Return JSON for a ``<script type="application/json">``: nothing in it can end the element."""
    return htmlsafe_json_dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
