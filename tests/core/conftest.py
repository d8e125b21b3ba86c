"""A registry that sees invented packages only, whatever is installed where the tests run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xai_core import registry
from xai_core.cli import main
from xai_core.testing import fake_distribution
from xai_core.testing._distributions import component_source, finder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on ``sys.path`` that takes the place of the installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(registry._default, "_find", finder(folder))
    monkeypatch.setattr(registry._default, "_registered", {})
    registry.refresh()
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
    monkeypatch.undo()
    registry.refresh()


STUDY = {
    "dataset": ("Dataset", "table", """{
        "table": {"type": ["string", "null"], "format": "path", "default": None, "description": "Study table."},
        "bids": {"type": ["string", "null"], "format": "path", "default": None, "description": "BIDS folder."},
        "target": {"type": "string", "default": "diagnosis", "description": "Column."}}"""),
    "dataset-2": ("Dataset", "invented", """{
        "people": {"type": "integer", "default": 8, "minimum": 2, "description": "How many."}}"""),
    "transform": ("Transform", "scale", """{
        "grid": {"type": ["number", "array", "string"], "format": "path", "items": {"type": "number"}, "default": 2,
                 "description": "Spacing or reference."}}"""),
    "splitter": ("Splitter", "folds", """{
        "folds": {"type": "integer", "default": 5, "minimum": 2, "description": "Number of folds."}}"""),
    "model": ("Model", "resnet", """{
        "depth": {"enum": [10, 18], "default": 18, "description": "Layers."},
        "width": {"type": "number", "default": 1.0, "exclusiveMinimum": 0, "description": "Width."},
        "weights": {"type": ["string", "null"], "format": "path", "default": None, "description": "File."}}"""),
    "model-2": ("Model", "vgg", """{
        "blocks": {"type": "integer", "default": 4, "description": "Blocks."}}"""),
    "trainer": ("Trainer", "sgd", """{
        "epochs": {"type": "integer", "default": 30, "minimum": 1, "description": "Epochs."},
        "learning_rate": {"type": "number", "default": 1e-4, "exclusiveMinimum": 0, "description": "Step."}}"""),
    "explainer": ("Explainer", "lrp", """{
        "composite": {"enum": ["epsilon", "epsilon-plus"], "default": "epsilon-plus", "description": "Rules."},
        "epsilon": {"type": "number", "default": 1e-6, "description": "Stabiliser."},
        "layers": {"type": "array", "items": {"type": "string"}, "default": ("a", "b"), "description": "Layers."}}"""),
    "explainer-2": ("Explainer", "gradcam", """{
        "layer": {"type": ["string", "null"], "default": None, "description": "Layer."}}"""),
    "evaluator": ("Evaluator", "perturb", "{}"),
    "analysis": ("Analysis", "regions", """{
        "atlas": {"type": "string", "format": "path", "minLength": 1, "description": "File."}}"""),
    "report": ("Report", "html", "{}"),
    "executor": ("Executor", "pool", "{}"),
}  # fmt: skip


@pytest.fixture
def study_plugins(site: Path) -> Path:
    """One invented package with components of every kind; returns the folder that it is installed in."""
    points: dict[str, dict[str, str]] = {}
    modules = {}
    for key, (interface, name, properties) in STUDY.items():
        module = f"study_{key.replace('-', '_')}"
        source = component_source(interface, properties)
        if name == "regions":
            source = source.replace('"additionalProperties"', '"required": ["atlas"], "additionalProperties"')
        modules[f"{module}.py"] = source
        kind = registry._kind(key.partition("-")[0])
        points.setdefault(kind.group, {})[name] = f"{module}:Mine"
    fake_distribution(site, "study-plugins", "2.1", entry_points=points, modules=modules)
    registry.refresh()
    return site


@pytest.fixture
def pipeline(study_plugins: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Writes ``study/pipeline.yaml`` with a text and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "study" / "pipeline.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def xai(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process and returns exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(done.value.code or 0), out, err

    return run
