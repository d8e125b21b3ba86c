"""Figures: the numbers drawn, what is told apart without red and green, nothing overlaps, same input same bytes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from xai_analyses_atlas._figures import (
    GROUP_COLOURS,
    bars,
    caption_text,
    glass_brain,
    linear_fit,
    matrix,
    save,
    scatter,
    surface,
    surface_values,
)
from xai_analyses_atlas._figures._style import DIVERGING, shown_names
from xai_analyses_atlas._grids import Grid, mni_grid
from xai_core import InputError

CAPTION = caption_text("Relevance by region", n=40, test="95 % bootstrap intervals")


@pytest.fixture(autouse=True)
def _no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as text that does not fit, or a mean of nothing
        yield


def regions(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    names = [f"{side} superior temporal sulcus, posterior bank, part {i}" for i in range(count // 2) for side in "LR"]
    table = pd.DataFrame({"region": np.repeat(names, 2), "group": ["CN", "AD"] * len(names)})
    table["value"] = rng.normal(0.5, 1, len(table))
    return table.assign(low=table["value"] - 0.3, high=table["value"] + 0.5, sure=table["value"] > 1)


def draw_bars(table: pd.DataFrame, **options: Any) -> Figure:
    given = {"value": "value", "low": "low", "high": "high", "value_label": "share (%)", "heading": "LRP", **options}
    return bars(table, **given)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def outside(side: Axis) -> list[Text]:
    """Return the numbers of an axis that are not drawn, because they lie beyond its ends."""
    low, high = sorted(side.get_view_interval())
    return [tick.label1 for tick in side.get_major_ticks() if not low <= tick.get_loc() <= high]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Return pairs of texts whose boxes overlap, and texts that leave the figure (paired with "")."""
    figure.savefig(Path("/dev/null"), format="png")  # settles the layout
    hidden = [label for axis in figure.axes for side in (axis.xaxis, axis.yaxis) for label in outside(side)]
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    shown = [text for text in shown if not any(text is label for label in hidden)]
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    page = figure.bbox
    out = [(name, "") for name, box in boxes if not (page.x0 - 1 <= box.x0 and box.x1 <= page.x1 + 1)]
    pairs = itertools.combinations(boxes, 2)
    return out + [
        (a, b)
        for (a, one), (b, two) in pairs
        if min(one.x1, two.x1) - max(one.x0, two.x0) > 1 and min(one.y1, two.y1) - max(one.y0, two.y0) > 1
    ]


# --- the line ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariates", [0, 2])
def test_the_line_is_that_of_statsmodels(covariates: int) -> None:
    rng = np.random.default_rng(covariates)
    extra = rng.normal(size=(60, covariates))
    x = rng.normal(70, 8, 60) + extra.sum(axis=1)
    y = 0.3 * x - 2 * extra.sum(axis=1) + rng.normal(0, 4, 60)
    x[7] = np.nan
    fit = linear_fit(x, y, extra if covariates else None)
    kept = np.isfinite(x)
    design = np.column_stack([np.ones(59), x[kept], extra[kept]])
    model = sm.OLS(y[kept], design).fit()
    assert (fit.n, fit.left_out, fit.freedom) == (59, 1, 57 - covariates)
    assert fit.slope == pytest.approx(model.params[1], rel=1e-6)
    assert (fit.slope_low, fit.slope_high) == pytest.approx(tuple(model.conf_int()[1]), rel=1e-6)
    assert fit.p == pytest.approx(model.pvalues[1], rel=1e-6)
    at = np.linspace(50, 90, 7)
    means = np.column_stack([np.ones(7), at, np.tile(extra[kept].mean(axis=0), (7, 1))])
    band = model.get_prediction(means).summary_frame()
    for mine, name in zip(fit.line(at), ("mean", "mean_ci_lower", "mean_ci_upper"), strict=True):
        assert np.allclose(mine, band[name], rtol=1e-6)
    # Component plus residual, about the mean of y.
    partial = model.resid + y[kept].mean() + model.params[1] * (x[kept] - x[kept].mean())
    assert np.allclose(fit.partial, partial, rtol=1e-6)
    if covariates:
        residuals = [values - sm.OLS(values, design[:, [0, 2, 3]]).fit().fittedvalues for values in (x[kept], y[kept])]
        assert fit.r == pytest.approx(np.corrcoef(*residuals)[0, 1], rel=1e-6)
    else:
        interval = stats.pearsonr(x[kept], y[kept]).confidence_interval()
        assert (fit.r_low, fit.r_high) == pytest.approx((interval.low, interval.high), rel=1e-6)
        assert np.allclose(fit.partial, y[kept])


