"""When an analysis is asked, and when it is carried out again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xai_core import InputError, Pipeline, registry
from xai_core.testing._toys import TOY_PIPELINE, ToyAnalysis, ToyReport, ToyTrainer, register_toys, write_toy_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    register_toys()
    write_toy_study(tmp_path / "study")
    (tmp_path / "toy.yaml").write_text(TOY_PIPELINE, encoding="utf-8")
    return tmp_path / "toy.yaml"


def test_an_analysis_refuses_before_anything_is_trained(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(ToyAnalysis):
        def check_study(self, table: Any, task: str, classes: Sequence[str] | None) -> None:
            raise InputError(f"no age among {sorted(table.columns)[:1]}, {task}, {list(classes or ())}")

    registry.register("analysis", "toy", Refusing)
    monkeypatch.setattr(ToyTrainer, "train", None)
    with pytest.raises(InputError, match=r"no age among .*classification, \['a', 'b'\]"):
        Pipeline.from_file(study).run()


def test_a_file_that_an_analysis_reads_makes_it_anew_when_it_changes(study: Path) -> None:
    features = study.parent / "features.tsv"
    done, told = [], []

    class Reading(ToyAnalysis):
        def inputs(self, run: Any) -> Sequence[Path]:
            return [features]

        def analyse(self, run: Any, output: Path) -> None:
            done.append(features.read_text(encoding="utf-8") if features.exists() else None)
            super().analyse(run, output)

    class Telling(ToyReport):
        def write(self, run: Any, output: Path) -> Path:
            told.append(len(done))
            return super().write(run, output)

    registry.register("analysis", "toy", Reading)
    registry.register("report", "toy", Telling)
    for content in (None, "1", "1", "2"):
        if content is not None:
            features.write_text(content, encoding="utf-8")
        Pipeline.from_file(study).run()
    assert done == [None, "1", "2"]
    assert told == [1, 2, 3], "a report shows what the analyses found"
