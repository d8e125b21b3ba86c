"""What the page says of a map's sum is what its sidecar says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from xai_core.engine import mapwarnings
from xai_core.engine.explaining import unexplained_share
from xai_core.registry import infos
from xai_reports_html import _literature, _methods
from xai_reports_html._account import LOSS, account_of, figures, layer_rows, percent, summaries
from xai_reports_html._papers import papers

OURS = {
    "lrp", "gradcam", "gradcam-plus-plus", "layer-cam", "guided-gradcam", "guided-backpropagation", "deconvolution",
    "saliency", "input-x-gradient", "smoothgrad", "integrated-gradients", "gradient-shap", "deeplift", "occlusion",
    "feature-ablation",
}  # fmt: skip


def conserved(voxels, biases, epsilon, unexplained, **more):
    """A sidecar as LRP's, of parts that sum to the start."""
    start = voxels + biases + epsilon + unexplained
    return {
        "output": start, "sum_of_relevance": voxels, "details": {},
        "conservation": {
            "sum_of_relevance": voxels, "output": start, "start": start, "ratio": voxels / start if start else None,
            "absorbed_by_biases": biases, "absorbed_by_epsilon": epsilon, "unexplained": unexplained,
            "unexplained_share": unexplained / start if start else None, **more,
        },
    }  # fmt: skip


def path_method(output, baseline, total):
    """A sidecar as integrated gradients': the delta is what the sum of relevance has too much."""
    details = {"baseline_output": baseline, "convergence_delta": total - (output - baseline)}
    return {"output": output, "sum_of_relevance": total, "details": details}


def record(scan, explainer, sidecar):
    return SimpleNamespace(scan_id=scan, explainer=explainer, sidecar=sidecar)


