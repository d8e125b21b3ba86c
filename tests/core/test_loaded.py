"""A finished run in Python, and its maps drawn."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import xai_core
from xai_core import InputError, Pipeline, registry
from xai_core.engine.mapplot import MapOfScan, figure_png, plot_map
from xai_core.engine.mapwidget import map_widget
from xai_core.engine.richdisplay import facts_html, rows_html
from xai_core.engine.savedmap import SavedAttribution
from xai_core.engine.single import scan_from
from xai_core.testing._toys import TOY_PIPELINE, register_toys, write_toy_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    register_toys()
    study = tmp_path_factory.mktemp("loaded")
    write_toy_study(study / "study")
    (study / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    yield Pipeline.from_file(study / "toy.yaml").run().folder
    register_toys()


def test_scores_and_tables(folder: Path) -> None:
    run = xai_core.load(folder)
    test = run.results.metrics()["test"]
    assert run.metrics.loc["accuracy", "value"] == pytest.approx(test["accuracy"]["value"])
    assert set(run.fold_metrics["fold"]) >= {"all", "0"}
    assert len(run.predictions) == len(run.subjects) == 8
    assert (run.name, run.task, run.classes, run.folds, run.explainers) == (
        "toy", "classification", ("a", "b"), [0, 1], ["toy"],
    )  # fmt: skip
    assert set(run.splits.columns) >= {"fold", "part", "subject_id"}
    assert isinstance(run.fold(0).model, torch.nn.Module)


def test_maps_are_read_when_looked_at(folder: Path) -> None:
    run = xai_core.load(folder)
    maps = run.attributions("toy")
    record = run.results.maps("toy")[2]
    one = maps[2]
    saved: Any = nib.load(record.path)
    assert (one.scan_id, one.subject, one.fold, one.explainer) == (
        record.scan_id,
        record.subject_id,
        record.fold,
        "toy",
    )
    assert one.shape == saved.shape
    np.testing.assert_array_equal(one.affine, saved.affine)
    np.testing.assert_array_equal(np.asarray(one), saved.get_fdata(dtype=np.float32))
    np.testing.assert_array_equal(one[1:3, :, 0], saved.get_fdata(dtype=np.float32)[1:3, :, 0])
    assert np.asarray(one).dtype == np.float32
    assert one.output == record.sidecar["output"]
    assert one.target in ("a", "b")
    image = one.to_nifti()
    assert image.get_fdata().sum() == saved.get_fdata().sum()
    assert len(maps) == len(list(maps)) == 8
    assert [m.scan_id for m in maps[:3]] == [m.scan_id for m in list(maps)[:3]]
    assert maps[one.scan_id].path == one.path


def test_a_scan_is_explained_and_drawn(folder: Path) -> None:
    run = xai_core.load(folder)
    scan = run.attributions()[0]
    explained = run.explain(scan._record.image, fold=scan.fold)["toy"]
    np.testing.assert_allclose(explained.to_nifti().get_fdata(), np.asarray(scan), rtol=1e-5, atol=1e-9)
    for drawn in (explained.plot(), scan.plot()):
        assert figure_png(drawn)[:4] == b"\x89PNG"
        # As the last line of a cell, also where pyplot was not imported.
        assert drawn._repr_png_() == figure_png(drawn)
        assert len(drawn.axes[1].images) == 2
    # The scan behind the map is the one that was explained.
    np.testing.assert_array_equal(
        explained.plot().axes[2].images[0].get_array(), scan.plot().axes[2].images[0].get_array()
    )


def test_what_is_not_there_is_told(folder: Path, tmp_path: Path) -> None:
    run = xai_core.load(folder)
    with pytest.raises(InputError, match=r"no explainer 'tox'. Did you mean 'toy'"):
        run.attributions("tox")
    with pytest.raises(InputError, match="0 of these 8 maps are of 'sub-zz'"):
        run.attributions("toy")["sub-zz"]
    with pytest.raises(InputError, match="is not a run folder"):
        xai_core.load(tmp_path)
    (tmp_path / "cut.nii.gz").write_bytes(b"cut off")
    cut = SavedAttribution(replace(run.results.maps()[0], path=tmp_path / "cut.nii.gz"))
    with pytest.raises(InputError, match="cannot be read as an image"):
        _ = cut.shape


def test_a_fold_is_a_number(folder: Path) -> None:
    """Its name in quotes would find the network, and nobody whom it was trained on."""
    run = xai_core.load(folder)
    splits, images = run.splits, run.subjects.set_index("subject_id")["image"]
    trained = splits[(splits["fold"] == 0) & (splits["part"] == "train")]["subject_id"].iloc[0]
    with pytest.raises(InputError, match="was trained or validated on"):
        run.predict(images[trained], np.int64(0))
    for wrong in ("0", 0.0, None):
        with pytest.raises(InputError, match="There is no fold"):
            run.predict(images[trained], wrong)


def test_the_network_of_another_fold_is_not_taken(folder: Path, tmp_path: Path) -> None:
    """It fits as well, and has seen those whom this fold tests."""
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    xai_core.load(copied).fold(0)
    shutil.copy(copied / "fold-1" / "checkpoint.pt", copied / "fold-0")
    with pytest.raises(InputError, match=r"checkpoint\.pt is another file than when this fold was trained"):
        xai_core.load(copied).fold(0)
    shutil.copy(folder / "fold-0" / "checkpoint.pt", copied / "fold-0")
    shutil.copy(folder / "fold-0" / "checkpoint.pt", copied / "fold-0" / "transforms.pt")  # none was fitted there
    with pytest.raises(InputError, match=r"transforms\.pt is another file"):
        xai_core.load(copied).fold(0)
    about = json.loads((copied / "fold-1" / "training.json").read_text(encoding="utf-8"))
    del about["files"]  # of a run of an early version
    (copied / "fold-1" / "training.json").write_text(json.dumps(about), encoding="utf-8")
    xai_core.load(copied).fold(1)


def test_an_explainer_by_its_name_and_numbers_of_numpy(folder: Path) -> None:
    run = xai_core.load(folder)
    one = run.attributions("toy")[np.int64(2)]
    assert one.path == run.attributions("toy")[2].path
    explained = run.explain(one._record.image, "toy", np.int64(1), fold=one.fold)
    assert explained["toy"].sidecar["target_name"] == "b"


def test_a_run_without_its_scans_shows_what_it_has(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    table = moved / "subjects.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace(str(folder.parents[1]), "/gone"), encoding="utf-8")
    one = xai_core.load(moved).attributions("toy")[0]
    assert one._record.image is not None
    assert not one._record.image.exists()
    assert "no picture" in one._repr_html_()
    assert one.scan_id in one._repr_html_()
    assert np.asarray(one).any()


VALUES = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
COLOURS = [("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")]
SHEARED = np.array([[2.0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (nib.AnalyzeImage(VALUES, np.eye(4)), "Analyze file, which does not say where left is"),
        (nib.Nifti1Image(VALUES, SHEARED), "sheared grid"),
        (nib.Nifti1Image(VALUES.astype(np.complex64), np.eye(4)), "complex64 voxels, not one number each"),
        (
            nib.Nifti1Image(VALUES.view([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")]), np.eye(4)),
            "not one number",
        ),
        (nib.Nifti1Image(np.stack([VALUES] * 3, -1), np.eye(4)), "has 4 dimensions"),
        (nib.Nifti1Image(np.ones_like(VALUES), np.eye(4)), "in every voxel"),
        (nib.Nifti1Image(np.where(VALUES < 0.1, np.nan, VALUES), np.eye(4)), "NaN or infinite"),
        (VALUES, "ndarray is no scan"),
        (None, "NoneType is no scan"),
        (b"scan.nii.gz", "bytes is no scan"),
    ],
)
def test_images_in_memory_are_held_to_what_files_are(image: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        scan_from(image)


def test_further_dimensions_of_one_are_fine_in_memory() -> None:
    scan = scan_from(nib.Nifti1Image(VALUES[..., None], np.eye(4)))
    np.testing.assert_array_equal(np.asarray(scan["image"].data[0]), VALUES)


def test_notebooks_show_them(folder: Path) -> None:
    run = xai_core.load(folder)
    assert "accuracy" in run._repr_html_()
    assert "sub-a0" in run.attributions()._repr_html_()
    assert run.attributions()[0]._repr_html_().startswith('<img src="data:image/png;base64,')
    assert "outputs" in run.fold(0)._repr_html_()
    assert "toy" in registry.infos("explainer")._repr_html_()
    assert "&lt;script&gt;" in facts_html("a", {"id": "<script>"})
    assert "<script>" not in facts_html("<script>", {"<script>": "<script>"}) + rows_html(["<script>"], [["<script>"]])


def spot(codes: str) -> nib.Nifti1Image:
    """A bright voxel in the front right upper corner of a head, and a dark one on the left; axes as ``codes`` says."""
    data = np.zeros((12, 14, 10), dtype=np.float32)
    data[9, 11, 7], data[2, 3, 4] = 5.0, -2.0  # right, front, above, in RAS
    affine = np.diag([2.0, 2, 3, 1])
    affine[:3, 3] = -11, -13, -15
    image = nib.Nifti1Image(data, affine)
    start = nib.orientations.io_orientation(affine)
    turned: nib.Nifti1Image = image.as_reoriented(
        nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(codes))
    )
    return turned


def volume_of(held: Any) -> nib.Nifti1Image:
    """What a widget sends to the page, read by nibabel."""
    assert held.name.endswith(".nii.gz"), "NiiVue tells the format by the name"
    return nib.Nifti1Image.from_bytes(gzip.decompress(held.data))


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PIR"])
def test_the_widget_holds_scan_and_map(codes: str) -> None:
    relevance, ras = spot(codes), spot("RAS")
    values = np.asarray(relevance.dataobj)
    scan = nib.Nifti1Image(np.abs(values) + 100, relevance.affine)
    widget = map_widget(relevance, scan, threshold=0, limit=100, convention="radiological")
    under, over = widget.volumes
    np.testing.assert_array_equal(volume_of(over).dataobj, ras.dataobj)
    np.testing.assert_array_equal(volume_of(under).dataobj, np.abs(np.asarray(ras.dataobj)) + 100)
    for held in (under, over):
        np.testing.assert_allclose(volume_of(held).affine, ras.affine)
        assert volume_of(held).header.get_xyzt_units()[0] == "mm"
    # Drawn is what is at least the threshold, and the colours end at the limit.
    assert over.cal_min == pytest.approx(2.0, rel=1e-5)
    assert over.cal_min < 2.0
    assert over.cal_max == 5.0
    assert 100 <= under.cal_min < under.cal_max
    assert (under.colormap, over.colormap, over.colormap_negative) == ("gray", "redyell", "blue2cyan")
    assert {over.colormap, over.colormap_negative} <= set(widget.colormaps())
    assert over.colormap_type.name == "ZERO_TO_MAX_TRANSPARENT_BELOW_MIN"
    assert (under.colorbar_visible, over.colorbar_visible) == (False, True)
    assert widget.opts.is_radiological_convention
    assert widget.opts.show_all_orientation_markers
    # The planes meet in the strongest voxel, at its middle.
    assert widget.scene.crosshair_pos == pytest.approx([9.5 / 12, 11.5 / 14, 7.5 / 10])


def test_the_widget_of_a_run_is_that_of_the_figure(folder: Path) -> None:
    run = xai_core.load(folder)
    one = run.attributions()[0]
    strength = np.abs(one.data[one.data != 0])
    over = one.view(threshold=80, limit=99).volumes[1]
    assert over.cal_min == pytest.approx(np.percentile(strength, 80), rel=1e-5)
    assert over.cal_max == pytest.approx(np.percentile(strength, 99), rel=1e-5)
    assert not one.view().opts.is_radiological_convention
    explained = run.explain(one._record.image, fold=one.fold)["toy"]
    np.testing.assert_allclose(volume_of(explained.view().volumes[1]).dataobj, volume_of(over).dataobj, rtol=1e-5)
    scans = [volume_of(view.volumes[0]) for view in (explained.view(), one.view())]
    np.testing.assert_array_equal(scans[0].dataobj, scans[1].dataobj)


def test_widgets_of_odd_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    widget = map_widget(empty, None)
    assert widget.scene.crosshair_pos == pytest.approx([2.5 / 4] * 3), "the middle"
    under, over = widget.volumes
    assert 0 < over.cal_min < over.cal_max
    assert not np.asarray(volume_of(over).dataobj).any()
    assert under.cal_min < under.cal_max
    flat = nib.Nifti1Image(np.full((4, 4, 4), 7.0, np.float32), np.eye(4))
    constant = map_widget(empty, flat).volumes[0]
    assert constant.cal_min < constant.cal_max
    channels = np.random.default_rng(0).normal(size=(4, 4, 4, 1, 2)).astype(np.float32)
    both = map_widget(nib.Nifti1Image(channels, np.eye(4)), flat).volumes[1]
    np.testing.assert_allclose(volume_of(both).dataobj, channels.sum(axis=(3, 4)), rtol=1e-5)
    broken = np.ones((4, 4, 4), np.float32)
    broken[0, 0, :2] = np.nan, np.inf
    for draw in (
        MapOfScan(nib.Nifti1Image(broken, np.eye(4)), {}).view,
        lambda: plot_map(nib.Nifti1Image(broken, np.eye(4)), None, "t"),
    ):
        with pytest.raises(InputError, match="2 voxels that are NaN or infinite"):
            draw()
    with pytest.raises(InputError, match="does not lie on the grid of its scan"):
        map_widget(empty, nib.Nifti1Image(np.ones((4, 4, 5), np.float32), np.eye(4)))
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(InputError, match=r"pip install 'xai-core\[notebook\]'; or use plot\(\)"):
        map_widget(empty, None)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "ASR"])
@pytest.mark.parametrize("convention", ["neurological", "radiological"])
def test_left_is_left(codes: str, convention: Any) -> None:
    """A bright spot in the front right upper corner of the head is drawn there however the file stores its axes."""
    figure = plot_map(spot(codes), None, "spot", threshold=0, convention=convention)
    sagittal, coronal, axial = (np.asarray(axes.images[1].get_array()) for axes in figure.axes[:3])
    column = 9 if convention == "neurological" else 11 - 9
    assert np.argwhere(sagittal).tolist() == [[7, 11]]
    assert np.argwhere(coronal).tolist() == [[7, column]]
    assert np.argwhere(axial).tolist() == [[11, column]]
    letters = [text.get_text() for text in figure.axes[2].texts]
    assert letters == (["L", "R"] if convention == "neurological" else ["R", "L"])
    assert figure._suptitle is not None
    assert "x 7, y 9, z 6 mm" in figure._suptitle.get_text()


def test_a_place_and_limits_are_checked() -> None:
    image = nib.Nifti1Image(np.ones((4, 4, 4), dtype=np.float32), np.diag([2.0, 2, 2, 1]))
    figure = plot_map(image, None, "t", cut=(2, 4, 6))
    assert figure._suptitle is not None
    assert "x 2, y 4, z 6 mm" in figure._suptitle.get_text()
    with pytest.raises(InputError, match=r"outside of the scan, which holds x 0 to 6, y 0 to 6, z 0 to 6 mm"):
        plot_map(image, None, "t", cut=(2, 4, 60))
    with pytest.raises(InputError, match="threshold"):
        plot_map(image, None, "t", threshold=99, limit=90)
    other = nib.Nifti1Image(np.ones((4, 4, 5), dtype=np.float32), np.diag([2.0, 2, 2, 1]))
    with pytest.raises(InputError, match="does not lie on the grid of its scan"):
        plot_map(image, other, "t")
    empty = plot_map(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), None, "t")
    assert empty._supxlabel is not None
    assert "every voxel is zero" in empty._supxlabel.get_text()
