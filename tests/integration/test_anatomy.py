"""Every analysis on runs that were really trained, its numbers against nibabel, NumPy, SciPy and scikit-learn."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import load_mni152_brain_mask
from nilearn.image import resample_to_img
from scipy import stats

from xai_core.cli import main
from xai_core.engine.results import MapRecord, RunResults

PEOPLE = 16

STUDY = """version: 1
name: study
seed: 1
device: cpu
output: .
data:
  name: simulated-atrophy
  params: {folder: data, subjects: 16, groups: [CN, AD], resolution: 8, tissue_maps: true, shape_variation: 0.15}
  transforms: [{name: mni-grid, params: {spacing: 8}}, {name: mni-brain}, {name: z-normalization}]
split: {name: repeated-kfold, params: {folds: 2, repeats: 2, validation: 0}}
model: {name: resnet3d, params: {depth: 10, width: 4, max_pool: false}}
training: {name: lightning, params: {epochs: 1, batch_size: 4, bootstrap: 100}}
explainers: [{name: lrp}, {name: gradcam}]
analyses:
  - {name: region-table, params: {atlas: ATLAS}}
  - {name: region-figures, params: {atlas: ATLAS, by: target, bootstrap: 100, brains: false, explainers: [gradcam]}}
  - name: region-features
    params:
      atlas: ATLAS
      features: [{source: freesurfer, file: "fs/{subject_id}/stats/aseg.stats", measures: [eTIV]}]
      covariates: [age, eTIV]
      methods: [pearson, ols]
      bootstrap: 0
      figures: 1
      explainers: [lrp]
  - {name: map-similarity, params: {feature_map: grey_matter, permutations: 0, explainers: [lrp]}}
  - {name: voxel-features, params: {column: age, permutations: 0, explainers: [lrp]}}
  - name: normative-scores
    params:
      atlas: ATLAS
      features: [{source: freesurfer, file: "fs/{subject_id}/stats/aseg.stats"}]
      covariates: [age]
      minimum_controls: 4
      when: either
      explainers: [lrp]
  - {name: group-maps, params: {explainers: [lrp], statistics: [mean, sd]}}
  - name: group-contrasts
    params:
      contrasts: [{by: target}, {kind: explainers}]
      permutations: 19
      threshold: fdr
      level: 0.5
  - {name: agreement, params: {permutations: 99, resamples: 100, compare: [explainers, folds]}}
"""
NAMES = {1: "Left-Hippocampus", 2: "Right-Hippocampus", 3: "Brain-Stem"}
ASEG = """# Title Segmentation Statistics
# Measure EstimatedTotalIntraCranialVol, eTIV, Estimated Total Intracranial Volume, {etiv}, mm^3
# ColHeaders  Index SegId NVoxels Volume_mm3 StructName normMean
  1  17   4200   {left}  Left-Hippocampus    70.0
  2  53   4300   {right}  Right-Hippocampus   71.0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """A study of 16 people, two repeats of two folds, an atlas of three blocks and FreeSurfer's files."""
    home = tmp_path_factory.mktemp("anatomy")
    labels = np.zeros((46, 54, 46), np.uint8)
    labels[12:21, 24:35, 16:27], labels[24:33, 24:35, 16:27], labels[21:24, 16:24, 9:20] = 1, 2, 3
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = (-89, -125, -82)  # no edge of its voxels is one of the maps'
    nib.save(nib.Nifti1Image(labels, affine), home / "atlas.nii.gz")
    rows = "".join(f"{index}\t{name}\n" for index, name in NAMES.items())
    (home / "atlas.tsv").write_text(f"index\tname\n{rows}")
    drawn = np.random.default_rng(3).normal(size=(25, 3))
    for n in range(1, PEOPLE + 1):
        folder = home / "fs" / f"sub-{n:03d}" / "stats"
        folder.mkdir(parents=True)
        left, right, etiv = 4000 + 300 * drawn[n, 0], 4100 + 300 * drawn[n, 1], 1.5e6 + 1e5 * drawn[n, 2]
        (folder / "aseg.stats").write_text(ASEG.format(left=left, right=right, etiv=etiv))
    (home / "study.yaml").write_text(STUDY.replace("ATLAS", "{image: atlas.nii.gz}"))
    with pytest.raises(SystemExit) as caught:
        main(["run", str(home / "study.yaml")])
    assert not caught.value.code
    return RunResults(home / "study")


def table(run: RunResults, name: str) -> pd.DataFrame:
    kept = {"subject_id": str, "session_id": str}
    path = run.folder / "analysis" / name
    return pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False, dtype=kept)


def caption(run: RunResults, name: str) -> str:
    return (run.folder / "analysis" / name).read_text()


