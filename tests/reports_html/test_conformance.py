"""What every report promises."""

from __future__ import annotations

from xai_core.testing import ReportConformance


class TestHtml(ReportConformance):
    name = "html"