class TestOneMap:
    def test_parts_are_those_of_the_sidecar(self):
        sidecar = conserved(1.3, 0.5, 0.15, 0.05)
        account = account_of(sidecar)
        assert {part.name: part.amount for part in account.parts} == {
            "voxels": 1.3, "biases": 0.5, "epsilon": 0.15, "unexplained": 0.05,
        }  # fmt: skip
        assert sum(part.share for part in account.parts) == pytest.approx(1)
        assert account.unexplained == pytest.approx(sidecar["conservation"]["unexplained_share"])
        shown = figures(account)
        assert [part["text"] for part in shown["parts"]] == ["65.0 %", "25.0 %", "7.50 %", "2.50 %"]
        assert shown["parts"][0]["title"] == "voxels: 1.3 of 2"

    def test_a_start_that_is_not_the_output(self):
        """LRP with a reference value divides output - reference."""
        sidecar = conserved(-1.0, -1.0, 0.0, 0.0) | {"output": 68.0}
        sidecar["conservation"]["output"] = 68.0
        assert [part.share for part in account_of(sidecar).parts] == [0.5, 0.5, 0, 0]
        assert figures(account_of(sidecar))["whole"] == "of the start -2.000"

    def test_parts_below_zero_lie_left_of_zero(self):
        """1.3 - 0.2 - 0.1 = 1: from -0.3 to 1.3, 1.6 in all."""
        shown = figures(account_of(conserved(1.3, -0.2, -0.1, 0.0)))
        places = {part["name"]: (part["left"], part["width"]) for part in shown["bar"]}
        assert places["voxels"] == pytest.approx((100 * 0.3 / 1.6, 100 * 1.3 / 1.6))
        assert places["biases"] == pytest.approx((100 * 0.1 / 1.6, 100 * 0.2 / 1.6))
        assert places["epsilon"] == pytest.approx((0, 100 * 0.1 / 1.6))
        assert (shown["zero"], shown["one"]) == pytest.approx((100 * 0.3 / 1.6, 100 * 1.3 / 1.6))

    def test_parts_above_zero_follow_each_other(self):
        shown = figures(account_of(conserved(1.0, 0.5, 0.25, 0.25)))
        assert [(part["left"], part["width"]) for part in shown["bar"]] == [(0, 50), (50, 25), (75, 12.5), (87.5, 12.5)]
        assert (shown["zero"], shown["one"]) == (0, 100)

    def test_nothing_to_divide(self):
        shown = figures(account_of(conserved(0.5, -0.5, 0.0, 0.0)))
        assert [part["text"] for part in shown["parts"]] == ["0.500", "-0.500", "0.000", "0.000"]
        assert not shown["shares"]
        assert not shown["lossy"]

    def test_completeness(self):
        """Output 3, baseline 1, sum 1.9: 0.1 of 2 is missing."""
        account = account_of(path_method(3.0, 1.0, 1.9))
        assert (account.law, account.whole) == ("completeness", 2.0)
        assert [(part.name, part.share) for part in account.parts] == [
            ("voxels", pytest.approx(0.95)),
            ("unexplained", pytest.approx(0.05)),
        ]

    @pytest.mark.parametrize(
        "sidecar",
        [
            {},
            {"output": 2.0, "sum_of_relevance": 1.0, "details": None},
            {"output": 2.0, "sum_of_relevance": 1.0, "details": {"layer": "layer4"}},
            {"output": 2.0, "details": {"conservation": None}},
            {"output": 2.0, "details": {"conservation": "good"}},
            {"output": 2.0, "details": {"convergence_delta": 0.1}},
            {"output": 2.0, "sum_of_relevance": 1.0, "details": {}, "conservation": {"start": 2.0}},
            {"output": 2.0, "sum_of_relevance": 1.0, "details": {}, "conservation": {"sum_of_relevance": True}},
        ],
    )
    def test_no_promise_no_number(self, sidecar):
        assert account_of(sidecar) is None

    def test_parts_that_an_explainer_does_not_know_are_not_zero(self):
        account = account_of({"conservation": {"start": 2.0, "sum_of_relevance": 1.0}})
        assert [part.name for part in account.parts] == ["voxels"]
        assert account.unexplained is None

    def test_runs_of_early_versions(self):
        account = account_of({"output": 4.0, "sum_of_relevance": 1.0, "details": {"conservation": 0.25}})
        assert (account.law, account.parts[0].amount, account.parts[0].share) == ("ratio", 1.0, 0.25)
        assert not account.lossy
        assert figures(account)["bar"] == []


class TestWarning:
    def test_one_threshold(self):
        assert LOSS is mapwarnings.LOSS

    @pytest.mark.parametrize(
        ("unexplained", "warned"),
        [(0.0, False), (0.0099, False), (0.01, False), (0.0101, True), (-0.01, False), (-0.0101, True)],
    )
    def test_above_one_percent_only(self, unexplained, warned):
        """As the run itself warns."""
        sidecar = {"conservation": {"start": 1.0, "sum_of_relevance": 1 - unexplained, "unexplained": unexplained,
                                    "unexplained_share": unexplained}}  # fmt: skip
        assert account_of(sidecar).lossy is warned
        assert (abs(unexplained_share(sidecar)) > mapwarnings.LOSS) is warned

    def test_the_worst_come_first(self):
        losses = {"sub-1": 0.02, "sub-2": 0.005, "sub-3": -0.2, "sub-4": 0.03}
        rows = summaries([record(s, "lrp", conserved(1 - u, 0.0, 0.0, u)) for s, u in losses.items()], ["lrp"])
        assert rows[0]["lossy"] == [("sub-3", "-20.0 %"), ("sub-4", "3.00 %"), ("sub-1", "2.00 %")]
        assert rows[0]["most"] == "-20.0 %"

    def test_networks_that_tested_one_scan_do_not_hide_each_other(self):
        """In a repeated cross-validation the last map of a scan must not stand for the others."""
        losses = [(0, 0.327), (2, 0.0007), (4, -0.02)]
        maps = [record("sub-1", "lrp", conserved(1 - u, 0.0, 0.0, u)) for _, u in losses]
        for one, (fold, _) in zip(maps, losses, strict=True):
            one.fold = fold
        (row,) = summaries(maps, ["lrp"])
        assert row["most"] == "32.7 %"
        assert row["lossy"] == [("sub-1 (fold 0)", "32.7 %"), ("sub-1 (fold 4)", "-2.00 %")]


