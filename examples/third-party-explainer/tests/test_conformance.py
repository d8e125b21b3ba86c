"""The conformance kit in three lines: entry point, parameters, maps, and a model that is left as it was."""

from xai_core.testing import ExplainerConformance


class TestCubeOcclusion(ExplainerConformance):
    name = "cube-occlusion"