def test_a_line_that_cannot_be_fitted_says_why() -> None:
    x, y = np.arange(5.0), np.array([1.0, 2, 4, 3, 5])
    with pytest.raises(InputError, match="at least 6 people with all values; there are 5"):
        linear_fit(x, y, np.eye(5)[:, :3])
    with pytest.raises(InputError, match="x is constant: no line"):
        linear_fit(np.ones(5), y)
    with pytest.raises(InputError, match="x is constant once the covariates are taken out"):
        linear_fit(x, y, 2 * x[:, None] + 1)
    with pytest.raises(InputError, match="there are 2"):
        linear_fit(np.array([1.0, np.nan, 3, np.inf]), y[:4])


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_bars_are_as_long_as_the_values_and_a_missing_one_is_named() -> None:
    table = regions(6)
    table.loc[2, ["value", "low", "high"]] = np.nan
    figure = draw_bars(table, group="group", significant="sure", significance="q < 0.05")
    (axis,) = figure.axes
    widths = [[patch.get_width() for patch in container] for container in axis.containers]
    for number, group in enumerate(("CN", "AD")):
        assert np.allclose(widths[number], table.loc[table["group"] == group, "value"].fillna(0))
    assert texts(figure).count("n/a") == 1
    assert texts(figure).count("*") == int((table["sure"] & table["value"].notna()).sum()) > 0
    assert any("*: q < 0.05" in text for text in texts(figure))
    ends = np.array([segment[:, 0] for line in axis.collections for segment in line.get_segments() if len(segment)])
    assert sorted(ends[:, 0]) == pytest.approx(sorted(table["low"].dropna()))


def test_regions_that_are_not_shown_are_counted() -> None:
    figure = draw_bars(regions(60), group="group", most=10)
    assert any("the first 10 of 60 regions" in text for text in texts(figure))
    assert len(figure.axes[0].get_yticks()) == 10


def test_bars_refuse_what_they_cannot_tell_apart() -> None:
    table = regions(4)
    with pytest.raises(ValueError, match="two rows"):
        draw_bars(table)
    with pytest.raises(ValueError, match="no column q"):
        draw_bars(table, significant="q", group="group")
    with pytest.raises(ValueError, match="0 regions"):
        draw_bars(table.iloc[:0])


def test_scatter_shows_partial_residuals_and_who_is_left_out() -> None:
    rng = np.random.default_rng(1)
    age, x = rng.normal(size=(30, 1)), rng.normal(size=30)
    y = x + 3 * age[:, 0] + rng.normal(size=30)
    x[4] = np.nan
    figure = scatter(x, y, x_label="volume", y_label="relevance", heading="Hippocampus", covariates=age,
                     covariate_names=["age"], groups=["CN", "AD"] * 15)  # fmt: skip
    (axis,) = figure.axes
    points = np.concatenate([c.get_offsets() for c in axis.collections if not isinstance(c, PolyCollection)])
    fit = linear_fit(x, y, age)
    assert sorted(points[:, 1]) == pytest.approx(sorted(fit.partial))
    numbers = " ".join(texts(figure)).replace("\N{NO-BREAK SPACE}", " ")
    assert "n = 29 (1 without values)" in numbers
    assert f"partial r = {fit.r:.2f}" in numbers
    assert "given age" in numbers


