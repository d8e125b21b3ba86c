"""Ranks of regions against a brute-force bootstrap and planted truth, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from xai_analyses_atlas._ranks import ranked
from xai_core import ConfigError, InputError
from xai_core.engine.results import RunResults
from xai_core.registry import create
from xai_core.testing import AnalysisConformance

SHAPE = (11, 13, 9)
RAS = np.array([[4.0, 0, 0, -20], [0, 4, 0, -40], [0, 0, 4, -16], [0, 0, 0, 1]])
NAMES = {1: "Left-A", 2: "Right-A", 3: "Left-B", 4: "Right-B"}


def labels() -> np.ndarray:
    image = np.zeros(SHAPE, np.int16)
    image[1:5, 2:7, 2:7], image[6:10, 2:7, 2:7] = 1, 2
    image[1:5, 7:11, 2:7], image[6:10, 7:11, 2:7] = 3, 4
    return image


def save_atlas(folder: Path, names: dict[int, str] = NAMES) -> Path:
    nib.save(nib.Nifti1Image(labels(), RAS), folder / "mine.nii.gz")
    (folder / "mine.tsv").write_text("index\tname\n" + "".join(f"{index}\t{name}\n" for index, name in names.items()))
    return folder / "mine.nii.gz"


@pytest.fixture
def atlas(tmp_path: Path) -> dict[str, str]:
    return {"image": str(save_atlas(tmp_path))}


def person(number: int, **more: Any) -> dict[str, Any]:
    """AD (even numbers): most relevance in Left-A, then Left-B; CN: most of it in Right-B."""
    strength = {1: 8.0, 3: 4.0} if number % 2 == 0 else {4: 8.0}
    relevance = np.random.default_rng(number).normal(0, 0.3, SHAPE) + 1
    for index, factor in strength.items():
        relevance = np.where(labels() == index, factor * relevance, relevance)
    target = ("AD", "CN")[number % 2]
    return {"scan": f"sub-{number}", "target": target, "prediction": target, "map": relevance.astype("f4"), **more}


def analyse(run: RunResults, output: Path, **params: Any) -> pd.DataFrame:
    output.mkdir(exist_ok=True)
    create("analysis", "region-figures", **{"brains": False, "bootstrap": 200, **params}).analyse(run, output)
    return pd.read_csv(output / "ranks.tsv", sep="\t", na_values=["n/a"], keep_default_na=False)


class TestRegionFigures(AnalysisConformance):
    name = "region-figures"

    @pytest.fixture(autouse=True)
    def _atlas(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.params = {"atlas": {"image": str(save_atlas(tmp_path_factory.mktemp("atlas")))}}


def test_means_intervals_and_ranks_are_those_of_a_plain_bootstrap() -> None:
    values = np.random.default_rng(0).normal([3.0, -5.0, 1.0, 1.1], 2.0, (25, 4))
    found = ranked(values, resamples=500, confidence=0.9, seed=3)
    # With replacement, all regions of a person together.
    drawn = np.random.default_rng(3).integers(0, 25, (500, 25))
    means = np.array([values[rows].mean(axis=0) for rows in drawn])
    ranks = np.array([stats.rankdata(-np.abs(row), method="min") for row in means])
    assert np.allclose(found["mean"], values.mean(axis=0), rtol=1e-12)
    assert np.allclose(found[["low", "high"]], np.quantile(means, [0.05, 0.95], axis=0).T, rtol=1e-12)
    assert found["rank"].tolist() == stats.rankdata(-np.abs(values.mean(axis=0)), method="min").tolist()
    assert found["rank"].tolist()[1] == 1  # the largest size, though below zero
    expected = np.quantile(ranks, [0.05, 0.95], axis=0)
    assert np.array_equal(found[["rank_low", "rank_high"]], np.stack([np.floor(expected[0]), np.ceil(expected[1])]).T)


def test_an_empty_region_has_no_rank_and_few_people_no_interval() -> None:
    values = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan], [3.0, np.nan, 5.0], [2.0, np.nan, 4.0]])
    found = ranked(values, resamples=100, confidence=0.95, seed=0)
    assert found["people"].tolist() == [4, 0, 3]
    assert found["rank"].tolist()[::2] == [2, 1]
    assert found.loc[1, ["mean", "low", "high", "rank", "rank_low", "rank_high"]].isna().all()
    assert found.loc[2, "mean"] == 4
    assert ranked(values[:2], resamples=100, confidence=0.95, seed=0)[["low", "rank_high"]].isna().all().all()


def test_the_planted_regions_come_out_on_top_of_their_group(
    make_run: Callable[..., RunResults], atlas: dict[str, str], tmp_path: Path
) -> None:
    ranks = analyse(make_run([person(i) for i in range(8)]), tmp_path / "out", atlas=atlas, by="target")
    top = {group: part.sort_values("rank")["region"].tolist() for group, part in ranks.groupby("group")}
    assert top["AD"][:2] == ["Left-A", "Left-B"]
    assert top["CN"][0] == "Right-B"
    assert ranks["people"].unique().tolist() == [4]
    first = ranks[(ranks["group"] == "AD") & (ranks["region"] == "Left-A")].iloc[0]
    assert (first["rank_low"], first["rank_high"], first["hemisphere"]) == (1, 1, "L")
    assert first["low"] < first["mean"] < first["high"]
    caption = (tmp_path / "out" / "lrp_regions.txt").read_text(encoding="utf-8")
    assert "n = 8 people" in caption
    assert "CN n = 4, AD n = 4" in caption
    assert "95% bootstrap intervals" in caption


def test_a_person_with_two_visits_counts_once(
    make_run: Callable[..., RunResults], atlas: dict[str, str], tmp_path: Path
) -> None:
    people = [person(0, subject="a"), person(1, subject="a"), person(2, subject="b")]
    ranks = analyse(make_run(people), tmp_path / "out", atlas=atlas, measure="mean").set_index("region")
    inside = [each["map"][labels() == 1].mean(dtype=float) for each in people]
    assert ranks.loc["Left-A", "people"] == 2
    assert ranks.loc["Left-A", "mean"] == pytest.approx(((inside[0] + inside[1]) / 2 + inside[2]) / 2, rel=1e-6)
    assert "n = 2 people" in (tmp_path / "out" / "lrp_regions.txt").read_text(encoding="utf-8")


def test_brains_are_drawn_for_each_group_with_the_same_colours(
    make_run: Callable[..., RunResults], atlas: dict[str, str], tmp_path: Path
) -> None:
    run = make_run([person(i) for i in range(4)], classes=("CN/a", "CN a", "AD"))
    subjects = pd.read_csv(run.folder / "predictions.tsv", sep="\t")
    subjects["target"] = ["CN/a", "CN a", "CN/a", "CN a"]
    subjects.to_csv(run.folder / "predictions.tsv", sep="\t", index=False)
    analyse(run, tmp_path / "out", atlas=atlas, by="target", brains=True)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == [
        "lrp_regions.png", "lrp_target-CN-a_glass-2.png", "lrp_target-CN-a_glass.png",
        "lrp_target-CN-a_surface-2.png", "lrp_target-CN-a_surface.png",
    ]  # fmt: skip
    for name in names:
        assert (tmp_path / "out" / name).with_suffix(".svg").is_file()
        assert " n = " in (tmp_path / "out" / name).with_suffix(".txt").read_text(encoding="utf-8")


def test_what_cannot_be_drawn_is_said(
    make_run: Callable[..., RunResults], atlas: dict[str, str], tmp_path: Path
) -> None:
    run = make_run([person(i, site=f"site-{i}") for i in range(8)])
    with pytest.raises(InputError, match=r"8 groups \(site-0.*at most 6"):
        analyse(run, tmp_path / "out", atlas=atlas, by="site")
    with pytest.raises(InputError, match=r"no column 'sitee'.*site"):
        analyse(run, tmp_path / "out", atlas=atlas, by="sitee")
    with pytest.raises(ConfigError, match=r"brains.*channel"):
        create("analysis", "region-figures", atlas="desikan-killiany", channel="t1w")
    with pytest.raises(InputError, match="atlas"):
        create("analysis", "region-figures", atlas="no-such-atlas").check_study(run.subjects(), "classification", None)


def test_a_map_without_relevance_is_not_counted(
    make_run: Callable[..., RunResults], tmp_path: Path, atlas: dict[str, str]
) -> None:
    people = [person(i) for i in range(8)]
    people[0]["map"] = np.zeros(SHAPE, "f4")
    found = analyse(make_run(people), tmp_path / "out", atlas=atlas, by="target")
    assert found.groupby("group")["people"].max().to_dict() == {"AD": 3, "CN": 4}
    caption = (tmp_path / "out" / "lrp_regions.txt").read_text()
    assert "CN n = 4, AD n = 3" in caption
    assert "n = 7 people" in caption
