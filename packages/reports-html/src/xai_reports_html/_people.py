"""The explained scans: which are shown, their cards, their pictures."""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib

from xai_core import InputError

from ._account import account_of, figures, layer_rows
from ._colours import Scale, gradient, scale_of
from ._methods import has_no_sign
from ._overlay import Layers, compose, draw_layers, png, rows_below
from ._summary import class_name, number
from ._volumes import Volume, cut_through, on_same_grid, read

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord, RunResults

    from .plugin import HtmlReport

__all__ = ["People", "cards", "data_uri", "draw_scan"]

Row = Mapping[Any, Any]
# Scan and fold: in a repeated cross-validation several networks test a scan.
_Tested = tuple[str, int]


class People:
    """The explained scans of a run.

    Attributes:
        shown: Cards of the scans that the page shows, for the template.
        total: How many scans are explained.
        outlined: Whether the ground truth shows in a picture.
    """

    def __init__(self, shown: list[dict[str, Any]], total: int) -> None:
        self.shown, self.total = shown, total
        self.outlined = any(picture["outlined"] for card in shown for picture in card["maps"])


def data_uri(png_bytes: bytes) -> str:
    """Return a PNG file as an address that needs no file."""
    return "data:image/png;base64," + base64.b64encode(png_bytes).decode("ascii")


def cards(run: RunResults, records: Sequence[MapRecord], folder: Path, options: HtmlReport) -> People:
    """Draw the chosen scans into ``folder`` and return their cards.

    Args:
        run: Its predictions are shown.
        records: The maps of the run.
        folder: Of the figures.
        options: Of the report.

    Raises:
        InputError: A scan or a map cannot be read, or a map does not lie on its scan's grid.
    """
    maps: dict[_Tested, list[MapRecord]] = defaultdict(list)
    for record in records:
        maps[record.scan_id, record.fold].append(record)
    if not maps:
        return People([], 0)
    order = [slot.get("id", slot.get("name")) for slot in run.config.get("explainers") or []]
    rank = {name: position for position, name in enumerate(order)}
    predicted = run.predictions().to_dict("records")
    rows = {(str(row["scan_id"]), int(row["fold"])): _decision(row, run.classes) for row in predicted}
    known = [tested for tested in sorted(maps) if tested in rows]
    repeated = len({scan for scan, _ in known}) < len(known)
    chosen = _chosen({tested: rows[tested] for tested in known}, options.max_people)
    shown = []
    for tested in chosen:
        mine = sorted(maps[tested], key=lambda record: (rank.get(record.explainer, len(rank)), record.explainer))
        scan, fold = tested
        pictures = _pictures(f"{scan}_fold-{fold}" if repeated else scan, mine, folder, options)
        shown.append({"scan": scan, "session": _session(mine[0]), **rows[tested], "maps": pictures})
    return People(shown, len(known))


def _session(record: MapRecord) -> str | None:
    session = record.sidecar.get("session_id")
    return None if session in (None, "") else str(session)


def _decision(row: Row, classes: Sequence[str] | None) -> dict[str, Any]:
    """What a card says of a test scan: true and predicted value, and how they compare."""
    shared = {"subject": str(row["subject_id"]), "fold": row.get("fold")}
    if classes is None:
        error = float(row["prediction"]) - float(row["target"])
        text = {"true": number(float(row["target"]), 2), "predicted": number(float(row["prediction"]), 2)}
        return {**shared, **text, "error": f"{error:+.2f}", "correct": None, "probabilities": []}
    true, predicted = class_name(row["target"], classes), class_name(row["prediction"], classes)
    probabilities = [(name, float(row[f"probability_{name}"])) for name in classes if f"probability_{name}" in row]
    return {
        **shared,
        "true": true,
        "predicted": predicted,
        "error": None,
        "correct": true == predicted,
        "probabilities": probabilities,
    }


def _chosen(rows: Mapping[_Tested, Mapping[str, Any]], most: int | None) -> list[_Tested]:
    """Take scans in turn from each true class, right and wrong, in the order of their names."""
    if most is None or len(rows) <= most:
        return list(rows)
    groups: dict[tuple[str, bool], list[_Tested]] = defaultdict(list)
    for scan, row in rows.items():
        group = ("", True) if row["correct"] is None else (row["true"], row["correct"])
        groups[group].append(scan)
    turns = zip_longest(*(groups[key] for key in sorted(groups)))
    in_turn = [scan for turn in turns for scan in turn if scan is not None]
    return sorted(in_turn[:most])