def data(record: MapRecord) -> np.ndarray:
    return np.asarray(nib.load(record.path).dataobj, dtype=np.float64)


def volume(run: RunResults, name: str) -> np.ndarray:
    return np.asarray(nib.load(run.folder / "analysis" / name).dataobj, dtype=np.float64)


def by_person(run: RunResults, explainer: str, *, shares: bool) -> dict[str, np.ndarray]:
    """The mean of a person's maps; ``shares``: each divided by its sum of absolute values, empty ones left out."""
    found: dict[str, list[np.ndarray]] = {}
    for record in run.maps(explainer):
        values = data(record)
        size = np.abs(values).sum() if shares else 1.0
        if size > 0:
            found.setdefault(record.subject_id, []).append(values / size)
    return {person: np.mean(each, axis=0) for person, each in found.items()}


def brain(run: RunResults) -> np.ndarray:
    grid, template = nib.load(run.maps("lrp")[0].path), load_mni152_brain_mask(resolution=1)
    moved = resample_to_img(template, grid, "nearest", force_resample=True, copy_header=True)
    return np.asarray(moved.dataobj) > 0


def people(run: RunResults) -> pd.DataFrame:
    return run.subjects().set_index("subject_id")


def overlaps(run: RunResults) -> dict[str, np.ndarray]:
    """How much of each voxel of the maps lies in each block of the atlas: its 512 mm3 in points of 1 mm."""
    atlas = nib.load(run.folder.parent / "atlas.nii.gz")
    labels = np.asarray(atlas.dataobj)
    grid = nib.load(run.maps("lrp")[0].path)
    ticks = [np.arange(-0.5 + 1 / 16, n - 0.5, 1 / 8) for n in grid.shape[:3]]
    points = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)
    across = np.linalg.inv(atlas.affine) @ grid.affine
    index = np.rint(points @ across[:3, :3].T + across[:3, 3]).astype(int)
    inside = ((index >= 0) & (index < labels.shape)).all(axis=-1)
    value = np.where(inside, labels[tuple(np.clip(index, 0, np.array(labels.shape) - 1)[..., k] for k in range(3))], 0)
    blocks = [size for n in grid.shape[:3] for size in (n, 8)]
    return {name: (value == number).reshape(blocks).mean(axis=(1, 3, 5)) for number, name in NAMES.items()}


def test_the_rows_of_a_map_add_up_to_it_and_are_those_of_the_atlas(run: RunResults) -> None:
    found = table(run, "region-table/regions.tsv")
    assert len(found) == 2 * 2 * PEOPLE * 4  # explainers, maps, regions and what is outside of them
    shares = overlaps(run)
    for record in run.maps("lrp")[::7]:
        mine = found[(found["scan_id"] == record.scan_id) & (found["fold"] == record.fold)]
        mine = mine[mine["explainer"] == "lrp"].set_index("region")
        values = data(record)
        assert mine["sum"].sum() == pytest.approx(values.sum(), abs=1e-5 * np.abs(values).sum())
        for name, share in shares.items():
            assert mine.loc[name, "sum"] == pytest.approx((values * share).sum(), rel=1e-4, abs=1e-7)
            assert mine.loc[name, "volume"] == pytest.approx(share.sum() * 512, rel=1e-5)


def region_values(run: RunResults, measure: str) -> pd.DataFrame:
    """One row for each person, one column for each region; of maps that have the measure."""
    found = table(run, "region-table/regions.tsv")
    found = found[(found["explainer"] == "lrp") & found["region"].isin(NAMES.values())]
    return found.groupby(["subject_id", "region"])[measure].mean().unstack()


def volumes(run: RunResults) -> pd.DataFrame:
    rows = {}
    for path in sorted((run.folder.parent / "fs").glob("*/stats/aseg.stats")):
        text = path.read_text()
        found = re.findall(r"([\d.]+)  (Left|Right)-Hippocampus", text)
        row = {f"{side}-Hippocampus": float(value) for value, side in found}
        rows[path.parents[1].name.removeprefix("sub-")] = row | {"eTIV": float(text.split("Volume, ")[1].split(",")[0])}
    return pd.DataFrame.from_dict(rows, orient="index")


