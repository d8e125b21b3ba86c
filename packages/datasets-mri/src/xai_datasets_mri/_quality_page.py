"""The page of a cohort's image quality: one HTML file with everything in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ._quality_picture import GAP, SIDE

__all__ = ["page"]

Row = Mapping[str, Any]

_NUMBERS = {
    "min": ("min", "smallest intensity"),
    "p1": ("1 %", "1st percentile of the intensities"),
    "median": ("50 %", "median intensity"),
    "p99": ("99 %", "99th percentile of the intensities"),
    "max": ("max", "largest intensity"),
    "volume_ml": ("volume", "ml of the mask, of what is not background, or of what is above Otsu's threshold"),
    "background_percent": ("background", "% of the voxels without signal"),
    "snr": ("SNR", "median of the foreground over the noise of the air; n/a where the background was filled in"),
}

_STYLE = """
:root { --page: #f6f7f9; --card: #fff; --text: #1b2430; --muted: #5c6773; --line: #dfe3e8; --accent: #0b6fb8;
  --bad: #b3261e; --badfill: #fdeceb; --odd: #7a5200; --oddfill: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --page: #12161b; --card: #1b2129; --text: #e6eaef; --muted: #9aa6b3;
  --line: #303944; --accent: #6cb6f0; --bad: #f2857d; --badfill: #3a1b1a; --odd: #e8c06a; --oddfill: #33290f; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem 1.25rem 4rem; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: .4rem 0; overflow-wrap: anywhere; }
p { max-width: 62rem; margin: .4rem 0; }
.muted, caption { color: var(--muted); font-size: .85rem; }
.bar { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: .4rem 1.4rem; padding: .6rem 0;
  background: var(--page); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
td.plain { white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
td.scan { min-width: 11rem; max-width: 16rem; overflow-wrap: anywhere; }
.flags { margin: 0; padding: 0; list-style: none; max-width: 20rem; min-width: 12rem; }
.flags li { background: var(--oddfill); color: var(--odd); border-radius: .3rem; padding: .05rem .4rem;
  margin: .1rem 0; }
.flags li.bad { background: var(--badfill); color: var(--bad); overflow-wrap: anywhere; }
.picture { position: relative; width: WIDTHpx; height: SIDEpx; background: #000; }
.picture img { display: block; image-rendering: auto; }
.picture span { position: absolute; bottom: 1px; color: #fff; font: 600 10px/1 system-ui, sans-serif;
  text-shadow: 0 0 2px #000, 0 0 2px #000; }
.none { color: var(--muted); }
[hidden] { display: none; }
"""

_SCRIPT = """
"use strict";
const body = document.querySelector("tbody"), rows = [...body.rows];
const only = document.getElementById("only"), find = document.getElementById("find");
function filter() {
  const text = find.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    row.hidden = (only.checked && !row.dataset.flagged) || !row.cells[0].textContent.toLowerCase().includes(text);
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = shown + " of " + rows.length + " shown";
}
only.addEventListener("change", filter);
find.addEventListener("input", filter);
document.querySelectorAll("th button").forEach((button) => button.addEventListener("click", () => {
  const head = button.parentElement, column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "ascending";
  document.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const number = head.classList.contains("number");
  const value = (row) => row.cells[column].dataset.value;
  rows.sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === "" || y === "") return (x === "") - (y === "");  // what is not known comes last in both directions
    const order = number ? x - y : x.localeCompare(y, undefined, { numeric: true });
    return up ? order : -order;
  });
  body.append(...rows);
}));
filter();
"""


def page(rows: Sequence[Row], title: str) -> str:
    """Return the page. Everything that comes from the data is escaped, and nothing is loaded from elsewhere.

    Args:
        rows: From ``Quality.rows``.
        title: What the cohort is called.
    """
    sites = any(row["site"] is not None for row in rows)
    channels = any(row["channel"] for row in rows)
    width = 3 * SIDE + 2 * GAP
    style = _STYLE.replace("WIDTH", str(width)).replace("SIDE", str(SIDE))
    name = escape(title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Image quality: {name}</title>
<style>{style}</style>
</head>
<body>
<h1>Image quality: {name}</h1>
{_summary(rows, sites)}
<div class="bar">
<label><input type="checkbox" id="only"> flagged only</label>
<label>scan <input type="search" id="find" size="14"></label>
<span id="shown" class="muted"></span>
</div>
<div class="scroll"><table>
<thead><tr>{_head(sites, channels)}</tr></thead>
<tbody>
{"".join(_row(row, sites, channels) for row in rows)}</tbody>
</table></div>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _summary(rows: Sequence[Row], sites: bool) -> str:
    bad = sum(bool(row["problem"]) for row in rows)
    odd = sum(bool(row["flags"]) for row in rows) - bad
    grids = Counter(f"{_sizes(row['shape'])} voxels of {_sizes(row['spacing'])} mm, {row['orientation']}"
                    for row in rows if "shape" in row)  # fmt: skip
    listed = "; ".join(f"{escape(grid)} ({count})" for grid, count in grids.most_common(6))
    more = f"; and {len(grids) - 6} more" if len(grids) > 6 else ""
    by = "within their site (where it has 8 or more), otherwise over the cohort" if sites else "over the cohort"
    of = sorted({str(row["volume_of"]) for row in rows if "shape" in row})
    return f"""<p><strong>{len(rows)} images; {bad} cannot be used; {odd} others are flagged.</strong></p>
<p>Grids: {listed or "none"}{more}.</p>
<p class="muted">Slices: sagittal (front to the right), coronal and axial through the middle of the image, all at one
scale; L and R are the patient's left and right by the affine, the left on the picture's left (neurological
convention). Black and white are the 1st and 99th percentile. Volume is that of: {escape(", ".join(of)) or "nothing"}
(above threshold: Otsu's, the head with its scalp; not background: what was cut out). Numbers are compared {by}: flagged
beyond a robust z of 3.5 (median and MAD; Iglewicz and Hoaglin 1993; a spread below 2 % counts as 2 %), grids and data
types that fewer than a fifth have.
A flag is a reason to look, not to exclude.</p>"""


def _head(sites: bool, channels: bool) -> str:
    plain = ["scan", *(["site"] if sites else []), *(["channel"] if channels else [])]
    cells = [_title(name, "") for name in plain]
    cells.append("<th>slices</th>")
    cells += [_title(name, "") for name in ("flags", "shape", "voxel (mm)", "axes", "type")]
    cells += [_title(name, about, number=True) for name, about in _NUMBERS.values()]
    return "".join(cells)


def _title(name: str, about: str, *, number: bool = False) -> str:
    kind = ' class="number"' if number else ""
    return f'<th scope="col"{kind} title="{escape(about)}"><button type="button">{escape(name)}</button></th>'


def _row(row: Row, sites: bool, channels: bool) -> str:
    path = str(row["image"] or "")
    image = f'<div class="muted" title="{escape(path)}">{escape(path.rpartition("/")[2])}</div>' if path else ""
    name = escape(row["scan_id"])
    cells = [f'<td class="scan" data-value="{name}"><strong>{name}</strong>{image}</td>']
    if sites:
        cells.append(_text(row["site"]))
    if channels:
        cells.append(_text(row["channel"]))
    cells += [_picture(row), _flags(row)]
    cells += [_text(_sizes(row[key]) if key in row else None) for key in ("shape", "spacing")]
    cells += [_text(row.get("orientation")), _text(row.get("dtype"))]
    cells += [_number(row.get(key), row.get("volume_of", "") if key == "volume_ml" else "") for key in _NUMBERS]
    start = '<tr data-flagged="1">' if row["flags"] else "<tr>"
    return f"{start}{''.join(cells)}</tr>\n"


def _sizes(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _text(value: object) -> str:
    text = "" if value is None else escape(str(value))
    return f'<td class="plain" data-value="{text}">{text or "<span class=none>n/a</span>"}</td>'


def _number(value: float | None, about: str) -> str:
    if value is None:
        return '<td class="number" data-value=""><span class="none">n/a</span></td>'
    return f'<td class="number" data-value="{float(value)!r}" title="{escape(about)}">{value:.4g}</td>'


def _flags(row: Row) -> str:
    told = [*((row["problem"], row["failure"])), *(f for f in row["flags"] if not row["problem"])]
    items = "".join(
        f"<li{' class=bad' if position < 2 else ''}>{escape(text)}</li>" for position, text in enumerate(told) if text
    )
    count = len(row["flags"]) + 1000 * bool(row["problem"])
    return f'<td data-value="{count}"><ul class="flags">{items}</ul></td>'


def _picture(row: Row) -> str:
    if not row.get("picture"):
        return '<td><span class="none">none</span></td>'
    step = SIDE + GAP
    letters = ((0, "P", "A"), (step, "L", "R"), (2 * step, "L", "R"))
    marks = "".join(
        f'<span style="left:{left + 2}px">{first}</span><span style="left:{left + SIDE - 9}px">{second}</span>'
        for left, first, second in letters
    )
    alternative = escape(f"mid-slices of {row['scan_id']}")
    return (
        f'<td><div class="picture"><img loading="lazy" width="{3 * SIDE + 2 * GAP}" height="{SIDE}" '
        f'alt="{alternative}" src="data:image/png;base64,{escape(row["picture"])}">{marks}</div></td>'
    )
