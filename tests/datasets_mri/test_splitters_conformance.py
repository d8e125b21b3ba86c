"""The splitters under the conformance kit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from xai_core.testing import SplitterConformance


class TestHoldout(SplitterConformance):
    name = "holdout"


class TestStratifiedKFold(SplitterConformance):
    name = "stratified-kfold"
    params: ClassVar[Mapping[str, Any]] = {"folds": 4}


class TestSklearnStratifiedKFold(SplitterConformance):
    name = "sklearn-stratified-kfold"
    params: ClassVar[Mapping[str, Any]] = {"folds": 4}
