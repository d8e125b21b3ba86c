"""Means of groups against NumPy by hand, and what is refused."""

from __future__ import annotations

import json
import logging
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
MIRROR = np.array([[-1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
LAS = RAS @ MIRROR  # the same voxels, stored from the right


class TestGroupMaps(AnalysisConformance):
    name = "group-maps"


class TestGroupMapsOfScans(AnalysisConformance):
    name = "group-maps"
    params: ClassVar[dict[str, Any]] = {"template": "mean-image", "space": "scan", "by": None}


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line keeps the run's messages from the root logger, which caplog reads."""
    monkeypatch.setattr(logging.getLogger("xai"), "propagate", True)


def person(number: int, target: Any, prediction: Any, **more: Any) -> dict[str, Any]:
    relevance = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
    return {"scan": f"sub-{number}", "target": target, "prediction": prediction, "map": relevance, **more}


def analysed(run: RunResults, output: Path, **params: Any) -> pd.DataFrame:
    output.mkdir(parents=True)
    create("analysis", "group-maps", **params).analyse(run, output)
    return pd.read_csv(
        output / "group-maps.tsv", sep="\t", na_values=["n/a"], keep_default_na=False, dtype={"group": str}
    )


@pytest.fixture
def people() -> list[dict[str, Any]]:
    return [
        person(1, "CN", "CN", sex="F"), person(2, "AD", "AD", sex="F"), person(3, "AD", "CN", sex="M"),
        person(4, "AD", "AD", sex=None),
    ]  # fmt: skip


def test_means_peaks_and_shares_are_those_of_numpy(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    table = analysed(make_run(people), tmp_path / "out").set_index("group")
    assert list(table.index) == ["CN", "AD"]
    expected = np.stack([people[i]["map"] for i in (1, 2, 3)]).astype(np.float64).mean(axis=0)
    image = nib.load(tmp_path / "out" / table.loc["AD", "file"])
    assert image.get_data_dtype() == np.float32
    assert np.array_equal(image.affine, RAS)
    np.testing.assert_allclose(image.get_fdata(), expected, rtol=1e-6, atol=1e-9)
    row = table.loc["AD"]
    assert (row["n"], row["people"], row["explained"]) == (3, 3, "AD 2; CN 1")
    index = np.unravel_index(np.abs(expected).argmax(), SHAPE)
    assert row["peak"] == pytest.approx(expected[index])
    assert [row["peak_x"], row["peak_y"], row["peak_z"]] == list(nib.affines.apply_affine(RAS, index))
    assert row["positive_share"] == pytest.approx(expected[expected > 0].sum() / np.abs(expected).sum())
    assert row["colour_limit"] == pytest.approx(np.quantile(np.abs(expected), 0.9999))
    assert row["sum"] == pytest.approx(expected.sum())
    sidecar = json.loads((tmp_path / "out" / row["file"].replace(".nii.gz", ".json")).read_text())
    assert sidecar["scans"] == ["sub-2", "sub-3", "sub-4"]


def test_only_correct_leaves_the_others_out(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    table = analysed(make_run(people), tmp_path / "out", only="correct").set_index("group")
    assert table["n"].to_dict() == {"CN": 1, "AD": 2}
    assert table.loc["AD", "explained"] == "AD 2"
    mean = nib.load(tmp_path / "out" / table.loc["AD", "file"]).get_fdata()
    np.testing.assert_allclose(mean, (people[1]["map"] + people[3]["map"]) / 2, rtol=1e-5, atol=1e-7)


def test_groups_by_a_covariate_and_everybody(
    make_run: Callable[..., RunResults],
    tmp_path: Path,
    people: list[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = make_run(people)
    with caplog.at_level(logging.WARNING, "xai"):
        table = analysed(run, tmp_path / "sex", by="sex")
    assert table.set_index("group")["n"].to_dict() == {"F": 2, "M": 1}
    assert "1 test scans have no sex and are left out: sub-4" in caplog.text
    lost = pd.read_csv(tmp_path / "sex" / "left-out.tsv", sep="\t")
    assert lost[["scan_id", "reason"]].to_numpy().tolist() == [["sub-4", "has no sex"]]
    everybody = analysed(run, tmp_path / "all", by=None)
    assert everybody["group"].tolist() == ["all"]
    mean = nib.load(tmp_path / "all" / everybody["file"][0]).get_fdata()
    np.testing.assert_allclose(mean, np.mean([p["map"] for p in people], axis=0), rtol=1e-5, atol=1e-6)


def test_sums_are_kept_in_double_precision(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    """1e8 + 1 - 1e8 is 0 in float32."""
    values = (1e8, 1.0, -1e8)
    people = [{**person(i, "CN", "CN"), "map": np.full(SHAPE, v)} for i, v in enumerate(values)]
    table = analysed(make_run(people), tmp_path / "out", by=None)
    np.testing.assert_allclose(nib.load(tmp_path / "out" / table["file"][0]).get_fdata(), 1 / 3, rtol=1e-6)


def test_a_scan_stored_from_the_right_keeps_its_sides(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    straight, other = person(1, "CN", "CN"), person(2, "CN", "CN")
    turned = {**other, "map": other["map"][::-1], "affine": LAS}
    table = analysed(make_run([straight, turned]), tmp_path / "out", by=None)
    image = nib.load(tmp_path / "out" / table["file"][0])
    assert np.array_equal(image.affine, RAS)
    np.testing.assert_allclose(image.get_fdata(), (straight["map"] + other["map"]) / 2, rtol=1e-5, atol=1e-7)


def test_channels_are_added_up(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    both = np.random.default_rng(0).normal(size=(*SHAPE, 2)).astype(np.float32)
    table = analysed(make_run([{**person(1, "CN", "CN"), "map": both}]), tmp_path / "out", by=None)
    np.testing.assert_allclose(
        nib.load(tmp_path / "out" / table["file"][0]).get_fdata(), both.sum(axis=3), rtol=1e-5, atol=1e-6
    )


def test_other_grids_are_an_error_that_names_both(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    shifted = RAS.copy()
    shifted[0, 3] += 1
    run = make_run([person(1, "CN", "CN"), {**person(2, "AD", "AD"), "affine": shifted}])
    with pytest.raises(InputError, match=r"sub-2(?s:.)*another grid(?s:.)*\(-19, -40, -16\)(?s:.)*\(-20, -40, -16\)"):
        analysed(run, tmp_path / "out")


def test_resampled_maps_keep_their_place(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    """Linear interpolation of values that are linear in the world's millimetres is exact, whatever the grids."""

    def ramp(affine: Any, shape: tuple[int, int, int]) -> Any:
        world = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
        return 100 + world @ np.array([1.0, -2.0, 0.5])

    shifted, shape = np.array([[0, 3.0, 0, -21], [-3, 0, 0, 20], [0, 0, 3, -19], [0, 0, 0, 1]]), (20, 18, 14)
    people = [
        {**person(1, "CN", "CN"), "map": ramp(RAS, SHAPE)},
        {**person(2, "CN", "CN"), "map": ramp(shifted, shape), "affine": shifted},
    ]
    table = analysed(make_run(people), tmp_path / "out", by=None, resample=True, spacing=4)
    image = nib.load(tmp_path / "out" / table["file"][0])
    assert np.allclose(np.abs(image.affine[:3, :3]), np.diag([4, 4, 4]))
    inner = np.array([[x, y, z] for x in (-12, 0, 16) for y in (-28, -8) for z in (-8, 0, 12)])
    index = np.linalg.inv(image.affine) @ np.c_[inner, np.ones(len(inner))].T
    found = image.get_fdata()[tuple(index[:3].round().astype(int))]
    np.testing.assert_allclose(found, 100 + inner @ np.array([1.0, -2.0, 0.5]), rtol=1e-5)


def test_an_empty_group_has_a_row_and_no_map(
    make_run: Callable[..., RunResults], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run([person(1, "CN", "CN"), person(2, "AD", "CN")])
    with caplog.at_level(logging.WARNING, "xai"):
        table = analysed(run, tmp_path / "out", only="correct").set_index("group")
    assert table["n"].to_dict() == {"CN": 1, "AD": 0}
    assert pd.isna(table.loc["AD", "file"])
    assert "no test scan is in the group AD with only: correct" in caplog.text
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 1


def test_a_map_of_zeros_has_no_peak(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    table = analysed(make_run([{**person(1, "CN", "CN"), "map": np.zeros(SHAPE)}]), tmp_path / "out", by=None)
    assert table["peak"].isna().all()
    assert table["positive_share"].isna().all()
    assert (tmp_path / "out" / "lrp_all.png").stat().st_size > 1000


def test_groups_that_differ_in_odd_characters_have_files_of_their_own(
    make_run: Callable[..., RunResults], tmp_path: Path
) -> None:
    people = [person(i, "CN", "CN", site=site) for i, site in enumerate(["A/B", "A B", "a$b", "1"])]
    table = analysed(make_run(people), tmp_path / "out", by="site")
    assert table["file"].str.lower().nunique() == 4
    for row, wanted in zip(table.sort_values("group").itertuples(), ["1", "A B", "A/B", "a$b"], strict=True):
        mine = next(p for p in people if p["site"] == wanted)
        assert row.group == wanted
        np.testing.assert_array_equal(nib.load(tmp_path / "out" / row.file).get_fdata(), mine["map"])


def test_memory_does_not_grow_with_the_number_of_people(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    from xai_analyses_atlas._mean import mean_map

    records = make_run([person(i, "CN", "CN") for i in range(24)]).maps("lrp")
    peaks = []
    for number in (4, 24):
        mean_map(records[:2], None, resample=False, mni=True)  # caches of the libraries are filled
        tracemalloc.start()
        mean_map(records[:number], None, resample=False, mni=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_what_cannot_be_averaged_is_refused(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]]
) -> None:
    for index, one in enumerate(people):
        one["age"] = 60.5 + index
    people += [person(i, "CN", "CN", sex="F", age=60 + i / 7) for i in range(10, 32)]
    run = make_run(people)
    cases = [
        ({"by": "sxe"}, r"no column 'sxe'.*Did you mean 'sex'\?.*There are: .*target"),
        ({"by": "age"}, "26 different values"),
        ({"by": "ground_truth"}, "is empty for every test scan"),
        ({"explainers": ["lpr"]}, r"no explainer 'lpr'\. Did you mean 'lrp'\?"),
    ]
    for number, (params, message) in enumerate(cases):
        with pytest.raises(InputError, match=message):
            analysed(run, tmp_path / str(number), **params)
    broken = people[1]["map"].copy()
    broken[0, 0, :3] = [np.nan, np.nan, np.inf]
    path = run.maps()[2].path
    nib.save(nib.Nifti1Image(broken, RAS), path)
    with pytest.raises(InputError, match=r"has 2 voxels that are NaN and 1 that are infinite"):
        analysed(run, tmp_path / "nan", by=None)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read as an image"):
        analysed(run, tmp_path / "truncated", by=None)
    path.unlink()
    with pytest.raises(InputError, match=r"1 of 26 maps are missing: sub-"):
        analysed(run, tmp_path / "missing", by=None)


def test_nobody_right_and_regressions_are_refused(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every group is empty: nobody was predicted correctly"):
        analysed(make_run([person(1, "CN", "AD")]), tmp_path / "out", only="correct")


def test_a_regression_has_no_correct_people(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    run = make_run([person(i, 50.0 + i, 50.5, sex=i % 2) for i in range(4)], classes=None)
    with pytest.raises(InputError, match="is a regression"):
        analysed(run, tmp_path / "out", only="correct", by=None)
    assert analysed(run, tmp_path / "sex", by="sex").set_index("group")["n"].to_dict() == {"0": 2, "1": 2}


def test_scans_beside_the_mni_brain_are_refused(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    far = RAS.copy()
    far[2, 3] = 400
    run = make_run([{**person(1, "CN", "CN"), "affine": far}])
    with pytest.raises(InputError, match="does not meet the MNI brain"):
        analysed(run, tmp_path / "mni")
    assert len(analysed(run, tmp_path / "scan", space="scan", template="mean-image", by=None)) == 1


@pytest.mark.parametrize("params", [{"space": "scan"}, {"space": "scan", "template": "mean-image", "resample": True}])
def test_contradictions_are_refused_before_any_work(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs scans in MNI space"):
        create("analysis", "group-maps", **params)


def test_every_fold_that_tested_a_scan_counts(make_run: Callable[..., RunResults], tmp_path: Path) -> None:
    people = [person(1, "CN", "CN"), person(2, "AD", "AD")]
    run = make_run(people)
    again = np.random.default_rng(9).normal(size=SHAPE).astype(np.float32)
    for table, column in (("predictions", "prediction"), ("splits", "part")):
        rows = pd.read_csv(run.folder / f"{table}.tsv", sep="\t")
        second = rows[rows["subject_id"] == "sub-2"].assign(fold=1, repeat=1)
        assert column in second
        pd.concat([rows.assign(repeat=0), second]).to_csv(run.folder / f"{table}.tsv", sep="\t", index=False)
    folder = run.folder / "derivatives" / "sub-2" / "anat"
    nib.save(nib.Nifti1Image(again, RAS), folder / "sub-2_desc-lrpFold1_relevance.nii.gz")
    sidecar = json.loads((folder / "sub-2_desc-lrp_relevance.json").read_text())
    (folder / "sub-2_desc-lrpFold1_relevance.json").write_text(json.dumps({**sidecar, "fold": 1}))
    table = analysed(run, tmp_path / "out").set_index("group")
    assert table["n"].to_dict() == {"CN": 1, "AD": 1}
    mean = nib.load(tmp_path / "out" / table.loc["AD", "file"]).get_fdata()
    np.testing.assert_allclose(mean, (people[1]["map"] + again) / 2, rtol=1e-5, atol=1e-6)


def test_maps_of_scans_registered_within_the_run_are_brought_to_mni_space(
    make_run: Callable[..., RunResults], tmp_path: Path
) -> None:
    # The second person lay 16 mm too far to the left; the registration found 8, and two voxels more are in the map.
    people = [person(1, "CN", "CN"), person(2, "CN", "CN")]
    people[1]["map"] = np.roll(people[0]["map"], 2, axis=0)
    people[1]["affine"] = RAS - np.array([[0, 0, 0, 16.0], *([[0] * 4] * 3)])
    way = np.eye(4)
    way[0, 3] = 8.0
    run = make_run(people)
    path = run.folder / "derivatives" / "sub-2" / "anat" / "sub-2_desc-lrp_relevance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "to_mni": way.tolist()}))
    with pytest.raises(InputError, match="resample: true"):
        analysed(run, tmp_path / "refused", by=None)
    analysed(run, tmp_path / "out", by=None, resample=True, spacing=4)
    found = nib.load(next((tmp_path / "out").glob("*.nii.gz")))
    voxel = np.linalg.inv(found.affine) @ RAS @ [5, 6, 4, 1]
    x, y, z = np.round(voxel[:3]).astype(int)
    assert np.allclose(voxel[:3], [x, y, z])
    assert found.get_fdata()[x, y, z] == pytest.approx(people[0]["map"][5, 6, 4], abs=1e-4)


def test_median_and_sd_are_those_of_numpy(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "xai"):
        table = analysed(make_run(people), tmp_path / "out", statistics=["mean", "median", "sd"])
    y = np.stack([people[i]["map"] for i in (1, 2, 3)]).astype(np.float64)
    wanted = {"mean": y.mean(axis=0), "median": np.median(y, axis=0), "sd": y.std(axis=0, ddof=1)}
    names = {"mean": "lrp_target-AD.nii.gz", "median": "lrp_target-AD_median.nii.gz", "sd": "lrp_target-AD_sd.nii.gz"}
    rows = table[table["group"] == "AD"].set_index("statistic")
    assert rows["file"].to_dict() == names
    for name, values in wanted.items():
        image = nib.load(tmp_path / "out" / names[name])
        np.testing.assert_allclose(image.get_fdata(), values, rtol=1e-5, atol=1e-6)
        sidecar = json.loads((tmp_path / "out" / names[name].replace(".nii.gz", ".json")).read_text())
        assert sidecar["statistic"] == name
        assert (tmp_path / "out" / names[name].replace(".nii.gz", ".png")).is_file()
    alone = table[table["group"] == "CN"].set_index("statistic")
    assert alone["file"].notna().to_dict() == {"mean": True, "median": True, "sd": False}
    assert "lrp, CN: one map has no standard deviation" in caplog.text


def test_maps_are_divided_before_the_mean(
    make_run: Callable[..., RunResults], tmp_path: Path, people: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    people[3]["map"] = np.zeros(SHAPE)
    run = make_run(people)
    with caplog.at_level(logging.WARNING, "xai"):
        table = analysed(run, tmp_path / "sum", normalise="sum").set_index("group")
    shares = [people[i]["map"].astype(np.float64) / np.abs(people[i]["map"].astype(np.float64)).sum() for i in (1, 2)]
    found = nib.load(tmp_path / "sum" / table.loc["AD", "file"]).get_fdata()
    np.testing.assert_allclose(found, np.mean(shares, axis=0), rtol=1e-4, atol=1e-9)
    assert (table.loc["AD", "n"], table.loc["AD", "normalise"]) == (2, "sum")
    assert "lrp, AD: the map of sub-4, fold 0, is left out: the map is zero everywhere" in caplog.text
    lost = pd.read_csv(tmp_path / "sum" / "left-out.tsv", sep="\t", dtype=str).iloc[0].to_dict()
    zero = {"scan_id": "sub-4", "fold": "0", "reason": "the map is zero everywhere"}
    assert lost == {"explainer": "lrp", "group": "AD", **zero}
    plain = analysed(run, tmp_path / "none").set_index("group")
    assert (plain.loc["AD", "n"], plain.loc["AD", "statistic"]) == (3, "mean")
