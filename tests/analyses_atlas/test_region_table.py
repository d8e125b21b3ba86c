"""Relevance by region against nilearn and NumPy, and what is refused or left out on record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiLabelsMasker

from xai_analyses_atlas._atlases import Atlas, load_atlas
from xai_analyses_atlas._relevance import OUTSIDE, asymmetry_table, region_table
from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
LAS = RAS @ np.array([[-1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
NAMES = {1: "Left-A", 2: "Right-A", 3: "Left-B", 4: "Right-B", 5: "Midline"}


def write_run(folder: Path, people: Sequence[dict[str, Any]]) -> RunResults:
    """As the fixture, into another folder."""
    spec = spec_from_file_location("_conftest", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_run(folder, people)


def labels() -> np.ndarray:
    """Two regions on each side, one between them, and a border that is in none."""
    image = np.zeros(SHAPE, int)
    image[1:5, 2:7, 2:7], image[6:10, 2:7, 2:7] = 1, 2
    image[1:5, 7:11, 2:7], image[6:10, 7:11, 2:7] = 3, 4
    image[5, 2:11, 2:7] = 5
    return image


def save_atlas(folder: Path, data: Any, names: dict[int, str] = NAMES, affine: Any = RAS) -> Path:
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(data, dtype=np.int16), affine), folder / "mine.nii.gz")
    text = "".join(f"{index}\t{name}\n" for index, name in names.items())
    (folder / "mine.tsv").write_text(f"index\tname\n{text}")
    return folder / "mine.nii.gz"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save_atlas(tmp_path / "atlas", labels())


@pytest.fixture
def atlas(image: Path) -> Atlas:
    return load_atlas(image)


def person(number: int, **more: Any) -> dict[str, Any]:
    relevance = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
    target = ("CN", "AD")[number % 2]
    return {"scan": f"sub-{number}", "target": target, "prediction": "CN", "map": relevance, **more}


def only(table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def edit(run: RunResults, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    table = pd.read_csv(run.folder / name, sep="\t", na_values=["n/a"], keep_default_na=False)
    change(table).to_csv(run.folder / name, sep="\t", index=False, na_rep="n/a")


class TestRegionTable(AnalysisConformance):
    name = "region-table"

    @pytest.fixture(autouse=True)
    def _atlas(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = save_atlas(tmp_path_factory.mktemp("atlas"), labels())
        self.params = {"atlas": {"image": str(path)}}


def test_sums_and_means_are_those_of_nilearn(make_run: Callable[..., RunResults], atlas: Atlas, image: Path) -> None:
    run = make_run([person(1), person(2)], explainers=("lrp", "gradcam"))
    table = region_table(run, atlas)
    assert len(table) == 2 * 2 * 6
    for record in run.maps():
        mine = only(table, scan_id=record.scan_id, explainer=record.explainer).iloc[:5]
        for strategy, column in (("sum", "sum"), ("mean", "mean")):
            masker = NiftiLabelsMasker(image, strategy=strategy, standardize=None, keep_masked_labels=False)
            theirs = masker.fit_transform(nib.load(record.path)).ravel()
            np.testing.assert_allclose(mine[column], theirs, rtol=1e-6, atol=1e-7)


def test_every_column_by_hand(make_run: Callable[..., RunResults], atlas: Atlas) -> None:
    run = make_run([person(1)])
    table = region_table(run, atlas).set_index("region")
    relevance = nib.load(run.maps()[0].path).get_fdata()
    size = {name: (labels() == index).sum() for index, name in NAMES.items()}
    for index, name in [*NAMES.items(), (0, OUTSIDE)]:
        inside, row = relevance[labels() == index], table.loc[name]
        assert row["voxels"] == inside.size
        assert row["volume"] == inside.size * 64
        share = np.abs(inside).sum() / np.abs(relevance).sum()
        peak = np.argwhere((labels() == index) & (np.abs(relevance) == np.abs(inside).max()))[0]
        expected = {
            "sum": inside.sum(), "positive": inside[inside > 0].sum(), "negative": inside[inside < 0].sum(),
            "absolute": np.abs(inside).sum(), "mean": inside.mean(), "density": np.abs(inside).mean() / 64,
            "share": share, "peak": relevance[tuple(peak)],
            "size_corrected": share / (inside.size / sum(size.values())) if index else np.nan,
            **dict(zip(("peak_x", "peak_y", "peak_z"), nib.affines.apply_affine(RAS, peak), strict=True)),
        }  # fmt: skip
        for column, value in expected.items():
            np.testing.assert_allclose(row[column], value, rtol=1e-6, err_msg=f"{name} {column}")
    assert table["hemisphere"].where(table["hemisphere"].notna(), "").tolist() == ["L", "R", "L", "R", "", ""]
    assert table["structure"].tolist()[:2] == ["A", "A"]


@pytest.mark.parametrize("assign", ["partial", "nearest"])
@pytest.mark.parametrize("affine", [RAS, LAS])
def test_the_rows_of_a_map_add_up_to_it(
    make_run: Callable[..., RunResults], tmp_path: Path, assign: Any, affine: Any
) -> None:
    """The atlas is finer than the map and lies aside, so that voxels are cut."""
    fine = np.kron(labels(), np.ones((2, 2, 2), int))
    finer = RAS.copy()
    finer[:3, :3] /= 2
    finer[:3, 3] += 0.6
    atlas = load_atlas(save_atlas(tmp_path / "fine", fine, affine=finer))
    run = make_run([person(1, affine=affine), person(2, affine=affine)])
    table = region_table(run, atlas, assign=assign)
    for record in run.maps():
        relevance = nib.load(record.path).get_fdata()
        mine = only(table, scan_id=record.scan_id)
        np.testing.assert_allclose(mine["sum"].sum(), relevance.sum(), rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(mine["absolute"].sum(), np.abs(relevance).sum(), rtol=1e-6)
        np.testing.assert_allclose(mine["share"].sum(), 1, rtol=1e-6)
        np.testing.assert_allclose(mine["voxels"].sum(), relevance.size, rtol=1e-6)
        if assign == "partial":
            placed = atlas.on(_grid(affine))
            weights = [placed.weights(k).astype(float) for k in range(5)]
            by_hand = [(w * relevance).sum() for w in (*weights, 1 - sum(weights))]
            np.testing.assert_allclose(mine["sum"], by_hand, rtol=1e-5, atol=1e-5)
            assert len({round(float(w), 3) for weight in weights for w in weight.ravel()}) > 3


def _grid(affine: Any) -> Any:
    from xai_analyses_atlas._grids import Grid

    return Grid(SHAPE, affine)


def test_left_stays_left_on_flipped_maps(make_run: Callable[..., RunResults], atlas: Atlas) -> None:
    relevance = np.zeros(SHAPE)
    relevance[2, 3, 4] = -7  # world x of -12 mm on RAS, of +12 mm on LAS
    people = [person(1, map=relevance), person(2, map=relevance, affine=LAS)]
    peaks = region_table(make_run(people), atlas).set_index(["scan_id", "region"])
    assert peaks.loc["sub-1", "Left-A"][["peak", "peak_x", "peak_y", "peak_z"]].tolist() == [-7, -12, -28, 0]
    assert peaks.loc["sub-2", "Right-A"][["peak", "peak_x", "peak_y", "peak_z"]].tolist() == [-7, 12, -28, 0]
    assert peaks.loc["sub-1", "Right-A"]["peak"] == 0
    assert np.isnan(peaks.loc["sub-1", "Right-A"]["peak_x"])


def test_asymmetry_by_hand(make_run: Callable[..., RunResults], atlas: Atlas) -> None:
    relevance = np.zeros(SHAPE)
    relevance[labels() == 1] = 3
    relevance[labels() == 2] = -1
    table = asymmetry_table(region_table(make_run([person(1, map=relevance)]), atlas))
    assert table["structure"].tolist() == ["A"] * 3 + ["B"] * 3
    voxels = (labels() == 1).sum()
    first, size, density = (only(table, structure="A", measure=m).iloc[0] for m in ("sum", "absolute", "density"))
    assert first[["left", "right", "difference", "asymmetry"]].tolist() == [3 * voxels, -voxels, 4 * voxels, 1]
    assert [size["asymmetry"], density["asymmetry"]] == pytest.approx([0.5, 0.5])
    assert only(table, structure="B")["asymmetry"].isna().all()


def test_a_scan_registered_within_the_run_is_measured_in_mni_space(
    make_run: Callable[..., RunResults], atlas: Atlas
) -> None:
    angle = np.deg2rad(30)
    away = np.eye(4)
    away[:3, 3] = (300, -50, 20)
    away[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    run = make_run([person(1), person(1, scan="sub-9", affine=away @ RAS)])
    sidecar = next(run.folder.rglob("sub-9*_relevance.json"))
    with pytest.raises(InputError, match="does not meet the MNI brain"):
        region_table(run, atlas)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"to_mni": np.linalg.inv(away).tolist()}))
    table = region_table(run, atlas)
    straight, registered = (only(table, scan_id=scan).iloc[:, 6:].reset_index(drop=True) for scan in ("sub-1", "sub-9"))
    pd.testing.assert_frame_equal(straight, registered, rtol=1e-5)


def test_channels_are_added_up_or_chosen(make_run: Callable[..., RunResults], atlas: Atlas) -> None:
    relevance = np.random.default_rng(0).normal(size=(*SHAPE, 2)).astype(np.float32)
    run = make_run([person(1, map=relevance)])
    info = run.folder / "run.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"channels": ["t1w", "flair"]}))
    both, one = region_table(run, atlas), region_table(run, atlas, channel="flair")
    inside = relevance[labels() == 3].astype(float)
    np.testing.assert_allclose(both["sum"][2], inside.sum(), rtol=1e-6)
    np.testing.assert_allclose(both["absolute"][2], np.abs(inside.sum(axis=1)).sum(), rtol=1e-6)
    np.testing.assert_allclose(one["sum"][2], inside[:, 1].sum(), rtol=1e-6)
    with pytest.raises(InputError, match="channels t1w, flair, and none is called 't2w'"):
        region_table(run, atlas, channel="t2w")


def test_row_order_does_not_follow_the_tables(make_run: Callable[..., RunResults], atlas: Atlas) -> None:
    run = make_run([person(n) for n in (3, 1, 2)], explainers=("b", "a"))
    table = region_table(run, atlas)
    order = table.drop_duplicates(["explainer", "scan_id"])[["explainer", "scan_id"]].to_numpy().tolist()
    assert order == [[e, f"sub-{n}"] for e in "ba" for n in (1, 2, 3)]
    edit(run, "predictions.tsv", lambda rows: rows.iloc[::-1])
    pd.testing.assert_frame_equal(table, region_table(run, atlas, threads=1))
    assert region_table(run, atlas, ["a"])["explainer"].unique().tolist() == ["a"]
    with pytest.raises(InputError, match="no explainer 'c'"):
        region_table(run, atlas, ["c"])


def test_repeats_have_rows_of_their_own(make_run: Callable[..., RunResults], image: Path, tmp_path: Path) -> None:
    run = make_run([person(1)])
    for name in ("predictions.tsv", "splits.tsv"):
        edit(run, name, lambda rows: pd.concat([rows.assign(repeat=0), rows.assign(repeat=1, fold=3)]))
    original = next(run.folder.rglob("*_relevance.json"))
    other = original.with_name("sub-1_desc-again_relevance.json")
    other.write_text(json.dumps(json.loads(original.read_text()) | {"fold": 3}))
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.float32), RAS), other.with_suffix("").with_suffix(".nii.gz"))
    written = analysed(run, tmp_path / "out", atlas={"image": str(image)})
    regions, people = written["regions"], written["people"]
    assert regions["fold"].tolist() == [0] * 6 + [3] * 6
    assert only(regions, fold=3)["mean"].tolist() == [1] * 6
    assert people[["fold", "repeat"]].to_numpy().tolist() == [[0, 0], [3, 1]]


def analysed(run: RunResults, output: Path, **params: Any) -> dict[str, Any]:
    output.mkdir(parents=True)
    create("analysis", "region-table", **params).analyse(run, output)
    tables = {
        path.stem: pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False)
        for path in output.glob("*.tsv")
    }
    return {**tables, "facts": json.loads((output / "regions.json").read_text())}


def test_people_and_facts(make_run: Callable[..., RunResults], image: Path, tmp_path: Path) -> None:
    mask = np.zeros(SHAPE)
    mask[1:10] = 1
    nib.save(nib.Nifti1Image(mask.astype(np.int16), RAS), tmp_path / "mask.nii.gz")
    people = [person(1, age=70, mask=str(tmp_path / "mask.nii.gz")), person(2, age=61, mask=None)]
    run = make_run(people)
    written = analysed(run, tmp_path / "out", atlas={"image": str(image)})
    rows, facts = written["people"], written["facts"]
    relevance = np.abs(people[0]["map"].astype(float))
    first, second = rows.iloc[0], rows.iloc[1]
    np.testing.assert_allclose(first["share_outside_brain"], 1 - relevance[1:10].sum() / relevance.sum(), rtol=1e-6)
    np.testing.assert_allclose(
        first["share_outside_atlas"], relevance[labels() == 0].sum() / relevance.sum(), rtol=1e-6
    )
    assert rows["brain_mask"].tolist() == ["the dataset's mask", "ICBM152 of nilearn"]
    assert 0 <= second["share_outside_brain"] < 0.3
    assert rows["age"].tolist() == [70, 61]
    assert rows["correct"].tolist() == [False, True]
    assert not {"image", "mask"} & set(rows.columns)
    assert facts["atlas"]["sha256"] == load_atlas(image).checksum
    assert (facts["people"], facts["maps"], facts["atlas"]["regions"]) == (2, 2, 5)
    assert len(written["asymmetry"]) == 2 * 2 * 3
    assert written["regions-left-out"].empty
    analysed(run, tmp_path / "again", atlas={"image": str(image)})
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_template_mask_is_nilearns(make_run: Callable[..., RunResults], atlas: Atlas, tmp_path: Path) -> None:
    """On voxels of 1 mm, where a voxel is in the brain or not, against nilearn's image read here."""
    from nilearn.datasets import load_mni152_brain_mask
    from nilearn.image import resample_img

    affine = np.eye(4)
    affine[:3, 3] = (-20, -112, -5)
    shape = (14, 16, 12)
    relevance = np.random.default_rng(0).normal(size=shape)
    run = make_run([person(1, map=relevance, affine=affine)])
    whole = save_atlas(tmp_path / "whole", np.ones(shape), {1: "box"}, affine)
    rows = analysed(run, tmp_path / "out", atlas={"image": str(whole)})["people"]
    mask = resample_img(
        load_mni152_brain_mask(resolution=1), affine, shape, interpolation="nearest", force_resample=True,
        copy_header=True,
    )  # fmt: skip
    inside = np.asanyarray(mask.dataobj) > 0
    assert 0.1 < inside.mean() < 0.9
    expected = np.abs(relevance)[~inside].sum() / np.abs(relevance).sum()
    np.testing.assert_allclose(rows["share_outside_brain"][0], expected, rtol=1e-5)


