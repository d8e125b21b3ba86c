"""``xai cite``: the paragraph says what the configuration says, BibTeX and CSL-JSON are well formed."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from xai_core import InputError
from xai_reports_html._citation import citation_of
from xai_reports_html._papers import bibtex_note, papers
from xai_reports_html.cite_command import command


def cite(run, *options):
    done = CliRunner().invoke(command, [str(run.folder), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def entries(bibtex: str) -> dict[str, dict[str, str]]:
    """A reader of its own: braces must balance, keys must be unique."""
    found: dict[str, dict[str, str]] = {}
    for kind, key, body in re.findall(r"@(\w+)\{([^,]+),\n(.*?)\n\}\n", bibtex, re.DOTALL):
        assert key not in found
        fields = dict(re.findall(r"  (\w+) = \{(.*)\},", body))
        for value in fields.values():
            bare = re.sub(r"\\.", "", value)
            assert bare.count("{") == bare.count("}"), value
        found[key] = {"type": kind, **fields}
    return found


def test_the_paragraph(shared_run):
    text = cite(shared_run)
    assert "The study has 4 people with 4 scans: CN 2, AD 2." in text
    assert "divided into 2 folds by stratified-kfold" in text
    assert "Images were prepared by to-canonical." in text
    assert "resnet3d (depth 10; He 2016; Chen 2019)" in text
    assert "trained by lightning (epochs 3, learning rate 0.001)" in text
    assert "lrp (composite epsilon-plus; Bach 2015; Montavon 2019; Montavon 2017; Kohlbrenner 2020)" in text
    assert "Results on 4 people: balanced accuracy 0.500 (95 % interval 0.250 to 0.750)" in text
    assert "zennit 0.5.1" in text
    assert "seed 42" in text
    for name in re.findall(r"[A-Z]\w+ \d{4}b?", text.partition("References")[0]):
        author, year = name.rstrip("b").split()
        assert re.search(rf"\d+\. {author} .*{year}", text), f"{name} is in the paragraph but not in the list"


def test_bibtex_and_json_name_the_same(shared_run):
    listed = entries(cite(shared_run, "--format", "bibtex"))
    found = json.loads(cite(shared_run, "--format", "json"))
    assert list(listed) == [item["id"] for item in found["references"]]
    assert listed["bach2015"]["author"].startswith("Bach, S. and Binder, A.")
    assert listed["bach2015"]["journal"] == "PLoS ONE"
    item = next(item for item in found["references"] if item["id"] == "bach2015")
    assert item["type"] == "article-journal"
    assert item["DOI"] == "10.1371/journal.pone.0130140"
    assert item["author"][4] == {"family": "Müller", "given": "K. R."}
    assert found["software"]["zennit"] == "0.5.1"


def test_every_paper_is_well_formed():
    every = entries("\n".join(paper.bibtex() for paper in papers().values()))
    assert len(every) == len(papers())
    for paper in papers().values():
        entry = every[paper.bibtex_key]
        assert re.fullmatch(r"[a-z0-9]+", paper.bibtex_key)
        assert paper.doi or paper.arxiv or paper.key in {"He 2016", "Alber 2019", "Pedregosa 2011"}, paper.key
        assert "journal" in entry or "booktitle" in entry or "eprint" in entry
        for author in entry["author"].split(" and "):
            assert author == "others" or re.fullmatch(r"[\w' -]+, (\w\. ?)+", author), author
    assert every["zeiler2014"]["type"] == "inproceedings"


def test_latex_is_escaped():
    note = r"50 \% of A\_B \& \{C\} \textbackslash{}x \$1 \#\textasciitilde{}\textasciicircum{}"
    assert bibtex_note("a", r"50 % of A_B & {C} \x $1 #~^") == f"@misc{{a,\n  note = {{{note}}},\n}}\n"


def test_an_atlas_is_cited(make_run):
    run = make_run()
    path = run.folder / "pipeline.resolved.yaml"
    config = yaml.safe_load(path.read_text())
    config["analyses"] = [{"id": "r", "name": "region-table", "params": {"atlas": "x"}}]
    path.write_text(yaml.safe_dump(config))
    folder = run.folder / "analysis" / "r"
    folder.mkdir(parents=True)
    about = {"atlas": {"name": "My atlas", "citation": "Me et al. 2020", "checksum": "ab"}}
    (folder / "regions.json").write_text(json.dumps(about))
    text = cite(run)
    assert "Regions are those of My atlas." in text
    assert "My atlas: Me et al. 2020" in text
    assert entries(cite(run, "--format", "bibtex"))["atlasmyatlas"]["note"] == "My atlas: Me et al. 2020"


def test_scores_decide_what_is_cited(make_run):
    run = make_run()
    metrics = run.metrics()
    metrics["test"]["auc_delong"] = {"value": 0.7, "low": 0.5, "high": 0.9}
    metrics["across_folds"] = {"auc": {"mean": 0.7, "sd": 0.1, "low": 0.5, "high": 0.9}}
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    keys = [paper.key for paper in citation_of(run).papers]
    assert {"DeLong 1988", "Nadeau 2003"} <= set(keys)
    assert len(keys) == len(set(keys))


def test_not_a_run(tmp_path):
    with pytest.raises(InputError, match="is not a run folder"):
        CliRunner().invoke(command, [str(tmp_path)], catch_exceptions=False)


def test_a_regression_without_scores(make_run):
    run = make_run(regression=True)
    (run.folder / "metrics.json").unlink()
    text = cite(run)
    assert "whose target goes from 60 to 90" in text
    assert "Results on" not in text


def test_left_out_are_told(make_run):
    run = make_run()
    pd.DataFrame({"subject_id": ["9"], "session_id": [None], "reason": ["no image"]}).to_csv(
        run.folder / "left-out.tsv", sep="\t", index=False, na_rep="n/a"
    )
    assert "1 scan or person of the sources is left out (1 no image" in cite(run)