def test_relations_to_freesurfers_volumes(run: RunResults) -> None:
    found = table(run, "region-features/associations.tsv")
    relevance, features = region_values(run, "size_corrected"), volumes(run)
    age = people(run)["age"]
    assert set(found["people"]) == {PEOPLE}
    for region in ("Left-Hippocampus", "Right-Hippocampus"):
        y, x = relevance[region], features.loc[relevance.index, region]
        mine = found[(found["region"] == region) & (found["feature"] == "Volume_mm3")].set_index("method")
        theirs = stats.pearsonr(x, y)
        assert mine.loc["pearson", "estimate"] == pytest.approx(theirs.statistic, abs=1e-9)
        assert mine.loc["pearson", "p"] == pytest.approx(theirs.pvalue, abs=1e-9)
        design = np.column_stack([np.ones(PEOPLE), x, age[relevance.index], features.loc[relevance.index, "eTIV"]])
        slope, squares, *_ = np.linalg.lstsq(design / np.abs(design).max(0), y, rcond=None)
        assert mine.loc["ols", "slope"] == pytest.approx(slope[1] / x.abs().max(), rel=1e-6)
        errors = np.linalg.inv(design.T @ design)[1, 1] * squares[0] / (PEOPLE - 4)
        t = mine.loc["ols", "slope"] / np.sqrt(errors)
        assert mine.loc["ols", "p"] == pytest.approx(2 * stats.t.sf(abs(t), PEOPLE - 4), rel=1e-5)
    folder = run.folder / "analysis" / "region-features"
    assert {path.name for path in folder.glob("*_matrix.png")} == {"lrp_pearson_matrix.png", "lrp_ols_matrix.png"}
    assert len(list(folder.glob("lrp_*_1.png"))) == 1  # of the first method
    assert f"n = {PEOPLE} people" in caption(run, "region-features/lrp_pearson_matrix.txt")


def test_w_scores_against_the_controls_of_the_training_part(run: RunResults) -> None:
    scores = table(run, "normative-scores/scores.tsv")
    assert len(scores) == 2 * PEOPLE * 2  # each person in two repeats, two regions with a volume
    who, features, splits = people(run), volumes(run), run.splits()
    regions = table(run, "region-table/regions.tsv")
    regions = regions[regions["explainer"] == "lrp"].set_index(["scan_id", "fold", "region"])["share"]
    tested = run.predictions()
    for row in scores.iloc[::11].to_dict("records"):
        part = splits[(splits["fold"] == row["fold"]) & (splits["part"] == "train")]["subject_id"].astype(str)
        controls = [person for person in part if who.loc[person, "target"] == "CN"]
        line = stats.linregress(who.loc[controls, "age"], features.loc[controls, row["region"]])
        expected = line.intercept + line.slope * who.loc[controls, "age"]
        spread = np.sqrt(((features.loc[controls, row["region"]] - expected) ** 2).sum() / (len(controls) - 2))
        here = line.intercept + line.slope * who.loc[row["subject_id"], "age"]
        assert row["controls_fitted"] == len(controls)
        assert row["w"] == pytest.approx((features.loc[row["subject_id"], row["region"]] - here) / spread, rel=1e-6)
        folds = splits[splits["repeat"] == row["repeat"]]["fold"].unique()
        others = tested[(tested["target"] == "CN") & tested["fold"].isin(folds)]
        others = others[others["subject_id"].astype(str) != row["subject_id"]]
        keys = list(zip(others["scan_id"], others["fold"], strict=True))
        values = np.array([regions[scan, fold, row["region"]] for scan, fold in keys])
        mine = regions[row["scan_id"], row["fold"], row["region"]]
        assert row["reference_controls"] == np.isfinite(values).sum()
        assert row["controls_as_high"] == (values >= mine).sum()
        output = {(record.scan_id, record.fold): record.sidecar["target_name"] for record in run.maps("lrp")}
        alike = [output[key] == row["explains"] for key in keys]
        assert row["explains"] == output[row["scan_id"], row["fold"]]
        assert row["reference_same_output"] == np.sum(alike)


def test_contrasts_are_those_of_scipy_and_say_over_what_they_are_corrected(run: RunResults) -> None:
    found = table(run, "group-contrasts/contrasts.tsv").set_index(["explainer", "contrast"])
    assert len(found) == 3
    maps = {name: by_person(run, name, shares=True) for name in ("lrp", "gradcam")}
    target = people(run)["target"]
    mask = brain(run)
    for name, mine in maps.items():
        ill, well = ([each for person, each in mine.items() if target[person] == group] for group in ("AD", "CN"))
        row = found.loc[(name, "target-AD-minus-CN")]
        assert (row["n_first"], row["n_second"], row["n"]) == (len(ill), len(well), len(ill) + len(well))
        theirs = stats.ttest_ind(ill, well, equal_var=False)
        t = volume(run, f"group-contrasts/{name}_target-AD-minus-CN_t.nii.gz")
        tested = t != 0
        assert tested.sum() == row["voxels"]
        assert not (tested & ~mask).any()
        np.testing.assert_allclose(t[tested], theirs.statistic[tested], rtol=1e-3, atol=1e-4)
        p = 10.0 ** -volume(run, f"group-contrasts/{name}_target-AD-minus-CN_logp-fdr.nii.gz")
        known = stats.false_discovery_control(theirs.pvalue[tested])
        np.testing.assert_allclose(p[tested], known, rtol=2e-3)
        text = caption(run, f"group-contrasts/{name}_target-AD-minus-CN_t.txt")
        assert f"n = {len(mine)} people" in text
        assert "Welch" in text
        assert f"Corrected over the {tested.sum()} voxels of this contrast of {name}, not the 3 contrasts" in text
        assert row["least_p_fwe_all"] == pytest.approx(min(1.0, 3 * row["least_p_fwe"]))
    both = sorted(set(maps["lrp"]) & set(maps["gradcam"]))
    differences = [maps["lrp"][person] - maps["gradcam"][person] for person in both]
    t = volume(run, "group-contrasts/lrp-minus-gradcam_t.nii.gz")
    theirs = stats.ttest_1samp(differences, 0).statistic
    np.testing.assert_allclose(t[t != 0], theirs[t != 0], rtol=1e-3, atol=1e-4)