def test_scatter_without_a_line_and_with_the_diagonal() -> None:
    figure = scatter(np.array([60.0, 70, 80]), np.array([61.0, 68, 83]), x_label="age", y_label="predicted",
                     heading="Age", fit=False, identity=True)  # fmt: skip
    (diagonal,) = figure.axes[0].lines
    assert np.array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    assert any(text.replace("\N{NO-BREAK SPACE}", " ").endswith("n = 3") for text in texts(figure))


def test_a_matrix_marks_what_is_significant_and_what_is_missing() -> None:
    values = pd.DataFrame({"volume": [0.5, -0.8, np.nan], "thickness": [0.1, 0.2, 0.9]}, index=["A", "B", "C"])
    figure = matrix(values, value_label="r", heading="r", significant=values.abs() > 0.6, significance="q < 0.05")
    axis = figure.axes[0]
    (image,) = axis.images
    assert np.array_equal(np.ma.filled(image.get_array(), np.nan), values.to_numpy(), equal_nan=True)
    assert image.get_clim() == (-0.9, 0.9)
    stars = {text.get_position()[0]: text for text in axis.texts if text.get_text() == "*"}
    assert len([text for text in axis.texts if text.get_text() == "*"]) == 2
    assert set(stars) == {0, 1}
    assert any("hatched: no value" in text for text in texts(figure))
    with pytest.raises(ValueError, match="other rows or columns"):
        matrix(values, value_label="r", heading="r", significant=values.T > 0)
    with pytest.raises(ValueError, match="no cell"):
        matrix(values.iloc[:0], value_label="r", heading="r")
    assert matrix(values * np.nan, value_label="r", heading="nothing is known").axes[0].images


@pytest.mark.parametrize("count", [2, 40])
def test_texts_do_not_overlap(count: int) -> None:
    table = regions(count)
    table.loc[0, "region"] = table.loc[1, "region"] = "a name that is so long that nobody wants to read it " * 3
    heading = "Relevance by region, as a share of the whole map's, of people with and without a disease " * 2
    assert overlaps(draw_bars(table, group="group", heading=heading, significant="sure", significance="q < 0.05")) == []
    values = table.pivot_table(index="region", columns="group", values="value", sort=False)
    values = pd.concat([values.add_suffix(f" of the feature number {i}") for i in range(6)], axis=1)
    assert overlaps(matrix(values, value_label="partial r", heading=heading)) == []
    x = np.random.default_rng(0).normal(size=30)
    many = [f"group with a name {i % 6}" for i in range(30)]
    assert overlaps(scatter(x, x**2, x_label="x", y_label="y", heading=heading, groups=many)) == []


def test_names_that_would_read_the_same_stay_whole() -> None:
    long = "superior temporal sulcus, bank {}, posterior part of the left hemisphere"
    first, second, short = shown_names([long.format("A"), long.format("B"), "amygdala"])
    assert first != second
    assert short == "amygdala"
    assert len(shown_names([long])[0]) < len(long)


# --- colours ----------------------------------------------------------------------------------------------------------

# Machado, Oliveira and Fernandes, A physiologically-based model for simulation of color vision deficiency, 2009,
# severity 1.0; for linear RGB.
BLINDNESS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colours: Any, kind: str) -> np.ndarray:
    """Return CIE L*a*b* of sRGB colours [N, 3] as somebody with a colour vision deficiency sees them."""
    rgb = np.asarray(colours, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(BLINDNESS[kind]).T
    xyz = np.clip(linear, 0, 1) @ np.array(
        [[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]]
    )
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_differ_for_people_who_are_colour_blind(kind: str) -> None:
    # 10 units of L*a*b* are easily seen side by side; red and green of equal lightness have about 4 for deuteranopes.
    groups = lab([to_rgb(colour) for colour in GROUP_COLOURS[:4]], kind)
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(groups, 2)) > 10
    ends = lab(mpl.colormaps[DIVERGING]([0.1, 0.9])[:, :3], kind)
    assert np.linalg.norm(ends[0] - ends[1]) > 30


