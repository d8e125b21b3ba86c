"""``xai ensemble`` on small runs with several seeds, and what forbids to join runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from xai_core import Fold, InputError, Pipeline, registry
from xai_core.config.strictyaml import dump
from xai_core.engine.ensemble import Combine, join_runs
from xai_core.engine.progress import log
from xai_core.testing._toys import TOY_PIPELINE, ToySplitter, register_toys, write_toy_study

HELD = ("a10", "b11")


class Splits(ToySplitter):
    """Two folds; the last pair is held out. ``swapped`` exchanges two people of the test parts."""

    swapped: ClassVar[bool] = False

    def split(self, table: Any, seed: int) -> Sequence[Fold]:
        del seed
        people = [p for p in sorted(dict.fromkeys(table["subject_id"]), key=lambda p: int(p[1:])) if p not in HELD]
        half = len(people) // 2
        first, second = people[:half], people[half:]
        if self.swapped:
            first[0], second[-2] = second[-2], first[0]
        return [Fold(tuple(second), (), tuple(first), HELD), Fold(tuple(first), (), tuple(second), HELD)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A study with the runs ``s1``, ``s2`` and ``s3``, that differ in their seeds."""
    folder = tmp_path_factory.mktemp("ensemble")
    register_toys()
    registry.register("splitter", "toy", Splits)
    write_toy_study(folder / "study", people=12)
    (folder / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    before = log.propagate, log.level, list(log.handlers)
    for seed in (1, 2, 3):
        Pipeline.from_file(folder / "toy.yaml", [f"seed={seed}"], name=f"s{seed}").run()
    yield folder
    log.propagate, log.level, log.handlers[:] = before
    register_toys()


@pytest.fixture
def study(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs, to be changed; the study's scans are where they were."""
    registry.register("splitter", "toy", Splits)
    monkeypatch.setattr(Splits, "swapped", False)
    shutil.copytree(made / "results", tmp_path / "results")
    return tmp_path / "results"


def runs(study: Path, *names: str) -> list[Path]:
    return [study / name for name in names or ("s1", "s2", "s3")]


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_the_members_vote(study: Path) -> None:
    found = join_runs(runs(study), study / "all")
    tables = [Pipeline.from_folder(run).results.predictions().set_index("scan_id") for run in runs(study)]
    predictions = found.predictions().set_index("scan_id")
    assert set(predictions.index) == set(tables[0].index)
    for name in ("a", "b"):
        expected = sum(table[f"probability_{name}"].loc[predictions.index] for table in tables) / 3
        np.testing.assert_allclose(predictions[f"probability_{name}"], expected)
    assert (predictions["prediction"] == np.where(predictions["probability_b"] > 0.5, "b", "a")).all()
    assert (predictions["fold"] == tables[0]["fold"].loc[predictions.index]).all()
    scores = found.metrics()
    assert len(scores["folds"]) == 2
    assert set(scores["members"]) == {"s1", "s2", "s3"}
    right = (predictions["prediction"] == predictions["target"]).mean()
    assert scores["test"]["accuracy"]["value"] == pytest.approx(right)
    members = pd.read_csv(found.folder / "members.tsv", sep="\t")
    assert all(list(own) == ["s1", "s2", "s3"] for _, own in members.groupby("scan_id")["member"])


def test_the_held_out_cohort_is_voted_on_by_all_networks(study: Path) -> None:
    found = join_runs(runs(study), study / "all", Combine(weights=(2, 1, 1)))
    ensemble = pd.read_csv(found.folder / "held-out" / "ensemble.tsv", sep="\t").set_index("scan_id")
    tables = [Pipeline.from_folder(run).results.held_out_predictions() for run in runs(study)]
    means = [table.groupby("scan_id")["probability_b"].mean() for table in tables]
    expected = (2 * means[0] + means[1] + means[2]) / 4
    np.testing.assert_allclose(ensemble["probability_b"], expected.loc[ensemble.index])
    assert set(ensemble.index) == {"sub-a10", "sub-b11"}
    assert "ensemble" in found.held_out_metrics()


def test_maps_explain_the_class_that_is_voted_for(study: Path) -> None:
    """Where a member's own map explains another class, its network is asked again."""
    found = join_runs(runs(study), study / "all")
    predictions = found.predictions().set_index("scan_id")
    records = found.maps()
    assert len(records) == len(predictions)
    again = 0
    for record in records:
        row = predictions.loc[record.scan_id]
        assert record.sidecar["target_name"] == row["prediction"]
        expected = []
        for run in runs(study):
            image = study.parent / "unused" if record.image is None else record.image
            one = Pipeline.from_folder(run).explain(image, target=row["prediction"], fold=record.fold)["toy"]
            expected.append(np.asarray(one.image.dataobj))
        again += sum(member["made_again"] for member in record.sidecar["ensemble"]["members"])
        maps = np.stack(expected).astype(np.float64)
        np.testing.assert_allclose(values(record.path), maps.mean(0), atol=1e-7)
        beside = {
            name: values(record.path.with_name(record.path.name.replace("Mean_relevance", f"{name}_statmap")))
            for name in ("Median", "Sd", "Agreement")
        }
        np.testing.assert_allclose(beside["Median"], np.median(maps, axis=0), atol=1e-7)
        np.testing.assert_allclose(beside["Sd"], maps.std(0, ddof=1), atol=1e-7)
        np.testing.assert_allclose(beside["Agreement"], np.maximum((maps > 0).sum(0), (maps < 0).sum(0)) / 3, atol=1e-6)
        assert record.image is not None
        np.testing.assert_allclose(nib.load(record.path).affine, nib.load(record.image).affine)
        sums = [member["sum_of_relevance"] for member in record.sidecar["ensemble"]["members"]]
        assert record.sidecar["sum_of_relevance"] == pytest.approx(np.mean(sums))
    assert again > 0, "no member voted against the others: the case is not tested"


def test_the_folder_reads_like_a_run_and_is_no_run(study: Path) -> None:
    found = join_runs(runs(study), study / "all")
    assert (found.folder / "analysis" / "toy" / "sums.tsv").read_text().count("\n") == 11
    assert (found.folder / "report" / "index.txt").read_text() == "10 maps\n"
    for use in (
        lambda: Pipeline.from_folder(found.folder),
        lambda: join_runs([found.folder, study / "s1"], study / "x"),
    ):
        with pytest.raises(InputError, match="is an ensemble"):
            use()
    with pytest.raises(InputError, match="is an ensemble"):
        Pipeline(found.config).run()
    assert not (study / "x").exists()


def test_the_way_to_mni_space_is_kept(study: Path) -> None:
    """Scans that a member registered: without the way their mean map would pass for one in MNI space."""
    matrix = np.diag([1.0, 2, 3, 1]).tolist()
    for path in (study / "s2" / "derivatives").rglob("*_relevance.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "to_mni": matrix}))
    joined = join_runs(runs(study), study / "all")
    assert joined.maps()
    assert all(record.sidecar["to_mni"] == matrix for record in joined.maps())


def test_a_second_call_makes_nothing_again(study: Path) -> None:
    first = join_runs(runs(study), study / "all")
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*.nii.gz")}
    assert len(before) == 40
    join_runs(runs(study), study / "all")
    assert {path: path.stat().st_mtime_ns for path in first.folder.rglob("*.nii.gz")} == before
    with pytest.raises(InputError, match="other members or another vote"):
        join_runs(runs(study), study / "all", Combine("median"))
    with pytest.raises(InputError, match="is no ensemble"):
        join_runs(runs(study), study / "s1")


def test_the_median_votes(study: Path) -> None:
    found = join_runs(runs(study), study / "all", Combine("median"), reports=False)
    assert not (found.folder / "report").exists()
    tables = [Pipeline.from_folder(run).results.predictions().set_index("scan_id") for run in runs(study)]
    predictions = found.predictions().set_index("scan_id")
    stacked = np.stack([table["probability_b"].loc[predictions.index] for table in tables])
    np.testing.assert_allclose(predictions["probability_b"], np.median(stacked, axis=0))
    assert all(record.path.name.endswith("desc-toyMedian_relevance.nii.gz") for record in found.maps())
    assert len(list(found.folder.rglob("*desc-toyMean_statmap.nii.gz"))) == 10


def refused(study: Path, *names: str, combine: Combine | None = None) -> str:
    with pytest.raises(InputError) as caught:
        join_runs(runs(study, *names), study / "all", combine)
    assert not (study / "all").exists()
    return str(caught.value)


def test_a_leak_between_members_is_refused(made: Path, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Splits, "swapped", True)
    Pipeline.from_file(made / "toy.yaml", ["seed=4"], name="s4", output=str(study)).run("train")
    said = refused(study, "s1", "s4")
    assert "A leak: fold 0 of s1 tests a0, on whom fold 0 of s4 was trained or validated" in said
    assert "A leak: fold 0 of s4 tests a8, on whom fold 0 of s1" in said
    assert "in different folds (sub-a0, sub-a8)" in said


def edit(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)).to_csv(path, sep="\t", index=False)


def test_all_that_differs_is_told_at_once(study: Path) -> None:
    edit(study / "s2" / "predictions.tsv", lambda t: t.assign(target=["b", *t["target"][1:]]).iloc[:-1])
    said = refused(study, "s1", "s2", "s3")
    assert "s1 and s2 tested different scans (only s1: sub-" in said
    assert "s1 and s2 differ in the target of 1 scans (sub-a0)" in said


def test_one_image_under_two_ids_is_refused(study: Path) -> None:
    path = study / "s2" / "run.json"
    info = json.loads(path.read_text())
    info["hashes"]["sub-a0"], info["hashes"]["sub-a8"] = info["hashes"]["sub-a8"], info["hashes"]["sub-a0"]
    path.write_text(json.dumps(info))
    assert "belong to other people in s1 than in s2: a0 = a8, a8 = a0" in refused(study)


def test_a_copy_has_no_vote(study: Path) -> None:
    shutil.copytree(study / "s1", study / "copy")
    assert "s1 and copy predict exactly the same" in refused(study, "s1", "copy")
    assert "one and the same run" in refused(study, "s1", "s1")
    assert "two members or more" in refused(study, "s1")
    assert "no-such-run is not a run folder" in refused(study, "s1", "no-such-run")


def test_other_classes_other_grids_other_methods_and_missing_maps(study: Path) -> None:
    path = study / "s2" / "run.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"classes": ["a", "c"]}))
    assert "s1 is a classification of a, b; s2 is a classification of a, c" in refused(study, "s1", "s2")
    path.write_text(text)

    resolved = study / "s3" / "pipeline.resolved.yaml"
    one = next((study / "s3" / "derivatives").rglob("*.nii.gz"))
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), one)
    said = refused(study)
    assert "the map of s3 is not on the grid of s1's (4 x 4 x 4 for 9 x 10 x 8 voxels)" in said
    one.unlink()
    assert f"{one} is missing" in refused(study)
    registry.register("explainer", "other", registry.get("explainer", "toy"))
    config = Pipeline.from_folder(study / "s3").config
    config["explainers"][0]["name"] = "other"
    resolved.write_text(dump(config), encoding="utf-8")
    assert "The explainer 'toy' is not the same method" in refused(study)