class TestSummary:
    def test_a_small_share_of_the_output_may_be_much_of_the_map(self):
        """70 years, of which a bias has 69.4, voxels -0.4 and 1 is lost: 1.4 % of the output, 2.5 times the map."""
        (row,) = summaries([record("sub-1", "lrp", conserved(-0.4, 69.4, 0.0, 1.0))], ["lrp"])
        assert (row["medians"]["unexplained"], row["beside"]) == ("1.43 %", "250.0 %")
        (row,) = summaries([record("sub-1", "lrp", conserved(0.0, 69.0, 0.0, 1.0))], ["lrp"])
        assert row["beside"] == "\N{EN DASH}"

    def test_medians_over_the_maps(self):
        maps = [conserved(0.2, 0.8, 0.0, 0.0), conserved(0.5, 0.4, 0.1, 0.0), conserved(0.6, 0.1, 0.3, 0.0)]
        (row,) = summaries([record(f"sub-{i}", "lrp", sidecar) for i, sidecar in enumerate(maps)], ["lrp"])
        assert row["medians"] == {
            "voxels": "50.0 %", "biases": "40.0 %", "epsilon": "10.0 %", "unexplained": "0.00 %",
        }  # fmt: skip
        assert (row["maps"], row["divided"], row["lossy"]) == (3, 3, [])

    def test_order_and_dashes(self):
        maps = [
            record("sub-1", "stray", conserved(1.0, 0.0, 0.0, 0.0)),
            record("sub-1", "gradcam", {"output": 1.0, "sum_of_relevance": 9.0, "details": {"layer": "x"}}),
            record("sub-1", "ig", path_method(3.0, 1.0, 2.0)),
        ]
        rows = summaries(maps, ["ig", "gradcam", "absent"])
        assert [row["explainer"] for row in rows] == ["ig", "gradcam", "stray"]
        assert set(rows[1]["medians"].values()) == {"\N{EN DASH}"}
        assert rows[0]["medians"]["biases"] == "\N{EN DASH}"
        assert summaries(maps[1:2], ["gradcam"]) == []

    def test_maps_with_nothing_to_divide_are_left_out_of_the_medians(self):
        maps = [conserved(0.5, -0.5, 0.0, 0.0), conserved(0.5, 0.5, 0.0, 0.0)]
        (row,) = summaries([record(f"sub-{i}", "lrp", sidecar) for i, sidecar in enumerate(maps)], ["lrp"])
        assert (row["maps"], row["divided"], row["medians"]["voxels"]) == (2, 1, "50.0 %")


def test_layers():
    """fc hands on 1.0 - 0.2 - 0.1; conv loses 0.3 of the 1.0 at the start."""
    layers = [
        {"layer": "fc", "rule": "epsilon", "relevance_out": 1.0, "relevance_in": 0.7, "bias": 0.2, "epsilon": 0.1},
        {"layer": "conv", "rule": "z-plus", "relevance_out": 0.7, "relevance_in": 0.4},
    ]
    table = layer_rows(conserved(0.4, 0.2, 0.1, 0.3, layers=layers))
    assert table["causes"] == ["bias", "epsilon"]
    first, second = table["rows"]
    assert (first["out"], first["in"], first["stayed"]) == ("1.000", "0.700", ["0.200", "0.100"])
    assert (first["lossy"], second["lossy"]) == (False, True)
    assert (second["stayed"], second["lost"]) == (["\N{EN DASH}"] * 2, "0.300")
    assert layer_rows(conserved(1.0, 0.0, 0.0, 0.0)) is None
    assert layer_rows({"details": {"conservation": 1.0}}) is None