# --- brains -----------------------------------------------------------------------------------------------------------


def blob(centre: tuple[float, float, float], size: float = 12.0) -> tuple[np.ndarray, Grid]:
    grid = mni_grid(4)
    world = np.indices(grid.shape).reshape(3, -1).T @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    values = np.exp(-((world - centre) ** 2).sum(axis=1) / (2 * size**2)).reshape(grid.shape)
    return np.where(values > 0.05, values, 0), grid


def test_the_left_of_a_glass_brain_is_left_and_is_marked() -> None:
    volume, grid = blob((-40, -20, 20))
    figure = glass_brain(volume, grid, value_label="relevance", heading="left")
    assert {"L", "R"} <= set(texts(figure))
    assert overlaps(figure) == []
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    red = (pixels[..., 0] - pixels[..., 2]) > 60
    left, right = (
        next(text for text in figure.findobj(Text) if text.get_text() == side).get_window_extent() for side in "LR"
    )
    ours = red[:, int(left.x0) - 60 : int(right.x1) + 60]  # from the front: patient's left on the picture's left
    middle = ours.shape[1] // 2
    assert ours[:, :middle].sum() > 50
    assert ours[:, middle:].sum() == 0


@pytest.mark.parametrize("size", [1.2345e-6, 4.2e5])
def test_the_colour_bar_of_a_glass_brain_is_beside_it_and_inside_the_picture(size: float) -> None:
    volume, grid = blob((-40, -20, 20))
    figure = glass_brain(size * volume, grid, value_label="mean relevance (share of the sum, 1/voxel)", heading="AD")
    FigureCanvasAgg(figure).draw()
    bar = next(axis for axis in figure.axes if axis.get_ylabel())
    place = bar.get_tightbbox()
    edge = max(text.get_window_extent().x1 for text in figure.findobj(Text) if text.get_text() == "R")
    assert edge < place.x0 < place.x1 < figure.bbox.x1
    assert figure.bbox.y0 < place.y0 < place.y1 < figure.bbox.y1


def test_the_surface_has_the_left_of_a_map_on_the_left_hemisphere() -> None:
    volume, grid = blob((-50, -25, 30))
    values = surface_values(volume, grid)
    assert values["left"].shape == values["right"].shape == (10242,)
    assert np.nanmax(values["left"]) > 0.5
    assert np.nanmax(values["right"]) == 0
    # The same with the axes of the volume turned round.
    turned = Grid(
        grid.shape,
        grid.affine @ np.diag([-1.0, 1, 1, 1]) + np.pad([[0, 0, 0, 4.0 * (grid.shape[0] - 1)]], ((0, 3), (0, 0))),
    )
    assert np.allclose(surface_values(volume[::-1], turned)["left"], values["left"], equal_nan=True)


def test_the_medial_wall_is_no_cortex() -> None:
    # The middle of the corpus callosum: beside it lies the wall, and no cortex.
    volume, grid = blob((0, -5, 22), 5)
    for part in surface_values(volume, grid).values():
        assert 500 < np.isnan(part).sum() < 700  # of 10,242; FreeSurfer's label of the wall has 888 and 881
        assert np.nanmax(part) < 0.6 * volume.max()


