"""The example of confounds: two pipelines that differ in one transform, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xai_core.config.resolve import resolve
from xai_core.engine.pipeline import Pipeline

EXAMPLES = Path(__file__).parents[2] / "examples" / "confounds"


def configured(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resolve(EXAMPLES / name).value
    return found


def test_the_examples_differ_in_one_transform() -> None:
    raw, corrected = configured("pipeline-raw.yaml"), configured("pipeline-residualized.yaml")
    last = corrected["data"]["transforms"].pop()
    assert last["name"] == "residualize"
    assert {**corrected, "name": ""} == {**raw, "name": ""}
    assert raw["data"]["params"]["severity"] == 0


def test_the_examples_run(tmp_path: Path) -> None:
    sets = [
        f"data.params.folder={tmp_path / 'data'}", "data.params.subjects=24", "data.params.resolution=8",
        "data.transforms.0.params.spacing=8", "split.params.folds=2", "training.params.epochs=1",
        "model.params.width=2", f"output={tmp_path}",
    ]  # fmt: skip
    results = {
        name: Pipeline.from_file(EXAMPLES / f"pipeline-{name}.yaml", sets).run() for name in ("raw", "residualized")
    }
    assert [(results[name].folder / "fold-1" / "transforms.pt").is_file() for name in results] == [False, True]
    for found in results.values():
        assert 0 <= found.metrics()["test"]["auc"]["value"] <= 1