def test_percent():
    assert [percent(v) for v in (None, 0.0, -1e-9, 0.01004, -0.5, 0.99999, 12.5, 1e4)] == [
        "\N{EN DASH}", "0.00 %", "0.00 %", "1.00 %", "-50.0 %", "100.0 %", "1250.0 %", "1e+06 %",
    ]  # fmt: skip


class TestLiterature:
    def test_every_explainer_of_ours_is_known(self):
        installed = {info.name for info in infos("explainer") if info.package.startswith("xai-explainers-")}
        for name in installed | OURS:
            assert _literature.references({"explainers": [{"name": name}]}, []), name
            assert "documentation" not in _methods.meaning(name, {}), name

    def test_papers_and_names_fit_together(self):
        lists = [*_literature._BY_COMPONENT.values(), *_literature._BY_PARAMETER.values()]
        named = {key for keys in lists for key in keys}
        named |= {limit.paper for limits in _methods._LIMITS.values() for limit in limits if limit.paper}
        named |= set(_literature._BY_LIBRARY.values()) | {"DeLong 1988"}  # cited where the scores have its interval
        for key, paper in papers().items():
            author, year = key.rstrip("b").rsplit(" ", 1)
            assert paper.text.startswith(author), key
            assert year == str(paper.year), key
            assert year in paper.text, key
        assert named | {_methods._ZPLUS.paper} == set(papers())

    def test_parameters_decide(self):
        def cited(name, **params):
            found = _literature.references({"explainers": [{"name": f"pkg:{name}", "params": params}]}, [])
            return " ".join(paper.text for paper in found)

        assert "deep Taylor" in cited("lrp", composite="epsilon-plus")
        assert "deep Taylor" not in cited("lrp", composite="epsilon")
        assert "sensitivity to parameter values" in cited("smoothgrad", statistic="variance")
        assert "SLIC" in cited("feature-ablation", atlas=None)
        assert "SLIC" not in cited("feature-ablation", atlas="atlas.nii.gz")

    def test_known_limits(self):
        def papers(name, **params):
            return [limit.paper for limit in _methods.known_limits(name, params)]

        assert "Adebayo 2018" in papers("guided-backpropagation")
        assert "Adebayo 2018" in papers("guided-gradcam")
        assert "Nie 2018" in papers("deconvolution")
        assert papers("lrp", composite="epsilon-plus") == ["Siegel 2025", "Sixt 2020"]
        assert papers("lrp", composite="epsilon") == ["Siegel 2025"]
        assert papers("smoothgrad", statistic="variance") == []
        assert papers("somebodys") == []
        found = _literature.limits_of({"explainers": [{"name": "gradcam"}, {"name": "lrp"}]})
        assert [paper.key for paper in found] == ["Siegel 2025", "Sixt 2020"]

    @pytest.mark.parametrize(
        ("name", "params", "unsigned"),
        [
            ("saliency", {}, True),
            ("xai-explainers-gradcam:saliency", {"absolute": False}, False),
            ("smoothgrad", {"of": "saliency", "statistic": "mean"}, True),
            ("smoothgrad", {"of": "gradient", "statistic": "mean"}, False),
            ("smoothgrad", {"of": "input-x-gradient", "statistic": "mean"}, False),
            ("smoothgrad", {"of": "gradient", "statistic": "variance"}, True),
            ("smoothgrad", {"of": "gradient", "statistic": "mean-square"}, True),
            ("gradcam", {}, False),
            ("lrp", {}, False),
            ("somebodys", {}, False),
        ],
    )
    def test_which_maps_have_no_sign(self, name, params, unsigned):
        assert _methods.has_no_sign(name, params) is unsigned

    def test_lrp_says_what_it_began_with(self):
        assert "output - 70" in _methods.meaning("lrp", {"reference": 70.0})
        assert "contrasted" in _methods.meaning("lrp", {"contrast": "rest", "reference": None})
