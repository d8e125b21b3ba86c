"""The pictures of one explained scan: three planes and a mosaic for each explainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib

from xai_core import InputError

from ._account import account_of, figures, layer_rows
from ._agreement import Pair, agreement
from ._colours import Scale, gradient, scale_of
from ._files import Shelf, names_of
from ._methods import has_no_sign
from ._overlay import Layers, compose, draw_layers, jpeg, mosaic_layers, png, rows_below
from ._summary import number
from ._texts import plain
from ._volumes import Volume, cut_through, on_same_grid, read

if TYPE_CHECKING:
    from xai_core.engine.results import MapRecord

    from .plugin import HtmlReport

__all__ = ["Drawn", "draw_maps", "draw_scan"]

_WORDY = ("output", "sum_of_relevance", "conservation")  # details that the card says elsewhere


@dataclass(frozen=True)
class Drawn:
    """What was drawn of a scan.

    Attributes:
        maps: For each explainer what the page shows of its map.
        pairs: How far the explainers agree.
        replaced: By what (``scan``, or an explainer's id) how many voxels are not finite; they are drawn as zero.
        no_scan: Whether the maps are drawn without the scan, because it was not read from one file.
        mosaic: Address, width and height of the mosaic of the scan; None where it was not asked for.
        outlined: Whether the ground truth shows in a picture.
    """

    maps: list[dict[str, Any]]
    pairs: list[Pair]
    replaced: Mapping[str, int]
    no_scan: bool
    mosaic: tuple[str, int, int] | None
    outlined: bool


def draw_maps(records: Sequence[MapRecord], name: str, shelf: Shelf, folder: Path | None, options: HtmlReport) -> Drawn:
    """Draw all maps of one scan by one network.

    Args:
        records: One for each explainer, in the order to show.
        name: File name for the scan.
        shelf: Takes the layers of the page.
        folder: For one PNG file of each map, with title and colour bar; None: there is none.
        options: Of the report.

    Raises:
        InputError: A scan or a map cannot be read, or does not lie on the scan's grid.
    """
    first = records[0]
    anatomy = read(first.image) if first.image is not None else None
    truth = read(first.ground_truth) if first.ground_truth is not None and anatomy is not None else None
    if truth is not None and anatomy is not None:
        truth = on_same_grid(anatomy, truth, f"The ground truth {first.ground_truth}")
    volumes: dict[str, Volume] = {}
    maps: list[dict[str, Any]] = []
    mosaic: tuple[str, int, int] | None = None
    for record in records:
        relevance = read(record.path, add_channels=True)
        background = anatomy if anatomy is not None else Volume(relevance.data * 0, relevance.affine)
        relevance = volumes[record.explainer] = on_same_grid(background, relevance, f"The map {record.path}")
        shown = _Shown(relevance, record, options)
        drawn = draw_layers(background, relevance, shown.scale, shown.cut, truth, shown.mirrored)
        stem = f"{name}_{record.explainer}"
        card = _caption(record, relevance, shown, drawn, shelf, stem)
        if options.mosaic:
            slices = mosaic_layers(background, relevance, shown.scale, options.mosaic, shown.mirrored)
            if mosaic is None:
                mosaic = (shelf.put(f"{name}_mosaic", jpeg(slices.base), "jpeg"), *slices.base.size)
            card["mosaic"] = shelf.put(f"{stem}_mosaic", png(slices.overlay))
        maps.append(card)
        if folder is not None:
            title = f"{record.scan_id}   {record.explainer}   {card['place']}"
            (folder / f"{stem}.png").write_bytes(png(compose(drawn, shown.scale, title)))
    replaced = {"scan": anatomy.replaced if anatomy is not None else 0}
    replaced |= {explainer: volume.replaced for explainer, volume in volumes.items()}
    return Drawn(
        maps, agreement(volumes), {what: n for what, n in replaced.items() if n}, anatomy is None, mosaic,
        any(card["outlined"] for card in maps),
    )  # fmt: skip


class _Shown:
    """How one map is drawn."""

    def __init__(self, relevance: Volume, record: MapRecord, options: HtmlReport) -> None:
        magnitude = has_no_sign(str(record.sidecar.get("explainer", "")), record.sidecar.get("params") or {})
        self.scale = scale_of(relevance.data, options.threshold, limit=options.limit, magnitude=magnitude)
        self.cut = cut_through(relevance)
        self.mirrored = options.convention == "radiological"


def _place(volume: Volume, cut: tuple[int, int, int]) -> str:
    x, y, z = (round(value) for value in volume.world(cut))
    return f"x {x}, y {y}, z {z} mm"


def _caption(
    record: MapRecord, relevance: Volume, shown: _Shown, drawn: Layers, shelf: Shelf, stem: str
) -> dict[str, Any]:
    sidecar, scale = record.sidecar, shown.scale
    details, account = sidecar.get("details") or {}, account_of(sidecar)
    return {
        "explainer": record.explainer,
        "base": shelf.put(f"{stem}_scan", png(drawn.base)),
        "overlay": shelf.put(f"{stem}_map", png(drawn.overlay)),
        "width": drawn.base.width,
        "height": drawn.base.height,
        "target": str(sidecar.get("target_name", "")),
        "output": number(sidecar.get("output")),
        "sum": number(sidecar.get("sum_of_relevance")),
        # Only a method that makes a promise of the sum says how it kept it; for others the quotient means nothing.
        "account": None if account is None else figures(account),
        "ratio": number(details["conservation"]) if account is not None and account.law == "ratio" else None,
        "layers": layer_rows(sidecar),
        "details": [
            *_channels(sidecar),
            *((str(name).replace("_", " "), _short(value)) for name, value in details.items() if _is_news(name, value)),
        ],
        "place": _place(relevance, shown.cut),
        "outlined": drawn.outlined,
        "empty": scale.empty,
        "ends": [f"{-scale.limit:.2g}" if scale.signed else "0", f"{scale.limit:.2g}"],
        "threshold": f"{scale.threshold:.2g}",
        "bar": _css_gradient(scale),
        "mosaic": None,
    }


def _channels(sidecar: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say of a map with several channels what is drawn, and what part of the relevance each has."""
    names = [str(name) for name in sidecar.get("channels") or []]
    if len(names) < 2:
        return []
    sums = sidecar.get("sum_of_relevance_by_channel") or []
    drawn = plain("case.channels", n=len(names)), plain("case.over_first", name=names[0])
    return [drawn, *((plain("case.channel", name=name), number(part)) for name, part in zip(names, sums, strict=False))]


def _is_news(name: str, value: object) -> bool:
    """Whether a detail of an explainer is short and not on the card already."""
    return name not in _WORDY and (isinstance(value, str | int | float) or _is_size(value))


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
        relevance = on_same_grid(anatomy, read(data, add_channels=True), f"The map of {explainer}")
        # Of the explainer only its id is known here, which is its name if the user gave no other.
        scale = scale_of(relevance.data, options.threshold, limit=options.limit, magnitude=has_no_sign(explainer, {}))
        cut = cut_through(relevance)
        drawn = draw_layers(anatomy, relevance, scale, cut, None, options.convention == "radiological")
        rows.append(compose(drawn, scale, f"{explainer}   {_place(relevance, cut)}   {decided}"))
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    path = output / f"{names_of([stem])[stem]}_relevance.png"
    path.write_bytes(png(rows_below(rows)))
    return path
