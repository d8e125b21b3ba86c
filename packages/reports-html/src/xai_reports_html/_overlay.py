"""One scan in three planes with relevance over it, as PNG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ._colours import Scale, colours, gradient
from ._texts import plain
from ._volumes import Volume

__all__ = ["Layers", "compose", "draw_layers", "jpeg", "mosaic_layers", "png", "rows_below"]

Array = np.ndarray[Any, Any]
_HEIGHT = 240  # pixels of the tallest plane
_GAP = 6
_OUTLINE = (60, 255, 150, 255)
_FONT = ImageFont.load_default(size=14)
_SMALL = ImageFont.load_default(size=11)
_SLICE, _COLUMNS = 128, 6  # pixels of the longer side of a slice of a mosaic; slices in a row


@dataclass(frozen=True)
class Layers:
    """Sagittal, coronal and axial plane side by side.

    Attributes:
        base: The scan in grey with its letters, mode L.
        overlay: Relevance and the outline of the ground truth, mode RGBA, of the same size.
        outlined: Whether the ground truth shows in these planes.
    """

    base: Image.Image
    overlay: Image.Image
    outlined: bool


def draw_layers(
    scan: Volume, relevance: Volume, scale: Scale, cut: tuple[int, int, int], truth: Volume | None, mirrored: bool
) -> Layers:
    """Draw three planes through the voxel ``cut``.

    Sagittal: front to the right. Coronal and axial: the patient's left on the picture's left, or on its right where
    ``mirrored`` (the radiological convention).
    """
    sizes = _panel_sizes(scan)
    width, height = sum(w for w, _ in sizes) + 2 * _GAP, max(h for _, h in sizes)
    base, overlay = Image.new("L", (width, height)), Image.new("RGBA", (width, height))
    left, outlined = 0, False
    for axis, size in enumerate(sizes):
        place = (left, (height - size[1]) // 2)
        mirror = mirrored and axis > 0
        base.paste(_grey(_plane(scan.data, axis, cut, mirror), size, scan.window), place)
        panel = _resized(_plane(relevance.data, axis, cut, mirror), size)
        overlay.paste(Image.fromarray(colours(panel, scale)), place)
        if truth is not None:
            outlined |= _outline(overlay, _plane(truth.data, axis, cut, mirror), size, place)
        _letters(base, axis, size, place, mirrored)
        left += size[0] + _GAP
    return Layers(base, overlay, outlined)


def mosaic_layers(scan: Volume, relevance: Volume, scale: Scale, slices: int, mirrored: bool) -> Layers:
    """Draw axial slices from below upwards, evenly spaced through the head; each with its height in mm and its sides.

    They follow from the scan alone, so that the mosaics of its maps compare.
    """
    heights = _heights(scan, slices)
    x, y, _ = (n * size for n, size in zip(scan.data.shape, scan.spacing, strict=True))
    factor = _SLICE / max(x, y)
    size = max(1, round(x * factor)), max(1, round(y * factor))
    columns = min(_COLUMNS, len(heights))
    rows = -(-len(heights) // columns)
    whole = (columns * (size[0] + _GAP) - _GAP, rows * (size[1] + _GAP) - _GAP)
    base, overlay = Image.new("L", whole), Image.new("RGBA", whole)
    for position, z in enumerate(heights):
        row, column = divmod(position, columns)
        place, cut = (column * (size[0] + _GAP), row * (size[1] + _GAP)), (0, 0, z)
        base.paste(_grey(_plane(scan.data, 2, cut, mirrored), size, scan.window), place)
        panel = _resized(_plane(relevance.data, 2, cut, mirrored), size)
        overlay.paste(Image.fromarray(colours(panel, scale)), place)
        _letters(base, 2, size, place, mirrored)
        middle = (scan.data.shape[0] // 2, scan.data.shape[1] // 2, z)
        text = f"z {round(scan.world(middle)[2]) + 0}"
        at = (place[0] + 3, place[1] + 2)
        ImageDraw.Draw(base).text(at, text, 255, _SMALL, stroke_width=1, stroke_fill=0)
    return Layers(base, overlay, outlined=False)


def _heights(scan: Volume, slices: int) -> list[int]:
    """Indices of slices between the lowest and the highest one that holds more than background."""
    low, high = scan.window
    share = (scan.data > low + 0.1 * (high - low)).mean(axis=(0, 1))
    inside = np.flatnonzero(share > 0.02)
    first, last = (int(inside[0]), int(inside[-1])) if inside.size else (0, scan.data.shape[2] - 1)
    # The outermost slices show little of a head: begin and end half a step inside.
    places = first + (np.arange(slices) + 0.5) * (last - first + 1) / slices - 0.5
    return list(dict.fromkeys(int(z) for z in np.clip(np.rint(places), first, last)))


def _panel_sizes(scan: Volume) -> list[tuple[int, int]]:
    """Width and height in pixels of the three planes, all at one scale."""
    x, y, z = (n * size for n, size in zip(scan.data.shape, scan.spacing, strict=True))
    scale = _HEIGHT / max(y, z)
    return [(max(1, round(w * scale)), max(1, round(h * scale))) for w, h in ((y, z), (x, z), (x, y))]


def _plane(data: Array, axis: int, cut: tuple[int, int, int], mirror: bool) -> Array:
    """One plane as rows from top to bottom: the last axis upwards, the first to the right."""
    where: list[int | slice] = [slice(None)] * 3
    where[axis] = cut[axis]
    plane = data[tuple(where)].T[::-1]
    return plane[:, ::-1] if mirror else plane


def _grey(plane: Array, size: tuple[int, int], window: tuple[float, float]) -> Image.Image:
    low, high = window
    scaled = np.clip((_resized(plane, size) - low) / (high - low), 0, 1)
    return Image.fromarray((scaled * 255).round().astype(np.uint8))


def _resized(plane: Array, size: tuple[int, int]) -> Array:
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _outline(overlay: Image.Image, plane: Array, size: tuple[int, int], place: tuple[int, int]) -> bool:
    inside = _resized((plane > 0).astype(np.float32), size) >= 0.5
    if not inside.any():
        return False
    edge = inside & ~ndimage.binary_erosion(inside)
    overlay.paste(Image.new("RGBA", size, _OUTLINE), place, Image.fromarray(edge))
    return True


def _letters(base: Image.Image, axis: int, size: tuple[int, int], place: tuple[int, int], mirrored: bool) -> None:
    """Name the sides: P and A in the sagittal plane, L and R in the others."""
    draw = ImageDraw.Draw(base)
    first, second = ("P", "A") if axis == 0 else ("R", "L") if mirrored else ("L", "R")
    (left, top), (width, height) = place, size
    middle = top + height // 2
    for x, letter, anchor in ((left + 3, first, "lm"), (left + width - 3, second, "rm")):
        draw.text((x, middle), letter, 255, _FONT, anchor, stroke_width=1, stroke_fill=0)


def compose(layers: Layers, scale: Scale, title: str) -> Image.Image:
    """Return one picture of all layers with a title above and a colour bar below."""
    picture = Image.new("RGB", (layers.base.width, layers.base.height + 56), (0, 0, 0))
    merged = Image.merge("RGBA", (layers.base, layers.base, layers.base, Image.new("L", layers.base.size, 255)))
    picture.paste(Image.alpha_composite(merged, layers.overlay).convert("RGB"), (0, 24))
    draw = ImageDraw.Draw(picture)
    draw.text((4, 4), title, fill=(235, 235, 235), font=_FONT)
    top = layers.base.height + 30
    if scale.empty:
        draw.text((4, top), plain("picture.empty"), fill=(235, 235, 235), font=_FONT)
        return picture
    bar = Image.new("RGBA", (240, 12), (70, 70, 70, 255))
    strip = np.repeat(gradient(scale, bar.width)[None], bar.height, axis=0)
    bar = Image.alpha_composite(bar, Image.fromarray(strip))
    picture.paste(bar.convert("RGB"), (4, top + 2))
    low = -scale.limit if scale.signed else 0.0
    text = plain("picture.scale", low=f"{low:.3g}", high=f"{scale.limit:.3g}", threshold=f"{scale.threshold:.3g}")
    draw.text((bar.width + 12, top), text, fill=(235, 235, 235), font=_FONT)
    return picture


def rows_below(pictures: list[Image.Image]) -> Image.Image:
    """Return the pictures one below the other."""
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)))
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def jpeg(image: Image.Image) -> bytes:
    """Return the bytes of a JPEG file: for anatomy, which stands below a map; never for the map."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    """Return the bytes of a PNG file, which depend on the picture only."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)  # the highest level takes four times as long for 4 % less
    return buffer.getvalue()
