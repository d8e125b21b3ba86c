"""Conformance kit: pytest suites that a plugin author subclasses in three lines.

In a test module of the plugin::

    from xai_core.testing import ExplainerConformance


    class TestMine(ExplainerConformance):
        name = "mine"

There is one suite for each kind of component. ``params`` are given to the component; methods without ``test`` in their
name can be overridden where a component needs other data.
"""

from ._base import ComponentConformance
from ._data import DatasetConformance, SplitterConformance
from ._distributions import fake_distribution
from ._explainer import ExplainerConformance
from ._model import ModelConformance
from ._networks import TinyConvNet, model_state
from ._results import AnalysisConformance, EvaluatorConformance, ExecutorConformance, ReportConformance, example_run
from ._trainer import TrainerConformance
from ._transform import TransformConformance

__all__ = [
    "AnalysisConformance",
    "ComponentConformance",
    "DatasetConformance",
    "EvaluatorConformance",
    "ExecutorConformance",
    "ExplainerConformance",
    "ModelConformance",
    "ReportConformance",
    "SplitterConformance",
    "TinyConvNet",
    "TrainerConformance",
    "TransformConformance",
    "example_run",
    "fake_distribution",
    "model_state",
]