def test_regions_that_the_grid_loses_are_named(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    fine = np.kron(labels(), np.ones((4, 4, 4), int))
    fine[9, 9, 9] = 6  # 1 mm3 within Left-A, aside of the middle of the map's voxel
    fine[:4, 20:, 20:] = 7  # mostly outside of the field of view of the map that is cut
    finer = np.diag([1.0, 1, 1, 1])
    finer[:3, 3] = RAS[:3, 3] - 1.5
    path = save_atlas(tmp_path / "atlas", fine, {**NAMES, 6: "Tiny", 7: "Cut", 8: "Nowhere"}, finer)
    run = make_run([person(1), person(2)])
    nearest = analysed(run, tmp_path / "nearest", atlas={"image": str(path)}, assign="nearest")
    left = nearest["regions-left-out"].set_index("region")
    assert left.loc["Nowhere", "reason"] == "in the table, but not in the image"
    assert "no voxel" in left.loc["Tiny", "reason"]
    assert left.loc["Tiny", "maps"] == 2
    tiny = only(nearest["regions"], region="Tiny")
    assert tiny["voxels"].tolist() == [0, 0]
    assert tiny[["sum", "share", "mean", "peak"]].isna().all(axis=None)
    partial = analysed(run, tmp_path / "partial", atlas={"image": str(path)})
    assert partial["regions-left-out"]["region"].tolist() == ["Nowhere"]
    np.testing.assert_allclose(only(partial["regions"], region="Tiny")["volume"], 1, rtol=1e-6)


def test_a_region_that_the_field_of_view_cuts_is_named(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    wide = np.zeros((21, 13, 9), int)
    wide[8:], wide[:8] = 1, 2
    shifted = RAS.copy()
    shifted[0, 3] -= 40  # only the last 11 of the atlas' 21 slices lie in the map
    path = save_atlas(tmp_path / "atlas", wide, {1: "In", 2: "Beside"}, shifted)
    table = analysed(make_run([person(1)]), tmp_path / "out", atlas={"image": str(path)})["regions-left-out"]
    assert table["region"].tolist() == ["Beside"]
    wide[6:], wide[:6] = 1, 2
    wide[9:12] = 2
    path = save_atlas(tmp_path / "atlas", wide, {1: "In", 2: "Cut"}, shifted)
    table = analysed(RunResults(tmp_path / "run"), tmp_path / "out2", atlas={"image": str(path)})["regions-left-out"]
    assert table["region"].tolist() == ["Cut"]
    assert "less than half" in table["reason"][0]


def test_a_map_of_zeros_has_no_shares(make_run: Callable[..., RunResults], image: Path, tmp_path: Path) -> None:
    head = np.random.default_rng(0).random(SHAPE)
    run = make_run([person(1, map=np.zeros(SHAPE), image=head), person(2)])
    written = analysed(run, tmp_path / "out", atlas={"image": str(image)})
    empty = only(written["regions"], scan_id="sub-1")
    assert (empty[["sum", "absolute", "mean", "density", "peak"]] == 0).all(axis=None)
    assert empty[["share", "size_corrected", "peak_x"]].isna().all(axis=None)
    assert any("zero everywhere" in note and "sub-1" in note for note in written["facts"]["notes"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(2, 3, 4), (0, 0, 0)])
def test_maps_that_are_not_finite_are_all_named(
    make_run: Callable[..., RunResults], atlas: Atlas, value: float, place: Any
) -> None:
    wrong = np.ones(SHAPE)
    wrong[place] = value
    head = np.random.default_rng(0).random(SHAPE)
    run = make_run([person(1), person(2, map=wrong, image=head), person(3, map=wrong, image=head)])
    with pytest.raises(InputError, match=r"(?s)2 scans:.*sub-2.* 1 .*sub-3"):
        region_table(run, atlas)


def test_a_missing_map_is_named(make_run: Callable[..., RunResults], atlas: Atlas) -> None:
    run = make_run([person(1), person(2)])
    run.maps()[1].path.unlink()
    with pytest.raises(InputError, match="1 of 2 maps are missing: sub-2"):
        region_table(run, atlas)


def test_a_brain_that_is_shifted_is_an_error(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    """nilearn's template without skull, and with a head painted around it, moved by centimetres."""
    from nilearn.datasets import load_mni152_template

    template = load_mni152_template(resolution=4)
    around = 8  # voxels, so that the field of view cuts nothing
    brain, affine = np.pad(np.asarray(template.dataobj), around), template.affine.copy()
    affine[:3, 3] -= around * 4
    brain = np.where(brain > 0.1 * brain.max(), brain, 0)  # what the template's resampling leaves beside it
    from scipy.ndimage import binary_dilation, binary_erosion

    head = np.where(binary_dilation(brain > 0, iterations=3), np.maximum(brain, brain.max() / 2), 0)
    whole = save_atlas(tmp_path / "whole", brain > 0.2 * brain.max(), {1: "brain"}, affine)
    atlas = load_atlas(whole)
    everywhere = np.ones(brain.shape)

    def moved(by: tuple[float, ...]) -> np.ndarray:
        there = affine.copy()
        there[:3, 3] += by
        return there

    def scan(name: str, image: np.ndarray, *by: float) -> dict[str, Any]:
        return person(1, scan=name, map=everywhere, image=image, affine=moved(by or (0, 0, 0)))

    fine = [scan(f"sub-fine{n}", image, x, 0, 0) for n, (image, x) in enumerate([(brain, 0), (head, 0), (brain, 8)])]
    shell = np.where(binary_erosion(brain > 0, iterations=3), 0, brain)  # as a grey-matter map is
    fine += [scan("sub-shell", shell), scan("sub-slab", np.where(np.arange(brain.shape[2]) > 14 + around, brain, 0))]
    rows = analysed(make_run(fine), tmp_path / "out", atlas={"image": str(whole)})["people"].set_index("scan_id")
    assert rows.loc[["sub-fine0", "sub-fine1", "sub-shell"], "atlas_in_head"].min() > 0.95
    assert rows.loc["sub-slab", "atlas_in_head"] < 0.8
    wrong = [scan("sub-right", brain, 30, 0, 0), scan("sub-front", brain, 0, 40, 0), scan("sub-down", brain, 0, 0, -40)]
    wrong += [scan("sub-left", head, -30, 0, 0), scan("sub-back", head, 0, -40, 0), scan("sub-up", head, 0, 0, 40)]
    with pytest.raises(InputError, match="6 scans:") as found:
        region_table(write_run(tmp_path / "wrong" / "run", wrong), atlas)
    assert len(region_table(RunResults(tmp_path / "wrong" / "run"), atlas, mismatch="note")) == 6 * 2
    text = str(found.value)
    for place in ("aside of the brain's", "short of it at the back", "57% of the atlas", "beyond it at the back"):
        assert place in text


def test_a_mask_lies_where_the_scan_does(make_run: Callable[..., RunResults], atlas: Atlas, tmp_path: Path) -> None:
    """Also where the scan was registered within the run, and the map is measured elsewhere."""
    away = np.eye(4)
    away[:3, 3] = (300, -50, 20)
    mask = np.zeros(SHAPE)
    mask[:, :, :5] = 1
    nib.save(nib.Nifti1Image(mask.astype(np.int16), away @ RAS), tmp_path / "mask.nii.gz")
    run = make_run([person(1, affine=away @ RAS, mask=str(tmp_path / "mask.nii.gz"))])
    sidecar = next(run.folder.rglob("*_relevance.json"))
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"to_mni": np.linalg.inv(away).tolist()}))
    rows = analysed(run, tmp_path / "out", atlas={"image": atlas.source})["people"]
    relevance = np.abs(run_map(run))
    np.testing.assert_allclose(rows["share_outside_brain"][0], relevance[:, :, 5:].sum() / relevance.sum(), rtol=1e-6)


