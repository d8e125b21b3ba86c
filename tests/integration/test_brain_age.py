"""The brain-age example on a small cohort, and the notebook that walks through its results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

from xai_core import Pipeline
from xai_core.engine.results import RunResults

EXAMPLE = Path(__file__).parents[2] / "examples" / "brain-age"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """The example with 24 people at 8 mm, two folds and one epoch."""
    home = tmp_path_factory.mktemp("brain-age")
    changes = [
        f"data.params.folder={home / 'data'}", "data.params.subjects=24", "data.params.resolution=8",
        "data.transforms.0.params.spacing=8", "split.params.folds=2", "split.params.validation=0",
        "training.params.epochs=1",
        "training.params.bootstrap=100", "analyses[region-figures].params.bootstrap=100",
        "analyses[region-features].params.bootstrap=0", f"output={home}",
    ]  # fmt: skip
    sets = [part for change in changes for part in ("--set", change)]
    code = "from xai_core.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(EXAMPLE / "pipeline.yaml"), "--device", "cpu", *sets]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return RunResults(home / "brain-age")


def table(run: RunResults, name: str) -> pd.DataFrame:
    return pd.read_csv(run.folder / "analysis" / name, sep="\t", na_values=["n/a"], keep_default_na=False)


def test_the_example_is_valid() -> None:
    Pipeline.from_file(EXAMPLE / "pipeline.yaml")


def test_everybody_is_tested_and_has_a_map_and_features(run: RunResults) -> None:
    assert run.task == "regression"
    assert run.predictions()["subject_id"].nunique() == 24
    assert len(run.maps("lrp")) == 24
    assert {"map_csf", "map_grey_matter", "map_white_matter", "map_ventricles"} <= set(run.subjects().columns)
    found = table(run, "region-features/associations.tsv")
    mine = found[(found["region"] == "Left-Lateral-Ventricle") & (found["feature"] == "csf_volume")]
    assert mine["people"].tolist() == [24, 24]
    assert set(mine["method"]) == {"pearson", "partial-pearson"}
    ranks = table(run, "region-figures/ranks.tsv")
    assert ranks["people"].max() == 24
    assert ranks["rank"].min() == 1


def test_the_volumes_of_the_maps_follow_the_true_volumes(run: RunResults) -> None:
    # The atlas' regions are not the person's own structures: only where a region is large do they agree well.
    features = table(run, "region-features/features.tsv")
    name = "Left-Lateral-Ventricle"
    mine = features[(features["region"] == name) & features["feature"].str.startswith("csf")]
    truth = Path(run.subjects()["image"][0]).parents[2] / "derivatives" / "tissue" / "volumes.tsv"
    true = pd.read_csv(truth, sep="\t").assign(subject_id=lambda t: t["participant_id"].str.removeprefix("sub-"))
    both = mine.assign(subject_id=mine["subject_id"].astype(int).map("{:03d}".format)).merge(true, on="subject_id")
    assert len(both) == 24
    assert np.corrcoef(both["value"], both[name])[0, 1] > 0.7


def test_the_notebook_runs_and_is_kept_without_outputs(run: RunResults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_BRAIN_AGE_RUN", str(run.folder))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(EXAMPLE / "brain_age.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    nbclient.NotebookClient(notebook, timeout=50, resources={"metadata": {"path": str(EXAMPLE)}}).execute()
    kinds = [key for cell in code for output in cell.outputs for key in output.get("data", {})]
    assert kinds.count("image/png") == 4
    printed = "".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert re.search(r"24 people: mean absolute error \d+\.\d\d years", printed)
    assert "n = 24 people" in printed


def test_the_notebook_needs_no_workplace() -> None:
    text = (EXAMPLE / "brain_age.ipynb").read_text(encoding="utf-8")
    assert os.sep + "tmp" not in text
    assert "_analyses_atlas" not in text  # private modules are no interface