def test_group_maps_voxels_and_similarity(run: RunResults) -> None:
    target = people(run)["target"]
    rows = table(run, "group-maps/group-maps.tsv")
    assert sorted(rows["statistic"]) == ["mean", "mean", "sd", "sd"]
    assert set(rows["group"]) == {"CN", "AD"}
    assert set(rows["n"]) == set(rows["people"]) == {PEOPLE // 2}
    counts = [sum(map(int, re.findall(r"\d+", text))) for text in rows["explained"]]
    assert set(counts) == {PEOPLE}  # two maps of each scan
    mine = [data(record) for record in run.maps("lrp") if target[record.subject_id] == "AD"]
    (path,) = (run.folder / "analysis/group-maps").glob("lrp_target-AD.nii.gz")
    np.testing.assert_allclose(nib.load(path).get_fdata(), np.mean(mine, axis=0), rtol=1e-4, atol=1e-9)

    maps = by_person(run, "lrp", shares=False)
    values, age = np.stack(list(maps.values())), people(run).loc[list(maps), "age"].to_numpy(float)
    (path,) = (run.folder / "analysis/voxel-features").glob("lrp_age_r.nii.gz")
    r = nib.load(path).get_fdata()
    left = values - values.mean(0)
    with np.errstate(invalid="ignore"):
        known = np.tensordot(age - age.mean(), left, 1) / np.sqrt(((age - age.mean()) ** 2).sum() * (left**2).sum(0))
    np.testing.assert_allclose(r[r != 0], known[r != 0], rtol=1e-3, atol=1e-5)
    assert table(run, "voxel-features/voxel-features.tsv")["people"].tolist() == [PEOPLE]

    scores = table(run, "map-similarity/scores.tsv")
    assert len(scores) == 2 * PEOPLE


def test_agreement_of_explainers_and_networks(run: RunResults) -> None:
    pairs = table(run, "agreement/pairs.tsv")
    assert pairs["comparison"].value_counts().to_dict() == {"explainers": 2 * PEOPLE, "folds": 2 * PEOPLE}
    inside = brain(run)
    maps = {(record.explainer, record.scan_id, record.fold): data(record)[inside] for record in run.maps()}
    for row in pairs.iloc[::9].to_dict("records"):
        names = (row["a"], row["b"]) if row["comparison"] == "explainers" else (row["explainer"],) * 2
        one, two = (maps[n, row[f"scan_{k}"], row[f"fold_{k}"]] for n, k in zip(names, "ab", strict=True))
        if one.any() and two.any():
            assert row["voxels"] == inside.sum()
            assert row["pearson"] == pytest.approx(np.corrcoef(one, two)[0, 1], abs=1e-6)
            assert row["spearman"] == pytest.approx(stats.spearmanr(one, two).statistic, abs=1e-6)


def test_every_caption_has_its_number_of_people(run: RunResults) -> None:
    """Some maps of Grad-CAM may be zero everywhere: they have no shares, and the caption must not count them."""
    found = table(run, "region-table/regions.tsv")
    shares = found[(found["explainer"] == "gradcam") & (found["region"] == "Left-Hippocampus")]
    known = shares.groupby("subject_id")["share"].apply(lambda each: each.notna().any())
    ranks = table(run, "region-figures/ranks.tsv")
    assert ranks.groupby("group")["people"].max().sum() == known.sum()
    assert f"n = {known.sum()} people" in caption(run, "region-figures/gradcam_regions.txt")
    captions = sorted((run.folder / "analysis").rglob("*.txt"))
    assert len(captions) > 8
    for path in captions:
        text = path.read_text()
        assert re.search(r"n = (\d+)( to \d+)? (people|scans|maps|pairs|regions)", text), (path.name, text)
