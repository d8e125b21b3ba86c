"""What all figures share: settings, colours, names, and how they are written."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "DIVERGING", "GROUP_COLOURS", "HATCHES", "MARKERS", "ZERO", "caption_text", "legend", "save", "shown_names",
    "styled", "title", "unique_stem",
]  # fmt: skip

# Okabe and Ito, Color Universal Design (2008), without its yellow and black: yellow is too pale on white, and black is
# the text's. Neighbours in this order differ most, also in lightness.
GROUP_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P")
HATCHES = ("", "////", "....", "xxxx", "----", "++++")
DIVERGING = "RdBu_r"
ZERO = "nothing to see: every voxel is zero"

_SETTINGS: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that a figure is the same on every machine
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,  # names may hold a dollar
    "svg.hashsalt": "xai-analyses-atlas",
    "svg.fonttype": "path",
    "hatch.linewidth": 0.5,
}
_P = ParamSpec("_P")

_LONGEST = 46  # characters of a name beside a bar or a row
_DPI = 150


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    """Let a function draw with this package's settings, not with the user's."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with style.context(["default", _SETTINGS]):
            return draw(*args, **kwargs)

    return drawn


def shown_names(names: Iterable[object], longest: int = _LONGEST) -> list[str]:
    """Return names that fit beside a row: long ones lose their middle, unless two would then read the same."""
    texts = [" ".join(str(name).split()) for name in names]
    short = [_shortened(text, longest) for text in texts]
    return [text if short.count(cut) > 1 else cut for text, cut in zip(texts, short, strict=True)]


def _shortened(text: str, longest: int) -> str:
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def title(figure: Figure, lines: Sequence[str]) -> None:
    """Write lines above everything, broken where the figure ends."""
    width = max(30, int(figure.get_figwidth() * 12))  # characters of 10 points in an inch, on the safe side
    text = "\n".join(textwrap.fill(line, width) for line in lines if line)
    figure.suptitle(text, x=0.01, ha="left", fontsize=10)


def legend(figure: Figure, axis: Axes) -> None:
    """Name the groups of ``axis`` below it, in as many columns as fit."""
    handles, labels = axis.get_legend_handles_labels()
    names = shown_names(labels)
    columns = int(figure.get_figwidth() * 11 / (max(map(len, names)) + 9))  # 9 characters for mark and gap
    figure.legend(handles, names, loc="outside lower left", ncols=max(1, min(columns, len(names))))


def unique_stem(parts: Sequence[str], used: set[str]) -> str:
    """Return a name for files that is not in ``used``, and add it: "A/B" and "A B" differ in odd characters only."""
    stem = "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part) for part in parts)
    unique, number = stem, 2
    while unique.casefold() in used:
        unique, number = f"{stem}-{number}", number + 1
    used.add(unique.casefold())
    return unique


def caption_text(what: str, *, n: int, test: str, notes: Sequence[str] = (), unit: str = "people") -> str:
    """Return a caption that states n and the test.

    Args:
        what: A sentence on what is shown.
        n: On how many ``unit`` it rests.
        test: The test, interval or estimate, with its correction; "no test" where there is none.
        notes: Further sentences, such as who is left out.
        unit: What is counted.
    """
    sentences = [what, f"n = {n} {unit}", test, *notes]
    return " ".join(sentence.strip().rstrip(".") + "." for sentence in sentences if sentence.strip())


def save(figure: Figure, folder: Path, stem: str, caption: str) -> list[Path]:
    """Write a figure as PNG and SVG, and its caption as ``<stem>.txt`` and in the metadata of both.

    The same figure and caption give the same bytes.

    Args:
        figure: Of one of this package's functions.
        folder: Exists.
        stem: Of the files' names.
        caption: Says what is shown, on how many people ("n = 40 people") and by which test. See ``caption_text``.

    Returns:
        The PNG, SVG and text file.

    Raises:
        ValueError: The caption does not state n.
    """
    caption = " ".join(caption.split())
    if not re.search(r"\bn\s*=\s*\d", caption):
        raise ValueError(f"the caption of {stem} does not state n (as in 'n = 40 people'): {caption!r}")
    files = [folder / f"{stem}{suffix}" for suffix in (".png", ".svg", ".txt")]
    about = {"Title": stem, "Description": caption}
    with style.context(["default", _SETTINGS]):
        files[0].write_bytes(_bytes(figure, "png", {**about, "Software": None}))
        files[1].write_bytes(_bytes(figure, "svg", {**about, "Date": None, "Creator": None}))
    files[2].write_text(caption + "\n", encoding="utf-8", newline="")
    return files


def _bytes(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=_DPI, facecolor="white", metadata=metadata)
    return buffer.getvalue()