def test_the_surface_shows_four_views_and_lateral_is_lateral(tmp_path: Path) -> None:
    volume, grid = blob((-62, -25, 10), 8)  # lateral temporal lobe, far from the midline
    figure = surface(volume, grid, value_label="relevance", heading="left, lateral")
    views = {axis.get_title(): axis for axis in figure.axes if axis.get_title()}
    assert list(views) == ["left, lateral", "left, medial", "right, medial", "right, lateral"]

    def coloured(name: str) -> int:
        (faces,) = views[name].collections
        rgb = faces.get_facecolor()[:, :3]
        return int((np.ptp(rgb, axis=1) > 0.05).sum())

    assert coloured("left, lateral") > 100
    assert coloured("left, medial") < 20
    assert coloured("right, lateral") == coloured("right, medial") == 0
    # From the left the front is on the picture's left: what lies in front has negative horizontal positions.
    front, _ = blob((-45, 50, 5), 8)
    faces = surface(front, grid, value_label="", heading="").axes[0].collections[0]
    marked = np.ptp(faces.get_facecolor()[:, :3], axis=1) > 0.05
    assert np.mean([path.vertices[:, 0].mean() for path, on in zip(faces.get_paths(), marked, strict=True) if on]) < 0


def test_a_map_without_relevance_can_be_drawn() -> None:
    volume, grid = np.zeros(mni_grid(4).shape), mni_grid(4)
    for draw in (glass_brain, surface):
        figure = draw(volume, grid, value_label="relevance", heading="LRP")
        assert any("every voxel is zero" in text for text in texts(figure))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: draw_bars(regions(4), group="group"),
        lambda: scatter(np.arange(9.0), np.arange(9.0) ** 2, x_label="$x", y_label="y", heading="$5 and $6"),
        lambda: matrix(pd.DataFrame({"a": [1.0, np.nan]}, index=["x", "y"]), value_label="r", heading="r"),
        lambda: glass_brain(*blob((0, 0, 0)), value_label="relevance", heading="glass"),
        lambda: surface(*blob((-50, -25, 30)), value_label="relevance", heading="surface"),
    ],
    ids=["bars", "scatter", "matrix", "glass", "surface"],
)
def test_same_input_same_bytes_whatever_the_users_settings(make: Callable[[], Figure], tmp_path: Path) -> None:
    written = []
    for number, settings in enumerate(({}, {"font.size": 20, "svg.hashsalt": None, "figure.dpi": 30})):
        folder = tmp_path / str(number)
        folder.mkdir()
        with mpl.rc_context(settings):
            written.append([path.read_bytes() for path in save(make(), folder, "figure", CAPTION)])
    assert written[0] == written[1]


def test_the_caption_is_in_all_files(tmp_path: Path) -> None:
    caption = caption_text(
        "Volume in mm³", n=40, test="95 % bootstrap intervals; FDR q < 0.05", notes=["Two left out."]
    )
    assert caption == "Volume in mm³. n = 40 people. 95 % bootstrap intervals; FDR q < 0.05. Two left out."
    png, svg, text = save(draw_bars(regions(4), group="group"), tmp_path, "regions", caption)
    with Image.open(png) as picture:
        assert picture.info["Description"] == caption
    assert caption.replace("<", "&lt;") in svg.read_text(encoding="utf-8")
    assert text.read_text(encoding="utf-8") == caption + "\n"
    with pytest.raises(ValueError, match="does not state n"):
        save(draw_bars(regions(4), group="group"), tmp_path, "regions", "Bars of forty people.")


def test_a_written_map_gives_the_same_picture(tmp_path: Path) -> None:
    volume, grid = blob((30, -60, 40))
    nib.save(nib.Nifti1Image(volume.astype(np.float32), grid.affine), tmp_path / "map.nii.gz")
    image = nib.load(tmp_path / "map.nii.gz")
    again = Grid(grid.shape, image.affine)
    pictures = []
    for number, (values, where) in enumerate(((volume, grid), (image.get_fdata(), again))):
        figure = glass_brain(values, where, value_label="", heading="")
        (tmp_path / str(number)).mkdir()
        pictures.append(save(figure, tmp_path / str(number), "map", CAPTION)[0].read_bytes())
    assert pictures[0] == pictures[1]
