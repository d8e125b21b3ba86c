"""The page of a person: where the prediction lies, regions against controls, what is known against trusting it."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import spearmanr

from xai_core import InputError
from xai_core.registry import create
from xai_reports_html._agreement import agreement, agreement_rows
from xai_reports_html._decisions import decisions
from xai_reports_html._page import write_person
from xai_reports_html._roster import roster
from xai_reports_html._strip import Strips
from xai_reports_html._volumes import coarse, reoriented


def table(**columns):
    n = len(next(iter(columns.values())))
    rows = {"fold": 0, "scan_id": [f"sub-{i}" for i in range(n)], "subject_id": [str(i) for i in range(n)], **columns}
    return pd.DataFrame(rows)


def three_by_three(**more):
    p = [0.1, 0.3, 0.6, 0.2, 0.8, 0.9]
    return table(
        target=["CN"] * 3 + ["AD"] * 3, prediction=["CN", "CN", "AD", "CN", "AD", "AD"],
        probability_CN=[1 - v for v in p], probability_AD=p, **more,
    )  # fmt: skip


def words(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    bare = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]+>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(bare))


def save(table, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")


def with_analysis(run, **tables):
    folder = run.folder / "analysis" / "regions"
    for name, found in tables.items():
        save(found, folder / f"{name}.tsv")
    path = run.folder / "pipeline.resolved.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"analyses": [{"id": "regions", "name": "region-table", "params": {}}]}))
    return run


def person(run, scan, folder, **params):
    folder.mkdir(exist_ok=True)
    return words(write_person(run, scan, folder, create("report", "html", **{"mosaic": 0, **params})))


class TestRoster:
    def test_values_far_below_one(self):
        """A target such as 0.00003 is neither shown as 0.00 nor sorted as if it were."""
        rows = table(target=[3e-5, 1.1e-5, 1.2e-9], prediction=[1e-5, 1.2e-5, 2.3e-9])
        found = roster(decisions(rows, None, 0.7), rows[["scan_id", "subject_id", "target"]], {}, {}, {}, None)
        by_key = {column.key: column for column in found.columns}
        assert [by_key["gap"].shown(row) for row in range(3)] == ["-0.0000200", "0.0000010", "0.0000000"]
        (target,) = [i for i, column in enumerate(found.columns) if column.key == "target"]
        assert [row[target] for row in found.data()["rows"]] == [3e-5, 1.1e-5, 1.2e-9]
        strip = Strips(decisions(rows, None, 0.7), None).of(decisions(rows, None, 0.7)[0])
        assert strip["value"] == "-0.0000200"

    def test_large_values_keep_their_figures(self, make_run, tmp_path):
        run = make_run(regression=True)
        save(run.predictions().assign(target=-3241600.0, prediction=-3155200.25), run.folder / "predictions.tsv")
        assert "true -3241600.00 predicted -3155200.25 error +86399.75" in person(run, "sub-01", tmp_path / "page")

    def test_a_covariate_called_as_a_column_of_the_report(self):
        rows = three_by_three()
        subjects = rows[["scan_id", "subject_id", "target"]].assign(remarks=list("aabbcc"), decision=[1, 1, 1, 1, 1, 2])
        found = roster(decisions(rows, ("CN", "AD"), 0.7), subjects, {}, {("sub-1", 0): ["x"]}, {}, ("CN", "AD"))
        shown = found.table()
        assert shown["remarks"].tolist() == [0, 1, 0, 0, 0, 0]
        assert shown["decision"].tolist() == ["correct", "correct", "wrong", "wrong", "correct", "correct"]
        assert shown["covariate_remarks"].tolist() == list("aabbcc")
        assert len({column.key for column in found.columns}) == len(found.columns)


class TestDecisions:
    def test_calibrated_probabilities_decide_what_is_unsure(self):
        plain = decisions(three_by_three(), ("CN", "AD"), 0.65)
        assert [one.unsure for one in plain] == [False, False, True, False, False, False]
        calibrated = {"calibrated_CN": [0.6, 0.7, 0.4, 0.9, 0.3, 0.2], "calibrated_AD": [0.4, 0.3, 0.6, 0.1, 0.7, 0.8]}
        found = decisions(three_by_three(**calibrated), ("CN", "AD"), 0.65)
        assert [one.unsure for one in found] == [True, False, True, False, False, False]
        assert found[0].certainty == 0.6

    def test_half_known_probabilities_are_not_known(self):
        rows = three_by_three()
        rows.loc[0, "probability_AD"] = np.nan
        first, second, *_ = decisions(rows.assign(seen_in_training=["True", *["n/a"] * 5]), ("CN", "AD"), 0.7)
        assert (first.probabilities, first.certainty, first.unsure, first.seen) == ({}, None, False, True)
        assert second.probabilities
        assert not second.seen

    def test_classes_that_tables_turn_into_numbers(self):
        rows = table(target=[1, 2], prediction=[1, 1], probability_01=[0.9, 0.8], probability_02=[0.1, 0.2])
        found = decisions(rows, ("01", "02"), 0.7)
        assert [(one.true, one.predicted, one.correct, one.certainty) for one in found] == [
            ("01", "01", True, 0.9), ("02", "01", False, 0.8),
        ]  # fmt: skip


class TestStrip:
    def test_counts_the_others(self):
        """sub-2 is CN with 0.6: no other CN is above it, and of AD 0.8 and 0.9 are."""
        found = decisions(three_by_three(), ("CN", "AD"), 0.7)
        strip = Strips(found, ("CN", "AD")).of(found[2])
        assert strip["lines"] == [
            "CN: higher in 0 of 2 test scans of other people.", "AD: higher in 2 of 3 test scans of other people.",
        ]  # fmt: skip
        assert strip["value"] == "0.600"
        assert "not calibrated" in strip["caption"]

    def test_place_on_the_strip(self):
        """From 96 to 590: 0.6 lies at 96 + 0.6 * 494."""
        found = decisions(three_by_three(), ("CN", "AD"), 0.7)
        svg = str(Strips(found, ("CN", "AD")).of(found[2])["svg"])
        assert f'class="own" d="M{96 + 0.6 * 494:.1f} ' in svg
        ticks = re.findall(r'class="ticks[^"]*" d="([^"]*)"', svg)
        assert [len(path.split("M")) - 1 for path in ticks] == [2, 3], "the person is no tick"

    def test_of_several_classes_the_predicted_one(self):
        p = {"a": [0.6, 0.2, 0.1], "b": [0.3, 0.5, 0.2], "c": [0.1, 0.3, 0.7]}
        rows = table(target=list("abc"), prediction=list("abc"), **{f"probability_{k}": v for k, v in p.items()})
        found = decisions(rows, tuple("abc"), 0.7)
        strip = Strips(found, tuple("abc")).of(found[1])
        assert strip["value"] == "0.500"
        assert strip["lines"][0] == "a: higher in 0 of 1 test scans of other people."
        assert strip["lines"][1] == "b: no test scan of other people."

    def test_regression_and_repeats(self):
        """Each repeat tests the same people again: a person is compared within one."""
        rows = table(target=[60.0, 70.0, 80.0], prediction=[62.0, 69.0, 83.0])
        both = pd.concat([rows.assign(repeat=0), rows.assign(repeat=1, fold=1, prediction=[70.0, 69.0, 80.0])])
        found = decisions(both, None, 0.7)
        first = next(one for one in found if one.key == ("sub-0", 0))
        assert Strips(found, None).of(first)["lines"] == [
            "all test scans: higher in 1 of 2 test scans of other people."
        ]
        assert Strips(found, None).of(first)["value"] == "+2.00"

    def test_a_fold_that_was_not_calibrated_is_not_mixed_with_the_others(self):
        """Its own probabilities must not stand among calibrated ones, nor under their name."""
        p = [0.2, 0.2, 0.99, 0.3, 0.9, np.nan]
        rows = three_by_three(calibrated_AD=p, calibrated_CN=[1 - v for v in p])
        found = decisions(rows, ("CN", "AD"), 0.7)
        strip = Strips(found, ("CN", "AD")).of(found[5])
        assert strip["value"] == "0.900"
        assert strip["lines"][0] == "CN: higher in 0 of 3 test scans of other people."
        shown = roster(found, rows[["scan_id", "subject_id", "target"]], {}, {}, {}, ("CN", "AD")).table()
        assert "calibrated_AD" not in shown
        assert shown["probability_AD"].tolist() == rows["probability_AD"].tolist()
        whole = decisions(rows.fillna({"calibrated_AD": 0.8, "calibrated_CN": 0.2}), ("CN", "AD"), 0.7)
        shown = roster(whole, rows[["scan_id", "subject_id", "target"]], {}, {}, {}, ("CN", "AD")).table()
        assert shown["calibrated_AD"].tolist() == [*p[:5], 0.8]

    def test_nothing_known(self):
        found = decisions(table(target=["CN"], prediction=["CN"]), ("CN", "AD"), 0.7)
        assert Strips(found, ("CN", "AD")).of(found[0]) is None

    def test_size_does_not_grow_with_people(self):
        generator = np.random.default_rng(0)
        p = generator.random(5000)
        rows = table(target=np.where(p > 0.5, "AD", "CN"), prediction=np.where(p > 0.5, "AD", "CN"),
                     probability_CN=1 - p, probability_AD=p)  # fmt: skip
        found = decisions(rows, ("CN", "AD"), 0.7)
        assert len(Strips(found, ("CN", "AD")).of(found[0])["svg"]) < 6000


class TestAgreement:
    def volumes(self, *maps):
        affine = np.diag([4.0, 4, 4, 1])
        return {f"m{i}": reoriented(np.asarray(data, np.float32), affine) for i, data in enumerate(maps)}

    def test_against_scipy(self):
        generator = np.random.default_rng(1)
        one, other = generator.standard_normal((2, 9, 8, 7))
        one[:3], other[:2] = 0, 0
        (pair,) = agreement(self.volumes(one, other))
        inside = (one != 0) | (other != 0)
        assert pair.rank == pytest.approx(spearmanr(np.abs(one[inside]), np.abs(other[inside])).statistic, abs=1e-6)
        count = round(0.05 * inside.sum())
        tops = [set(np.argsort(-np.abs(data[inside]))[:count]) for data in (one, other)]
        assert pair.dice == pytest.approx(len(tops[0] & tops[1]) / count)

    def test_equal_opposite_and_apart(self):
        data = np.random.default_rng(2).random((10, 10, 10)) + 0.1
        (same,) = agreement(self.volumes(data, -data))
        assert (same.rank, same.dice, same.by_chance) == (pytest.approx(1), 1.0, False)
        apart = np.zeros_like(data), np.zeros_like(data)
        apart[0][:5], apart[1][5:] = data[:5], data[5:]
        (pair,) = agreement(self.volumes(*apart))
        assert (pair.dice, pair.by_chance) == (0.0, True)

    def test_constant_and_empty(self):
        data = np.random.default_rng(3).random((6, 6, 6))
        (pair,) = agreement(self.volumes(np.ones_like(data), data))
        assert np.isnan(pair.rank)
        assert agreement(self.volumes(np.zeros_like(data), data)) == []
        assert agreement_rows([[pair]])[0]["rank"] == "\N{EN DASH}"

    def test_blocks_of_4_mm(self):
        data = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
        assert coarse(data, (2.0, 2.0, 2.0))[0, 0, 0] == pytest.approx(data[:2, :2, :2].mean())
        assert np.array_equal(coarse(data, (4.0, 5.0, 9.0)), data)


def regions_of(run, shares):
    """Rows of region-table: two regions for each scan of the small run, for lrp."""
    folds = run.predictions().set_index("scan_id")["fold"]
    rows = [
        {"scan_id": scan, "fold": folds[scan], "explainer": "lrp", "index": index, "region": region, "share": share}
        for scan, (left, outside) in shares.items()
        for index, region, share in ((1, "left hippocampus", left), (2, "rest", 1 - left - outside),
                                     (0, "(outside of the atlas)", outside))
    ]  # fmt: skip
    return pd.DataFrame(rows)


SHARES = {"sub-01": (0.20, 0.1), "sub-02": (0.30, 0.1), "sub-x": (0.25, 0.05), "sub-04_ses-b": (0.40, 0.2)}


class TestRegions:
    def test_against_controls(self, make_run, tmp_path):
        """Controls are sub-01 (0.20) and sub-02 (0.30): median 0.25, percentiles 0.205 and 0.295."""
        run = with_analysis(make_run(), regions=regions_of(make_run(), SHARES))
        text = person(run, "sub-x", tmp_path / "page")
        assert "left hippocampus 25.00 % 25.00 % 20.50 % \N{EN DASH} 29.50 % as high or higher in 1 of 2" in text
        assert "Outside of the atlas: 5.00 %." in text
        assert "tested people of CN" in text
        assert "(outside of the atlas)" not in text
        assert "explains the output AD; those of the people it is compared with explain AD (1), CN (1)" in text

    def test_a_control_is_not_compared_with_itself(self, make_run, tmp_path):
        run = with_analysis(make_run(), regions=regions_of(make_run(), SHARES))
        text = person(run, "sub-01", tmp_path / "page")
        assert "left hippocampus 20.00 % 30.00 % 30.00 % \N{EN DASH} 30.00 % as high or higher in 1 of 1" in text
        assert "explains the output CN; those of the people it is compared with explain AD (1)." in text

    def test_other_controls(self, make_run, tmp_path):
        run = with_analysis(make_run(), regions=regions_of(make_run(), SHARES))
        text = person(run, "sub-01", tmp_path / "page", controls=["AD"])
        assert "as high or higher in 2 of 2" in text
        with pytest.raises(InputError, match=r"controls names no class: MCI. The run has CN, AD\."):
            person(run, "sub-01", tmp_path / "page", controls=["MCI"])

    def test_on_the_page_of_the_run(self, make_run, tmp_path):
        """CN: (0.20 + 0.30) / 2, sd 0.0707; AD: (0.25 + 0.40) / 2."""
        run = with_analysis(make_run(), regions=regions_of(make_run(), SHARES))
        (tmp_path / "report").mkdir()
        text = words(create("report", "html", max_people=0).write(run, tmp_path / "report"))
        assert "left hippocampus 28.75 % ± 8.54 % 25.00 % ± 7.07 % 32.50 % ± 10.61 %" in text
        assert "CN (n = 2) AD (n = 2)" in text

    def test_sentences_and_volumes(self, make_run, tmp_path):
        sentences = pd.DataFrame({"scan_id": ["sub-x", "sub-01"], "explainer": "lrp", "sentence": ["For x.", "For 1."]})
        scores = pd.DataFrame({
            "scan_id": "sub-x", "fold": 0, "explainer": ["lrp", "gradcam-last", "lrp"],
            "region": ["left hippocampus", "left hippocampus", "right amygdala"], "feature": "volume", "unit": "mm3",
            "observed": [2500.0, 2500.0, np.nan], "expected": [3400.0, 3400.0, np.nan], "w": [-2.31, -2.31, np.nan],
            "outside_range": ["age 95 (60 to 90)", None, None],
        })  # fmt: skip
        run = with_analysis(make_run(), sentences=sentences, scores=scores)
        text = person(run, "sub-x", tmp_path / "page")
        assert "For x. (lrp, regions)" in text
        assert "For 1." not in text
        assert text.count("left hippocampus volume 2500.000 mm3 3400.000 mm3 -2.31") == 1
        assert "outside of the range of controls: age 95 (60 to 90)" in text
        assert "right amygdala" not in text, "an unknown score is none"

    def test_a_sentence_on_another_network_is_not_on_this_page(self, make_run, tmp_path):
        sentences = pd.DataFrame({
            "scan_id": "sub-x", "fold": [0, 2, None], "sentence": ["Of this one.", "Of the other.", "Of both."]
        })  # fmt: skip
        run = with_analysis(make_run(), sentences=sentences)
        text = person(run, "sub-x", tmp_path / "page")
        assert "Of this one." in text
        assert "Of both." in text
        assert "Of the other." not in text

    def test_tables_that_cannot_be_read_are_named(self, make_run, tmp_path):
        run = with_analysis(make_run(), regions=pd.DataFrame({"scan_id": ["sub-01"]}))
        (run.folder / "analysis" / "regions" / "scores.tsv").write_bytes(b"\xff\xfe\x00broken\t\n")
        (tmp_path / "report").mkdir()
        text = words(create("report", "html", max_people=0).write(run, tmp_path / "report"))
        assert "Not everything of the run is on this page" in text
        assert "analysis/regions/regions.tsv lacks the columns fold, explainer, region" in text
        assert "analysis/regions/scores.tsv cannot be read" in text


class TestDoubts:
    def test_a_page_without_remarks_says_what_was_looked_at(self, make_run, tmp_path):
        text = person(make_run(), "sub-01", tmp_path / "page")
        assert "Nothing that these checks can find. Looked at: how sure the decision is" in text
        assert "The run has no quality control" in text
        assert "not a medical device" in text

    def test_each_remark(self, make_run, tmp_path):
        run = make_run()
        save(pd.DataFrame({"scan_id": ["sub-04_ses-b"], "flags": ["snr"], "problem": [None]}),
             run.folder / "quality" / "quality.tsv")  # fmt: skip
        predictions = run.predictions()
        predictions["seen_in_training"] = predictions["scan_id"] == "sub-04_ses-b"
        save(predictions, run.folder / "predictions.tsv")
        lrp, cam = (next(r for r in run.maps(name) if r.scan_id == "sub-04_ses-b") for name in ("lrp", "gradcam-last"))
        about = {**lrp.sidecar, "target_name": "AD", "conservation": {
            "start": 2.0, "output": 2.0, "sum_of_relevance": 1.9, "unexplained": 0.1}}  # fmt: skip
        lrp.path.with_suffix("").with_suffix(".json").write_text(json.dumps(about))
        image = nib.load(lrp.path)
        data = np.zeros(image.shape, np.float32)
        data[2:4, 2:4, 2:4] = 1
        data[0, 0, 0] = np.nan
        nib.save(nib.Nifti1Image(data, image.affine), lrp.path)
        apart = np.zeros(image.shape, np.float32)
        apart[12:14, 12:14, 12:14] = 1
        nib.save(nib.Nifti1Image(apart, image.affine), cam.path)
        text = person(run, "sub-04_ses-b", tmp_path / "page")
        for remark in (
            "trained or validated on this person",
            "the probability of the predicted class is 0.600 as the network says (not calibrated), below 0.7",
            "Quality control flagged the image: snr.",
            "lrp: 5.00 % of the explained output is unexplained",
            "lrp explains the output AD, not the predicted class CN",
            "1 voxels of the map of lrp are not finite",
            "lrp and gradcam-last disagree: the strongest 5 % of their maps overlap no more than by chance (Dice 0.00)",
        ):
            assert remark in text, remark
        assert "The run has no quality control" not in text

    def test_an_ensemble(self, make_run, tmp_path):
        run = make_run()
        members = [{"name": "a", "model": {"name": "m"}, "data": "d", "seed": 1}, {"name": "b", "model": {}, "seed": 2}]
        about = {"combine": "mean", "normalise": "none", "members": members}
        (run.folder / "ensemble.json").write_text(json.dumps(about))
        save(pd.DataFrame({"fold": [0, 1, 0, 1], "scan_id": list(SHARES), "members": 4, "sd": 0.2,
                           "agreement": [1.0, 0.75, 1.0, 1.0]}), run.folder / "agreement.tsv")  # fmt: skip
        assert "3 of the 4 members of the ensemble agree" in person(run, "sub-02", tmp_path / "page")
        assert "members of the ensemble agree with" not in person(run, "sub-01", tmp_path / "page")
        (tmp_path / "report").mkdir()
        text = words(create("report", "html", max_people=0).write(run, tmp_path / "report"))
        assert "All members agree in 3 of 4 test scans (median SD of the probability 0.200)." in text


class TestWhichPerson:
    def test_by_person_or_scan(self, make_run, tmp_path):
        assert "sub-04_ses-b" in person(make_run(), "sub-04", tmp_path / "page")
        with pytest.raises(InputError, match=r"sub-99 was not tested. Tested were sub-01"):
            person(make_run(), "sub-99", tmp_path / "page")

    def test_several_scans(self, make_run, tmp_path):
        run = make_run()
        save(run.predictions().assign(subject_id="p"), run.folder / "predictions.tsv")
        with pytest.raises(InputError, match=r"p has several scans: sub-01, sub-02, sub-04_ses-b, sub-x\. Name one"):
            person(run, "p", tmp_path / "page")
