"""What components say of themselves stands in the report, as text."""

from __future__ import annotations

import pytest

from xai_core import registry
from xai_reports_html._docstrings import account, summary


class _Own:
    """First line.

    What ``score`` means:
      a < b.

    Args:
        depth: Not for readers.
    """


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(registry, "get", lambda *_: _Own)


def test_the_first_line_and_the_text_before_the_parameters(own):
    assert summary("evaluator", "own") == "First line."
    assert account("evaluator", "own") == "What score means:\n  a < b."


def test_a_component_that_says_nothing_or_is_gone(own, monkeypatch):
    monkeypatch.setattr(_Own, "__doc__", None)
    assert summary("evaluator", "own") == account("evaluator", "own") == ""
    monkeypatch.undo()
    assert summary("evaluator", "no-such") == account("evaluator", "no-such") == ""


def test_the_scores_of_an_evaluator_are_explained_beside_them(shared_run, tmp_path, monkeypatch):
    monkeypatch.setattr(registry.get("evaluator", "ground-truth"), "__doc__", _Own.__doc__)
    page = registry.create("report", "html", max_people=0).write(shared_run, tmp_path).read_text(encoding="utf-8")
    before, _, after = page.partition("What the scores of truth mean")
    assert "Scores by the evaluator truth" in before
    assert after.partition("</details>")[0].endswith("What score means:\n  a &lt; b.</pre>")