def run_map(run: RunResults) -> np.ndarray:
    return np.asarray(nib.load(run.maps()[0].path).get_fdata())


def test_spaces_must_agree(make_run: Callable[..., RunResults], image: Path) -> None:
    run = make_run([person(1)])
    with pytest.raises(InputError, match=r"lies in MNI space .* but space is scan"):
        region_table(run, load_atlas(image), space="scan")
    own = load_atlas(image, space="scan")
    with pytest.raises(InputError, match=r"a space of the study's own. Set space: scan"):
        region_table(run, own)
    assert len(region_table(run, own, space="scan")) == 6


def own_atlases(folder: Path, people: Sequence[str]) -> str:
    image = np.where(labels() == 1, 17, np.where(labels() == 2, 53, 0))
    for name in people:
        path = folder / name / "aseg.mgz"
        path.parent.mkdir(parents=True)
        nib.save(nib.MGHImage(image.astype(np.int32), RAS), path)
    return str(folder / "{subject_id}" / "aseg.mgz")


def test_each_person_in_the_own_space(make_run: Callable[..., RunResults], image: Path, tmp_path: Path) -> None:
    pattern = own_atlases(tmp_path / "fs", ("sub-1", "sub-2"))
    run = make_run([person(n) for n in (1, 2, 3)])
    own = {"image": pattern}
    with pytest.raises(InputError, match="Set space: scan"):
        analysed(run, tmp_path / "a", atlas=own)
    with pytest.raises(InputError, match="1 of 3 test scans have no atlas in their own space: sub-3"):
        analysed(run, tmp_path / "b", atlas=own, space="scan")
    written = analysed(run, tmp_path / "c", atlas=own, space="scan", missing="leave-out")
    assert written["left-out"]["scan_id"].tolist() == ["sub-3"]
    assert written["facts"]["scans_left_out"] == 1
    table = written["regions"].dropna(subset=["sum"])
    theirs = region_table(run, load_atlas(image)).set_index(["scan_id", "region"])["sum"]
    assert only(table, region="Left-Hippocampus")["sum"].tolist() == pytest.approx(
        theirs.loc[["sub-1", "sub-2"], "Left-A"].tolist(), rel=1e-6
    )
    assert written["people"]["share_outside_brain"].isna().all()
    assert "Left-Amygdala" in written["regions-left-out"]["region"].tolist()
    with pytest.raises(InputError, match="3 of 3 test scans have no atlas"):
        analysed(run, tmp_path / "d", atlas={"image": pattern.replace("aseg", "x-aseg")}, space="scan",
                 missing="leave-out")  # fmt: skip


