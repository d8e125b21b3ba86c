"""The page: complete, self-contained, safe against what names hold, the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from xai_core import InputError
from xai_core.registry import create
from xai_reports_html._charts import roc_chart, scatter_chart
from xai_reports_html._summary import class_name, number


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def write(run, output: Path, **params):
    output.mkdir()
    path = create("report", "html", **{"mosaic": 0, **params}).write(run, output)
    assert path == output / "index.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def classification(shared_run, tmp_path_factory):
    """One page for the tests that only read."""
    folder = tmp_path_factory.mktemp("page")
    return write(shared_run, folder / "report", mosaic=4), folder


def test_needs_nothing_else(classification):
    page, folder = classification
    sources = [str(image["src"]) for image in page.all("img")]
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "data:image/jpeg;base64,")) for source in sources)
    assert page.all("link") == page.all("iframe") == []
    assert all("src" not in script for script in page.all("script"))
    raw = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", raw)
    assert "url(" not in raw
    assert "@import" not in raw


def test_the_policy_admits_our_script_and_nothing_else(classification):
    (policy,) = [
        m["content"] for m in classification[0].all("meta") if m.get("http-equiv") == "Content-Security-Policy"
    ]
    raw = (classification[1] / "report" / "index.html").read_text(encoding="utf-8")
    script = raw.rpartition("<script>")[2].rpartition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"\son\w+=", raw), "no handlers in attributes"


def test_says_what_was_done(classification):
    text = classification[0].text
    assert "pilot & more" in text
    assert "The study has 4 people with 4 scans: CN 2, AD 2." in text
    assert "divided into 2 folds by stratified-kfold (2 to train, 0 to validate and 2 to test)" in text
    assert "network resnet3d" in text
    assert "explained by lrp and gradcam-last" in text
    assert 'composite: "epsilon-plus"' in text
    assert "not a medical device" in text
    assert "Bach S" in text
    assert "Selvaraju" in text
    assert "Zennit" in text
    assert "xai-models-resnet3d 0.1.0" in text


def test_shows_scores_with_intervals(classification):
    text = classification[0].text
    assert "0.750 0.500 to 1.000" in text
    assert "Matthews correlation not defined" in text
    assert "positive class AD" in text


def test_shows_each_decision(classification):
    page = classification[0]
    badges = [span["class"] for span in page.all("span") if str(span.get("class")).startswith("badge ")]
    assert [b for b in badges if b != "badge unsure"] == [f"badge {w}" for w in ("right", "wrong", "wrong", "right")]
    assert badges.count("badge unsure") == 1, "0.6 is below 0.7; 0.7 is not"
    assert [a["id"] for a in page.all("article")] == ["case-sub-01", "case-sub-02", "case-sub-04_ses-b", "case-sub-x"]
    assert "sum of relevance" in page.text
    assert "sum / output 1.000" in page.text  # the explainer's own figure for conservation
    assert "layer layer4" in page.text
    assert "grid 3 \N{MULTIPLICATION SIGN} 4 \N{MULTIPLICATION SIGN} 5" in page.text
    assert "shown']" not in page.text
    assert "Session b" in page.text
    assert "All of them have a section below." in page.text
    assert "green line" in page.text


def test_explainers_come_in_the_order_of_the_configuration(classification):
    alts = [image["alt"] for image in classification[0].all("img") if image.get("class") == "overlay"]
    planes = [alt.split()[2] for alt in alts if "axial" not in alt]
    assert planes == [alt.split()[2] for alt in alts if "axial" in alt] == ["lrp", "gradcam-last"] * 4


def test_every_picture_is_described(classification):
    assert all(image.get("alt") for image in classification[0].all("img"))


def test_evaluation_table(classification):
    """lrp: 2, 3, 4, 5; mean 3.5, standard deviation sqrt(5/3)."""
    assert "lrp density ratio 4 3.500 1.291 3.500 2.000 to 5.000" in classification[0].text


def test_names_stay_text(classification):
    page, folder = classification
    assert "<script>alert" not in (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert(1)</script>" in page.text


def test_figures_and_tables_lie_beside_the_page(classification):
    report = classification[1] / "report"
    names = {p.name for p in (report / "figures").iterdir()}
    charts = {f"{chart}.{kind}" for chart in ("roc", "confusion", "training") for kind in ("png", "svg")}
    assert names - charts == {
        f"{scan}_{explainer}.png"
        for scan in ("sub-01", "sub-02", "sub-x", "sub-04_ses-b") for explainer in ("lrp", "gradcam-last")
    }  # fmt: skip
    assert charts <= names
    assert {p.name for p in (report / "tables").iterdir()} == {"people.tsv", "truth.tsv"}
    assert {"methods.txt", "references.bib", "references.json"} <= {p.name for p in report.iterdir()}


def test_regression(make_run, tmp_path):
    page = write(make_run(regression=True), tmp_path / "report")
    assert "target goes from 60 to 90 (mean 75)" in page.text
    assert "mean absolute error" in page.text
    assert "true 70.00 predicted 72.00 error +2.00" in page.text
    assert "Predicted less true value of every test scan" in page.text
    assert "Probabilities" not in page.text
    assert (tmp_path / "report" / "figures" / "scatter.png").is_file()


def test_some_of_many(make_run, tmp_path):
    page = write(make_run(), tmp_path / "report", max_people=2)
    assert len(page.all("article")) == 2
    assert "2 of 4 have a section below, taken in turn from right and wrong decisions" in page.text


def test_a_run_that_is_only_trained(make_run, tmp_path):
    run = make_run()
    shutil.rmtree(run.folder / "derivatives")
    (run.folder / "evaluation" / "truth.tsv").unlink()
    page = write(run, tmp_path / "report")
    assert page.all("article") == []
    assert "0.750" in page.text


def test_a_run_without_scores(make_run, tmp_path):
    run = make_run()
    for name in ("predictions.tsv", "metrics.json"):
        (run.folder / name).unlink()
    assert "This run has no test scores yet." in write(run, tmp_path / "report").text


def test_a_scan_that_is_gone(make_run, tmp_path):
    run = make_run()
    Path(run.subjects()["image"][0]).unlink()
    with pytest.raises(InputError, match=r"sub-01\.nii\.gz does not exist any more"):
        write(run, tmp_path / "report")


def test_a_map_of_another_grid(make_run, tmp_path):
    run = make_run()
    record = run.maps()[0]
    image = nib.load(record.path)
    flipped = image.affine @ np.diag([-1, 1, 1, 1])
    nib.save(nib.Nifti1Image(image.get_fdata(), flipped), record.path)
    with pytest.raises(InputError, match="affines that differ"):
        write(run, tmp_path / "report")


def test_maps_without_a_scan_on_disk(make_run, tmp_path):
    run = make_run()
    table = run.subjects().drop(columns=["image", "ground_truth"])
    table.to_csv(run.folder / "subjects.tsv", sep="\t", index=False)
    page = write(run, tmp_path / "report")
    assert page.text.count("so the maps are shown without it") == 4


def test_picture_of_a_new_scan(tmp_path):
    affine = np.diag([-2.0, 2, 2, 1])
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).random((20, 22, 18)).astype(np.float32), affine),
        tmp_path / "a b.nii.gz",
    )
    maps = {name: nib.Nifti1Image(np.ones((20, 22, 18), np.float32), affine) for name in ("lrp", "gradcam")}
    report = create("report", "html")
    path = report.picture(tmp_path / "a b.nii.gz", maps, {"prediction": "AD", "probability_AD": 0.9}, tmp_path)
    assert path == tmp_path / "a-b_relevance.png"
    one = report.picture(tmp_path / "a b.nii.gz", {"lrp": maps["lrp"]}, {"prediction": 71.2}, tmp_path)
    assert one.stat().st_size > 0
    wrong = nib.Nifti1Image(np.ones((20, 22, 18), np.float32), np.diag([2.0, 2, 2, 1]))
    with pytest.raises(InputError, match="The map of lrp and its scan"):
        report.picture(tmp_path / "a b.nii.gz", {"lrp": wrong}, {}, tmp_path)


def test_class_names_that_tables_turn_into_numbers(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("target\n01\n02\n")
    values = pd.read_csv(path, sep="\t")["target"]
    assert [class_name(value, ("01", "02")) for value in values] == ["01", "02"]
    assert class_name("AD", ("CN", "AD")) == "AD"


def test_numbers_for_reading():
    assert [number(v) for v in (None, float("nan"), 0.12345, 3, 0.0, 1.2e-7, 123456.0)] == [
        "\N{EN DASH}", "\N{EN DASH}", "0.123", "3", "0.000", "1.2e-07", "1.23e+05",
    ]  # fmt: skip


def test_charts_where_they_are_not_defined():
    assert roc_chart(["AD", "AD"], {"CN": [0.1, 0.2], "AD": [0.9, 0.8]}, ("CN", "AD")) is None
    names = ("a$", "_b", "c")
    lines = roc_chart(names, {n: [0.1, 0.2, 0.7] for n in names}, names).axes[0].get_legend().get_texts()
    assert len(lines) == 4, "a name that begins with an underscore is not hidden"
    assert scatter_chart([70.0], [70.0]).axes[0].collections


def test_importing_the_plugin_is_light():
    heavy = "{'torch', 'numpy', 'pandas', 'matplotlib', 'jinja2', 'nibabel', 'PIL', 'scipy', 'sklearn', 'torchio'}"
    code = f"import sys, xai_reports_html.plugin; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def with_accounts(run, losses):
    """Give the maps of lrp accounts as LRP writes them, with these unexplained shares by scan; forget the others'."""
    written = {}
    for record in run.maps():
        path = record.path.with_suffix("").with_suffix(".json")
        sidecar = {**record.sidecar, "details": {"layer": "layer4"}}
        if record.explainer == "lrp":
            start, lost = 4.0, 4.0 * losses[record.scan_id]
            row = {
                "layer": "<i>conv1</i>",
                "rule": "<b>z-plus</b>",
                "relevance_out": 3.0,
                "relevance_in": 2.5,
                "<u>": 0.3,
            }
            sidecar["conservation"] = {
                "sum_of_relevance": 2.5, "output": start, "start": start, "ratio": 2.5 / start,
                "absorbed_by_biases": 1.0, "absorbed_by_epsilon": 0.5 - lost,
                "unexplained": lost, "unexplained_share": lost / start, "layers": [row],
            }  # fmt: skip
            written[record.scan_id] = sidecar["conservation"]
        path.write_text(json.dumps(sidecar), encoding="utf-8")
    return written


