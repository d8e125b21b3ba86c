"""How far long work is: one bar on a terminal, whatever is nested in it, and plain lines in a log."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from xai_core.engine import progress
from xai_core.engine.progress import log_to, track, whole
from xai_core.progress import Step, is_heard, listening, report, share, stepping


class Terminal(io.StringIO):
    """A terminal that remembers."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Terminal]]:
    """Called inside the test: pytest puts its own stderr in place before each phase."""

    def call() -> Terminal:
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    yield call
    assert progress._bars == []


def test_every_item_comes_once_and_in_order(open_terminal: Callable[[], Terminal]) -> None:
    terminal = open_terminal()
    assert list(track("abc", "reading")) == ["a", "b", "c"]
    assert list(track([], "reading")) == []
    assert "reading" in terminal.getvalue()
    assert "100%" in terminal.getvalue()


def test_a_nested_bar_is_told_in_the_label_of_the_outer_one(open_terminal: Callable[[], Terminal]) -> None:
    terminal = open_terminal()
    for turn in track([0, 1], "people"):
        bar = progress._bars[-1]
        assert len(progress._bars) == 1
        labels = []
        for _ in track("xyz", "windows"):
            labels.append(bar.label)
            for _ in track([1, 2], "patches"):
                assert bar.label.startswith(labels[-1])
                assert "patches" in bar.label
            assert bar.label == labels[-1]
        assert labels == [f"people (windows {done} of 3)" for done in range(3)]
        assert (turn, bar.label) == (turn, "people")
    assert terminal.getvalue().count("\n") == 1, "one bar, one line"


def test_labels_and_bars_go_when_work_ends_early(open_terminal: Callable[[], Terminal]) -> None:
    open_terminal()
    for _ in track([0, 1], "people"):
        bar = progress._bars[-1]
        inner = iter(track("xyz", "windows"))
        next(inner)
        inner.close()  # type: ignore[attr-defined]
        assert bar.label == "people"
        with pytest.raises(ZeroDivisionError):
            [1 // 0 for _ in track("xyz", "windows")]
        assert bar.label == "people"
    outer = iter(track([0, 1], "people"))
    next(outer)
    outer.close()  # type: ignore[attr-defined]
    assert progress._bars == []
    assert list(track([5], "next")) == [5]


def test_without_a_terminal_lines_are_logged_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress, "is_terminal", lambda: False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with caplog.at_level(logging.INFO, "xai"):
        for _ in track(list(range(10)), "explaining"):
            clock[0] += 4
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "explaining: 3 of 10", "explaining: 6 of 10", "explaining: 9 of 10", "explaining: 10 of 10, done",
    ]  # fmt: skip


def test_what_did_not_finish_is_not_called_done(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "is_terminal", lambda: False)
    with caplog.at_level(logging.INFO, "xai"), pytest.raises(ZeroDivisionError):
        [1 / (2 - item) for item in track([1, 2, 3], "explaining")]
    assert "done" not in caplog.text


def test_the_log_is_appended_to_and_closed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "log.txt"
    for text in ("first", "sécond \udcff"):
        with log_to(path):
            progress.log.info("%s", text)
        progress.log.info("outside")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.split("INFO ")[1] for line in lines] == ["first", "sécond \\udcff"]
    assert all(a[:19] <= b[:19] for a, b in pairwise(lines))


def test_a_report_is_nothing_without_a_listener_and_comes_with_what_is_around_it() -> None:
    report(1, 2, "passes")
    heard: list[tuple[Step, ...]] = []
    with listening(heard.append):
        for _ in stepping("ab", 2, "fold"):
            for _ in stepping(["lrp"], 1, str):
                report(3, 4, "layers")
    report(1, 2, "passes")
    assert heard[:3] == [
        (Step("fold", 0, 2),),
        (Step("fold", 0, 2), Step("lrp", 0, 1)),
        (Step("fold", 0, 2), Step("lrp", 0, 1), Step("layers", 3, 4)),
    ]
    shares = [share(steps) for steps in heard]
    assert shares == sorted(shares)
    assert shares[2:4] == [0.375, 0.5]
    assert shares[-1] == 1
    assert not is_heard()


def test_numbers_that_make_no_sense_break_nothing() -> None:
    nan = float("nan")
    for done, total in ((5, 0), (nan, 3), (2, nan), (-1, 4), (9, 4), (1, float("inf"))):
        assert 0 <= share((Step("fold", 1, 2), Step("x", done, total))) <= 1


def test_work_that_breaks_off_leaves_the_outer_work_as_it_was() -> None:
    heard: list[tuple[Step, ...]] = []
    with listening(heard.append):
        for _ in stepping([0], 1, "people"):
            with pytest.raises(ZeroDivisionError):
                [1 // 0 for _ in stepping([1], 1, "windows")]
            report(1, 2, "passes")
    assert heard[2] == (Step("people", 0, 1), Step("passes", 1, 2))
    with pytest.raises(ZeroDivisionError), listening(heard.append):
        raise ZeroDivisionError
    assert not is_heard()


def test_another_thread_does_not_hear() -> None:
    heard: list[tuple[Step, ...]] = []
    with listening(heard.append):
        thread = threading.Thread(target=report, args=(1, 2))
        thread.start()
        thread.join()
    assert heard == []


def test_reports_and_nested_work_reach_a_listener_and_the_bar(open_terminal: Callable[[], Terminal]) -> None:
    open_terminal()
    for _ in track([0], "people"):
        report(2, 7, "noisy copies")
        assert progress._bars[-1].label == "people (noisy copies 2 of 7)"
    heard: list[tuple[Step, ...]] = []
    with listening(heard.append):
        assert list(track("ab", "windows")) == ["a", "b"]
        assert progress._bars == [], "whoever listens shows it"
    assert [steps[0].done for steps in heard] == [0, 1, 2]


def test_one_bar_for_all_of_an_explanation(open_terminal: Callable[[], Terminal]) -> None:
    terminal = open_terminal()
    with whole("Explaining"):
        for _ in stepping("ab", 2, "fold"):
            for _ in track(range(4), "windows"):
                assert progress._bars == []
    assert terminal.getvalue().count("\n") == 1
    assert "100%" in terminal.getvalue()
    with whole("Explaining"), pytest.raises(ZeroDivisionError):
        1 // 0  # noqa: B018
    assert not is_heard()
