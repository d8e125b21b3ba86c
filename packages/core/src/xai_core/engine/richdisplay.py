"""What objects show of themselves in a notebook. Everything is escaped: ids and classes come from data."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

__all__ = ["facts_html", "picture_html", "rows_html"]


def facts_html(title: str, facts: Mapping[str, Any]) -> str:
    """Return a heading and a table of names and values."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(str(name))}</th><td style='text-align:left'>{escape(str(value))}</td>"
        "</tr>"
        for name, value in facts.items()
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table></div>"


def rows_html(columns: Sequence[str], rows: Sequence[Sequence[Any]], most: int = 20) -> str:
    """Return a table; of more than ``most`` rows the first ones and how many follow."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows[:most])
    more = f"<p>and {len(rows) - most} more</p>" if len(rows) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def picture_html(png: bytes, text: str) -> str:
    """Return a PNG file as an element that needs no file."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{escape(text, quote=True)}" style="max-width:100%"/>'
