"""A run whose every text wants to be something else: an element, an attribute, a formula, a file of another folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from xai_core.engine.results import RunResults

SCRIPT = "</script><script>alert(1)</script>"
HANDLER = "\"' onload=alert(2) x='"
FORMULA = '=HYPERLINK("http://example.org")'
CLASSES = (f"CN{SCRIPT}", f'AD"><img src=x onerror=alert(3)>{HANDLER}')
EVIL = ("<script>alert", "<img src=x", "<svg onload", "<b>bold", "javascript:")


def make_nasty(run: RunResults) -> RunResults:
    """Rename classes, people, sites and covariates of a small run, and add an analysis and quality control."""
    folder, rename = run.folder, dict(zip(("CN", "AD"), CLASSES, strict=True))
    subjects = _table(folder, "subjects").replace({"target": rename})
    subjects["site"] = [SCRIPT, FORMULA, HANDLER, "<b>bold</b>"]
    subjects["<script>alert(4)</script>"] = [1, 2, 3, 4]
    subjects["subject_id"] = [FORMULA, "<svg onload=alert(5)>", *subjects["subject_id"][2:]]
    people = dict(zip(_table(folder, "subjects")["subject_id"], subjects["subject_id"], strict=True))
    predictions = _table(folder, "predictions").replace({"target": rename, "prediction": rename, "subject_id": people})
    predictions.columns = [f"probability_{rename[c[12:]]}" if c.startswith("prob") else c for c in predictions.columns]
    splits = _table(folder, "splits").replace({"subject_id": people})
    left_out = pd.DataFrame({"subject_id": [SCRIPT], "session_id": ["-1+2"], "reason": ["@SUM(1)\t<b>bold</b>"]})
    tables = {"subjects": subjects, "predictions": predictions, "splits": splits, "left-out": left_out}
    for name, table in tables.items():
        _save(table, folder / f"{name}.tsv")
    info = json.loads((folder / "run.json").read_text()) | {"classes": list(CLASSES), "device": SCRIPT}
    (folder / "run.json").write_text(json.dumps(info))
    config = yaml.safe_load((folder / "pipeline.resolved.yaml").read_text())
    analyses = [{"id": "regions", "name": "region-table", "params": {"x": SCRIPT}}]
    config |= {"name": f"pilot{SCRIPT}", "analyses": analyses}
    (folder / "pipeline.resolved.yaml").write_text(yaml.safe_dump(config))
    for path in folder.glob("derivatives/**/*.json"):
        about = json.loads(path.read_text())
        about |= {"subject_id": people[about["subject_id"]], "target_name": rename[about["target_name"]]}
        path.write_text(json.dumps(about))
    (folder / "quality").mkdir()
    quality = pd.DataFrame({"scan_id": ["sub-01"], "flags": [SCRIPT], "problem": [HANDLER]})
    _save(quality, folder / "quality" / "quality.tsv")
    _analysis(folder / "analysis" / "regions", predictions)
    return run


def _analysis(folder: Path, predictions: pd.DataFrame) -> None:
    folder.mkdir(parents=True)
    rows = [
        {"scan_id": row.scan_id, "fold": row.fold, "explainer": "lrp", "index": number, "region": name, "share": share}
        for row in predictions.itertuples()
        for number, (name, share) in enumerate({f"<b>bold</b>{SCRIPT}": 0.3, FORMULA: 0.2}.items(), start=1)
    ]
    _save(pd.DataFrame(rows), folder / "regions.tsv")
    sentences = pd.DataFrame({"scan_id": ["sub-01"], "explainer": [SCRIPT], "sentence": [f"left {SCRIPT}"]})
    _save(sentences, folder / "sentences.tsv")
    _save(pd.DataFrame({"<b>bold</b>": [SCRIPT, "=1+1"], "value": [-1.5, np.nan]}), folder / "<b>bold.tsv")
    figure = Figure(figsize=(1, 1))
    figure.savefig(folder / "a <b>bold.png")
    (folder / "a <b>bold.txt").write_text(f"caption {SCRIPT}")


def _table(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.tsv"
    return pd.read_csv(path, sep="\t", dtype={"subject_id": str}, na_values=["n/a"], keep_default_na=False)


def _save(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