def test_shows_where_the_output_went(make_run, tmp_path):
    """Numbers are the sidecars'; the warning names those above 1 % and nobody else."""
    run = make_run()
    losses = {"sub-01": 0.02, "sub-02": 0.01, "sub-x": -0.0101, "sub-04_ses-b": 0.0}
    written = with_accounts(run, losses)
    page = write(run, tmp_path / "report")
    for account in written.values():
        for name, key in (("biases", "absorbed_by_biases"), ("epsilon", "absorbed_by_epsilon")):
            assert f"{name} {100 * account[key] / account['start']:.1f} %" in page.text
    titles = [span["title"] for span in page.all("span") if str(span.get("title")).startswith("unexplained")]
    assert titles == [f"unexplained: {written[scan]['unexplained']:.6g} of 4" for scan in sorted(losses)]
    assert "lrp 4 62.5 % 25.0 % 12.0 % 0.50 % 2.00 %" in page.text, "medians of 62.5; 25; 10.5, 11.5, 12.5, 13.51"
    assert "gradcam-last 4 \N{EN DASH} \N{EN DASH}" in page.text
    warning = page.text.split("lrp: more than 1 % is unexplained in 2 of 4 maps")[1].split("Voxels is what the map")[0]
    assert "sub-01 2.00 % sub-x -1.01 %" in warning
    assert "sub-02" not in warning
    assert page.text.count("above 1 % unexplained") == 2
    assert page.text.count("Relevance by layer (1)") == 4
    assert "<i>conv1</i> <b>z-plus</b> 3.000 2.500 0.200 0.300" in page.text
    assert page.all("i") == page.all("u") == []
    assert "last layer" not in page.text, "that is said of regressions"


