"""The splitters under the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xai_core.testing import SplitterConformance


class TestHoldout(SplitterConformance):
    name = "holdout"


class TestStratifiedKFold(SplitterConformance):
    name = "stratified-kfold"
    params: ClassVar[Mapping[str, Any]] = {"folds": 4}


class TestSklearnStratifiedKFold(SplitterConformance):
    name = "sklearn-stratified-kfold"
    params: ClassVar[Mapping[str, Any]] = {"folds": 4}


class TestHoldoutByColumns(SplitterConformance):
    name = "holdout"
    params: ClassVar[Mapping[str, Any]] = {"stratify": ["site", "age"]}


class TestMatched(SplitterConformance):
    name = "stratified-kfold"
    params: ClassVar[Mapping[str, Any]] = {"match": {"columns": {"age": 10, "sex": "exact"}}, "validation": 0.3}


class TestRepeatedKFold(SplitterConformance):
    name = "repeated-kfold"
    params: ClassVar[Mapping[str, Any]] = {"repeats": 3, "folds": 4, "stratify": ["site"]}


class TestNestedKFold(SplitterConformance):
    name = "nested-kfold"
    params: ClassVar[Mapping[str, Any]] = {"folds": 3, "inner": 4}


class TestLeaveOneSiteOut(SplitterConformance):
    name = "leave-one-site-out"
    params: ClassVar[Mapping[str, Any]] = {"validation": 0.2}


class TestHeldOutSite(SplitterConformance):
    name = "repeated-kfold"
    params: ClassVar[Mapping[str, Any]] = {
        "repeats": 2, "folds": 3, "test_only": {"column": "site", "values": ["site1"]},
    }  # fmt: skip


class TestSplitFile(SplitterConformance):
    name = "split-file"

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first half of the people trains and the second is tested, and then the other way round."""
        people = [f"sub-{number:03d}" for number in range(self.people)]
        half = self.people // 2
        rows = [
            f"{fold}\t{part}\t{person}"
            for fold, parts in enumerate((("train", "test"), ("test", "train")))
            for part, members in zip(parts, (people[:half], people[half:]), strict=True)
            for person in members
        ]
        path = tmp_path / "split.tsv"
        path.write_text("\n".join(["fold\tpart\tsubject_id", *rows]) + "\n", encoding="utf-8")
        monkeypatch.setattr(type(self), "params", {"path": str(path)})