def test_a_study_is_refused_before_training(make_run: Callable[..., RunResults], image: Path, tmp_path: Path) -> None:
    study = pd.DataFrame({"scan_id": ["sub-1", "sub-7"], "subject_id": ["sub-1", "sub-7"]})

    def check(**params: Any) -> None:
        create("analysis", "region-table", **params).check_study(study, "classification", ["CN", "AD"])

    check(atlas={"image": str(image)})
    with pytest.raises(InputError, match="There is no atlas 'nope'"):
        check(atlas="nope")
    with pytest.raises(InputError, match="but space is scan"):
        check(atlas={"image": str(image)}, space="scan")
    pattern = own_atlases(tmp_path / "fs", ("sub-1",))
    with pytest.raises(InputError, match=r"(?s)1 of 2 scans have no file.*sub-7 has no file"):
        check(atlas={"image": pattern}, space="scan")
    check(atlas={"image": pattern}, space="scan", missing="leave-out")
    with pytest.raises(ConfigError, match=r"is a relative path.*atlas: \{image: fs/atlas.nii.gz\}"):
        create("analysis", "region-table", atlas="fs/atlas.nii.gz")


def test_the_files_that_decide_are_named(make_run: Callable[..., RunResults], image: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.nii.gz"
    run = make_run([person(1, mask=str(mask)), person(2, mask=None)])
    named = create("analysis", "region-table", atlas={"image": str(image)}).inputs(run)
    assert set(named) == {image, image.with_name("mine.tsv"), mask}
    pattern = own_atlases(tmp_path / "fs", ("sub-1", "sub-2"))
    named = create("analysis", "region-table", atlas={"image": pattern}, space="scan").inputs(run)
    assert {path.parent.name for path in named if path.name == "aseg.mgz"} == {"sub-1", "sub-2"}


def test_the_labels_of_the_atlas_lie_where_its_own_do(tmp_path: Path) -> None:
    from xai_analyses_atlas._relevance.labels import write_labels

    affine = np.diag([-2.0, 2, 2, 1])  # stored from right to left
    affine[:3, 3] = (40, -60, -30)
    data = np.zeros((40, 50, 40), np.int16)
    data[2:18], data[22:38] = 7, 300  # 7 on the right, 300 on the left
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "mine.nii.gz")
    (tmp_path / "mine.tsv").write_text("index\tname\n7\tright_thing\n300\tleft_thing\n")
    choice = {"image": str(tmp_path / "mine.nii.gz"), "table": str(tmp_path / "mine.tsv"), "space": "MNI152NLin6Asym"}
    write_labels(load_atlas(choice), tmp_path)
    image = nib.load(tmp_path / "atlas_dseg.nii.gz")
    labels = np.asarray(image.dataobj)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    for mm, expected in (((20, 0, 0), 7), ((-20, 0, 0), 300), ((1, 0, 0), 0), ((20, 60, 0), 0)):
        voxel = np.rint(np.linalg.solve(image.affine, [*mm, 1])[:3]).astype(int)
        assert labels[tuple(voxel)] == expected
    names = pd.read_csv(tmp_path / "atlas_dseg.tsv", sep="\t").set_index("index")["name"].to_dict()
    assert names == {7: "right_thing", 300: "left_thing"}


def test_a_column_of_the_study_may_be_called_as_a_sum(
    make_run: Callable[..., RunResults], image: Path, tmp_path: Path
) -> None:
    run = make_run([person(1, positive="amyloid"), person(2, positive="no")])
    people = analysed(run, tmp_path / "out", atlas={"image": str(image)})["people"]
    assert people["study_positive"].tolist() == ["amyloid", "no"]
    assert people["positive"].dtype == float
