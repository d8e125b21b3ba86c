"""The notebooks run from top to bottom, show what they talk about, and are kept without outputs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest

import xai_core
from xai_core import registry

SOURCE = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = sorted(path.stem for path in SOURCE.glob("*.ipynb"))


class Executed:
    """A notebook that ran.

    Attributes:
        cells: Its code cells, with outputs.
        text: All that was printed, and the plain text of what was shown.
    """

    def __init__(self, notebook: Any) -> None:
        self.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        outputs = [output for cell in self.cells for output in cell.outputs]
        self.data = [output["data"] for output in outputs if "data" in output]
        shown = [data.get("text/plain", "") for data in self.data]
        self.text = "\n".join([*(output.get("text", "") for output in outputs), *shown])

    def count(self, kind: str) -> int:
        """Return how many outputs hold a MIME type."""
        return sum(kind in data for data in self.data)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder, and beside it where the notebooks write."""
    home = tmp_path_factory.mktemp("notebooks")
    shutil.copytree(SOURCE, home / "examples" / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return home


@pytest.fixture(scope="module")
def executed(home: Path) -> Iterator[dict[str, Executed]]:
    """Notebooks that ran, by name; each runs once, when it is asked for first. 3 to 5 go on with the run of 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAI_NOTEBOOKS", str(home / "work"))
        # What users of a notebook have: the kernel sets the back end itself.
        patch.delenv("MPLBACKEND", raising=False)
        yield _Lazily(home / "examples" / "notebooks")


class _Lazily(dict[str, Executed]):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, name: str) -> Executed:
        notebook = nbformat.read(self.folder / f"{name}.ipynb", as_version=4)
        client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(self.folder)}})
        client.execute()
        self[name] = Executed(notebook)
        return self[name]


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_writes_only_where_it_may(name: str, executed: dict[str, Executed], home: Path) -> None:
    found = executed[name]
    assert found.count("image/png") + found.count("text/html") >= 2
    assert "\x1b[?25l" not in found.text, "a progress bar was printed"
    assert "This is a defect" not in found.text
    assert {path.name for path in home.iterdir()} <= {"examples", "work"}
    assert {path.name for path in (home / "examples" / "notebooks").iterdir()} == {
        path.name for path in SOURCE.iterdir() if not path.name.startswith(".")
    }


@pytest.mark.parametrize("name", NAMES)
def test_is_kept_clean(name: str) -> None:
    notebook = nbformat.read(SOURCE / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "/tmp" not in text
    assert not re.search(r"xai_\w+\._|xai_core\.engine", text), "private modules are no interface"
    for link in re.findall(r"\]\(([\w./-]+)\)", text):
        assert (SOURCE / link).exists(), link
    for named in re.findall(r"`((?:docs|examples)/[\w./-]+)`", text):
        assert (SOURCE.parents[1] / named).exists(), named
    # Numbers of results are printed by the code, never written into the text.
    words = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert not re.search(r"\b[01]\.\d", re.sub(r"`[^`]*`", "", words)), "a figure in the text"


def test_all_are_listed() -> None:
    listed = (SOURCE / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"({name}.ipynb)" not in listed] == []
    assert len(NAMES) == 5


def test_first_steps(executed: dict[str, Executed], home: Path) -> None:
    found = executed["1-first-steps"]
    run = xai_core.load(home / "work" / "first-steps")
    assert found.count("image/png") == 3  # probabilities, LRP and Grad-CAM in the same planes; LRP shows itself as HTML
    assert any('<img src="data:image/png' in data.get("text/html", "") for data in found.data)
    assert found.count("application/vnd.jupyter.widget-view+json") == 1
    # The network has learnt what the text says it has, and the printed ratio is that of the table.
    assert run.metrics.loc["auc", "value"] > 0.7
    truth = run.results.evaluation("ground-truth").merge(run.predictions[["scan_id", "target"]], on="scan_id")
    ill = truth[(truth["target"] == "AD") & (truth["explainer"] == "lrp")]["density_ratio"]
    assert f"lrp: median density ratio {ill.median():.2f} [" in found.text
    assert ill.median() > 1.5
    assert "whom the network of fold 0 was trained or validated on" in found.text
    # The second run makes nothing, the third one the map that was removed.
    assert found.text.count("training is done already") == 2
    assert "48 explanations are done already" in found.text
    assert "the same voxels: True" in found.text
    assert "No leak found: 80 people" in found.text


def test_own_data(executed: dict[str, Executed], home: Path) -> None:
    text = executed["2-own-data"].text
    for wanted in (
        "Did you mean 'z-normalization'", "must be an integer, not 'two'", "12 is not one of",
        "Did you mean 'gradcam'", "sub-005_M00.nii.gz does not exist", "1 cannot be used",
        "sub-006_M00.nii.gz cannot be read", "--skip-bad", "No leak found: 39 people, 46 scans",
    ):  # fmt: skip
        assert wanted in text, wanted
    run = xai_core.load(home / "work" / "my-study" / "results" / "my-study")
    both = run.splits.merge(run.subjects[["scan_id", "subject_id"]], on="subject_id")
    assert both.groupby(["fold", "subject_id"])["part"].nunique().max() == 1
    people = run.subjects.drop_duplicates("subject_id")
    ages = people.groupby("target")["age"].mean()
    assert f"mean AD {ages['AD']:.1f}, CN {ages['CN']:.1f} years" in text


def test_explain_and_compare(executed: dict[str, Executed], home: Path) -> None:
    found = executed["3-explain-and-compare"]
    assert found.count("image/png") == 6
    run = xai_core.load(home / "work" / "compare")
    assert len(run.attributions()) == 24 * 7
    assert xai_core.load(home / "work" / "first-steps").explainers == ["lrp", "gradcam"]
    # What the text says of the two explainers that are one.
    pairs = zip(run.attributions("lrp-epsilon"), run.attributions("input-x-gradient"), strict=True)
    assert min(np.corrcoef(a.data.ravel(), b.data.ravel())[0, 1] for a, b in pairs) > 0.999
    assert "truediv in the forward of the network" in found.text, "the refused operation is named"
    shares = [a.sidecar["conservation"]["unexplained_share"] for a in run.attributions("lrp")]
    assert np.abs(np.median(shares)) < 0.01


def test_relevance_and_anatomy(executed: dict[str, Executed], home: Path) -> None:
    found = executed["4-relevance-and-anatomy"]
    assert found.count("image/png") == 3
    folder = home / "work" / "anatomy" / "analysis"
    people = pd.read_csv(folder / "region-table" / "people.tsv", sep="\t")
    assert f"share outside of the brain: median {people['share_outside_brain'].median():.2f}" in found.text
    contrast = pd.read_csv(folder / "group-contrasts" / "contrasts.tsv", sep="\t").iloc[0]
    subjects = pd.read_csv(home / "work" / "anatomy" / "subjects.tsv", sep="\t").set_index("scan_id")
    both = subjects.loc[people.loc[people["prediction"] == "AD", "scan_id"], "sex"].value_counts()
    assert (contrast["n_first"], contrast["n_second"]) == (both["F"], both["M"])
    assert f"| {both['F']} against {both['M']} people" in found.text


def test_write_an_explainer(executed: dict[str, Executed], home: Path) -> None:
    found = executed["5-write-an-explainer"]
    by_cell = [cell for cell in found.cells if "check(" in cell.source]
    first, second = ("".join(o.get("text", "") for o in cell.outputs) for cell in by_cell)
    wrong = set(re.findall(r"FAILED +(\w+)", first))
    left = {"test_leaves_torch_out", "test_resolves_through_its_entry_point"}
    assert wrong == left | {
        "test_batch_of_two_equals_two_of_one", "test_model_is_untouched",
        "test_works_on_a_frozen_model_and_without_grad",
    }  # fmt: skip
    assert set(re.findall(r"FAILED +(\w+)", second)) == left
    assert "as worked by hand: True" in found.text
    assert "4 is not one of 1, 3, 5, 7" in found.text
    assert len(xai_core.load(home / "work" / "own-explainer").attributions("smoothed-saliency")) == 24
    # What the notebook registers is its kernel's alone.
    assert "smoothed-saliency" not in {info.name for info in registry.infos("explainer")}