def _pictures(scan: str, records: Sequence[MapRecord], folder: Path, options: HtmlReport) -> list[dict[str, Any]]:
    first = records[0]
    anatomy = read(first.image) if first.image is not None else None
    truth = read(first.ground_truth) if first.ground_truth is not None and anatomy is not None else None
    if truth is not None and anatomy is not None:
        truth = on_same_grid(anatomy, truth, f"The ground truth {first.ground_truth}")
    pictures = []
    for record in records:
        relevance = read(record.path, add_channels=True)
        magnitude = has_no_sign(str(record.sidecar.get("explainer", "")), record.sidecar.get("params") or {})
        drawn, scale, cut = _draw(anatomy, relevance, truth, f"The map {record.path}", options, magnitude)
        name = f"{scan}_{record.explainer}"
        file = folder / (re.sub(r"[^A-Za-z0-9._-]", "-", name) + ".png")
        file.write_bytes(png(compose(drawn, scale, f"{scan}   {record.explainer}   {_place(relevance, cut)}")))
        pictures.append(_caption(record, relevance, drawn, scale, cut) | {"file": f"figures/{file.name}"})
    return pictures


def _draw(
    anatomy: Volume | None, relevance: Volume, truth: Volume | None, what: str, options: HtmlReport, magnitude: bool
) -> tuple[Layers, Scale, tuple[int, int, int]]:
    background = anatomy
    if background is None:
        background = Volume(relevance.data * 0, relevance.affine)
    relevance = on_same_grid(background, relevance, what)
    scale, cut = (
        scale_of(relevance.data, options.threshold, limit=options.limit, magnitude=magnitude),
        cut_through(relevance),
    )
    mirrored = options.convention == "radiological"
    return draw_layers(background, relevance, scale, cut, truth, mirrored), scale, cut


def _place(volume: Volume, cut: tuple[int, int, int]) -> str:
    x, y, z = (round(value) for value in volume.world(cut))
    return f"x {x}, y {y}, z {z} mm"


def _caption(
    record: MapRecord, relevance: Volume, drawn: Layers, scale: Scale, cut: tuple[int, int, int]
) -> dict[str, Any]:
    sidecar = record.sidecar
    output, total = sidecar.get("output"), sidecar.get("sum_of_relevance")
    details, account = sidecar.get("details") or {}, account_of(sidecar)
    return {
        "explainer": record.explainer,
        "base": data_uri(png(drawn.base)),
        "overlay": data_uri(png(drawn.overlay)),
        "width": drawn.base.width,
        "height": drawn.base.height,
        "target": str(sidecar.get("target_name", "")),
        "output": number(output),
        "sum": number(total),
        # Only a method that makes a promise of the sum says how it kept it; for others the quotient means nothing.
        "account": None if account is None else figures(account),
        "ratio": number(details["conservation"]) if account is not None and account.law == "ratio" else None,
        "layers": layer_rows(sidecar),
        "details": [
            (str(name).replace("_", " "), _short(value)) for name, value in details.items() if _is_news(name, value)
        ],
        "place": _place(relevance, cut),
        "no_scan": record.image is None,
        "outlined": drawn.outlined,
        "empty": scale.empty,
        "ends": [f"{-scale.limit:.2g}" if scale.signed else "0", f"{scale.limit:.2g}"],
        "threshold": f"{scale.threshold:.2g}",
        "bar": _css_gradient(scale),
    }


def _is_news(name: str, value: object) -> bool:
    """Whether a detail of an explainer is short and not on the card already."""
    return name not in ("output", "sum_of_relevance", "conservation") and (
        isinstance(value, str | int | float) or _is_size(value)
    )


def _is_size(value: object) -> bool:
    """Whether a detail is as a grid's: three whole numbers."""
    return isinstance(value, list) and len(value) == 3 and all(type(n) is int for n in value)


def _short(value: Any) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, value)) if _is_size(value) else number(value)


def _css_gradient(scale: Scale) -> str:
    colours = gradient(scale, 33)
    stops = [f"rgba({r},{g},{b},{a / 255:.2f}) {100 * i / 32:.4g}%" for i, (r, g, b, a) in enumerate(colours.tolist())]
    return f"linear-gradient(to right,{','.join(stops)})"


def draw_scan(
    image: Path, maps: Mapping[str, nib.Nifti1Image], prediction: Mapping[str, Any], output: Path, options: HtmlReport
) -> Path:
    """Draw one scan with a row for each map; see ``HtmlReport.picture``."""
    if not maps:
        raise InputError(f"{image}: there is no relevance map to draw. Choose at least one explainer.")
    anatomy = read(image)
    decided = ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in prediction.items())
    rows = []
    for explainer, data in maps.items():
        relevance = read(data, add_channels=True)
        # Of the explainer only its id is known here, which is its name if the user gave no other.
        magnitude = has_no_sign(explainer, {})
        drawn, scale, cut = _draw(anatomy, relevance, None, f"The map of {explainer}", options, magnitude)
        rows.append(compose(drawn, scale, f"{explainer}   {_place(relevance, cut)}   {decided}"))
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    path = output / (re.sub(r"[^A-Za-z0-9._-]", "-", stem) + "_relevance.png")
    path.write_bytes(png(rows_below(rows)))
    return path