def test_no_warning_where_nothing_is_lost(make_run, tmp_path):
    run = make_run(regression=True)
    with_accounts(run, dict.fromkeys(("sub-01", "sub-02", "sub-x", "sub-04_ses-b"), 0.01))
    page = write(run, tmp_path / "report", max_people=0)
    assert "Do the maps add up?" in page.text
    assert "1.00 % 1.00 %" in page.text
    assert "more than 1 %" not in page.text
    assert "around 70 years" in page.text


def test_runs_without_accounts(make_run, tmp_path, classification):
    """Early runs know the quotient only, some explainers nothing."""
    assert "lrp 4 100.0 % \N{EN DASH} \N{EN DASH} \N{EN DASH}" in classification[0].text
    assert "more than 1 %" not in classification[0].text
    run = make_run()
    for record in run.maps():
        sidecar = {key: value for key, value in record.sidecar.items() if key not in ("details", "params")}
        record.path.with_suffix("").with_suffix(".json").write_text(json.dumps(sidecar), encoding="utf-8")
    page = write(run, tmp_path / "report", max_people=1)
    assert "Do the maps add up?" not in page.text
    assert "sum / output" not in page.text


def test_says_how_to_read_each_explainer(classification):
    text = classification[0].text
    assert "lrp Warm: speaks for the explained output; cold: against it." in text
    assert "gradcam-last Never below zero" in text
    assert "(Siegel 2025)" in text
    assert "arXiv:2508.02560" in text