def test_a_damaged_map_is_told(study: Path) -> None:
    votes = pd.concat([Pipeline.from_folder(run).results.predictions() for run in runs(study)])
    mean = votes.groupby("scan_id")["probability_b"].mean()
    records = Pipeline.from_folder(study / "s3").results.maps()
    one = next(r for r in records if r.sidecar["target_name"] == ("b" if mean[r.scan_id] > 0.5 else "a")).path
    image = nib.load(one)
    broken = np.asarray(image.dataobj).copy()
    broken[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(broken, image.affine, image.header), one)
    with pytest.raises(InputError, match=r"member 3 holds NaN.*Maps: "):
        join_runs(runs(study), study / "all")
    one.write_bytes(one.read_bytes()[:500])
    with pytest.raises(InputError, match=one.name):
        join_runs(runs(study), study / "all")


def test_a_scan_that_changed_is_not_explained_again(study: Path) -> None:
    """The map would be of another image than the prediction."""
    for run in runs(study):
        info = json.loads((run / "run.json").read_text())
        info["hashes"] = {name: f"other{digest}" for name, digest in info["hashes"].items()}
        (run / "run.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="is not what it was when the run was made"):
        join_runs(runs(study), study / "all")


@pytest.mark.parametrize(
    ("combine", "said"),
    [
        (Combine(weights=(1, 2)), "2 weights for 3 members"),
        (Combine(weights=(1, 0, 2)), "must be positive"),
        (Combine(weights=(1, float("nan"), 2)), "must be positive"),
        (Combine("median", weights=(1, 1, 1)), "A median has no weights"),
    ],
)
def test_wrong_weights(study: Path, combine: Combine, said: str) -> None:
    assert said in refused(study, combine=combine)


def test_the_command(study: Path, xai: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = xai("ensemble", *runs(study), "--output", study / "all", "--normalise", "sum", "--json")
    assert code == 0, err
    assert json.loads(out)["maps"] == 10
    found = next((study / "all").rglob("*Mean_relevance.json"))
    divisors = [member["divided_by"] for member in json.loads(found.read_text())["ensemble"]["members"]]
    assert min(divisors) > 0
    assert divisors != [1, 1, 1]
    code, _, err = xai("ensemble", *runs(study), "--output", study / "x", "--weights", "a,b")
    assert (code, "no numbers" in err) == (2, True)


def test_all_folds_of_a_run_vote_on_a_scan(study: Path, made: Path, xai: Callable[..., tuple[int, str, str]]) -> None:
    pipeline = Pipeline.from_folder(study / "s1")
    image = made / "study" / "a10.nii.gz"
    own = [pipeline.predict(image, fold) for fold in (0, 1)]
    voted = pipeline.predict(image, "all")
    assert voted["probability_b"] == pytest.approx((own[0]["probability_b"] + own[1]["probability_b"]) / 2)
    assert voted["folds"] == [0, 1]
    found = pipeline.explain(image, fold="all")["toy"]
    assert found.sidecar["target_name"] == voted["prediction"]
    explained = [pipeline.explain(image, target=voted["prediction"], fold=fold)["toy"] for fold in (0, 1)]
    maps = np.stack([np.asarray(one.image.dataobj) for one in explained]).astype(float)
    np.testing.assert_allclose(np.asarray(found.image.dataobj), maps.mean(0), atol=1e-7)
    np.testing.assert_allclose(np.asarray(found.statistics["sd"][0].dataobj), maps.std(0, ddof=1), atol=1e-7)
    correlation = np.corrcoef(*maps[:, (maps != 0).any(0)])[0, 1]
    assert found.sidecar["ensemble"]["mean_pairwise_pearson"] == pytest.approx(correlation)
    # As that of one fold it draws itself over the scan.
    assert found.to_nifti() is found.image
    drawn, of_one = found.plot().axes[2].images, explained[0].plot().axes[2].images
    assert len(drawn) == len(of_one) == 2
    assert "toy" in found.plot()._suptitle.get_text()

    code, _, err = xai("explain", study / "s1", "--image", image, "--fold", "all", "--output", study / "one")
    assert code == 0, err
    names = {path.name for path in (study / "one").glob("*.nii.gz")}
    assert names == {
        "a10_desc-toyMean_relevance.nii.gz", "a10_desc-toyMedian_statmap.nii.gz", "a10_desc-toySd_statmap.nii.gz",
        "a10_desc-toyAgreement_statmap.nii.gz",
    }  # fmt: skip
    code, out, _ = xai("predict", study / "s1", "--image", image, "--fold", "all", "--json")
    assert (code, json.loads(out)[0]["fold"]) == (0, "all")
    assert xai("predict", study / "s1", "--image", image, "--fold", "every")[0] == 2


def test_all_folds_refuse_people_that_one_of_them_was_trained_on(study: Path, made: Path) -> None:
    pipeline = Pipeline.from_folder(study / "s1")
    image = made / "study" / "a0.nii.gz"  # tested by one fold, trained on by the other
    for use in (pipeline.predict, pipeline.explain):
        with pytest.raises(InputError, match="was trained or validated on"):
            use(image, fold="all")
    assert pipeline.predict(image, "all", allow_training_people=True)["seen_in_training"] is True
    assert pipeline.explain(image, fold="all", allow_training_people=True)["toy"].sidecar["seen_in_training"] is True
    shutil.rmtree(study / "s1" / "fold-1")
    with pytest.raises(InputError, match="1 trained folds"):
        pipeline.predict(image, "all")
